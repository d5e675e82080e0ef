/**
 * Reads a whole log of etcd's. Called by the tools, on the directory of a stopped member; nothing on disk is changed.
 *
 * A crash leaves the last segment torn: what had not reached the disk is zeroes, by sectors. What a bad record means is
 * decided as known failures WA-01 and WA-02 ask:
 *
 *   in the last segment, some sector of it zeroes or cut off by the file's end, nothing valid behind it   torn: ends there
 *   anything else                                                                                         damage: refused
 *
 * etcd is more generous: it cuts at any bad record that touches zeroes, also where whole records follow. Those may be
 * entries that clients were told of.
 */
import { Buffer } from "node:buffer";
import { InexactInteger, MalformedMessage, Reader } from "@quorate/api/wire";
import { crc32c } from "@quorate/crc32c";
import type { Disk } from "@quorate/world";
import { EtcdLogDamagedError, EtcdLogMissingError } from "./errors.ts";
import { join, RecordType, SECTOR_BYTES, SEGMENT_BYTES_MAX, segmentsOf, WORD_BYTES } from "./format.ts";
import { type BuiltLog, LogBuilder } from "./log-builder.ts";
import { MalformedRecord } from "./records.ts";

/** What a log contains, from the newest snapshot mark on that is committed. The caller owns all of it. */
export interface EtcdLog extends BuiltLog {
  /** Where the last segment was torn by a crash; null if it was not. */
  readonly torn: TornTail | null;
}

export interface TornTail {
  readonly file: string;
  readonly offset: number;
  readonly reason: string;
}

/**
 * Memory: one segment, and the entries from the newest mark on.
 * @throws EtcdLogMissingError, EtcdLogDamagedError, what the disk throws.
 */
export function readEtcdLog(options: { readonly disk: Disk; readonly directory: string }): EtcdLog {
  const { disk, directory } = options;
  const segments = segmentsOf(disk, directory);
  if (segments.length === 0) throw new EtcdLogMissingError(directory);
  const builder = new LogBuilder();
  let chain = 0;
  let torn: TornTail | null = null;
  let file = "";
  let endOffset = 0;
  for (const [i, { name, sequence }] of segments.entries()) {
    file = join(directory, name);
    if (i > 0 && sequence !== segments[i - 1]!.sequence + 1) {
      throw new EtcdLogDamagedError(file, 0, `the segment before it, ${sequence - 1}, is missing`);
    }
    const isLast = i === segments.length - 1;
    const segment = new Segment(file, readFile(disk, file), isLast);
    chain = segment.visit(chain, i === 0, builder);
    torn = segment.torn;
    endOffset = segment.endOffset;
  }
  try {
    return { ...builder.finish(), torn };
  } catch (error) {
    if (!(error instanceof MalformedRecord)) throw error;
    throw new EtcdLogDamagedError(file, endOffset, error.message);
  }
}

function readFile(disk: Disk, path: string): Buffer {
  const file = disk.open(path, "read");
  try {
    const sizeBytes = file.sizeBytes();
    if (sizeBytes > SEGMENT_BYTES_MAX) {
      throw new EtcdLogDamagedError(path, 0, `${sizeBytes} bytes, a segment has at most ${SEGMENT_BYTES_MAX}`);
    }
    const bytes = Buffer.allocUnsafeSlow(sizeBytes);
    const readBytes = file.read(bytes, sizeBytes, 0);
    return bytes.subarray(0, readBytes);
  } finally {
    file.close();
  }
}

/** One segment in memory. */
class Segment {
  readonly #path: string;
  readonly #bytes: Buffer;
  readonly #isLast: boolean;
  readonly #record = new RecordView();
  /** Of the file: behind the last record read. */
  endOffset = 0;
  torn: TornTail | null = null;

  constructor(path: string, bytes: Buffer, isLast: boolean) {
    this.#path = path;
    this.#bytes = bytes;
    this.#isLast = isLast;
  }

  /** Visits the records; returns the chain at the end. */
  visit(chain: number, isFirst: boolean, builder: LogBuilder): number {
    while (this.#next(chain)) {
      const { type, crc, dataStart, dataEnd } = this.#record;
      if ((this.endOffset === 0) !== (type === RecordType.Crc)) {
        this.#fail("a segment begins with the checksum of the one before it, and has no other such record");
      }
      if (type === RecordType.Crc) {
        if (!isFirst && crc !== chain)
          this.#fail(`it continues checksum ${crc}, the segment before ends with ${chain}`);
        if (dataEnd > dataStart) this.#fail("the checksum of the segment before has contents");
      }
      chain = crc;
      try {
        this.#deliver(builder);
      } catch (error) {
        if (error instanceof MalformedRecord) this.#fail(error.message);
        throw error;
      }
      this.endOffset = this.#record.end;
    }
    return chain;
  }

  #deliver(builder: LogBuilder): void {
    const { type, dataStart, dataEnd } = this.#record;
    const data = this.#bytes.subarray(dataStart, dataEnd);
    switch (type) {
      case RecordType.Crc:
        return;
      case RecordType.Metadata:
        return builder.onMetadata(data);
      case RecordType.Entry:
        return builder.onEntry(data);
      case RecordType.HardState:
        return builder.onHardState(data);
      case RecordType.Snapshot:
        return builder.onMark(data);
      default:
        throw new MalformedRecord(`a record of unknown type ${type}`);
    }
  }

  /** Reads the record at `endOffset`; false at the end of the log in this segment. */
  #next(chain: number): boolean {
    const at = this.endOffset;
    const bytes = this.#bytes;
    if (at === bytes.length) return false;
    if (bytes.length - at < WORD_BYTES) return this.#tear("the file ends inside a record", bytes.length, chain);
    if (isZero(bytes, at, at + WORD_BYTES)) {
      // etcd ends here, whatever follows.
      if (this.#isFollowed(chain)) this.#fail("zeroes where a record begins, and records behind them");
      return false;
    }
    const record = this.#record;
    const problem = record.read(bytes, at);
    if (problem !== null) return this.#tear(problem, record.end, chain);
    if (record.type === RecordType.Crc) return true;
    const crc = crc32c(bytes, chain, record.dataStart, record.dataEnd);
    if (crc !== record.crc) return this.#tear(`checksum ${crc} instead of ${record.crc}`, record.end, chain);
    return true;
  }

  /** The record at `endOffset` is bad. False if that is because a crash tore it. */
  #tear(reason: string, recordEnd: number, chain: number): false {
    const isCut = recordEnd > this.#bytes.length || this.#bytes.length - this.endOffset < WORD_BYTES;
    const isTorn = this.#isLast && (isCut || this.#hasZeroSector(this.endOffset + WORD_BYTES, recordEnd));
    if (!isTorn) this.#fail(reason);
    if (this.#isFollowed(chain)) this.#fail(`${reason}, and whole records after that`);
    this.torn = { file: this.#path, offset: this.endOffset, reason };
    return false;
  }

  /** A part of `[start, end)` that lies in one sector is all zeroes. */
  #hasZeroSector(start: number, end: number): boolean {
    for (let at = start; at < end; ) {
      const sectorEnd = Math.min(end, (Math.floor(at / SECTOR_BYTES) + 1) * SECTOR_BYTES);
      if (isZero(this.#bytes, at, sectorEnd)) return true;
      at = sectorEnd;
    }
    return false;
  }

  /**
   * No crash left what is at `endOffset`: the record there is whole but for its length, or one comes behind it that
   * continues its checksum, or two that belong together.
   */
  #isFollowed(chain: number): boolean {
    const bytes = this.#bytes;
    const bad = new RecordView();
    const hasHead = bad.readWithoutLength(bytes, this.endOffset);
    const isUncut = Math.ceil(bad.dataEnd / WORD_BYTES) * WORD_BYTES <= bytes.length;
    if (hasHead && isUncut && crc32c(bytes, chain, bad.dataStart, bad.dataEnd) === bad.crc) return true;
    const first = new RecordView();
    const second = new RecordView();
    for (let at = this.endOffset + WORD_BYTES; at + WORD_BYTES <= bytes.length; at += WORD_BYTES) {
      // Mostly zeroes come: a record begins with its length, never a multiple of 2^32.
      if ((bytes[at]! | bytes[at + 1]! | bytes[at + 2]! | bytes[at + 3]!) === 0) continue;
      if (first.read(bytes, at) !== null) continue;
      if (hasHead && crc32c(bytes, bad.crc, first.dataStart, first.dataEnd) === first.crc) return true;
      if (second.read(bytes, first.end) !== null) continue;
      if (crc32c(bytes, first.crc, second.dataStart, second.dataEnd) === second.crc) return true;
    }
    return false;
  }

  #fail(reason: string): never {
    throw new EtcdLogDamagedError(this.#path, this.endOffset, reason);
  }
}

/** A record in place, reused from record to record. */
class RecordView {
  type = 0;
  crc = 0;
  dataStart = 0;
  dataEnd = 0;
  /** Behind the padding; may lie behind the end of the file, if the record is bad. */
  end = 0;
  readonly #reader = new Reader();

  /** Null, or what is wrong with the record at `at`. */
  read(bytes: Buffer, at: number): string | null {
    this.end = at;
    if (bytes.length - at < WORD_BYTES) return "the file ends inside a record";
    const top = bytes[at + 7]!;
    const high = bytes.readUInt32LE(at + 4) & 0xff_ffff;
    const sizeBytes = high * 0x1_0000_0000 + bytes.readUInt32LE(at);
    const padding = (WORD_BYTES - (sizeBytes % WORD_BYTES)) % WORD_BYTES;
    const start = at + WORD_BYTES;
    this.end = start + sizeBytes + padding;
    if (this.end > bytes.length) return `a record of ${sizeBytes} bytes, and the file ends`;
    if (top !== (padding === 0 ? 0 : 0x80 | padding))
      return `a record of ${sizeBytes} bytes marked with 0x${top.toString(16)}`;
    try {
      return this.#readFields(bytes, start, start + sizeBytes);
    } catch (error) {
      if (isMalformed(error)) return `no record: ${error.message}`;
      throw error;
    }
  }

  /** Goes by the length within the record at `at` instead of the one before it. False if there is no such record. */
  readWithoutLength(bytes: Buffer, at: number): boolean {
    try {
      return this.#readFields(bytes, Math.min(at + WORD_BYTES, bytes.length), bytes.length, true) === null;
    } catch (error) {
      if (isMalformed(error)) return false;
      throw error;
    }
  }

  /** `endsWithData`: the data is the last field, wherever it ends. */
  #readFields(bytes: Buffer, start: number, end: number, endsWithData = false): string | null {
    const reader = this.#reader;
    reader.reset(bytes, start, end);
    this.type = 0;
    this.crc = 0;
    this.dataStart = end;
    this.dataEnd = end;
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x08) {
        this.type = reader.int32();
      } else if (tag === 0x10) {
        this.crc = reader.uint64();
      } else if (tag === 0x1a) {
        const length = reader.length();
        this.dataStart = reader.position;
        this.dataEnd = reader.position + length;
        if (endsWithData) break;
        reader.position = this.dataEnd;
      } else {
        return `no record: a field ${tag >>> 3}`;
      }
    }
    return this.type === 0 ? "a record without a type" : null;
  }
}

function isMalformed(error: unknown): error is Error {
  return error instanceof MalformedMessage || error instanceof InexactInteger;
}

function isZero(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] !== 0) return false;
  return true;
}
