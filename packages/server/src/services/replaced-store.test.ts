/** A snapshot from the leader replaces a follower's whole state while calls are under way. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import {
  CompactionRequest,
  HashKVRequest,
  HashRequest,
  PutRequest,
  PutResponse,
  RangeRequest,
  WatchRequest,
} from "@quorate/api/messages";
import { FakeCall } from "../testing/fake-call.ts";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";

const RANGE = "/etcdserverpb.KV/Range";
const STREAM = "/etcdserverpb.KV/RangeStream";
const LEADER_CHANGED = { code: 14, message: "etcdserver: leader changed" };
const all = { key: Buffer.from([0]), rangeEnd: Buffer.from([0]), serializable: true };

function put(cluster: SimulatedCluster, key: string, sizeBytes: number): void {
  const request = { key: Buffer.from(key), value: Buffer.alloc(sizeBytes, 1) };
  cluster.call(cluster.leader, "/etcdserverpb.KV/Put", PutRequest, request, PutResponse);
}

/** A follower with a megabyte of keys, about to be sent a snapshot when it is connected again. */
async function behind(
  before: (cluster: SimulatedCluster, follower: ClusterMachine) => void = () => {},
): Promise<{ cluster: SimulatedCluster; follower: ClusterMachine }> {
  const cluster = await SimulatedCluster.serving(3, { "snapshot-count": "10", "snapshot-catchup-entries": "1" });
  for (let i = 0; i < 40; i++) put(cluster, `k${i}`, 32 * 1024);
  cluster.advance(1000);
  const [follower] = cluster.followers as [ClusterMachine];
  before(cluster, follower);
  cluster.cutOff(follower);
  cluster.advance(3000);
  for (let i = 0; i < 3000; i++) {
    const request = { key: Buffer.from(`k${i % 40}`), value: Buffer.from("new") };
    cluster.leader.send("/etcdserverpb.KV/Put", PutRequest, request);
  }
  cluster.advance(1000);
  return { cluster, follower };
}

function install(cluster: SimulatedCluster, follower: ClusterMachine): void {
  const old = follower.member.store;
  const { storage } = follower;
  cluster.reconnect(follower);
  for (let i = 0; i < 100 && follower.member.store === old; i++) cluster.advance(100);
  assert.notEqual(follower.member.store, old, "a snapshot was installed");
  // Nothing is to be had of the old database any more.
  storage.crash();
}

function slowly(path: string): FakeCall {
  const call = new FakeCall(path);
  call.isReading = false;
  return call;
}

// covers: AP-02
test("a large answer under way is cut off, and the next is of the new state", async () => {
  const { cluster, follower } = await behind();
  const call = slowly(RANGE);
  follower.send(RANGE, RangeRequest, all, call);
  call.pull(3);
  install(cluster, follower);
  call.pull(1000);
  assert.deepEqual([call.isCutOff, call.messages.length], [true, 0]);
  const again = follower.send(RANGE, RangeRequest, all);
  assert.equal(again.status!.code, 0);
});

test("a large answer whose client has gone since lets go of nothing that is not there", async () => {
  const { cluster, follower } = await behind();
  const range = slowly(RANGE);
  follower.send(RANGE, RangeRequest, all, range);
  range.pull(1);
  const stream = slowly(STREAM);
  follower.send(STREAM, RangeRequest, all, stream);
  install(cluster, follower);
  range.cancel();
  stream.cancel();
  cluster.advance(1000);
  assert.equal(follower.failure, null);
});

test("a stream of a range ends with an error that clients retry", async () => {
  const { cluster, follower } = await behind();
  const call = slowly(STREAM);
  follower.send(STREAM, RangeRequest, all, call);
  const before = call.messages.length;
  assert.equal(call.status, null, "it waits for its client");
  install(cluster, follower);
  call.take();
  assert.deepEqual(call.status, LEADER_CHANGED);
  assert.equal(call.messages.length, before);
});

test("hashes end likewise, for clients and for other members", async () => {
  const { cluster, follower } = await behind();
  const { timers } = follower.member.options;
  const put_off: (() => void)[] = [];
  // Hashing goes on only when the test lets it.
  const held = { ...timers, after: timers.after.bind(timers), nextTurn: (run: () => void) => put_off.push(run) };
  Object.defineProperty(follower.member, "options", { value: { ...follower.member.options, timers: held } });
  const startHash = follower.member.store.startHash.bind(follower.member.store);
  follower.member.store.startHash = (revision) => {
    const task = startHash(revision);
    const step = task.step.bind(task);
    task.step = () => step(1);
    return task;
  };
  const hashKv = follower.send("/etcdserverpb.Maintenance/HashKV", HashKVRequest, {});
  const heard: string[] = [];
  follower.requests!.hashKv(0, (outcome) => heard.push(outcome.kind === "failed" ? outcome.message : outcome.kind));
  Object.defineProperty(follower.member, "options", { value: { ...follower.member.options, timers } });
  assert.equal(put_off.length, 2);
  install(cluster, follower);
  for (const run of put_off) run();
  assert.deepEqual(hashKv.status, LEADER_CHANGED);
  assert.deepEqual(heard, [LEADER_CHANGED.message]);
  const tables = follower.send("/etcdserverpb.Maintenance/Hash", HashRequest, {});
  cluster.advance(1000);
  assert.equal(tables.status!.code, 0);
});

test("a watch goes on with what is new", async () => {
  const { cluster, follower } = await behind();
  const stream = follower.openStream("/etcdserverpb.Watch/Watch");
  stream.send(WatchRequest, { createRequest: { key: Buffer.from("k0") } });
  install(cluster, follower);
  cluster.advance(1000);
  assert.equal(stream.call.status, null);
  assert.ok(stream.call.messages.length > 1);
});

test("a compaction whose end is waited for ends with its store", async () => {
  const range = slowly(RANGE);
  const compact = new FakeCall("/etcdserverpb.KV/Compact");
  const { cluster, follower } = await behind((cluster, follower) => {
    // A reader holds the compaction back.
    follower.send(RANGE, RangeRequest, all, range);
    range.pull(1);
    put(cluster, "k0", 10);
    follower.send(compact.path, CompactionRequest, { revision: 42, physical: true }, compact);
    cluster.advance(1000);
    assert.equal(compact.status, null);
  });
  install(cluster, follower);
  assert.deepEqual(compact.status, LEADER_CHANGED);
});

// covers: RA-20
test("a snapshot whose configuration contradicts itself is refused, and the next one is taken", async () => {
  const { cluster, follower } = await behind();
  const { owner } = follower;
  let refused = 0;
  follower.owner = {
    ...owner!,
    receiveSnapshot: (message, path, done) => {
      const { data, metadata } = message.snapshot!;
      const confState = refused > 0 ? metadata.confState : { ...metadata.confState, autoLeave: true };
      message.snapshot = { data, metadata: { ...metadata, confState } };
      owner!.receiveSnapshot(message, path, (error) => {
        if (error !== null) refused++;
        done(error);
      });
    },
  };
  install(cluster, follower);
  assert.equal(refused, 1);
});
