/**
 * The replicated key-value state: revisions, transactions, ranges, compaction and hashes over the key index and the
 * backend. Synchronous and deterministic: what it answers depends on what was applied and nothing else, so every member
 * that applies the same entries is the same.
 *
 *            requests                 commits
 *     member ────────▶  Store  ────────────────▶ watch
 *                      ╱  │   ╲
 *              KeyIndex   │    LeaseBook
 *              (memory)   │    (lessor)
 *                      Backend ──▶ Storage
 *                      (records, write-behind)
 *
 * Who calls: the member applies entries (`put`, `deleteRange`, `txn`, `begin`, `compact`) and answers reads (`get`,
 * `range`); the watch room reads history; the member's idle time drives `compactionStep` and hashes. All calls come from
 * one thread, and none from within another.
 *
 * Invariants:
 *  - the revision grows by exactly one with each transaction that changes something and never otherwise;
 *  - nothing is refused after the first change of a request;
 *  - compactRevision ≤ any revision that can be read ≤ revision.
 */

import { assert, type Log } from "@quorate/world";
import type { Backend } from "../backend/backend.ts";
import type { RecordSpan, RecordVisitor } from "../backend/storage.ts";
import { KeyIndexCheckpointError } from "../key-index/checkpoint.ts";
import { KeyIndex } from "../key-index/key-index.ts";
import { NONE } from "../key-index/limits.ts";
import { type CompactionWaiter, Compactor } from "./compactor.ts";
import { CompactedError, FutureRevisionError } from "./errors.ts";
import { CompactionHashes, type KvHash, KvHashing } from "./hash.ts";
import type { LeaseBook } from "./lease-book.ts";
import { evaluateRange, type RangeResult, readRevision } from "./range.ts";
import type { DeleteRangeInput, PutInput, RangeInput, TxnInput } from "./requests.ts";
import { IndexRestore, LeaseAttachment, RESTORE_CHUNK_RECORDS } from "./restore.ts";
import { type OperationCounts, StoreState } from "./state.ts";
import {
  type Checkpoint,
  CheckpointMismatchError,
  type CheckpointReader,
  CheckpointTask,
  type CheckpointWriter,
  checkpointHeader,
  readCheckpoint,
} from "./store-checkpoint.ts";
import { TablesHashing } from "./tables-hash.ts";
import { type DeleteRangeResult, Executor, type PutResult, type TxnResult } from "./txn.ts";
import { type CommitListener, WriteTxn } from "./write-txn.ts";

export interface StoreOptions {
  /** Fresh from its storage: nothing unflushed. */
  backend: Backend;
  /** With its leases restored, but no keys attached. */
  leases: LeaseBook;
  log: Log;
  /** Where to read a checkpoint of the index; absent: rebuild it from all records. One that does not fit is logged and not used. */
  checkpoint?: CheckpointReader;
  /** Records restored per scan. Default 10000. */
  restoreChunkRecords?: number;
}

export class Store {
  readonly #state: StoreState;
  readonly #write: WriteTxn;
  readonly #executor: Executor;
  readonly #hashes = new CompactionHashes();
  readonly #compactor: Compactor;

  private constructor(state: StoreState) {
    this.#state = state;
    this.#write = new WriteTxn(state);
    this.#executor = new Executor(state, this.#write);
    this.#compactor = new Compactor(state, this.#hashes);
  }

  /**
   * The store over what storage holds: a member's start and the installation of a snapshot alike. A compaction that was
   * interrupted is queued again.
   */
  static open(options: StoreOptions): Store {
    const opening = Store.startOpening(options);
    while (opening.step(options.restoreChunkRecords ?? RESTORE_CHUNK_RECORDS)) {
      // Until it is open.
    }
    return opening.store;
  }

  /**
   * The same in slices: step the result until it returns false, then take its store. Until then nobody else uses the
   * backend or the book of leases; giving it up before the end needs nothing. A checkpoint is read here, in one piece.
   */
  static startOpening(options: StoreOptions): StoreOpening {
    const { backend, leases, log } = options;
    assert(backend.unflushedCount === 0, "a store is opened on what is in storage");
    const checkpoint = options.checkpoint === undefined ? null : loadCheckpoint(backend, options.checkpoint, log);
    const state = new StoreState(checkpoint?.index ?? new KeyIndex(), backend, leases, log);
    const store = new Store(state);
    store.#compactor.restore();
    const restore = new IndexRestore(state, checkpoint?.lastMain ?? 0, checkpoint?.lastSub ?? -1);
    return new StoreOpening(store, state, restore);
  }

  /** Main revision of the newest transaction; 1 in a store never written to. */
  get revision(): number {
    return this.#state.revision;
  }

  /** Revisions below cannot be read; -1 if never compacted. */
  get compactRevision(): number {
    return this.#state.compactRevision;
  }

  get index(): KeyIndex {
    return this.#state.index;
  }

  get backend(): Backend {
    return this.#state.backend;
  }

  get counts(): OperationCounts {
    return this.#state.counts;
  }

  /** The one listener hears every commit from now on. */
  listen(listener: CommitListener): void {
    this.#write.listen(listener);
  }

  // Writing.

  /** Opens the write transaction, the same object each time; `commit` closes it. */
  begin(): WriteTxn {
    this.#write.open();
    return this.#write;
  }

  /**
   * Executes a put that passed `checkPut`. Throws LeaseNotFoundError or KeyNotFoundError, having changed nothing.
   * `respond` false: nobody waits for the answer, which then holds no records.
   */
  put(put: PutInput, respond = true): PutResult {
    return this.#executor.put(put, respond);
  }

  deleteRange(deleteRange: DeleteRangeInput, respond = true): DeleteRangeResult {
    return this.#executor.deleteRange(deleteRange, respond);
  }

  /**
   * Executes a txn that passed `checkTxn`, read-only ones too. Throws LeaseNotFoundError, KeyNotFoundError,
   * CompactedError or FutureRevisionError, having changed nothing. `respond` never changes what happens, only whether
   * ranges are run and records listed (known-failures AP-07).
   */
  txn(txn: TxnInput, respond = true): TxnResult {
    return this.#executor.txn(txn, respond);
  }

  // Reading. Records are valid until the next compaction step unless their revision is pinned.

  /**
   * One key at `revision`, 0 or less meaning now: points `span` at its record, borrowed until the next call of anything
   * here; false if it does not exist. Throws CompactedError or FutureRevisionError. Hot: bench/store.ts.
   */
  get(key: Uint8Array, keyStart: number, keyEnd: number, revision: number, span: RecordSpan): boolean {
    const state = this.#state;
    state.counts.ranges++;
    const at = readRevision(state, state.revision, revision);
    const slot = state.index.find(key, keyStart, keyEnd);
    if (slot === NONE) return false;
    const node = state.index.nodeAt(slot, at);
    if (node === NONE) return false;
    state.read(node, span);
    return true;
  }

  /** Answers a range that passed `checkRange`. Throws CompactedError or FutureRevisionError. */
  range(range: RangeInput): RangeResult {
    return evaluateRange(this.#state, this.#state.revision, range);
  }

  /**
   * Keeps compaction from removing what can be read at `revision` until `unpin`. For answers that take more than a turn
   * to send. The compaction itself is accepted all the same, and new reads below it are refused.
   * Throws CompactedError or FutureRevisionError.
   */
  pin(revision: number): void {
    this.#state.checkReadable(revision);
    this.#compactor.pin(revision);
  }

  unpin(revision: number): void {
    this.#compactor.unpin(revision);
  }

  /** The record of an index node, a put's or a tombstone's. Borrowed until the next call of anything here. */
  read(node: number, span: RecordSpan): void {
    this.#state.read(node, span);
  }

  /**
   * Every change still stored from `revision` on, ascending, until the visitor returns false. The visitor may read the
   * index; it must not call the store. From a revision not below the compacted one on nothing is missing.
   * Throws CompactedError for an earlier one.
   */
  changesFrom(revision: number, visitor: RecordVisitor): void {
    if (revision < this.#state.compactRevision) throw new CompactedError(revision, this.#state.compactRevision);
    const { backend, bumps } = this.#state;
    backend.scanRecords(revision, 0, bumps.isEmpty ? visitor : withoutBumps(visitor));
  }

  /**
   * What a key was before its change at `revision`: points `span` at the record visible at revision - 1; false if there
   * is none or it can no longer be read.
   */
  previous(key: Uint8Array, keyStart: number, keyEnd: number, revision: number, span: RecordSpan): boolean {
    const state = this.#state;
    if (revision - 1 < state.compactRevision) return false;
    const slot = state.index.find(key, keyStart, keyEnd);
    const node = slot === NONE ? NONE : state.index.nodeAt(slot, revision - 1);
    if (node === NONE) return false;
    state.read(node, span);
    return true;
  }

  // Compaction.

  /**
   * Gives up everything below `revision`, at once for readers and in the background for the disk. Throws CompactedError
   * or FutureRevisionError, having changed nothing.
   */
  compact(revision: number): void {
    assert(!this.#write.isOpen, "a compaction is not part of a transaction");
    this.#compactor.accept(revision);
  }

  /** Records written since the store was opened, tombstones included. */
  get writtenRecords(): number {
    return this.#state.backend.writtenRecords;
  }

  /**
   * Goes on with the compaction under way for about as long as `budget` records of a few hundred bytes take. Between
   * entries only; seals its work by telling the backend the applied index again. True if there is more to do now; false if
   * there is nothing, or a pin holds it.
   */
  compactionStep(budget: number): boolean {
    assert(!this.#write.isOpen, "compaction steps come between transactions");
    return this.#compactor.step(budget);
  }

  /** Compactions accepted and not carried out. */
  get pendingCompactions(): number {
    return this.#compactor.jobCount;
  }

  /** Calls the waiter once when all pending compactions are carried out, at once if there are none. Not yet flushed then. */
  whenCompacted(waiter: CompactionWaiter): void {
    this.#compactor.whenDone(waiter);
  }

  // Hashes.

  /**
   * Starts HashKV at `revision` (0 is now): step the result until it returns false, or cancel it. A
   * revision whose compaction hash is cached answers at once, with the compacted revision it was taken at. Holds back
   * later compactions meanwhile. Throws CompactedError or FutureRevisionError.
   */
  startHash(revision: number): HashTask {
    const state = this.#state;
    const cached = this.#hashes.at(revision);
    if (cached !== undefined) return new HashTask(cached, null, null);
    if (revision > 0 && revision < state.compactRevision) throw new CompactedError(revision, state.compactRevision);
    if (revision > state.revision) throw new FutureRevisionError(revision, state.revision);
    const { compactRevision } = state;
    const range = { revision: revision === 0 ? state.revision : revision, compactRevision, keepsTombstone: false };
    const hashing = new KvHashing(state, range);
    return new HashTask(hashing, hashing, this.#compactor);
  }

  /** The hashes of the newest compactions, at most ten, ascending by revision. */
  compactionHashes(): readonly KvHash[] {
    return this.#hashes.all();
  }

  /** Starts etcd's Hash over all tables in storage. Flush before; it is over what is durable. */
  startTablesHash(): TablesHashing {
    return new TablesHashing(this.#state.backend.storage);
  }

  // Checkpoint.

  /**
   * Starts writing the index aside, so that the next start reads it instead of every record: step the result until it
   * returns false, or cancel it. What is written is of this moment, whatever is put meanwhile; it may be used only once
   * storage has everything applied until now, so put the file in place after the flush that follows. null while a
   * compaction is pending, which comes first, when nothing was ever written, or when the revision was ever raised by a
   * restore, which no checkpoint knows of.
   */
  startCheckpoint(write: CheckpointWriter): CheckpointTask | null {
    assert(!this.#write.isOpen, "a checkpoint is not part of a transaction");
    if (this.#compactor.jobCount > 0 || !this.#state.bumps.isEmpty) return null;
    const header = checkpointHeader(this.#state, this.#state.revision, this.#compactor.finishedRevision);
    return header === null ? null : new CheckpointTask(this.#state, this.#compactor, header, write);
  }
}

/** A store being opened: first its records are indexed, then keys are hung on their leases. */
export class StoreOpening {
  readonly #store: Store;
  readonly #state: StoreState;
  readonly #leases: LeaseAttachment;
  /** Null when all records are indexed. */
  #restore: IndexRestore | null;
  #isDone = false;

  /** Made by {@link Store.startOpening}. */
  constructor(store: Store, state: StoreState, restore: IndexRestore) {
    this.#store = store;
    this.#state = state;
    this.#restore = restore;
    this.#leases = new LeaseAttachment(state);
  }

  /**
   * Takes in `budgetRecords` records, about a microsecond each, or as many keys; false when the store is open.
   * @throws RecordCorruptError
   */
  step(budgetRecords: number): boolean {
    assert(budgetRecords > 0, "a slice is not empty");
    if (this.#isDone) return false;
    if (this.#restore === null) {
      this.#isDone = !this.#leases.step(budgetRecords);
    } else if (!this.#restore.step(budgetRecords)) {
      const state = this.#state;
      // Compaction may have removed the newest revisions, tombstones, so that the records alone would lead the revision back.
      state.revision = Math.max(state.revision, this.#restore.lastMain, state.compactRevision);
      this.#restore = null;
    }
    return !this.#isDone;
  }

  /** Of a complete opening. */
  get store(): Store {
    assert(this.#isDone, "a store is used when it is open");
    return this.#store;
  }
}

/** A HashKV under way. */
export class HashTask {
  readonly #result: KvHash;
  readonly #hashing: KvHashing | null;
  /** Holds the pin; null once it is let go. */
  #pinned: Compactor | null;

  constructor(result: KvHash, hashing: KvHashing | null, pins: Compactor | null) {
    this.#result = result;
    this.#hashing = hashing;
    this.#pinned = pins;
    pins?.pin(result.compactRevision);
  }

  /** Takes in about `budget` records; false when the hash is complete. */
  step(budget: number): boolean {
    if (this.#hashing?.step(budget)) return true;
    this.cancel();
    return false;
  }

  /** Lets go before the end; a complete task needs no cancel. */
  cancel(): void {
    this.#pinned?.unpin(this.#result.compactRevision);
    this.#pinned = null;
  }

  /** Of a complete task. */
  get hash(): number {
    assert(this.#hashing?.isDone ?? true, "a hash is read when it is complete");
    return this.#result.hash;
  }

  get compactRevision(): number {
    return this.#result.compactRevision;
  }

  /** The revision it is of. */
  get revision(): number {
    return this.#result.revision;
  }
}

/** Nobody watches a change of no key. */
function withoutBumps(visitor: RecordVisitor): RecordVisitor {
  return {
    visit: (main, sub, isTombstone, bytes, start, end) =>
      start === end || visitor.visit(main, sub, isTombstone, bytes, start, end),
  };
}

function loadCheckpoint(backend: Backend, read: CheckpointReader, log: Log): Checkpoint | null {
  try {
    return readCheckpoint(backend.storage, read);
  } catch (error) {
    if (!(error instanceof CheckpointMismatchError) && !(error instanceof KeyIndexCheckpointError)) throw error;
    log.warn("the checkpoint of the key index is not used", { error });
    return null;
  }
}
