import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "@quorate/world";
import { idOf, incompatibilityOf, requestHeaders, servesStreams } from "./compatibility.ts";

const local = {
  memberId: 0xabn,
  clusterId: 0x5n,
  serverVersion: "3.7.1",
  minClusterVersion: "3.0.0",
  peerUrls: ["http://a:1", "http://b:2"],
};

test("the headers are etcd's, ids in hex", () => {
  assert.deepEqual(requestHeaders(local), {
    "X-Server-From": "ab",
    "X-Server-Version": "3.7.1",
    "X-Min-Cluster-Version": "3.0.0",
    "X-Etcd-Cluster-ID": "5",
    "X-PeerURLs": "http://a:1,http://b:2",
  });
});

for (const [server, min, cluster, expected] of [
  ["3.7.1", "3.0.0", "5", null],
  ["3.0.0", undefined, "5", null],
  ["3.9.0", "3.7.9", "5", null],
  ["4.0.0-rc.1", "3.0.0", "5", null],
  ["3.7.1", "3.8.0", "5", "incompatible version"],
  ["2.9.9", "2.0.0", "5", "incompatible version"],
  [undefined, undefined, "5", "incompatible version"],
  ["three", "3.0.0", "5", "incompatible version"],
  ["3.7", "3.0.0", "5", "incompatible version"],
  ["3.7.1", "?", "5", "incompatible version"],
  ["2.0.0", "3.0.0", "6", "incompatible version"],
  ["3.7.1", "3.0.0", "6", "cluster ID mismatch"],
  ["3.7.1", "3.0.0", "05", "cluster ID mismatch"],
  ["3.7.1", "3.0.0", undefined, "cluster ID mismatch"],
] as const) {
  test(`server ${server}, minimum ${min}, cluster ${cluster}: ${expected ?? "they may talk"}`, () => {
    const headers = { "x-server-version": server, "x-min-cluster-version": min, "x-etcd-cluster-id": cluster };
    assert.equal(incompatibilityOf(local, headers, silentLog), expected);
  });
}

test("only the first etcd had no streams", () => {
  assert.equal(servesStreams({}), false);
  assert.equal(servesStreams({ "x-server-version": "2.1.0" }), true);
  assert.equal(servesStreams({ "x-server-version": "nonsense" }), false);
});

test("an id is read as Go reads it", () => {
  assert.equal(idOf("ffffffffffffffff"), 2n ** 64n - 1n);
  assert.equal(idOf("00000000000000000AB"), 0xabn);
  for (const text of ["", "10000000000000000", "zz", "0x1", "-1", " 1"]) assert.equal(idOf(text), null);
});
