/** The quota, the alarm it raises, and how that ends. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { AlarmAction, AlarmType } from "@quorate/api";
import {
  AlarmRequest,
  AlarmResponse,
  CompactionRequest,
  CompactionResponse,
  DefragmentRequest,
  DefragmentResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  MemberRemoveRequest,
  MemberRemoveResponse,
  PutRequest,
  StatusRequest,
  StatusResponse,
} from "@quorate/api/messages";
import type { ServerCall } from "@quorate/rpc";
import { silentLog } from "@quorate/world";
import { type ClusterMachine, SimulatedCluster } from "../testing/simulated-cluster.ts";
import type { SimulatedMachine } from "../testing/simulated-machine.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";
import type { Outcome } from "./outcome.ts";
import type { Pending } from "./pending.ts";
import type { Proposals } from "./proposals.ts";
import { Space } from "./space.ts";
import type { StateMachine } from "./state-machine.ts";

const QUOTA = 20_000;
const SETTINGS = { "quota-backend-bytes": String(QUOTA), "compaction-sleep-interval": "1ms" };
const NO_SPACE = "etcdserver: mvcc: database space exceeded";
const ALARM = "/etcdserverpb.Maintenance/Alarm";

/** What drives a machine: a member alone, or the cluster around it. */
interface Driver {
  settle(): void;
  advance(ms: number): void;
}

/** "" or the refusal. */
function put(machine: SimulatedMachine, driver: Driver, key: string, valueBytes: number): string {
  const call = machine.send("/etcdserverpb.KV/Put", PutRequest, {
    key: Buffer.from(key),
    value: Buffer.alloc(valueBytes, 1),
  });
  driver.settle();
  return call.status!.message;
}

/** Until a write does not fit. */
function fill(machine: SimulatedMachine, driver: Driver, valueBytes: number): void {
  for (let i = 0; i < 1000; i++) {
    const refused = put(machine, driver, `k${i}`, valueBytes);
    if (refused === "") continue;
    assert.equal(refused, NO_SPACE);
    return;
  }
  assert.fail("the quota is never reached");
}

/** Deletes so many of the first keys for good. */
function free(simulated: SimulatedMember, count: number): void {
  for (let i = 0; i < count; i++) {
    const request = { key: Buffer.from(`k${i}`) };
    simulated.call("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, request, DeleteRangeResponse);
  }
  compact(simulated);
}

function compact(simulated: SimulatedMember): void {
  const request = { revision: simulated.member.store.revision };
  simulated.call("/etcdserverpb.KV/Compact", CompactionRequest, request, CompactionResponse);
}

function alarmsOf(machine: SimulatedMachine): string[] {
  const names = { [AlarmType.NOSPACE]: "NOSPACE", [AlarmType.CORRUPT]: "CORRUPT" } as Record<number, string>;
  return machine.member.alarms
    .list(AlarmType.NONE)
    .map(({ memberId, alarm }) => `${memberId === machine.member.id ? "own" : memberId} ${names[alarm]}`);
}

test("the alarm ends by itself when space was freed, and writes go on", async () => {
  const simulated = await SimulatedMember.serving({ settings: SETTINGS });
  fill(simulated, simulated, 900);
  assert.deepEqual(alarmsOf(simulated), ["own NOSPACE"]);
  simulated.advance(60_000);
  assert.deepEqual(alarmsOf(simulated), ["own NOSPACE"], "nothing was freed");
  const { appliedIndex } = simulated.member;
  simulated.advance(60_000);
  assert.equal(simulated.member.appliedIndex, appliedIndex, "and nothing proposed meanwhile");
  free(simulated, 8);
  simulated.advance(2000);
  assert.deepEqual(alarmsOf(simulated), []);
  assert.equal(put(simulated, simulated, "again", 900), "");
  const { backend } = simulated.member;
  assert.ok(backend.sizeBytes() > backend.sizeInUseBytes(), "the file is as large as it ever was");
});

test("an alarm that is still on its way when space is looked at ends when space is freed before the next look", () => {
  let usedBytes = QUOTA;
  let isRaised = false;
  let disarmed = 0;
  let raise: () => void = () => assert.fail("no alarm was proposed");
  const backend = { sizeInUseBytes: () => usedBytes, sizeBytes: () => QUOTA };
  const alarms = { list: () => (isRaised ? [{ memberId: 1n, type: AlarmType.NOSPACE }] : []) };
  const propose: Proposals["propose"] = (_op, _bytes, _start, _end, handler) => {
    raise = () => {
      isRaised = true;
      handler.applied({ call: null } as Pending, {} as Outcome);
    };
  };
  const proposeOwn: Proposals["proposeOwn"] = () => void disarmed++;
  const space = new Space(
    {
      memberId: 1n,
      state: { backend, alarms } as unknown as StateMachine,
      proposals: { propose, proposeOwn, pendingBytes: 0 },
    },
    { quotaBytes: QUOTA, autoDisarmNoSpace: true, log: silentLog },
  );
  assert.equal(space.admitsWrite({} as ServerCall, 100), false);
  space.check();
  raise();
  usedBytes = 0;
  space.check();
  assert.equal(disarmed, 1);
});

test("a little space freed does not end the alarm: a tenth of the quota has to be free", async () => {
  const simulated = await SimulatedMember.serving({ settings: SETTINGS });
  fill(simulated, simulated, 400);
  free(simulated, 1);
  simulated.advance(60_000);
  assert.ok(simulated.member.backend.sizeInUseBytes() > 0.9 * QUOTA);
  assert.deepEqual(alarmsOf(simulated), ["own NOSPACE"]);
});

test("it does not end before the write that did not fit would fit", async () => {
  const simulated = await SimulatedMember.serving({ settings: SETTINGS });
  for (let i = 0; i < 6; i++) assert.equal(put(simulated, simulated, `k${i}`, 1500), "");
  assert.equal(put(simulated, simulated, "large", 12_000), NO_SPACE);
  assert.ok(simulated.member.backend.sizeInUseBytes() < 0.6 * QUOTA);
  simulated.advance(60_000);
  assert.deepEqual(alarmsOf(simulated), ["own NOSPACE"]);
  free(simulated, 5);
  simulated.advance(2000);
  assert.deepEqual(alarmsOf(simulated), []);
  assert.equal(put(simulated, simulated, "large", 12_000), "");
});

test("with --auto-disarm-nospace=false the alarm waits for the operator, as etcd's", async () => {
  const simulated = await SimulatedMember.serving({ settings: { ...SETTINGS, "auto-disarm-nospace": "false" } });
  fill(simulated, simulated, 900);
  free(simulated, 8);
  simulated.advance(60_000);
  assert.deepEqual(alarmsOf(simulated), ["own NOSPACE"]);
  assert.equal(put(simulated, simulated, "again", 900), NO_SPACE);
  const disarm = { action: AlarmAction.DEACTIVATE, memberID: simulated.member.id, alarm: AlarmType.NOSPACE };
  simulated.call(ALARM, AlarmRequest, disarm, AlarmResponse);
  assert.equal(put(simulated, simulated, "again", 900), "");
});

test("an alarm that was raised by hand, or is another member's, stays", async () => {
  const simulated = await SimulatedMember.serving({ settings: SETTINGS });
  for (const memberID of [simulated.member.id, 5n]) {
    const raise = { action: AlarmAction.ACTIVATE, memberID, alarm: AlarmType.NOSPACE };
    simulated.call(ALARM, AlarmRequest, raise, AlarmResponse);
  }
  simulated.advance(60_000);
  assert.deepEqual(alarmsOf(simulated), ["own NOSPACE", "5 NOSPACE"]);
});

// covers: QU-02
test("the alarm outlives a restart, writes stay refused, and it ends when space is freed afterwards", async () => {
  const simulated = await SimulatedMember.serving({ settings: SETTINGS });
  fill(simulated, simulated, 900);
  simulated.advance(1000);
  simulated.crash();
  await simulated.boot();
  assert.deepEqual(alarmsOf(simulated), ["own NOSPACE"]);
  assert.equal(put(simulated, simulated, "again", 10), NO_SPACE);
  simulated.call("/etcdserverpb.Maintenance/Defragment", DefragmentRequest, {}, DefragmentResponse);
  simulated.advance(1000);
  assert.deepEqual(alarmsOf(simulated), ["own NOSPACE"]);
  free(simulated, 8);
  simulated.advance(2000);
  assert.deepEqual(alarmsOf(simulated), []);
});

test("an alarm from before a restart ends although the member has not seen itself full since", async () => {
  const simulated = await SimulatedMember.serving({ settings: SETTINGS });
  fill(simulated, simulated, 900);
  free(simulated, 12);
  // Before anybody has looked whether it may end.
  simulated.crash();
  await simulated.boot();
  simulated.advance(3000);
  assert.deepEqual(alarmsOf(simulated), []);
  assert.equal(put(simulated, simulated, "again", 10), "");
});

test("a follower that was full ends its own alarm", async () => {
  const cluster = await SimulatedCluster.serving(3, SETTINGS);
  const [follower] = cluster.followers as [ClusterMachine];
  fill(follower, cluster, 900);
  cluster.advance(1000);
  assert.deepEqual(alarmsOf(follower), ["own NOSPACE"]);
  assert.deepEqual(alarmsOf(cluster.leader), [`${follower.id} NOSPACE`]);
  assert.equal(put(cluster.leader, cluster, "again", 10), NO_SPACE, "the others have room, and obey the alarm");
  const all = { key: Buffer.from("k"), rangeEnd: Buffer.from("l") };
  follower.send("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, all);
  cluster.advance(500);
  const revision = cluster.leader.member.store.revision;
  follower.send("/etcdserverpb.KV/Compact", CompactionRequest, { revision });
  cluster.advance(3000);
  for (const machine of cluster.machines) assert.deepEqual(alarmsOf(machine), []);
});

// covers: QU-07
test("the alarms of a member go when it is removed", async () => {
  const cluster = await SimulatedCluster.serving(3);
  cluster.advance(6000);
  const [follower] = cluster.followers as [ClusterMachine];
  for (const alarm of [AlarmType.NOSPACE, AlarmType.CORRUPT]) {
    for (const memberID of [follower.id, 5n]) {
      const raise = { action: AlarmAction.ACTIVATE, memberID, alarm };
      cluster.call(cluster.leader, ALARM, AlarmRequest, raise, AlarmResponse);
    }
  }
  cluster.advance(9000);
  assert.equal(alarmsOf(cluster.leader).length, 4);
  const path = "/etcdserverpb.Cluster/MemberRemove";
  cluster.call(cluster.leader, path, MemberRemoveRequest, { ID: follower.id }, MemberRemoveResponse);
  cluster.advance(5000);
  assert.deepEqual(alarmsOf(cluster.leader), ["5 NOSPACE", "5 CORRUPT"]);
});

// covers: QU-05
test("the quota in force is the one that Status tells: given, by default, or none", async () => {
  for (const [given, told] of [
    ["123456789", 123456789],
    ["0", 2 * 1024 ** 3],
    ["-1", -1],
  ] as const) {
    const simulated = await SimulatedMember.serving({ settings: { "quota-backend-bytes": given } });
    const status = simulated.call("/etcdserverpb.Maintenance/Status", StatusRequest, {}, StatusResponse);
    assert.equal(status.dbSizeQuota, told);
    assert.equal(simulated.member.options.quotaBytes, told);
  }
});

// covers: QU-04
test("what is on its way into the log counts against the quota", async () => {
  const simulated = await SimulatedMember.serving({ settings: SETTINGS });
  const calls = Array.from({ length: 30 }, (_, i) =>
    simulated.send("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from(`k${i}`), value: Buffer.alloc(900, 1) }),
  );
  simulated.settle();
  const done = calls.filter((each) => each.status!.message === "").length;
  assert.ok(done > 10 && done < 22, `${done} of 30 were done`);
  assert.ok(simulated.member.backend.sizeInUseBytes() < QUOTA);
});
