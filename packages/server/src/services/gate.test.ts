/** Who gets past the gate, for every method that a member answers; and how it finds out who it is that asks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AlarmAction, AlarmType, errors, methodsByPath, PermissionType } from "@quorate/api";
import * as messages from "@quorate/api/messages";
import { Access } from "@quorate/auth";
import fc from "fast-check";
import { Counter } from "../metrics/exposition.ts";
import type { FakeCall } from "../testing/fake-call.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";
import { callWith, Users } from "../testing/users.ts";
import { allMethods } from "./all.ts";
import { Gate } from "./gate.ts";
import { NO_LEADER_LINK } from "./leader-link.ts";

const key = (text: string): Buffer => Buffer.from(text);
const empty = errors.UserEmpty.message;
const denied = errors.PermissionDenied.message;
const invalid = errors.InvalidAuthToken.message;
const passes = "";

/** Of nobody, one with a token that is none, a user without roles, a user who may read and write [a, c), and root. */
type Expected = readonly [string, string, string, string, string];
const EVERYBODY: Expected = [passes, passes, passes, passes, passes];
const NO_STRANGER: Expected = [passes, invalid, passes, passes, passes];
const ANY_USER: Expected = [empty, invalid, passes, passes, passes];
const WHO_MAY_KEYS: Expected = [empty, invalid, denied, passes, passes];
const ROOT_ONLY: Expected = [empty, invalid, denied, denied, passes];

const put = { requestPut: { key: key("b") } };
const putOther = { requestPut: { key: key("x") } };
const deepPutOther = { requestTxn: { failure: [putOther] } };

/** Method, request as JSON, and who passes. Lease 1 holds "b", lease 2 holds "x". */
const CASES: readonly [string, string, object, Expected][] = [
  ["KV/Range", "RangeRequest", { key: key("b") }, WHO_MAY_KEYS],
  ["KV/Range", "RangeRequest", { key: key("b"), serializable: true }, WHO_MAY_KEYS],
  ["KV/Range", "RangeRequest", { key: key("a"), rangeEnd: key("c") }, WHO_MAY_KEYS],
  ["KV/Range", "RangeRequest", { key: key("a"), rangeEnd: key("d") }, ROOT_ONLY],
  ["KV/Range", "RangeRequest", { key: key("a"), rangeEnd: Buffer.from([0]) }, ROOT_ONLY],
  ["KV/RangeStream", "RangeRequest", { key: key("a"), rangeEnd: key("c") }, WHO_MAY_KEYS],
  ["KV/RangeStream", "RangeRequest", { key: key("a"), rangeEnd: key("d") }, ROOT_ONLY],
  ["KV/Put", "PutRequest", { key: key("b") }, WHO_MAY_KEYS],
  ["KV/Put", "PutRequest", { key: key("b"), prevKv: true }, WHO_MAY_KEYS],
  ["KV/Put", "PutRequest", { key: key("b"), lease: 1n }, WHO_MAY_KEYS],
  ["KV/Put", "PutRequest", { key: key("b"), lease: 2n }, ROOT_ONLY],
  ["KV/Put", "PutRequest", { key: key("c") }, ROOT_ONLY],
  ["KV/DeleteRange", "DeleteRangeRequest", { key: key("b") }, WHO_MAY_KEYS],
  ["KV/DeleteRange", "DeleteRangeRequest", { key: key("a"), rangeEnd: key("c"), prevKv: true }, WHO_MAY_KEYS],
  ["KV/DeleteRange", "DeleteRangeRequest", { key: key("a"), rangeEnd: key("d") }, ROOT_ONLY],
  ["KV/Txn", "TxnRequest", { compare: [{ key: key("b") }], success: [put] }, WHO_MAY_KEYS],
  ["KV/Txn", "TxnRequest", { compare: [{ key: key("x") }], success: [put] }, ROOT_ONLY],
  ["KV/Txn", "TxnRequest", { compare: [{ key: key("a"), rangeEnd: key("d") }], success: [put] }, ROOT_ONLY],
  ["KV/Txn", "TxnRequest", { success: [put], failure: [putOther] }, ROOT_ONLY],
  ["KV/Txn", "TxnRequest", { success: [put, deepPutOther] }, ROOT_ONLY],
  ["KV/Txn", "TxnRequest", { success: [{ requestDeleteRange: { key: key("x") } }] }, ROOT_ONLY],
  ["KV/Txn", "TxnRequest", { success: [{ requestPut: { key: key("b"), lease: 2n } }] }, ROOT_ONLY],
  // Touches no key.
  ["KV/Txn", "TxnRequest", {}, NO_STRANGER],
  // Only reads: answered without an entry.
  ["KV/Txn", "TxnRequest", { success: [{ requestRange: { key: key("b") } }] }, WHO_MAY_KEYS],
  ["KV/Txn", "TxnRequest", { failure: [{ requestRange: { key: key("x") } }] }, ROOT_ONLY],
  ["KV/Txn", "TxnRequest", { compare: [{ key: key("x") }] }, ROOT_ONLY],
  ["KV/Compact", "CompactionRequest", { revision: 2 }, ROOT_ONLY],
  ["Watch/Watch", "WatchRequest", { createRequest: { key: key("b") } }, WHO_MAY_KEYS],
  ["Watch/Watch", "WatchRequest", { createRequest: { key: key("b"), rangeEnd: Buffer.from([0]) } }, ROOT_ONLY],
  ["Watch/Watch", "WatchRequest", { createRequest: { rangeEnd: Buffer.from([0]) } }, ROOT_ONLY],
  ["Lease/LeaseGrant", "LeaseGrantRequest", { TTL: 60 }, ANY_USER],
  ["Lease/LeaseRevoke", "LeaseRevokeRequest", { ID: 1n }, WHO_MAY_KEYS],
  ["Lease/LeaseRevoke", "LeaseRevokeRequest", { ID: 2n }, ROOT_ONLY],
  ["Lease/LeaseKeepAlive", "LeaseKeepAliveRequest", { ID: 1n }, WHO_MAY_KEYS],
  ["Lease/LeaseKeepAlive", "LeaseKeepAliveRequest", { ID: 2n }, ROOT_ONLY],
  ["Lease/LeaseTimeToLive", "LeaseTimeToLiveRequest", { ID: 2n }, ANY_USER],
  ["Lease/LeaseTimeToLive", "LeaseTimeToLiveRequest", { ID: 1n, keys: true }, WHO_MAY_KEYS],
  ["Lease/LeaseTimeToLive", "LeaseTimeToLiveRequest", { ID: 2n, keys: true }, ROOT_ONLY],
  ["Lease/LeaseLeases", "LeaseLeasesRequest", {}, ROOT_ONLY],
  ["Cluster/MemberList", "MemberListRequest", { linearizable: true }, ANY_USER],
  ["Cluster/MemberAdd", "MemberAddRequest", { peerURLs: ["http://h:1"] }, ROOT_ONLY],
  ["Cluster/MemberRemove", "MemberRemoveRequest", { ID: 1n }, ROOT_ONLY],
  ["Cluster/MemberUpdate", "MemberUpdateRequest", { ID: 1n, peerURLs: ["http://h:1"] }, ROOT_ONLY],
  ["Cluster/MemberPromote", "MemberPromoteRequest", { ID: 1n }, ROOT_ONLY],
  ["Maintenance/Alarm", "AlarmRequest", { action: AlarmAction.GET }, ANY_USER],
  ["Maintenance/Alarm", "AlarmRequest", { action: AlarmAction.ACTIVATE, alarm: AlarmType.NOSPACE }, ROOT_ONLY],
  ["Maintenance/Alarm", "AlarmRequest", { action: AlarmAction.DEACTIVATE, alarm: AlarmType.NOSPACE }, ROOT_ONLY],
  ["Maintenance/Alarm", "AlarmRequest", { action: 7 }, ROOT_ONLY],
  ["Maintenance/Status", "StatusRequest", {}, ANY_USER],
  ["Maintenance/Defragment", "DefragmentRequest", {}, ROOT_ONLY],
  ["Maintenance/Hash", "HashRequest", {}, ROOT_ONLY],
  ["Maintenance/HashKV", "HashKVRequest", {}, ROOT_ONLY],
  ["Maintenance/Snapshot", "SnapshotRequest", {}, ROOT_ONLY],
  ["Maintenance/MoveLeader", "MoveLeaderRequest", { targetID: 1n }, ROOT_ONLY],
  ["Maintenance/Downgrade", "DowngradeRequest", {}, ROOT_ONLY],
  ["Auth/AuthStatus", "AuthStatusRequest", {}, NO_STRANGER],
  ["Auth/Authenticate", "AuthenticateRequest", { name: "u", password: "u" }, EVERYBODY],
  ["Auth/AuthEnable", "AuthEnableRequest", {}, ROOT_ONLY],
  ["Auth/AuthDisable", "AuthDisableRequest", {}, ROOT_ONLY],
  ["Auth/UserAdd", "AuthUserAddRequest", { name: "v" }, ROOT_ONLY],
  ["Auth/UserGet", "AuthUserGetRequest", { name: "u" }, [empty, invalid, denied, passes, passes]],
  ["Auth/UserGet", "AuthUserGetRequest", { name: "root" }, ROOT_ONLY],
  ["Auth/UserList", "AuthUserListRequest", {}, ROOT_ONLY],
  ["Auth/UserDelete", "AuthUserDeleteRequest", { name: "none" }, ROOT_ONLY],
  ["Auth/UserChangePassword", "AuthUserChangePasswordRequest", { name: "u", password: "v" }, ROOT_ONLY],
  ["Auth/UserGrantRole", "AuthUserGrantRoleRequest", { user: "u", role: "root" }, ROOT_ONLY],
  ["Auth/UserRevokeRole", "AuthUserRevokeRoleRequest", { name: "u", role: "r" }, ROOT_ONLY],
  ["Auth/RoleAdd", "AuthRoleAddRequest", { name: "s" }, ROOT_ONLY],
  ["Auth/RoleGet", "AuthRoleGetRequest", { role: "r" }, [empty, invalid, denied, passes, passes]],
  ["Auth/RoleList", "AuthRoleListRequest", {}, ROOT_ONLY],
  ["Auth/RoleDelete", "AuthRoleDeleteRequest", { role: "r" }, ROOT_ONLY],
  ["Auth/RoleGrantPermission", "AuthRoleGrantPermissionRequest", { name: "r", perm: { key: key("x") } }, ROOT_ONLY],
  ["Auth/RoleRevokePermission", "AuthRoleRevokePermissionRequest", { role: "r", key: key("a") }, ROOT_ONLY],
];

interface Bench {
  readonly simulated: SimulatedMember;
  readonly users: Users;
  /** By user. */
  readonly tokens: Readonly<Record<"none" | "u" | "root", string>>;
}

async function guarded(): Promise<Bench> {
  const simulated = await SimulatedMember.serving();
  const send = (method: string, type: messages.MessageType<object>, request: object): void => {
    const call = simulated.send(`/etcdserverpb.${method}`, type, request as never);
    simulated.settle();
    assert.equal(call.status!.message, "");
  };
  for (const ID of [1n, 2n]) send("Lease/LeaseGrant", messages.LeaseGrantRequest as never, { ID, TTL: 60 });
  send("KV/Put", messages.PutRequest as never, { key: key("b"), lease: 1n });
  send("KV/Put", messages.PutRequest as never, { key: key("x"), lease: 2n });
  const users = new Users(simulated);
  users.addRole("r", [{ key: "a", rangeEnd: "c", permType: PermissionType.READWRITE }]);
  users.add("u");
  users.add("none");
  users.grant("u", "r");
  users.enable();
  const tokens = { none: users.logIn("none"), u: users.logIn("u"), root: users.token! };
  return { simulated, users, tokens };
}

/** What auth has against the call; "" if nothing, whatever else became of it. */
function objectionTo(
  simulated: SimulatedMember,
  path: string,
  typeName: string,
  request: object,
  call: FakeCall,
): string {
  const type = messages.messageTypes.get(`etcdserverpb.${typeName}`)! as messages.MessageType<object>;
  if (methodsByPath.get(path)!.kind === "bidi") {
    const stream = simulated.openStream(path, call);
    stream.send(type, request as never);
    simulated.settle();
    if (path.endsWith("/Watch")) {
      const [created] = stream.received(messages.WatchResponse);
      return (created?.cancelReason ?? "").replace(/^rpc error: code = \w+ desc = /, "");
    }
  } else {
    simulated.send(path, type, request as never, call);
    simulated.settle();
  }
  const { message } = call.status ?? { message: "" };
  return [empty, denied, invalid].includes(message) ? message : passes;
}

// covers: AU-11, SA-20, MV-01
test("every method lets those in whom the table names, and nobody else", async () => {
  const tried = new Set<string>();
  for (const [method, typeName, request, expected] of CASES) {
    const path = `/etcdserverpb.${method}`;
    tried.add(path);
    const { simulated, tokens } = await guarded();
    if (!isServed(simulated, path)) continue;
    const given = [null, "abcdefghijklmnop.1", tokens.none, tokens.u, tokens.root];
    const actual = given.map((token) => objectionTo(simulated, path, typeName, request, callWith(path, token)));
    assert.deepEqual(
      actual,
      expected,
      `${method} ${JSON.stringify(request, (_, v) => (typeof v === "bigint" ? `${v}` : v))}`,
    );
  }
  const { simulated } = await guarded();
  for (const [path] of methodsOf(simulated)) {
    const { permission } = methodsByPath.get(path)!;
    const isOpen = path.startsWith("/grpc.health.") && permission === "none";
    assert.ok(tried.has(path) || isOpen || permission === "byParts", `${path} has no case here`);
  }
});

// covers: SA-20
test("a caller without credentials makes no entry of the log, no read round, and learns nothing of the quota", async () => {
  const { simulated } = await guarded();
  const { commitIndex } = simulated.member;
  const large = { key: key("b"), value: Buffer.alloc(3 * 1024 * 1024) };
  for (const [method, typeName, request] of [
    ["KV/Put", "PutRequest", { key: key("b") }],
    ["KV/Put", "PutRequest", large],
    ["KV/DeleteRange", "DeleteRangeRequest", { key: key("b") }],
    ["KV/Txn", "TxnRequest", { success: [put] }],
    ["KV/Range", "RangeRequest", { key: key("b") }],
    ["KV/RangeStream", "RangeRequest", { key: key("a"), rangeEnd: key("c") }],
  ] as const) {
    const type = messages.messageTypes.get(`etcdserverpb.${typeName}`)! as messages.MessageType<object>;
    const call = simulated.send(`/etcdserverpb.${method}`, type, request as never);
    assert.equal(call.status?.message, empty, `${method}: at once`);
  }
  simulated.settle();
  assert.equal(simulated.member.commitIndex, commitIndex);
});

function methodsOf(simulated: SimulatedMember): ReturnType<typeof allMethods> {
  const options = { ...simulated.config, leaderLink: NO_LEADER_LINK, clientRequests: () => new Counter() };
  return allMethods(simulated.member, options);
}

function isServed(simulated: SimulatedMember, path: string): boolean {
  return methodsOf(simulated).some(([each]) => each === path);
}

test("a method that says nothing of its caller cannot be served", async () => {
  const simulated = await SimulatedMember.serving();
  const method = { kind: "unary", handle: () => {} } as const;
  assert.throws(() => new Gate(simulated.member).guard("/etcdserverpb.KV/Other", method), /what its caller needs/);
});

test("while auth is off nobody needs anything, and tokens are not looked at", async () => {
  for (const [method, typeName, request] of CASES) {
    const path = `/etcdserverpb.${method}`;
    const simulated = await SimulatedMember.serving();
    if (isServed(simulated, path)) {
      assert.equal(objectionTo(simulated, path, typeName, request, callWith(path, "bad")), passes, method);
    }
  }
});

// covers: SA-25, AU-05
test("a watch is allowed exactly where a range of the same key and end is", async () => {
  const { simulated, users, tokens } = await guarded();
  users.addRole("s", [
    { key: "k", permType: PermissionType.READ },
    { key: "m", rangeEnd: "p", permType: PermissionType.READ },
    { key: "x", rangeEnd: "\0", permType: PermissionType.READ },
  ]);
  users.grant("none", "s");
  const someKey = fc.constantFrom("k", "k\0", "l", "m", "o", "p", "x", "y", "\0").map(key);
  const someEnd = fc.oneof(someKey, fc.constant(key("")));
  const { auth } = simulated.member;
  const property = fc.property(someKey, someEnd, (from, rangeEnd) => {
    const path = "/etcdserverpb.Watch/Watch";
    const request = { createRequest: { key: from, rangeEnd } };
    const watched = objectionTo(simulated, path, "WatchRequest", request, callWith(path, tokens.none));
    const range = "/etcdserverpb.KV/Range";
    const read = objectionTo(simulated, range, "RangeRequest", { key: from, rangeEnd }, callWith(range, tokens.none));
    const bytes = Buffer.concat([from, rangeEnd]);
    const caller = { user: "none", revision: null };
    const said = auth.authorise(caller, Access.Read, bytes, 0, from.length, from.length, bytes.length);
    assert.equal(read, said === null ? passes : denied);
    // A watcher of no key at all is refused for that.
    assert.ok(watched === read || watched === "mvcc: watcher range is empty", `${watched} is not ${read}`);
  });
  fc.assert(property, { numRuns: 100 });
});
