/**
 * Revisions that compaction removed and storage still has (or is about to get): a list in order of arrival, which
 * becomes part of a batch, and a hash over it, so that scans can hide them. Outside the JavaScript heap, because one
 * compaction can drop millions.
 *
 * Each entry is a pair of doubles (main, sub × 2 + 1 if a tombstone), as StorageBatch.drops wants them. The hash is open
 * addressing with linear probing over entry numbers + 1, at most half full.
 */
export class DropList {
  #pairs = new Float64Array(2 * 64);
  #table = new Int32Array(2 * 64);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Adds a revision; adding it twice is allowed and counts twice. */
  add(main: number, sub: number, isTombstone: boolean): void {
    this.#addPair(main, sub * 2 + (isTombstone ? 1 : 0));
  }

  has(main: number, sub: number, isTombstone: boolean): boolean {
    if (this.#length === 0) return false;
    const second = sub * 2 + (isTombstone ? 1 : 0);
    const table = this.#table;
    const mask = table.length - 1;
    for (let slot = hash(main, second) & mask; ; slot = (slot + 1) & mask) {
      const entry = table[slot]! - 1;
      if (entry < 0) return false;
      if (this.#pairs[entry * 2] === main && this.#pairs[entry * 2 + 1] === second) return true;
    }
  }

  /** The pairs, copied. */
  toPairs(): Float64Array {
    return this.#pairs.slice(0, this.#length * 2);
  }

  /** Moves the first `count` entries to a new list; the others stay. */
  takeFirst(count: number): DropList {
    const taken = new DropList();
    const rest = new DropList();
    for (let i = 0; i < this.#length; i++) {
      (i < count ? taken : rest).#addPair(this.#pairs[i * 2]!, this.#pairs[i * 2 + 1]!);
    }
    this.#pairs = rest.#pairs;
    this.#table = rest.#table;
    this.#length = rest.#length;
    return taken;
  }

  #addPair(main: number, second: number): void {
    if ((this.#length + 1) * 2 > this.#table.length) this.#grow();
    this.#pairs[this.#length * 2] = main;
    this.#pairs[this.#length * 2 + 1] = second;
    this.#length += 1;
    this.#insert(this.#length, main, second);
  }

  #insert(entryPlusOne: number, main: number, second: number): void {
    const mask = this.#table.length - 1;
    let slot = hash(main, second) & mask;
    while (this.#table[slot] !== 0) slot = (slot + 1) & mask;
    this.#table[slot] = entryPlusOne;
  }

  #grow(): void {
    const pairs = new Float64Array(this.#pairs.length * 2);
    pairs.set(this.#pairs);
    this.#pairs = pairs;
    this.#table = new Int32Array(this.#table.length * 2);
    for (let i = 0; i < this.#length; i++) this.#insert(i + 1, pairs[i * 2]!, pairs[i * 2 + 1]!);
  }
}

/** Mixes the low words; revisions are close to consecutive, so the multiplications spread what differs little. */
function hash(main: number, second: number): number {
  let h = Math.imul(main | 0, 0x9e3779b1) ^ Math.imul((main / 0x1_0000_0000) | 0, 0x85ebca6b);
  h = Math.imul(h ^ (second | 0), 0xc2b2ae35);
  return h ^ (h >>> 15);
}
