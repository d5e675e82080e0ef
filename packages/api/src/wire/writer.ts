/**
 * Writes protobuf into a buffer that grows.
 *
 * Who calls: the response encoders and the table-driven messages of this package. A Writer is meant to be reused: the
 * server keeps one and calls `reset` per answer, so in the long run nothing is allocated. `bytes()` is borrowed until
 * the next call on the Writer; `copy()` is the caller's own.
 *
 * A message inside a message is written without knowing its length first: `begin` leaves one byte for it, `finish`
 * fills it in and, when the length needs more than one byte, moves the message up to make room.
 *
 *     const start = writer.begin(tag);      tag │ ? │
 *     ... the message's fields ...          tag │ ? │ fields
 *     writer.finish(start);                 tag │ length │ fields
 *
 * Fields are always written as given: leaving out zero values is the encoders' business, as is the order.
 */

import { MessageTooLarge } from "./malformed.ts";
import { VARINT_SIZE_MAX, varintSize, writeBound, writeVarint, writeVarintBig } from "./varint.ts";

/** gRPC frames state their length in 32 bits and etcd sends at most this much in one. */
export const MESSAGE_SIZE_MAX = 0x7fff_ffff;

/** Copies up to this long run faster as a loop than as a call into the engine (bench/codec.ts). */
const SHORT_COPY_SIZE = 32;

export class Writer {
  buffer: Buffer;
  /** Where the next byte goes; equally the size of what was written. */
  position = 0;

  constructor(initialSizeBytes = 512) {
    this.buffer = Buffer.allocUnsafe(initialSizeBytes);
  }

  /** Forgets what was written, keeps the room. */
  reset(): void {
    this.position = 0;
  }

  /** What was written, borrowed until the next call. */
  bytes(): Uint8Array {
    return this.buffer.subarray(0, this.position);
  }

  /** What was written, copied into a buffer of exactly its size. */
  copy(): Uint8Array {
    const out = Buffer.allocUnsafe(this.position);
    out.set(this.bytes());
    return out;
  }

  /** Makes room for `sizeBytes` more. Throws {@link MessageTooLarge} past 2^31 - 1 bytes in all. */
  ensure(sizeBytes: number): void {
    if (this.position + sizeBytes > this.buffer.length) this.#grow(sizeBytes);
  }

  /** One byte, or any tag that is a single byte (field numbers up to 15). */
  byte(value: number): void {
    this.ensure(1);
    this.buffer[this.position++] = value;
  }

  varint(value: number): void {
    this.ensure(VARINT_SIZE_MAX);
    this.position = writeVarint(this.buffer, this.position, value);
  }

  bound(value: number): void {
    this.ensure(VARINT_SIZE_MAX);
    this.position = writeBound(this.buffer, this.position, value);
  }

  varintBig(value: bigint): void {
    this.ensure(VARINT_SIZE_MAX);
    this.position = writeVarintBig(this.buffer, this.position, value);
  }

  /** The bytes themselves, without tag or length. */
  raw(from: Uint8Array, start: number, end: number): void {
    this.ensure(end - start);
    this.position = copyBytes(from, start, end, this.buffer, this.position);
  }

  /** Length, then the bytes. */
  bytesField(tag: number, from: Uint8Array, start: number, end: number): void {
    this.ensure(end - start + 2 * VARINT_SIZE_MAX);
    let at = writeVarint(this.buffer, this.position, tag);
    at = writeVarint(this.buffer, at, end - start);
    this.position = copyBytes(from, start, end, this.buffer, at);
  }

  stringField(tag: number, text: string): void {
    const sizeBytes = Buffer.byteLength(text);
    this.ensure(sizeBytes + 2 * VARINT_SIZE_MAX);
    let at = writeVarint(this.buffer, this.position, tag);
    at = writeVarint(this.buffer, at, sizeBytes);
    if (sizeBytes > 0) this.buffer.write(text, at, sizeBytes, "utf8");
    this.position = at + sizeBytes;
  }

  /** Opens an embedded message; returns what {@link finish} wants back. */
  begin(tag: number): number {
    this.ensure(VARINT_SIZE_MAX + 1);
    this.position = writeVarint(this.buffer, this.position, tag) + 1;
    return this.position;
  }

  /** Closes the embedded message that {@link begin} opened, innermost first. */
  finish(start: number): void {
    const sizeBytes = this.position - start;
    if (sizeBytes < 0x80) {
      this.buffer[start - 1] = sizeBytes;
      return;
    }
    const more = varintSize(sizeBytes) - 1;
    this.ensure(more);
    this.buffer.copyWithin(start + more, start, this.position);
    writeVarint(this.buffer, start - 1, sizeBytes);
    this.position += more;
  }

  #grow(sizeBytes: number): void {
    const needed = this.position + sizeBytes;
    if (needed > MESSAGE_SIZE_MAX) throw new MessageTooLarge(needed, MESSAGE_SIZE_MAX);
    const larger = Buffer.allocUnsafeSlow(Math.min(MESSAGE_SIZE_MAX, Math.max(needed, this.buffer.length * 2)));
    larger.set(this.buffer.subarray(0, this.position));
    this.buffer = larger;
  }
}

/** Copies `from[start, end)` to `into[at, ...)`; returns the position after it. The caller guarantees the room. */
export function copyBytes(from: Uint8Array, start: number, end: number, into: Uint8Array, at: number): number {
  const sizeBytes = end - start;
  if (sizeBytes > SHORT_COPY_SIZE) {
    into.set(from.subarray(start, end), at);
  } else {
    for (let index = 0; index < sizeBytes; index++) into[at + index] = from[start + index]!;
  }
  return at + sizeBytes;
}
