/**
 * The messages of the Lease service, the checkpoint raft carries, the stored lease and what members ask each other.
 * What the fields mean: proto/.
 */

import { bool, bound, bytes, embedded, id, int64, message, type NoFields, repeated, string } from "./fields.ts";
import type { MessageType } from "./message-type.ts";
import { ResponseHeader } from "./response-header.ts";

export interface LeaseGrantRequest {
  readonly TTL: number;
  readonly ID: bigint;
}
export const LeaseGrantRequest: MessageType<LeaseGrantRequest> = message<LeaseGrantRequest>(
  "etcdserverpb.LeaseGrantRequest",
  {
    TTL: bound(1),
    ID: id(2),
  },
);

export interface LeaseGrantResponse {
  readonly header: ResponseHeader | undefined;
  readonly ID: bigint;
  readonly TTL: number;
  readonly error: string;
}
export const LeaseGrantResponse: MessageType<LeaseGrantResponse> = message<LeaseGrantResponse>(
  "etcdserverpb.LeaseGrantResponse",
  {
    header: embedded(1, () => ResponseHeader),
    ID: id(2),
    TTL: int64(3),
    error: string(4),
  },
);

export interface LeaseRevokeRequest {
  readonly ID: bigint;
}
export const LeaseRevokeRequest: MessageType<LeaseRevokeRequest> = message<LeaseRevokeRequest>(
  "etcdserverpb.LeaseRevokeRequest",
  {
    ID: id(1),
  },
);

export interface LeaseRevokeResponse {
  readonly header: ResponseHeader | undefined;
}
export const LeaseRevokeResponse: MessageType<LeaseRevokeResponse> = message<LeaseRevokeResponse>(
  "etcdserverpb.LeaseRevokeResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface LeaseCheckpoint {
  readonly ID: bigint;
  readonly remainingTTL: number;
}
export const LeaseCheckpoint: MessageType<LeaseCheckpoint> = message<LeaseCheckpoint>("etcdserverpb.LeaseCheckpoint", {
  ID: id(1),
  remainingTTL: int64(2, "remaining_TTL"),
});

export interface LeaseCheckpointRequest {
  readonly checkpoints: readonly LeaseCheckpoint[];
}
export const LeaseCheckpointRequest: MessageType<LeaseCheckpointRequest> = message<LeaseCheckpointRequest>(
  "etcdserverpb.LeaseCheckpointRequest",
  {
    checkpoints: repeated(embedded(1, () => LeaseCheckpoint)),
  },
);

export interface LeaseCheckpointResponse {
  readonly header: ResponseHeader | undefined;
}
export const LeaseCheckpointResponse: MessageType<LeaseCheckpointResponse> = message<LeaseCheckpointResponse>(
  "etcdserverpb.LeaseCheckpointResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface LeaseKeepAliveRequest {
  readonly ID: bigint;
}
export const LeaseKeepAliveRequest: MessageType<LeaseKeepAliveRequest> = message<LeaseKeepAliveRequest>(
  "etcdserverpb.LeaseKeepAliveRequest",
  {
    ID: id(1),
  },
);

export interface LeaseKeepAliveResponse {
  readonly header: ResponseHeader | undefined;
  readonly ID: bigint;
  readonly TTL: number;
}
export const LeaseKeepAliveResponse: MessageType<LeaseKeepAliveResponse> = message<LeaseKeepAliveResponse>(
  "etcdserverpb.LeaseKeepAliveResponse",
  {
    header: embedded(1, () => ResponseHeader),
    ID: id(2),
    TTL: int64(3),
  },
);

export interface LeaseTimeToLiveRequest {
  readonly ID: bigint;
  readonly keys: boolean;
}
export const LeaseTimeToLiveRequest: MessageType<LeaseTimeToLiveRequest> = message<LeaseTimeToLiveRequest>(
  "etcdserverpb.LeaseTimeToLiveRequest",
  {
    ID: id(1),
    keys: bool(2),
  },
);

export interface LeaseTimeToLiveResponse {
  readonly header: ResponseHeader | undefined;
  readonly ID: bigint;
  readonly TTL: number;
  readonly grantedTTL: number;
  readonly keys: readonly Uint8Array[];
}
export const LeaseTimeToLiveResponse: MessageType<LeaseTimeToLiveResponse> = message<LeaseTimeToLiveResponse>(
  "etcdserverpb.LeaseTimeToLiveResponse",
  {
    header: embedded(1, () => ResponseHeader),
    ID: id(2),
    TTL: int64(3),
    grantedTTL: int64(4),
    keys: repeated(bytes(5)),
  },
);

export type LeaseLeasesRequest = NoFields;
export const LeaseLeasesRequest: MessageType<LeaseLeasesRequest> = message<LeaseLeasesRequest>(
  "etcdserverpb.LeaseLeasesRequest",
  {},
);

export interface LeaseStatus {
  readonly ID: bigint;
}
export const LeaseStatus: MessageType<LeaseStatus> = message<LeaseStatus>("etcdserverpb.LeaseStatus", {
  ID: id(1),
});

export interface LeaseLeasesResponse {
  readonly header: ResponseHeader | undefined;
  readonly leases: readonly LeaseStatus[];
}
export const LeaseLeasesResponse: MessageType<LeaseLeasesResponse> = message<LeaseLeasesResponse>(
  "etcdserverpb.LeaseLeasesResponse",
  {
    header: embedded(1, () => ResponseHeader),
    leases: repeated(embedded(2, () => LeaseStatus)),
  },
);

export interface StoredLease {
  readonly ID: bigint;
  readonly TTL: number;
  readonly RemainingTTL: number;
}
export const StoredLease: MessageType<StoredLease> = message<StoredLease>("leasepb.Lease", {
  ID: id(1),
  TTL: int64(2),
  RemainingTTL: int64(3),
});

export interface LeaseInternalRequest {
  readonly LeaseTimeToLiveRequest: LeaseTimeToLiveRequest | undefined;
}
export const LeaseInternalRequest: MessageType<LeaseInternalRequest> = message<LeaseInternalRequest>(
  "leasepb.LeaseInternalRequest",
  {
    LeaseTimeToLiveRequest: embedded(1, () => LeaseTimeToLiveRequest),
  },
);

export interface LeaseInternalResponse {
  readonly LeaseTimeToLiveResponse: LeaseTimeToLiveResponse | undefined;
}
export const LeaseInternalResponse: MessageType<LeaseInternalResponse> = message<LeaseInternalResponse>(
  "leasepb.LeaseInternalResponse",
  {
    LeaseTimeToLiveResponse: embedded(1, () => LeaseTimeToLiveResponse),
  },
);
