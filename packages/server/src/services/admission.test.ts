/** What a learner serves, what a client may call itself, and what `hasleader` asks for. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import {
  HealthCheckRequest,
  LeaderRequest,
  LeaseGrantRequest,
  LeaseKeepAliveRequest,
  LockRequest,
  MemberAddRequest,
  MemberListRequest,
  PutRequest,
  RangeRequest,
  StatusRequest,
  StatusResponse,
  TxnRequest,
  WatchRequest,
} from "@quorate/api/messages";
import { FakeCall } from "../testing/fake-call.ts";
import { type ClusterMachine, peerUrlOf, SimulatedCluster } from "../testing/simulated-cluster.ts";
import { FakeStream } from "../testing/simulated-machine.ts";

const RANGE = "/etcdserverpb.KV/Range";
const PUT = "/etcdserverpb.KV/Put";
const WATCH = "/etcdserverpb.Watch/Watch";
const KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive";
const LEARNER = { code: 9, message: "etcdserver: rpc not supported for learner" };
const NO_LEADER = { code: 14, message: "etcdserver: no leader" };

const a = { key: Buffer.from("a") };

function asking(path: string): FakeCall {
  return new FakeCall(path, { hasleader: "true" });
}

async function withLearner(): Promise<{ cluster: SimulatedCluster; learner: ClusterMachine }> {
  const cluster = await SimulatedCluster.serving(1);
  cluster.leader.send("/etcdserverpb.Cluster/MemberAdd", MemberAddRequest, {
    peerURLs: [peerUrlOf("m2")],
    isLearner: true,
  });
  cluster.settle();
  const learner = await cluster.join("m2");
  cluster.advance(2000);
  return { cluster, learner };
}

test("a learner answers its status and local reads, and nothing else", async () => {
  const { cluster, learner } = await withLearner();
  const served = [
    learner.send(RANGE, RangeRequest, { ...a, serializable: true }),
    learner.send("/etcdserverpb.Maintenance/Status", StatusRequest, {}),
  ];
  const local = { requestRange: { ...a, serializable: true } };
  const refused = [
    learner.send(RANGE, RangeRequest, a),
    learner.send(PUT, PutRequest, a),
    learner.send("/etcdserverpb.KV/Txn", TxnRequest, { success: [local] }),
    learner.send("/etcdserverpb.KV/RangeStream", RangeRequest, { ...a, serializable: true }),
    learner.send("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, { TTL: 60 }),
    learner.send("/etcdserverpb.Cluster/MemberList", MemberListRequest, {}),
    learner.send("/grpc.health.v1.Health/Check", HealthCheckRequest, {}),
    learner.openStream(WATCH).call,
    learner.openStream(KEEP_ALIVE).call,
  ];
  cluster.settle();
  for (const call of served) assert.equal(call.status?.code, 0, call.path);
  for (const call of refused) assert.deepEqual(call.status, LEARNER, call.path);
  const { isLearner, leader, errors } = StatusResponse.decode(served[1]!.messages[0]!);
  assert.deepEqual([isLearner, leader, errors], [true, cluster.leader.id, []]);
});

test("what a learner cannot read of a range is refused as anywhere else", async () => {
  const { learner } = await withLearner();
  const call = learner.sendBytes(RANGE, Buffer.from([0xff]));
  assert.equal(call.status!.code, 13);
});

test("a stream that a learner refused hears nothing more, whatever is sent", async () => {
  const { learner } = await withLearner();
  const stream = learner.openStream(WATCH);
  stream.call.status = null;
  stream.send(WatchRequest, { createRequest: a });
  stream.halfClose();
  assert.deepEqual(stream.call.messages, []);
  assert.equal(learner.member.hub.streamCount, 0);
});

test("a promoted learner serves everything", async () => {
  const { cluster, learner } = await withLearner();
  const heard: string[] = [];
  cluster.leader.requests!.promote(learner.id, null, ({ kind }) => heard.push(kind));
  cluster.advance(500);
  assert.deepEqual(heard, ["promoted"]);
  const call = learner.send(PUT, PutRequest, a);
  cluster.settle();
  assert.equal(call.status!.code, 0);
});

test("without a leader, calls that ask for one are refused at once and others wait", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  assert.equal(follower.send(RANGE, RangeRequest, { ...a, serializable: true }, asking(RANGE)).status!.code, 0);
  cluster.cutOff(follower);
  cluster.advance(3000);
  const local = { ...a, serializable: true };
  assert.deepEqual(follower.send(RANGE, RangeRequest, local, asking(RANGE)).status, NO_LEADER);
  assert.deepEqual(follower.openStream(WATCH, asking(WATCH)).call.status, NO_LEADER);
  assert.deepEqual(follower.openStream(KEEP_ALIVE, asking(KEEP_ALIVE)).call.status, NO_LEADER);
  const falsely = new FakeCall(RANGE, { hasleader: "True" });
  assert.equal(follower.send(RANGE, RangeRequest, local, falsely).status!.code, 0, "the value is exactly true");
  assert.equal(follower.send(RANGE, RangeRequest, local).status!.code, 0);
  assert.equal(follower.openStream(WATCH).call.status, null);
});

test("a client whose version is no text is refused, unary and stream, on the leader and elsewhere", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const invalid = { code: 3, message: "etcdserver: invalid client api version" };
  const metadata = { "client-api-version": "3.\xff" };
  for (const machine of cluster.machines) {
    const read = machine.send(RANGE, RangeRequest, { ...a, serializable: true }, new FakeCall(RANGE, metadata));
    assert.deepEqual(read.status, invalid);
    assert.deepEqual(machine.openStream(WATCH, new FakeCall(WATCH, metadata)).call.status, invalid);
  }
});

// covers: WT-18
test("streams that ask for a leader end when there has been none for three election timeouts, others never", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  const watch = follower.openStream(WATCH, asking(WATCH));
  watch.send(WatchRequest, { createRequest: a });
  const keepAlive = follower.openStream(KEEP_ALIVE, asking(KEEP_ALIVE));
  const plain = follower.openStream(WATCH);
  plain.send(WatchRequest, { createRequest: a });
  cluster.cutOff(follower);
  keepAlive.send(LeaseKeepAliveRequest, { ID: 7n });
  while (follower.member.leader !== 0n) cluster.advance(10);
  cluster.advance(1990);
  assert.deepEqual([watch.call.status, keepAlive.call.status], [null, null]);
  cluster.advance(1010);
  assert.deepEqual([watch.call.status, keepAlive.call.status], [NO_LEADER, NO_LEADER]);
  assert.equal(plain.call.status, null);
  assert.equal(follower.member.hub.streamCount, 1, "the hub has let the ended one go");
  assert.equal(follower.member.hub.watcherCount, 1);
});

test("a stream outlives a shorter time without a leader, however often", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  const watch = follower.openStream(WATCH, asking(WATCH));
  for (let i = 0; i < 4; i++) {
    cluster.cutOff(follower);
    while (follower.member.leader !== 0n) cluster.advance(10);
    cluster.advance(1900);
    cluster.reconnect(follower);
    cluster.advance(4000);
    assert.notEqual(follower.member.leader, 0n);
  }
  assert.equal(watch.call.status, null);
});

test("the monitor of leaders rests when nobody asks for one", async () => {
  const cluster = await SimulatedCluster.serving(1);
  cluster.advance(1000);
  const before = cluster.world.timerCount;
  const call = asking(WATCH);
  const stream = cluster.leader.openStream(WATCH, call);
  assert.ok(stream instanceof FakeStream);
  assert.equal(cluster.world.timerCount, before + 1);
  call.cancel();
  cluster.advance(1000);
  assert.equal(cluster.world.timerCount, before);
});

test("locks and elections are refused by a learner and without a leader as every call is", async () => {
  const { learner } = await withLearner();
  const locking = learner.send("/v3lockpb.Lock/Lock", LockRequest, { name: a.key });
  const observing = learner.send("/v3electionpb.Election/Observe", LeaderRequest, { name: a.key });
  assert.deepEqual([locking.status, observing.status], [LEARNER, LEARNER]);
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  cluster.leader.send(PUT, PutRequest, { key: Buffer.from("l/9") });
  cluster.advance(200);
  const waiting = follower.send("/v3lockpb.Lock/Lock", LockRequest, { name: Buffer.from("l") }, asking("/lock"));
  cluster.advance(1000);
  cluster.cutOff(follower);
  cluster.advance(10_000);
  assert.equal(waiting.status, null, "it was let in while there was a leader");
  const late = follower.send("/v3lockpb.Lock/Lock", LockRequest, { name: a.key }, asking("/lock"));
  assert.deepEqual(late.status, NO_LEADER);
});

test("a version of the client's API that is no text is refused, whoever leads", async () => {
  const { cluster, learner } = await withLearner();
  const asking = (path: string, bytes: number[]): FakeCall =>
    new FakeCall(path, { "client-api-version": Buffer.from(bytes).toString("latin1") });
  const refused = { code: 3, message: "etcdserver: invalid client api version" };
  for (const machine of [cluster.leader, learner]) {
    const local = { ...a, serializable: true };
    assert.deepEqual(machine.send(RANGE, RangeRequest, local, asking(RANGE, [0x33, 0xff])).status, refused);
    assert.equal(machine.send(RANGE, RangeRequest, local, asking(RANGE, [0x33, 0xc3, 0xa9])).status!.code, 0);
  }
  assert.deepEqual(cluster.leader.openStream(WATCH, asking(WATCH, [0xc3])).call.status, refused);
  assert.deepEqual(learner.openStream(WATCH, asking(WATCH, [0xc3])).call.status, LEARNER);
});
