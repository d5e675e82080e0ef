/**
 * Records as read back: from the bytes of a valid batch to calls on a visitor. Called while opening.
 *
 * The checksum has been verified, yet every length and number is checked again before it is used: a checksum protects
 * against damage, not against a writer with a bug (CVE-2020-15106, CVE-2020-15112).
 */
import type { Buffer } from "node:buffer";
import type { EntryType, HardState, Index, Term } from "@quorate/raft";
import { ENTRY_FIXED_BYTES, RecordKind } from "./format.ts";

/** A snapshot that exists outside the log, and the configuration in force at it. */
export interface SnapshotMark {
  readonly index: Index;
  readonly term: Term;
  /** Opaque to the log. */
  readonly confState: Uint8Array;
}

/** What every segment begins with: enough to start reading here once the earlier segments are gone. */
export interface Head {
  /** Checksum of the last batch of the previous segment; 0 in the first. */
  readonly previousChain: number;
  /** The log's identity, drawn when it was created. */
  readonly identity: bigint;
  readonly sequence: number;
  readonly sectorCount: number;
  /** Where the previous segment ended; 0 in the first. */
  readonly previousEndSector: number;
  /** The last index of the log when this segment began. */
  readonly lastIndex: number;
  readonly metadata: Uint8Array;
  readonly hardState: HardState | null;
  readonly mark: SnapshotMark | null;
}

/** Byte arrays handed to a visitor are views of the batch, which is theirs to keep. */
export interface RecordVisitor {
  onHead(head: Head): void;
  onEntry(type: EntryType, term: Term, index: Index, data: Uint8Array): void;
  onHardState(state: HardState): void;
  onMark(mark: SnapshotMark, replacesLog: boolean): void;
}

/** Thrown by {@link visitRecords} and by visitors; whoever knows the file makes a WalCorruptError of it. */
export class MalformedRecord extends Error {
  readonly kind = "MalformedRecord";
  constructor(reason: string) {
    super(reason);
    this.name = "MalformedRecord";
  }
}

/** Visits the records in `bytes[start, end)` in order. */
export function visitRecords(bytes: Buffer, start: number, end: number, visitor: RecordVisitor): void {
  const reader = new Reader(bytes, start, end);
  while (!reader.atEnd()) {
    const kind = reader.u32();
    switch (kind) {
      case RecordKind.Head:
        visitor.onHead(readHead(reader));
        break;
      case RecordKind.Entries:
        readEntries(reader, visitor);
        break;
      case RecordKind.HardState:
        visitor.onHardState(readHardState(reader));
        break;
      case RecordKind.Mark: {
        const replacesLog = reader.flag();
        const index = reader.u64() as Index;
        const term = reader.u64() as Term;
        visitor.onMark({ index, term, confState: reader.bytes(reader.u32()) }, replacesLog);
        break;
      }
      default:
        throw new MalformedRecord(`unknown record kind ${kind}`);
    }
  }
}

function readHead(reader: Reader): Head {
  const previousChain = reader.u32();
  const identity = reader.bigint();
  const sequence = reader.u32();
  const sectorCount = reader.u32();
  const previousEndSector = reader.u32();
  const lastIndex = reader.u64();
  const metadataLength = reader.u32();
  const hasHardState = reader.flag();
  const hardState = readHardState(reader);
  const hasMark = reader.flag();
  const index = reader.u64() as Index;
  const term = reader.u64() as Term;
  const confStateLength = reader.u32();
  const metadata = reader.bytes(metadataLength);
  const confState = reader.bytes(confStateLength);
  return {
    previousChain,
    identity,
    sequence,
    sectorCount,
    previousEndSector,
    lastIndex,
    metadata,
    hardState: hasHardState ? hardState : null,
    mark: hasMark ? { index, term, confState } : null,
  };
}

function readEntries(reader: Reader, visitor: RecordVisitor): void {
  const count = reader.u32();
  const firstIndex = reader.u64();
  if (count > reader.left() / ENTRY_FIXED_BYTES) throw new MalformedRecord(`${count} entries cannot be in this batch`);
  for (let i = 0; i < count; i++) {
    const term = reader.u64() as Term;
    const length = reader.u32();
    const type = reader.u32();
    if (type > 2) throw new MalformedRecord(`unknown entry type ${type}`);
    visitor.onEntry(type as EntryType, term, (firstIndex + i) as Index, reader.bytes(length));
  }
}

function readHardState(reader: Reader): HardState {
  return { term: reader.u64() as Term, vote: reader.bigint(), commit: reader.u64() as Index };
}

class Reader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  atEnd(): boolean {
    return this.#at === this.#end;
  }

  left(): number {
    return this.#end - this.#at;
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4));
  }

  flag(): boolean {
    const value = this.u32();
    if (value > 1) throw new MalformedRecord(`flag has value ${value}`);
    return value === 1;
  }

  u64(): number {
    const at = this.#take(8);
    const high = this.#bytes.readUInt32LE(at + 4);
    if (high > 0x1f_ffff) throw new MalformedRecord("a term or index exceeds 2^53");
    return high * 4_294_967_296 + this.#bytes.readUInt32LE(at);
  }

  bigint(): bigint {
    return this.#bytes.readBigUInt64LE(this.#take(8));
  }

  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  #take(length: number): number {
    if (length > this.#end - this.#at) throw new MalformedRecord("a record reaches beyond its batch");
    const at = this.#at;
    this.#at = at + length;
    return at;
  }
}
