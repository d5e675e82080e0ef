/**
 * KeyValue, events and the messages of the KV service. The server reads and writes most of these with the codecs in ../hot;
 * these are for the gateway and the client.
 * What the fields mean: proto/.
 */

import { CompareResult, CompareTarget, EventType, SortOrder, SortTarget } from "../enums.ts";
import { bool, bound, bytes, embedded, enumeration, id, int64, message, oneof, repeated } from "./fields.ts";
import type { MessageType } from "./message-type.ts";
import { ResponseHeader } from "./response-header.ts";

export interface KeyValue {
  readonly key: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly value: Uint8Array;
  readonly lease: bigint;
}
export const KeyValue: MessageType<KeyValue> = message<KeyValue>("mvccpb.KeyValue", {
  key: bytes(1),
  createRevision: int64(2, "create_revision"),
  modRevision: int64(3, "mod_revision"),
  version: int64(4),
  value: bytes(5),
  lease: id(6),
});

export interface Event {
  /** EventType. */
  readonly type: number;
  readonly kv: KeyValue | undefined;
  readonly prevKv: KeyValue | undefined;
}
export const Event: MessageType<Event> = message<Event>("mvccpb.Event", {
  type: enumeration(1, EventType),
  kv: embedded(2, () => KeyValue),
  prevKv: embedded(3, () => KeyValue, "prev_kv"),
});

export interface RangeRequest {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly limit: number;
  readonly revision: number;
  /** SortOrder. */
  readonly sortOrder: number;
  /** SortTarget. */
  readonly sortTarget: number;
  readonly serializable: boolean;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  readonly minModRevision: number;
  readonly maxModRevision: number;
  readonly minCreateRevision: number;
  readonly maxCreateRevision: number;
}
export const RangeRequest: MessageType<RangeRequest> = message<RangeRequest>("etcdserverpb.RangeRequest", {
  key: bytes(1),
  rangeEnd: bytes(2, "range_end"),
  limit: bound(3),
  revision: bound(4),
  sortOrder: enumeration(5, SortOrder, "sort_order"),
  sortTarget: enumeration(6, SortTarget, "sort_target"),
  serializable: bool(7),
  keysOnly: bool(8, "keys_only"),
  countOnly: bool(9, "count_only"),
  minModRevision: bound(10, "min_mod_revision"),
  maxModRevision: bound(11, "max_mod_revision"),
  minCreateRevision: bound(12, "min_create_revision"),
  maxCreateRevision: bound(13, "max_create_revision"),
});

export interface RangeResponse {
  readonly header: ResponseHeader | undefined;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  readonly count: number;
}
export const RangeResponse: MessageType<RangeResponse> = message<RangeResponse>("etcdserverpb.RangeResponse", {
  header: embedded(1, () => ResponseHeader),
  kvs: repeated(embedded(2, () => KeyValue)),
  more: bool(3),
  count: int64(4),
});

export interface RangeStreamResponse {
  readonly rangeResponse: RangeResponse | undefined;
}
export const RangeStreamResponse: MessageType<RangeStreamResponse> = message<RangeStreamResponse>(
  "etcdserverpb.RangeStreamResponse",
  {
    rangeResponse: embedded(1, () => RangeResponse, "range_response"),
  },
);

export interface PutRequest {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly lease: bigint;
  readonly prevKv: boolean;
  readonly ignoreValue: boolean;
  readonly ignoreLease: boolean;
}
export const PutRequest: MessageType<PutRequest> = message<PutRequest>("etcdserverpb.PutRequest", {
  key: bytes(1),
  value: bytes(2),
  lease: id(3),
  prevKv: bool(4, "prev_kv"),
  ignoreValue: bool(5, "ignore_value"),
  ignoreLease: bool(6, "ignore_lease"),
});

export interface PutResponse {
  readonly header: ResponseHeader | undefined;
  readonly prevKv: KeyValue | undefined;
}
export const PutResponse: MessageType<PutResponse> = message<PutResponse>("etcdserverpb.PutResponse", {
  header: embedded(1, () => ResponseHeader),
  prevKv: embedded(2, () => KeyValue, "prev_kv"),
});

export interface DeleteRangeRequest {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly prevKv: boolean;
}
export const DeleteRangeRequest: MessageType<DeleteRangeRequest> = message<DeleteRangeRequest>(
  "etcdserverpb.DeleteRangeRequest",
  {
    key: bytes(1),
    rangeEnd: bytes(2, "range_end"),
    prevKv: bool(3, "prev_kv"),
  },
);

export interface DeleteRangeResponse {
  readonly header: ResponseHeader | undefined;
  readonly deleted: number;
  readonly prevKvs: readonly KeyValue[];
}
export const DeleteRangeResponse: MessageType<DeleteRangeResponse> = message<DeleteRangeResponse>(
  "etcdserverpb.DeleteRangeResponse",
  {
    header: embedded(1, () => ResponseHeader),
    deleted: int64(2),
    prevKvs: repeated(embedded(3, () => KeyValue, "prev_kvs")),
  },
);

export interface RequestOp {
  readonly requestRange: RangeRequest | undefined;
  readonly requestPut: PutRequest | undefined;
  readonly requestDeleteRange: DeleteRangeRequest | undefined;
  readonly requestTxn: TxnRequest | undefined;
}
export const RequestOp: MessageType<RequestOp> = message<RequestOp>("etcdserverpb.RequestOp", {
  requestRange: oneof(
    "request",
    embedded(1, () => RangeRequest, "request_range"),
  ),
  requestPut: oneof(
    "request",
    embedded(2, () => PutRequest, "request_put"),
  ),
  requestDeleteRange: oneof(
    "request",
    embedded(3, () => DeleteRangeRequest, "request_delete_range"),
  ),
  requestTxn: oneof(
    "request",
    embedded(4, () => TxnRequest, "request_txn"),
  ),
});

export interface ResponseOp {
  readonly responseRange: RangeResponse | undefined;
  readonly responsePut: PutResponse | undefined;
  readonly responseDeleteRange: DeleteRangeResponse | undefined;
  readonly responseTxn: TxnResponse | undefined;
}
export const ResponseOp: MessageType<ResponseOp> = message<ResponseOp>("etcdserverpb.ResponseOp", {
  responseRange: oneof(
    "response",
    embedded(1, () => RangeResponse, "response_range"),
  ),
  responsePut: oneof(
    "response",
    embedded(2, () => PutResponse, "response_put"),
  ),
  responseDeleteRange: oneof(
    "response",
    embedded(3, () => DeleteRangeResponse, "response_delete_range"),
  ),
  responseTxn: oneof(
    "response",
    embedded(4, () => TxnResponse, "response_txn"),
  ),
});

export interface Compare {
  /** CompareResult. */
  readonly result: number;
  /** CompareTarget. */
  readonly target: number;
  readonly key: Uint8Array;
  readonly version: number | undefined;
  readonly createRevision: number | undefined;
  readonly modRevision: number | undefined;
  readonly value: Uint8Array | undefined;
  readonly lease: bigint | undefined;
  readonly rangeEnd: Uint8Array;
}
export const Compare: MessageType<Compare> = message<Compare>("etcdserverpb.Compare", {
  result: enumeration(1, CompareResult),
  target: enumeration(2, CompareTarget),
  key: bytes(3),
  version: oneof("target_union", bound(4)),
  createRevision: oneof("target_union", bound(5, "create_revision")),
  modRevision: oneof("target_union", bound(6, "mod_revision")),
  value: oneof("target_union", bytes(7)),
  lease: oneof("target_union", id(8)),
  rangeEnd: bytes(64, "range_end"),
});

export interface TxnRequest {
  readonly compare: readonly Compare[];
  readonly success: readonly RequestOp[];
  readonly failure: readonly RequestOp[];
}
export const TxnRequest: MessageType<TxnRequest> = message<TxnRequest>("etcdserverpb.TxnRequest", {
  compare: repeated(embedded(1, () => Compare)),
  success: repeated(embedded(2, () => RequestOp)),
  failure: repeated(embedded(3, () => RequestOp)),
});

export interface TxnResponse {
  readonly header: ResponseHeader | undefined;
  readonly succeeded: boolean;
  readonly responses: readonly ResponseOp[];
}
export const TxnResponse: MessageType<TxnResponse> = message<TxnResponse>("etcdserverpb.TxnResponse", {
  header: embedded(1, () => ResponseHeader),
  succeeded: bool(2),
  responses: repeated(embedded(3, () => ResponseOp)),
});

export interface CompactionRequest {
  readonly revision: number;
  readonly physical: boolean;
}
export const CompactionRequest: MessageType<CompactionRequest> = message<CompactionRequest>(
  "etcdserverpb.CompactionRequest",
  {
    revision: bound(1),
    physical: bool(2),
  },
);

export interface CompactionResponse {
  readonly header: ResponseHeader | undefined;
}
export const CompactionResponse: MessageType<CompactionResponse> = message<CompactionResponse>(
  "etcdserverpb.CompactionResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);
