/**
 * Sectors: 500 bytes of payload and a stamp that says which batch of which segment they belong to. Called by the batch
 * writer (spread) and the segment reader (classify). The drawing is in `format.ts`.
 *
 * The stamp stands at the end of the sector, so that a sector of which only the first bytes arrived counts as unwritten.
 */
import type { Buffer } from "node:buffer";
import { PAYLOAD_BYTES, SECTOR_BYTES } from "./format.ts";

/** What {@link classify} returns beside a start sector: never written by this segment; or written, then damaged. */
export const UNWRITTEN = -1;
export const DAMAGED = -2;

/**
 * A check over four numbers. Each step is a bijection of the number it takes in, so a change of any single one changes
 * the result with certainty, and other changes with probability 1 - 2^-32.
 */
export function mix(salt: number, a: number, b: number, c: number): number {
  let hash = salt | 0;
  hash = Math.imul(hash ^ a, 0x9e37_79b1);
  hash ^= hash >>> 15;
  hash = Math.imul(hash ^ b, 0x85eb_ca77);
  hash ^= hash >>> 13;
  hash = Math.imul(hash ^ c, 0xc2b2_ae3d);
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x27d4_eb2f);
  hash ^= hash >>> 15;
  return hash >>> 0;
}

/**
 * Turns `buffer[0, length)`, a batch in one piece, into stamped sectors from `buffer[0]` on, in place. The buffer must
 * have room for `sectorCount` sectors. Goes backwards because every sector moves up.
 */
export function spread(
  buffer: Buffer,
  length: number,
  sectorCount: number,
  salt: number,
  sequence: number,
  startSector: number,
): void {
  for (let i = sectorCount - 1; i >= 0; i--) {
    const from = i * PAYLOAD_BYTES;
    const until = Math.min(from + PAYLOAD_BYTES, length);
    const at = i * SECTOR_BYTES;
    if (i > 0) buffer.copyWithin(at, from, until);
    const used = at + until - from;
    const stampAt = at + PAYLOAD_BYTES;
    if (used < stampAt) buffer.fill(0, used, stampAt);
    buffer.writeUInt32LE(sequence, stampAt);
    buffer.writeUInt32LE(startSector, stampAt + 4);
    buffer.writeUInt32LE(mix(salt, sequence, startSector, startSector + i), stampAt + 8);
  }
}

/**
 * Who wrote the sector at `buffer[at]`, which is number `sector` of segment `sequence`: the start sector of its batch if
 * this segment did; {@link UNWRITTEN} if nobody or an earlier life of the file did; else {@link DAMAGED}.
 */
export function classify(buffer: Buffer, at: number, salt: number, sequence: number, sector: number): number {
  const stampAt = at + PAYLOAD_BYTES;
  const stampSequence = buffer.readUInt32LE(stampAt);
  const startSector = buffer.readUInt32LE(stampAt + 4);
  const check = buffer.readUInt32LE(stampAt + 8);
  if (stampSequence === 0 && startSector === 0 && check === 0) return UNWRITTEN;
  if (startSector > sector || check !== mix(salt, stampSequence, startSector, sector)) return DAMAGED;
  if (stampSequence === sequence) return startSector;
  return stampSequence < sequence && stampSequence > 0 ? UNWRITTEN : DAMAGED;
}

/** The identity, folded to what the checks take. */
export function saltOf(identity: bigint): number {
  return Number((identity ^ (identity >> 32n)) & 0xffff_ffffn);
}

/** What the checksum of a segment's first batch is seeded with: no two segments of any log share a chain. */
export function chainSeed(salt: number, sequence: number): number {
  return mix(salt, sequence, 0, 0);
}
