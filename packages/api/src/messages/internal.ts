/**
 * What goes into the log besides requests of clients. Whole entries are read and written by ../hot/raft-request.ts; the
 * table of InternalRaftRequest is for tools that show a log.
 * What the fields mean: proto/.
 */

import {
  AuthDisableRequest,
  AuthEnableRequest,
  AuthRoleAddRequest,
  AuthRoleDeleteRequest,
  AuthRoleGetRequest,
  AuthRoleGrantPermissionRequest,
  AuthRoleListRequest,
  AuthRoleRevokePermissionRequest,
  AuthStatusRequest,
  AuthUserAddRequest,
  AuthUserChangePasswordRequest,
  AuthUserDeleteRequest,
  AuthUserGetRequest,
  AuthUserGrantRoleRequest,
  AuthUserListRequest,
  AuthUserRevokeRoleRequest,
} from "./auth.ts";
import { bool, embedded, message, type NoFields, repeated, string, uid, uint64 } from "./fields.ts";
import { CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest } from "./kv.ts";
import { LeaseCheckpointRequest, LeaseGrantRequest, LeaseRevokeRequest } from "./lease.ts";
import { AlarmRequest } from "./maintenance.ts";
import type { MessageType } from "./message-type.ts";

export interface DowngradeVersionTestRequest {
  readonly ver: string;
}
export const DowngradeVersionTestRequest: MessageType<DowngradeVersionTestRequest> =
  message<DowngradeVersionTestRequest>("etcdserverpb.DowngradeVersionTestRequest", {
    ver: string(1),
  });

export interface RaftAttributes {
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
}
export const RaftAttributes: MessageType<RaftAttributes> = message<RaftAttributes>("membershippb.RaftAttributes", {
  peerUrls: repeated(string(1, "peer_urls")),
  isLearner: bool(2, "is_learner"),
});

export interface Attributes {
  readonly name: string;
  readonly clientUrls: readonly string[];
}
export const Attributes: MessageType<Attributes> = message<Attributes>("membershippb.Attributes", {
  name: string(1),
  clientUrls: repeated(string(2, "client_urls")),
});

export interface StoredMember {
  readonly ID: bigint;
  readonly raftAttributes: RaftAttributes | undefined;
  readonly memberAttributes: Attributes | undefined;
}
export const StoredMember: MessageType<StoredMember> = message<StoredMember>("membershippb.Member", {
  ID: uid(1),
  raftAttributes: embedded(2, () => RaftAttributes, "raft_attributes"),
  memberAttributes: embedded(3, () => Attributes, "member_attributes"),
});

export interface ClusterVersionSetRequest {
  readonly ver: string;
}
export const ClusterVersionSetRequest: MessageType<ClusterVersionSetRequest> = message<ClusterVersionSetRequest>(
  "membershippb.ClusterVersionSetRequest",
  {
    ver: string(1),
  },
);

export interface ClusterMemberAttrSetRequest {
  readonly memberID: bigint;
  readonly memberAttributes: Attributes | undefined;
}
export const ClusterMemberAttrSetRequest: MessageType<ClusterMemberAttrSetRequest> =
  message<ClusterMemberAttrSetRequest>("membershippb.ClusterMemberAttrSetRequest", {
    memberID: uid(1, "member_ID"),
    memberAttributes: embedded(2, () => Attributes, "member_attributes"),
  });

export interface DowngradeInfoSetRequest {
  readonly enabled: boolean;
  readonly ver: string;
}
export const DowngradeInfoSetRequest: MessageType<DowngradeInfoSetRequest> = message<DowngradeInfoSetRequest>(
  "membershippb.DowngradeInfoSetRequest",
  {
    enabled: bool(1),
    ver: string(2),
  },
);

export interface RequestHeader {
  readonly ID: bigint;
  readonly username: string;
  readonly authRevision: number;
}
export const RequestHeader: MessageType<RequestHeader> = message<RequestHeader>("etcdserverpb.RequestHeader", {
  ID: uid(1),
  username: string(2),
  authRevision: uint64(3, "auth_revision"),
});

export interface InternalRaftRequest {
  readonly ID: bigint;
  readonly range: RangeRequest | undefined;
  readonly put: PutRequest | undefined;
  readonly deleteRange: DeleteRangeRequest | undefined;
  readonly txn: TxnRequest | undefined;
  readonly compaction: CompactionRequest | undefined;
  readonly leaseGrant: LeaseGrantRequest | undefined;
  readonly leaseRevoke: LeaseRevokeRequest | undefined;
  readonly alarm: AlarmRequest | undefined;
  readonly leaseCheckpoint: LeaseCheckpointRequest | undefined;
  readonly header: RequestHeader | undefined;
  readonly authEnable: AuthEnableRequest | undefined;
  readonly authDisable: AuthDisableRequest | undefined;
  readonly authenticate: InternalAuthenticateRequest | undefined;
  readonly authStatus: AuthStatusRequest | undefined;
  readonly authUserAdd: AuthUserAddRequest | undefined;
  readonly authUserDelete: AuthUserDeleteRequest | undefined;
  readonly authUserGet: AuthUserGetRequest | undefined;
  readonly authUserChangePassword: AuthUserChangePasswordRequest | undefined;
  readonly authUserGrantRole: AuthUserGrantRoleRequest | undefined;
  readonly authUserRevokeRole: AuthUserRevokeRoleRequest | undefined;
  readonly authUserList: AuthUserListRequest | undefined;
  readonly authRoleList: AuthRoleListRequest | undefined;
  readonly authRoleAdd: AuthRoleAddRequest | undefined;
  readonly authRoleDelete: AuthRoleDeleteRequest | undefined;
  readonly authRoleGet: AuthRoleGetRequest | undefined;
  readonly authRoleGrantPermission: AuthRoleGrantPermissionRequest | undefined;
  readonly authRoleRevokePermission: AuthRoleRevokePermissionRequest | undefined;
  readonly clusterVersionSet: ClusterVersionSetRequest | undefined;
  readonly clusterMemberAttrSet: ClusterMemberAttrSetRequest | undefined;
  readonly downgradeInfoSet: DowngradeInfoSetRequest | undefined;
  readonly downgradeVersionTest: DowngradeVersionTestRequest | undefined;
}
export const InternalRaftRequest: MessageType<InternalRaftRequest> = message<InternalRaftRequest>(
  "etcdserverpb.InternalRaftRequest",
  {
    ID: uid(1),
    range: embedded(3, () => RangeRequest),
    put: embedded(4, () => PutRequest),
    deleteRange: embedded(5, () => DeleteRangeRequest, "delete_range"),
    txn: embedded(6, () => TxnRequest),
    compaction: embedded(7, () => CompactionRequest),
    leaseGrant: embedded(8, () => LeaseGrantRequest, "lease_grant"),
    leaseRevoke: embedded(9, () => LeaseRevokeRequest, "lease_revoke"),
    alarm: embedded(10, () => AlarmRequest),
    leaseCheckpoint: embedded(11, () => LeaseCheckpointRequest, "lease_checkpoint"),
    header: embedded(100, () => RequestHeader),
    authEnable: embedded(1000, () => AuthEnableRequest, "auth_enable"),
    authDisable: embedded(1011, () => AuthDisableRequest, "auth_disable"),
    authenticate: embedded(1012, () => InternalAuthenticateRequest),
    authStatus: embedded(1013, () => AuthStatusRequest, "auth_status"),
    authUserAdd: embedded(1100, () => AuthUserAddRequest, "auth_user_add"),
    authUserDelete: embedded(1101, () => AuthUserDeleteRequest, "auth_user_delete"),
    authUserGet: embedded(1102, () => AuthUserGetRequest, "auth_user_get"),
    authUserChangePassword: embedded(1103, () => AuthUserChangePasswordRequest, "auth_user_change_password"),
    authUserGrantRole: embedded(1104, () => AuthUserGrantRoleRequest, "auth_user_grant_role"),
    authUserRevokeRole: embedded(1105, () => AuthUserRevokeRoleRequest, "auth_user_revoke_role"),
    authUserList: embedded(1106, () => AuthUserListRequest, "auth_user_list"),
    authRoleList: embedded(1107, () => AuthRoleListRequest, "auth_role_list"),
    authRoleAdd: embedded(1200, () => AuthRoleAddRequest, "auth_role_add"),
    authRoleDelete: embedded(1201, () => AuthRoleDeleteRequest, "auth_role_delete"),
    authRoleGet: embedded(1202, () => AuthRoleGetRequest, "auth_role_get"),
    authRoleGrantPermission: embedded(1203, () => AuthRoleGrantPermissionRequest, "auth_role_grant_permission"),
    authRoleRevokePermission: embedded(1204, () => AuthRoleRevokePermissionRequest, "auth_role_revoke_permission"),
    clusterVersionSet: embedded(1300, () => ClusterVersionSetRequest, "cluster_version_set"),
    clusterMemberAttrSet: embedded(1301, () => ClusterMemberAttrSetRequest, "cluster_member_attr_set"),
    downgradeInfoSet: embedded(1302, () => DowngradeInfoSetRequest, "downgrade_info_set"),
    downgradeVersionTest: embedded(9900, () => DowngradeVersionTestRequest, "downgrade_version_test"),
  },
);

export type EmptyResponse = NoFields;
export const EmptyResponse: MessageType<EmptyResponse> = message<EmptyResponse>("etcdserverpb.EmptyResponse", {});

export interface InternalAuthenticateRequest {
  readonly name: string;
  readonly password: string;
  readonly simpleToken: string;
}
export const InternalAuthenticateRequest: MessageType<InternalAuthenticateRequest> =
  message<InternalAuthenticateRequest>("etcdserverpb.InternalAuthenticateRequest", {
    name: string(1),
    password: string(2),
    simpleToken: string(3, "simple_token"),
  });
