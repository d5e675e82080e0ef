/**
 * The messages of the Maintenance service.
 * What the fields mean: proto/.
 */

import { AlarmAction, AlarmType, DowngradeAction } from "../enums.ts";
import {
  bool,
  bound,
  bytes,
  embedded,
  enumeration,
  int64,
  message,
  type NoFields,
  repeated,
  string,
  uid,
  uint32,
  uint64,
} from "./fields.ts";
import type { MessageType } from "./message-type.ts";
import { ResponseHeader } from "./response-header.ts";

export type HashRequest = NoFields;
export const HashRequest: MessageType<HashRequest> = message<HashRequest>("etcdserverpb.HashRequest", {});

export interface HashResponse {
  readonly header: ResponseHeader | undefined;
  readonly hash: number;
}
export const HashResponse: MessageType<HashResponse> = message<HashResponse>("etcdserverpb.HashResponse", {
  header: embedded(1, () => ResponseHeader),
  hash: uint32(2),
});

export interface HashKVRequest {
  readonly revision: number;
}
export const HashKVRequest: MessageType<HashKVRequest> = message<HashKVRequest>("etcdserverpb.HashKVRequest", {
  revision: bound(1),
});

export interface HashKVResponse {
  readonly header: ResponseHeader | undefined;
  readonly hash: number;
  readonly compactRevision: number;
  readonly hashRevision: number;
}
export const HashKVResponse: MessageType<HashKVResponse> = message<HashKVResponse>("etcdserverpb.HashKVResponse", {
  header: embedded(1, () => ResponseHeader),
  hash: uint32(2),
  compactRevision: int64(3, "compact_revision"),
  hashRevision: int64(4, "hash_revision"),
});

export type SnapshotRequest = NoFields;
export const SnapshotRequest: MessageType<SnapshotRequest> = message<SnapshotRequest>(
  "etcdserverpb.SnapshotRequest",
  {},
);

export interface SnapshotResponse {
  readonly header: ResponseHeader | undefined;
  readonly remainingBytes: number;
  readonly blob: Uint8Array;
  readonly version: string;
}
export const SnapshotResponse: MessageType<SnapshotResponse> = message<SnapshotResponse>(
  "etcdserverpb.SnapshotResponse",
  {
    header: embedded(1, () => ResponseHeader),
    remainingBytes: uint64(2, "remaining_bytes"),
    blob: bytes(3),
    version: string(4),
  },
);

export type DefragmentRequest = NoFields;
export const DefragmentRequest: MessageType<DefragmentRequest> = message<DefragmentRequest>(
  "etcdserverpb.DefragmentRequest",
  {},
);

export interface DefragmentResponse {
  readonly header: ResponseHeader | undefined;
}
export const DefragmentResponse: MessageType<DefragmentResponse> = message<DefragmentResponse>(
  "etcdserverpb.DefragmentResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface MoveLeaderRequest {
  readonly targetID: bigint;
}
export const MoveLeaderRequest: MessageType<MoveLeaderRequest> = message<MoveLeaderRequest>(
  "etcdserverpb.MoveLeaderRequest",
  {
    targetID: uid(1),
  },
);

export interface MoveLeaderResponse {
  readonly header: ResponseHeader | undefined;
}
export const MoveLeaderResponse: MessageType<MoveLeaderResponse> = message<MoveLeaderResponse>(
  "etcdserverpb.MoveLeaderResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface AlarmRequest {
  /** AlarmAction. */
  readonly action: number;
  readonly memberID: bigint;
  /** AlarmType. */
  readonly alarm: number;
}
export const AlarmRequest: MessageType<AlarmRequest> = message<AlarmRequest>("etcdserverpb.AlarmRequest", {
  action: enumeration(1, AlarmAction),
  memberID: uid(2),
  alarm: enumeration(3, AlarmType),
});

export interface AlarmMember {
  readonly memberID: bigint;
  /** AlarmType. */
  readonly alarm: number;
}
export const AlarmMember: MessageType<AlarmMember> = message<AlarmMember>("etcdserverpb.AlarmMember", {
  memberID: uid(1),
  alarm: enumeration(2, AlarmType),
});

export interface AlarmResponse {
  readonly header: ResponseHeader | undefined;
  readonly alarms: readonly AlarmMember[];
}
export const AlarmResponse: MessageType<AlarmResponse> = message<AlarmResponse>("etcdserverpb.AlarmResponse", {
  header: embedded(1, () => ResponseHeader),
  alarms: repeated(embedded(2, () => AlarmMember)),
});

export interface DowngradeRequest {
  /** DowngradeAction. */
  readonly action: number;
  readonly version: string;
}
export const DowngradeRequest: MessageType<DowngradeRequest> = message<DowngradeRequest>(
  "etcdserverpb.DowngradeRequest",
  {
    action: enumeration(1, DowngradeAction),
    version: string(2),
  },
);

export interface DowngradeResponse {
  readonly header: ResponseHeader | undefined;
  readonly version: string;
}
export const DowngradeResponse: MessageType<DowngradeResponse> = message<DowngradeResponse>(
  "etcdserverpb.DowngradeResponse",
  {
    header: embedded(1, () => ResponseHeader),
    version: string(2),
  },
);

export type StatusRequest = NoFields;
export const StatusRequest: MessageType<StatusRequest> = message<StatusRequest>("etcdserverpb.StatusRequest", {});

export interface StatusResponse {
  readonly header: ResponseHeader | undefined;
  readonly version: string;
  readonly dbSize: number;
  readonly leader: bigint;
  readonly raftIndex: number;
  readonly raftTerm: number;
  readonly raftAppliedIndex: number;
  readonly errors: readonly string[];
  readonly dbSizeInUse: number;
  readonly isLearner: boolean;
  readonly storageVersion: string;
  readonly dbSizeQuota: number;
  readonly downgradeInfo: DowngradeInfo | undefined;
}
export const StatusResponse: MessageType<StatusResponse> = message<StatusResponse>("etcdserverpb.StatusResponse", {
  header: embedded(1, () => ResponseHeader),
  version: string(2),
  dbSize: int64(3),
  leader: uid(4),
  raftIndex: uint64(5),
  raftTerm: uint64(6),
  raftAppliedIndex: uint64(7),
  errors: repeated(string(8)),
  dbSizeInUse: int64(9),
  isLearner: bool(10),
  storageVersion: string(11),
  dbSizeQuota: bound(12),
  downgradeInfo: embedded(13, () => DowngradeInfo),
});

export interface DowngradeInfo {
  readonly enabled: boolean;
  readonly targetVersion: string;
}
export const DowngradeInfo: MessageType<DowngradeInfo> = message<DowngradeInfo>("etcdserverpb.DowngradeInfo", {
  enabled: bool(1),
  targetVersion: string(2),
});
