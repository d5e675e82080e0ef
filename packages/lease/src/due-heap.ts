/**
 * A binary heap of things that fall due, earliest first; equal times in the order of `order`, so that every run is the
 * same. Each entry knows its place, so one can be moved or removed without a search.
 *
 * The lessor keeps it lazily: a renewal leaves the entry where it is, and the heap is corrected when the old time comes.
 * That makes a renewal a few stores, and each lease moves at most once per TTL however often it is renewed.
 */

import { assert } from "@quorate/world";

export const NOT_IN_HEAP = -1;

export interface DueEntry {
  /** Written by the heap alone, as is `place`. */
  dueMs: number;
  place: number;
  readonly order: bigint;
}

export class DueHeap<Entry extends DueEntry> {
  #entries: Entry[] = [];

  get size(): number {
    return this.#entries.length;
  }

  /** The earliest, or null. */
  peek(): Entry | null {
    return this.#entries[0] ?? null;
  }

  /** Adds the entry or moves it to another time. */
  schedule(entry: Entry, dueMs: number): void {
    entry.dueMs = dueMs;
    if (entry.place === NOT_IN_HEAP) {
      entry.place = this.#entries.length;
      this.#entries.push(entry);
    }
    this.#rise(entry);
    this.#sink(entry);
  }

  /** Removing an entry that is not in the heap changes nothing. */
  remove(entry: Entry): void {
    const place = entry.place;
    if (place === NOT_IN_HEAP) return;
    assert(this.#entries[place] === entry, "an entry knows its place in the heap");
    entry.place = NOT_IN_HEAP;
    const last = this.#entries.pop()!;
    if (last === entry) return;
    this.#put(last, place);
    this.#rise(last);
    this.#sink(last);
  }

  clear(): void {
    for (const entry of this.#entries) entry.place = NOT_IN_HEAP;
    this.#entries = [];
  }

  #rise(entry: Entry): void {
    let place = entry.place;
    while (place > 0) {
      const parentPlace = (place - 1) >> 1;
      const parent = this.#entries[parentPlace]!;
      if (!isBefore(entry, parent)) break;
      this.#put(parent, place);
      place = parentPlace;
    }
    this.#put(entry, place);
  }

  #sink(entry: Entry): void {
    const entries = this.#entries;
    let place = entry.place;
    for (;;) {
      let childPlace = 2 * place + 1;
      let child = entries[childPlace];
      if (child === undefined) break;
      const right = entries[childPlace + 1];
      if (right !== undefined && isBefore(right, child)) {
        child = right;
        childPlace++;
      }
      if (!isBefore(child, entry)) break;
      this.#put(child, place);
      place = childPlace;
    }
    this.#put(entry, place);
  }

  #put(entry: Entry, place: number): void {
    this.#entries[place] = entry;
    entry.place = place;
  }
}

function isBefore(a: DueEntry, b: DueEntry): boolean {
  return a.dueMs !== b.dueMs ? a.dueMs < b.dueMs : a.order < b.order;
}
