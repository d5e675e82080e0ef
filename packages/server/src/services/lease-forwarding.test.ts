/** Leases among several members: who answers, for whom, and how long others wait. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
  PutRequest,
  PutResponse,
} from "@quorate/api/messages";
import { Message, MessageType } from "@quorate/raft";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";
import type { FakeStream } from "../testing/simulated-machine.ts";

const GRANT = "/etcdserverpb.Lease/LeaseGrant";
const KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive";
const TIME_TO_LIVE = "/etcdserverpb.Lease/LeaseTimeToLive";

function grant(cluster: SimulatedCluster, machine: ClusterMachine, id: number, TTL: number): void {
  cluster.call(machine, GRANT, LeaseGrantRequest, { ID: BigInt(id), TTL }, LeaseGrantResponse);
}

function keepAlive(stream: FakeStream, ...ids: number[]): void {
  for (const id of ids) stream.send(LeaseKeepAliveRequest, { ID: BigInt(id) });
}

/** "7:60" for each answer. */
function answers(stream: FakeStream): string[] {
  return stream.received(LeaseKeepAliveResponse).map((each) => `${each.ID}:${each.TTL}`);
}

function timeToLive(cluster: SimulatedCluster, machine: ClusterMachine, id: number) {
  const request = { ID: BigInt(id), keys: true };
  return cluster.call(machine, TIME_TO_LIVE, LeaseTimeToLiveRequest, request, LeaseTimeToLiveResponse);
}

// covers: LE-04
test("a follower's keep-alives are the leader's to answer, in the order they came", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  grant(cluster, cluster.followers[1]!, 7, 60);
  const stream = follower.openStream(KEEP_ALIVE);
  cluster.advance(10_000);
  keepAlive(stream, 7, 99, 7);
  assert.deepEqual(answers(stream), []);
  cluster.settle();
  assert.deepEqual(answers(stream), ["7:60", "99:0", "7:60"]);
  assert.equal(cluster.leader.member.lessor.timeToLive(7n)!.remainingSeconds, 60);
  stream.halfClose();
  assert.equal(stream.call.status!.code, 0);
});

test("the time a lease has left is the same on every member, and -1 for one that is not there", async () => {
  const cluster = await SimulatedCluster.serving(3);
  grant(cluster, cluster.leader, 7, 60);
  cluster.call(cluster.leader, "/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("a"), lease: 7n }, PutResponse);
  cluster.advance(10_500);
  for (const machine of cluster.machines) {
    const { TTL, grantedTTL, keys, header } = timeToLive(cluster, machine, 7);
    assert.deepEqual([TTL, grantedTTL, keys.map(String)], [49, 60, ["a"]]);
    assert.equal(header!.memberId, machine.id);
    const unknown = timeToLive(cluster, machine, 99);
    assert.deepEqual([unknown.ID, unknown.TTL, unknown.grantedTTL], [99n, -1, 0]);
  }
});

test("a follower that is cut off says that there is no leader, when a request may take no longer", async () => {
  for (const leaderlessMs of [0, 3000]) {
    const cluster = await SimulatedCluster.serving(3);
    const [follower] = cluster.followers as [ClusterMachine];
    grant(cluster, cluster.leader, 7, 3600);
    cluster.cutOff(follower);
    cluster.advance(leaderlessMs);
    const stream = follower.openStream(KEEP_ALIVE);
    keepAlive(stream, 7);
    const call = follower.send(TIME_TO_LIVE, LeaseTimeToLiveRequest, { ID: 7n });
    cluster.advance(6999);
    assert.deepEqual([stream.call.status, call.status], [null, null]);
    cluster.advance(1);
    for (const { status } of [stream.call, call]) {
      assert.deepEqual(status, { code: 14, message: "etcdserver: no leader" });
    }
  }
});

test("a leader that cannot be reached is asked again until a request may take no longer", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  grant(cluster, cluster.leader, 7, 60);
  const leader = cluster.leader;
  let asked = 0;
  leader.requests = {
    ...leader.requests!,
    leaseKeepAlive: (_id, done) => {
      asked++;
      done({ kind: "timed out" });
    },
    leaseTimeToLive: (_id, _withKeys, done) => done({ kind: "failed", message: "not a primary lessor" }),
  };
  const stream = follower.openStream(KEEP_ALIVE);
  keepAlive(stream, 7, 7);
  const call = follower.send(TIME_TO_LIVE, LeaseTimeToLiveRequest, { ID: 7n });
  cluster.settle();
  cluster.advance(6950);
  assert.deepEqual([stream.call.status, call.status], [null, null]);
  assert.equal(asked, 140, "every 50 ms");
  cluster.advance(50);
  for (const { status } of [stream.call, call]) {
    assert.deepEqual(status, { code: 14, message: "etcdserver: request timed out" });
  }
  cluster.advance(1000);
  assert.equal(asked, 140);
});

test("a leader that is gone without a word is not waited for when there is another", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  const gone = cluster.leader;
  grant(cluster, gone, 7, 60);
  gone.requests = { ...gone.requests!, leaseKeepAlive: () => {}, leaseTimeToLive: () => {} };
  const stream = follower.openStream(KEEP_ALIVE);
  keepAlive(stream, 7);
  const call = follower.send(TIME_TO_LIVE, LeaseTimeToLiveRequest, { ID: 7n });
  cluster.settle();
  cluster.cutOff(gone);
  cluster.advance(4000);
  assert.deepEqual(answers(stream), ["7:60"]);
  assert.equal(call.status!.code, 0);
});

test("a client that goes away ends the asking", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  grant(cluster, cluster.leader, 7, 60);
  let asked = 0;
  cluster.leader.requests = {
    ...cluster.leader.requests!,
    leaseKeepAlive: (_id, done) => {
      asked++;
      done({ kind: "timed out" });
    },
  };
  const stream = follower.openStream(KEEP_ALIVE);
  keepAlive(stream, 7);
  cluster.advance(100);
  stream.call.cancel();
  const before = asked;
  cluster.advance(1000);
  assert.equal(asked, before);
});

// covers: LE-02
test("a leader whose clock stood still renews nothing before it knows that it still leads", async () => {
  for (const isReplaced of [false, true]) {
    const cluster = await SimulatedCluster.serving(3);
    const stale = cluster.leader;
    grant(cluster, stale, 7, 60);
    if (isReplaced) cluster.cutOff(stale);
    // The process was paused: no tick of its own, and nothing it did not have to find out.
    cluster.world.nowMs += 400;
    const stream = stale.openStream(KEEP_ALIVE);
    keepAlive(stream, 7);
    assert.deepEqual(answers(stream), []);
    if (isReplaced) {
      cluster.advance(7500);
      assert.deepEqual(answers(stream), []);
      assert.deepEqual(stream.call.status, { code: 2, message: "not a primary lessor" });
    } else {
      cluster.settle();
      assert.deepEqual(answers(stream), ["7:60"]);
    }
  }
});

// covers: LE-02
test("the first tick after a pause does not make a leader believe that it still leads", async () => {
  for (const isReplaced of [false, true]) {
    const cluster = await SimulatedCluster.serving(3);
    const stale = cluster.leader;
    grant(cluster, stale, 7, 60);
    if (isReplaced) cluster.cutOff(stale);
    cluster.world.nowMs += 400;
    while (cluster.world.fireNext(cluster.world.nowMs)) {
      // The clock of every member ticks before anything from another member is read.
    }
    const stream = stale.openStream(KEEP_ALIVE);
    keepAlive(stream, 7);
    assert.deepEqual(answers(stream), []);
    cluster.advance(isReplaced ? 300 : 0);
    assert.deepEqual(answers(stream), isReplaced ? [] : ["7:60"]);
    keepAlive(stream, 7);
    assert.deepEqual(answers(stream), isReplaced ? [] : ["7:60"], "once it is certain, nothing waits");
  }
});

// covers: LE-01
test("what a leader finds expired is not passed on to the next leader", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const old = cluster.leader;
  const [next] = cluster.followers as [ClusterMachine];
  grant(cluster, old, 7, 5);
  cluster.advance(4900);
  while (old.member.counters.leasesExpired === 0) assert.ok(cluster.world.fireNext(cluster.world.nowMs + 100));
  // In the same turn, before it has proposed anything, it hears of its successor.
  const heartbeat = new Message(MessageType.Heartbeat, old.id, next.id);
  heartbeat.term = (old.member.term + 1) as Message["term"];
  old.owner!.step(heartbeat);
  const passedOn: Message[] = [];
  const { owner } = next;
  next.owner = { ...owner!, step: (message) => message.type === MessageType.Prop && passedOn.push(message) };
  cluster.settle();
  assert.equal(old.member.leader, next.id);
  assert.deepEqual(passedOn, []);
});

test("a keep-alive that waited at the old leader is answered by the next", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const old = cluster.leader;
  grant(cluster, old, 7, 5);
  const stream = old.openStream(KEEP_ALIVE);
  cluster.advance(4900);
  cluster.cutOff(old);
  // Past its time, and the revoke finds no quorum.
  cluster.advance(200);
  keepAlive(stream, 7);
  cluster.advance(3000);
  assert.deepEqual(answers(stream), []);
  assert.equal(old.member.isLeader, false);
  assert.equal(stream.call.status, null);
  cluster.reconnect(old);
  cluster.advance(1000);
  const [answer] = answers(stream);
  assert.ok(answer === "7:5" || answer === "7:0", `the next leader decides: ${answer}`);
});

// covers: LE-05
test("a renewal makes good what a checkpoint would cut short, before it is answered", async () => {
  const cluster = await SimulatedCluster.serving(3, { "feature-gates": "LeaseCheckpoint=true" });
  grant(cluster, cluster.leader, 7, 3600);
  cluster.advance(301_000);
  const old = cluster.leader;
  const stream = old.openStream(KEEP_ALIVE);
  const indexBefore = old.member.appliedIndex;
  keepAlive(stream, 7, 7);
  assert.deepEqual(answers(stream), [], "the checkpoint is proposed");
  cluster.settle();
  assert.deepEqual(answers(stream), ["7:3600", "7:3600"]);
  assert.equal(old.member.appliedIndex, indexBefore + 1, "one checkpoint was enough");
  cluster.cutOff(old);
  cluster.advance(5000);
  const { TTL } = timeToLive(cluster, cluster.leader, 7);
  assert.ok(TTL > 3590, `${TTL} s are left after a change of leader`);
});

test("without a renewal a checkpoint holds across a change of leader", async () => {
  const cluster = await SimulatedCluster.serving(3, { "feature-gates": "LeaseCheckpoint=true" });
  grant(cluster, cluster.leader, 7, 3600);
  cluster.advance(301_000);
  cluster.cutOff(cluster.leader);
  cluster.advance(5000);
  const { TTL } = timeToLive(cluster, cluster.leader, 7);
  assert.ok(TTL < 3310 && TTL > 3280, `${TTL} s are left after a change of leader`);
});

test("a known lease is renewed at once while the leader's disk is behind the quorum; with the gate off it waits", async () => {
  for (const fast of [true, false]) {
    const cluster = await SimulatedCluster.serving(3, { "feature-gates": `FastLeaseKeepAlive=${fast}` });
    const { leader } = cluster;
    grant(cluster, leader, 7, 60);
    leader.send("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("a"), value: Buffer.from("1") });
    settleOthers(cluster, leader);
    assert.ok(leader.member.commitIndex > leader.member.appliedIndex, "committed by the others");
    const stream = leader.openStream(KEEP_ALIVE);
    keepAlive(stream, 7, 99, 7);
    assert.deepEqual(answers(stream), fast ? ["7:60"] : []);
    cluster.settle();
    assert.deepEqual(answers(stream), fast ? ["99:0", "7:60"] : ["7:60", "99:0", "7:60"]);
  }
});

test("a leader that cannot apply for a second says so rather than deny a lease", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const { leader } = cluster;
  leader.send("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("a"), value: Buffer.from("1") });
  settleOthers(cluster, leader);
  const stream = leader.openStream(KEEP_ALIVE);
  keepAlive(stream, 99);
  const call = leader.send(TIME_TO_LIVE, LeaseTimeToLiveRequest, { ID: 99n });
  const heard: string[] = [];
  leader.requests!.leaseKeepAlive(99n, ({ kind }) => heard.push(kind));
  leader.requests!.leaseTimeToLive(99n, false, ({ kind }) => heard.push(kind));
  const untilMs = cluster.world.nowMs + 1100;
  while (cluster.world.fireNext(untilMs)) settleOthers(cluster, leader);
  const message = "etcdserver: request timed out, waiting for the applied index took too long";
  assert.deepEqual([stream.call.status?.message, call.status?.message], [message, message]);
  assert.deepEqual(heard, ["timed out", "timed out"]);
});

/** Everything but this machine's disk goes on. */
function settleOthers(cluster: SimulatedCluster, stalled: ClusterMachine): void {
  for (let i = 0; i < 1000; i++) {
    let isBusy = cluster.world.runTurn();
    for (const machine of cluster.machines) {
      if (machine === stalled || machine.disk.pendingCount === 0) continue;
      machine.disk.runPending(1);
      isBusy = true;
    }
    if (!isBusy) return;
  }
}
