/**
 * The streams of one connection, by id. Ids of one side are all odd (or all even) and rise by two, so the halved id is
 * its own hash: neighbours fill neighbouring slots, and a collision needs a stream that has outlived a whole table of
 * later ones. Open addressing with linear probing; removal shifts back what probed past, so there are no tombstones.
 *
 * A Map does the same in the same time but makes garbage: with a stream coming and going per request it is rebuilt every
 * few requests, and its old tables, once promoted, keep chains of dead streams alive until the next full collection
 * (half of all time went into collecting; bench/echo.ts).
 */
import type { Stream } from "./stream.ts";

const leastSlots = 16;

export class StreamTable {
  size = 0;
  #slots: (Stream | null)[] = new Array<Stream | null>(leastSlots).fill(null);
  #mask: number = leastSlots - 1;

  get(id: number): Stream | undefined {
    const slots = this.#slots;
    const mask = this.#mask;
    for (let at = (id >>> 1) & mask; ; at = (at + 1) & mask) {
      const stream = slots[at]!;
      if (stream === null) return undefined;
      if (stream.id === id) return stream;
    }
  }

  /** The id must not be in the table. */
  add(stream: Stream): void {
    if ((this.size + 1) * 2 > this.#slots.length) this.#resize(this.#slots.length * 2);
    this.#put(stream);
    this.size++;
  }

  /** Does nothing if the id is not in the table. */
  remove(id: number): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = (id >>> 1) & mask;
    for (;;) {
      const stream = slots[hole]!;
      if (stream === null) return;
      if (stream.id === id) break;
      hole = (hole + 1) & mask;
    }
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const stream = slots[at]!;
      if (stream === null) break;
      // It may move into the hole if its own slot does not lie between the hole and where it is.
      const home = (stream.id >>> 1) & mask;
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        slots[hole] = stream;
        hole = at;
      }
    }
    slots[hole] = null;
    this.size--;
    if (this.size * 8 < slots.length && slots.length > keptSlots) this.#resize(slots.length / 2);
  }

  /** All streams, in the order of their ids: a copy, so the table may change meanwhile. */
  all(): Stream[] {
    const streams: Stream[] = [];
    for (let at = 0; at < this.#slots.length; at++) {
      const stream = this.#slots[at]!;
      if (stream !== null) streams.push(stream);
    }
    return streams.sort(byId);
  }

  #put(stream: Stream): void {
    let at = (stream.id >>> 1) & this.#mask;
    while (this.#slots[at] !== null) at = (at + 1) & this.#mask;
    this.#slots[at] = stream;
  }

  #resize(slots: number): void {
    const streams = this.#slots;
    this.#slots = new Array<Stream | null>(slots).fill(null);
    this.#mask = slots - 1;
    for (let at = 0; at < streams.length; at++) {
      const stream = streams[at]!;
      if (stream !== null) this.#put(stream);
    }
  }
}

function byId(a: Stream, b: Stream): number {
  return a.id - b.id;
}

/** Tables up to this size do not shrink: a connection breathes. */
const keptSlots = 512;
