/**
 * Rebuilds a log from its records in the order in which etcd wrote them, and refuses what no etcd writes. Called while
 * reading; `finish` gives what a start would begin with.
 *
 *   entries   follow one another; one that comes again replaces itself and all behind it
 *   marks     count once what they speak of is committed: the newest of them is where the log begins, as it is for etcd.
 *             One ahead of the log, a snapshot from the leader, takes the place of the whole log
 *
 * The last hard state counts. Its commit may lie behind what the database has applied, because etcd does not make a commit
 * alone durable; it can never lie beyond the last entry.
 */
import { Buffer } from "node:buffer";
import { EMPTY_HARD_STATE, type Entry, type HardState, type Index, type Term } from "@quorate/raft";
import {
  decodeEntryRecord,
  decodeHardStateRecord,
  decodeIdentityRecord,
  decodeMarkRecord,
  type LogIdentity,
  MalformedRecord,
  type SnapshotMark,
} from "./records.ts";

export interface BuiltLog {
  readonly identity: LogIdentity;
  readonly hardState: HardState;
  readonly start: SnapshotMark;
  readonly entries: readonly Entry[];
}

export class LogBuilder {
  #metadata: Uint8Array | null = null;
  #hardState: HardState = EMPTY_HARD_STATE;
  /** What comes before the entries; null while no record has told. */
  #start: SnapshotMark | null = null;
  /** Beyond the start, in the order of their records. */
  #marks: SnapshotMark[] = [];
  #entries: Entry[] = [];

  /** Data is borrowed until return. */
  onMetadata(data: Uint8Array): void {
    if (this.#metadata === null) this.#metadata = Uint8Array.from(data);
    else if (Buffer.compare(this.#metadata, data) !== 0) throw new MalformedRecord("segments of different members");
  }

  onEntry(data: Uint8Array): void {
    // A copy, because an entry that is kept would keep its whole segment.
    const entry = decodeEntryRecord(Uint8Array.from(data));
    const entries = this.#entries;
    const last = this.#lastIndex;
    if (last !== null && entry.index > last + 1) {
      const mark = this.#marks.findLast(({ index }) => index === entry.index - 1);
      if (mark === undefined) throw new MalformedRecord(`entry ${entry.index} follows entry ${last}`);
      this.#begin(mark);
    } else if (last !== null && entry.index <= last) {
      this.#truncate(entry);
    }
    const before = entries.length > 0 ? entries[entries.length - 1]!.term : (this.#start?.term ?? 0);
    if (entry.term < before)
      throw new MalformedRecord(`entry ${entry.index} of term ${entry.term} follows term ${before}`);
    entries.push(entry);
  }

  onHardState(data: Uint8Array): void {
    const state = decodeHardStateRecord(data);
    const { term, commit } = this.#hardState;
    if (state.term < term) throw new MalformedRecord(`the term goes back from ${term} to ${state.term}`);
    if (state.commit < commit) throw new MalformedRecord(`commit goes back from ${commit} to ${state.commit}`);
    this.#hardState = state;
    this.#settle();
  }

  onMark(data: Uint8Array): void {
    const mark = decodeMarkRecord(data);
    if (mark.index === 0) {
      if (this.#start !== null || this.#entries.length > 0) throw new MalformedRecord("the log begins a second time");
      this.#start = mark;
      return;
    }
    if (this.#start !== null && mark.index <= this.#start.index) return;
    const known = this.#termAt(mark.index);
    // The leader's snapshot contradicts our entry, so none of those behind it can have been committed.
    if (known !== null && known !== mark.term) this.#cut(mark.index + 1);
    this.#marks.push(mark);
    this.#settle();
  }

  finish(): BuiltLog {
    if (this.#metadata === null) throw new MalformedRecord("no record says whose log it is");
    const start = this.#start;
    if (start === null) {
      const first = this.#entries[0]?.index ?? "none";
      throw new MalformedRecord(`the first entry is ${first}, and no snapshot mark tells what came before it`);
    }
    const { commit } = this.#hardState;
    if (start.index > commit) throw new MalformedRecord(`the log begins at ${start.index}, beyond commit ${commit}`);
    const last = this.#lastIndex!;
    if (commit > last) throw new MalformedRecord(`entries up to ${commit} were committed, the log ends at ${last}`);
    return {
      identity: decodeIdentityRecord(this.#metadata),
      hardState: this.#hardState,
      start,
      entries: this.#entries,
    };
  }

  /** Null while nothing tells. */
  get #lastIndex(): number | null {
    return this.#entries[this.#entries.length - 1]?.index ?? this.#start?.index ?? null;
  }

  #termAt(index: Index): Term | null {
    const first = this.#entries[0]?.index ?? 0;
    return this.#entries[index - first]?.term ?? null;
  }

  /** Makes room for an entry that comes again. */
  #truncate({ index, term }: Entry): void {
    const first = this.#entries[0]?.index ?? Number.POSITIVE_INFINITY;
    if (index < first) throw new MalformedRecord(`entry ${index} comes again, and the log begins behind it`);
    const isCommitted = index <= this.#hardState.commit;
    if (isCommitted && term !== this.#termAt(index)) {
      throw new MalformedRecord(`entry ${index} of term ${term} takes the place of a committed one`);
    }
    this.#cut(index);
  }

  #cut(fromIndex: number): void {
    const first = this.#entries[0]?.index ?? fromIndex;
    this.#entries.length = Math.min(this.#entries.length, Math.max(0, fromIndex - first));
  }

  /** Begins at the newest mark that is committed. */
  #settle(): void {
    const mark = this.#marks.findLast(({ index }) => index <= this.#hardState.commit);
    if (mark !== undefined) this.#begin(mark);
  }

  #begin(mark: SnapshotMark): void {
    this.#marks = this.#marks.filter(({ index }) => index > mark.index);
    const entries = this.#entries;
    const first = entries[0]?.index ?? 0;
    // Of an entry that went with a segment given up: a later mark has to be found.
    if (first > mark.index + 1) return;
    this.#start = mark;
    if (entries.length > 0) entries.splice(0, mark.index + 1 - first);
  }
}
