/**
 * The log's format on disk, in one place: names, sizes, offsets. Called by everything in this room.
 *
 * A log is a directory of segments, `0000000000000001.wal`, `0000000000000002.wal`, ... without gaps. A segment is a
 * file whose blocks were written once before use, so that a durable write changes no file system metadata.
 *
 *   segment   ┌────────┬────────┬────────┬────────┬────────┬─── ─ ─ ─┬────────┐
 *   (sectors) │ batch 0         │ batch 2│ batch 3                   │ unwritten: zeroes, or sectors of the
 *             └────────┴────────┴────────┴────────┴────────┴─── ─ ─ ─┴────────┘ segment this file was before
 *
 *   sector    ┌──────────────────────────────────────────────────┬─────────────┐
 *   512 bytes │ payload, 500 bytes                               │ stamp, 12   │
 *             └──────────────────────────────────────────────────┴─────────────┘
 *   stamp       u32 sequence number of the segment · u32 sector where the batch starts · u32 check over both, the
 *               sector's own number and the log's identity
 *
 *   batch     the payloads of its sectors, joined:
 *             [label, 16 bytes, only in the batch at sector 0]
 *             u32 checksum   CRC-32 of all that follows, seeded with the previous batch's checksum (the chain)
 *             u32 byteLength of the batch from `checksum` on
 *             u32 check over byteLength and the batch's place
 *             records; then zeroes up to the end of the sector
 *
 *   record    u32 kind, then
 *     head      u32 previousChain · u64 identity · u32 sequence · u32 sectorCount · u32 previousEndSector · u64 lastIndex
 *               · u32 metadataLength · u32 hasHardState (u64 term · u64 vote · u64 commit)
 *               · u32 hasMark (u64 index · u64 term · u32 confStateLength) · metadata · confState
 *     entries   u32 count · u64 firstIndex · then count × (u64 term · u32 length · u32 type · data)
 *     hardState u64 term · u64 vote · u64 commit
 *     mark      u32 replacesLog · u64 index · u64 term · u32 length · confState
 *
 * One durable write is one batch, and the next begins only after the previous is durable. So after a crash at most the
 * last batch is incomplete, and the stamps say which of its sectors arrived. That gives the rule of the tail:
 *
 *   - every sector of a batch bears its stamp, checksum right           → the batch is valid
 *   - some of its sectors are unwritten, no sector of a later batch     → torn by a crash, never acknowledged: cut off
 *   - anything else (all sectors there but the checksum wrong, a stamp  → corruption: refused, with file and offset
 *     that is neither ours nor an earlier segment's, a later batch)
 *
 * A recycled file still holds its former segment's sectors. They bear a smaller sequence number, so they are told from
 * the present ones by equality, not by chance, and told from damage by the stamp's check.
 *
 * All integers are little-endian. u64 terms and indexes are below 2^53.
 */
import { Buffer } from "node:buffer";

export const SECTOR_BYTES = 512;
export const STAMP_BYTES = 12;
export const PAYLOAD_BYTES: number = SECTOR_BYTES - STAMP_BYTES;

/**
 * Every write is padded with zeroes to this boundary: a partial overwrite of a page that is not in memory makes the
 * system read it from disk first, which would double the latency of a recycled segment.
 */
export const PAGE_BYTES = 4096;

const MAGIC = "quorate wal ";
export const FORMAT_VERSION = "001";
/** The first bytes of every segment in use. */
export const LABEL: Buffer = Buffer.from(`${MAGIC}${FORMAT_VERSION}\n`, "latin1");
export const MAGIC_BYTES: number = MAGIC.length;

export const BATCH_HEADER_BYTES = 12;

export const RecordKind = { Head: 1, Entries: 2, HardState: 3, Mark: 4 } as const;

export const HEAD_FIXED_BYTES: number = 4 + 4 + 8 + 4 + 4 + 4 + 8 + 4 + (4 + 24) + (4 + 20);
export const ENTRIES_FIXED_BYTES: number = 4 + 4 + 8;
export const ENTRY_FIXED_BYTES: number = 8 + 4 + 4;
export const HARD_STATE_BYTES: number = 4 + 24;
export const MARK_FIXED_BYTES: number = 4 + 4 + 8 + 8 + 4;

/** Where the identity sits in sector 0: it must be known before any stamp can be checked. */
export const IDENTITY_OFFSET: number = LABEL.length + BATCH_HEADER_BYTES + 8;

export const DEFAULT_SEGMENT_BYTES = 67_108_864;
export const MIN_SEGMENT_BYTES = 16_384;
export const MAX_SEGMENT_BYTES = 1_073_741_824;

/**
 * The shares of a segment, such that a segment's head with the largest metadata and mark, followed by the largest entry,
 * always fits: 1/16 + 1/16 + 1/2, and an eightieth for stamps and headers.
 */
export function maxEntryBytes(segmentBytes: number): number {
  return segmentBytes / 2;
}
export function maxMetadataBytes(segmentBytes: number): number {
  return segmentBytes / 16;
}
export function maxConfStateBytes(segmentBytes: number): number {
  return segmentBytes / 16;
}
/** A save of more than this is written as several batches, so that the buffer and the waste at a cut stay bounded. */
export function batchGoalBytes(segmentBytes: number): number {
  return segmentBytes / 8;
}

export function sectorsFor(logicalBytes: number): number {
  return Math.ceil(logicalBytes / PAYLOAD_BYTES);
}

const SEGMENT_NAME = /^[0-9a-f]{16}\.wal$/;
export const CREATING_SUFFIX = ".creating";
export const BROKEN_SUFFIX = ".broken";

export function segmentName(sequence: number): string {
  return `${sequence.toString(16).padStart(16, "0")}.wal`;
}

/** The sequence number in a segment's name, or 0 if the name is not a segment's. */
export function segmentSequence(name: string): number {
  if (!SEGMENT_NAME.test(name)) return 0;
  const sequence = Number.parseInt(name.slice(0, 16), 16);
  return sequence <= 0xffff_ffff ? sequence : 0;
}

/** A wrong size is the configuration's mistake, found before anything is written. */
export function checkSegmentBytes(segmentBytes: number): void {
  if (segmentBytes % PAGE_BYTES === 0 && segmentBytes >= MIN_SEGMENT_BYTES && segmentBytes <= MAX_SEGMENT_BYTES) return;
  throw new RangeError(
    `log segment size ${segmentBytes} is not a multiple of ${PAGE_BYTES} from ${MIN_SEGMENT_BYTES} to ${MAX_SEGMENT_BYTES}`,
  );
}
