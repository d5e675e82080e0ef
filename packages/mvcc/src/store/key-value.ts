/**
 * The record: mvccpb.KeyValue in wire form, which is how a change is kept in memory, on disk, in answers and in events.
 *
 *     0a key   10 create_revision   18 mod_revision   20 version   2a value   30 lease        a put
 *     0a key                                                                                  a tombstone
 *
 * Fields ascend and zero fields are absent, so the bytes are exactly those etcd stores and HashKV agrees with its own
 * (semantics §4.2). A record is therefore written by {@link writeRecord} alone and never edited.
 *
 * Who calls: the write transaction writes straight into the span the backend reserved; ranges and watchers copy records
 * whole; compares, filters and leases look into one through a {@link RecordView}, which holds offsets, not copies.
 */

import { copyBytes, MalformedMessage, Reader, varintSize, writeVarint } from "@quorate/api/wire";

/** A put's record is the API's canonical KeyValue. */
export { keyValueSize as recordSize, writeKeyValue as writeRecord } from "@quorate/api";

const KEY = 0x0a;
const CREATE_REVISION = 0x10;
const MOD_REVISION = 0x18;
const VERSION = 0x20;
const VALUE = 0x2a;
const LEASE = 0x30;

/** A stored record that is no KeyValue: the database was damaged or written by something else. Nothing recovers it. */
export class RecordCorruptError extends Error {
  readonly kind = "RecordCorrupt";
  constructor(main: number, sub: number, cause: unknown) {
    super(`read of record ${main}_${sub}: not an encoded KeyValue`, { cause });
    this.name = "RecordCorruptError";
  }
}

/** Bytes {@link writeTombstone} will write. */
export function tombstoneSize(keyLength: number): number {
  return 1 + varintSize(keyLength) + keyLength;
}

export function writeTombstone(
  into: Uint8Array,
  at: number,
  key: Uint8Array,
  keyStart: number,
  keyEnd: number,
): number {
  into[at] = KEY;
  const position = writeVarint(into, at + 1, keyEnd - keyStart);
  return copyBytes(key, keyStart, keyEnd, into, position);
}

/**
 * Offsets and numbers of one record, reused from record to record. Everything points into the bytes last parsed and is
 * as short-lived as they are.
 */
export class RecordView {
  buffer: Uint8Array = new Uint8Array(0);
  keyStart = 0;
  keyEnd = 0;
  createRevision = 0;
  modRevision = 0;
  version = 0;
  valueStart = 0;
  valueEnd = 0;
  lease = 0n;
  #reader = new Reader();

  /** Reads a put's or tombstone's record. Throws {@link RecordCorruptError} naming (main, sub). */
  parse(buffer: Uint8Array, start: number, end: number, main: number, sub: number): void {
    this.buffer = buffer;
    this.keyStart = this.keyEnd = start;
    this.createRevision = this.modRevision = this.version = 0;
    this.valueStart = this.valueEnd = start;
    this.lease = 0n;
    try {
      this.#readFields(buffer, start, end);
    } catch (error) {
      throw new RecordCorruptError(main, sub, error);
    }
  }

  get keyLength(): number {
    return this.keyEnd - this.keyStart;
  }

  /** The key, copied. */
  copyKey(): Uint8Array {
    return copyOf(this.buffer, this.keyStart, this.keyEnd);
  }

  /** The value, copied. */
  copyValue(): Uint8Array {
    return copyOf(this.buffer, this.valueStart, this.valueEnd);
  }

  #readFields(buffer: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(buffer, start, end);
    while (reader.position < end) {
      const tag = reader.tag();
      switch (tag) {
        case KEY:
          this.keyEnd = reader.length();
          this.keyStart = reader.position;
          this.keyEnd += reader.position;
          reader.position = this.keyEnd;
          break;
        case CREATE_REVISION:
          this.createRevision = reader.int64();
          break;
        case MOD_REVISION:
          this.modRevision = reader.int64();
          break;
        case VERSION:
          this.version = reader.int64();
          break;
        case VALUE:
          this.valueEnd = reader.length();
          this.valueStart = reader.position;
          this.valueEnd += reader.position;
          reader.position = this.valueEnd;
          break;
        case LEASE:
          this.lease = reader.int64Big();
          break;
        default:
          reader.skip(tag);
      }
    }
    if (this.keyStart === this.keyEnd) throw new MalformedMessage("no key", start);
  }
}

/** `slice` would do, were it not that a Buffer's gives a view. */
function copyOf(buffer: Uint8Array, start: number, end: number): Uint8Array {
  const copy = new Uint8Array(end - start);
  copyBytes(buffer, start, end, copy, 0);
  return copy;
}
