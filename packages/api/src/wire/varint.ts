/**
 * Varints over (buffer, position): seven bits a byte, lowest first, the top bit set on all but the last byte.
 *
 * Who calls: the {@link Writer} and the hot encoders, which sum sizes first and then write without checking for room.
 * Every write function returns the position after what it wrote; the caller guarantees the room (at most 10 bytes).
 *
 * 64-bit values come in three dresses:
 *  - `number`, exact up to ±(2^53 - 1); a negative takes ten bytes, as int64's two's complement does;
 *  - `bigint`, for opaque ids; its low 64 bits are written, so int64 and uint64 share one function;
 *  - two 32-bit halves, for request ids that hot code must not turn into a bigint.
 */

import { InexactInteger } from "./malformed.ts";

/** Stands for every bound at or beyond it: see {@link Reader.bound}. */
export const BOUND_MAX: number = Number.MAX_SAFE_INTEGER;

export const VARINT_SIZE_MAX = 10;

const TWO_32 = 0x1_0000_0000;

// One 64-bit cell to take a bigint apart without allocating. Filled and read within one call, never across.
const cell = new DataView(new ArrayBuffer(8));

/** Bytes `value` takes as a varint. Integers in ±(2^53 - 1) only: the caller has checked, or made, the number. */
export function varintSize(value: number): number {
  if (value < 0x80) return value >= 0 ? 1 : VARINT_SIZE_MAX;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  if (value < 0x8_0000_0000) return 5;
  if (value < 0x400_0000_0000) return 6;
  if (value < 0x2_0000_0000_0000) return 7;
  return 8;
}

/** Writes an integer in ±(2^53 - 1). Throws {@link InexactInteger} for any other number, fractions included. */
export function writeVarint(into: Uint8Array, at: number, value: number): number {
  if (value >= 0 && value < 0x80 && Number.isInteger(value)) {
    into[at] = value;
    return at + 1;
  }
  if (!Number.isSafeInteger(value)) throw new InexactInteger("write", value, at);
  if (value < 0) return writeVarintHalves(into, at, Math.floor(value / TWO_32) >>> 0, value >>> 0);
  let position = at;
  let rest = value;
  // Bit operations see 32 bits only, so numbers above that shed their low bits by division first.
  while (rest >= TWO_32) {
    into[position++] = (rest & 0x7f) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  rest >>>= 0;
  while (rest >= 0x80) {
    into[position++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  into[position++] = rest;
  return position;
}

/** Bytes the low 64 bits of `value` take. */
export function varintSizeBig(value: bigint): number {
  cell.setBigInt64(0, value, true);
  return varintSizeHalves(cell.getUint32(4, true), cell.getUint32(0, true));
}

/** Writes the low 64 bits of `value`: int64 in two's complement and uint64 alike. */
export function writeVarintBig(into: Uint8Array, at: number, value: bigint): number {
  cell.setBigInt64(0, value, true);
  return writeVarintHalves(into, at, cell.getUint32(4, true), cell.getUint32(0, true));
}

/** Bytes the 64-bit number high·2^32 + low takes. Both halves unsigned. */
export function varintSizeHalves(high: number, low: number): number {
  if (high === 0) return varintSize(low);
  return high >= 0x8000_0000 ? VARINT_SIZE_MAX : high >= 0x100_0000 ? 9 : varintSize(high * TWO_32 + low);
}

/** Writes the 64-bit number high·2^32 + low. Both halves unsigned. */
export function writeVarintHalves(into: Uint8Array, at: number, high: number, low: number): number {
  let position = at;
  let upper = high;
  let lower = low;
  while (upper !== 0) {
    into[position++] = (lower & 0x7f) | 0x80;
    lower = ((lower >>> 7) | (upper << 25)) >>> 0;
    upper >>>= 7;
  }
  while (lower >= 0x80) {
    into[position++] = (lower & 0x7f) | 0x80;
    lower >>>= 7;
  }
  into[position++] = lower;
  return position;
}

/** The bigint high·2^32 + low, unsigned. 0n costs nothing. */
export function uint64FromHalves(high: number, low: number): bigint {
  if (high === 0) return low === 0 ? 0n : BigInt(low);
  cell.setUint32(0, low, true);
  cell.setUint32(4, high, true);
  return cell.getBigUint64(0, true);
}

/** The bigint of two's complement high·2^32 + low. 0n costs nothing. */
export function int64FromHalves(high: number, low: number): bigint {
  if (high === 0) return low === 0 ? 0n : BigInt(low);
  cell.setUint32(0, low, true);
  cell.setUint32(4, high, true);
  return cell.getBigInt64(0, true);
}

/** Bytes a bound (see {@link Reader.bound}) takes. */
export function boundSize(value: number): number {
  return value >= BOUND_MAX ? 9 : varintSize(value);
}

/** Writes a bound; one at or beyond ±BOUND_MAX is written as the largest or smallest int64. */
export function writeBound(into: Uint8Array, at: number, value: number): number {
  if (value >= BOUND_MAX) return writeVarintHalves(into, at, 0x7fff_ffff, 0xffff_ffff);
  if (value <= -BOUND_MAX) return writeVarintHalves(into, at, 0x8000_0000, 0);
  return writeVarint(into, at, value);
}
