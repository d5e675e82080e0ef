/**
 * Two servers under the same requests of several users, some of whom may do what they ask for: an etcd, which is right, and
 * ours. Users, roles, permissions and passwords change all the time, auth is switched off and on, tokens are presented by
 * those whose user is gone; who is refused what, and with which words, must be the same.
 *
 * What is drawn depends on the seed alone. Tokens differ between the servers; a caller presents to each its own.
 */
import assert from "node:assert/strict";
import { errors, PermissionType, StatusCode } from "@quorate/api";
import {
  AlarmRequest,
  AlarmResponse,
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
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  HashKVRequest,
  HashKVResponse,
  type Init,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseLeasesRequest,
  LeaseLeasesResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
  MemberListRequest,
  MemberListResponse,
  MoveLeaderRequest,
  MoveLeaderResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  StatusRequest,
  StatusResponse,
  TxnRequest,
  TxnResponse,
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import type { Metadata } from "@quorate/rpc";
import { ServerProcess } from "../harness/processes.ts";
import { type Answer, comparable, comparableHeader, decodeAnswer } from "./answers.ts";
import { Connection } from "./connection.ts";
import { corrected, isBefore } from "./differences.ts";
import { type Operation, operation, showOperation } from "./operation.ts";
import { Seeded } from "./seeded.ts";
import { show } from "./show.ts";

const ROOT = "root";
const USERS = [ROOT, "ann", "bob", "cec", "dan"] as const;
const PASSWORDS = ["one", "two"] as const;
const ROLES = ["root", "r1", "r2", "r3"] as const;
const KEYS = ["a", "b", "c", "d", "e"].map((text) => Buffer.from(text));
const NO_END = Buffer.alloc(0);
const OPEN_END = Buffer.of(0);
const LEASES = [11n, 12n, 13n];
const TTL_SECONDS = 10_000;
/** A token nobody was given, and none at all. */
const STRANGERS = ["forged", null] as const;
const PATIENCE_MS = 10_000;
const REMEMBERED_STEPS = 25;
/** So long auth may stay off. */
const OFF_STEPS = 15;

type Pair<T> = readonly [T, T];

export class AuthDuel {
  readonly #seeded: Seeded;
  readonly #connections: Pair<Connection>;
  /** By user: the last token each server gave. */
  readonly #tokens = new Map<string, Pair<string>>();
  readonly #recent: string[] = [];
  #version = "";
  /**
   * Etcds before 3.7 looked at tokens where nobody asks for one, let everybody ask for what is an administrator's or shows
   * keys, and took permissions on ranges that are none. What changed since is left out.
   */
  #isOld = false;
  #step = 0;
  #stepsOff = 0;
  #isOn = false;

  private constructor(seed: number, connections: Pair<Connection>) {
    this.#seeded = new Seeded(seed);
    this.#connections = connections;
  }

  /** Throws an Error that says how to see it again at the first answer that differs. */
  static async fight(options: { readonly seed: number; readonly steps: number }): Promise<void> {
    const flags = ["--bcrypt-cost=4"];
    const started = await Promise.allSettled([ServerProcess.etcd({ flags }), ServerProcess.quorate({ flags })]);
    try {
      const [etcd, quorate] = started.map((each) => {
        if (each.status === "rejected") throw each.reason;
        return each.value;
      }) as unknown as Pair<ServerProcess>;
      const connections = [new Connection(etcd.endpoint), new Connection(quorate.endpoint)] as const;
      const duel = new AuthDuel(options.seed, connections);
      try {
        await duel.#fight(options.steps);
      } catch (error) {
        throw new Error(duel.#describe(options.seed, error), { cause: error });
      } finally {
        for (const connection of connections) connection.close();
      }
    } finally {
      for (const each of started) if (each.status === "fulfilled") await each.value.dispose();
    }
  }

  async #fight(steps: number): Promise<void> {
    const status = await this.#connections[0].unary("/etcdserverpb.Maintenance/Status", StatusRequest.encode({}));
    this.#version = StatusResponse.decode(status.messages[0]!).version;
    this.#isOld = isBefore(this.#version, "3.7");
    while (this.#step < steps) {
      this.#step++;
      if (!this.#isOn && ++this.#stepsOff > OFF_STEPS) await this.#switchOn();
      if (this.#isOn && !this.#tokens.has(ROOT)) await this.#logIn(ROOT, "one");
      await this.#draw();
    }
  }

  /** Whatever has become of root meanwhile. */
  async #switchOn(): Promise<void> {
    for (const each of [
      auth("UserDelete", AuthUserDeleteRequest, AuthUserDeleteResponse, { name: ROOT }),
      auth("UserAdd", AuthUserAddRequest, AuthUserAddResponse, { name: ROOT, password: "one" }),
      auth("UserGrantRole", AuthUserGrantRoleRequest, AuthUserGrantRoleResponse, { user: ROOT, role: "root" }),
      auth("AuthEnable", AuthEnableRequest, AuthEnableResponse, {}),
    ]) {
      await this.#ask(each, null);
    }
  }

  async #draw(): Promise<void> {
    const seeded = this.#seeded;
    const caller = seeded.chance(8) ? null : seeded.pick(USERS);
    const trusted = this.#isOld ? ROOT : caller;
    await seeded.weighted<() => Promise<unknown>>([
      [45, () => this.#ask(this.#keyOperation(), caller)],
      [30, () => this.#ask(this.#management(), seeded.chance(85) ? ROOT : caller)],
      [12, () => this.#logIn(seeded.pick([...USERS, "nobody"]), seeded.pick(PASSWORDS))],
      [10, () => this.#ask(this.#otherOperation(), trusted)],
      [5, () => this.#watch(caller)],
      [4, () => this.#keepAlive(trusted)],
      [1, () => this.#ask(auth("AuthDisable", AuthDisableRequest, AuthDisableResponse, {}), caller)],
    ])();
  }

  async #logIn(name: string, password: string): Promise<void> {
    const logIn = auth("Authenticate", AuthenticateRequest, AuthenticateResponse, { name, password });
    await this.#ask(logIn, null, ({ token, ...rest }: AuthenticateResponse) => ({ ...rest, hasToken: token !== "" }));
  }

  #management(): Operation {
    const seeded = this.#seeded;
    const name = seeded.pick([...USERS, "nobody"]);
    const role = seeded.pick([...ROLES, "nothing"]);
    const [key, rangeEnd] = this.#range();
    return seeded.weighted<() => Operation>([
      [
        20,
        () =>
          auth("UserAdd", AuthUserAddRequest, AuthUserAddResponse, {
            name: seeded.chance(5) ? "" : name,
            password: seeded.pick(PASSWORDS),
            options: seeded.chance(20) ? { noPassword: true } : undefined,
          }),
      ],
      [5, () => auth("UserDelete", AuthUserDeleteRequest, AuthUserDeleteResponse, { name })],
      [
        8,
        () => {
          // The duel must be able to log root in again.
          const password = name === ROOT ? "one" : seeded.pick(PASSWORDS);
          const request = { name, password };
          return auth("UserChangePassword", AuthUserChangePasswordRequest, AuthUserChangePasswordResponse, request);
        },
      ],
      [25, () => auth("UserGrantRole", AuthUserGrantRoleRequest, AuthUserGrantRoleResponse, { user: name, role })],
      [7, () => auth("UserRevokeRole", AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse, { name, role })],
      [6, () => auth("UserGet", AuthUserGetRequest, AuthUserGetResponse, { name })],
      [3, () => auth("UserList", AuthUserListRequest, AuthUserListResponse, {})],
      [8, () => auth("RoleAdd", AuthRoleAddRequest, AuthRoleAddResponse, { name: seeded.chance(5) ? "" : role })],
      [3, () => auth("RoleDelete", AuthRoleDeleteRequest, AuthRoleDeleteResponse, { role })],
      [
        30,
        () =>
          auth("RoleGrantPermission", AuthRoleGrantPermissionRequest, AuthRoleGrantPermissionResponse, {
            name: role,
            perm: seeded.chance(3) && !this.#isOld ? undefined : { permType: this.#permissionType(), key, rangeEnd },
          }),
      ],
      [
        8,
        () =>
          auth("RoleRevokePermission", AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, {
            role,
            key,
            rangeEnd,
          }),
      ],
      [6, () => auth("RoleGet", AuthRoleGetRequest, AuthRoleGetResponse, { role: this.#isOld ? "r1" : role })],
      [3, () => auth("RoleList", AuthRoleListRequest, AuthRoleListResponse, {})],
      [3, () => auth("AuthEnable", AuthEnableRequest, AuthEnableResponse, {})],
      ...(isBefore(this.#version, "3.5")
        ? []
        : ([[3, () => auth("AuthStatus", AuthStatusRequest, AuthStatusResponse, {})]] as const)),
    ])();
  }

  #keyOperation(): Operation {
    const seeded = this.#seeded;
    const [key, rangeEnd] = this.#range();
    return seeded.weighted<() => Operation>([
      [40, () => operation("/etcdserverpb.KV/Range", RangeRequest, RangeResponse, this.#rangeRequest(key, rangeEnd))],
      [30, () => operation("/etcdserverpb.KV/Put", PutRequest, PutResponse, this.#putRequest(key))],
      [
        15,
        () =>
          operation("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, DeleteRangeResponse, {
            key,
            rangeEnd,
            prevKv: seeded.chance(30),
          }),
      ],
      [30, () => operation("/etcdserverpb.KV/Txn", TxnRequest, TxnResponse, this.#txnRequest(0))],
    ])();
  }

  #rangeRequest(key: Buffer, rangeEnd: Buffer): object {
    return { key, rangeEnd, serializable: this.#seeded.chance(40), countOnly: this.#seeded.chance(20) };
  }

  #putRequest(key: Buffer): object {
    const seeded = this.#seeded;
    const lease = seeded.chance(30) && !this.#isOld ? seeded.pick(LEASES) : 0n;
    return { key, value: Buffer.from("v"), lease, prevKv: seeded.chance(30), ignoreValue: false };
  }

  #txnRequest(depth: number): object {
    const seeded = this.#seeded;
    const op = (): object => {
      const [key, rangeEnd] = this.#range();
      return seeded.weighted<() => object>([
        [30, () => ({ requestPut: this.#putRequest(key) })],
        [40, () => ({ requestRange: this.#rangeRequest(key, rangeEnd) })],
        [15, () => ({ requestDeleteRange: { key, rangeEnd } })],
        [depth === 0 && !this.#isOld ? 15 : 0, () => ({ requestTxn: this.#txnRequest(1) })],
      ])();
    };
    const compare = (): object => {
      const [key, rangeEnd] = this.#range();
      return { key, rangeEnd, target: 0, result: 1, version: 0 };
    };
    const some = (make: () => object): object[] => seeded.list(seeded.pick([0, 0, 1, 1, 2]), make);
    return { compare: some(compare), success: some(op), failure: some(op) };
  }

  #otherOperation(): Operation {
    const seeded = this.#seeded;
    const ID = seeded.pick(LEASES);
    const always: (() => Operation)[] = [
      () =>
        operation("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, LeaseGrantResponse, { ID, TTL: TTL_SECONDS }),
    ];
    const since37: (() => Operation)[] = [
      () => operation("/etcdserverpb.Maintenance/Status", StatusRequest, StatusResponse, {}),
      () => operation("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, LeaseRevokeResponse, { ID }),
      () =>
        operation("/etcdserverpb.Lease/LeaseTimeToLive", LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, {
          ID,
          keys: seeded.chance(60),
        }),
      () => operation("/etcdserverpb.Lease/LeaseLeases", LeaseLeasesRequest, LeaseLeasesResponse, {}),
      () => operation("/etcdserverpb.KV/Compact", CompactionRequest, CompactionResponse, { revision: 1 }),
      () => operation("/etcdserverpb.Cluster/MemberList", MemberListRequest, MemberListResponse, {}),
      () => operation("/etcdserverpb.Maintenance/Alarm", AlarmRequest, AlarmResponse, {}),
      () => operation("/etcdserverpb.Maintenance/Alarm", AlarmRequest, AlarmResponse, { action: 2, alarm: 1 }),
      () => operation("/etcdserverpb.Maintenance/HashKV", HashKVRequest, HashKVResponse, {}),
      () => operation("/etcdserverpb.Maintenance/MoveLeader", MoveLeaderRequest, MoveLeaderResponse, { targetID: 5n }),
    ];
    return seeded.pick(this.#isOld ? always : [...always, ...since37])();
  }

  /** The first answer to a watch: it begins, or is refused. */
  async #watch(caller: string | null): Promise<void> {
    const [key, drawnEnd] = this.#range();
    const rangeEnd = this.#isOld && drawnEnd.equals(OPEN_END) ? NO_END : drawnEnd;
    const request = { createRequest: { key, rangeEnd } };
    await this.#firstOfStream(
      "/etcdserverpb.Watch/Watch",
      WatchRequest.encode(request),
      caller,
      show(request),
      (bytes) => {
        const { header, ...rest } = WatchResponse.decode(bytes);
        return { ...rest, header: comparableHeader(header) };
      },
    );
  }

  async #keepAlive(caller: string | null): Promise<void> {
    const request = { ID: this.#seeded.pick(LEASES) };
    const bytes = LeaseKeepAliveRequest.encode(request);
    await this.#firstOfStream("/etcdserverpb.Lease/LeaseKeepAlive", bytes, caller, show(request), (answer) => {
      const { header, ...rest } = LeaseKeepAliveResponse.decode(answer);
      return { ...rest, header: comparableHeader(header) };
    });
  }

  async #firstOfStream(
    path: string,
    bytes: Uint8Array,
    caller: string | null,
    text: string,
    shown: (bytes: Uint8Array) => object,
  ): Promise<void> {
    const metadata = this.#metadataOf(caller);
    this.#remember(`${path} ${text}`, caller);
    const answers = await Promise.all(
      this.#connections.map(async (connection, side) => {
        const stream = connection.stream(path, undefined, metadata[side]!);
        stream.send(bytes);
        await stream.until(() => stream.messages.length > 0, PATIENCE_MS);
        const [first] = stream.messages;
        if (first === undefined) {
          const { code, message } = await stream.ended;
          return `status ${code} ${message}`;
        }
        stream.cancel();
        return show(shown(first));
      }),
    );
    assert.equal(answers[1], answers[0], `${path} ${text} by ${caller}`);
  }

  /** Sends it to both and compares. */
  async #ask<Response extends object>(
    op: Operation,
    caller: string | null,
    shown?: (response: Response) => object,
  ): Promise<void> {
    const metadata = this.#metadataOf(caller);
    this.#remember(showOperation(op), caller);
    const [theirs, ours] = (await Promise.all(
      this.#connections.map(async (connection, side) =>
        decodeAnswer(op, await connection.unary(op.path, op.bytes, metadata[side]!)),
      ),
    )) as unknown as Pair<Answer>;
    const visible = (answer: Answer): Answer =>
      shown === undefined || answer.response === null
        ? answer
        : { ...answer, response: shown(answer.response as Response) };
    const right = corrected(op, visible(theirs), this.#version);
    const [expected, actual] = [comparable(op, right, visible(ours)), comparable(op, visible(ours), right)];
    if (!isStrangerTurnedAway(op, theirs, ours)) assert.equal(actual, expected, `${showOperation(op)} by ${caller}`);
    if (theirs.code === StatusCode.Ok) this.#learn(op, [theirs.response!, ours.response!]);
  }

  #learn(op: Operation, responses: Pair<object>): void {
    switch (op.responseType as unknown) {
      case AuthenticateResponse: {
        const { name } = op.request as { name: string };
        this.#tokens.set(
          name,
          responses.map((each) => (each as AuthenticateResponse).token) as unknown as Pair<string>,
        );
        return;
      }
      case AuthUserChangePasswordResponse:
        // Its token is good for nothing now: mostly presented nevertheless.
        if ((op.request as { name: string }).name === ROOT) this.#tokens.delete(ROOT);
        return;
      case AuthEnableResponse:
        this.#isOn = true;
        this.#tokens.delete(ROOT);
        return;
      case AuthDisableResponse:
        this.#isOn = false;
        this.#stepsOff = 0;
        return;
      default:
    }
  }

  #metadataOf(caller: string | null): Pair<Metadata> {
    const tokens = caller === null ? this.#strangers() : this.#tokens.get(caller);
    if (tokens === undefined) return [[], []];
    if (!this.#isOn && this.#isOld) return [[], []];
    return [[["token", tokens[0]]], [["token", tokens[1]]]];
  }

  #strangers(): Pair<string> | undefined {
    if (this.#isOld) return undefined;
    const token = this.#seeded.pick(STRANGERS);
    return token === null ? undefined : [token, token];
  }

  #range(): Pair<Buffer> {
    const seeded = this.#seeded;
    const key = seeded.chance(2) && !this.#isOld ? NO_END : seeded.pick(KEYS);
    const rangeEnd = seeded.weighted<Buffer>([
      [50, NO_END],
      [35, seeded.pick(KEYS)],
      [10, Buffer.from("f")],
      [10, OPEN_END],
    ]);
    if (!this.#isOld) return [key, rangeEnd];
    const isRange = rangeEnd.equals(OPEN_END) || Buffer.compare(key, rangeEnd) < 0;
    return [key, isRange ? rangeEnd : NO_END];
  }

  #permissionType(): number {
    return this.#seeded.pick([PermissionType.READ, PermissionType.WRITE, PermissionType.READWRITE]);
  }

  #remember(text: string, caller: string | null): void {
    this.#recent.push(`${String(this.#step).padStart(6)}  ${caller ?? "a stranger"}: ${text}`);
    if (this.#recent.length > REMEMBERED_STEPS) this.#recent.shift();
  }

  #describe(seed: number, error: unknown): string {
    const problem = error instanceof Error ? error.message : String(error);
    return [
      `etcd ${this.#version} and Quorate differ at step ${this.#step} of seed ${seed}: ${problem}`,
      "",
      "the last steps were",
      ...this.#recent,
      "",
      `replay with DIFFERENTIAL_SEED=${seed} DIFFERENTIAL_OPS=${this.#step}`,
    ].join("\n");
  }
}

/** Etcd tells a stranger what is wrong with a request before that he is one, and lets him do nothing. */
function isStrangerTurnedAway(op: Operation, theirs: Answer, ours: Answer): boolean {
  const isToldMore = theirs.code === StatusCode.InvalidArgument;
  if (ours.message === errors.InvalidAuthToken.message) return isToldMore;
  if (ours.message !== errors.UserEmpty.message || !op.path.startsWith("/etcdserverpb.KV/")) return false;
  const doesNothing = (op.responseType as unknown) === TxnResponse && isOfNothing(op.request as Init<TxnRequest>);
  return isToldMore || doesNothing;
}

/** A transaction of nothing but such transactions. */
function isOfNothing({ compare = [], success = [], failure = [] }: Init<TxnRequest>): boolean {
  const ops = [...success, ...failure];
  return compare.length === 0 && ops.every(({ requestTxn }) => requestTxn !== undefined && isOfNothing(requestTxn));
}

const auth: typeof operation = (name, ...rest) => operation(`/etcdserverpb.Auth/${name}`, ...rest);
