/** Handing over leadership, and what a member says of itself. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import {
  MemberAddRequest,
  MemberRemoveRequest,
  MoveLeaderRequest,
  PutRequest,
  StatusRequest,
  StatusResponse,
} from "@quorate/api/messages";
import { type ClusterMachine, peerUrlOf, SimulatedCluster } from "../testing/simulated-cluster.ts";

const MOVE = "/etcdserverpb.Maintenance/MoveLeader";

function status(cluster: SimulatedCluster, machine: ClusterMachine) {
  return cluster.call(machine, "/etcdserverpb.Maintenance/Status", StatusRequest, {}, StatusResponse);
}

test("the leader hands over to a voter, and answers without a header when that one leads", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const old = cluster.leader;
  const [target] = cluster.followers as [ClusterMachine];
  const call = old.send(MOVE, MoveLeaderRequest, { targetID: target.id });
  cluster.advance(1000);
  assert.deepEqual([call.status, call.messages[0]!.length], [{ code: 0, message: "" }, 0]);
  assert.equal(cluster.leader, target);
  for (const machine of cluster.machines) assert.equal(status(cluster, machine).leader, target.id);
});

test("a transfer to the leader itself is done", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const call = cluster.leader.send(MOVE, MoveLeaderRequest, { targetID: cluster.leader.id });
  assert.equal(call.status!.code, 0);
});

test("only the leader is asked, and only a voter can be named", async () => {
  const cluster = await SimulatedCluster.serving(3);
  cluster.advance(6000);
  const [follower] = cluster.followers as [ClusterMachine];
  const notLeader = follower.send(MOVE, MoveLeaderRequest, { targetID: follower.id });
  assert.deepEqual(notLeader.status, { code: 9, message: "etcdserver: not leader" });
  cluster.leader.send("/etcdserverpb.Cluster/MemberAdd", MemberAddRequest, {
    peerURLs: [peerUrlOf("m4")],
    isLearner: true,
  });
  cluster.settle();
  const learner = cluster.leader.member.membership.learners()[0]!;
  for (const targetID of [99n, 0n, learner.id]) {
    const call = cluster.leader.send(MOVE, MoveLeaderRequest, { targetID });
    assert.deepEqual(call.status, { code: 9, message: "etcdserver: bad leader transferee" });
  }
});

test("a target that does not take over costs a request's time", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [gone] = cluster.followers as [ClusterMachine];
  cluster.cutOff(gone);
  const call = cluster.leader.send(MOVE, MoveLeaderRequest, { targetID: gone.id });
  cluster.advance(6900);
  assert.equal(call.status, null);
  cluster.advance(200);
  const message = "etcdserver: request timed out, leader transfer took too long";
  assert.deepEqual(call.status, { code: 2, message });
});

test("what is written while leadership is handed over is refused at once, and taken again when that has failed", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [gone] = cluster.followers as [ClusterMachine];
  const { leader } = cluster;
  cluster.advance(6000);
  cluster.cutOff(gone);
  leader.send(MOVE, MoveLeaderRequest, { targetID: gone.id });
  cluster.advance(100);
  const dropped = { code: 2, message: "raft proposal dropped" };
  const put = leader.send("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("a") });
  const remove = leader.send("/etcdserverpb.Cluster/MemberRemove", MemberRemoveRequest, { ID: gone.id });
  cluster.settle();
  assert.deepEqual([put.status, remove.status], [dropped, dropped]);
  cluster.advance(1000);
  const later = leader.send("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("a") });
  cluster.settle();
  assert.equal(later.status!.code, 0);
});

test("a member that is cut off says that it knows no leader", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  cluster.cutOff(follower);
  cluster.advance(3000);
  const { leader, errors, isLearner } = status(cluster, follower);
  assert.deepEqual([leader, errors, isLearner], [0n, ["etcdserver: no leader"], false]);
});

// covers: RA-19
test("a write that finds no leader, or no quorum, ends with etcd's reason when a request may take no longer", async () => {
  const put = { key: Buffer.from("a"), value: Buffer.from("1") };
  const cluster = await SimulatedCluster.serving(3);
  const [follower, other] = cluster.followers as [ClusterMachine, ClusterMachine];
  const { leader } = cluster;
  cluster.advance(5000);
  cluster.cutOff(follower);
  cluster.advance(3000);
  const leaderless = follower.send("/etcdserverpb.KV/Put", PutRequest, put);
  cluster.cutOff(other);
  cluster.advance(100);
  const alone = leader.send("/etcdserverpb.KV/Put", PutRequest, put);
  cluster.advance(8000);
  assert.deepEqual(leaderless.status, { code: 4, message: "context deadline exceeded" });
  // It has given up leading by then, and knows of nobody to blame.
  assert.deepEqual(alone.status, { code: 14, message: "etcdserver: request timed out" });
});
