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

  toArray(): Float64Array {
    const all = new Float64Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}
