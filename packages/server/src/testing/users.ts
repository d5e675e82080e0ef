/** Users, roles and tokens on a simulated member, for tests of what they may do. */
import type { MessageType } from "@quorate/api/messages";
import {
  AuthEnableRequest,
  AuthEnableResponse,
  AuthenticateRequest,
  AuthenticateResponse,
  AuthRoleAddRequest,
  AuthRoleAddResponse,
  AuthRoleGrantPermissionRequest,
  AuthRoleGrantPermissionResponse,
  AuthUserAddRequest,
  AuthUserAddResponse,
  AuthUserGrantRoleRequest,
  AuthUserGrantRoleResponse,
  type Init,
} from "@quorate/api/messages";
import { FakeCall } from "./fake-call.ts";

/** What a member of a simulation offers: SimulatedMember itself, or one of a cluster with its others carried along. */
export interface Callable {
  send<Request extends object>(
    path: string,
    type: MessageType<Request>,
    request: Init<Request>,
    call?: FakeCall,
  ): FakeCall;
  settle(): void;
}

export interface Grant {
  readonly key: string;
  /** Default: the one key. */
  readonly rangeEnd?: string;
  /** A number of PermissionType. */
  readonly permType: number;
}

/** The Auth service of one member. Throws what a call fails with. */
export class Users {
  readonly #member: Callable;
  /** Of who does it. */
  token: string | null;

  constructor(member: Callable, token: string | null = null) {
    this.#member = member;
    this.token = token;
  }

  /** Root, and auth on; then root's token is in use. */
  enable(): void {
    this.add("root");
    this.grant("root", "root");
    this.call("AuthEnable", AuthEnableRequest, {}, AuthEnableResponse);
    this.token = this.logIn("root");
  }

  /** The password is the name. */
  add(name: string): void {
    this.call("UserAdd", AuthUserAddRequest, { name, password: name }, AuthUserAddResponse);
  }

  grant(user: string, role: string): void {
    this.call("UserGrantRole", AuthUserGrantRoleRequest, { user, role }, AuthUserGrantRoleResponse);
  }

  addRole(name: string, grants: readonly Grant[]): void {
    this.call("RoleAdd", AuthRoleAddRequest, { name }, AuthRoleAddResponse);
    for (const { key, rangeEnd = "", permType } of grants) {
      const perm = { key: Buffer.from(key), rangeEnd: Buffer.from(rangeEnd), permType };
      this.call("RoleGrantPermission", AuthRoleGrantPermissionRequest, { name, perm }, AuthRoleGrantPermissionResponse);
    }
  }

  /** The token. */
  logIn(name: string, password: string = name): string {
    return this.call("Authenticate", AuthenticateRequest, { name, password }, AuthenticateResponse).token;
  }

  call<Request extends object, Response extends object>(
    method: string,
    requestType: MessageType<Request>,
    request: Init<Request>,
    responseType: MessageType<Response>,
  ): Response {
    const path = `/etcdserverpb.Auth/${method}`;
    const call = this.#member.send(path, requestType, request, callWith(path, this.token));
    this.#member.settle();
    if (call.status === null) throw new Error(`${path} waits`);
    if (call.status.code !== 0) throw new Error(call.status.message);
    return responseType.decode(call.messages[0]!);
  }
}

/** A call that presents the token; null: none. */
export function callWith(path: string, token: string | null): FakeCall {
  return new FakeCall(path, token === null ? {} : { token });
}
