/** What commits drop while a copy of the database is being made: it has to be dropped from the copy as well. */

/** 64 MiB. A defragmentation during which more is compacted comes to nothing, and can be tried again. */
const DROPS_MAX = 4 * 1024 * 1024;

export class DroppedMeanwhile {
  #parts: Float64Array[] = [];
  #length = 0;

  /** In the form of StorageBatch; kept, not copied. */
  add(drops: Float64Array): void {
    this.#length += drops.length;
    if (this.isComplete) this.#parts.push(drops);
    else this.#parts = [];
  }

  /** False: there was too much, and it is forgotten. */
  get isComplete(): boolean {
    return this.#length <= 2 * DROPS_MAX;
  }

  /** Numbers held: two of each record. */
  get length(): number {
    return this.#length;
  }

  /** Hands out, and forgets, what the first commits dropped: of one commit at least, and of more up to `most` numbers. */
  take(most: number): Float64Array {
    let count = 0;
    let length = 0;
    for (const part of this.#parts) {
      if (count > 0 && length + part.length > most) break;
      length += part.length;
      count++;
    }
    const taken = new Float64Array(length);
    let at = 0;
    for (const part of this.#parts.splice(0, count)) {
      taken.set(part, at);
      at += part.length;
    }
    this.#length -= length;
    return taken;
  }
}
