/**
 * A whole database as a bbolt file, byte for byte what etcd keeps: the form in which it travels to other members and to
 * etcd's tools. Both storages write and read it here; how a bbolt file is built is packages/bbolt's.
 *
 *     bucket "key"      history key ─▶ record          the other buckets      as the small tables have them
 *     bucket "meta"     consistent_index, term, confState, scheduledCompactRev, finishedCompactRev, storageVersion
 *
 * Written are all ten buckets, empty ones too, because Go dies of a missing one. What is read is held to the rules first,
 * so that nothing built over it later meets what etcd could not have written:
 *
 *  - buckets are etcd's; an unknown one is refused, because a member that left it out would differ from the others;
 *  - records ascend, one of each revision, and each is a KeyValue that belongs to its key. One kind is not: an empty
 *    record, with which etcd's restore raises the revision ("revision bump"); it is kept as it is;
 *  - the numbers of "meta" have the size and range in which they are read later.
 */

import { MalformedMessage } from "@quorate/api/wire";
import { BboltDamagedError, BboltReader, type BboltSink, type BboltSource, BboltWriter } from "@quorate/bbolt";
import { RecordCorruptError, RecordView } from "../store/key-value.ts";
import { HISTORY_KEY_BYTES, isHistoryKey, type Revision, readHistoryKey, writeHistoryKey } from "./history-key.ts";
import { isNamed, isStandIn, nameInRecord, rowKeyOfName } from "./long-names.ts";
import { MAX_SUB } from "./record-frame.ts";
import {
  type DatabaseCut,
  MAX_TABLE_KEY_BYTES,
  type RecordVisitor,
  SnapshotDamagedError,
  SnapshotError,
  TABLES,
  type Table,
} from "./storage.ts";

const RECORDS = "key";
const BUCKETS: readonly string[] = [...TABLES, RECORDS].sort();

const CONSISTENT_INDEX = "consistent_index";
const TERM = "term";
const CONF_STATE = "confState";
const STORAGE_VERSION = "storageVersion";
const COMPACTIONS: readonly string[] = ["scheduledCompactRev", "finishedCompactRev"];

/** Of a database that does not say so itself. */
const DEFAULT_STORAGE_VERSION = "3.7.0";
/** What a database says that was made ready for etcd 3.5, whose files do not speak of it. */
const UNTOLD_STORAGE_VERSION = "3.5.0";

/** A store that was never written to. */
const FIRST_REVISION = 1;

/** Between two looks at whether to go on: a millisecond's work, more or less. */
const LOOK_EACH_BYTES = 1024 * 1024;

/** The committed state to write: it does not change while it is read. */
export interface SnapshotContents {
  scan(table: Table, visit: (key: Uint8Array, value: Uint8Array) => void): void;
  scanRecords(main: number, sub: number, visitor: RecordVisitor): void;
}

/** Looks now and then whether the work is to go on, with the bytes done until then; throws if not. */
export type ProgressCheck = (doneBytes: number) => void;

/** Thrown by a progress check: somebody wants no snapshot any more. */
export class SnapshotCancelled extends Error {
  constructor() {
    super("cancelled");
    this.name = "SnapshotCancelled";
  }
}

/** Writes everything to the sink, in pages of 4096 bytes. Throws what sink and check throw. */
export function writeDatabase(contents: SnapshotContents, sink: BboltSink, check: ProgressCheck): DatabaseCut {
  return new DatabaseWriter(contents, sink, check).run();
}

class DatabaseWriter implements RecordVisitor {
  readonly #contents: SnapshotContents;
  readonly #writer: BboltWriter;
  readonly #check: ProgressCheck;
  readonly #historyKey = new Uint8Array(HISTORY_KEY_BYTES + 1);
  #doneBytes = 0;
  #uncheckedBytes = 0;
  #appliedIndex = 0;
  #appliedTerm = 0;
  #confState: Uint8Array | null = null;
  #storageVersion: string = DEFAULT_STORAGE_VERSION;
  #revision = FIRST_REVISION;

  constructor(contents: SnapshotContents, sink: BboltSink, check: ProgressCheck) {
    this.#contents = contents;
    this.#writer = new BboltWriter({ sink });
    this.#check = check;
  }

  run(): DatabaseCut {
    for (const bucket of BUCKETS) {
      this.#writer.beginBucket(Buffer.from(bucket));
      if (bucket === RECORDS) this.#contents.scanRecords(0, 0, this);
      else if (bucket === "meta") this.#writeMeta();
      else this.#writeTable(bucket as Table);
      this.#writer.endBucket();
    }
    this.#check(this.#doneBytes);
    const sizeBytes = this.#writer.finish();
    return {
      appliedIndex: this.#appliedIndex,
      appliedTerm: this.#appliedTerm,
      confState: this.#confState,
      storageVersion: this.#storageVersion,
      revision: this.#revision,
      sizeBytes,
    };
  }

  /** Called by the scan of the records. */
  visit(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    const keyEnd = writeHistoryKey(this.#historyKey, 0, main, sub, isTombstone);
    this.#put(this.#historyKey, keyEnd, bytes, start, end);
    this.#revision = Math.max(this.#revision, main);
    return true;
  }

  /** Names that a stand-in is kept for take their places among the others. */
  #writeTable(table: Table): void {
    const named: [name: Uint8Array, value: Uint8Array][] = [];
    if (!isNamed(table)) {
      this.#contents.scan(table, (key, value) => this.#put(key, key.length, value, 0, value.length));
      return;
    }
    this.#contents.scan(table, (key, value) => {
      if (isStandIn(table, key)) named.push([Uint8Array.from(nameInRecord(table, value)), Uint8Array.from(value)]);
    });
    named.sort(([a], [b]) => Buffer.compare(b, a));
    this.#contents.scan(table, (key, value) => {
      if (isStandIn(table, key)) return;
      this.#writeNamed(named, key);
      this.#put(key, key.length, value, 0, value.length);
    });
    this.#writeNamed(named, null);
  }

  /** Takes from the end of the list what comes before the key; null: all. */
  #writeNamed(named: [name: Uint8Array, value: Uint8Array][], key: Uint8Array | null): void {
    while (named.length > 0) {
      const [name, value] = named.at(-1)!;
      if (key !== null && Buffer.compare(name, key) > 0) return;
      named.pop();
      this.#put(name, name.length, value, 0, value.length);
    }
  }

  #writeMeta(): void {
    const rows = new Map<string, Uint8Array>();
    this.#contents.scan("meta", (key, value) => rows.set(Buffer.from(key).toString("latin1"), Uint8Array.from(value)));
    if (!rows.has(STORAGE_VERSION)) rows.set(STORAGE_VERSION, Buffer.from(DEFAULT_STORAGE_VERSION));
    // A latin1 string sorts as its bytes do.
    for (const name of [...rows.keys()].sort()) {
      const value = rows.get(name)!;
      if (name === STORAGE_VERSION) {
        const version = Buffer.from(value).toString();
        this.#storageVersion = version === UNTOLD_STORAGE_VERSION ? "" : version;
        if (this.#storageVersion === "") continue;
      }
      if (name === CONSISTENT_INDEX) this.#appliedIndex = numberOf(value) ?? 0;
      if (name === TERM) this.#appliedTerm = numberOf(value) ?? 0;
      if (name === CONF_STATE) this.#confState = value;
      if (COMPACTIONS.includes(name)) this.#revision = Math.max(this.#revision, numberOf(value.subarray(0, 8)) ?? 0);
      this.#put(Buffer.from(name, "latin1"), name.length, value, 0, value.length);
    }
  }

  #put(key: Uint8Array, keyEnd: number, value: Uint8Array, valueStart: number, valueEnd: number): void {
    this.#writer.put(key, 0, keyEnd, value, valueStart, valueEnd);
    const sizeBytes = keyEnd + valueEnd - valueStart;
    this.#doneBytes += sizeBytes;
    this.#uncheckedBytes += sizeBytes;
    if (this.#uncheckedBytes < LOOK_EACH_BYTES) return;
    this.#uncheckedBytes = 0;
    this.#check(this.#doneBytes);
  }
}

/** Takes what is read, in this order: records ascending, then the rows of the tables. All bytes are borrowed until return. */
export interface SnapshotTarget {
  addRecord(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): void;
  addRow(table: Table, key: Uint8Array, value: Uint8Array): void;
}

/**
 * Reads a database into the target. The rows that say up to which entry it is come last of all.
 * @param path for naming the file.
 * @throws SnapshotDamagedError; what source and target throw.
 */
export function readDatabase(path: string, source: BboltSource, target: SnapshotTarget): void {
  try {
    new DatabaseReader(path, source, target).run();
  } catch (error) {
    if (!(error instanceof BboltDamagedError)) throw error;
    throw new SnapshotDamagedError(path, `page ${error.page}, offset ${error.offset}`, error.detail);
  }
}

class DatabaseReader {
  readonly #path: string;
  readonly #reader: BboltReader;
  readonly #target: SnapshotTarget;
  readonly #revision: Revision = { main: 0, sub: 0, isTombstone: false };
  readonly #view = new RecordView();

  constructor(path: string, source: BboltSource, target: SnapshotTarget) {
    this.#path = path;
    this.#reader = new BboltReader(source);
    this.#target = target;
  }

  run(): void {
    for (const name of this.#reader.bucketNames()) {
      const bucket = Buffer.from(name).toString("latin1");
      if (!BUCKETS.includes(bucket)) this.#fail(`bucket ${JSON.stringify(bucket)}`, "etcd has no such bucket");
    }
    for (const bucket of [RECORDS, "meta"]) {
      if (!this.#reader.hasBucket(Buffer.from(bucket))) this.#fail(`bucket ${bucket}`, "it is missing");
    }
    this.#readRecords();
    for (const table of TABLES) if (table !== "meta") this.#readTable(table);
    this.#readMeta();
  }

  #readRecords(): void {
    let lastMain = 0;
    let lastSub = 0;
    const revision = this.#revision;
    this.#reader.visit(Buffer.from(RECORDS), {
      visit: (bytes, keyStart, keyEnd, valueEnd) => {
        if (!isHistoryKey(bytes, keyStart, keyEnd)) {
          this.#failRow(RECORDS, bytes.subarray(keyStart, keyEnd), "the key is no revision");
        }
        readHistoryKey(bytes, keyStart, keyEnd, revision);
        const { main, sub, isTombstone } = revision;
        if (main === 0 || !Number.isSafeInteger(main) || sub > MAX_SUB) {
          this.#failRow(RECORDS, bytes.subarray(keyStart, keyEnd), "the revision is out of range");
        }
        if (main === lastMain && sub === lastSub) {
          this.#failRow(RECORDS, bytes.subarray(keyStart, keyEnd), "a second record of one revision");
        }
        const problem = this.#problemOf(bytes, keyEnd, valueEnd);
        if (problem !== null) this.#failRow(RECORDS, bytes.subarray(keyStart, keyEnd), problem);
        this.#target.addRecord(main, sub, isTombstone, bytes, keyEnd, valueEnd);
        lastMain = main;
        lastSub = sub;
        return true;
      },
    });
  }

  /** What is wrong with the record of the revision at hand; null if nothing. */
  #problemOf(bytes: Uint8Array, start: number, end: number): string | null {
    const { main, sub, isTombstone } = this.#revision;
    if (start === end) return isTombstone || sub !== 0 ? "a record without contents" : null;
    const view = this.#view;
    try {
      view.parse(bytes, start, end, main, sub);
    } catch (error) {
      // Everything a KeyValue's bytes can be wrong in; anything else is a mistake of ours.
      if (!(error instanceof RecordCorruptError)) throw error;
      const { cause } = error;
      return `the record is no KeyValue${cause instanceof MalformedMessage ? `: ${cause.message}` : ""}`;
    }
    if (isTombstone) return null;
    if (view.modRevision !== main) return `the record says it is of revision ${view.modRevision}`;
    if (view.createRevision < 1 || view.createRevision > main) return `created at revision ${view.createRevision}`;
    return view.version < 1 ? `version ${view.version}` : null;
  }

  #readTable(table: Table): void {
    this.#reader.visit(Buffer.from(table), {
      visit: (bytes, keyStart, keyEnd, valueEnd) => {
        const key = bytes.subarray(keyStart, keyEnd);
        const value = bytes.subarray(keyEnd, valueEnd);
        if (isNamed(table)) this.#checkName(table, key, value);
        else this.#checkKeySize(table, key);
        this.#target.addRow(table, isNamed(table) ? rowKeyOfName(key) : key, value);
        return true;
      },
    });
  }

  #readMeta(): void {
    const last: [key: Uint8Array, value: Uint8Array][] = [];
    this.#reader.visit(Buffer.from("meta"), {
      visit: (bytes, keyStart, keyEnd, valueEnd) => {
        const key = Uint8Array.from(bytes.subarray(keyStart, keyEnd));
        const value = Uint8Array.from(bytes.subarray(keyEnd, valueEnd));
        const name = Buffer.from(key).toString("latin1");
        this.#checkKeySize("meta", key);
        if (name === CONSISTENT_INDEX || name === TERM) {
          if (numberOf(value) === null) this.#failRow("meta", key, "its value is no number of 8 bytes below 2^53");
          last.push([key, value]);
          return true;
        }
        if (COMPACTIONS.includes(name)) this.#checkCompaction(key, value);
        this.#target.addRow("meta", key, value);
        return true;
      },
    });
    for (const [key, value] of last) this.#target.addRow("meta", key, value);
  }

  #checkCompaction(key: Uint8Array, value: Uint8Array): void {
    const isRevision = value.length === HISTORY_KEY_BYTES && isHistoryKey(value, 0, value.length);
    if (!isRevision || numberOf(value.subarray(0, 8)) === null) this.#failRow("meta", key, "its value is no revision");
  }

  /** A stand-in is ours alone, and what one will be made for must be found again in the record. */
  #checkName(table: Table, key: Uint8Array, value: Uint8Array): void {
    if (isStandIn(table, key)) this.#failRow(table, key, "no name");
    if (key.length <= MAX_TABLE_KEY_BYTES) return;
    let name: Uint8Array;
    try {
      name = nameInRecord(table, value);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      this.#failRow(table, key, `the record is damaged: ${error.message}`);
    }
    if (Buffer.compare(name, key) !== 0) this.#failRow(table, key, "the record is of another name");
  }

  #checkKeySize(table: Table, key: Uint8Array): void {
    if (key.length <= MAX_TABLE_KEY_BYTES) return;
    this.#failRow(table, key, `a key of ${key.length} bytes, allowed are ${MAX_TABLE_KEY_BYTES}`);
  }

  #failRow(bucket: string, key: Uint8Array, detail: string): never {
    this.#fail(`bucket ${bucket}, key 0x${Buffer.from(key.subarray(0, 64)).toString("hex")}`, detail);
  }

  #fail(place: string, detail: string): never {
    throw new SnapshotDamagedError(this.#path, place, detail);
  }
}

/** What a snapshot's owner hears of whatever went wrong. */
export function asSnapshotError(operation: "read" | "write", path: string, error: unknown): Error {
  if (error instanceof SnapshotDamagedError) return error;
  if (error instanceof SnapshotCancelled) return new SnapshotError(operation, path, error.message, "ECANCELED");
  const detail = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
  const snapshotError = new SnapshotError(operation, path, detail, code);
  snapshotError.cause = error;
  return snapshotError;
}

/** Eight bytes, big-endian; null if it is not that, or not exact. */
function numberOf(bytes: Uint8Array): number | null {
  if (bytes.length !== 8) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  const number = view.getUint32(0) * 0x1_0000_0000 + view.getUint32(4);
  return Number.isSafeInteger(number) ? number : null;
}
