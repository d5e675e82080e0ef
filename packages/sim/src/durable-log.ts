/**
 * What one machine's log must still hold after any crash: a second record of it, kept beside the real one by whoever hears
 * the log say "durable" (invariants.ts). Not the log's own account: the real log is compared with this after each start.
 *
 *   ──────── base ────────┼── terms of the entries ──┤ lastIndex
 *   committed, maybe gone   every one of them is there
 */

import type { Entry, HardState } from "@quorate/raft";
import { assert } from "@quorate/world";

export class DurableLog {
  #base = 0;
  #baseTerm = 0;
  #terms: number[] = [];
  term = 0;
  vote = 0n;

  get lastIndex(): number {
    return this.#base + this.#terms.length;
  }

  get base(): number {
    return this.#base;
  }

  /** Undefined behind the base and past the end. */
  termAt(index: number): number | undefined {
    return index === this.#base ? this.#baseTerm : this.#terms[index - this.#base - 1];
  }

  /** The entry is there, or covered by what the machine's state was at the base. */
  holds(index: number, term: number): boolean {
    return index <= this.#base || this.termAt(index) === term;
  }

  append(entries: readonly Entry[]): void {
    for (const { index, term } of entries) {
      if (index <= this.#base) continue;
      assert(index <= this.lastIndex + 1, "a log grows without a gap");
      this.#terms.length = index - this.#base - 1;
      this.#terms.push(term);
    }
  }

  setHardState(state: HardState): void {
    this.term = state.term;
    this.vote = state.vote;
  }

  /** Everything up to here is in the machine's state, and nothing follows (yet). */
  restartAt(index: number, term: number): void {
    this.#base = index;
    this.#baseTerm = term;
    this.#terms = [];
  }

  /** Forgets the tail from `index` on: what a write in its place may have left there is not known. */
  truncate(index: number): void {
    if (index > this.#base) this.#terms.length = Math.min(this.#terms.length, index - this.#base - 1);
  }
}
