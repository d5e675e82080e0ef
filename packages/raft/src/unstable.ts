/**
 * The end of the log that is not yet known to be durable, and a snapshot received but not yet persisted.
 *
 *   storage            being written          not handed out yet
 *   ───────────┼─────────────────────────┼──────────────────────────┼
 *            offset               offsetInProgress         offset + entries.length
 *
 * Invariants: offset <= offsetInProgress <= offset + entries.length; entries are contiguous from offset; a snapshot,
 * while held, stands just before offset. A write that was overtaken by a truncation must not mark the new entries
 * durable: `stableTo` compares terms, and the node ignores answers of earlier terms (known failure RA-03).
 */
import type { Log } from "@quorate/world";
import { assert } from "@quorate/world";
import type { Snapshot } from "./message.ts";
import type { Entry, EntryId, Index, Term } from "./types.ts";

export class Unstable {
  #entries: Entry[] = [];
  #offset: Index;
  #offsetInProgress: Index;
  #snapshot: Snapshot | null = null;
  #snapshotInProgress = false;
  readonly #log: Log;

  constructor(offset: Index, log: Log) {
    this.#offset = offset;
    this.#offsetInProgress = offset;
    this.#log = log;
  }

  get offset(): Index {
    return this.#offset;
  }

  get offsetInProgress(): Index {
    return this.#offsetInProgress;
  }

  get length(): number {
    return this.#entries.length;
  }

  get snapshot(): Snapshot | null {
    return this.#snapshot;
  }

  /** The first index of the log, if a held snapshot decides it. */
  firstIndex(): Index | undefined {
    return this.#snapshot === null ? undefined : ((this.#snapshot.metadata.index + 1) as Index);
  }

  /** The last index of the log, unless storage decides it. */
  lastIndex(): Index | undefined {
    if (this.#entries.length > 0) return (this.#offset + this.#entries.length - 1) as Index;
    return this.#snapshot?.metadata.index;
  }

  term(index: Index): Term | undefined {
    if (index >= this.#offset) return this.#entries[index - this.#offset]?.term;
    const metadata = this.#snapshot?.metadata;
    return metadata !== undefined && metadata.index === index ? metadata.term : undefined;
  }

  /** Entries not handed out yet, to be written. The array is the caller's. */
  nextEntries(): Entry[] {
    return this.#entries.slice(this.#offsetInProgress - this.#offset);
  }

  hasNextEntries(): boolean {
    return this.#offsetInProgress < this.#offset + this.#entries.length;
  }

  /** The snapshot, if not handed out yet. */
  nextSnapshot(): Snapshot | null {
    return this.#snapshotInProgress ? null : this.#snapshot;
  }

  /** All there is has been handed out. */
  acceptInProgress(): void {
    this.#offsetInProgress = (this.#offset + this.#entries.length) as Index;
    if (this.#snapshot !== null) this.#snapshotInProgress = true;
  }

  /** The log is durable up to this entry, if it still is the one we hold. */
  stableTo(id: EntryId): void {
    const held = this.term(id.index);
    if (held === undefined) {
      this.#log.info(`entry at index ${id.index} missing from unstable log; ignoring`);
      return;
    }
    if (id.index < this.#offset) {
      this.#log.info(`entry at index ${id.index} matched unstable snapshot; ignoring`);
      return;
    }
    if (held !== id.term) {
      this.#log.info(
        `entry at (index,term)=(${id.index},${id.term}) mismatched with entry at (${id.index},${held}) in unstable log; ignoring`,
      );
      return;
    }
    const count = id.index + 1 - this.#offset;
    // A new array rather than a shift in place: what was dropped must not stay reachable.
    this.#entries = count === this.#entries.length ? [] : this.#entries.slice(count);
    this.#offset = (id.index + 1) as Index;
    if (this.#offsetInProgress < this.#offset) this.#offsetInProgress = this.#offset;
  }

  stableSnapshotTo(index: Index): void {
    if (this.#snapshot !== null && this.#snapshot.metadata.index === index) {
      this.#snapshot = null;
      this.#snapshotInProgress = false;
    }
  }

  /** Everything is replaced by a snapshot. */
  restore(snapshot: Snapshot): void {
    this.#offset = (snapshot.metadata.index + 1) as Index;
    this.#offsetInProgress = this.#offset;
    this.#entries = [];
    this.#snapshot = snapshot;
    this.#snapshotInProgress = false;
  }

  /** Appends `entries[start, ...)`, first cutting off whatever stands at or after their place. */
  truncateAndAppend(entries: readonly Entry[], start: number): void {
    const first = entries[start]!.index;
    const end = this.#offset + this.#entries.length;
    assert(first <= end, "entries are appended without a gap");
    if (first < end || first < this.#offset) {
      if (first <= this.#offset) {
        // The cut reaches into what is durable: storage will be truncated when these are written.
        this.#log.info(`replace the unstable entries from index ${first}`);
        this.#entries = [];
        this.#offset = first;
        this.#offsetInProgress = first;
      } else {
        this.#log.info(`truncate the unstable entries before index ${first}`);
        this.#entries.length = first - this.#offset;
        if (this.#offsetInProgress > first) this.#offsetInProgress = first;
      }
    }
    for (let i = start; i < entries.length; i++) this.#entries.push(entries[i]!);
  }

  /** Entries in [lo, hi), which lie here. The array is the caller's. */
  slice(lo: Index, hi: Index): Entry[] {
    assert(lo >= this.#offset && hi <= this.#offset + this.#entries.length, "unstable entries are read within bounds");
    return this.#entries.slice(lo - this.#offset, hi - this.#offset);
  }
}
