/**
 * The whole log of one node: what storage holds and what is not durable yet, and how far it is committed, handed out
 * for applying, and applied.
 *
 *   ──────────┼─────────────┼──────────────┼───────────────┼──▶ index
 *          applied       applying      committed        lastIndex
 *
 * Invariants: applied <= applying <= committed <= lastIndex; all but lastIndex never decrease; entries are contiguous
 * and their terms never decrease. The term of an index outside [firstIndex - 1, lastIndex] is unknown, not 0: a compacted
 * entry that compared equal to term 0 once let an empty append pass the match (known failure RA-13).
 */
import { assert, type Log } from "@quorate/world";
import { entrySizeBytes } from "./codec.ts";
import type { Snapshot } from "./message.ts";
import { countWithin, type LogStorage } from "./storage.ts";
import type { Entry, EntryId, Index, Term } from "./types.ts";
import { Unstable } from "./unstable.ts";

export class RaftLog {
  readonly #storage: LogStorage;
  readonly #unstable: Unstable;
  readonly #log: Log;
  #committed: Index;
  #applying: Index;
  #applied: Index;
  /** Encoded bytes handed out and not yet applied, and when to stop handing out more. */
  readonly #maxApplyingBytes: number;
  #applyingBytes = 0;
  #applyingPaused = false;

  constructor(storage: LogStorage, log: Log, maxApplyingBytes: number) {
    this.#storage = storage;
    this.#log = log;
    this.#maxApplyingBytes = maxApplyingBytes;
    const before = (storage.firstIndex() - 1) as Index;
    this.#committed = before;
    this.#applying = before;
    this.#applied = before;
    this.#unstable = new Unstable((storage.lastIndex() + 1) as Index, log);
  }

  get committed(): Index {
    return this.#committed;
  }

  get applying(): Index {
    return this.#applying;
  }

  get applied(): Index {
    return this.#applied;
  }

  firstIndex(): Index {
    return this.#unstable.firstIndex() ?? this.#storage.firstIndex();
  }

  lastIndex(): Index {
    return this.#unstable.lastIndex() ?? this.#storage.lastIndex();
  }

  lastEntryId(): EntryId {
    const index = this.lastIndex();
    const term = this.term(index);
    assert(term !== undefined, "the last entry's term is known");
    return { term, index };
  }

  /** Undefined if the entry is compacted or was never there. */
  term(index: Index): Term | undefined {
    return this.#unstable.term(index) ?? this.#storedTerm(index);
  }

  #storedTerm(index: Index): Term | undefined {
    // While a snapshot waits to be persisted, storage still holds the log it replaces; so bounds come first.
    if (index + 1 < this.firstIndex() || index > this.lastIndex()) return undefined;
    return this.#storage.term(index);
  }

  matches(id: EntryId): boolean {
    return this.term(id.index) === id.term;
  }

  /** Whether a log that ends with `last` has at least everything ours has committed (raft thesis §3.6.1). */
  isUpToDate(last: EntryId): boolean {
    const own = this.lastEntryId();
    return last.term > own.term || (last.term === own.term && last.index >= own.index);
  }

  /**
   * The highest entry at or below `index` whose term is at most `term`: no entry above it can agree with a log that has
   * `term` at `index`. Its own term is 0 if unknown.
   */
  findConflictByTerm(index: Index, term: Term): EntryId {
    for (; index > 0; index--) {
      const own = this.term(index);
      if (own === undefined) return { index, term: 0 as Term };
      if (own <= term) return { index, term: own };
    }
    return { index: 0 as Index, term: 0 as Term };
  }

  /**
   * A leader's entries that follow `previous`. Returns the last index they reach, or undefined if our log has a
   * different entry, or none, at `previous`. Commits up to `leaderCommit`, as far as these entries reach.
   */
  maybeAppend(previous: EntryId, entries: readonly Entry[], leaderCommit: Index): Index | undefined {
    if (!this.matches(previous)) return undefined;
    const last = (previous.index + entries.length) as Index;
    const conflict = this.#findConflict(entries);
    if (conflict < entries.length) {
      assert(entries[conflict]!.index > this.#committed, "a leader's entries agree with what is committed");
      this.append(entries, conflict);
    }
    this.commitTo(leaderCommit < last ? leaderCommit : last);
    return last;
  }

  /** Position of the first entry our log does not have; the number of entries if it has all. */
  #findConflict(entries: readonly Entry[]): number {
    // Most appends start right after our last entry, and then nothing needs to be compared.
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      const own = this.term(entry.index);
      if (own === entry.term) continue;
      if (entry.index <= this.lastIndex()) {
        this.#log.info(
          `found conflict at index ${entry.index} [existing term: ${own ?? 0}, conflicting term: ${entry.term}]`,
        );
      }
      return i;
    }
    return entries.length;
  }

  /** Appends `entries[start, ...)`, replacing what stands in their place. Returns the new last index. */
  append(entries: readonly Entry[], start: number): Index {
    if (start === entries.length) return this.lastIndex();
    assert(entries[start]!.index > this.#committed, "nothing at or below the commit index is replaced");
    this.#unstable.truncateAndAppend(entries, start);
    return this.lastIndex();
  }

  /** Never goes back. */
  commitTo(index: Index): void {
    if (index <= this.#committed) return;
    assert(index <= this.lastIndex(), "a commit index beyond the log: was the log truncated, corrupted or lost?");
    this.#committed = index;
  }

  /** Commits by counting, which is allowed only for an entry of the leader's own term (known failure RA-01). */
  maybeCommit(id: EntryId): boolean {
    if (id.term === 0 || id.index <= this.#committed || !this.matches(id)) return false;
    this.commitTo(id.index);
    return true;
  }

  restore(snapshot: Snapshot): void {
    const { index, term } = snapshot.metadata;
    this.#log.info(`log [${this.toString()}] starts to restore snapshot [index: ${index}, term: ${term}]`);
    this.#committed = index;
    this.#unstable.restore(snapshot);
  }

  nextUnstableEntries(): Entry[] {
    return this.#unstable.nextEntries();
  }

  hasNextUnstableEntries(): boolean {
    return this.#unstable.hasNextEntries();
  }

  /** Whether any entry is not known to be durable, handed out or not. */
  hasUnstableEntries(): boolean {
    return this.#unstable.length > 0;
  }

  nextUnstableSnapshot(): Snapshot | null {
    return this.#unstable.nextSnapshot();
  }

  hasUnstableSnapshot(): boolean {
    return this.#unstable.snapshot !== null;
  }

  /** Index of the snapshot that was taken up and is not durable yet; 0: none. */
  unstableSnapshotIndex(): Index {
    return this.#unstable.snapshot?.metadata.index ?? (0 as Index);
  }

  acceptUnstable(): void {
    this.#unstable.acceptInProgress();
  }

  stableTo(id: EntryId): void {
    this.#unstable.stableTo(id);
  }

  stableSnapshotTo(index: Index): void {
    this.#unstable.stableSnapshotTo(index);
  }

  /** Committed entries to apply next. With `allowUnstable`, they need not be durable here (they are on a quorum). */
  nextCommittedEntries(allowUnstable: boolean): Entry[] {
    if (!this.hasNextCommittedEntries(allowUnstable)) return [];
    const lo = (this.#applying + 1) as Index;
    const hi = (this.#maxAppliable(allowUnstable) + 1) as Index;
    const room = this.#maxApplyingBytes - this.#applyingBytes;
    assert(room > 0, "applying pauses before its budget is spent");
    const entries = this.slice(lo, hi, room);
    assert(entries !== undefined, "committed entries that are not applied are not compacted");
    return entries;
  }

  hasNextCommittedEntries(allowUnstable: boolean): boolean {
    if (this.#applyingPaused) return false;
    // The snapshot must be applied before what follows it.
    if (this.#unstable.snapshot !== null) return false;
    return this.#applying < this.#maxAppliable(allowUnstable);
  }

  #maxAppliable(allowUnstable: boolean): Index {
    if (allowUnstable || this.#committed < this.#unstable.offset) return this.#committed;
    return (this.#unstable.offset - 1) as Index;
  }

  /** Entries up to `index`, of `sizeBytes` in all, have been handed out. */
  acceptApplying(index: Index, sizeBytes: number, allowUnstable: boolean): void {
    assert(index <= this.#committed, "only committed entries are applied");
    this.#applying = index;
    this.#applyingBytes += sizeBytes;
    // Stop when the budget is spent, or when the next entry would have spent it.
    this.#applyingPaused = this.#applyingBytes >= this.#maxApplyingBytes || index < this.#maxAppliable(allowUnstable);
  }

  /** Entries up to `index` have been applied; `sizeBytes` is what of the budget that frees. */
  appliedTo(index: Index, sizeBytes: number): void {
    assert(index >= this.#applied && index <= this.#committed, "applied grows up to the commit index");
    this.#applied = index;
    if (this.#applying < index) this.#applying = index;
    this.#applyingBytes = Math.max(0, this.#applyingBytes - sizeBytes);
    this.#applyingPaused = this.#applyingBytes >= this.#maxApplyingBytes;
  }

  /** Entries from `lo` to the end, within `maxSizeBytes` but at least one if any. Undefined if `lo` is compacted. */
  entriesFrom(lo: Index, maxSizeBytes: number): Entry[] | undefined {
    const last = this.lastIndex();
    return lo > last ? [] : this.slice(lo, (last + 1) as Index, maxSizeBytes);
  }

  /** Entries in [lo, hi), within `maxSizeBytes` but at least one if lo < hi. Undefined if `lo` is compacted. */
  slice(lo: Index, hi: Index, maxSizeBytes: number): Entry[] | undefined {
    assert(lo <= hi && hi <= this.lastIndex() + 1, "entries are read within the log");
    if (lo < this.firstIndex()) return undefined;
    if (lo === hi) return [];
    const offset = this.#unstable.offset;
    if (lo >= offset) return shorten(this.#unstable.slice(lo, hi), maxSizeBytes);

    const cut = hi < offset ? hi : offset;
    const entries = this.#storage.entries(lo, cut, maxSizeBytes);
    if (entries === undefined || cut === hi || entries.length < cut - lo) return entries;
    const size = entriesSizeBytes(entries);
    if (size >= maxSizeBytes) return entries;
    const rest = shorten(this.#unstable.slice(offset, hi), maxSizeBytes - size);
    // Here the first of the rest has no right to be let through over the limit: something is returned already.
    if (rest.length === 1 && size + entrySizeBytes(rest[0]!) > maxSizeBytes) return entries;
    for (let i = 0; i < rest.length; i++) entries.push(rest[i]!);
    return entries;
  }

  snapshot(): Snapshot | undefined {
    return this.#unstable.snapshot ?? this.#storage.snapshot();
  }

  toString(): string {
    const unstable = this.#unstable;
    return (
      `committed=${this.#committed}, applied=${this.#applied}, applying=${this.#applying}, ` +
      `unstable.offset=${unstable.offset}, unstable.offsetInProgress=${unstable.offsetInProgress}, ` +
      `len(unstable.Entries)=${unstable.length}`
    );
  }
}

function shorten(entries: Entry[], maxSizeBytes: number): Entry[] {
  // Without a limit there is nothing to measure.
  if (maxSizeBytes === Number.POSITIVE_INFINITY) return entries;
  const count = countWithin(entries, 0, entries.length, maxSizeBytes);
  if (count < entries.length) entries.length = count;
  return entries;
}

/** Encoded bytes of all of them. */
export function entriesSizeBytes(entries: readonly Entry[]): number {
  let size = 0;
  for (let i = 0; i < entries.length; i++) size += entrySizeBytes(entries[i]!);
  return size;
}

/** Data bytes of all of them: what clients sent, without what the log adds. */
export function payloadSizeBytes(entries: readonly Entry[]): number {
  let size = 0;
  for (let i = 0; i < entries.length; i++) size += entries[i]!.data.length;
  return size;
}
