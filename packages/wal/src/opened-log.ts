/** What `create` and `open` hand to a `Wal`: everything it needs to go on writing. All of it is transferred. */
import type { HardState } from "@quorate/raft";
import type { DiskFile } from "@quorate/world";
import type { SnapshotMark } from "./records.ts";
import type { SpareSegments } from "./spare-segments.ts";

export interface OpenedLog {
  readonly segmentBytes: number;
  readonly identity: bigint;
  readonly metadata: Uint8Array;
  readonly spares: SpareSegments;
  readonly closed: ClosedSegment[];
  /** The segment to go on with, its sequence number, size, first free sector and last checksum. */
  readonly file: DiskFile;
  readonly sequence: number;
  readonly sectorCount: number;
  readonly position: number;
  readonly chain: number;
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly hardState: HardState | null;
  readonly mark: SnapshotMark | null;
}

export interface ClosedSegment {
  readonly path: string;
  readonly sizeBytes: number;
  /** The last index of the log when the segment was closed. */
  readonly lastIndex: number;
}
