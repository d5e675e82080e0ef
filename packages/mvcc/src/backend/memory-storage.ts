/**
 * Storage without a disk, for tests and the simulator. What a real disk would keep is a {@link MemoryImage}: it changes
 * only when a commit completes, survives `crash()`, and a new MemoryStorage over it is the reopened store. When a commit
 * completes is the owner's choice (`step`, or `schedule`), so a seed can replay it.
 *
 * A commit reads its batch when it completes, as late as allowed, so that memory reused too early shows in tests.
 */
import { assert, type Disk } from "@quorate/world";
import { FRAME_HEADER_BYTES, FrameView } from "./record-frame.ts";
import {
  asSnapshotError,
  readDatabase,
  SnapshotCancelled,
  type SnapshotTarget,
  writeDatabase,
} from "./snapshot-file.ts";
import {
  type DatabaseCut,
  type RecordSpan,
  type RecordVisitor,
  type SnapshotTask,
  type Storage,
  type StorageBatch,
  StorageFailedError,
  type Table,
} from "./storage.ts";

export interface MemoryStorageOptions {
  /** What the disk holds; default: nothing. */
  image?: MemoryImage;
  /**
   * Decides when a commit, defragmentation or close completes, for example `queueMicrotask`; must not call `complete`
   * synchronously. Default: when {@link MemoryStorage.step} is called.
   */
  schedule?: (complete: () => void) => void;
  /** Where snapshots are written. Without one there are none. */
  disk?: Disk;
}

/** A snapshot being read, whose end is the owner's choice like every other: see {@link MemoryStorageOptions.schedule}. */
export interface MemorySnapshotTask extends SnapshotTask {
  /** Completes it; false if it is complete. Only without `schedule`. */
  step(): boolean;
}

export class MemoryStorage implements Storage {
  readonly image: MemoryImage;
  readonly #schedule: ((complete: () => void) => void) | null;
  readonly #disk: Disk | null;
  /** Work in order: one at a time, as on a real storage's worker. */
  readonly #queue: (() => void)[] = [];
  readonly #snapshots = new Set<QueuedSnapshot>();
  #isClosed = false;
  #isCommitting = false;
  #nextFailure: Error | null = null;
  #failure: StorageFailedError | null = null;

  constructor(options: MemoryStorageOptions = {}) {
    this.image = options.image ?? new MemoryImage();
    this.#schedule = options.schedule ?? null;
    this.#disk = options.disk ?? null;
  }

  /**
   * Makes a storage with an image of its own from a bbolt file. `done`, never called synchronously, gets it, or a
   * SnapshotDamagedError or SnapshotError. The whole file is read when it completes.
   */
  static readSnapshot(
    options: Omit<MemoryStorageOptions, "image"> & { readonly path: string; readonly disk: Disk },
    done: (error: Error | null, storage: MemoryStorage | null) => void,
  ): MemorySnapshotTask {
    const { path, disk, schedule } = options;
    let isCancelled = false;
    let isComplete = false;
    const complete = (): void => {
      isComplete = true;
      const image = new MemoryImage();
      try {
        if (isCancelled) throw new SnapshotCancelled();
        readFrom(disk, path, image);
      } catch (error) {
        return done(asSnapshotError("read", path, error), null);
      }
      done(null, new MemoryStorage({ ...options, image }));
    };
    schedule?.(complete);
    return {
      cancel: () => {
        isCancelled = true;
      },
      step: () => {
        assert(schedule === undefined, "steps are taken by hand or scheduled, not both");
        if (isComplete) return false;
        complete();
        return true;
      },
    };
  }

  get(table: Table, key: Uint8Array): Uint8Array | undefined {
    this.#assertOpen();
    return this.image.table(table).get(hex(key))?.slice();
  }

  scan(table: Table, visit: (key: Uint8Array, value: Uint8Array) => void): void {
    this.#assertOpen();
    const entries = this.image.table(table);
    // Lower-case hex sorts as the bytes do.
    for (const name of [...entries.keys()].sort()) visit(Buffer.from(name, "hex"), entries.get(name)!.slice());
  }

  readRecord(main: number, sub: number, isTombstone: boolean, span: RecordSpan): boolean {
    this.#assertOpen();
    const records = this.image.records;
    const record = records[firstAtOrAfter(records, main, sub)];
    if (record === undefined || record.main !== main || record.sub !== sub || record.isTombstone !== isTombstone) {
      return false;
    }
    span.buffer = record.bytes;
    span.start = 0;
    span.end = record.bytes.length;
    span.position = -1;
    return true;
  }

  scanRecords(main: number, sub: number, visitor: RecordVisitor): void {
    this.#assertOpen();
    const records = this.image.records;
    for (let i = firstAtOrAfter(records, main, sub); i < records.length; i++) {
      const record = records[i]!;
      if (!visitor.visit(record.main, record.sub, record.isTombstone, record.bytes, 0, record.bytes.length)) return;
    }
  }

  commit(batch: StorageBatch, done: (error: Error | null) => void): void {
    this.#assertOpen();
    assert(!this.#isCommitting, "one commit at a time");
    this.#isCommitting = true;
    this.#enqueue(() => {
      this.#isCommitting = false;
      if (this.#failure === null && this.#nextFailure !== null) {
        this.#failure = new StorageFailedError("commit", this.#nextFailure.message);
        this.#failure.cause = this.#nextFailure;
      }
      if (this.#failure === null) this.image.apply(batch);
      done(this.#failure);
    });
  }

  sizeBytes(): number {
    return this.image.sizeBytes;
  }

  sizeInUseBytes(): number {
    return this.image.sizeInUseBytes;
  }

  defragment(done: (error: Error | null) => void): void {
    this.#assertOpen();
    this.#enqueue(() => {
      this.image.compact();
      done(null);
    });
  }

  /** The cut is that of the moment the work completes. */
  writeSnapshot(path: string, done: (error: Error | null, cut: DatabaseCut | null) => void): SnapshotTask {
    this.#assertOpen();
    const disk = this.#disk;
    assert(disk !== null, "a storage that writes snapshots has a disk");
    const task = new QueuedSnapshot();
    this.#snapshots.add(task);
    this.#enqueue(() => {
      this.#snapshots.delete(task);
      let cut: DatabaseCut;
      try {
        if (task.isCancelled) throw new SnapshotCancelled();
        cut = writeTo(disk, path, this);
      } catch (error) {
        return done(asSnapshotError("write", path, error), null);
      }
      done(null, cut);
    });
    return task;
  }

  /** Writing needs nothing here. */
  rest(): void {}

  close(done: (error: Error | null) => void): void {
    this.#assertOpen();
    for (const snapshot of this.#snapshots) snapshot.cancel();
    this.#enqueue(() => {
      this.#isClosed = true;
      done(null);
    });
  }

  /** Completes the oldest thing under way; false if there is none. Only without `schedule`. */
  step(): boolean {
    assert(this.#schedule === null, "steps are taken by hand or scheduled, not both");
    return this.#completeFirst();
  }

  /** The next commit to complete fails with this cause; nothing of it, nor of any later one, reaches the image. */
  failNextCommit(cause: Error): void {
    this.#nextFailure = cause;
  }

  /** The process is gone: what has not completed never will, nobody is called, and nothing may be asked any more. */
  crash(): void {
    this.#isClosed = true;
    this.#queue.length = 0;
  }

  #enqueue(work: () => void): void {
    this.#queue.push(work);
    if (this.#queue.length === 1) this.#schedule?.(this.#scheduled);
  }

  readonly #scheduled = (): void => {
    this.#completeFirst();
    if (this.#queue.length > 0) this.#schedule?.(this.#scheduled);
  };

  #completeFirst(): boolean {
    const work = this.#queue[0];
    if (work === undefined) return false;
    // It stays first while it runs, so that what it starts is not scheduled twice.
    work();
    this.#queue.shift();
    return true;
  }

  #assertOpen(): void {
    assert(!this.#isClosed, "the storage is open");
  }
}

class QueuedSnapshot implements SnapshotTask {
  isCancelled = false;

  cancel(): void {
    this.isCancelled = true;
  }
}

function writeTo(disk: Disk, path: string, storage: MemoryStorage): DatabaseCut {
  const file = disk.open(path, "create");
  let cut: DatabaseCut;
  try {
    try {
      cut = writeDatabase(storage, file, NOTHING_TO_CHECK);
      file.sync();
    } finally {
      file.close();
    }
    disk.syncDirectory(directoryOf(path));
  } catch (error) {
    disk.remove(path);
    throw error;
  }
  return cut;
}

function readFrom(disk: Disk, path: string, image: MemoryImage): void {
  const file = disk.open(path, "read");
  try {
    readDatabase(path, file, image);
  } finally {
    file.close();
  }
}

/** Nobody can say anything while this thread is at it. */
const NOTHING_TO_CHECK = (): void => {};

/** World's paths are joined with slashes. */
function directoryOf(path: string): string {
  const end = path.lastIndexOf("/");
  return end < 0 ? "." : path.slice(0, Math.max(end, 1));
}

interface StoredRecord {
  readonly main: number;
  readonly sub: number;
  readonly isTombstone: boolean;
  readonly bytes: Uint8Array;
}

/** What the disk keeps. Like a file, it does not shrink when records go, only when it is compacted. */
export class MemoryImage implements SnapshotTarget {
  /** Ascending. */
  records: StoredRecord[] = [];
  readonly #tables = new Map<Table, Map<string, Uint8Array>>();
  #sizeBytes = 0;
  #sizeInUseBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get sizeInUseBytes(): number {
    return this.#sizeInUseBytes;
  }

  /** Entries of a table by the lower-case hex of their keys. */
  table(table: Table): Map<string, Uint8Array> {
    let entries = this.#tables.get(table);
    if (entries === undefined) {
      entries = new Map();
      this.#tables.set(table, entries);
    }
    return entries;
  }

  apply(batch: StorageBatch): void {
    this.#add(batch);
    this.#drop(batch.drops);
    for (const change of batch.changes) {
      const entries = this.table(change.table);
      const name = hex(change.key);
      const old = entries.get(name);
      if (old !== undefined) this.#sizeInUseBytes -= change.key.length + old.length;
      if (change.value === null) entries.delete(name);
      else {
        entries.set(name, change.value.slice());
        this.#sizeInUseBytes += change.key.length + change.value.length;
      }
    }
    this.#sizeBytes = Math.max(this.#sizeBytes, this.#sizeInUseBytes);
  }

  /** Of a snapshot: greater than every record before. */
  addRecord(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): void {
    const record = { main, sub, isTombstone, bytes: Uint8Array.from(bytes.subarray(start, end)) };
    this.records.push(record);
    this.#sizeInUseBytes += RECORD_KEY_BYTES + record.bytes.length;
    this.#sizeBytes = Math.max(this.#sizeBytes, this.#sizeInUseBytes);
  }

  /** Of a snapshot: of a key that is not there yet. */
  addRow(table: Table, key: Uint8Array, value: Uint8Array): void {
    this.table(table).set(hex(key), Uint8Array.from(value));
    this.#sizeInUseBytes += key.length + value.length;
    this.#sizeBytes = Math.max(this.#sizeBytes, this.#sizeInUseBytes);
  }

  compact(): void {
    this.#sizeBytes = this.#sizeInUseBytes;
  }

  #add(batch: StorageBatch): void {
    let added = 0;
    for (const region of batch.regions) {
      const frames = new FrameView(region.shared);
      for (let at = region.start; at < region.end; at = frames.next(at)) {
        const main = frames.main(at);
        const sub = frames.sub(at);
        const last = this.records[this.records.length - 1];
        assert(
          last === undefined || last.main < main || (last.main === main && last.sub < sub),
          "new records are greater than the stored ones",
        );
        const start = at + FRAME_HEADER_BYTES;
        // A Uint8Array of our own: slice() of shared memory would be shared as well.
        const bytes = Uint8Array.from(frames.bytes.subarray(start, start + frames.sizeBytes(at)));
        this.records.push({ main, sub, isTombstone: frames.isTombstone(at), bytes });
        this.#sizeInUseBytes += RECORD_KEY_BYTES + bytes.length;
        added++;
      }
    }
    assert(added === batch.recordCount, "the batch counts its records");
  }

  #drop(drops: Float64Array): void {
    if (drops.length === 0) return;
    const dropped = new Set<string>();
    for (let i = 0; i < drops.length; i += 2) dropped.add(`${drops[i]}/${drops[i + 1]}`);
    this.records = this.records.filter((record) => {
      const isDropped = dropped.has(`${record.main}/${record.sub * 2 + (record.isTombstone ? 1 : 0)}`);
      if (isDropped) this.#sizeInUseBytes -= RECORD_KEY_BYTES + record.bytes.length;
      return !isDropped;
    });
  }
}

const RECORD_KEY_BYTES = 17;

function hex(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("hex");
}

/** Number of the first record with a revision >= (main, sub). */
function firstAtOrAfter(records: readonly StoredRecord[], main: number, sub: number): number {
  let low = 0;
  let high = records.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const record = records[middle]!;
    if (record.main < main || (record.main === main && record.sub < sub)) low = middle + 1;
    else high = middle;
  }
  return low;
}
