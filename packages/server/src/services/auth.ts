/**
 * etcdserverpb.Auth. Everything goes through the log, questions too, so that an answer is of the state after everything
 * asked before. What each operation is refused for is decided when it is applied (member/auth-applier.ts).
 *
 *   Authenticate   read round ─▶ password checked, off the loop ─▶ log ─▶ auth revision still the one it was checked at?
 *                                        ▲                                   │ yes: token      │ no
 *                                        └───────────────────────────────────┴─────────────────┘
 *
 * A plain password lives in its request and in the thread that hashes it, and nowhere else: the log gets hashes, and of a
 * log-in only the name (known failures AU-07, AU-08, SA-12).
 */
import { type ErrorKind, RaftOp } from "@quorate/api";
import {
  AuthDisableRequest,
  AuthDisableResponse,
  AuthEnableRequest,
  AuthEnableResponse,
  AuthenticateRequest,
  AuthenticateResponse,
  AuthRoleAddRequest,
  AuthRoleAddResponse,
  AuthRoleDeleteRequest,
  AuthRoleDeleteResponse,
  AuthRoleGetRequest,
  AuthRoleGetResponse,
  AuthRoleGrantPermissionRequest,
  AuthRoleGrantPermissionResponse,
  AuthRoleListRequest,
  AuthRoleListResponse,
  AuthRoleRevokePermissionRequest,
  AuthRoleRevokePermissionResponse,
  AuthStatusRequest,
  AuthStatusResponse,
  AuthUserAddRequest,
  AuthUserAddResponse,
  AuthUserChangePasswordRequest,
  AuthUserChangePasswordResponse,
  AuthUserDeleteRequest,
  AuthUserDeleteResponse,
  AuthUserGetRequest,
  AuthUserGetResponse,
  AuthUserGrantRoleRequest,
  AuthUserGrantRoleResponse,
  AuthUserListRequest,
  AuthUserListResponse,
  AuthUserRevokeRoleRequest,
  AuthUserRevokeRoleResponse,
  type Init,
  InternalAuthenticateRequest,
  type MessageType,
} from "@quorate/api/messages";
import { type Login, MAX_NAME_BYTES, type StoredPassword } from "@quorate/auth";
import type { Method, ServerCall } from "@quorate/rpc";
import { failWith } from "../answer.ts";
import { beginningOf, isEmptyForBcrypt, seenByBcrypt } from "../auth/seen-by-bcrypt.ts";
import type { Member } from "../member/member.ts";
import type { Outcome } from "../member/outcome.ts";
import { afterRead, answer, headerOf, proposeFor, unary } from "./simple.ts";

export function authMethods(member: Member): [string, Method][] {
  return [
    operation(member, "AuthEnable", RaftOp.AuthEnable, AuthEnableRequest, AuthEnableResponse),
    operation(member, "AuthDisable", RaftOp.AuthDisable, AuthDisableRequest, AuthDisableResponse),
    operation(member, "AuthStatus", RaftOp.AuthStatus, AuthStatusRequest, AuthStatusResponse, (outcome) => ({
      enabled: outcome.isAuthEnabled,
      authRevision: outcome.authRevision,
    })),
    unary(pathOf("Authenticate"), AuthenticateRequest, (call, request) => new LogIn(member, call, request).begin()),
    unary(pathOf("UserAdd"), AuthUserAddRequest, (call, request) => addUser(member, call, request)),
    unary(pathOf("UserChangePassword"), AuthUserChangePasswordRequest, (call, request) => {
      changePassword(member, call, request);
    }),
    operation(member, "UserDelete", RaftOp.AuthUserDelete, AuthUserDeleteRequest, AuthUserDeleteResponse),
    operation(member, "UserGet", RaftOp.AuthUserGet, AuthUserGetRequest, AuthUserGetResponse, ({ names }) => ({
      roles: names,
    })),
    operation(member, "UserList", RaftOp.AuthUserList, AuthUserListRequest, AuthUserListResponse, ({ names }) => ({
      users: names,
    })),
    operation(member, "UserGrantRole", RaftOp.AuthUserGrantRole, AuthUserGrantRoleRequest, AuthUserGrantRoleResponse),
    operation(
      member,
      "UserRevokeRole",
      RaftOp.AuthUserRevokeRole,
      AuthUserRevokeRoleRequest,
      AuthUserRevokeRoleResponse,
    ),
    unary(pathOf("RoleAdd"), AuthRoleAddRequest, (call, request) => {
      if (isNameTooLong(request.name)) failWith(call, "RequestTooLarge");
      else operate(member, call, RaftOp.AuthRoleAdd, AuthRoleAddRequest, request, AuthRoleAddResponse, NOTHING_MORE);
    }),
    operation(member, "RoleDelete", RaftOp.AuthRoleDelete, AuthRoleDeleteRequest, AuthRoleDeleteResponse),
    operation(member, "RoleGet", RaftOp.AuthRoleGet, AuthRoleGetRequest, AuthRoleGetResponse, ({ permissions }) => ({
      perm: permissions,
    })),
    operation(member, "RoleList", RaftOp.AuthRoleList, AuthRoleListRequest, AuthRoleListResponse, ({ names }) => ({
      roles: names,
    })),
    operation(
      member,
      "RoleGrantPermission",
      RaftOp.AuthRoleGrantPermission,
      AuthRoleGrantPermissionRequest,
      AuthRoleGrantPermissionResponse,
    ),
    operation(
      member,
      "RoleRevokePermission",
      RaftOp.AuthRoleRevokePermission,
      AuthRoleRevokePermissionRequest,
      AuthRoleRevokePermissionResponse,
    ),
  ];
}

type WithHeader = { readonly header: unknown };
/** What an answer says besides its header. */
type Told<Response> = (outcome: Outcome) => Omit<Init<Response>, "header">;

const NOTHING_MORE = (): object => ({});

function pathOf(method: string): string {
  return `/etcdserverpb.Auth/${method}`;
}

/** A method whose request goes into the log as it is. */
function operation<Request extends object, Response extends WithHeader>(
  member: Member,
  method: string,
  op: RaftOp,
  type: MessageType<Request>,
  answerType: MessageType<Response>,
  told: Told<Response> = NOTHING_MORE as Told<Response>,
): [string, Method] {
  return unary(pathOf(method), type, (call, request) => {
    operate(member, call, op, type, request as Init<Request>, answerType, told);
  });
}

function operate<Request extends object, Response extends WithHeader>(
  member: Member,
  call: ServerCall,
  op: RaftOp,
  type: MessageType<Request>,
  request: Init<Request>,
  answerType: MessageType<Response>,
  told: Told<Response>,
): void {
  proposeFor(member, call, op, type, request, (outcome) => {
    answer(call, answerType, { ...told(outcome), header: headerOf(member) } as unknown as Init<Response>);
  });
}

/** Without a password nothing of one is kept, whatever was sent. */
function addUser(member: Member, call: ServerCall, { name, password, options }: AuthUserAddRequest): void {
  if (isNameTooLong(name)) return failWith(call, "RequestTooLarge");
  const add = (hashedPassword: string): void => {
    const request = { name, options, hashedPassword };
    operate(member, call, RaftOp.AuthUserAdd, AuthUserAddRequest, request, AuthUserAddResponse, NOTHING_MORE);
  };
  // Without a hash nobody can log in, which an empty password must not mean for everybody (SA-08).
  if (options?.noPassword === true || password === "") add("");
  else hash(member, call, password, add);
}

/** Without a new password a hash that the client has made is taken; without that nobody can log in. */
function changePassword(
  member: Member,
  call: ServerCall,
  { name, password, hashedPassword }: AuthUserChangePasswordRequest,
): void {
  const change = (newHash: string): void => {
    operate(
      member,
      call,
      RaftOp.AuthUserChangePassword,
      AuthUserChangePasswordRequest,
      { name, hashedPassword: newHash },
      AuthUserChangePasswordResponse,
      NOTHING_MORE,
    );
  };
  if (password === "") change(hashedPassword);
  else hash(member, call, password, change);
}

/** The hash in the form the log has it: bcrypt's text, base64. */
function hash(member: Member, call: ServerCall, password: string, done: (hashedPassword: string) => void): void {
  member.options.passwords.hash(password, call, (result) => {
    if (!call.isOpen) return;
    if (typeof result === "string") failWith(call, result);
    else done(Buffer.from(result).toString("base64"));
    member.flush();
  });
}

/** It would fit no table, and etcd, which may be a member too, takes it. */
function isNameTooLong(name: string): boolean {
  return Buffer.byteLength(name) > MAX_NAME_BYTES;
}

/** Of a user's name in a log line. */
const LOGGED_NAME_MAX = 128;

/** One log-in. It may wait for long, so of a huge request it keeps no more than counts. */
class LogIn {
  readonly #member: Member;
  readonly #call: ServerCall;
  /** What is too long for a user's name still is. */
  readonly #user: string;
  readonly #password: string;

  constructor(member: Member, call: ServerCall, { name, password }: AuthenticateRequest) {
    this.#member = member;
    this.#call = call;
    this.#user = beginningOf(name, MAX_NAME_BYTES + 1);
    this.#password = seenByBcrypt(password);
  }

  begin(): void {
    afterRead(this.#member, this.#call, () => this.#checkPassword());
  }

  #checkPassword(): void {
    const [user, password, call] = [this.#user, this.#password, this.#call];
    const stored = this.#member.auth.passwordOf(user);
    if (typeof stored === "string") return this.#refuse(stored);
    // Whatever was stored: who was added without a password by mistake is not open to everybody (SA-08).
    if (isEmptyForBcrypt(password)) return this.#refuse("AuthFailed");
    this.#member.options.passwords.verify({ user, hash: stored.hash, password, call }, (outcome) => {
      if (!call.isOpen) return;
      if (outcome === "right") this.#propose(stored);
      else this.#refuse(outcome === "wrong" ? "AuthFailed" : outcome);
      this.#member.flush();
    });
  }

  #propose(checked: StoredPassword): void {
    const { tokens } = this.#member.options;
    const request = { name: this.#user, simpleToken: tokens.nonce() };
    proposeFor(this.#member, this.#call, RaftOp.Authenticate, InternalAuthenticateRequest, request, ({ login }) => {
      if (checked.revision === this.#member.auth.revision) this.#issue(login!);
      // Not from here: entries are being applied.
      else this.#member.options.timers.nextTurn(() => this.#checkAgain());
    });
  }

  #checkAgain(): void {
    this.#member.options.log.info("revision when password checked became stale; retrying");
    if (this.#call.isOpen) this.#checkPassword();
  }

  #issue(login: Login): void {
    const { tokens, refusalToIssue } = this.#member.options;
    tokens.issue(login, (token) => {
      if (token === null) failWith(this.#call, refusalToIssue);
      else answer(this.#call, AuthenticateResponse, { header: headerOf(this.#member), token });
      this.#member.flush();
    });
  }

  #refuse(error: ErrorKind): void {
    if (error !== "AuthNotEnabled") {
      const user = this.#user.slice(0, LOGGED_NAME_MAX);
      this.#member.options.log.warn("invalid authentication was requested", { user, error });
    }
    failWith(this.#call, error);
  }
}
