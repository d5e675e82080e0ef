/**
 * The state that has been applied: readable at once from memory, made durable behind by batches that end between
 * entries. The store, the lessor, auth and membership write into it while entries are applied; the member decides when
 * to flush and cuts the log only behind `flushedIndex`.
 *
 *     append, drop, put ──▶ open ──applied(index)──▶ sealed ──flush──▶ in flight ──done──▶ storage
 *                          this entry              whole entries       one batch
 *
 * Invariants:
 *  - a batch holds all effects of the entries up to its index, nothing of later ones, and that index and term itself:
 *    after a crash storage is exactly the state at `flushedIndex` (known-failures AP-01, AP-03, AP-04);
 *  - a record leaves memory only after storage answers for it, so every record is readable at every moment;
 *  - a dropped record is hidden from scans at once, whatever storage still has;
 *  - after a failed flush nothing is flushed again (WA-08). Reading and applying go on until the member ends.
 */
import { assert } from "@quorate/world";
import { DropList } from "./drop-list.ts";
import { RecordLog } from "./record-log.ts";
import {
  MAX_TABLE_KEY_BYTES,
  RecordSpan,
  type RecordVisitor,
  type Storage,
  type StorageBatch,
  type Table,
  TableKeySizeError,
} from "./storage.ts";
import { TableChanges } from "./table-changes.ts";

export interface BackendOptions {
  storage: Storage;
  /** Size of the record log's pieces, a multiple of 8. Default 1 MiB. */
  chunkBytes?: number;
  /** Memory for records that storage has as well, in whole chunks. Default 64 MiB. */
  cacheBytes?: number;
}

const DEFAULT_CHUNK_BYTES = 1024 * 1024;
const DEFAULT_CACHE_BYTES = 64 * 1024 * 1024;

/** Keys of the table "meta", as etcd has them: 8 bytes, big-endian. */
const CONSISTENT_INDEX: Uint8Array = Buffer.from("consistent_index");
const TERM: Uint8Array = Buffer.from("term");

export class Backend {
  readonly storage: Storage;
  readonly #log: RecordLog;
  readonly #reserved = new RecordSpan();
  readonly #merging: MergingVisitor;

  #openChanges = new TableChanges();
  #sealedChanges = new TableChanges();
  /** Dropped since the last flush began; the first #sealedDrops belong to whole entries. */
  #drops = new DropList();
  #sealedDrops = 0;
  #recordCount = 0;
  #writtenRecords = 0;
  #sealedRecordCount = 0;
  #sealedPosition = 0;

  #appliedIndex: number;
  #appliedTerm: number;
  #flushedIndex: number;
  #flushedTerm: number;

  #isFlushing = false;
  #flushingDrops = new DropList();
  #flushingChangeCount = 0;
  #flushingChangeBytes = 0;
  #flushingRecordCount = 0;
  #hasFailed = false;
  #isScanning = false;

  constructor(options: BackendOptions) {
    this.storage = options.storage;
    this.#log = new RecordLog(options.chunkBytes ?? DEFAULT_CHUNK_BYTES, options.cacheBytes ?? DEFAULT_CACHE_BYTES);
    this.#merging = new MergingVisitor(this);
    this.#flushedIndex = this.#storedNumber(CONSISTENT_INDEX);
    this.#flushedTerm = this.#storedNumber(TERM);
    this.#appliedIndex = this.#flushedIndex;
    this.#appliedTerm = this.#flushedTerm;
  }

  /** Index of the last entry whose effects are complete here. */
  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  get appliedTerm(): number {
    return this.#appliedTerm;
  }

  /** Index of the last entry whose effects are durable in storage: the log may be cut up to it. */
  get flushedIndex(): number {
    return this.#flushedIndex;
  }

  get flushedTerm(): number {
    return this.#flushedTerm;
  }

  get isFlushing(): boolean {
    return this.#isFlushing;
  }

  /** Records, drops and table changes that are not durable yet, those in flight included. */
  get unflushedCount(): number {
    return this.#recordCount + this.#flushingRecordCount + this.#unflushedDrops + this.unflushedChanges;
  }

  get #unflushedDrops(): number {
    return this.#drops.length + this.#flushingDrops.length;
  }

  /** Records added since this was made. */
  get writtenRecords(): number {
    return this.#writtenRecords;
  }

  /** Records dropped since the last flush began: what the next one will remove. */
  get gatheredDrops(): number {
    return this.#drops.length;
  }

  /** Table changes among them. */
  get unflushedChanges(): number {
    return this.#openChanges.count + this.#sealedChanges.count + this.#flushingChangeCount;
  }

  /** Memory they take. */
  get unflushedBytes(): number {
    return (
      this.#log.endPosition -
      this.#log.flushedPosition +
      this.#unflushedDrops * DROP_BYTES +
      this.#openChanges.sizeBytes +
      this.#sealedChanges.sizeBytes +
      this.#flushingChangeBytes
    );
  }

  /**
   * Size of the storage as it will be when what is not durable yet is flushed: the measure for the space quota. New
   * records fill free pages first, so the size grows only when they outgrow those.
   */
  sizeBytes(): number {
    return Math.max(this.storage.sizeBytes(), this.sizeInUseBytes());
  }

  /** Storage in use, with what is not durable yet. */
  sizeInUseBytes(): number {
    return this.storage.sizeInUseBytes() + this.unflushedBytes;
  }

  /** Copies the record into memory; returns its position. Revisions ascend strictly. */
  append(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): number {
    const span = this.reserve(main, sub, isTombstone, end - start);
    copyBytes(bytes, start, end, span.buffer, span.start);
    return span.position;
  }

  /**
   * Adds a record whose `sizeBytes` bytes the caller writes into the span itself, all of them and before it calls
   * anything else here. The span is one reused object, valid until the next reserve or append.
   */
  reserve(main: number, sub: number, isTombstone: boolean, sizeBytes: number): RecordSpan {
    assert(!this.#isScanning, "nothing is added during a scan");
    this.#log.reserve(main, sub, isTombstone, sizeBytes, this.#reserved);
    this.#recordCount += 1;
    this.#writtenRecords += 1;
    return this.#reserved;
  }

  /** Compaction removed the record: scans no longer show it, and the next batch removes it from storage. */
  drop(main: number, sub: number, isTombstone: boolean): void {
    assert(!this.#isScanning, "nothing is dropped during a scan");
    this.#drops.add(main, sub, isTombstone);
  }

  /**
   * Sets a key of a small table; null removes it. Copied.
   * @throws TableKeySizeError
   */
  put(table: Table, key: Uint8Array, value: Uint8Array | null): void {
    if (key.length === 0 || key.length > MAX_TABLE_KEY_BYTES) throw new TableKeySizeError(table, key.length);
    this.#openChanges.put(table, key, value);
  }

  /**
   * Everything before this call belongs to entries up to `index`. To be called after every entry, whatever came of it.
   * Work between entries, such as a slice of a compaction, is sealed by repeating the index at hand.
   */
  applied(index: number, term: number): void {
    assert(index >= this.#appliedIndex, "the applied index never goes back");
    assert(term >= this.#appliedTerm, "the applied term never goes back");
    this.#appliedIndex = index;
    this.#appliedTerm = term;
    this.#sealedPosition = this.#log.endPosition;
    this.#sealedRecordCount = this.#recordCount;
    this.#sealedDrops = this.#drops.length;
    if (this.#openChanges.count > 0) this.#sealedChanges.absorb(this.#openChanges);
  }

  /**
   * Points `span` at the record, in memory if `position` is still held, else as read from storage. Borrowed until the
   * next call of anything here. The record must exist.
   */
  read(position: number, main: number, sub: number, isTombstone: boolean, span: RecordSpan): void {
    // LMDB lends one buffer: what the visitor looks at would turn into the record read.
    assert(!this.#isScanning, "nothing is read during a scan");
    if (position >= 0 && this.#log.read(position, main, sub, isTombstone, span)) return;
    assert(this.storage.readRecord(main, sub, isTombstone, span), "a record that left memory is in storage");
  }

  /**
   * All records from (main, sub) on, ascending, each once, until the visitor returns false. Synchronous; a caller may
   * stop and resume from the next revision any time later. The bytes are borrowed until `visit` returns. `visit`
   * must not call anything here.
   */
  scanRecords(main: number, sub: number, visitor: RecordVisitor): void {
    assert(!this.#isScanning, "scans do not nest");
    this.#isScanning = true;
    try {
      const merging = this.#merging;
      merging.begin(visitor, this.#log);
      this.storage.scanRecords(main, sub, merging);
      if (!merging.isEnded) {
        merging.memoryBegins();
        this.#log.scanUnflushed(main, sub, merging);
      }
    } finally {
      this.#merging.end();
      this.#isScanning = false;
    }
  }

  /** True if compaction dropped the record and storage may still have it. */
  isDropped(main: number, sub: number, isTombstone: boolean): boolean {
    return this.#drops.has(main, sub, isTombstone) || this.#flushingDrops.has(main, sub, isTombstone);
  }

  /**
   * Starts one durable commit of everything up to the last `applied`. One at a time. `done` is never called
   * synchronously; after an error the process should end, and every later flush reports the same error.
   */
  flush(done: (error: Error | null) => void): void {
    assert(!this.#isFlushing, "one flush at a time");
    assert(!this.#isScanning, "no flush during a scan");
    this.#isFlushing = true;
    if (this.#hasFailed) {
      this.storage.commit(EMPTY_BATCH, (error) => {
        this.#isFlushing = false;
        assert(error !== null, "storage commits nothing after a failure");
        done(error);
      });
      return;
    }

    const index = this.#appliedIndex;
    const term = this.#appliedTerm;
    const position = this.#sealedPosition;
    const changes = this.#sealedChanges;
    // With no news the batch is empty, which storage completes without touching the disk.
    if (this.#sealedRecordCount > 0 || this.#sealedDrops > 0 || changes.count > 0 || this.#isAppliedAhead()) {
      changes.put("meta", CONSISTENT_INDEX, bigEndian64(index));
      if (term > 0) changes.put("meta", TERM, bigEndian64(term));
    }

    this.#flushingDrops = this.#takeSealedDrops();
    this.#flushingChangeCount = changes.count;
    this.#flushingChangeBytes = changes.sizeBytes;
    this.#flushingRecordCount = this.#sealedRecordCount;
    this.#recordCount -= this.#sealedRecordCount;
    this.#sealedRecordCount = 0;
    this.#sealedChanges = new TableChanges();

    const batch = {
      regions: this.#log.regionsBefore(position),
      recordCount: this.#flushingRecordCount,
      drops: this.#flushingDrops.toPairs(),
      changes: changes.toArray(),
    };
    this.storage.commit(batch, (error) => {
      this.#isFlushing = false;
      if (error !== null) {
        // What was in flight stays counted and readable: it is still only in memory, and will never be flushed.
        this.#hasFailed = true;
        done(error);
        return;
      }
      this.#log.flushedTo(position);
      this.#flushedIndex = index;
      this.#flushedTerm = term;
      this.#flushingDrops = new DropList();
      this.#flushingChangeCount = 0;
      this.#flushingChangeBytes = 0;
      this.#flushingRecordCount = 0;
      done(null);
    });
  }

  #isAppliedAhead(): boolean {
    return this.#appliedIndex !== this.#flushedIndex || this.#appliedTerm !== this.#flushedTerm;
  }

  #takeSealedDrops(): DropList {
    const count = this.#sealedDrops;
    this.#sealedDrops = 0;
    if (count < this.#drops.length) return this.#drops.takeFirst(count);
    const all = this.#drops;
    this.#drops = new DropList();
    return all;
  }

  #storedNumber(key: Uint8Array): number {
    const value = this.storage.get("meta", key);
    if (value === undefined) return 0;
    assert(value.length === 8, "a stored index or term has 8 bytes");
    const view = new DataView(value.buffer, value.byteOffset, 8);
    const number = view.getUint32(0) * 0x1_0000_0000 + view.getUint32(4);
    assert(Number.isSafeInteger(number), "a stored index or term is below 2^53");
    return number;
  }
}

const EMPTY_BATCH: StorageBatch = { regions: [], recordCount: 0, drops: new Float64Array(0), changes: [] };

/** What one drop adds to a batch. */
const DROP_BYTES = 16;

/**
 * Joins storage and memory in one scan. Storage may already show records of the batch in flight; memory is asked for
 * those, so what comes from storage ends before the first record that is not flushed.
 */
class MergingVisitor implements RecordVisitor {
  readonly #backend: Backend;
  #visitor: RecordVisitor | null = null;
  #limit = { main: Number.POSITIVE_INFINITY, sub: 0 };
  /** True once the caller's visitor has had enough. */
  isEnded = false;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  begin(visitor: RecordVisitor, log: RecordLog): void {
    this.#visitor = visitor;
    this.isEnded = false;
    if (!log.firstUnflushed(this.#limit)) this.memoryBegins();
  }

  /** From here on every record counts. */
  memoryBegins(): void {
    this.#limit.main = Number.POSITIVE_INFINITY;
    this.#limit.sub = 0;
  }

  end(): void {
    this.#visitor = null;
  }

  visit(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    if (main > this.#limit.main || (main === this.#limit.main && sub >= this.#limit.sub)) return false;
    if (this.#backend.isDropped(main, sub, isTombstone)) return true;
    if (this.#visitor!.visit(main, sub, isTombstone, bytes, start, end)) return true;
    this.isEnded = true;
    return false;
  }
}

function bigEndian64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(value / 0x1_0000_0000));
  view.setUint32(4, value >>> 0);
  return bytes;
}

/** A view for the copy costs more than a loop until a few dozen bytes; records are mostly longer. */
function copyBytes(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (start === 0 && end === from.length) to.set(from, at);
  else to.set(from.subarray(start, end), at);
}
