/**
 * The part of applying that has to do with users: whom an entry comes from, what only administrators may put into the log,
 * and the operations of the Auth service. The applier asks; all of it is a function of state and entry (AP-07), which holds
 * no plain password (SA-12).
 *
 *   entry's header ─▶ caller ─▶ administrator needed? ─▶ operation ─▶ outcome
 *                                                          ├─▶ loggedIn            a token comes into being, on every member
 *                                                          └─▶ credentialsDropped  tokens end
 */
import { type ErrorKind, RaftOp, type RaftRequestView } from "@quorate/api";
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
  InternalAuthenticateRequest,
  type MessageType,
} from "@quorate/api/messages";
import type { AuthStore, Identity, Login } from "@quorate/auth";
import type { Outcome } from "./outcome.ts";

export interface AuthApplierOwner {
  /** A user has logged in; every member is told, in the order of the log. */
  loggedIn(login: Login): void;
  /** Tokens of the user are good no more; null: nobody's are. */
  credentialsDropped(user: string | null): void;
}

export class AuthApplier {
  readonly #auth: AuthStore;
  readonly #owner: AuthApplierOwner;
  readonly #caller = new EntryCaller();

  constructor(auth: AuthStore, owner: AuthApplierOwner) {
    this.#auth = auth;
    this.#owner = owner;
  }

  /** Whom the entry comes from, and the auth revision that was established at; borrowed until the next entry. Hot. */
  callerOf(request: RaftRequestView): Identity {
    this.#caller.read(request);
    return this.#caller;
  }

  /** Applies an operation of the Auth service at `index`; false: it is none. */
  apply(request: RaftRequestView, index: number, outcome: Outcome): boolean {
    const { op } = request;
    if (!isAuthOp(op)) return false;
    if (needsAdministrator(op)) outcome.error = this.#auth.authoriseAdmin(this.callerOf(request));
    if (outcome.error === null) outcome.error = this.#operate(op, request, index, outcome);
    return true;
  }

  #operate(op: AuthOp, request: RaftRequestView, index: number, outcome: Outcome): ErrorKind | null {
    const { buffer, start, end } = request;
    const auth = this.#auth;
    switch (op) {
      case RaftOp.AuthEnable:
        return auth.enable();
      case RaftOp.AuthDisable:
        if (auth.disable()) this.#owner.credentialsDropped(null);
        return null;
      case RaftOp.AuthStatus:
        outcome.isAuthEnabled = auth.isEnabled;
        outcome.authRevision = auth.revision;
        return null;
      case RaftOp.Authenticate: {
        const { name, simpleToken } = InternalAuthenticateRequest.decode(buffer, start, end);
        return this.#logIn(name, simpleToken, index, outcome);
      }
      case RaftOp.AuthUserAdd: {
        const { name, hashedPassword, options } = AuthUserAddRequest.decode(buffer, start, end);
        return auth.addUser(name, decodeHash(hashedPassword), options);
      }
      case RaftOp.AuthUserDelete: {
        const { name } = AuthUserDeleteRequest.decode(buffer, start, end);
        return this.#dropping(name, auth.deleteUser(name));
      }
      case RaftOp.AuthUserChangePassword: {
        const { name, hashedPassword } = AuthUserChangePasswordRequest.decode(buffer, start, end);
        return this.#dropping(name, auth.changePassword(name, decodeHash(hashedPassword)));
      }
      case RaftOp.AuthUserGrantRole: {
        const { user, role } = AuthUserGrantRoleRequest.decode(buffer, start, end);
        return auth.grantRole(user, role);
      }
      case RaftOp.AuthUserRevokeRole: {
        const { name, role } = AuthUserRevokeRoleRequest.decode(buffer, start, end);
        return auth.revokeRole(name, role);
      }
      case RaftOp.AuthUserGet:
        return this.#getUser(request, AuthUserGetRequest.decode(buffer, start, end).name, outcome);
      case RaftOp.AuthUserList:
        outcome.names = auth.users();
        return null;
      case RaftOp.AuthRoleAdd:
        return auth.addRole(AuthRoleAddRequest.decode(buffer, start, end).name);
      case RaftOp.AuthRoleDelete:
        return auth.deleteRole(AuthRoleDeleteRequest.decode(buffer, start, end).role);
      case RaftOp.AuthRoleGet:
        return this.#getRole(request, AuthRoleGetRequest.decode(buffer, start, end).role, outcome);
      case RaftOp.AuthRoleList:
        outcome.names = auth.roles();
        return null;
      case RaftOp.AuthRoleGrantPermission: {
        const { name, perm } = AuthRoleGrantPermissionRequest.decode(buffer, start, end);
        return auth.grantPermission(name, perm);
      }
      case RaftOp.AuthRoleRevokePermission: {
        const { role, key, rangeEnd } = AuthRoleRevokePermissionRequest.decode(buffer, start, end);
        return auth.revokePermission(role, key, rangeEnd);
      }
      default:
        return op satisfies never;
    }
  }

  /** The password was checked before the log-in was proposed (AU-07); whether that still counts is for who proposed it. */
  #logIn(user: string, nonce: string, index: number, outcome: Outcome): ErrorKind | null {
    const refused = this.#auth.checkLogin(user);
    if (refused !== null) return refused;
    const login = { user, nonce, revision: this.#auth.revision, index: index - 1 };
    outcome.login = login;
    this.#owner.loggedIn(login);
    return null;
  }

  #dropping(user: string, refused: ErrorKind | null): ErrorKind | null {
    if (refused === null) this.#owner.credentialsDropped(user);
    return refused;
  }

  #getUser(request: RaftRequestView, name: string, outcome: Outcome): ErrorKind | null {
    const refused = this.#auth.authoriseUserGet(this.callerOf(request), name);
    if (refused !== null) return refused;
    const roles = this.#auth.rolesOf(name);
    if (roles === null) return "UserNotFound";
    outcome.names = roles;
    return null;
  }

  #getRole(request: RaftRequestView, role: string, outcome: Outcome): ErrorKind | null {
    const refused = this.#auth.authoriseRoleGet(this.callerOf(request), role);
    if (refused !== null) return refused;
    const permissions = this.#auth.permissionsOfRole(role);
    if (permissions === null) return "RoleNotFound";
    outcome.permissions = permissions;
    return null;
  }
}

/** Who an entry says it comes from. One object for all entries; the name is made anew only when it is another one. */
class EntryCaller implements Identity {
  user = "";
  /** 0: nobody. */
  revision = 0;
  #nameBytes: Uint8Array = new Uint8Array(0);

  read(request: RaftRequestView): void {
    const { buffer, usernameStart, usernameEnd, authRevision } = request;
    this.revision = authRevision;
    if (isSame(this.#nameBytes, buffer, usernameStart, usernameEnd)) return;
    this.#nameBytes = Uint8Array.prototype.slice.call(buffer, usernameStart, usernameEnd);
    this.user = request.username();
  }
}

function isSame(bytes: Uint8Array, buffer: Uint8Array, start: number, end: number): boolean {
  if (bytes.length !== end - start) return false;
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== buffer[start + i]) return false;
  return true;
}

const ADMINISTRATORS_OPS = [
  RaftOp.AuthEnable,
  RaftOp.AuthDisable,
  RaftOp.AuthUserAdd,
  RaftOp.AuthUserDelete,
  RaftOp.AuthUserChangePassword,
  RaftOp.AuthUserGrantRole,
  RaftOp.AuthUserRevokeRole,
  RaftOp.AuthUserList,
  RaftOp.AuthRoleList,
  RaftOp.AuthRoleAdd,
  RaftOp.AuthRoleDelete,
  RaftOp.AuthRoleGrantPermission,
  RaftOp.AuthRoleRevokePermission,
] as const;
const OTHER_OPS = [RaftOp.Authenticate, RaftOp.AuthStatus, RaftOp.AuthUserGet, RaftOp.AuthRoleGet] as const;

type AuthOp = (typeof ADMINISTRATORS_OPS)[number] | (typeof OTHER_OPS)[number];

const administratorsOps: ReadonlySet<RaftOp> = new Set(ADMINISTRATORS_OPS);

const requestTypes: Readonly<Record<AuthOp, MessageType<object>>> = {
  [RaftOp.AuthEnable]: AuthEnableRequest,
  [RaftOp.AuthDisable]: AuthDisableRequest,
  [RaftOp.AuthStatus]: AuthStatusRequest,
  [RaftOp.Authenticate]: InternalAuthenticateRequest,
  [RaftOp.AuthUserAdd]: AuthUserAddRequest,
  [RaftOp.AuthUserDelete]: AuthUserDeleteRequest,
  [RaftOp.AuthUserGet]: AuthUserGetRequest,
  [RaftOp.AuthUserChangePassword]: AuthUserChangePasswordRequest,
  [RaftOp.AuthUserGrantRole]: AuthUserGrantRoleRequest,
  [RaftOp.AuthUserRevokeRole]: AuthUserRevokeRoleRequest,
  [RaftOp.AuthUserList]: AuthUserListRequest,
  [RaftOp.AuthRoleList]: AuthRoleListRequest,
  [RaftOp.AuthRoleAdd]: AuthRoleAddRequest,
  [RaftOp.AuthRoleDelete]: AuthRoleDeleteRequest,
  [RaftOp.AuthRoleGet]: AuthRoleGetRequest,
  [RaftOp.AuthRoleGrantPermission]: AuthRoleGrantPermissionRequest,
  [RaftOp.AuthRoleRevokePermission]: AuthRoleRevokePermissionRequest,
};

/** Decodes an operation as applying it would; false: it is none of the Auth service. Throws MalformedMessage. */
export function decodeAuthOperation(op: RaftOp, buffer: Uint8Array, start: number, end: number): boolean {
  if (!isAuthOp(op)) return false;
  requestTypes[op].decode(buffer, start, end);
  return true;
}

function isAuthOp(op: RaftOp): op is AuthOp {
  return Object.hasOwn(requestTypes, op);
}

function needsAdministrator(op: AuthOp): boolean {
  return administratorsOps.has(op);
}

/**
 * bcrypt's text out of the base64 it travels in, by Go's rules; null if it is none. An entry with a plain password instead,
 * which only an etcd before 3.5 wrote, gets the empty hash that nobody can log in with: hashing it here would differ from
 * member to member.
 */
function decodeHash(hashedPassword: string): Uint8Array | null {
  const text = hashedPassword.replace(/[\r\n]/g, "");
  const isBase64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text);
  return isBase64 ? Buffer.from(text, "base64") : null;
}
