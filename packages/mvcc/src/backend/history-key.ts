/**
 * The key of a record on disk, byte for byte etcd's, so that bytewise order is revision order:
 *
 *     0          8     9          17
 *     │ main, BE │ '_' │ sub, BE  │ 't' only if a tombstone
 */

/** A record's place among all changes. Hot code keeps one and refills it. */
export interface Revision {
  main: number;
  sub: number;
  isTombstone: boolean;
}

/** Length of a key; one more for a tombstone. */
export const HISTORY_KEY_BYTES = 17;

/** Writes the key at `at`; returns where it ends. */
export function writeHistoryKey(to: Uint8Array, at: number, main: number, sub: number, isTombstone: boolean): number {
  writeBigEndian64(to, at, main);
  to[at + 8] = UNDERSCORE;
  writeBigEndian64(to, at + 9, sub);
  if (!isTombstone) return at + HISTORY_KEY_BYTES;
  to[at + HISTORY_KEY_BYTES] = LETTER_T;
  return at + HISTORY_KEY_BYTES + 1;
}

/** Whether `from[at, end)` has the form of a key; its numbers may still be beyond what is exact. */
export function isHistoryKey(from: Uint8Array, at: number, end: number): boolean {
  if (from[at + 8] !== UNDERSCORE) return false;
  const length = end - at;
  return length === HISTORY_KEY_BYTES || (length === HISTORY_KEY_BYTES + 1 && from[end - 1] === LETTER_T);
}

/** Reads the key in `from[at, end)`. */
export function readHistoryKey(from: Uint8Array, at: number, end: number, into: Revision): void {
  into.main = readBigEndian64(from, at);
  into.sub = readBigEndian64(from, at + 9);
  into.isTombstone = end - at > HISTORY_KEY_BYTES;
}

const UNDERSCORE = 0x5f;
const LETTER_T = 0x74;

function writeBigEndian64(to: Uint8Array, at: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  const low = value >>> 0;
  to[at] = high >>> 24;
  to[at + 1] = high >>> 16;
  to[at + 2] = high >>> 8;
  to[at + 3] = high;
  to[at + 4] = low >>> 24;
  to[at + 5] = low >>> 16;
  to[at + 6] = low >>> 8;
  to[at + 7] = low;
}

function readBigEndian64(from: Uint8Array, at: number): number {
  const high = (from[at]! << 24) | (from[at + 1]! << 16) | (from[at + 2]! << 8) | from[at + 3]!;
  const low = (from[at + 4]! << 24) | (from[at + 5]! << 16) | (from[at + 6]! << 8) | from[at + 7]!;
  return (high >>> 0) * 0x1_0000_0000 + (low >>> 0);
}
