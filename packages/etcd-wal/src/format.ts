/**
 * The format of etcd's log, in one place. Unchanged from etcd 3.0 to 3.7.
 *
 * A log is a directory of segments named after their place and the first entry that may be in them,
 * `<sequence>-<index>.wal`, both as 16 hex digits; sequences have no gaps. What ends otherwise (`0.tmp`, the next segment
 * being prepared; `*.broken`, what etcd repaired) is not part of the log. A segment is preallocated, 64 MB, so a zero word
 * ends it as well as the end of the file.
 *
 *   segment  │ crc │ metadata │ snapshot 0/0 (the first) or hard state (the others) │ records ... │ zeroes │
 *
 *   frame    ┌─────────────────────────────┬──────────────────────────────────┬─────────┐
 *            │ word, 8 bytes, little-endian │ record                           │ padding │ to a multiple of 8
 *            └─────────────────────────────┴──────────────────────────────────┴─────────┘
 *   word     bits 0..55 length of the record; top byte 0, or 0x80 | bytes of padding if there are any
 *   record   {1 type, 2 crc, 3 data}       protobuf; crc is CRC-32C over the data of all records so far: a chain
 *
 * A record of type crc has no data: it states the chain at the end of the segment before, 0 in the first. Neither type
 * nor word are under any checksum, so what they lead to is held to the rules of a log besides (log-builder.ts).
 */
import { posix } from "node:path";
import type { Disk } from "@quorate/world";

/** Types of records. */
export const RecordType = { Metadata: 1, Entry: 2, HardState: 3, Crc: 4, Snapshot: 5 } as const;

export const WORD_BYTES = 8;

/** What a disk writes all of or nothing of: the grain at which a crash tears. */
export const SECTOR_BYTES = 512;

/** etcd begins another segment when one has grown to this size. */
export const DEFAULT_SEGMENT_BYTES = 64_000_000;

/** A segment is read into memory. It exceeds its size by one batch at most, of entries that requests limit to megabytes. */
export const SEGMENT_BYTES_MAX: number = 1024 * 1024 * 1024;

const SEGMENT_NAME = /^([0-9a-f]{16})-([0-9a-f]{16})\.wal$/;

export interface SegmentName {
  readonly name: string;
  readonly sequence: number;
}

/** The segments of a directory, oldest first. */
export function segmentsOf(disk: Disk, directory: string): SegmentName[] {
  const segments: SegmentName[] = [];
  for (const name of disk.readDirectory(directory)) {
    const match = SEGMENT_NAME.exec(name);
    if (match !== null) segments.push({ name, sequence: Number.parseInt(match[1]!, 16) });
  }
  return segments.sort((a, b) => a.sequence - b.sequence);
}

/** True if the directory holds a log of etcd's, whole or damaged. */
export function logExists(disk: Disk, directory: string): boolean {
  return disk.exists(directory) && segmentsOf(disk, directory).length > 0;
}

/** `firstIndex`: of the first entry that may be in it. */
export function segmentName(sequence: number, firstIndex: number): string {
  return `${hex16(sequence)}-${hex16(firstIndex)}.wal`;
}

/** Of the snapshot file of this place in the log; etcd's `.snap.db` files are named otherwise. */
export function snapFileName({ term, index }: { readonly term: number; readonly index: number }): string {
  return `${hex16(term)}-${hex16(index)}.snap`;
}

export function join(directory: string, name: string): string {
  return posix.join(directory, name);
}

function hex16(value: number): string {
  return value.toString(16).padStart(16, "0");
}
