/**
 * The messages of the Watch service, for the gateway and the client; the server uses ../hot/watch.ts.
 * What the fields mean: proto/.
 */

import { FilterType } from "../enums.ts";
import {
  bool,
  bound,
  bytes,
  embedded,
  enumeration,
  id,
  int64,
  message,
  type NoFields,
  oneof,
  repeated,
  string,
} from "./fields.ts";
import { Event } from "./kv.ts";
import type { MessageType } from "./message-type.ts";
import { ResponseHeader } from "./response-header.ts";

export interface WatchRequest {
  readonly createRequest: WatchCreateRequest | undefined;
  readonly cancelRequest: WatchCancelRequest | undefined;
  readonly progressRequest: WatchProgressRequest | undefined;
}
export const WatchRequest: MessageType<WatchRequest> = message<WatchRequest>("etcdserverpb.WatchRequest", {
  createRequest: oneof(
    "request_union",
    embedded(1, () => WatchCreateRequest, "create_request"),
  ),
  cancelRequest: oneof(
    "request_union",
    embedded(2, () => WatchCancelRequest, "cancel_request"),
  ),
  progressRequest: oneof(
    "request_union",
    embedded(3, () => WatchProgressRequest, "progress_request"),
  ),
});

export interface WatchCreateRequest {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly startRevision: number;
  readonly progressNotify: boolean;
  /** FilterType. */
  readonly filters: readonly number[];
  readonly prevKv: boolean;
  readonly watchId: bigint;
  readonly fragment: boolean;
}
export const WatchCreateRequest: MessageType<WatchCreateRequest> = message<WatchCreateRequest>(
  "etcdserverpb.WatchCreateRequest",
  {
    key: bytes(1),
    rangeEnd: bytes(2, "range_end"),
    startRevision: bound(3, "start_revision"),
    progressNotify: bool(4, "progress_notify"),
    filters: repeated(enumeration(5, FilterType)),
    prevKv: bool(6, "prev_kv"),
    watchId: id(7, "watch_id"),
    fragment: bool(8),
  },
);

export interface WatchCancelRequest {
  readonly watchId: bigint;
}
export const WatchCancelRequest: MessageType<WatchCancelRequest> = message<WatchCancelRequest>(
  "etcdserverpb.WatchCancelRequest",
  {
    watchId: id(1, "watch_id"),
  },
);

export type WatchProgressRequest = NoFields;
export const WatchProgressRequest: MessageType<WatchProgressRequest> = message<WatchProgressRequest>(
  "etcdserverpb.WatchProgressRequest",
  {},
);

export interface WatchResponse {
  readonly header: ResponseHeader | undefined;
  readonly watchId: bigint;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: number;
  readonly cancelReason: string;
  readonly fragment: boolean;
  readonly events: readonly Event[];
}
export const WatchResponse: MessageType<WatchResponse> = message<WatchResponse>("etcdserverpb.WatchResponse", {
  header: embedded(1, () => ResponseHeader),
  watchId: id(2, "watch_id"),
  created: bool(3),
  canceled: bool(4),
  compactRevision: int64(5, "compact_revision"),
  cancelReason: string(6, "cancel_reason"),
  fragment: bool(7),
  events: repeated(embedded(11, () => Event)),
});
