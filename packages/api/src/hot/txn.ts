/**
 * TxnRequest as plain objects: a tree of unknown shape is not worth offsets. Keys and values are views of the caller's
 * buffer, borrowed as long as it is; integers that are only compared are bounds, leases are bigint.
 *
 *     TxnRequest  compare=1, success=2, failure=3 (all repeated)
 *     Compare     result=1, target=2, key=3, (version=4 | create_revision=5 | mod_revision=6 | value=7 | lease=8), range_end=64
 *     RequestOp   request_range=1 | request_put=2 | request_delete_range=3 | request_txn=4
 *
 * As protobuf has it, the last member of a union wins, and one given twice is merged.
 */

import { Reader, Writer } from "../wire/index.ts";

const nothing: Uint8Array = new Uint8Array(0);

/** A root's outcome: whether the bytes may go into the log as they are (see PutView.isCanonical), and what they say. */
export interface DecodedTxn {
  readonly txn: TxnRequest;
  readonly isCanonical: boolean;
}

export class TxnRequest {
  readonly compare: Compare[] = [];
  readonly success: RequestOp[] = [];
  readonly failure: RequestOp[] = [];
}

/** Which member of Compare's union was given, by its field number. */
export const CompareUnion = {
  None: 0,
  Version: 4,
  CreateRevision: 5,
  ModRevision: 6,
  Value: 7,
  Lease: 8,
} as const;
export type CompareUnion = (typeof CompareUnion)[keyof typeof CompareUnion];

/**
 * One claim about keys. Members of the union that were not given hold their zero, so evaluating needs `target` alone: a
 * target without its member is compared with 0 or no bytes, as etcd does.
 */
export class Compare {
  /** CompareResult; unknown numbers pass through. */
  result = 0;
  /** CompareTarget; unknown numbers pass through. */
  target = 0;
  key: Uint8Array = nothing;
  rangeEnd: Uint8Array = nothing;
  union: CompareUnion = CompareUnion.None;
  version = 0;
  createRevision = 0;
  modRevision = 0;
  value: Uint8Array = nothing;
  lease = 0n;
}

/** One operation of a branch; "none" is an operation without a request, which validation refuses. */
export type RequestOp =
  | { readonly kind: "range"; readonly request: RangeRequest }
  | { readonly kind: "put"; readonly request: PutRequest }
  | { readonly kind: "deleteRange"; readonly request: DeleteRangeRequest }
  | { readonly kind: "txn"; readonly request: TxnRequest }
  | { readonly kind: "none"; readonly request: null };

/** One for all, so that a message of a million empty operations is no more than a list. */
const noRequest: RequestOp = { kind: "none", request: null };

/** As RangeView, with views for offsets. */
export class RangeRequest {
  key: Uint8Array = nothing;
  rangeEnd: Uint8Array = nothing;
  limit = 0;
  revision = 0;
  sortOrder = 0;
  sortTarget = 0;
  serializable = false;
  keysOnly = false;
  countOnly = false;
  minModRevision = 0;
  maxModRevision = 0;
  minCreateRevision = 0;
  maxCreateRevision = 0;
}

/** As PutView, with views for offsets. */
export class PutRequest {
  key: Uint8Array = nothing;
  value: Uint8Array = nothing;
  lease = 0n;
  prevKv = false;
  ignoreValue = false;
  ignoreLease = false;
}

/** As DeleteRangeView, with views for offsets. */
export class DeleteRangeRequest {
  key: Uint8Array = nothing;
  rangeEnd: Uint8Array = nothing;
  prevKv = false;
}

/** Reads `buffer[start, end)`, borrowed. Throws MalformedMessage, also for nesting deeper than 100 messages. */
export function decodeTxnRequest(buffer: Uint8Array, start: number, end: number): DecodedTxn {
  const reader = new Reader();
  reader.reset(buffer, start, end);
  const txn = new TxnRequest();
  readTxn(reader, txn);
  return { txn, isCanonical: reader.isCanonical };
}

/** The canonical encoding, in a buffer of its own; for requests that were not canonical and for tests. */
export function encodeTxnRequest(txn: TxnRequest): Uint8Array {
  const writer = new Writer();
  writeTxn(writer, txn);
  return writer.copy();
}

function readTxn(reader: Reader, txn: TxnRequest): void {
  let lastTag = 0;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    // Repeated: the same tag again is in order.
    if (tag < lastTag) reader.isCanonical = false;
    lastTag = tag;
    if (tag === 0x0a) {
      const compare = new Compare();
      const outerEnd = reader.enter();
      readCompare(reader, compare);
      reader.leave(outerEnd);
      txn.compare.push(compare);
    } else if (tag === 0x12) {
      txn.success.push(readRequestOp(reader));
    } else if (tag === 0x1a) {
      txn.failure.push(readRequestOp(reader));
    } else {
      reader.skip(tag);
    }
  }
}

function readCompare(reader: Reader, compare: Compare): void {
  let lastTag = 0;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag <= lastTag) reader.isCanonical = false;
    lastTag = tag;
    switch (tag) {
      case 0x08:
        compare.result = nonZero(reader, reader.int32());
        break;
      case 0x10:
        compare.target = nonZero(reader, reader.int32());
        break;
      case 0x1a:
        compare.key = nonEmpty(reader, reader.bytes());
        break;
      case 0x20:
        chooseUnion(reader, compare, CompareUnion.Version);
        compare.version = reader.bound();
        break;
      case 0x28:
        chooseUnion(reader, compare, CompareUnion.CreateRevision);
        compare.createRevision = reader.bound();
        break;
      case 0x30:
        chooseUnion(reader, compare, CompareUnion.ModRevision);
        compare.modRevision = reader.bound();
        break;
      case 0x3a:
        chooseUnion(reader, compare, CompareUnion.Value);
        compare.value = reader.bytes();
        break;
      case 0x40:
        chooseUnion(reader, compare, CompareUnion.Lease);
        compare.lease = reader.int64Big();
        break;
      case 0x202:
        compare.rangeEnd = nonEmpty(reader, reader.bytes());
        break;
      default:
        reader.skip(tag);
    }
  }
}

/** Makes `union` the member given; one given earlier goes back to its zero. */
function chooseUnion(reader: Reader, compare: Compare, union: CompareUnion): void {
  if (compare.union !== CompareUnion.None) reader.isCanonical = false;
  compare.union = union;
  compare.version = compare.createRevision = compare.modRevision = 0;
  compare.value = nothing;
  compare.lease = 0n;
}

function readRequestOp(reader: Reader): RequestOp {
  let op: RequestOp = noRequest;
  const outerEnd = reader.enter();
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (op.kind !== "none") reader.isCanonical = false;
    switch (tag) {
      case 0x0a: {
        const request: RangeRequest = op.kind === "range" ? op.request : new RangeRequest();
        const end = reader.enter();
        readRange(reader, request);
        reader.leave(end);
        op = { kind: "range", request };
        break;
      }
      case 0x12: {
        const request: PutRequest = op.kind === "put" ? op.request : new PutRequest();
        const end = reader.enter();
        readPut(reader, request);
        reader.leave(end);
        op = { kind: "put", request };
        break;
      }
      case 0x1a: {
        const request: DeleteRangeRequest = op.kind === "deleteRange" ? op.request : new DeleteRangeRequest();
        const end = reader.enter();
        readDeleteRange(reader, request);
        reader.leave(end);
        op = { kind: "deleteRange", request };
        break;
      }
      case 0x22: {
        const request: TxnRequest = op.kind === "txn" ? op.request : new TxnRequest();
        const end = reader.enter();
        readTxn(reader, request);
        reader.leave(end);
        op = { kind: "txn", request };
        break;
      }
      default:
        reader.skip(tag);
    }
  }
  reader.leave(outerEnd);
  return op;
}

function readRange(reader: Reader, range: RangeRequest): void {
  let lastTag = 0;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag <= lastTag) reader.isCanonical = false;
    lastTag = tag;
    switch (tag) {
      case 0x0a:
        range.key = nonEmpty(reader, reader.bytes());
        break;
      case 0x12:
        range.rangeEnd = nonEmpty(reader, reader.bytes());
        break;
      case 0x18:
        range.limit = nonZero(reader, reader.bound());
        break;
      case 0x20:
        range.revision = nonZero(reader, reader.bound());
        break;
      case 0x28:
        range.sortOrder = nonZero(reader, reader.int32());
        break;
      case 0x30:
        range.sortTarget = nonZero(reader, reader.int32());
        break;
      case 0x38:
        range.serializable = isTrue(reader, reader.bool());
        break;
      case 0x40:
        range.keysOnly = isTrue(reader, reader.bool());
        break;
      case 0x48:
        range.countOnly = isTrue(reader, reader.bool());
        break;
      case 0x50:
        range.minModRevision = nonZero(reader, reader.bound());
        break;
      case 0x58:
        range.maxModRevision = nonZero(reader, reader.bound());
        break;
      case 0x60:
        range.minCreateRevision = nonZero(reader, reader.bound());
        break;
      case 0x68:
        range.maxCreateRevision = nonZero(reader, reader.bound());
        break;
      default:
        reader.skip(tag);
    }
  }
}

function readPut(reader: Reader, put: PutRequest): void {
  let lastTag = 0;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag <= lastTag) reader.isCanonical = false;
    lastTag = tag;
    switch (tag) {
      case 0x0a:
        put.key = nonEmpty(reader, reader.bytes());
        break;
      case 0x12:
        put.value = nonEmpty(reader, reader.bytes());
        break;
      case 0x18:
        put.lease = reader.int64Big();
        if (put.lease === 0n) reader.isCanonical = false;
        break;
      case 0x20:
        put.prevKv = isTrue(reader, reader.bool());
        break;
      case 0x28:
        put.ignoreValue = isTrue(reader, reader.bool());
        break;
      case 0x30:
        put.ignoreLease = isTrue(reader, reader.bool());
        break;
      default:
        reader.skip(tag);
    }
  }
}

function readDeleteRange(reader: Reader, request: DeleteRangeRequest): void {
  let lastTag = 0;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag <= lastTag) reader.isCanonical = false;
    lastTag = tag;
    switch (tag) {
      case 0x0a:
        request.key = nonEmpty(reader, reader.bytes());
        break;
      case 0x12:
        request.rangeEnd = nonEmpty(reader, reader.bytes());
        break;
      case 0x18:
        request.prevKv = isTrue(reader, reader.bool());
        break;
      default:
        reader.skip(tag);
    }
  }
}

// A zero or empty value where its absence would say the same: legal, but not what a canonical encoder writes.

function nonZero(reader: Reader, value: number): number {
  if (value === 0) reader.isCanonical = false;
  return value;
}

function nonEmpty(reader: Reader, value: Uint8Array): Uint8Array {
  if (value.length === 0) reader.isCanonical = false;
  return value;
}

function isTrue(reader: Reader, value: boolean): boolean {
  if (!value) reader.isCanonical = false;
  return value;
}

function writeTxn(writer: Writer, txn: TxnRequest): void {
  for (const compare of txn.compare) {
    const start = writer.begin(0x0a);
    writeCompare(writer, compare);
    writer.finish(start);
  }
  for (const op of txn.success) writeRequestOp(writer, 0x12, op);
  for (const op of txn.failure) writeRequestOp(writer, 0x1a, op);
}

function writeCompare(writer: Writer, compare: Compare): void {
  writeNumber(writer, 0x08, compare.result);
  writeNumber(writer, 0x10, compare.target);
  writeBytes(writer, 0x1a, compare.key);
  // A member of a union is written even if it is zero: that it was given is part of what is said.
  switch (compare.union) {
    case CompareUnion.None:
      break;
    case CompareUnion.Version:
      writer.byte(0x20);
      writer.bound(compare.version);
      break;
    case CompareUnion.CreateRevision:
      writer.byte(0x28);
      writer.bound(compare.createRevision);
      break;
    case CompareUnion.ModRevision:
      writer.byte(0x30);
      writer.bound(compare.modRevision);
      break;
    case CompareUnion.Value:
      writer.bytesField(0x3a, compare.value, 0, compare.value.length);
      break;
    case CompareUnion.Lease:
      writer.byte(0x40);
      writer.varintBig(compare.lease);
      break;
    default:
      compare.union satisfies never;
  }
  writeBytes(writer, 0x202, compare.rangeEnd);
}

function writeRequestOp(writer: Writer, branchTag: number, op: RequestOp): void {
  const outer = writer.begin(branchTag);
  if (op.kind === "range") {
    const start = writer.begin(0x0a);
    writeRange(writer, op.request);
    writer.finish(start);
  } else if (op.kind === "put") {
    const start = writer.begin(0x12);
    writePut(writer, op.request);
    writer.finish(start);
  } else if (op.kind === "deleteRange") {
    const start = writer.begin(0x1a);
    writeDeleteRange(writer, op.request);
    writer.finish(start);
  } else if (op.kind === "txn") {
    const start = writer.begin(0x22);
    writeTxn(writer, op.request);
    writer.finish(start);
  } else {
    op.kind satisfies "none";
  }
  writer.finish(outer);
}

function writeRange(writer: Writer, range: RangeRequest): void {
  writeBytes(writer, 0x0a, range.key);
  writeBytes(writer, 0x12, range.rangeEnd);
  writeNumber(writer, 0x18, range.limit);
  writeNumber(writer, 0x20, range.revision);
  writeNumber(writer, 0x28, range.sortOrder);
  writeNumber(writer, 0x30, range.sortTarget);
  writeFlag(writer, 0x38, range.serializable);
  writeFlag(writer, 0x40, range.keysOnly);
  writeFlag(writer, 0x48, range.countOnly);
  writeNumber(writer, 0x50, range.minModRevision);
  writeNumber(writer, 0x58, range.maxModRevision);
  writeNumber(writer, 0x60, range.minCreateRevision);
  writeNumber(writer, 0x68, range.maxCreateRevision);
}

function writePut(writer: Writer, put: PutRequest): void {
  writeBytes(writer, 0x0a, put.key);
  writeBytes(writer, 0x12, put.value);
  if (put.lease !== 0n) {
    writer.byte(0x18);
    writer.varintBig(put.lease);
  }
  writeFlag(writer, 0x20, put.prevKv);
  writeFlag(writer, 0x28, put.ignoreValue);
  writeFlag(writer, 0x30, put.ignoreLease);
}

function writeDeleteRange(writer: Writer, request: DeleteRangeRequest): void {
  writeBytes(writer, 0x0a, request.key);
  writeBytes(writer, 0x12, request.rangeEnd);
  writeFlag(writer, 0x18, request.prevKv);
}

function writeBytes(writer: Writer, tag: number, value: Uint8Array): void {
  if (value.length > 0) writer.bytesField(tag, value, 0, value.length);
}

function writeNumber(writer: Writer, tag: number, value: number): void {
  if (value === 0) return;
  writer.byte(tag);
  writer.bound(value);
}

function writeFlag(writer: Writer, tag: number, value: boolean): void {
  if (!value) return;
  writer.byte(tag);
  writer.byte(1);
}
