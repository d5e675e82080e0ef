/**
 * A compaction's way through the records up to its revision: takes the hash, if there is one to take, and drops what the
 * compaction does not keep, in slices.
 *
 * Oldest first, because that is how records lie on disk: what is dropped together lay together, and most pages it lay in
 * become free instead of being written again with a record less. The index knows what to keep and must not have
 * forgotten anything yet.
 */
import type { RecordVisitor } from "../backend/storage.ts";
import type { KeptAt } from "../key-index/kept-at.ts";
import { NONE } from "../key-index/limits.ts";
import type { KvHashing } from "./hash.ts";
import { RecordView } from "./key-value.ts";
import type { StoreState } from "./state.ts";

/** Going along so many nodes of the index, or through so many bytes, takes about as long as a small record. */
export const NODES_PER_RECORD = 4;
const BYTES_PER_RECORD = 4096;

export class RecordSweep implements RecordVisitor {
  readonly hashing: KvHashing | null;
  readonly #state: StoreState;
  readonly #revision: number;
  readonly #kept: KeptAt;
  readonly #view = new RecordView();
  /** Of the slice under way: main, sub, and 1 for a tombstone, one after the other. */
  readonly #doomed: number[] = [];
  #nextMain = 0;
  #nextSub = 0;
  #left = 0;
  #isDone = false;

  constructor(state: StoreState, revision: number, hashing: KvHashing | null) {
    this.#state = state;
    this.#revision = revision;
    this.#kept = state.index.keptAt(revision);
    this.hashing = hashing;
  }

  /** Goes through about `budget` records, fewer of large ones; false when there are no more. */
  step(budget: number): boolean {
    if (this.#isDone) return false;
    if (this.hashing?.prepare(budget)) return true;
    const { backend } = this.#state;
    const kept = this.#kept;
    // Together with what was walked before: only what this slice walks counts.
    this.#left = budget + kept.walked / NODES_PER_RECORD;
    backend.scanRecords(this.#nextMain, this.#nextSub, this);
    const doomed = this.#doomed;
    for (let i = 0; i < doomed.length; i += 3) backend.drop(doomed[i]!, doomed[i + 1]!, doomed[i + 2] === 1);
    doomed.length = 0;
    // The scan ended by itself, or `visit` ended it: past the revision, or out of budget.
    if (this.#hasTime()) this.#isDone = true;
    return !this.#isDone;
  }

  /** Called by the scan. */
  visit(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    if (main > this.#revision) return false;
    this.hashing?.take(main, sub, isTombstone, bytes, start, end);
    if (!this.#keeps(main, sub, isTombstone, bytes, start, end)) this.#doomed.push(main, sub, isTombstone ? 1 : 0);
    this.#nextMain = main;
    this.#nextSub = sub + 1;
    this.#left -= 1 + (end - start) / BYTES_PER_RECORD;
    return this.#hasTime();
  }

  #hasTime(): boolean {
    return this.#left > this.#kept.walked / NODES_PER_RECORD;
  }

  #keeps(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    // RevisionBumps has these; the compaction drops them at its end.
    if (start === end && !isTombstone) return true;
    const view = this.#view;
    view.parse(bytes, start, end, main, sub);
    const slot = this.#state.index.find(view.buffer, view.keyStart, view.keyEnd);
    // Left behind by somebody else's compaction: the index, loaded as of the last one, need not know of it. No reader does.
    if (slot === NONE) return true;
    return this.#kept.keeps(slot, main, sub);
  }
}
