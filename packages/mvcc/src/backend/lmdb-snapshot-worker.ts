/**
 * The thread that writes a snapshot of a database, or builds a database from one, and ends. Started by lmdb-snapshot.ts.
 *
 *  - Written is what one commit left. A read transaction keeps its pages as they are; commits go on beside it, and only the
 *    pages they free wait for its end. The pages are read from the file (lmdb-pages.ts), so that memory does not grow by them.
 *  - A database is built by appending, in transactions of bounded size, and nothing of it is synced before all of it is
 *    there: until it has its name it is nobody's (lmdb-environment.ts).
 *  - Both stop while there is still room on the disk: the one who commits beside us dies of a full disk, we need not.
 */
import { closeSync, fdatasyncSync, fstatSync, fsyncSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { endianness } from "node:os";
import { dirname } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import type { BboltSource } from "@quorate/bbolt";
import { TransactionFlags } from "lmdb";
import { type Revision, readHistoryKey } from "./history-key.ts";
import {
  buildDirectory,
  closeEnvironment,
  databasePath,
  type Environment,
  freeBytes,
  joinEnvironment,
  measureEnvironment,
  RECORDS,
  scanStoredRecords,
  scanTable,
  syncPath,
} from "./lmdb-environment.ts";
import { LmdbPages } from "./lmdb-pages.ts";
import {
  CANCELLED,
  CREATED,
  type SnapshotAnswer,
  type SnapshotWork,
  type SnapshotWorkerData,
} from "./lmdb-snapshot.ts";
import { describeError } from "./lmdb-thread.ts";
import { FRAME_HEADER_BYTES, FrameView, frameBytes } from "./record-frame.ts";
import {
  readDatabase,
  SnapshotCancelled,
  type SnapshotContents,
  type SnapshotTarget,
  writeDatabase,
} from "./snapshot-file.ts";
import {
  type DatabaseCut,
  type RecordVisitor,
  SnapshotDamagedError,
  type SnapshotLifetime,
  type Table,
} from "./storage.ts";

type Work<Kind extends SnapshotWork["kind"]> = Extract<SnapshotWork, { kind: Kind }>;

/** Left free on the disk. */
const RESERVE_BYTES = 32 * 1024 * 1024;
/** Written between two syncs, so that the last one is short and the disk's queue is too. */
const SYNC_EACH_BYTES = 32 * 1024 * 1024;
/** Records and rows of one transaction; LMDB holds the pages it changes in memory. */
const TRANSACTION_BYTES = 8 * 1024 * 1024;

const { work, signals } = workerData as SnapshotWorkerData;

function run(): SnapshotAnswer {
  try {
    return { kind: "done", cut: work.kind === "write" ? writeFile(work) : readFile(work) };
  } catch (error) {
    if (error instanceof SnapshotDamagedError) return { kind: "damaged", place: error.place, detail: error.detail };
    if (error instanceof SnapshotCancelled) return { kind: "failed", detail: error.message, code: "ECANCELED" };
    return { kind: "failed", ...describeError(error, dirname(work.kind === "write" ? work.path : work.directory)) };
  }
}

function checkCancelled(): void {
  if (Atomics.load(signals, CANCELLED) !== 0) throw new SnapshotCancelled();
}

function checkSpace(path: string, neededBytes: number): void {
  const free = freeBytes(dirname(path));
  if (free >= neededBytes + RESERVE_BYTES) return;
  const detail = `no space left: it may need ${neededBytes} bytes beyond a reserve of ${RESERVE_BYTES}, free are ${free}`;
  throw Object.assign(new Error(detail), { code: "ENOSPC" });
}

function writeFile({ path, lifetime, directory, mapBytes, inode }: Work<"write">): DatabaseCut {
  const file = openSync(path, "wx", 0o600);
  Atomics.store(signals, CREATED, 1);
  try {
    let cut: DatabaseCut;
    try {
      checkCancelled();
      const environment = joinEnvironment(directory, mapBytes, inode);
      try {
        cut = withContents(environment, directory, inode, (contents) => {
          return writeContents(environment, contents, { file, path, lifetime });
        });
      } finally {
        closeEnvironment(environment);
      }
      if (lifetime === "durable") fsyncSync(file);
    } finally {
      closeSync(file);
    }
    if (lifetime === "durable") syncPath(dirname(path));
    return cut;
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/** What is committed, for as long as `use` runs. */
function withContents<Result>(
  environment: Environment,
  directory: string,
  inode: bigint,
  use: (contents: SnapshotContents) => Result,
): Result {
  const transaction = environment.records.useReadTransaction();
  const file = openSync(databasePath(directory), "r");
  try {
    if (endianness() === "LE" && fstatSync(file, { bigint: true }).ino === inode) {
      return use(new PageContents(new LmdbPages(databasePath(directory), file)));
    }
    return use({
      scan: (table, visit) => scanTable(environment, table, visit),
      scanRecords: (main, sub, visitor) => scanStoredRecords(environment, main, sub, visitor),
    });
  } finally {
    closeSync(file);
    transaction.done();
  }
}

class PageContents implements SnapshotContents {
  readonly #pages: LmdbPages;
  readonly #revision: Revision = { main: 0, sub: 0, isTombstone: false };

  constructor(pages: LmdbPages) {
    this.#pages = pages;
  }

  scan(table: Table, visit: (key: Uint8Array, value: Uint8Array) => void): void {
    this.#pages.scan(table, (key, keyStart, keyEnd, value, valueStart, valueEnd) => {
      visit(key.subarray(keyStart, keyEnd), value.subarray(valueStart, valueEnd));
      return true;
    });
  }

  /** A snapshot has all of them. */
  scanRecords(_main: number, _sub: number, visitor: RecordVisitor): void {
    const revision = this.#revision;
    this.#pages.scan(RECORDS, (key, keyStart, keyEnd, value, valueStart, valueEnd) => {
      readHistoryKey(key, keyStart, keyEnd, revision);
      return visitor.visit(revision.main, revision.sub, revision.isTombstone, value, valueStart, valueEnd);
    });
  }
}

function writeContents(
  environment: Environment,
  contents: SnapshotContents,
  { file, path, lifetime }: { readonly file: number; readonly path: string; readonly lifetime: SnapshotLifetime },
): DatabaseCut {
  // Small records take a quarter more room than LMDB gives them.
  checkSpace(path, measureEnvironment(environment).sizeInUseBytes * 1.25);
  let syncedBytes = 0;
  return writeDatabase(
    contents,
    {
      write: (from, start, end, position) => {
        for (let at = start; at < end; ) at += writeSync(file, from, at, end - at, position + at - start);
      },
    },
    (doneBytes) => {
      checkCancelled();
      if (doneBytes - syncedBytes < SYNC_EACH_BYTES) return;
      syncedBytes = doneBytes;
      if (lifetime === "durable") fdatasyncSync(file);
      checkSpace(path, 2 * SYNC_EACH_BYTES);
    },
  );
}

function readFile({ path, directory, mapBytes }: Work<"read">): null {
  const file = openSync(path, "r");
  try {
    const source: BboltSource = {
      sizeBytes: () => fstatSync(file).size,
      read: (into, length, position) => readFully(file, into, length, position),
    };
    buildDirectory(directory, mapBytes, (environment) => {
      Atomics.store(signals, CREATED, 1);
      const target = new EnvironmentTarget(environment, directory);
      readDatabase(path, source, target);
      target.commit();
    });
  } finally {
    closeSync(file);
  }
  return null;
}

function readFully(file: number, into: Uint8Array, length: number, position: number): number {
  let at = 0;
  while (at < length) {
    const readBytes = readSync(file, into, at, length - at, position + at);
    if (readBytes === 0) break;
    at += readBytes;
  }
  return at;
}

/** Gathers what is read and appends it, a transaction's worth at a time. */
class EnvironmentTarget implements SnapshotTarget {
  readonly #environment: Environment;
  readonly #directory: string;
  readonly #frames = new FrameView(new ArrayBuffer(TRANSACTION_BYTES));
  #framesEnd = 0;
  #rows: { readonly table: Table; readonly key: Uint8Array; readonly value: Uint8Array }[] = [];
  #rowBytes = 0;
  readonly #key: Revision = { main: 0, sub: 0, isTombstone: false };

  constructor(environment: Environment, directory: string) {
    this.#environment = environment;
    this.#directory = directory;
  }

  addRecord(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): void {
    const sizeBytes = frameBytes(end - start);
    if (this.#framesEnd + sizeBytes > TRANSACTION_BYTES) this.commit();
    if (sizeBytes > TRANSACTION_BYTES) {
      this.#transact(sizeBytes, () => this.#append(main, sub, isTombstone, bytes.subarray(start, end)));
      return;
    }
    const at = this.#framesEnd;
    this.#frames.writeHeader(at, main, sub, isTombstone, end - start);
    this.#frames.bytes.set(bytes.subarray(start, end), at + FRAME_HEADER_BYTES);
    this.#framesEnd += sizeBytes;
  }

  addRow(table: Table, key: Uint8Array, value: Uint8Array): void {
    this.#rows.push({ table, key: Uint8Array.from(key), value: Uint8Array.from(value) });
    this.#rowBytes += ROW_BYTES + key.length + value.length;
    if (this.#rowBytes > TRANSACTION_BYTES) this.commit();
  }

  /** Appends what has been gathered. */
  commit(): void {
    this.#transact(this.#framesEnd + this.#rowBytes, () => {
      const frames = this.#frames;
      for (let at = 0; at < this.#framesEnd; at = frames.next(at)) {
        const start = at + FRAME_HEADER_BYTES;
        const bytes = frames.bytes.subarray(start, start + frames.sizeBytes(at));
        this.#append(frames.main(at), frames.sub(at), frames.isTombstone(at), bytes);
      }
      for (const { table, key, value } of this.#rows) {
        if (!this.#environment.tables[table].putSync(key, value)) throw new Error(`table ${table} refused a key`);
      }
    });
    this.#framesEnd = 0;
    this.#rows = [];
    this.#rowBytes = 0;
  }

  #transact(sizeBytes: number, action: () => void): void {
    checkCancelled();
    // LMDB must not run out of space half-way; see lmdb-worker.ts.
    checkSpace(this.#directory, 2 * sizeBytes);
    this.#environment.records.transactionSync(action, TransactionFlags.SYNCHRONOUS_COMMIT);
  }

  #append(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array): void {
    const key = this.#key;
    key.main = main;
    key.sub = sub;
    key.isTombstone = isTombstone;
    if (!this.#environment.records.putSync(key, bytes, APPEND)) {
      throw new Error(`record ${main}/${sub} is not greater than the last one stored`);
    }
  }
}

const APPEND = { append: true };

/** What a row takes besides its bytes. */
const ROW_BYTES = 200;

parentPort!.postMessage(run());
