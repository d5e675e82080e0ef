/**
 * The answers of KV, written around KeyValues that are already encoded (see key-value.ts).
 *
 * Who calls: the services, with a reused Writer. A RangeResponse can be large, so its size is known before its first
 * byte is written and it can be written in pieces: head, then each kv, then tail.
 *
 *     PutResponse         header=1, prev_kv=2
 *     DeleteRangeResponse header=1, deleted=2, prev_kvs=3 (repeated)
 *     RangeResponse       header=1, kvs=2 (repeated), more=3, count=4
 *     TxnResponse         header=1, succeeded=2, responses=3 (repeated ResponseOp)
 *     ResponseOp          response_range=1 | response_put=2 | response_delete_range=3 | response_txn=4
 *
 * "header" is written by {@link HeaderEncoder.write} for an answer of its own and by {@link writeInnerHeader} for one
 * inside a TxnResponse; what follows the header is the same in both, so the functions here write that alone.
 */

import { varintSize, type Writer, writeVarint } from "../wire/index.ts";
import type { HeaderEncoder } from "./header.ts";

const PUT_PREV_KV = 0x12;
const DELETE_PREV_KVS = 0x1a;
const RANGE_KVS = 0x12;
const TXN_RESPONSES = 0x1a;

/** Tags of ResponseOp's union. */
export const ResponseOpTag = { Range: 0x0a, Put: 0x12, DeleteRange: 0x1a, Txn: 0x22 } as const;
export type ResponseOpTag = (typeof ResponseOpTag)[keyof typeof ResponseOpTag];

/** A whole PutResponse without prev_kv. Hot: bench/codec.ts, encode PutResponse. */
export function writePutResponse(writer: Writer, header: HeaderEncoder, revision: number, raftTerm: number): void {
  header.write(writer, revision, raftTerm);
}

/** After the header, when the put asked for prev_kv and the key existed. Bytes copied. */
export function writePutPrevKv(writer: Writer, buffer: Uint8Array, start: number, end: number): void {
  writer.bytesField(PUT_PREV_KV, buffer, start, end);
}

/** After the header; the deleted KeyValues, if asked for, follow with {@link writeDeletedPrevKv}. */
export function writeDeletedCount(writer: Writer, deleted: number): void {
  if (deleted === 0) return;
  writer.byte(0x10);
  writer.varint(deleted);
}

/** One of prev_kvs. Bytes copied. */
export function writeDeletedPrevKv(writer: Writer, buffer: Uint8Array, start: number, end: number): void {
  writer.bytesField(DELETE_PREV_KVS, buffer, start, end);
}

/** Bytes {@link writeRangeKv} adds for an encoded KeyValue of `sizeBytes`: sum these, never ask again. */
export function rangeKvSize(sizeBytes: number): number {
  return 1 + varintSize(sizeBytes) + sizeBytes;
}

/** Bytes {@link writeRangeTail} adds. */
export function rangeTailSize(more: boolean, count: number): number {
  return (more ? 2 : 0) + (count === 0 ? 0 : 1 + varintSize(count));
}

/** One of kvs. Bytes copied. */
export function writeRangeKv(writer: Writer, buffer: Uint8Array, start: number, end: number): void {
  writer.bytesField(RANGE_KVS, buffer, start, end);
}

/**
 * Tag and length of one of kvs, for a KeyValue of `sizeBytes` that the caller encodes or sends next. The caller has
 * ensured the room; returns the position after it.
 */
export function writeRangeKvHead(into: Uint8Array, at: number, sizeBytes: number): number {
  into[at] = RANGE_KVS;
  return writeVarint(into, at + 1, sizeBytes);
}

/** After the last kv. */
export function writeRangeTail(writer: Writer, more: boolean, count: number): void {
  writer.ensure(13);
  const buffer = writer.buffer;
  let at = writer.position;
  if (more) {
    buffer[at] = 0x18;
    buffer[at + 1] = 1;
    at += 2;
  }
  if (count !== 0) {
    buffer[at] = 0x20;
    at = writeVarint(buffer, at + 1, count);
  }
  writer.position = at;
}

/**
 * Opens one answer inside a TxnResponse: write its header with writeInnerHeader (0 for a txn), then its fields, then
 * {@link finishResponseOp} with what this returns.
 */
export function beginResponseOp(writer: Writer, tag: ResponseOpTag): number {
  writer.begin(TXN_RESPONSES);
  return writer.begin(tag);
}

export function finishResponseOp(writer: Writer, start: number): void {
  writer.finish(start);
  // The ResponseOp began one tag and one length byte before its only field did.
  writer.finish(start - 2);
}

/** `succeeded`, between a TxnResponse's header and its responses; false is not written. */
export function writeSucceeded(writer: Writer, succeeded: boolean): void {
  if (!succeeded) return;
  writer.byte(0x10);
  writer.byte(1);
}

/**
 * A whole TxnResponse. `responses` holds what beginResponseOp and finishResponseOp wrote while the txn ran: its revision
 * is known only at the end, yet stands first. Bytes copied.
 */
export function writeTxnResponse(
  writer: Writer,
  header: HeaderEncoder,
  revision: number,
  raftTerm: number,
  succeeded: boolean,
  responses: Writer,
): void {
  header.write(writer, revision, raftTerm);
  writeSucceeded(writer, succeeded);
  writer.raw(responses.buffer, 0, responses.position);
}
