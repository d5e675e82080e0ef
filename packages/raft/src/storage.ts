/**
 * What a node needs to read of its own durable log, and an implementation in memory. The node never writes through this
 * interface: it hands out entries, hard states and snapshots (see raw-node.ts) and whoever persists them also puts them
 * here, so that what is read here is always durable.
 *
 *       compacted        readable
 *   ─────────────────┼──────────────────┼──▶ index
 *            firstIndex - 1         lastIndex        the term of firstIndex - 1 is known, its entry is not
 */
import { assert } from "@quorate/world";
import { entrySizeBytes } from "./codec.ts";
import { Compacted, SnapshotOutOfDate } from "./errors.ts";
import { NO_BYTES, type Snapshot } from "./message.ts";
import { type ConfState, EMPTY_CONF_STATE, type Entry, type HardState, type Index, type Term } from "./types.ts";

export interface LogStorage {
  /** Read once, when a node starts. */
  initialState(): { readonly hardState: HardState; readonly confState: ConfState };
  /**
   * The entries in [lo, hi), in order: as many as fit `maxSizeBytes` (by `entrySizeBytes`), but at least one. Undefined
   * if `lo` is compacted. `hi` is at most lastIndex + 1. The array is the caller's; the entries are shared, immutable.
   */
  entries(lo: Index, hi: Index, maxSizeBytes: number): Entry[] | undefined;
  /** The term of an entry in [firstIndex - 1, lastIndex]; undefined outside. A compacted index is never term 0. */
  term(index: Index): Term | undefined;
  firstIndex(): Index;
  lastIndex(): Index;
  /**
   * The newest snapshot, for a follower that needs more than the log still has; undefined: not now, ask again later.
   * Once anything is compacted it must reach at least to firstIndex - 1, or it would help nobody.
   */
  snapshot(): Snapshot | undefined;
}

export const EMPTY_HARD_STATE: HardState = { term: 0 as Term, vote: 0n, commit: 0 as Index };

export const EMPTY_SNAPSHOT: Snapshot = {
  data: NO_BYTES,
  metadata: { confState: EMPTY_CONF_STATE, index: 0 as Index, term: 0 as Term },
};

/** The number of entries from `start` on that fit `maxSizeBytes`: at least one, unless there is none before `end`. */
export function countWithin(entries: readonly Entry[], start: number, end: number, maxSizeBytes: number): number {
  let at = start;
  let size = 0;
  while (at < end) {
    size += entrySizeBytes(entries[at]!);
    if (size > maxSizeBytes && at > start) break;
    at++;
  }
  return at - start;
}

/** A log held in memory. The member keeps the tail of its log in one, next to the segments on disk. */
export class MemoryLogStorage implements LogStorage {
  #hardState: HardState = EMPTY_HARD_STATE;
  #snapshot: Snapshot = EMPTY_SNAPSHOT;
  /** Id of the entry just before `#entries[0]`. */
  #compactedIndex: Index = 0 as Index;
  #compactedTerm: Term = 0 as Term;
  #entries: Entry[] = [];
  #sizeBytes = 0;

  /** Data bytes of the entries held. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#snapshot.metadata.confState };
  }

  setHardState(state: HardState): void {
    this.#hardState = state;
  }

  entries(lo: Index, hi: Index, maxSizeBytes: number): Entry[] | undefined {
    if (lo <= this.#compactedIndex) return undefined;
    assert(hi <= this.lastIndex() + 1, "entries are read up to the last index");
    const start = lo - this.#compactedIndex - 1;
    const end = hi - this.#compactedIndex - 1;
    return this.#entries.slice(start, start + countWithin(this.#entries, start, end, maxSizeBytes));
  }

  term(index: Index): Term | undefined {
    if (index === this.#compactedIndex) return this.#compactedTerm;
    return this.#entries[index - this.#compactedIndex - 1]?.term;
  }

  firstIndex(): Index {
    return (this.#compactedIndex + 1) as Index;
  }

  lastIndex(): Index {
    return (this.#compactedIndex + this.#entries.length) as Index;
  }

  snapshot(): Snapshot {
    return this.#snapshot;
  }

  /**
   * Puts entries after those they follow, replacing any that stand in their place. The array is borrowed until return;
   * entries are kept. Entries at or below what is compacted are passed over; a gap is a bug.
   */
  append(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const skip = Math.max(0, this.#compactedIndex + 1 - entries[0]!.index);
    if (skip >= entries.length) return;
    const at = entries[skip]!.index - this.#compactedIndex - 1;
    assert(at <= this.#entries.length, "entries are appended without a gap");
    for (let i = at; i < this.#entries.length; i++) this.#sizeBytes -= this.#entries[i]!.data.length;
    if (at < this.#entries.length) this.#entries.length = at;
    for (let i = skip; i < entries.length; i++) {
      this.#entries.push(entries[i]!);
      this.#sizeBytes += entries[i]!.data.length;
    }
  }

  /** The least index after which at most `sizeBytes` of entry data follow. */
  indexBefore(sizeBytes: number): Index {
    let at = this.#entries.length;
    for (let size = 0; at > 0; at--) {
      size += this.#entries[at - 1]!.data.length;
      if (size > sizeBytes) break;
    }
    return (this.#compactedIndex + at) as Index;
  }

  /**
   * Forgets entries up to and including `index`, which a snapshot should cover first. Throws Compacted if that has been
   * done already.
   */
  compact(index: Index): void {
    if (index <= this.#compactedIndex) throw new Compacted(index);
    assert(index <= this.lastIndex(), "a log is compacted up to its last index");
    const count = index - this.#compactedIndex;
    this.#compactedTerm = this.#entries[count - 1]!.term;
    this.#compactedIndex = index;
    for (let i = 0; i < count; i++) this.#sizeBytes -= this.#entries[i]!.data.length;
    this.#entries = this.#entries.slice(count);
  }

  /** Replaces everything by a snapshot from the leader. Throws SnapshotOutOfDate unless it is newer than the last. */
  applySnapshot(snapshot: Snapshot): void {
    const { index, term } = snapshot.metadata;
    if (index <= this.#snapshot.metadata.index) throw new SnapshotOutOfDate(index);
    this.#snapshot = snapshot;
    this.#compactedIndex = index;
    this.#compactedTerm = term;
    this.#entries = [];
    this.#sizeBytes = 0;
  }

  /**
   * Records a snapshot of our own, taken at `index`, which the log must reach; the log stays. `data` is kept. Throws
   * SnapshotOutOfDate unless it is newer than the last.
   */
  createSnapshot(index: Index, confState: ConfState, data: Uint8Array): Snapshot {
    if (index <= this.#snapshot.metadata.index) throw new SnapshotOutOfDate(index);
    const term = this.term(index);
    assert(term !== undefined, "a snapshot is taken inside the log");
    this.#snapshot = { data, metadata: { confState, index, term } };
    return this.#snapshot;
  }
}
