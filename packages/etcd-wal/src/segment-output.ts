/**
 * Frames of one segment, put out one after the other in large writes; what goes on from segment to segment is the chain of
 * checksums. Called by whoever writes a log.
 */
import { Buffer } from "node:buffer";
import { crc32c } from "@quorate/crc32c";
import { assert, type Disk, type DiskFile } from "@quorate/world";
import { RecordType, WORD_BYTES } from "./format.ts";

/** Written at once. */
const BUFFER_BYTES = 1024 * 1024;
/** What a record takes besides its data, at most: word, three tags, type, crc, length, padding. */
const RECORD_BYTES = 32;

export class SegmentOutput {
  readonly #file: DiskFile;
  #buffer: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #buffered = 0;
  #position = 0;
  #chain: number;

  /** Creates the file and begins it. `chain`: at the end of the segment before, 0 for the first. */
  constructor(disk: Disk, path: string, chain: number) {
    this.#file = disk.open(path, "create");
    this.#chain = chain;
    this.#begin(0);
    this.#end(RecordType.Crc, 0);
  }

  get sizeBytes(): number {
    return this.#position + this.#buffered;
  }

  /** After the last record put out. */
  get chain(): number {
    return this.#chain;
  }

  put(type: number, data: Uint8Array): void {
    this.putInPlace(type, data.length, (into, at) => into.set(data, at));
  }

  /** `write` puts the record's data, all `sizeBytes`, at the place it is given. */
  putInPlace(type: number, sizeBytes: number, write: (into: Buffer, at: number) => void): void {
    // Beginning may replace the buffer.
    const at = this.#begin(sizeBytes);
    write(this.#buffer, at);
    this.#end(type, sizeBytes);
  }

  /** Makes the file durable, but for its name, and closes it. */
  finish(): void {
    this.#flush();
    this.#file.sync();
    this.#file.close();
  }

  /** Makes room for a record and returns where its data goes. */
  #begin(sizeBytes: number): number {
    if (this.#buffered + sizeBytes + RECORD_BYTES > this.#buffer.length) {
      this.#flush();
      if (sizeBytes + RECORD_BYTES > this.#buffer.length) {
        this.#buffer = Buffer.allocUnsafeSlow(sizeBytes + RECORD_BYTES);
      }
    }
    // Where the longest head lets it begin; it moves up to its own head afterwards.
    return this.#buffered + RECORD_BYTES - WORD_BYTES;
  }

  #end(type: number, sizeBytes: number): void {
    const buffer = this.#buffer;
    const word = this.#buffered;
    const dataAt = word + RECORD_BYTES - WORD_BYTES;
    this.#chain = crc32c(buffer, this.#chain, dataAt, dataAt + sizeBytes);
    let at = word + WORD_BYTES;
    buffer[at++] = 0x08;
    buffer[at++] = type;
    buffer[at++] = 0x10;
    at = putVarint(buffer, at, this.#chain);
    if (sizeBytes > 0) {
      buffer[at++] = 0x1a;
      at = putVarint(buffer, at, sizeBytes);
      assert(at <= dataAt, "a head is not longer than the room left for it");
      buffer.copyWithin(at, dataAt, dataAt + sizeBytes);
      at += sizeBytes;
    }
    const recordBytes = at - word - WORD_BYTES;
    const padding = (WORD_BYTES - (recordBytes % WORD_BYTES)) % WORD_BYTES;
    buffer.fill(0, at, at + padding);
    buffer.writeUInt32LE(recordBytes, word);
    buffer.writeUInt32LE(padding === 0 ? 0 : ((0x80 | padding) << 24) >>> 0, word + 4);
    this.#buffered = at + padding;
  }

  #flush(): void {
    this.#file.write(this.#buffer, 0, this.#buffered, this.#position);
    this.#position += this.#buffered;
    this.#buffered = 0;
  }
}

/** `value` below 2^32. */
function putVarint(into: Uint8Array, at: number, value: number): number {
  let rest = value;
  while (rest >= 0x80) {
    into[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  into[at++] = rest;
  return at;
}
