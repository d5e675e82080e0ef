/**
 * How the storage directory is made and opened, the same way by the main thread, which reads, and by the worker, which
 * writes. LMDB lets the threads of a process share one environment, and finds it by the file's inode.
 *
 *     <directory>/version          "quorate-storage 1": what follows is ours to read
 *     <directory>/db               LMDB, one named database per bucket of etcd
 *     <directory>/db-lock          LMDB's reader table; worth nothing while no process has the environment open
 *     <directory>/db.new*          a first database in the making, or one being read from a snapshot, left by a crash
 *     <directory>/db.defragmented* a copy in the making, left by a crash
 *
 * Decisions:
 *  - The map is one large sparse reservation of address space ({@link DEFAULT_MAP_BYTES}). Only what is written takes
 *    disk, and only what is touched takes memory. Growing on demand, which the binding does beyond the reservation,
 *    would remap again and again and keep every earlier map until the environment is closed.
 *  - Named databases only: clearing the root database can abort the process.
 *  - Every commit is synced in full (`overlappingSync: false`): LMDB without it may lose or corrupt the last commits
 *    when power fails (known-failures X-10).
 *  - Values given to LMDB must not lie in shared memory: the binding asks for their address in a way that fails for
 *    SharedArrayBuffer and then uses whatever was on the stack. The worker copies records out first.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { open, type TransactionFlags } from "lmdb";
import { type Revision, readHistoryKey, writeHistoryKey } from "./history-key.ts";
import { checkDatabaseFile } from "./lmdb-meta.ts";
import { type RecordVisitor, StorageVersionError, TABLES, type Table } from "./storage.ts";

/** Address space reserved: 1 TiB. */
export const DEFAULT_MAP_BYTES: number = 1024 ** 4;

const VERSION = "quorate-storage 1";

/** etcd's name of the bucket of records. */
export const RECORDS = "key";

export interface Environment {
  /** The records; closing it closes the environment. */
  readonly records: RecordDatabase;
  readonly tables: Readonly<Record<Table, TableDatabase>>;
}

/** What we use of the binding for a small table; its declaration of putSync forgets the result. */
export interface TableDatabase {
  /** Copied. */
  getBinary(key: Uint8Array): Uint8Array | undefined;
  getRange(options: object): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>;
  putSync(key: Uint8Array, value: Uint8Array): boolean;
  removeSync(key: Uint8Array): boolean;
  getStats(): object;
}

/**
 * What we use of the binding for records. Its declarations know neither keys of one's own kind nor the methods of the
 * root, so this says it once. Keys are read and written in place and values are lent, which makes a scan about five
 * times cheaper than with copies (bench/backend.ts).
 */
export interface RecordDatabase {
  /** The binding's own buffer, whose `length` it sets to the value's; see {@link LentBytes}. */
  getBinaryFast(key: Revision): Buffer | undefined;
  /** Key and value are the same two objects in every step. */
  getRange(options: { start: Revision }): Iterable<{ readonly key: Revision; readonly value: LentBytes }>;
  /** The key is the same object in every step. */
  getKeys(options: { reverse: boolean; limit: number }): Iterable<Revision>;
  putSync(key: Revision, value: Uint8Array, options: { append: boolean }): boolean;
  removeSync(key: Revision): boolean;
  transactionSync(action: () => void, flags: TransactionFlags): void;
  /** From now on reads see the latest commit. */
  resetReadTxn(): void;
  /** Begins a read transaction at the latest commit, or shares the one under way; it goes on until `done`. */
  useReadTransaction(): { done(): void };
  getStats(): object;
  close(): Promise<void>;
  openDB(name: string, options: typeof BINARY): TableDatabase;
}

/**
 * A value as the binding lends it: in a buffer it reuses, valid until the next read. That buffer's `length` property
 * is overwritten with the value's, which no built-in method believes, so this keeps a plain view of the same memory.
 */
export class LentBytes {
  #lender: Uint8Array | null = null;
  /** Holds the value in [0, end). */
  buffer: Uint8Array = Buffer.alloc(0);
  end = 0;

  set(lender: Uint8Array, sizeBytes: number): void {
    if (lender !== this.#lender) {
      this.#lender = lender;
      this.buffer = Buffer.from(lender.buffer, lender.byteOffset, lender.byteLength);
    }
    this.end = sizeBytes;
  }
}

export interface EnvironmentSizes {
  readonly sizeBytes: number;
  readonly sizeInUseBytes: number;
}

/**
 * Makes the directory ready to be opened: creates what is missing so that a crash at any moment leaves something that
 * the next call completes, and removes what crashes left behind.
 * @throws StorageVersionError, having touched nothing, if another format wrote it.
 * @throws StorageDamagedError, having touched nothing, if LMDB would crash on the database.
 */
export function prepareDirectory(directory: string, mapBytes: number): void {
  checkVersion(directory);
  if (existsSync(databasePath(directory))) checkDatabaseFile(databasePath(directory));
  if (!existsSync(directory)) {
    mkdirSync(directory, { recursive: true });
    syncPath(dirname(directory));
  }
  if (!existsSync(join(directory, "version"))) {
    writeDurably(join(directory, "version.new"), `${VERSION}\n`);
    moveDurably(join(directory, "version.new"), join(directory, "version"));
  }
  removeDatabase(join(directory, "db.new"));
  removeDatabase(defragmentedPath(directory));
  if (existsSync(databasePath(directory))) return;
  // Not synced commit by commit: it is nobody's database before it is complete, synced and renamed.
  closeEnvironment(openEnvironmentAt(join(directory, "db.new"), mapBytes, true));
  syncPath(join(directory, "db.new"));
  moveDurably(join(directory, "db.new"), databasePath(directory));
  removeDatabase(join(directory, "db.new"));
}

/**
 * Makes a directory whose database has what `fill` puts into it, whole and durable, or nothing: until `fill` has returned
 * and everything is synced it is in the making, and whoever opens the directory after a crash finds an empty database.
 * After an error the directory is gone. The directory must not exist, its parent must.
 */
export function buildDirectory(directory: string, mapBytes: number, fill: (environment: Environment) => void): void {
  mkdirSync(directory);
  try {
    syncPath(dirname(directory));
    writeDurably(join(directory, "version.new"), `${VERSION}\n`);
    moveDurably(join(directory, "version.new"), join(directory, "version"));
    const path = join(directory, "db.new");
    const environment = openEnvironmentAt(path, mapBytes, true);
    try {
      fill(environment);
    } finally {
      closeEnvironment(environment);
    }
    syncPath(path);
    moveDurably(path, databasePath(directory));
    removeDatabase(path);
  } catch (error) {
    removeDirectory(directory);
    throw error;
  }
}

/** Opens the database for the main thread. It must exist. */
export function openEnvironment(directory: string, mapBytes: number): Environment {
  return openEnvironmentAt(databasePath(directory), mapBytes, false);
}

/**
 * Opens for the worker the very file the main thread has open. The binding would quietly create what is missing, and
 * then one thread would write what the other does not read.
 * @param inode what {@link databaseInode} told the main thread.
 */
export function joinEnvironment(directory: string, mapBytes: number, inode: bigint): Environment {
  if (databaseInode(directory) !== inode) throw new Error(`${databasePath(directory)} is not the file that is open`);
  return openEnvironment(directory, mapBytes);
}

/** Opens the copy of a defragmentation. Not synced commit by commit: it is nobody's before it is synced and renamed. */
export function openCopy(directory: string, mapBytes: number): Environment {
  return openEnvironmentAt(defragmentedPath(directory), mapBytes, true);
}

/** Names the file at the database's path. */
export function databaseInode(directory: string): bigint {
  return statSync(databasePath(directory), { bigint: true }).ino;
}

/** True if the file system has next to nothing left for us. */
export function isDiskFull(directory: string): boolean {
  return freeBytes(directory) < 64 * 1024;
}

/** Bytes the file system would still give us. */
export function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

/** A small table in ascending order of keys; key and value are borrowed until `visit` returns. */
export function scanTable(
  environment: Environment,
  table: Table,
  visit: (key: Uint8Array, value: Uint8Array) => void,
): void {
  for (const entry of environment.tables[table].getRange({})) visit(entry.key, entry.value);
}

/** Records from (main, sub) on until the visitor returns false; the bytes are borrowed until it returns or reads. */
export function scanStoredRecords(environment: Environment, main: number, sub: number, visitor: RecordVisitor): void {
  const start: Revision = { main, sub, isTombstone: false };
  for (const { key, value } of environment.records.getRange({ start })) {
    if (!visitor.visit(key.main, key.sub, key.isTombstone, value.buffer, 0, value.end)) return;
  }
}

/** Releases this thread's hold; the last one unmaps the file. Completes before it returns. */
export function closeEnvironment(environment: Environment): void {
  // The promise is of pending asynchronous writes, which neither thread ever makes.
  void environment.records.close();
}

/** Page counts of all databases, from LMDB's own bookkeeping: a few microseconds, whatever the size. */
export function measureEnvironment(environment: Environment): EnvironmentSizes {
  const records = environment.records.getStats() as EnvironmentStats;
  let pages = META_PAGES + pagesOf(records) + pagesOf(records.root) + pagesOf(records.free);
  for (const table of TABLES) pages += pagesOf(environment.tables[table].getStats() as EnvironmentStats);
  return {
    sizeBytes: (records.lastPageNumber + 1) * records.pageSize,
    sizeInUseBytes: pages * records.pageSize,
  };
}

export function databasePath(directory: string): string {
  return join(directory, "db");
}

export function defragmentedPath(directory: string): string {
  return join(directory, "db.defragmented");
}

/** Puts a complete, synced database file in place of another, durably. */
export function moveDurably(from: string, to: string): void {
  renameSync(from, to);
  syncPath(dirname(to));
}

/** Forces a file, or a directory's names, to the disk. */
export function syncPath(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/**
 * Removes a database directory with all that is in it, durably. The database goes first: what a crash leaves opens as an
 * empty one, where a database without its version would be refused.
 */
export function removeDirectory(directory: string): void {
  if (existsSync(databasePath(directory))) {
    rmSync(databasePath(directory));
    syncPath(directory);
  }
  rmSync(directory, { recursive: true, force: true });
  syncPath(dirname(directory));
}

export function removeDatabase(path: string): void {
  rmSync(path, { force: true });
  rmSync(`${path}-lock`, { force: true });
}

/** What the binding's getStats gives; its declarations leave it open. */
interface DatabaseStats {
  readonly pageSize: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

interface EnvironmentStats extends DatabaseStats {
  readonly root: DatabaseStats;
  readonly free: DatabaseStats;
  readonly lastPageNumber: number;
}

const META_PAGES = 2;

function pagesOf(stats: DatabaseStats): number {
  return stats.treeBranchPageCount + stats.treeLeafPageCount + stats.overflowPages;
}

function checkVersion(directory: string): void {
  const path = join(directory, "version");
  if (existsSync(path)) {
    const found = readFileSync(path, "utf8").trim();
    if (found !== VERSION) throw new StorageVersionError(directory, found.slice(0, 100), VERSION);
  } else if (existsSync(databasePath(directory))) {
    throw new StorageVersionError(directory, "", VERSION);
  }
}

function openEnvironmentAt(path: string, mapBytes: number, noSync: boolean): Environment {
  const key: Revision = { main: 0, sub: 0, isTombstone: false };
  const value = new LentBytes();
  const records = open({
    path,
    name: RECORDS,
    noSubdir: true,
    mapSize: mapBytes,
    maxDbs: TABLES.length + 1,
    noSync,
    overlappingSync: false,
    keyEncoder: {
      writeKey: (revision: Revision, to: Uint8Array, at: number): number =>
        writeHistoryKey(to, at, revision.main, revision.sub, revision.isTombstone),
      readKey: (from: Uint8Array, at: number, end: number): Revision => {
        readHistoryKey(from, at, end, key);
        return key;
      },
    },
    encoder: {
      encode: (bytes: Uint8Array): Uint8Array => bytes,
      decode: (lender: Uint8Array, sizeBytes: number): LentBytes => {
        value.set(lender, sizeBytes);
        return value;
      },
    },
  }) as unknown as RecordDatabase;
  const tables = {} as Record<Table, TableDatabase>;
  for (const table of TABLES) tables[table] = records.openDB(table, BINARY);
  return { records, tables };
}

const BINARY = { keyEncoding: "binary", encoding: "binary" } as const;

function writeDurably(path: string, text: string): void {
  const file = openSync(path, "w");
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
