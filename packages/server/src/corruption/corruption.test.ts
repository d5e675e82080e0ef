/** Members whose keys differ are found, named, and stop the cluster's writes. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { AlarmAction, AlarmType } from "@quorate/api";
import {
  AlarmRequest,
  AlarmResponse,
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  LeaseGrantRequest,
  LeaseRevokeRequest,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  TxnRequest,
} from "@quorate/api/messages";
import { silentLog } from "@quorate/world";
import type { FakeCall } from "../testing/fake-call.ts";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";
import { checkBeforeServing, type InconsistentWithPeers } from "./initial-check.ts";

const PERIODIC = { "corrupt-check-time": "10s" };
const COMPACTIONS = { "feature-gates": "CompactHashCheck=true", "compaction-sleep-interval": "1ms" };
const MINUTE_MS = 60_000;
const k = Buffer.from("k");

async function clusterOf(size: number, settings: Record<string, string>): Promise<SimulatedCluster> {
  const cluster = await SimulatedCluster.serving(size, settings);
  put(cluster, 10);
  cluster.advance(1000);
  return cluster;
}

function put(cluster: SimulatedCluster, count: number): void {
  for (let i = 0; i < count; i++) {
    const request = { key: Buffer.from(`k${i}`), value: Buffer.from("value") };
    cluster.call(cluster.leader, "/etcdserverpb.KV/Put", PutRequest, request, PutResponse);
  }
}

function compact(cluster: SimulatedCluster): void {
  const { revision } = cluster.leader.member.store;
  cluster.call(cluster.leader, "/etcdserverpb.KV/Compact", CompactionRequest, { revision }, CompactionResponse);
  cluster.advance(1000);
}

/** A bit of the database flips. */
function corrupt(machine: ClusterMachine, value = "value"): void {
  const record = machine.storage.image.records.find((each) => Buffer.from(each.bytes).includes(value));
  assert.ok(record !== undefined, "there is something to alter");
  Buffer.from(record.bytes.buffer, record.bytes.byteOffset, record.bytes.length).write(
    "VALUE",
    record.bytes.length - 5,
  );
}

/** Ids of the members with the alarm, as every member has it. */
function alarmed(cluster: SimulatedCluster): bigint[] {
  const of = (machine: ClusterMachine): bigint[] =>
    machine.member.alarms.list(AlarmType.CORRUPT).map((each) => each.memberId);
  const [first, ...others] = cluster.machines.filter((each) => !each.isCutOff).map(of);
  for (const other of others) assert.deepEqual(other, first);
  return first!;
}

// covers: ST-07
test("the periodic check names a follower that differs, and the leader if it is the one", async () => {
  for (const who of ["leader", "follower"] as const) {
    const cluster = await clusterOf(3, PERIODIC);
    cluster.advance(60_000);
    assert.deepEqual(alarmed(cluster), [], "all are the same");
    const machine = who === "leader" ? cluster.leader : cluster.followers[1]!;
    corrupt(machine);
    cluster.advance(11_000);
    assert.deepEqual(alarmed(cluster), [machine.id], who);
    const { appliedIndex } = cluster.leader.member;
    cluster.advance(60_000);
    assert.equal(cluster.leader.member.appliedIndex, appliedIndex, "what is alarmed is not alarmed again");
  }
});

test("the alarm refuses every write on every member and nothing else, until it is disarmed", async () => {
  const cluster = await clusterOf(3, PERIODIC);
  const machine = cluster.followers[0]!;
  corrupt(machine);
  cluster.advance(11_000);
  const [id] = alarmed(cluster);
  for (const each of cluster.machines) {
    const writes: [string, FakeCall][] = [
      ["put", each.send("/etcdserverpb.KV/Put", PutRequest, { key: k })],
      ["delete", each.send("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, { key: k })],
      [
        "txn",
        each.send("/etcdserverpb.KV/Txn", TxnRequest, { success: [{ requestDeleteRange: { key: k } }] } as never),
      ],
      ["compaction", each.send("/etcdserverpb.KV/Compact", CompactionRequest, { revision: 3 })],
      ["grant", each.send("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, { TTL: 60 })],
      ["revoke", each.send("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, { ID: 1n })],
    ];
    cluster.advance(500);
    for (const [what, call] of writes) {
      assert.deepEqual(call.status, { code: 15, message: "etcdserver: corrupt cluster" }, what);
    }
    for (const serializable of [true, false]) {
      const range = each.send("/etcdserverpb.KV/Range", RangeRequest, { key: Buffer.from("k1"), serializable });
      const success = [{ requestRange: { key: Buffer.from("k1"), serializable } }];
      const txn = each.send("/etcdserverpb.KV/Txn", TxnRequest, { success } as never);
      cluster.advance(500);
      assert.deepEqual([range.status!.code, txn.status!.code], [0, 0]);
      assert.equal(RangeResponse.decode(range.messages[0]!, 0, range.messages[0]!.length).kvs.length, 1);
    }
  }
  const request = { action: AlarmAction.DEACTIVATE, memberID: id!, alarm: AlarmType.CORRUPT };
  cluster.call(cluster.leader, "/etcdserverpb.Maintenance/Alarm", AlarmRequest, request, AlarmResponse);
  put(cluster, 1);
});

// covers: ST-07
test("what compactions leave behind names whoever differs: a follower, the leader, or nobody knows who", async () => {
  for (const who of ["nobody", "follower", "leader", "two"] as const) {
    const cluster = await clusterOf(3, COMPACTIONS);
    const [first] = cluster.followers as [ClusterMachine];
    if (who === "follower" || who === "two") corrupt(first);
    if (who === "leader") corrupt(cluster.leader);
    if (who === "two") {
      corrupt(cluster.leader);
      corrupt(cluster.leader);
    }
    compact(cluster);
    cluster.advance(MINUTE_MS);
    const expected = { nobody: [], follower: [first.id], leader: [cluster.leader.id], two: [0n] }[who];
    assert.deepEqual(alarmed(cluster), expected, who);
  }
});

// covers: ST-06
test("a compaction that not all could be asked about is looked at again, and found when they answer", async () => {
  const cluster = await clusterOf(3, COMPACTIONS);
  const [away] = cluster.followers as [ClusterMachine];
  corrupt(away);
  compact(cluster);
  cluster.cutOff(away);
  cluster.advance(2 * MINUTE_MS);
  assert.deepEqual(alarmed(cluster), []);
  cluster.reconnect(away);
  cluster.advance(MINUTE_MS + 5000);
  assert.deepEqual(alarmed(cluster), [away.id]);
});

test("the checks are off unless they were asked for, and nobody but the leader makes them", async () => {
  const cluster = await clusterOf(3, {});
  corrupt(cluster.leader);
  compact(cluster);
  cluster.advance(10 * MINUTE_MS);
  assert.deepEqual(alarmed(cluster), []);
});

test("before it serves, a member finds out whether its keys are those of the others", async () => {
  const cluster = await clusterOf(3, {});
  const [machine, other] = cluster.followers as [ClusterMachine, ClusterMachine];
  const check = (): string => {
    const outcome: (InconsistentWithPeers | null)[] = [];
    checkBeforeServing(machine.member, cluster.askHashOf(machine), silentLog, (problem) => outcome.push(problem));
    cluster.settle();
    assert.equal(outcome.length, 1);
    return outcome[0]?.message ?? "";
  };
  assert.equal(check(), "");
  corrupt(other);
  assert.match(check(), /^[0-9a-f]+ found data inconsistency with peers$/);
  cluster.cutOff(other);
  assert.equal(check(), "", "who does not answer says nothing");
  cluster.cutOff(machine);
  assert.equal(check(), "");
});
