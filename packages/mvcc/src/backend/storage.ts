/**
 * What the backend asks of durable state: one ordered set of records and a few small tables, changed in batches that
 * are all or nothing. LmdbStorage keeps it on disk, MemoryStorage keeps it in a map for tests and the simulator; both
 * pass the claims of storage-suite.ts and snapshot-suite.ts.
 *
 * Invariants every implementation keeps:
 *  - reads see whole batches only: before `done` the previous state (or, at the implementation's choice, already the
 *    new one), from `done(null)` on the new one;
 *  - after `done(error)` of a commit nothing is ever committed again. A failed sync is not retried: the operating
 *    system reports it once and then calls the lost pages clean. Reads go on.
 */

/** etcd's bucket names (the records are etcd's bucket "key"). */
export const TABLES = [
  "meta",
  "lease",
  "alarm",
  "auth",
  "authUsers",
  "authRoles",
  "members",
  "members_removed",
  "cluster",
] as const;

export type Table = (typeof TABLES)[number];

/**
 * The longest key a small table takes. LMDB's own bound is a little under 2 KiB with 4 KiB pages. The only keys whose
 * length a client chooses are user and role names; for longer ones see long-names.ts.
 */
export const MAX_TABLE_KEY_BYTES = 1024;

export interface Storage {
  /** A small table's value, copied; undefined if absent. For boot and tools, not for hot paths. */
  get(table: Table, key: Uint8Array): Uint8Array | undefined;
  /** A table in ascending order of key bytes. Key and value are borrowed until `visit` returns. */
  scan(table: Table, visit: (key: Uint8Array, value: Uint8Array) => void): void;
  /**
   * One record from committed state: `span.buffer[span.start, span.end)`, borrowed until the next call of any method.
   * False if it is absent.
   */
  readRecord(main: number, sub: number, isTombstone: boolean, span: RecordSpan): boolean;
  /**
   * Committed records in ascending order, from (main, sub) on, until the visitor returns false. The bytes are borrowed
   * until `visit` returns or reads; it may do that, but must not commit or scan.
   */
  scanRecords(main: number, sub: number, visitor: RecordVisitor): void;
  /**
   * Makes the batch durable, all or nothing. One at a time. The batch and all it refers to are borrowed until `done`,
   * which is never called synchronously. An empty batch costs nothing. After a failure every commit reports it again.
   */
  commit(batch: StorageBatch, done: (error: Error | null) => void): void;
  /** Bytes the storage occupies, free pages included. A cached number, as of the last commit. */
  sizeBytes(): number;
  /** Bytes in use, free pages excluded. A cached number, as of the last commit. */
  sizeInUseBytes(): number;
  /**
   * Gives free space back by a copy, in which records lie close together again. Reads and commits go on, but for a moment at its end.
   * Whoever asks while one waits or is under way shares it. Closing gives it up, with the code "ECANCELED".
   * After an error the old state is still there and still served, unless the error is a {@link StorageFailedError}.
   */
  defragment(done: (error: Error | null) => void): void;
  /**
   * Writes committed state, as one cut, to a new file that etcd would open as its database; see snapshot-file.ts. Reads and
   * commits go on. `done`, which is never called synchronously, hears of the cut when file and name are durable, or gets
   * a {@link SnapshotError}, and then there is no file; the storage goes on either way. Snapshots and defragmentations
   * wait for each other, in order. A file that nobody wants after the process is gone is not made durable, which spares
   * those who wait for the disk: "process".
   */
  writeSnapshot(
    path: string,
    done: (error: Error | null, cut: DatabaseCut | null) => void,
    lifetime?: SnapshotLifetime,
  ): SnapshotTask;
  /** Nothing is likely to be written for a while: gives up what only writing needs. The next commit gets it back. */
  rest(): void;
  /** Gives up snapshots and defragmentations, waits for what else is under way, then releases everything. No method may be called afterwards. */
  close(done: (error: Error | null) => void): void;
}

/** What a snapshot file is to outlive. Default: everything. */
export type SnapshotLifetime = "durable" | "process";

/** Where a record's bytes are: `buffer[start, end)`. Callers keep one and have it refilled. */
export class RecordSpan {
  buffer: Uint8Array = EMPTY;
  start = 0;
  end = 0;
  /** Where the record log holds it; -1 if it was read from storage. */
  position = -1;
}

const EMPTY = new Uint8Array(0);

export interface RecordVisitor {
  /** Returns false to end the scan. */
  visit(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): boolean;
}

/** One atomic change. Order of effect: records are added, then dropped records removed, then tables changed. */
export interface StorageBatch {
  /** New records as frames of the record log (record-frame.ts), ascending, greater than every record before. */
  readonly regions: readonly RecordRegion[];
  readonly recordCount: number;
  /** Revisions to remove, as pairs (main, sub × 2 + 1 if a tombstone). Absent ones are ignored. */
  readonly drops: Float64Array;
  /** At most one change of each key. */
  readonly changes: readonly TableChange[];
}

/** A run of frames: `shared[start, end)`, on shared memory so that a worker can read it in place. */
export interface RecordRegion {
  readonly shared: SharedArrayBuffer;
  readonly start: number;
  readonly end: number;
}

export interface TableChange {
  readonly table: Table;
  readonly key: Uint8Array;
  /** null removes the key. */
  readonly value: Uint8Array | null;
}

/** The moment a snapshot is of. */
export interface DatabaseCut {
  /** Last entry whose effects it has, all of them and nothing later; 0 if none. */
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  /** The row "confState" of table meta: the configuration in force at that entry, etcd's JSON; null if there is none. */
  readonly confState: Uint8Array | null;
  /** What the file says of the version of its contents: "3.7.0"; "" if nothing, as for etcd 3.5. */
  readonly storageVersion: string;
  /** Of a store opened over it. */
  readonly revision: number;
  /** Of the file. */
  readonly sizeBytes: number;
}

/** A snapshot being written or read. */
export interface SnapshotTask {
  /** Gives it up: `done` hears a {@link SnapshotError} with the code "ECANCELED", unless it has been complete before. */
  cancel(): void;
}

/** A commit or defragmentation failed and no commit will be accepted again. The process should end. */
export class StorageFailedError extends Error {
  readonly kind = "StorageFailed";
  /** The operating system's or LMDB's name of the failure, such as "ENOSPC" or "EIO"; "" if it has none. */
  readonly code: string;
  constructor(operation: string, detail: string, code = "") {
    super(`storage failed to ${operation}: ${detail}`);
    this.name = "StorageFailedError";
    this.code = code;
  }
}

/** Defragmentation gave up before it changed anything; the storage goes on as before. */
export class DefragmentError extends Error {
  readonly kind = "Defragment";
  readonly code: string;
  constructor(detail: string, code = "") {
    super(`storage was not defragmented: ${detail}`);
    this.name = "DefragmentError";
    this.code = code;
  }
}

/** A snapshot was not written or not read. What it had made is removed again, and nothing else was touched. */
export class SnapshotError extends Error {
  readonly kind = "Snapshot";
  /** The operating system's or LMDB's name of the failure, or "ECANCELED"; "" if it has none. */
  readonly code: string;
  constructor(operation: "read" | "write", path: string, detail: string, code = "") {
    super(`snapshot ${path} was not ${operation === "read" ? "read" : "written"}: ${detail}`);
    this.name = "SnapshotError";
    this.code = code;
  }
}

/** A file that was to become a database is none of etcd's, or is damaged. What had been made of it is removed again. */
export class SnapshotDamagedError extends Error {
  readonly kind = "SnapshotDamaged";
  readonly path: string;
  /** Page and offset, or bucket and key. */
  readonly place: string;
  readonly detail: string;
  constructor(path: string, place: string, detail: string) {
    super(`snapshot ${path} is damaged at ${place}: ${detail}`);
    this.name = "SnapshotDamagedError";
    this.path = path;
    this.place = place;
    this.detail = detail;
  }
}

/** The directory was written by another version of the storage format. It was not touched. */
export class StorageVersionError extends Error {
  readonly kind = "StorageVersion";
  constructor(directory: string, found: string, expected: string) {
    super(
      `storage in ${directory} has format ${JSON.stringify(found)}; this program reads ${JSON.stringify(expected)}`,
    );
    this.name = "StorageVersionError";
  }
}

/** The database file cannot be opened safely. It was not touched. */
export class StorageDamagedError extends Error {
  readonly kind = "StorageDamaged";
  constructor(path: string, offset: number, detail: string) {
    super(`database ${path} is damaged at offset ${offset}: ${detail}`);
    this.name = "StorageDamagedError";
  }
}

/** A table key of length 0 or above {@link MAX_TABLE_KEY_BYTES}. */
export class TableKeySizeError extends Error {
  readonly kind = "TableKeySize";
  constructor(table: Table, sizeBytes: number) {
    super(`put into table ${table}: key of ${sizeBytes} bytes, allowed are 1 to ${MAX_TABLE_KEY_BYTES}`);
    this.name = "TableKeySizeError";
  }
}
