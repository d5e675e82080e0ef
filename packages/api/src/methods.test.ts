import assert from "node:assert/strict";
import { test } from "node:test";
import { messageTypes } from "./messages/index.ts";
import { methods, methodsByPath } from "./methods.ts";
import { registry } from "./testing/reference.ts";

test("the table has the services of proto/: every method, its kind and its messages", () => {
  const inProto: string[] = [];
  for (const type of registry) {
    if (type.kind !== "service") continue;
    for (const method of type.methods) {
      const kind = { unary: "unary", server_streaming: "serverStream", bidi_streaming: "bidi", client_streaming: "" };
      const messages = `${method.input.typeName} ${method.output.typeName}`;
      inProto.push(`/${type.typeName}/${method.name} ${kind[method.methodKind]} ${messages}`);
    }
  }
  const ours = methods.map((row) => `${row.path} ${row.kind} ${row.request} ${row.response}`);
  assert.deepEqual(ours.sort(), inProto.sort());
  assert.equal(ours.length, 52);
});

test("every method's messages have tables", () => {
  for (const row of methods) {
    assert.ok(messageTypes.has(row.request), row.request);
    assert.ok(messageTypes.has(row.response), row.response);
  }
});

test("gateway paths are unique, and all but RangeStream and the health service have one", () => {
  const paths = methods.flatMap((row) => row.http);
  assert.equal(new Set(paths).size, paths.length);
  assert.ok(paths.every((path) => /^\/v3\/[a-z/-]+$/.test(path)));
  const without = methods.filter((row) => row.http.length === 0).map((row) => row.path);
  assert.deepEqual(without, [
    "/etcdserverpb.KV/RangeStream",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
  ]);
});

test("a learner serves Status and Snapshot, and Range where it is serializable", () => {
  const served = methods.filter((row) => row.learner !== "refused").map((row) => `${row.path} ${row.learner}`);
  assert.deepEqual(served, [
    "/etcdserverpb.KV/Range serializable",
    "/etcdserverpb.Maintenance/Status served",
    "/etcdserverpb.Maintenance/Snapshot served",
  ]);
});

test("what writes keys or leases is checked against the quota first", () => {
  const checked = methods.filter((row) => row.isQuotaChecked).map((row) => row.path);
  assert.deepEqual(checked, ["/etcdserverpb.KV/Put", "/etcdserverpb.KV/Txn", "/etcdserverpb.Lease/LeaseGrant"]);
});

test("nothing but health, logging in and the state of auth is open to everyone once auth is on", () => {
  const open = methods.filter((row) => row.permission === "none").map((row) => row.path);
  assert.deepEqual(open, [
    "/etcdserverpb.Auth/Authenticate",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
  ]);
  const onlyValid = methods.filter((row) => row.permission === "validIfAny").map((row) => row.path);
  assert.deepEqual(onlyValid, ["/etcdserverpb.Auth/AuthStatus"]);
  const byParts = methods.filter((row) => row.permission === "byParts").map((row) => row.path);
  assert.ok(byParts.every((path) => /^\/v3(lock|election)pb\./.test(path)));
  assert.equal(methodsByPath.get("/etcdserverpb.KV/Compact")?.permission, "root");
});
