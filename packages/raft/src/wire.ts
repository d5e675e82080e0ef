/**
 * Protocol-buffer primitives, just those raftpb needs: varints, length-delimited fields, and skipping what is unknown.
 * Kept here because consensus imports nothing outward.
 *
 * A 64-bit varint is read into two 32-bit halves, so that terms and indexes become exact numbers and ids become bigints
 * without a bigint operation per byte.
 */
import { MalformedMessage } from "./errors.ts";

export const WireType = { Varint: 0, Fixed64: 1, Bytes: 2, Fixed32: 5 } as const;

const TWO_TO_32 = 0x1_0000_0000;

/** Bytes `value` takes as a varint. `value` is a non-negative integer below 2^53. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  if (value < 0x8_0000_0000) return 5;
  if (value < 0x400_0000_0000) return 6;
  if (value < 0x2_0000_0000_0000) return 7;
  return 8;
}

export function bigVarintSize(value: bigint): number {
  const high = Number(value >> 32n);
  if (high === 0) return varintSize(Number(value));
  return Math.ceil((64 - Math.clz32(high)) / 7);
}

/** Writes into a buffer its owner has made large enough; every method returns the position after what it wrote. */
export function putVarint(into: Uint8Array, at: number, value: number): number {
  while (value > 0x7fff_ffff) {
    into[at++] = (value % 0x80) | 0x80;
    value = Math.floor(value / 0x80);
  }
  while (value >= 0x80) {
    into[at++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  into[at++] = value;
  return at;
}

export function putBigVarint(into: Uint8Array, at: number, value: bigint): number {
  let low = Number(value & 0xffff_ffffn);
  let high = Number(value >> 32n);
  while (high > 0) {
    into[at++] = (low & 0x7f) | 0x80;
    low = ((low >>> 7) | (high << 25)) >>> 0;
    high >>>= 7;
  }
  return putVarint(into, at, low);
}

/** Reads one message, `[start, end)` of a buffer it borrows. Throws MalformedMessage on anything that is not one. */
export class Reader {
  readonly #bytes: Uint8Array;
  #at: number;
  #end: number;
  #low = 0;
  #high = 0;
  /** Set by `next`. */
  field = 0;
  wireType = 0;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  /** Moves to the next field; false at the end of the message. */
  next(): boolean {
    if (this.#at >= this.#end) return false;
    this.#varint();
    const tag = this.#low;
    if (this.#high !== 0 || tag < 8) throw new MalformedMessage("a field number is out of range");
    this.field = tag >>> 3;
    this.wireType = tag & 7;
    return true;
  }

  /** The present field as a number; refuses values beyond 2^53, which no term or index of ours reaches. */
  exact(): number {
    this.#expect(WireType.Varint);
    this.#varint();
    if (this.#high >= 0x20_0000) throw new MalformedMessage("a term or index is beyond 2^53");
    return this.#high * TWO_TO_32 + this.#low;
  }

  bool(): boolean {
    this.#expect(WireType.Varint);
    this.#varint();
    return this.#low !== 0 || this.#high !== 0;
  }

  /** The present field as an opaque 64-bit id. */
  id(): bigint {
    this.#expect(WireType.Varint);
    this.#varint();
    return this.#high === 0 ? BigInt(this.#low) : (BigInt(this.#high) << 32n) | BigInt(this.#low);
  }

  /** Appends the ids of a repeated field, packed or not. */
  ids(onto: bigint[]): void {
    if (this.wireType !== WireType.Bytes) {
      onto.push(this.id());
      return;
    }
    const end = this.#length();
    while (this.#at < end) {
      this.#varint();
      onto.push(this.#high === 0 ? BigInt(this.#low) : (BigInt(this.#high) << 32n) | BigInt(this.#low));
    }
    if (this.#at !== end) throw new MalformedMessage("a packed list ends inside a number");
  }

  /** A view of the present field's bytes: as long-lived as the buffer. */
  bytes(): Uint8Array {
    this.#expect(WireType.Bytes);
    const end = this.#length();
    const view = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return view;
  }

  /** Narrows the reader to the embedded message of the present field; `leave` with the result widens it again. */
  enter(): number {
    this.#expect(WireType.Bytes);
    const outer = this.#end;
    this.#end = this.#length();
    return outer;
  }

  leave(outer: number): void {
    this.#end = outer;
  }

  /** Passes over a field this version does not know. */
  skip(): void {
    if (this.wireType === WireType.Varint) this.#varint();
    else if (this.wireType === WireType.Bytes) this.#at = this.#length();
    else if (this.wireType === WireType.Fixed64) this.#advance(8);
    else if (this.wireType === WireType.Fixed32) this.#advance(4);
    else throw new MalformedMessage("a field has a wire type that is not in use");
  }

  #expect(wireType: number): void {
    if (this.wireType !== wireType) throw new MalformedMessage("a field has the wrong wire type");
  }

  /** Reads a length and returns where what it measures ends. */
  #length(): number {
    this.#varint();
    if (this.#high !== 0 || this.#low > this.#end - this.#at)
      throw new MalformedMessage("a field ends past its message");
    return this.#at + this.#low;
  }

  #advance(count: number): void {
    if (count > this.#end - this.#at) throw new MalformedMessage("a field ends past its message");
    this.#at += count;
  }

  #varint(): void {
    const bytes = this.#bytes;
    let low = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.#byte(bytes);
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.#low = low >>> 0;
        this.#high = 0;
        return;
      }
    }
    // The fifth byte straddles the halves: four bits below, three above.
    let byte = this.#byte(bytes);
    this.#low = (low | ((byte & 0x0f) << 28)) >>> 0;
    let high = (byte & 0x7f) >>> 4;
    for (let shift = 3; byte >= 0x80; shift += 7) {
      if (shift > 31) throw new MalformedMessage("a number takes more than ten bytes");
      byte = this.#byte(bytes);
      high |= shift < 31 ? (byte & 0x7f) << shift : (byte & 0x01) << 31;
    }
    this.#high = high >>> 0;
  }

  #byte(bytes: Uint8Array): number {
    if (this.#at >= this.#end) throw new MalformedMessage("a number is cut short");
    return bytes[this.#at++]!;
  }
}
