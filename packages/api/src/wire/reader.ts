/**
 * Reads protobuf out of `buffer[position, end)`, checking every byte's bounds.
 *
 * Who calls: the hot views and the table-driven messages of this package; nothing is copied, so whatever is kept after
 * the buffer's owner takes it back must be copied by the caller. A Reader is meant to be reused: `reset`, then read.
 *
 *     while (reader.position < reader.end) {
 *       const tag = reader.tag();
 *       if (tag === 0x0a) ... else reader.skip(tag);
 *     }
 *
 * Refused with {@link MalformedMessage} (known-failures GR-04): a varint of more than 64 bits, a length beyond the end of
 * the enclosing message, nesting deeper than 100, field number 0, wire types 6 and 7, and groups, which no message of
 * etcd's has and whose only use here would be unbounded recursion. Unknown fields, and known numbers with an unexpected
 * wire type, are skipped, as Go's decoder does.
 *
 * `isCanonical` starts true and turns false at a varint longer than need be and at a skipped field. Message decoders
 * also clear it for what only they can see (zero values, fields out of order or twice). What is left true is the one
 * encoding that every canonical encoder gives this message.
 */

import { assert } from "@quorate/world";
import { InexactInteger, MalformedMessage } from "./malformed.ts";
import { BOUND_MAX, int64FromHalves, uint64FromHalves } from "./varint.ts";

export const DEPTH_MAX = 100;

export const WireType = { Varint: 0, Fixed64: 1, LengthDelimited: 2, Fixed32: 5 } as const;

const TWO_32 = 0x1_0000_0000;
const nothing = new Uint8Array(0);

export class Reader {
  buffer: Uint8Array = nothing;
  position = 0;
  /** Of the message at hand; {@link enter} and {@link leave} move it. */
  end = 0;
  isCanonical = true;
  #depth = 0;
  // The varint read last, as two unsigned halves.
  #low = 0;
  #high = 0;

  /** Starts over on `buffer[start, end)`, borrowed for as long as the caller reads. */
  reset(buffer: Uint8Array, start: number, end: number): void {
    assert(start >= 0 && start <= end && end <= buffer.length, "a message lies within its buffer");
    this.buffer = buffer;
    this.position = start;
    this.end = end;
    this.isCanonical = true;
    this.#depth = 0;
  }

  /** The next field's (number << 3 | wire type), as an unsigned 32-bit number. */
  tag(): number {
    const at = this.position;
    if (at < this.end) {
      const byte = this.buffer[at]!;
      if (byte < 0x80 && byte >= 8) {
        this.position = at + 1;
        return byte;
      }
    }
    this.#load();
    if (this.#high !== 0) throw new MalformedMessage("field number too large", at);
    if (this.#low < 8) throw new MalformedMessage("field number 0", at);
    return this.#low;
  }

  /** Steps over a field nobody asked for. */
  skip(tag: number): void {
    this.isCanonical = false;
    switch (tag & 7) {
      case WireType.Varint:
        this.#load();
        return;
      case WireType.LengthDelimited: {
        // In two steps: `position += length()` would add to the position before the length was read.
        const length = this.length();
        this.position += length;
        return;
      }
      case WireType.Fixed64:
        this.#skipFixed(8);
        return;
      case WireType.Fixed32:
        this.#skipFixed(4);
        return;
      default:
        throw new MalformedMessage("group or unknown wire type", this.position);
    }
  }

  /** The length of a string, bytes or message that lies wholly before `end`; its first byte is at `position`. */
  length(): number {
    const at = this.position;
    this.#load();
    if (this.#high !== 0 || this.#low > this.end - this.position) {
      throw new MalformedMessage("length beyond the end of the message", at);
    }
    return this.#low;
  }

  /** A view of the bytes, borrowed from the buffer. */
  bytes(): Uint8Array {
    const length = this.length();
    const start = this.position;
    this.position = start + length;
    return this.buffer.subarray(start, start + length);
  }

  /** Steps into an embedded message; returns what {@link leave} wants back. */
  enter(): number {
    const at = this.position;
    const length = this.length();
    if (++this.#depth > DEPTH_MAX) throw new MalformedMessage("nested deeper than 100 messages", at);
    const outerEnd = this.end;
    this.end = this.position + length;
    return outerEnd;
  }

  leave(outerEnd: number): void {
    assert(this.position === this.end, "an embedded message is read to its end");
    this.#depth--;
    this.end = outerEnd;
  }

  bool(): boolean {
    this.#load();
    if ((this.#low | this.#high) === 0) return false;
    if (this.#low !== 1 || this.#high !== 0) this.isCanonical = false;
    return true;
  }

  /** An enum or int32: the low 32 bits, signed; numbers this build has no name for pass through. */
  int32(): number {
    this.#load();
    const value = this.#low | 0;
    if (this.#high !== (value < 0 ? 0xffff_ffff : 0)) this.isCanonical = false;
    return value;
  }

  uint32(): number {
    this.#load();
    if (this.#high !== 0) this.isCanonical = false;
    return this.#low;
  }

  /** An int64 that must be exact. Throws {@link InexactInteger} outside ±(2^53 - 1). */
  int64(): number {
    const at = this.position;
    this.#load();
    const value = (this.#high | 0) * TWO_32 + this.#low;
    if (!Number.isSafeInteger(value)) {
      throw new InexactInteger("read", int64FromHalves(this.#high, this.#low), at);
    }
    return value;
  }

  /** A uint64 that must be exact. Throws {@link InexactInteger} beyond 2^53 - 1. */
  uint64(): number {
    const at = this.position;
    this.#load();
    const value = this.#high * TWO_32 + this.#low;
    if (value > Number.MAX_SAFE_INTEGER) {
      throw new InexactInteger("read", uint64FromHalves(this.#high, this.#low), at);
    }
    return value;
  }

  /**
   * An int64 that is only compared with revisions, counts or times: anything beyond ±BOUND_MAX (2^53 - 1) reads as
   * ±BOUND_MAX, which nothing of ours ever exceeds. Clients do send max-int64: etcd's STM as `mod_revision <`, its proxy
   * as a watch's start.
   */
  bound(): number {
    this.#load();
    const value = (this.#high | 0) * TWO_32 + this.#low;
    if (value > BOUND_MAX) return BOUND_MAX;
    return Math.max(value, -BOUND_MAX);
  }

  /** An int64 id that others choose: all 64 bits. */
  int64Big(): bigint {
    this.#load();
    return int64FromHalves(this.#high, this.#low);
  }

  /** A uint64 id that others choose: all 64 bits. */
  uint64Big(): bigint {
    this.#load();
    return uint64FromHalves(this.#high, this.#low);
  }

  /** Reads a 64-bit id without making a bigint of it: its low half; the high half is {@link upperHalf}. */
  lowerHalf(): number {
    this.#load();
    return this.#low;
  }

  /** The high half of the varint read last. */
  upperHalf(): number {
    return this.#high;
  }

  /** Hot: bench/codec.ts. The first byte decides almost always, so it is tested before anything else is set up. */
  #load(): void {
    const at = this.position;
    if (at < this.end) {
      const byte = this.buffer[at]!;
      if (byte < 0x80) {
        this.#low = byte;
        this.#high = 0;
        this.position = at + 1;
        return;
      }
    }
    this.#loadLong();
  }

  #loadLong(): void {
    const buffer = this.buffer;
    const start = this.position;
    const end = this.end;
    let at = start;
    let low = 0;
    let high = 0;
    let byte = 0x80;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) throw new MalformedMessage("message ends inside a number", at);
      byte = buffer[at++]!;
      const bits = byte & 0x7f;
      if (shift < 28) {
        low |= bits << shift;
      } else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else {
        high |= bits << (shift - 32);
      }
      if (byte < 0x80) break;
    }
    // The tenth byte holds bit 63 alone.
    if (byte >= 0x80 || (at - start === 10 && byte > 1))
      throw new MalformedMessage("number of more than 64 bits", start);
    if (byte === 0 && at - start > 1) this.isCanonical = false;
    this.#low = low >>> 0;
    this.#high = high >>> 0;
    this.position = at;
  }

  #skipFixed(sizeBytes: number): void {
    if (this.end - this.position < sizeBytes) {
      throw new MalformedMessage("message ends inside a fixed-width number", this.position);
    }
    this.position += sizeBytes;
  }
}
