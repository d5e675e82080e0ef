/**
 * The MsgApps sent to one follower and not yet answered: a queue of (last index, bytes), bounded by count and, softly,
 * by bytes (the message that crosses the byte limit is still let through, so one oversized entry can be sent).
 *
 *   ring:   . . [ start ... start + count ) . .      grows by doubling up to the count limit, then wraps
 *
 * Invariant: indexes strictly ascend from the oldest to the newest.
 */
import { assert } from "@quorate/world";
import type { Index } from "./types.ts";

export class Inflights {
  readonly maxCount: number;
  /** 0: no limit by bytes. */
  readonly maxBytes: number;
  #start = 0;
  #count = 0;
  #bytes = 0;
  #lastIndexes: number[] = [];
  #sizes: number[] = [];

  constructor(maxCount: number, maxBytes: number) {
    this.maxCount = maxCount;
    this.maxBytes = maxBytes;
  }

  get count(): number {
    return this.#count;
  }

  isFull(): boolean {
    return this.#count === this.maxCount || (this.maxBytes !== 0 && this.#bytes >= this.maxBytes);
  }

  /** Records a message whose last entry is `lastIndex`. */
  add(lastIndex: Index, bytes: number): void {
    assert(!this.isFull(), "a message is added to full inflights");
    const capacity = this.#lastIndexes.length;
    if (this.#count === capacity) this.#grow();
    const at = (this.#start + this.#count) % this.#lastIndexes.length;
    this.#lastIndexes[at] = lastIndex;
    this.#sizes[at] = bytes;
    this.#count++;
    this.#bytes += bytes;
  }

  /** Forgets the messages that end at or before `index`. */
  freeUpTo(index: Index): void {
    const capacity = this.#lastIndexes.length;
    while (this.#count > 0 && this.#lastIndexes[this.#start]! <= index) {
      this.#bytes -= this.#sizes[this.#start]!;
      this.#start = this.#start + 1 === capacity ? 0 : this.#start + 1;
      this.#count--;
    }
    // Counting up from where the ring starts again keeps a mostly empty ring from wrapping.
    if (this.#count === 0) this.#start = 0;
  }

  /** Forgets everything, bytes included: a counter that survives a reset starves the follower. */
  reset(): void {
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  #grow(): void {
    const capacity = Math.min(this.maxCount, Math.max(8, this.#count * 2));
    const lastIndexes: number[] = [];
    const sizes: number[] = [];
    for (let i = 0; i < capacity; i++) {
      const from = (this.#start + i) % Math.max(1, this.#count);
      lastIndexes.push(i < this.#count ? this.#lastIndexes[from]! : 0);
      sizes.push(i < this.#count ? this.#sizes[from]! : 0);
    }
    this.#lastIndexes = lastIndexes;
    this.#sizes = sizes;
    this.#start = 0;
  }
}
