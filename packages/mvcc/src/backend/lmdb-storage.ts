/**
 * Storage on disk: LMDB, read by this thread and written by a worker. The file layout and LMDB's options are in
 * lmdb-environment.ts, the writing in lmdb-worker.ts.
 *
 *     this thread                              worker
 *     commit ── batch, chunks shared ───────▶  one synced transaction
 *     renew the read transaction  ◀──────────  done, sizes
 *     done(null)
 *
 *     defragment ───────────────────────────▶  a thread of its own: copy, fsync   (commits go on)
 *     catch up, again and again  ◀───────────  ended
 *     drops since then ─────────────────────▶  a part of what the copy misses, fsync   (commits go on between parts)
 *     no commits until reopened  ◀───────────  little is missing
 *     drops since then ─────────────────────▶  what the copy misses, fsync, rename, fsync directory, close
 *     close old file, open new one  ◀────────  done
 *     reopen ───────────────────────────────▶  open
 *
 *     writeSnapshot ────────────────────────▶  a thread of its own: one read transaction, written to a file
 *     done(null, cut)  ◀────────────────────── ended
 *
 * Invariants:
 *  - `done(null)` is called after this thread's read transaction has been renewed, so the batch can be read from then
 *    on;
 *  - the worker starts with the first commit. It keeps the process alive only while it is asked for something;
 *  - a defragmentation and a snapshot never run at the same time (known-failures SN-03): one would put another file in
 *    the place of the one that the other reads. Of defragmentations there is one at most: whoever asks meanwhile shares it;
 *  - a request that failed, or a worker that is gone, fails this request and every later one. Reads go on.
 */
import type { Worker } from "node:worker_threads";
import { assert } from "@quorate/world";
import { DroppedMeanwhile } from "./dropped-meanwhile.ts";
import type { Revision } from "./history-key.ts";
import { type CopyTask, runCopy } from "./lmdb-copy.ts";
import {
  closeEnvironment,
  DEFAULT_MAP_BYTES,
  databaseInode,
  defragmentedPath,
  type Environment,
  type EnvironmentSizes,
  LentBytes,
  measureEnvironment,
  openEnvironment,
  prepareDirectory,
  removeDatabase,
  removeDirectory,
  scanStoredRecords,
  scanTable,
} from "./lmdb-environment.ts";
import type { Answer, Request, WorkerData } from "./lmdb-messages.ts";
import { removeMade, runSnapshot, type SnapshotWork } from "./lmdb-snapshot.ts";
import { COMMIT_RESERVE_BYTES } from "./lmdb-space.ts";
import { startThread } from "./lmdb-thread.ts";
import { asSnapshotError } from "./snapshot-file.ts";
import {
  type DatabaseCut,
  DefragmentError,
  type RecordSpan,
  type RecordVisitor,
  type SnapshotLifetime,
  type SnapshotTask,
  type Storage,
  type StorageBatch,
  StorageFailedError,
  type Table,
} from "./storage.ts";

/** Of a first pass over what was committed while a copy was made: 32 MiB or 32,000 records, for which commits wait. */
const PASS_TRANSACTIONS = 4;
/** Numbers, two of each record dropped. */
const PASS_DROPS = 192_000;
/** After so many, passes are twice as large: whatever the commits between them bring, there is an end. */
const PASSES_OF_A_SIZE = 8;
const PASSES_MAX = 64;

export interface LmdbStorageOptions {
  /** Created if missing. */
  directory: string;
  /** Address space to reserve for the database; it takes no memory and no disk. Default 1 TiB. */
  mapBytes?: number;
  /** Disk that defragmentations and snapshots leave free for commits and the log. Default 512 MiB. */
  reserveBytes?: number;
}

export class LmdbStorage implements Storage {
  readonly #directory: string;
  readonly #mapBytes: number;
  readonly #reserveBytes: number;
  #environment: Environment;
  #inode: bigint;
  #sizes: EnvironmentSizes;
  #worker: Worker | null = null;
  /** What the worker is asked to do at present, in words. */
  #operation = "";
  #answered: ((answer: Answer) => void) | null = null;
  #isBusy = false;
  /** Operations that wait for the one under way. */
  readonly #waiting: (() => void)[] = [];
  /** Snapshots and defragmentations in order of arrival; the first is under way. */
  readonly #maintenance: (() => void)[] = [];
  /** Not ended yet, those that wait included. */
  readonly #snapshots = new Set<SnapshotTask>();
  /** By commits that had not ended when the copy under way was begun; null: none is under way. */
  #droppedMeanwhile: DroppedMeanwhile | null = null;
  /** Of the commit under way. */
  #dropping: Float64Array | null = null;
  /** Whoever asked for the defragmentation that waits or is under way: they share it. */
  #defragmenting: ((error: Error | null) => void)[] | null = null;
  #copying: CopyTask | null = null;
  #failure: StorageFailedError | null = null;
  #isCommitting = false;
  #isClosing = false;

  readonly #key: Revision = { main: 0, sub: 0, isTombstone: false };
  readonly #value = new LentBytes();

  /**
   * Opens the directory; synchronous, a few milliseconds.
   * @throws StorageVersionError if another format wrote it, StorageDamagedError if its database is damaged where LMDB
   *   would crash; the operating system's or LMDB's error otherwise.
   */
  constructor(options: LmdbStorageOptions) {
    this.#directory = options.directory;
    this.#mapBytes = options.mapBytes ?? DEFAULT_MAP_BYTES;
    this.#reserveBytes = options.reserveBytes ?? COMMIT_RESERVE_BYTES;
    prepareDirectory(this.#directory, this.#mapBytes);
    this.#environment = openEnvironment(this.#directory, this.#mapBytes);
    this.#inode = databaseInode(this.#directory);
    this.#sizes = measureEnvironment(this.#environment);
  }

  get(table: Table, key: Uint8Array): Uint8Array | undefined {
    return this.#environment.tables[table].getBinary(key);
  }

  scan(table: Table, visit: (key: Uint8Array, value: Uint8Array) => void): void {
    scanTable(this.#environment, table, visit);
  }

  readRecord(main: number, sub: number, isTombstone: boolean, span: RecordSpan): boolean {
    const key = this.#key;
    key.main = main;
    key.sub = sub;
    key.isTombstone = isTombstone;
    const lender = this.#environment.records.getBinaryFast(key);
    if (lender === undefined) return false;
    this.#value.set(lender, lender.length);
    span.buffer = this.#value.buffer;
    span.start = 0;
    span.end = this.#value.end;
    span.position = -1;
    return true;
  }

  scanRecords(main: number, sub: number, visitor: RecordVisitor): void {
    scanStoredRecords(this.#environment, main, sub, visitor);
  }

  commit(batch: StorageBatch, done: (error: Error | null) => void): void {
    assert(!this.#isClosing, "nothing is asked of a closed storage");
    assert(!this.#isCommitting, "one commit at a time");
    this.#isCommitting = true;
    this.#enqueue(
      (end) => {
        // Not while it waits: a copy put in place before it must still have what it drops.
        this.#dropping = batch.drops;
        this.#droppedMeanwhile?.add(batch.drops);
        if (batch.recordCount === 0 && batch.drops.length === 0 && batch.changes.length === 0) {
          queueMicrotask(() => end(null));
          return;
        }
        this.#ask("commit", { kind: "commit", batch }, (answer) => {
          if (answer.kind === "done") {
            this.#sizes = answer.sizes;
            this.#environment.records.resetReadTxn();
          }
          end(this.#failure);
        });
      },
      (error) => {
        this.#isCommitting = false;
        this.#dropping = null;
        done(error);
      },
    );
  }

  sizeBytes(): number {
    return this.#sizes.sizeBytes;
  }

  sizeInUseBytes(): number {
    return this.#sizes.sizeInUseBytes;
  }

  /**
   * Builds a database in a directory that does not exist yet, from a bbolt file, in a thread of its own, and opens it.
   * The file is not changed. `done`, never called synchronously, gets the storage, or a {@link SnapshotDamagedError} if
   * the file is none of etcd's, or a {@link SnapshotError}; then the directory is gone. A crash on the way leaves a
   * directory that opens as an empty database: applied index 0.
   */
  static readSnapshot(
    options: LmdbStorageOptions & { readonly path: string },
    done: (error: Error | null, storage: LmdbStorage | null) => void,
  ): SnapshotTask {
    const { path, directory } = options;
    const mapBytes = options.mapBytes ?? DEFAULT_MAP_BYTES;
    const work: SnapshotWork = { kind: "read", path, directory, mapBytes };
    return runSnapshot(work, (error) => {
      if (error !== null) return done(error, null);
      let storage: LmdbStorage;
      try {
        storage = new LmdbStorage({ directory, mapBytes });
      } catch (cause) {
        removeMade(work);
        return done(asSnapshotError("read", path, cause), null);
      }
      done(null, storage);
    });
  }

  /**
   * Removes a database that nobody has open, durably; of no effect if there is none. A crash on the way leaves a directory
   * that opens as an empty database.
   */
  static remove(directory: string): void {
    removeDirectory(directory);
  }

  defragment(done: (error: Error | null) => void): void {
    assert(!this.#isClosing, "nothing is asked of a closed storage");
    if (this.#defragmenting !== null) {
      this.#defragmenting.push(done);
      return;
    }
    const callers = [done];
    this.#defragmenting = callers;
    this.#maintain((release) => {
      this.#makeCopy((error) => {
        this.#droppedMeanwhile = null;
        this.#defragmenting = null;
        release();
        for (const each of callers) each(error);
      });
    });
  }

  #makeCopy(ended: (error: Error | null) => void): void {
    if (this.#isClosing) {
      queueMicrotask(() => ended(closingError()));
      return;
    }
    this.#droppedMeanwhile = new DroppedMeanwhile();
    if (this.#dropping !== null) this.#droppedMeanwhile.add(this.#dropping);
    this.#copying = runCopy(this.#workerData(), (error) => {
      this.#copying = null;
      if (error === null) this.#catchUp(0, ended);
      else ended(this.#failure ?? (this.#isClosing ? closingError() : error));
    });
  }

  /** Goes on until a pass leaves little for the end, during which commits wait. */
  #catchUp(passes: number, ended: (error: Error | null) => void): void {
    const dropped = this.#droppedMeanwhile!;
    let isBehind = false;
    this.#enqueue(
      (end) => {
        if (this.#isClosing) return this.#giveUpCopy(end);
        const transactionCount = PASS_TRANSACTIONS * 2 ** Math.floor(passes / PASSES_OF_A_SIZE);
        const drops = dropped.take(PASS_DROPS);
        this.#ask("defragment", { kind: "catchUp", drops, transactionCount }, (answer) => {
          if (answer.kind === "refused") return end(new DefragmentError(answer.detail, answer.code));
          if (answer.kind === "caughtUp") isBehind = answer.isBehind || dropped.length > PASS_DROPS;
          end(this.#failure);
        });
      },
      (error) => {
        if (error !== null) ended(error);
        else if (isBehind && dropped.isComplete && passes < PASSES_MAX) this.#catchUp(passes + 1, ended);
        else this.#enqueue((end) => this.#putCopyInPlace(end), ended);
      },
    );
  }

  /** No commit is under way. */
  #putCopyInPlace(end: (error: Error | null) => void): void {
    if (this.#isClosing) return this.#giveUpCopy(end);
    const dropped = this.#droppedMeanwhile!;
    const drops = dropped.isComplete ? dropped.take(dropped.length) : null;
    this.#ask("defragment", { kind: "defragment", drops }, (answer) => {
      if (answer.kind === "refused") return end(new DefragmentError(answer.detail, answer.code));
      if (answer.kind === "done") this.#openNewFile();
      if (this.#failure !== null) return end(this.#failure);
      this.#ask("defragment", { kind: "reopen", inode: this.#inode }, () => end(this.#failure));
    });
  }

  #giveUpCopy(end: (error: Error | null) => void): void {
    try {
      removeDatabase(defragmentedPath(this.#directory));
    } catch {
      // The next start tries again.
    }
    queueMicrotask(() => end(closingError()));
  }

  writeSnapshot(
    path: string,
    done: (error: Error | null, cut: DatabaseCut | null) => void,
    lifetime: SnapshotLifetime = "durable",
  ): SnapshotTask {
    assert(!this.#isClosing, "nothing is asked of a closed storage");
    let running: SnapshotTask | null = null;
    let isCancelled = false;
    const task: SnapshotTask = {
      cancel: () => {
        isCancelled = true;
        running?.cancel();
      },
    };
    this.#snapshots.add(task);
    this.#maintain((release) => {
      const work: SnapshotWork = {
        kind: "write",
        path,
        lifetime,
        directory: this.#directory,
        mapBytes: this.#mapBytes,
        inode: this.#inode,
        reserveBytes: this.#reserveBytes,
      };
      running = runSnapshot(work, (error, cut) => {
        this.#snapshots.delete(task);
        release();
        done(error, cut);
      });
      if (isCancelled) running.cancel();
    });
    return task;
  }

  /** Ends the worker, 18 MB of memory. Starting another takes it about 100 ms, off this thread. */
  rest(): void {
    const worker = this.#worker;
    if (worker === null || this.#isBusy || this.#isClosing || this.#failure !== null) return;
    this.#enqueue(
      (end) => {
        this.#worker = null;
        worker.removeAllListeners();
        worker.ref();
        worker.once("exit", () => end(null));
        worker.postMessage({ kind: "close" } satisfies Request);
      },
      () => {},
    );
  }

  close(done: (error: Error | null) => void): void {
    assert(!this.#isClosing, "the storage is closed once");
    this.#isClosing = true;
    for (const snapshot of this.#snapshots) snapshot.cancel();
    this.#copying?.cancel();
    // Behind all maintenance, so that nobody has the file open any more when this thread lets go of it.
    this.#maintain(() => this.#close(done));
  }

  #close(done: (error: Error | null) => void): void {
    const close = (): void => {
      const worker = this.#worker;
      if (worker === null) {
        closeEnvironment(this.#environment);
        queueMicrotask(() => done(null));
        return;
      }
      worker.ref();
      worker.once("exit", () => {
        closeEnvironment(this.#environment);
        done(null);
      });
      // A failed storage is closed all the same: there is nothing left to write.
      if (this.#failure === null) worker.postMessage({ kind: "close" } satisfies Request);
      else void worker.terminate();
    };
    if (this.#isBusy) this.#waiting.push(close);
    else close();
  }

  /** Runs `work` when no other maintenance is under way, at once if there is none; it calls `release` when it has ended. */
  #maintain(work: (release: () => void) => void): void {
    const run = (): void => {
      work(() => {
        this.#maintenance.shift();
        this.#maintenance[0]?.();
      });
    };
    this.#maintenance.push(run);
    if (this.#maintenance.length === 1) run();
  }

  /** Runs `work` when nothing else is under way; `work` calls `end` later, once. */
  #enqueue(work: (end: (error: Error | null) => void) => void, done: (error: Error | null) => void): void {
    const run = (): void => {
      this.#isBusy = true;
      const end = (error: Error | null): void => {
        this.#isBusy = false;
        // What waits goes first, whatever `done` asks for next.
        this.#waiting.shift()?.();
        done(error);
      };
      if (this.#failure === null) work(end);
      else queueMicrotask(() => end(this.#failure));
    };
    if (this.#isBusy) this.#waiting.push(run);
    else run();
  }

  #ask(operation: string, request: Request, answered: (answer: Answer) => void): void {
    this.#worker ??= this.#startWorker();
    this.#operation = operation;
    this.#answered = answered;
    this.#worker.ref();
    this.#worker.postMessage(request);
  }

  #startWorker(): Worker {
    const worker = startThread("lmdb-worker", "quorate-storage", this.#workerData());
    worker.on("message", (answer: Answer) => this.#receive(answer));
    worker.on("error", (error) => this.#workerEnded(`the worker crashed: ${error.message}`));
    worker.on("exit", (code) => {
      this.#worker = null;
      if (!this.#isClosing) this.#workerEnded(`the worker ended with code ${code}`);
    });
    return worker;
  }

  #workerData(): WorkerData {
    return {
      directory: this.#directory,
      mapBytes: this.#mapBytes,
      inode: this.#inode,
      reserveBytes: this.#reserveBytes,
    };
  }

  #receive(answer: Answer): void {
    const answered = this.#answered;
    assert(answered !== null, "the worker answers what it was asked");
    this.#answered = null;
    this.#worker?.unref();
    if (answer.kind === "failed") this.#fail(answer.detail, answer.code);
    answered(answer);
  }

  #workerEnded(detail: string): void {
    this.#fail(detail, "");
    const answered = this.#answered;
    this.#answered = null;
    answered?.({ kind: "failed", detail, code: "" });
  }

  #fail(detail: string, code: string): void {
    this.#failure ??= new StorageFailedError(this.#operation, detail, code);
  }

  /** The worker has let go of the old file, so closing it here really closes it, as LMDB wants before opening anew. */
  #openNewFile(): void {
    try {
      closeEnvironment(this.#environment);
      this.#environment = openEnvironment(this.#directory, this.#mapBytes);
      this.#inode = databaseInode(this.#directory);
      this.#sizes = measureEnvironment(this.#environment);
    } catch (error) {
      this.#fail(error instanceof Error ? error.message : String(error), "");
    }
  }
}

function closingError(): DefragmentError {
  return new DefragmentError("the storage is being closed", "ECANCELED");
}
