/** Downgrading a cluster: what is refused, and what follows from it on every member. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DowngradeAction } from "@quorate/api";
import { DowngradeRequest, DowngradeResponse, StatusRequest, StatusResponse } from "@quorate/api/messages";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";

const DOWNGRADE = "/etcdserverpb.Maintenance/Downgrade";
const STATUS = "/etcdserverpb.Maintenance/Status";
const { VALIDATE, ENABLE, CANCEL } = DowngradeAction;

/** The version the cluster runs at when it is answered, or the refusal. */
function ask(cluster: SimulatedCluster, action: number, version = "", machine = cluster.leader): string {
  try {
    return cluster.call(machine, DOWNGRADE, DowngradeRequest, { action, version }, DowngradeResponse).version;
  } catch (error) {
    return (error as Error).message;
  }
}

function stateOf(cluster: SimulatedCluster, machine: ClusterMachine): string {
  const { storageVersion, downgradeInfo } = cluster.call(machine, STATUS, StatusRequest, {}, StatusResponse);
  const { enabled, targetVersion } = downgradeInfo!;
  return `${machine.member.membership.clusterVersion} ${storageVersion} ${enabled} ${targetVersion}`.trim();
}

test("only the next lower version of one's own line can be a target, with etcd's refusals", async () => {
  const cluster = await SimulatedCluster.serving(1);
  const invalid = "3: etcdserver: invalid downgrade target version";
  const table: [version: string, answer: string][] = [
    ["3.6", "3.7"],
    ["3.6.4", "3.7"],
    ["3.7.0", invalid],
    ["3.5", invalid],
    ["2.6", invalid],
    ["4.6", invalid],
    ["", "3: etcdserver: wrong downgrade target version format"],
    ["v3.6", "3: etcdserver: wrong downgrade target version format"],
  ];
  for (const [version, answer] of table) assert.equal(ask(cluster, VALIDATE, version), answer, version);
  for (const [version, answer] of table.slice(2)) assert.equal(ask(cluster, ENABLE, version), answer, version);
  assert.equal(ask(cluster, 7, "3.6"), "2: etcdserver: unknown method");
  assert.equal(stateOf(cluster, cluster.leader), "3.7.0 3.7.0 false");
});

// covers: LI-06
test("a downgrade lowers the cluster's version and every database's, and cancelled raises them again", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [follower] = cluster.followers as [ClusterMachine];
  assert.equal(ask(cluster, ENABLE, "3.6", follower), "3.7");
  cluster.advance(200);
  for (const machine of cluster.machines) assert.equal(stateOf(cluster, machine), "3.7.0 3.7.0 true 3.6.0");
  for (const action of [VALIDATE, ENABLE]) {
    assert.equal(ask(cluster, action, "3.6"), "9: etcdserver: cluster has a downgrade job in progress");
  }
  cluster.advance(5000);
  for (const machine of cluster.machines) assert.equal(stateOf(cluster, machine), "3.6.0 3.6.0 true 3.6.0");
  // Not below the target, and not up again, however long it takes.
  cluster.advance(20_000);
  for (const machine of cluster.machines) assert.equal(stateOf(cluster, machine), "3.6.0 3.6.0 true 3.6.0");
  assert.equal(ask(cluster, VALIDATE, "3.5"), "9: etcdserver: cluster has a downgrade job in progress");

  assert.equal(ask(cluster, CANCEL), "3.6");
  cluster.advance(200);
  assert.equal(stateOf(cluster, follower), "3.6.0 3.6.0 false");
  cluster.advance(5000);
  for (const machine of cluster.machines) assert.equal(stateOf(cluster, machine), "3.7.0 3.7.0 false");
});

test("cancelling what is not under way is answered as done", async () => {
  const cluster = await SimulatedCluster.serving(1);
  assert.equal(ask(cluster, CANCEL), "3.7");
  assert.equal(stateOf(cluster, cluster.leader), "3.7.0 3.7.0 false");
});

test("the version stays while a member does not answer, or is not just above the target", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const [silent, old] = cluster.followers as [ClusterMachine, ClusterMachine];
  cluster.cutOff(silent);
  assert.equal(ask(cluster, ENABLE, "3.6"), "3.7");
  cluster.advance(9000);
  assert.equal(stateOf(cluster, cluster.leader), "3.7.0 3.7.0 true 3.6.0");
  cluster.reconnect(silent);
  old.serverVersion = "3.6.14";
  cluster.advance(9000);
  assert.equal(stateOf(cluster, cluster.leader), "3.7.0 3.7.0 true 3.6.0");
});

test("a peer that asks is told whether a downgrade is under way", async () => {
  const cluster = await SimulatedCluster.serving(3);
  const answers = (): string[] => {
    const told: string[] = [];
    for (const machine of cluster.machines) {
      machine.requests!.downgradeEnabled((outcome) => told.push(JSON.stringify(outcome)));
    }
    cluster.settle();
    return told;
  };
  const of = (isEnabled: boolean): string => JSON.stringify({ kind: "answered", isEnabled });
  assert.deepEqual(answers(), [of(false), of(false), of(false)]);
  ask(cluster, ENABLE, "3.6");
  cluster.advance(200);
  assert.deepEqual(answers(), [of(true), of(true), of(true)]);
});

test("a downgrade under way, and the database's version, survive a restart", async () => {
  const simulated = await SimulatedMember.serving();
  const call = (action: number): void => {
    simulated.call(DOWNGRADE, DowngradeRequest, { action, version: "3.6" }, DowngradeResponse);
  };
  const state = (): string => {
    const { storageVersion, downgradeInfo } = simulated.call(STATUS, StatusRequest, {}, StatusResponse);
    return `${storageVersion} ${downgradeInfo?.enabled} ${downgradeInfo?.targetVersion}`;
  };
  call(ENABLE);
  simulated.advance(5000);
  simulated.crash();
  await simulated.boot();
  assert.equal(state(), "3.6.0 true 3.6.0");
  assert.equal(simulated.stop(), null);
  await simulated.boot();
  assert.equal(state(), "3.6.0 true 3.6.0");
  call(CANCEL);
  simulated.advance(5000);
  assert.equal(state(), "3.7.0 false ");
});

// covers: ST-17
test("a database that a newer server wrote is refused, with nothing done to it", async () => {
  const simulated = await SimulatedMember.serving();
  const { backend } = simulated.member;
  backend.put("meta", Buffer.from("storageVersion"), Buffer.from("3.8.0"));
  backend.applied(backend.appliedIndex, backend.appliedTerm);
  assert.equal(simulated.stop(), null);
  await assert.rejects(
    simulated.boot(),
    /the database has the form of version 3\.8\.0, this server knows those up to 3\.7\.0/,
  );
});
