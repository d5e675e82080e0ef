/**
 * ResponseHeader: cluster_id=1, member_id=2, revision=3, raft_term=4.
 *
 * A member's two ids never change, so their bytes are made once and copied in front of the two numbers that do:
 *
 *     0a length │ 08 cluster_id 10 member_id │ 18 revision 20 raft_term       (zero values left out)
 *                 └ prefix, prepared ────────┘
 */

import { assert } from "@quorate/world";
import { varintSize, varintSizeBig, type Writer, writeVarint, writeVarintBig } from "../wire/index.ts";

/** Every response of etcd's that has a header has it as field 1. */
const HEADER_TAG = 0x0a;

/** Two ids of at most 10 bytes, two numbers of at most 8, four tags: fits a one-byte length. */
const HEADER_SIZE_MAX = 42;

/** One per member; stateless after construction. */
export class HeaderEncoder {
  readonly #prefix: Uint8Array;

  constructor(ids: { clusterId: bigint; memberId: bigint }) {
    const { clusterId, memberId } = ids;
    const prefix = new Uint8Array(
      (clusterId === 0n ? 0 : 1 + varintSizeBig(clusterId)) + (memberId === 0n ? 0 : 1 + varintSizeBig(memberId)),
    );
    let at = 0;
    if (clusterId !== 0n) {
      prefix[at++] = 0x08;
      at = writeVarintBig(prefix, at, clusterId);
    }
    if (memberId !== 0n) {
      prefix[at++] = 0x10;
      writeVarintBig(prefix, at, memberId);
    }
    this.#prefix = prefix;
  }

  /** Bytes {@link write} adds: tag, length and header. */
  sizeBytes(revision: number, raftTerm: number): number {
    return 2 + this.#prefix.length + numberFieldSize(revision) + numberFieldSize(raftTerm);
  }

  /** Writes the whole field `header = 1`. Hot: bench/codec.ts, encode PutResponse. */
  write(writer: Writer, revision: number, raftTerm: number): void {
    const prefix = this.#prefix;
    writer.ensure(2 + HEADER_SIZE_MAX);
    const buffer = writer.buffer;
    const start = writer.position;
    buffer[start] = HEADER_TAG;
    let at = start + 2;
    for (let index = 0; index < prefix.length; index++) buffer[at++] = prefix[index]!;
    if (revision !== 0) {
      buffer[at++] = 0x18;
      at = writeVarint(buffer, at, revision);
    }
    if (raftTerm !== 0) {
      buffer[at++] = 0x20;
      at = writeVarint(buffer, at, raftTerm);
    }
    assert(at - start - 2 <= HEADER_SIZE_MAX, "a header's length fits one byte");
    buffer[start + 1] = at - start - 2;
    writer.position = at;
  }
}

/** Bytes of the header inside a txn's answers, which names the revision alone. */
export function innerHeaderSize(revision: number): number {
  return 2 + numberFieldSize(revision);
}

/** The field `header = 1` of an answer inside a TxnResponse: revision alone; 0 writes the empty header nested txns have. */
export function writeInnerHeader(writer: Writer, revision: number): void {
  writer.ensure(2 + HEADER_SIZE_MAX);
  const buffer = writer.buffer;
  const start = writer.position;
  buffer[start] = HEADER_TAG;
  let at = start + 2;
  if (revision !== 0) {
    buffer[at++] = 0x18;
    at = writeVarint(buffer, at, revision);
  }
  buffer[start + 1] = at - start - 2;
  writer.position = at;
}

function numberFieldSize(value: number): number {
  return value === 0 ? 0 : 1 + varintSize(value);
}
