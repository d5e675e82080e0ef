/**
 * Storage over a bbolt file that nobody writes, read in place and never changed: for tools that look at a snapshot, or at the
 * database of an etcd that is stopped. Nothing of it is copied; what is read is held to the form of a bbolt file, and its
 * records to that of revisions, on the way.
 */
import { BboltDamagedError, BboltReader, type BboltSource } from "@quorate/bbolt";
import { assert } from "@quorate/world";
import { HISTORY_KEY_BYTES, isHistoryKey, type Revision, readHistoryKey, writeHistoryKey } from "./history-key.ts";
import {
  type RecordSpan,
  type RecordVisitor,
  SnapshotDamagedError,
  type SnapshotTask,
  type Storage,
  type Table,
} from "./storage.ts";

const RECORDS: Uint8Array = Buffer.from("key");

export class BboltStorage implements Storage {
  readonly #path: string;
  readonly #reader: BboltReader;
  readonly #revision: Revision = { main: 0, sub: 0, isTombstone: false };

  /**
   * The source is read as long as the storage is in use.
   * @param path for naming the file.
   * @throws SnapshotDamagedError
   */
  constructor(path: string, source: BboltSource) {
    this.#path = path;
    this.#reader = this.#guard(() => new BboltReader(source));
  }

  get(table: Table, key: Uint8Array): Uint8Array | undefined {
    return this.#guard(() => this.#reader.get(Buffer.from(table), key)) ?? undefined;
  }

  scan(table: Table, visit: (key: Uint8Array, value: Uint8Array) => void): void {
    this.#visit(Buffer.from(table), (bytes, keyStart, keyEnd, valueEnd) => {
      visit(bytes.subarray(keyStart, keyEnd), bytes.subarray(keyEnd, valueEnd));
      return true;
    });
  }

  readRecord(main: number, sub: number, isTombstone: boolean, span: RecordSpan): boolean {
    const key = new Uint8Array(HISTORY_KEY_BYTES + 1);
    const end = writeHistoryKey(key, 0, main, sub, isTombstone);
    const record = this.#guard(() => this.#reader.get(RECORDS, key.subarray(0, end)));
    if (record === null) return false;
    span.buffer = record;
    span.start = 0;
    span.end = record.length;
    span.position = -1;
    return true;
  }

  /** From the first record on, whatever is asked for: meant to be scanned from one end to the other. */
  scanRecords(main: number, sub: number, visitor: RecordVisitor): void {
    const revision = this.#revision;
    this.#visit(RECORDS, (bytes, keyStart, keyEnd, valueEnd) => {
      if (!isHistoryKey(bytes, keyStart, keyEnd)) this.#failKey(bytes, keyStart, keyEnd, "the key is no revision");
      readHistoryKey(bytes, keyStart, keyEnd, revision);
      if (!Number.isSafeInteger(revision.main) || !Number.isSafeInteger(revision.sub)) {
        this.#failKey(bytes, keyStart, keyEnd, "the revision is out of range");
      }
      if (revision.main < main || (revision.main === main && revision.sub < sub)) return true;
      return visitor.visit(revision.main, revision.sub, revision.isTombstone, bytes, keyEnd, valueEnd);
    });
  }

  sizeBytes(): number {
    return this.#reader.sizeBytes;
  }

  sizeInUseBytes(): number {
    return this.#reader.sizeBytes;
  }

  commit(): void {
    assert(false, "a file is only read");
  }

  defragment(): void {
    assert(false, "a file is only read");
  }

  writeSnapshot(): SnapshotTask {
    assert(false, "a file is only read");
    return { cancel: () => {} };
  }

  rest(): void {}

  /** The source is the caller's to close. */
  close(done: (error: Error | null) => void): void {
    done(null);
  }

  #visit(
    bucket: Uint8Array,
    visit: (bytes: Uint8Array, keyStart: number, keyEnd: number, valueEnd: number) => boolean,
  ): void {
    this.#guard(() => this.#reader.visit(bucket, { visit }));
  }

  #guard<Result>(read: () => Result): Result {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof BboltDamagedError)) throw error;
      throw new SnapshotDamagedError(this.#path, `page ${error.page}, offset ${error.offset}`, error.detail);
    }
  }

  #failKey(bytes: Uint8Array, start: number, end: number, detail: string): never {
    const hex = Buffer.from(bytes.subarray(start, Math.min(end, start + 64))).toString("hex");
    throw new SnapshotDamagedError(this.#path, `bucket key, key 0x${hex}`, detail);
  }
}
