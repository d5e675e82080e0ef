/**
 * Rebuilds the log's state from its records, and refuses a history that no correct writer produces. Called while
 * opening; afterwards `Replay` is what the member starts from.
 *
 *   entries   consecutive; one may overwrite those from its index on, but nothing committed
 *   hardState term and commit never go back; commit never passes the last entry
 *   mark      never goes back, never passes commit; either lies within the log or replaces it
 */
import { Buffer } from "node:buffer";
import type { EntryType, HardState, Index, Term } from "@quorate/raft";
import { Entry } from "@quorate/raft";
import { type Head, MalformedRecord, type RecordVisitor, type SnapshotMark } from "./records.ts";

/** What a log contains. The caller owns all of it. */
export interface Replay {
  readonly metadata: Uint8Array;
  /** Null if none was ever saved. */
  readonly hardState: HardState | null;
  /** The newest mark whose snapshot is usable; null if there is none and the log begins at index 1. */
  readonly snapshotMark: SnapshotMark | null;
  /** Every entry after the mark, consecutive. */
  readonly entries: readonly Entry[];
  /** The last index of the log: of the last entry, or of the mark, or 0. */
  readonly lastIndex: Index;
}

export class ReplayBuilder implements RecordVisitor {
  readonly #isUsable: (mark: SnapshotMark) => boolean;
  #metadata: Uint8Array | null = null;
  #hardState: HardState | null = null;
  /** The newest mark seen, whether or not its snapshot is usable. */
  #newestMark: SnapshotMark | null = null;
  #usableMark: SnapshotMark | null = null;
  #entries: Entry[] = [];
  #lastIndex = 0;
  /** The head of the segment at hand, for the opener to compare with the previous segment. */
  head: Head | null = null;

  constructor(isUsable: (mark: SnapshotMark) => boolean) {
    this.#isUsable = isUsable;
  }

  onHead(head: Head): void {
    if (this.head !== null && this.head.sequence === head.sequence) throw new MalformedRecord("a second segment head");
    if (this.#metadata === null) {
      this.#metadata = head.metadata;
      this.#hardState = head.hardState;
      this.#lastIndex = head.lastIndex;
      this.#newestMark = head.mark;
      if (head.mark !== null && this.#isUsable(head.mark)) this.#usableMark = head.mark;
    } else {
      if (Buffer.compare(head.metadata, this.#metadata) !== 0) throw new MalformedRecord("segments differ in metadata");
      if (head.lastIndex !== this.#lastIndex) {
        throw new MalformedRecord(`segment continues from index ${head.lastIndex}, the log ends at ${this.#lastIndex}`);
      }
      if (!sameHardState(head.hardState, this.#hardState)) throw new MalformedRecord("segments differ in hard state");
    }
    this.head = head;
  }

  onEntry(type: EntryType, term: Term, index: Index, data: Uint8Array): void {
    const commit = this.#hardState?.commit ?? 0;
    if (index <= commit) throw new MalformedRecord(`entry ${index} would overwrite what is committed up to ${commit}`);
    if (index > this.#lastIndex + 1) {
      throw new MalformedRecord(`entry ${index} follows entry ${this.#lastIndex}`);
    }
    const entries = this.#entries;
    if (entries.length > 0) entries.length = Math.min(entries.length, Math.max(0, index - entries[0]!.index));
    const previous = entries.length > 0 ? entries[entries.length - 1]!.term : this.#termAt(index - 1);
    if (term < previous) throw new MalformedRecord(`entry ${index} has term ${term} after term ${previous}`);
    entries.push(new Entry(type, term, index, data));
    this.#lastIndex = index;
  }

  onHardState(state: HardState): void {
    const before = this.#hardState;
    if (before !== null && state.term < before.term) {
      throw new MalformedRecord(`term goes back from ${before.term} to ${state.term}`);
    }
    if (before !== null && state.commit < before.commit) {
      throw new MalformedRecord(`commit goes back from ${before.commit} to ${state.commit}`);
    }
    this.#hardState = state;
  }

  onMark(mark: SnapshotMark, replacesLog: boolean): void {
    const newest = this.#newestMark;
    if (newest !== null && mark.index < newest.index) {
      throw new MalformedRecord(`snapshot mark goes back from ${newest.index} to ${mark.index}`);
    }
    if (replacesLog) {
      this.#entries = [];
      this.#lastIndex = mark.index;
    } else if (mark.index > this.#lastIndex) {
      throw new MalformedRecord(`snapshot mark ${mark.index} is beyond the last entry ${this.#lastIndex}`);
    }
    const known = this.#termAt(mark.index);
    if (!replacesLog && known > 0 && known !== mark.term) {
      throw new MalformedRecord(`snapshot mark ${mark.index} has term ${mark.term}, its entry has term ${known}`);
    }
    this.#newestMark = mark;
    if (!this.#isUsable(mark)) return;
    this.#usableMark = mark;
    const first = this.#entries[0];
    if (first !== undefined && first.index <= mark.index) this.#entries.splice(0, mark.index - first.index + 1);
  }

  /** After the last record of each batch, when the batch must make sense as a whole. */
  onBatchEnd(): void {
    const commit = this.#hardState?.commit ?? 0;
    if (commit > this.#lastIndex) {
      throw new MalformedRecord(`commit ${commit} is beyond the last entry ${this.#lastIndex}`);
    }
    if (this.#newestMark !== null && this.#newestMark.index > commit) {
      throw new MalformedRecord(`snapshot mark ${this.#newestMark.index} is beyond commit ${commit}`);
    }
  }

  /**
   * The first index that has neither entry nor usable snapshot before it, or 0 if there is no such hole. A hole means the
   * snapshot that justified cutting the log cannot be used.
   */
  holeBefore(): number {
    const start = this.#usableMark?.index ?? 0;
    const first = this.#entries[0];
    if (first === undefined) return this.#lastIndex > start ? this.#lastIndex + 1 : 0;
    return first.index > start + 1 ? first.index : 0;
  }

  /** The newest mark, whether or not its snapshot is usable. */
  get newestMark(): SnapshotMark | null {
    return this.#newestMark;
  }

  get lastIndex(): number {
    return this.#lastIndex;
  }

  /** The term of the last entry, or 0 if the log does not tell. */
  get lastTerm(): number {
    return this.#termAt(this.#lastIndex);
  }

  get usableIndex(): number {
    return this.#usableMark?.index ?? 0;
  }

  build(): Replay {
    return {
      metadata: this.#metadata ?? new Uint8Array(0),
      hardState: this.#hardState,
      snapshotMark: this.#usableMark,
      entries: this.#entries,
      lastIndex: this.#lastIndex as Index,
    };
  }

  /** The term of the entry or usable mark at `index`, 0 if it is not known. */
  #termAt(index: number): number {
    if (this.#usableMark !== null && this.#usableMark.index === index) return this.#usableMark.term;
    const first = this.#entries[0];
    if (first === undefined || index < first.index) return 0;
    return this.#entries[index - first.index]?.term ?? 0;
  }
}

function sameHardState(a: HardState | null, b: HardState | null): boolean {
  if (a === null || b === null) return a === b;
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit;
}
