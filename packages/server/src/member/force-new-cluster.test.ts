import assert from "node:assert/strict";
import { test } from "node:test";
import {
  MemberAddRequest,
  MemberAddResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
} from "@quorate/api/messages";
import { ManualWorld } from "../testing/manual-world.ts";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";
import type { SimulatedMachine } from "../testing/simulated-machine.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";

const PUT = "/etcdserverpb.KV/Put";
const RANGE = "/etcdserverpb.KV/Range";
const everything = { key: Buffer.from([0]), rangeEnd: Buffer.from([0]) };
const pair = (key: string): { key: Buffer; value: Buffer } => ({ key: Buffer.from(key), value: Buffer.from("v") });

function force(machine: SimulatedMachine): void {
  Object.defineProperty(machine, "config", { value: { ...machine.config, forceNewCluster: true } });
}

// covers: MB-11
test("a member whose cluster is gone goes on alone with everything that was acknowledged", async () => {
  const cluster = await SimulatedCluster.serving(3);
  for (const key of ["a", "b", "c"]) cluster.call(cluster.leader, PUT, PutRequest, pair(key), PutResponse);
  const [machine] = cluster.followers as [ClusterMachine];
  machine.crash();
  force(machine);
  const world = new ManualWorld();
  const settle = (): void => {
    while (world.runTurn() || machine.disk.pendingCount > 0 || machine.databases.step()) machine.disk.runPending();
  };
  const opening = machine.openOver({ clock: world, timers: world });
  for (let i = 0; i < 100; i++) {
    machine.disk.runPending();
    await Promise.resolve();
  }
  const member = (await opening)!;
  member.start();
  settle();
  assert.deepEqual(
    member.membership.members().map(({ id }) => id),
    [member.id],
  );
  const put = machine.send(PUT, PutRequest, pair("d"));
  const range = machine.send(RANGE, RangeRequest, everything);
  settle();
  assert.equal(put.status!.code, 0);
  const { kvs } = RangeResponse.decode(range.messages[0]!, 0, range.messages[0]!.length);
  assert.deepEqual(kvs.map(({ key }) => String(key)).slice(0, 3), ["a", "b", "c"]);
});

// covers: MB-11
test("a lone voter that added a member just before it ended does not find it in its new cluster", async () => {
  const simulated = await SimulatedMember.serving();
  const request = { peerURLs: ["http://absent:2380"] };
  simulated.call("/etcdserverpb.Cluster/MemberAdd", MemberAddRequest, request, MemberAddResponse);
  // It is applied, but neither storage nor the log's commit index says so.
  simulated.crash();
  force(simulated);
  await simulated.boot();
  assert.deepEqual(
    simulated.member.membership.members().map(({ id }) => id),
    [simulated.member.id],
  );
  simulated.call(PUT, PutRequest, pair("a"), PutResponse);
});

test("a lone voter loses nothing it acknowledged, also if it had a learner", async () => {
  const simulated = await SimulatedMember.serving();
  const request = { peerURLs: ["http://absent:2380"], isLearner: true };
  simulated.call("/etcdserverpb.Cluster/MemberAdd", MemberAddRequest, request, MemberAddResponse);
  for (const key of ["a", "b"]) simulated.call(PUT, PutRequest, pair(key), PutResponse);
  simulated.crash();
  force(simulated);
  await simulated.boot();
  const { kvs } = simulated.call(RANGE, RangeRequest, everything, RangeResponse);
  assert.equal(kvs.length, 2);
});
