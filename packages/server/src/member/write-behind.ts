/**
 * When applied state goes to storage and how far the log may follow it: every so often, or when much has gathered, or when
 * somebody waits for it. Driven by the member after each turn; owns no state but its own timing.
 *
 *   applied ──▶ due? ──▶ backend.flush ──durable──▶ whoever waited
 *                                          │
 *                                          └──▶ often enough: mark in the log ──durable──▶ segments behind it released,
 *                                                                                          index checkpoint written
 *
 * Invariants:
 *  - a mark names an index that storage has durably, with the configuration in force there (known failures SN-01, WA-18);
 *  - one flush at a time; whoever asks while one is under way waits for the next, which begins after;
 *  - after a failed flush the owner ends the process and nobody who waited is told anything else.
 */
import type { Backend } from "@quorate/mvcc";
import {
  type ConfState,
  type HardState,
  index,
  type MemoryLogStorage,
  type SnapshotMetadata,
  type Term,
} from "@quorate/raft";
import type { SnapshotMark, Wal } from "@quorate/wal";
import type { Clock, Timer, Timers } from "@quorate/world";
import { confStateJson } from "./conf-state.ts";
import type { IndexFile } from "./index-file.ts";
import type { LogWriter } from "./log-writer.ts";

export interface WriteBehindOptions {
  readonly flushIntervalMs: number;
  readonly flushOperations: number;
  /** Flushed entries after which the log is marked and cut. */
  readonly snapshotCount: number;
  /** Entries kept in memory behind what is flushed, for slow followers. */
  readonly catchUpEntries: number;
  readonly clock: Clock;
  readonly timers: Timers;
}

export interface WriteBehindParts {
  readonly backend: Backend;
  readonly logWriter: LogWriter;
  readonly logStorage: MemoryLogStorage;
  readonly wal: Wal;
  readonly indexFile: IndexFile;
}

export interface WriteBehindOwner {
  /** In force at the applied index. */
  confState(): ConfState;
  /** What the log may be told with a mark. */
  hardStateForMark(): HardState;
  /** Entries after this index will be sent to somebody: kept in memory; Infinity: nobody needs any. */
  neededIndex(): number;
  /** Storage has everything up to here. */
  flushed(tookMs: number, mark: SnapshotMetadata): void;
  failed(error: Error): void;
}

/** Unflushed state beyond this is flushed at once, whatever the interval says. */
const FLUSH_BYTES = 16 * 1024 * 1024;
/**
 * Beyond this much unflushed state nothing more is taken into the log until a flush has ended, and no more is dropped. That
 * bounds memory, and the transaction: LMDB commits at most 131,071 changed pages at once, records fill theirs one after the
 * other, but a dropped record or a changed key may cost a page of its own.
 */
const BEHIND_BYTES = 128 * 1024 * 1024;
const BEHIND_CHANGES = 24_000;
const BEHIND_DROPS = 48_000;
/**
 * Entries may be large, so both cuts also count bytes: what a start has to read and apply again, and what the log keeps in
 * memory, must not grow with the size of values.
 */
const MARK_BYTES = 64 * 1024 * 1024;
const CATCH_UP_BYTES = 64 * 1024 * 1024;
/** Beyond this even a follower that is being served has to take a snapshot instead. */
const NEEDED_BYTES = 256 * 1024 * 1024;
/** Compacting the log in memory moves what is left, so it is done by the thousand, or by as many as are kept. */
const COMPACT_LOG_ENTRIES = 2500;

export class WriteBehind {
  readonly #parts: WriteBehindParts;
  readonly #options: WriteBehindOptions;
  readonly #owner: WriteBehindOwner;
  #timer: Timer | null = null;
  #waiters: (() => void)[] = [];
  /** Those the flush under way will satisfy. */
  #flushing: (() => void)[] = [];
  /** In force at what storage has. */
  #flushedConfState: ConfState;
  #startedMs = 0;
  /** Entry data applied since the last mark. */
  #unmarkedBytes = 0;
  #isClosing = false;
  #isAbandoned = false;

  constructor(parts: WriteBehindParts, options: WriteBehindOptions, owner: WriteBehindOwner) {
    this.#parts = parts;
    this.#options = options;
    this.#owner = owner;
    this.#flushedConfState = owner.confState();
  }

  /** On the clock: when the last flush began; 0 before the first. */
  get lastFlushMs(): number {
    return this.#startedMs;
  }

  /** Applied state outgrows what storage can take. */
  get isBehind(): boolean {
    const { unflushedBytes, unflushedChanges } = this.#parts.backend;
    return unflushedBytes > BEHIND_BYTES || unflushedChanges > BEHIND_CHANGES;
  }

  /** Whether the next flush can take what a slice of a compaction removes. */
  get takesDrops(): boolean {
    return this.#parts.backend.gatheredDrops <= BEHIND_DROPS;
  }

  /** Entries of so many data bytes were applied, or state has changed otherwise: flushes now if much has gathered. */
  applied(entryBytes: number): void {
    const { backend } = this.#parts;
    this.#unmarkedBytes += entryBytes;
    if (backend.unflushedCount >= this.#options.flushOperations || backend.unflushedBytes >= FLUSH_BYTES) {
      this.#flush();
    } else {
      this.#flushLater();
    }
  }

  #flushLater(): void {
    if (this.#timer !== null || this.#isClosing) return;
    this.#timer = this.#options.timers.after(this.#options.flushIntervalMs, () => {
      this.#timer = null;
      this.#flush();
    });
  }

  /** Calls back when everything applied so far is durable in storage. */
  whenFlushed(done: () => void): void {
    this.#waiters.push(done);
    this.#flush();
  }

  /** Another state takes this one's place: nothing is flushed or marked any more, and whoever waits goes on waiting. */
  abandon(): void {
    this.#isAbandoned = true;
    this.#isClosing = true;
    this.#timer?.cancel();
  }

  /** Those who wait for a flush, when what they wait for has been superseded by what was installed. */
  takeWaiters(): (() => void)[] {
    return [...this.#flushing.splice(0), ...this.#waiters.splice(0)];
  }

  /** Flushes everything, marks the log, writes the checkpoint, and closes them all. Nothing may be saved meanwhile. */
  close(done: (error: Error | null) => void): void {
    this.#isClosing = true;
    this.#timer?.cancel();
    this.#parts.logWriter.whenIdle(() => this.#flushLast(done));
  }

  #flush(): void {
    const { backend } = this.#parts;
    if (backend.isFlushing || this.#isAbandoned) return;
    this.#flushing = this.#waiters;
    this.#waiters = [];
    const startedMs = this.#options.clock.monotonicMs();
    this.#startedMs = startedMs;
    const confState = this.#owner.confState();
    backend.flush((error) => {
      if (this.#isAbandoned) return;
      if (error !== null) {
        this.#owner.failed(error);
        return;
      }
      this.#flushedConfState = confState;
      for (const done of this.#flushing.splice(0)) done();
      this.#cutLog();
      if (this.#waiters.length > 0) this.#flush();
      // The timer may have come while the disk worked. Nothing else may ever be applied, others may need a snapshot, and
      // consensus may be waiting for room.
      else if (backend.appliedIndex > backend.flushedIndex || backend.unflushedCount > 0) this.#flushLater();
      this.#owner.flushed(this.#options.clock.monotonicMs() - startedMs, this.#flushedMetadata());
    });
  }

  #flushedMetadata(): SnapshotMetadata {
    const { flushedIndex, flushedTerm } = this.#parts.backend;
    return { index: index(flushedIndex), term: flushedTerm as Term, confState: this.#flushedConfState };
  }

  #flushLast(done: (error: Error | null) => void): void {
    const { backend, logWriter } = this.#parts;
    if (backend.isFlushing) {
      this.#waiters.push(() => this.#flushLast(done));
      return;
    }
    const confState = this.#owner.confState();
    backend.flush((error) => {
      if (error !== null) {
        done(error);
        return;
      }
      this.#flushedConfState = confState;
      logWriter.mark(this.#mark(), this.#owner.hardStateForMark(), () => this.#closeParts(done));
    });
  }

  #closeParts(done: (error: Error | null) => void): void {
    const { indexFile, wal, backend } = this.#parts;
    indexFile.saveNow();
    wal.close();
    backend.storage.close(done);
  }

  #cutLog(): void {
    const { backend, logWriter, indexFile } = this.#parts;
    this.#forgetEntries();
    const isDue =
      backend.flushedIndex - logWriter.markedIndex >= this.#options.snapshotCount || this.#unmarkedBytes >= MARK_BYTES;
    if (this.#isClosing || !isDue) return;
    this.#unmarkedBytes = 0;
    logWriter.mark(this.#mark(), this.#owner.hardStateForMark(), () => {});
    indexFile.saveIfDue();
  }

  /**
   * Entries that storage has are kept in memory for followers that were away for a moment, so many and so many bytes of
   * them; for who is being served they are kept beyond that, up to a limit that protects this member.
   */
  #forgetEntries(): void {
    const { backend, logStorage } = this.#parts;
    let keepFrom = backend.flushedIndex - this.#options.catchUpEntries;
    if (logStorage.sizeBytes > CATCH_UP_BYTES) {
      keepFrom = Math.max(keepFrom, Math.min(backend.flushedIndex, logStorage.indexBefore(CATCH_UP_BYTES / 2)));
    }
    if (logStorage.sizeBytes <= NEEDED_BYTES) keepFrom = Math.min(keepFrom, this.#owner.neededIndex());
    const count = keepFrom - logStorage.firstIndex();
    const due = Math.max(1, Math.min(COMPACT_LOG_ENTRIES, this.#options.catchUpEntries));
    if (count >= due || (count > 0 && logStorage.sizeBytes > CATCH_UP_BYTES)) {
      logStorage.compact(index(keepFrom));
    }
  }

  #mark(): SnapshotMark {
    const { index, term, confState } = this.#flushedMetadata();
    return { index, term, confState: Buffer.from(confStateJson(confState)) };
  }
}
