import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ApiError, type ErrorKind, errorKindOf, errors, StatusCode, watchCancelReasons } from "./errors.ts";

const doc = readFileSync(new URL("../ERRORS.md", import.meta.url), "utf8");
const codeNames = Object.fromEntries(Object.entries(StatusCode).map(([name, code]) => [code, name]));

test("ERRORS.md has every kind with its code and exact text, in order", () => {
  const documented = [...doc.matchAll(/^\| (\w+) +\| (\w+ \d+) +\| `(.+)` +\| .+ \|$/gm)].map((row) => row.slice(1, 4));
  const ours = Object.entries(errors).map(([kind, row]) => [kind, `${codeNames[row.code]} ${row.code}`, row.message]);
  assert.deepEqual(documented, ours);
  assert.equal(ours.length, 80);
});

test("texts are unique, so that a client can tell every kind from its text", () => {
  for (const [kind, row] of Object.entries(errors)) assert.equal(errorKindOf(row.message), kind);
  assert.equal(errorKindOf("etcdserver: something else"), undefined);
});

// The texts as etcd 3.7 sends them, by code; this list is the reference, not made from the table.
const onTheWire: Readonly<Record<number, readonly string[]>> = {
  1: ["etcdserver: watch canceled", "etcdserver: request canceled", "context canceled"],
  2: [
    "etcdserver: too many requests",
    "etcdserver: re-configuration failed due to not enough started members",
    "not a primary lessor",
    "etcdserver: unknown method",
    "etcdserver: request timed out, leader transfer took too long",
    "auth: authentication failed, password was given for no password user",
    "auth: token signing attempted with verify-only key",
    "bcrypt: password length exceeds 72 bytes",
    "raft proposal dropped",
    "raft: stopped",
    '"leader" field must be provided',
    "election: no leader",
    "election: not leader",
    "mutex: session is expired",
  ],
  3: [
    "etcdserver: key is not provided",
    "etcdserver: key not found",
    "etcdserver: value is provided",
    "etcdserver: lease is provided",
    "etcdserver: too many operations in txn request",
    "etcdserver: duplicate key given in txn request",
    "etcdserver: invalid client api version",
    "etcdserver: invalid sort option",
    "etcdserver: given member URLs are invalid",
    "etcdserver: request is too large",
    "etcdserver: user name is empty",
    "etcdserver: role name is empty",
    "etcdserver: authentication failed, invalid user ID or password",
    "etcdserver: permission not given",
    "etcdserver: invalid auth management",
    "etcdserver: revision of auth store is old",
    "etcdserver: wrong downgrade target version format",
    "etcdserver: invalid downgrade target version",
  ],
  4: ["context deadline exceeded"],
  5: ["etcdserver: requested lease not found", "etcdserver: member not found", "unknown service"],
  7: ["etcdserver: permission denied"],
  8: ["etcdserver: mvcc: database space exceeded"],
  9: [
    "etcdserver: lease already exists",
    "etcdserver: member ID already exist",
    "etcdserver: Peer URLs already exists",
    "etcdserver: can only promote a learner member",
    "etcdserver: can only promote a learner member which is in sync with leader",
    "etcdserver: too many learner members in cluster",
    "etcdserver: cluster ID mismatch",
    "etcdserver: root user does not exist",
    "etcdserver: root user does not have root role",
    "etcdserver: user name already exists",
    "etcdserver: user name not found",
    "etcdserver: role name already exists",
    "etcdserver: role name not found",
    "etcdserver: role is not granted to the user",
    "etcdserver: permission is not granted to the role",
    "etcdserver: authentication is not enabled",
    "etcdserver: not leader",
    "etcdserver: not capable",
    "etcdserver: rpc not supported for learner",
    "etcdserver: bad leader transferee",
    "etcdserver: cluster version not found during downgrade",
    "etcdserver: cluster has a downgrade job in progress",
    "etcdserver: no inflight downgrade job",
  ],
  11: [
    "etcdserver: mvcc: required revision has been compacted",
    "etcdserver: mvcc: required revision is a future revision",
    "etcdserver: too large lease TTL",
  ],
  12: ["RangeStream does not support custom sort orders", "RangeStream does not support revision filters"],
  13: ["grpc: error unmarshalling request: proto: cannot parse invalid wire-format data"],
  14: [
    "etcdserver: no leader",
    "etcdserver: leader changed",
    "etcdserver: server stopped",
    "etcdserver: request timed out",
    "etcdserver: request timed out, possibly due to previous leader failure",
    "etcdserver: request timed out, possibly due to connection lost",
    "etcdserver: request timed out, waiting for the applied index took too long",
    "etcdserver: unhealthy cluster",
  ],
  15: ["etcdserver: corrupt cluster"],
  16: ["etcdserver: invalid auth token"],
};

test("codes and texts are those of etcd, and none is missing or made up", () => {
  const expected = Object.entries(onTheWire).flatMap(([code, texts]) => texts.map((text) => `${code} ${text}`));
  const ours = Object.values(errors).map((row) => `${row.code} ${row.message}`);
  assert.deepEqual(ours.sort(), expected.sort());
});

test("a watcher is refused with the words of etcd", () => {
  assert.deepEqual(watchCancelReasons, {
    Compacted: "etcdserver: mvcc: required revision has been compacted",
    PermissionDenied: "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
    InvalidAuthToken: "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
    AuthOldRevision: "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old",
    UserEmpty: "rpc error: code = InvalidArgument desc = etcdserver: user name is empty",
    EmptyWatcherRange: "mvcc: watcher range is empty",
    DuplicateWatchId: "mvcc: duplicate watch ID provided on the WatchStream",
  });
});

test("an ApiError is its row, with a cause that stays on this side", () => {
  const kind: ErrorKind = "NoSpace";
  const cause = new Error("disk full");
  const error = new ApiError(kind, { cause });
  assert.equal(error.kind, kind);
  assert.equal(error.code, StatusCode.ResourceExhausted);
  assert.equal(error.message, "etcdserver: mvcc: database space exceeded");
  assert.equal(error.cause, cause);
});
