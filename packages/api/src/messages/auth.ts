/**
 * The messages of the Auth service, and users, roles and permissions as stored.
 * What the fields mean: proto/.
 */

import { PermissionType } from "../enums.ts";
import { bool, bytes, embedded, enumeration, message, type NoFields, repeated, string, uint64 } from "./fields.ts";
import type { MessageType } from "./message-type.ts";
import { ResponseHeader } from "./response-header.ts";

export interface UserAddOptions {
  readonly noPassword: boolean;
}
export const UserAddOptions: MessageType<UserAddOptions> = message<UserAddOptions>("authpb.UserAddOptions", {
  noPassword: bool(1, "no_password"),
});

export interface User {
  readonly name: Uint8Array;
  readonly password: Uint8Array;
  readonly roles: readonly string[];
  readonly options: UserAddOptions | undefined;
}
export const User: MessageType<User> = message<User>("authpb.User", {
  name: bytes(1),
  password: bytes(2),
  roles: repeated(string(3)),
  options: embedded(4, () => UserAddOptions),
});

export interface Permission {
  /** PermissionType. */
  readonly permType: number;
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
}
export const Permission: MessageType<Permission> = message<Permission>("authpb.Permission", {
  permType: enumeration(1, PermissionType),
  key: bytes(2),
  rangeEnd: bytes(3, "range_end"),
});

export interface Role {
  readonly name: Uint8Array;
  readonly keyPermission: readonly Permission[];
}
export const Role: MessageType<Role> = message<Role>("authpb.Role", {
  name: bytes(1),
  keyPermission: repeated(embedded(2, () => Permission)),
});

export type AuthEnableRequest = NoFields;
export const AuthEnableRequest: MessageType<AuthEnableRequest> = message<AuthEnableRequest>(
  "etcdserverpb.AuthEnableRequest",
  {},
);

export type AuthDisableRequest = NoFields;
export const AuthDisableRequest: MessageType<AuthDisableRequest> = message<AuthDisableRequest>(
  "etcdserverpb.AuthDisableRequest",
  {},
);

export type AuthStatusRequest = NoFields;
export const AuthStatusRequest: MessageType<AuthStatusRequest> = message<AuthStatusRequest>(
  "etcdserverpb.AuthStatusRequest",
  {},
);

export interface AuthenticateRequest {
  readonly name: string;
  readonly password: string;
}
export const AuthenticateRequest: MessageType<AuthenticateRequest> = message<AuthenticateRequest>(
  "etcdserverpb.AuthenticateRequest",
  {
    name: string(1),
    password: string(2),
  },
);

export interface AuthUserAddRequest {
  readonly name: string;
  readonly password: string;
  readonly options: UserAddOptions | undefined;
  readonly hashedPassword: string;
}
export const AuthUserAddRequest: MessageType<AuthUserAddRequest> = message<AuthUserAddRequest>(
  "etcdserverpb.AuthUserAddRequest",
  {
    name: string(1),
    password: string(2),
    options: embedded(3, () => UserAddOptions),
    hashedPassword: string(4),
  },
);

export interface AuthUserGetRequest {
  readonly name: string;
}
export const AuthUserGetRequest: MessageType<AuthUserGetRequest> = message<AuthUserGetRequest>(
  "etcdserverpb.AuthUserGetRequest",
  {
    name: string(1),
  },
);

export interface AuthUserDeleteRequest {
  readonly name: string;
}
export const AuthUserDeleteRequest: MessageType<AuthUserDeleteRequest> = message<AuthUserDeleteRequest>(
  "etcdserverpb.AuthUserDeleteRequest",
  {
    name: string(1),
  },
);

export interface AuthUserChangePasswordRequest {
  readonly name: string;
  readonly password: string;
  readonly hashedPassword: string;
}
export const AuthUserChangePasswordRequest: MessageType<AuthUserChangePasswordRequest> =
  message<AuthUserChangePasswordRequest>("etcdserverpb.AuthUserChangePasswordRequest", {
    name: string(1),
    password: string(2),
    hashedPassword: string(3),
  });

export interface AuthUserGrantRoleRequest {
  readonly user: string;
  readonly role: string;
}
export const AuthUserGrantRoleRequest: MessageType<AuthUserGrantRoleRequest> = message<AuthUserGrantRoleRequest>(
  "etcdserverpb.AuthUserGrantRoleRequest",
  {
    user: string(1),
    role: string(2),
  },
);

export interface AuthUserRevokeRoleRequest {
  readonly name: string;
  readonly role: string;
}
export const AuthUserRevokeRoleRequest: MessageType<AuthUserRevokeRoleRequest> = message<AuthUserRevokeRoleRequest>(
  "etcdserverpb.AuthUserRevokeRoleRequest",
  {
    name: string(1),
    role: string(2),
  },
);

export interface AuthRoleAddRequest {
  readonly name: string;
}
export const AuthRoleAddRequest: MessageType<AuthRoleAddRequest> = message<AuthRoleAddRequest>(
  "etcdserverpb.AuthRoleAddRequest",
  {
    name: string(1),
  },
);

export interface AuthRoleGetRequest {
  readonly role: string;
}
export const AuthRoleGetRequest: MessageType<AuthRoleGetRequest> = message<AuthRoleGetRequest>(
  "etcdserverpb.AuthRoleGetRequest",
  {
    role: string(1),
  },
);

export type AuthUserListRequest = NoFields;
export const AuthUserListRequest: MessageType<AuthUserListRequest> = message<AuthUserListRequest>(
  "etcdserverpb.AuthUserListRequest",
  {},
);

export type AuthRoleListRequest = NoFields;
export const AuthRoleListRequest: MessageType<AuthRoleListRequest> = message<AuthRoleListRequest>(
  "etcdserverpb.AuthRoleListRequest",
  {},
);

export interface AuthRoleDeleteRequest {
  readonly role: string;
}
export const AuthRoleDeleteRequest: MessageType<AuthRoleDeleteRequest> = message<AuthRoleDeleteRequest>(
  "etcdserverpb.AuthRoleDeleteRequest",
  {
    role: string(1),
  },
);

export interface AuthRoleGrantPermissionRequest {
  readonly name: string;
  readonly perm: Permission | undefined;
}
export const AuthRoleGrantPermissionRequest: MessageType<AuthRoleGrantPermissionRequest> =
  message<AuthRoleGrantPermissionRequest>("etcdserverpb.AuthRoleGrantPermissionRequest", {
    name: string(1),
    perm: embedded(2, () => Permission),
  });

export interface AuthRoleRevokePermissionRequest {
  readonly role: string;
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
}
export const AuthRoleRevokePermissionRequest: MessageType<AuthRoleRevokePermissionRequest> =
  message<AuthRoleRevokePermissionRequest>("etcdserverpb.AuthRoleRevokePermissionRequest", {
    role: string(1),
    key: bytes(2),
    rangeEnd: bytes(3, "range_end"),
  });

export interface AuthEnableResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthEnableResponse: MessageType<AuthEnableResponse> = message<AuthEnableResponse>(
  "etcdserverpb.AuthEnableResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface AuthDisableResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthDisableResponse: MessageType<AuthDisableResponse> = message<AuthDisableResponse>(
  "etcdserverpb.AuthDisableResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface AuthStatusResponse {
  readonly header: ResponseHeader | undefined;
  readonly enabled: boolean;
  readonly authRevision: number;
}
export const AuthStatusResponse: MessageType<AuthStatusResponse> = message<AuthStatusResponse>(
  "etcdserverpb.AuthStatusResponse",
  {
    header: embedded(1, () => ResponseHeader),
    enabled: bool(2),
    authRevision: uint64(3),
  },
);

export interface AuthenticateResponse {
  readonly header: ResponseHeader | undefined;
  readonly token: string;
}
export const AuthenticateResponse: MessageType<AuthenticateResponse> = message<AuthenticateResponse>(
  "etcdserverpb.AuthenticateResponse",
  {
    header: embedded(1, () => ResponseHeader),
    token: string(2),
  },
);

export interface AuthUserAddResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthUserAddResponse: MessageType<AuthUserAddResponse> = message<AuthUserAddResponse>(
  "etcdserverpb.AuthUserAddResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface AuthUserGetResponse {
  readonly header: ResponseHeader | undefined;
  readonly roles: readonly string[];
}
export const AuthUserGetResponse: MessageType<AuthUserGetResponse> = message<AuthUserGetResponse>(
  "etcdserverpb.AuthUserGetResponse",
  {
    header: embedded(1, () => ResponseHeader),
    roles: repeated(string(2)),
  },
);

export interface AuthUserDeleteResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthUserDeleteResponse: MessageType<AuthUserDeleteResponse> = message<AuthUserDeleteResponse>(
  "etcdserverpb.AuthUserDeleteResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface AuthUserChangePasswordResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthUserChangePasswordResponse: MessageType<AuthUserChangePasswordResponse> =
  message<AuthUserChangePasswordResponse>("etcdserverpb.AuthUserChangePasswordResponse", {
    header: embedded(1, () => ResponseHeader),
  });

export interface AuthUserGrantRoleResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthUserGrantRoleResponse: MessageType<AuthUserGrantRoleResponse> = message<AuthUserGrantRoleResponse>(
  "etcdserverpb.AuthUserGrantRoleResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface AuthUserRevokeRoleResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthUserRevokeRoleResponse: MessageType<AuthUserRevokeRoleResponse> = message<AuthUserRevokeRoleResponse>(
  "etcdserverpb.AuthUserRevokeRoleResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface AuthRoleAddResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthRoleAddResponse: MessageType<AuthRoleAddResponse> = message<AuthRoleAddResponse>(
  "etcdserverpb.AuthRoleAddResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface AuthRoleGetResponse {
  readonly header: ResponseHeader | undefined;
  readonly perm: readonly Permission[];
}
export const AuthRoleGetResponse: MessageType<AuthRoleGetResponse> = message<AuthRoleGetResponse>(
  "etcdserverpb.AuthRoleGetResponse",
  {
    header: embedded(1, () => ResponseHeader),
    perm: repeated(embedded(2, () => Permission)),
  },
);

export interface AuthRoleListResponse {
  readonly header: ResponseHeader | undefined;
  readonly roles: readonly string[];
}
export const AuthRoleListResponse: MessageType<AuthRoleListResponse> = message<AuthRoleListResponse>(
  "etcdserverpb.AuthRoleListResponse",
  {
    header: embedded(1, () => ResponseHeader),
    roles: repeated(string(2)),
  },
);

export interface AuthUserListResponse {
  readonly header: ResponseHeader | undefined;
  readonly users: readonly string[];
}
export const AuthUserListResponse: MessageType<AuthUserListResponse> = message<AuthUserListResponse>(
  "etcdserverpb.AuthUserListResponse",
  {
    header: embedded(1, () => ResponseHeader),
    users: repeated(string(2)),
  },
);

export interface AuthRoleDeleteResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthRoleDeleteResponse: MessageType<AuthRoleDeleteResponse> = message<AuthRoleDeleteResponse>(
  "etcdserverpb.AuthRoleDeleteResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);

export interface AuthRoleGrantPermissionResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthRoleGrantPermissionResponse: MessageType<AuthRoleGrantPermissionResponse> =
  message<AuthRoleGrantPermissionResponse>("etcdserverpb.AuthRoleGrantPermissionResponse", {
    header: embedded(1, () => ResponseHeader),
  });

export interface AuthRoleRevokePermissionResponse {
  readonly header: ResponseHeader | undefined;
}
export const AuthRoleRevokePermissionResponse: MessageType<AuthRoleRevokePermissionResponse> =
  message<AuthRoleRevokePermissionResponse>("etcdserverpb.AuthRoleRevokePermissionResponse", {
    header: embedded(1, () => ResponseHeader),
  });
