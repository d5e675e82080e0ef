/**
 * Writes a whole log as etcd would have: the first mark, the mark of the snapshot it begins with, entries, and the hard
 * state at the end. Called by the tools for a directory that is nobody's yet; durable on return, except for the
 * directory's own name in its parent.
 */
import {
  type Entry,
  encodeHardState,
  entrySizeBytes,
  type HardState,
  type Index,
  type Term,
  writeEntry,
} from "@quorate/raft";
import { assert, type Disk } from "@quorate/world";
import { DEFAULT_SEGMENT_BYTES, join, RecordType, segmentName } from "./format.ts";
import { encodeIdentity, encodeMark, type LogIdentity, type SnapshotMark } from "./records.ts";
import { SegmentOutput } from "./segment-output.ts";

export interface WriteLogOptions {
  readonly disk: Disk;
  /** Exists and is empty. */
  readonly directory: string;
  readonly identity: LogIdentity;
  /** Where the log begins; index 0: at the beginning. */
  readonly start: SnapshotMark;
  /** Those after the start, in order and without gaps. */
  readonly entries: readonly Entry[];
  /** Its commit lies between the start and the last entry. */
  readonly hardState: HardState;
  /** At which a segment ends; default etcd's, 64 MB. */
  readonly segmentBytes?: number;
}

const BEGINNING: SnapshotMark = { index: 0 as Index, term: 0 as Term, confState: null };

export function writeEtcdLog(options: WriteLogOptions): void {
  const { disk, directory, identity, start, entries, hardState, segmentBytes = DEFAULT_SEGMENT_BYTES } = options;
  assert(start.index <= hardState.commit, "what a log begins with is committed");
  assert(hardState.commit <= start.index + entries.length, "what is committed is in the log");
  const metadata = encodeIdentity(identity);
  const state = encodeHardState(hardState);
  let sequence = 0;
  const begin = (firstIndex: number, chain: number): SegmentOutput => {
    const output = new SegmentOutput(disk, join(directory, segmentName(sequence, firstIndex)), chain);
    output.put(RecordType.Metadata, metadata);
    sequence++;
    return output;
  };
  let output = begin(0, 0);
  output.put(RecordType.Snapshot, encodeMark(BEGINNING));
  if (start.index > 0) output.put(RecordType.Snapshot, encodeMark(start));
  for (const [i, entry] of entries.entries()) {
    assert(entry.index === start.index + i + 1, "entries follow one another");
    if (output.sizeBytes >= segmentBytes) {
      output.finish();
      output = begin(entry.index, output.chain);
      output.put(RecordType.HardState, state);
    }
    output.putInPlace(RecordType.Entry, entrySizeBytes(entry), (into, at) => void writeEntry(entry, into, at));
  }
  output.put(RecordType.HardState, state);
  output.finish();
  disk.syncDirectory(directory);
}
