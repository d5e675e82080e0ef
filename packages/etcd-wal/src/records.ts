/**
 * What is in the records: who the log belongs to, entries, hard states, and marks that say where a snapshot was taken.
 *
 *   identity  {1 node id, 2 cluster id}        mark  {1 index, 2 term, 3 conf state}
 *   entry, hard state, conf state: raftpb, packages/raft's codecs
 *
 * The type of a record is under no checksum, so a record could be read as one of another type. Hence no message is read
 * with a field that its type does not have, although protobuf would allow it: etcd writes none.
 */
import { InexactInteger, MalformedMessage, Reader, Writer } from "@quorate/api/wire";
import {
  type ConfState,
  decodeConfState,
  decodeEntry,
  decodeHardState,
  type Entry,
  EntryType,
  encodeConfState,
  type HardState,
  type Index,
  MalformedMessage as MalformedRaft,
  type Term,
} from "@quorate/raft";

export interface LogIdentity {
  readonly memberId: bigint;
  readonly clusterId: bigint;
}

/** A snapshot was taken at this place of the log; entries up to it may be gone. Index 0: the beginning. */
export interface SnapshotMark {
  readonly index: Index;
  readonly term: Term;
  /** In force there; null where etcd 3.4 and older wrote the mark. */
  readonly confState: ConfState | null;
}

/** Thrown by the decoders; whoever knows the file makes an EtcdLogDamagedError of it. */
export class MalformedRecord extends Error {
  readonly kind = "MalformedRecord";
  constructor(reason: string) {
    super(reason);
    this.name = "MalformedRecord";
  }
}

const VARINT = 0;
const BYTES = 2;

export function encodeIdentity({ memberId, clusterId }: LogIdentity): Uint8Array {
  const writer = new Writer(32);
  writer.byte((1 << 3) | VARINT);
  writer.varintBig(memberId);
  writer.byte((2 << 3) | VARINT);
  writer.varintBig(clusterId);
  return writer.copy();
}

export function decodeIdentityRecord(data: Uint8Array): LogIdentity {
  let memberId = 0n;
  let clusterId = 0n;
  readFields(data, "identity", [VARINT, VARINT], (field, reader) => {
    if (field === 1) memberId = reader.uint64Big();
    else clusterId = reader.uint64Big();
  });
  if (memberId === 0n || clusterId === 0n) throw new MalformedRecord("an identity without ids");
  return { memberId, clusterId };
}

export function encodeMark({ index, term, confState }: SnapshotMark): Uint8Array {
  const writer = new Writer(64);
  // Spelled out even when zero, as etcd does in the first mark.
  writer.byte((1 << 3) | VARINT);
  writer.varint(index);
  writer.byte((2 << 3) | VARINT);
  writer.varint(term);
  if (confState !== null) {
    const bytes = encodeConfState(confState);
    writer.bytesField((3 << 3) | BYTES, bytes, 0, bytes.length);
  }
  return writer.copy();
}

export function decodeMarkRecord(data: Uint8Array): SnapshotMark {
  let index = 0;
  let term = 0;
  let confState: ConfState | null = null;
  readFields(data, "snapshot mark", [VARINT, VARINT, BYTES], (field, reader) => {
    if (field === 1) index = reader.uint64();
    else if (field === 2) term = reader.uint64();
    else confState = decodeConfState(reader.bytes());
  });
  return { index: index as Index, term: term as Term, confState };
}

/** The entry's data is a view of `data`. */
export function decodeEntryRecord(data: Uint8Array): Entry {
  checkFields(data, "entry", [VARINT, VARINT, VARINT, BYTES]);
  const entry = decoded("entry", () => decodeEntry(data));
  if (entry.index === 0 || entry.term === 0) throw new MalformedRecord("an entry without index or term");
  const isEmptyChange = entry.type !== EntryType.Normal && entry.data.length === 0;
  if (isEmptyChange) throw new MalformedRecord("a change of the configuration that says nothing");
  return entry;
}

export function decodeHardStateRecord(data: Uint8Array): HardState {
  checkFields(data, "hard state", [VARINT, VARINT, VARINT]);
  return decoded("hard state", () => decodeHardState(data));
}

function checkFields(data: Uint8Array, noun: string, wireTypes: readonly number[]): void {
  readFields(data, noun, wireTypes, (field, reader) => reader.skip((field << 3) | wireTypes[field - 1]!));
}

/** Visits the fields, each of which must be one of `wireTypes` by its number. */
function readFields(
  data: Uint8Array,
  noun: string,
  wireTypes: readonly number[],
  visit: (field: number, reader: Reader) => void,
): void {
  decoded(noun, () => {
    const reader = new Reader();
    reader.reset(data, 0, data.length);
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (wireTypes[(tag >>> 3) - 1] !== (tag & 7)) throw new MalformedRecord(`a ${noun} with a field ${tag >>> 3}`);
      visit(tag >>> 3, reader);
    }
  });
}

function decoded<T>(noun: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    const isMalformed =
      error instanceof MalformedMessage || error instanceof MalformedRaft || error instanceof InexactInteger;
    if (isMalformed) throw new MalformedRecord(`no ${noun}: ${error.message}`);
    throw error;
  }
}
