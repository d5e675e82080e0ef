/**
 * The log on disk: the source of truth of a member. Called by the member (`save` once per turn) and, at start, by whoever
 * builds it (`create`, `open`). The format and the rule of the tail are in `format.ts`.
 *
 * Invariants:
 *
 *   - `done(null)` means durable: entries, hard state and everything saved before them.
 *   - One save at a time, and it is one contiguous durable write. (A save larger than an eighth of a segment becomes
 *     several; a crash between them keeps a prefix of its entries, with the term and vote they came with.)
 *   - A failed write or sync makes the log unusable for good (known to lose data when retried): the caller ends the
 *     process and the next start reads what the disk really has.
 *   - A segment is given up only if all its entries lie before a durable snapshot mark.
 *
 *   idle ──save──▶ writing ──last batch durable──▶ idle          any ──disk error──▶ failed        idle ──close──▶ closed
 *                   │  ▲
 *                   └──┘ next batch; a cut first when the segment is full
 */
import type { Entry, HardState, Index } from "@quorate/raft";
import { assert, type Disk, type DiskFile, type Log, type Random } from "@quorate/world";
import { BatchWriter } from "./batch-writer.ts";
import { createLog, logExists } from "./create.ts";
import { diskError, WalTooLargeError } from "./errors.ts";
import {
  BATCH_HEADER_BYTES,
  batchGoalBytes,
  DEFAULT_SEGMENT_BYTES,
  ENTRIES_FIXED_BYTES,
  ENTRY_FIXED_BYTES,
  HARD_STATE_BYTES,
  HEAD_FIXED_BYTES,
  LABEL,
  MARK_FIXED_BYTES,
  maxConfStateBytes,
  maxEntryBytes,
  SECTOR_BYTES,
  sectorsFor,
} from "./format.ts";
import { openLog } from "./open.ts";
import type { ClosedSegment, OpenedLog } from "./opened-log.ts";
import type { SnapshotMark } from "./records.ts";
import type { Replay } from "./replay.ts";
import { chainSeed, saltOf } from "./sector.ts";
import type { SpareSegments } from "./spare-segments.ts";

export interface CreateOptions {
  readonly disk: Disk;
  /** Made if absent; its parent must exist. */
  readonly directory: string;
  /** Given back by every `open`; at most 1/16 of a segment. Copied. */
  readonly metadata: Uint8Array;
  readonly random: Random;
  readonly log: Log;
  /** Default 64 MiB; a multiple of 4096, from 16 KiB to 1 GiB. */
  readonly segmentBytes?: number;
}

export interface OpenOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly log: Log;
  /** Of new segments; those present keep theirs. Default 64 MiB. */
  readonly segmentBytes?: number;
  /** Whether the snapshot that a mark speaks of can be loaded. Default: always. */
  readonly isUsable?: (mark: SnapshotMark) => boolean;
  /** An index known to be in the log, such as the one applied by a durable store; a log that ends before it is refused. */
  readonly mustReach?: Index;
}

/** Told once, never synchronously. After an error the log is unusable. */
export type SaveDone = (error: Error | null) => void;

const NO_ENTRIES: readonly Entry[] = [];

export class Wal {
  readonly #segmentBytes: number;
  readonly #identity: bigint;
  readonly #salt: number;
  readonly #metadata: Uint8Array;
  readonly #writer: BatchWriter = new BatchWriter();
  readonly #spares: SpareSegments;
  /** Earlier segments still in the log, oldest first. */
  readonly #closed: ClosedSegment[];

  // The segment being written. `#chain` is the checksum of the last batch, of the previous segment while #position is 0.
  #file: DiskFile;
  #sequence: number;
  #sectorCount: number;
  #position: number;
  #chain: number;
  #previousEndSector = 0;

  // What is durable.
  #lastIndex: number;
  #lastTerm: number;
  #hardState: HardState | null;
  #mark: SnapshotMark | null;

  // The save under way; `#done` is null when there is none.
  #done: SaveDone | null = null;
  #entries: readonly Entry[] = NO_ENTRIES;
  #nextEntry = 0;
  #batchEnd = 0;
  #newHardState: HardState | null = null;
  #newMark: SnapshotMark | null = null;
  #replacesLog = false;

  #failure: Error | null = null;
  #isClosed = false;
  readonly #onDurable: SaveDone = (error) => this.#batchDone(error);
  readonly #onSpare: () => void = () => this.#continue();

  /** True if the directory holds a log, whole or damaged. Files that are not segments do not count. */
  static exists(options: { readonly disk: Disk; readonly directory: string }): boolean {
    return logExists(options.disk, options.directory);
  }

  /**
   * A new, empty log, durable on return. A crash on the way leaves either no log or a whole one. Throws WalExistsError,
   * WalTooLargeError, WalNoSpaceError, WalIoError.
   */
  static create(options: CreateOptions): Wal {
    return new Wal(createLog({ ...options, segmentBytes: options.segmentBytes ?? DEFAULT_SEGMENT_BYTES }));
  }

  /**
   * Reads everything, cuts off a torn tail, and makes durable what it read. Throws WalMissingError, WalCorruptError,
   * WalVersionError, WalSnapshotMissingError (after these nothing has changed on disk), WalNoSpaceError, WalIoError.
   */
  static open(options: OpenOptions): { wal: Wal; replay: Replay } {
    const { opened, replay } = openLog({ ...options, segmentBytes: options.segmentBytes ?? DEFAULT_SEGMENT_BYTES });
    return { wal: new Wal(opened), replay };
  }

  private constructor(opened: OpenedLog) {
    this.#segmentBytes = opened.segmentBytes;
    this.#identity = opened.identity;
    this.#salt = saltOf(opened.identity);
    this.#metadata = opened.metadata;
    this.#spares = opened.spares;
    this.#closed = opened.closed;
    this.#file = opened.file;
    this.#sequence = opened.sequence;
    this.#sectorCount = opened.sectorCount;
    this.#position = opened.position;
    this.#chain = opened.chain;
    this.#lastIndex = opened.lastIndex;
    this.#lastTerm = opened.lastTerm;
    this.#hardState = opened.hardState;
    this.#mark = opened.mark;
  }

  /** The index of the last durable entry, or of the mark that replaced the log; 0 for an empty log. */
  get lastIndex(): Index {
    return this.#lastIndex as Index;
  }

  /** What the log takes on disk, the prepared segments included. */
  get sizeBytes(): number {
    let total = this.#sectorCount * SECTOR_BYTES + this.#spares.sizeBytes;
    for (const segment of this.#closed) total += segment.sizeBytes;
    return total;
  }

  /** The largest entry data that `save` takes: half a segment. */
  get maxEntryBytes(): number {
    return maxEntryBytes(this.#segmentBytes);
  }

  /** The error after which the log became unusable, or null. */
  get failure(): Error | null {
    return this.#failure ?? this.#spares.failure;
  }

  /**
   * Makes entries and hard state durable. The entries continue the log or overwrite what is not committed; their order
   * and indexes are the caller's word. At least one of the two is given. `entries` and their data are borrowed until
   * `done`. Throws WalTooLargeError (nothing was written), and what made the log unusable.
   */
  save(entries: readonly Entry[], hardState: HardState | null, done: SaveDone): void {
    this.#assertIdle();
    assert(entries.length > 0 || hardState !== null, "a save has content");
    const lastIndex = entries.length > 0 ? this.#checkEntries(entries) : this.#lastIndex;
    if (hardState !== null) this.#checkHardState(hardState, lastIndex);
    this.#entries = entries;
    this.#newHardState = hardState;
    this.#start(done);
  }

  /**
   * Records that a snapshot of this member's own state exists, durable before this call, at an index that the log holds
   * and that is committed, by `hardState` if not before. Afterwards `release` may go up to it.
   */
  saveSnapshotMark(mark: SnapshotMark, hardState: HardState | null, done: SaveDone): void {
    this.#assertIdle();
    this.#checkMark(mark);
    assert(mark.index <= this.#lastIndex, "the log holds what its own snapshot covers");
    if (hardState !== null) this.#checkHardState(hardState, this.#lastIndex);
    assert(mark.index <= (hardState ?? this.#hardState)!.commit, "a snapshot covers committed entries only");
    this.#newMark = mark;
    this.#replacesLog = false;
    this.#newHardState = hardState;
    this.#start(done);
  }

  /**
   * Records that a snapshot received from the leader, durable before this call, takes the place of the whole log: the
   * next entry is the one after it. In the same write the hard state becomes `hardState`, its commit lowered to the
   * mark's index if it speaks of entries that follow.
   */
  replaceWithSnapshot(mark: SnapshotMark, hardState: HardState, done: SaveDone): void {
    this.#assertIdle();
    this.#checkMark(mark);
    assert(mark.index <= hardState.commit, "a snapshot covers committed entries only");
    assert(mark.index > (this.#hardState?.commit ?? 0), "a received snapshot is ahead of the log's commit");
    this.#checkHardState({ ...hardState, commit: mark.index }, mark.index);
    this.#newMark = mark;
    this.#replacesLog = true;
    this.#newHardState = hardState;
    this.#start(done);
  }

  /**
   * Gives up segments all of whose entries lie before `index`, which a durable mark covers. The segment that holds the
   * index stays. Throws what the disk met; the log is unusable then.
   */
  release(index: Index): void {
    assert(!this.#isClosed, "the log is open");
    if (this.failure !== null) throw this.failure;
    assert(this.#mark !== null && index <= this.#mark.index, "released entries are covered by a snapshot mark");
    try {
      // One at a time and oldest first, each durable before the next, so that a crash never leaves a gap.
      while (this.#closed.length > 0 && this.#closed[0]!.lastIndex < index) {
        const segment = this.#closed.shift()!;
        this.#spares.offer(segment.path, segment.sizeBytes);
      }
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /** Ends the use of the files. No save may be under way. Closing twice does nothing. */
  close(): void {
    if (this.#isClosed) return;
    assert(this.#done === null, "no save is under way when the log is closed");
    this.#isClosed = true;
    this.#spares.close();
    this.#file.close();
  }

  #assertIdle(): void {
    assert(!this.#isClosed, "the log is open");
    assert(this.#done === null, "one save at a time");
    if (this.failure !== null) throw this.failure;
  }

  /** Returns the last index after these entries. */
  #checkEntries(entries: readonly Entry[]): number {
    const first = entries[0]!;
    const limit = maxEntryBytes(this.#segmentBytes);
    assert(first.index <= this.#lastIndex + 1, "entries leave no gap");
    assert(first.index > (this.#hardState?.commit ?? 0), "committed entries are never overwritten");
    let index = first.index - 1;
    let term = first.index === this.#lastIndex + 1 ? this.#lastTerm : 0;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      index++;
      assert(entry.index === index, "entries are consecutive");
      assert(entry.term >= term, "terms never fall along the log");
      term = entry.term;
      if (entry.data.length > limit) throw new WalTooLargeError(`entry ${index}`, entry.data.length, limit);
    }
    return index;
  }

  #checkHardState(state: HardState, lastIndex: number): void {
    const before = this.#hardState;
    assert(state.commit <= lastIndex, "only entries in the log are committed");
    if (before === null) return;
    assert(state.term >= before.term, "the term never goes back");
    assert(state.commit >= before.commit, "commit never goes back");
  }

  #checkMark(mark: SnapshotMark): void {
    assert(this.#mark === null || mark.index >= this.#mark.index, "snapshot marks never go back");
    const limit = maxConfStateBytes(this.#segmentBytes);
    if (mark.confState.length > limit) throw new WalTooLargeError("conf state", mark.confState.length, limit);
  }

  #start(done: SaveDone): void {
    this.#nextEntry = 0;
    this.#done = done;
    try {
      this.#writeBatch();
    } catch (error) {
      const failure = this.#fail(error);
      this.#takeDone();
      throw failure;
    }
  }

  #continue(): void {
    try {
      this.#writeBatch();
    } catch (error) {
      const failure = this.#fail(error);
      this.#takeDone()(failure);
    }
  }

  /** Starts the next batch of the save under way, or the wait for a segment to hold it. */
  #writeBatch(): void {
    const entries = this.#entries;
    const goal = batchGoalBytes(this.#segmentBytes);
    const mark = this.#newMark;
    let bytes = LABEL.length + BATCH_HEADER_BYTES + ENTRIES_FIXED_BYTES + HARD_STATE_BYTES;
    if (mark !== null) bytes += MARK_FIXED_BYTES + mark.confState.length;
    let end = this.#nextEntry;
    while (end < entries.length) {
      const size = ENTRY_FIXED_BYTES + entries[end]!.data.length;
      if (end > this.#nextEntry && bytes + size > goal) break;
      bytes += size;
      end++;
    }
    if (this.#position > 0 && this.#position + sectorsFor(bytes) > this.#sectorCount && !this.#cut()) return;
    if (this.#position === 0) {
      bytes += HEAD_FIXED_BYTES + this.#metadata.length + (this.#mark?.confState.length ?? 0);
    }
    this.#batchEnd = end;
    this.#encode(end, bytes);
    const writer = this.#writer;
    assert(this.#position + writer.sectorCount <= this.#sectorCount, "a batch fits into its segment");
    this.#file.writeDurably(writer.buffer, 0, writer.endByte, this.#position * SECTOR_BYTES, this.#onDurable);
  }

  #encode(end: number, bytes: number): void {
    const writer = this.#writer;
    const startsSegment = this.#position === 0;
    writer.begin(startsSegment, bytes);
    if (startsSegment) {
      writer.head({
        previousChain: this.#chain,
        identity: this.#identity,
        sequence: this.#sequence,
        sectorCount: this.#sectorCount,
        previousEndSector: this.#previousEndSector,
        lastIndex: this.#lastIndex,
        metadata: this.#metadata,
        hardState: this.#hardState,
        mark: this.#mark,
      });
    }
    if (this.#newMark !== null) writer.mark(this.#newMark, this.#replacesLog);
    if (end > this.#nextEntry) writer.entries(this.#entries, this.#nextEntry, end);
    if (this.#newHardState !== null) writer.hardState(this.#newHardState, this.#commitAt(end));
    const chain = startsSegment ? chainSeed(this.#salt, this.#sequence) : this.#chain;
    writer.finish(this.#salt, this.#sequence, this.#position, chain);
  }

  /** The last index once the batch that ends before entry `end` is durable. */
  #lastIndexAt(end: number): number {
    if (end > this.#nextEntry) return this.#entries[end - 1]!.index;
    return this.#newMark !== null && this.#replacesLog ? this.#newMark.index : this.#lastIndex;
  }

  #commitAt(end: number): number {
    return Math.min(this.#newHardState!.commit, this.#lastIndexAt(end));
  }

  /** Goes to the next segment. False if that is not ready: `#continue` is called when it is. */
  #cut(): boolean {
    const spare = this.#spares.take(this.#onSpare);
    if (spare === null) return false;
    this.#closed.push({
      path: this.#file.path,
      sizeBytes: this.#sectorCount * SECTOR_BYTES,
      lastIndex: this.#lastIndex,
    });
    this.#file.close();
    this.#file = spare.file;
    this.#sequence = spare.sequence;
    this.#sectorCount = this.#segmentBytes / SECTOR_BYTES;
    this.#previousEndSector = this.#position;
    this.#position = 0;
    return true;
  }

  #batchDone(error: Error | null): void {
    if (error !== null) {
      const failure = this.#fail(diskError("write", this.#file.path, error));
      this.#takeDone()(failure);
      return;
    }
    const end = this.#batchEnd;
    this.#position += this.#writer.sectorCount;
    this.#chain = this.#writer.chain;
    if (this.#newHardState !== null) {
      const { term, vote } = this.#newHardState;
      this.#hardState = { term, vote, commit: this.#commitAt(end) as Index };
    }
    this.#lastIndex = this.#lastIndexAt(end);
    if (end > this.#nextEntry) this.#lastTerm = this.#entries[end - 1]!.term;
    if (this.#newMark !== null) {
      this.#mark = this.#newMark;
      if (this.#replacesLog) this.#lastTerm = this.#newMark.term;
      this.#newMark = null;
    }
    this.#nextEntry = end;
    if (end < this.#entries.length) {
      this.#continue();
      return;
    }
    try {
      this.#spares.advance(this.#position * SECTOR_BYTES);
    } catch (failure) {
      // What was saved is durable all the same; the next save throws this.
      this.#fail(failure);
    }
    this.#takeDone()(null);
  }

  /** The save is over: forgets it first, because `done` may begin the next. */
  #takeDone(): SaveDone {
    const done = this.#done!;
    this.#done = null;
    this.#entries = NO_ENTRIES;
    this.#newHardState = null;
    this.#newMark = null;
    return done;
  }

  #fail(error: unknown): Error {
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
    return this.#failure;
  }
}
