/** What other members are told, and by whom. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import {
  CompactionRequest,
  CompactionResponse,
  LeaseGrantRequest,
  LeaseGrantResponse,
  PutRequest,
  PutResponse,
} from "@quorate/api/messages";
import type { DowngradeOutcome, HashKvOutcome, KeepAliveOutcome, TimeToLiveOutcome } from "../peers/peer-requests.ts";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";

function put(cluster: SimulatedCluster, key: string, lease = 0n): void {
  const request = { key: Buffer.from(key), lease };
  cluster.call(cluster.leader, "/etcdserverpb.KV/Put", PutRequest, request, PutResponse);
}

/** Asks, lets everything settle, and gives the one answer. */
function asked<Outcome>(cluster: SimulatedCluster, ask: (done: (outcome: Outcome) => void) => void): Outcome {
  const outcomes: Outcome[] = [];
  ask((outcome) => outcomes.push(outcome));
  cluster.settle();
  assert.equal(outcomes.length, 1);
  return outcomes[0]!;
}

function keepAlive(cluster: SimulatedCluster, { requests }: ClusterMachine, id: bigint): KeepAliveOutcome {
  return asked(cluster, (done) => requests!.leaseKeepAlive(id, done));
}

function timeToLive(cluster: SimulatedCluster, { requests }: ClusterMachine, id: bigint): TimeToLiveOutcome {
  return asked(cluster, (done) => requests!.leaseTimeToLive(id, true, done));
}

const NOT_PRIMARY = { kind: "failed", message: "not a primary lessor" } as const;

test("the leader keeps leases alive for others and says how long they have; a follower does neither", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const { leader } = cluster;
  cluster.call(leader, "/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, { ID: 7n, TTL: 60 }, LeaseGrantResponse);
  put(cluster, "a", 7n);
  cluster.advance(10_500);
  assert.deepEqual(timeToLive(cluster, leader, 7n), {
    kind: "found",
    ttlSeconds: 49,
    grantedTtlSeconds: 60,
    keys: [Buffer.from("a")],
  });
  assert.deepEqual(keepAlive(cluster, leader, 7n), { kind: "renewed", ttlSeconds: 60 });
  assert.equal(leader.member.lessor.timeToLive(7n)!.remainingSeconds, 60);
  assert.deepEqual(keepAlive(cluster, leader, 99n), { kind: "not found" });
  assert.deepEqual(timeToLive(cluster, leader, 99n), { kind: "not found" });
  const [follower] = cluster.followers as [ClusterMachine];
  for (const id of [7n, 99n]) {
    assert.deepEqual(keepAlive(cluster, follower, id), NOT_PRIMARY);
    assert.deepEqual(timeToLive(cluster, follower, id), NOT_PRIMARY);
  }
});

// covers: LE-01
test("a lease past its time is not kept alive for others either: they wait for its revoke", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const { leader } = cluster;
  cluster.call(leader, "/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, { ID: 7n, TTL: 5 }, LeaseGrantResponse);
  cluster.world.nowMs += 5001;
  const heard: KeepAliveOutcome[] = [];
  leader.requests!.leaseKeepAlive(7n, (outcome) => heard.push(outcome));
  cluster.settle();
  assert.deepEqual(heard, []);
  cluster.advance(1000);
  assert.deepEqual(heard, [{ kind: "not found" }]);
});

test("only the leader promotes, and says why it does not", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  const promote = ({ requests }: ClusterMachine, id: bigint) =>
    asked(cluster, (done) => requests!.promote(id, null, done));
  assert.deepEqual(promote(follower, 99n), { kind: "failed", message: "etcdserver: not leader" });
  assert.deepEqual(promote(cluster.leader, 99n), { kind: "not found" });
  assert.deepEqual(promote(cluster.leader, follower.id), { kind: "not a learner" });
});

test("hashes are the same on every member, and refused where there is nothing to hash", async () => {
  const cluster = await SimulatedCluster.serving(3);
  for (let i = 0; i < 5; i++) put(cluster, `k${i}`);
  const request = { revision: 4 };
  cluster.call(cluster.leader, "/etcdserverpb.KV/Compact", CompactionRequest, request, CompactionResponse);
  cluster.advance(1000);
  const hash = ({ requests }: ClusterMachine, revision: number): HashKvOutcome =>
    asked(cluster, (done) => requests!.hashKv(revision, done));
  const first = hash(cluster.leader, 5);
  assert.ok(first.kind === "hashed");
  assert.deepEqual([first.hashed.revision, first.hashed.compactRevision, first.hashed.hashRevision], [6, 4, 5]);
  for (const machine of cluster.machines) {
    assert.deepEqual(hash(machine, 5), first);
    assert.deepEqual(hash(machine, 3), { kind: "compacted" });
    assert.deepEqual(hash(machine, 7), { kind: "future revision" });
  }
});

test("members and versions are what this member knows; a downgrade needs a leader to be denied", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  assert.equal(follower.requests!.members().length, 3);
  const { etcdserver, etcdcluster, storage } = JSON.parse(follower.requests!.versionBody()) as Record<string, string>;
  assert.deepEqual([etcdserver, etcdcluster, storage], ["3.7.1", "3.7.0", "3.7.0"]);
  const denied = asked<DowngradeOutcome>(cluster, (done) => follower.requests!.downgradeEnabled(done));
  assert.deepEqual(denied, { kind: "answered", isEnabled: false });
  cluster.cutOff(follower);
  cluster.advance(3000);
  const heard: DowngradeOutcome[] = [];
  follower.requests!.downgradeEnabled((outcome) => heard.push(outcome));
  cluster.advance(7100);
  assert.deepEqual(heard, [{ kind: "failed", message: "etcdserver: request timed out" }]);
});
