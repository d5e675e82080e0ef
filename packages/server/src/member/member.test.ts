/** The member as a whole, on a world that crashes: what was acknowledged is there afterwards, once. */
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
  DeleteRangeResponse,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
} from "@quorate/api/messages";
import { SeededRandom, systemError } from "@quorate/wal/testing";
import type { FakeCall } from "../testing/fake-call.ts";
import { identityOf } from "../testing/simulated-machine.ts";
import { MEMBER_DIRECTORY, SimulatedMember } from "../testing/simulated-member.ts";
import { createLog } from "./open-member.ts";

const PUT = "/etcdserverpb.KV/Put";
const RANGE = "/etcdserverpb.KV/Range";
const bytes = (text: string): Buffer => Buffer.from(text);

function put(simulated: SimulatedMember, key: string, value: string, lease = 0n): FakeCall {
  return simulated.send(PUT, PutRequest, { key: bytes(key), value: bytes(value), lease });
}

function putNow(simulated: SimulatedMember, key: string, value: string, lease = 0n): number {
  return simulated.call(PUT, PutRequest, { key: bytes(key), value: bytes(value), lease }, PutResponse).header!.revision;
}

/** Everything stored, as key → value, with the store's revision. */
function contents(simulated: SimulatedMember): { readonly revision: number; readonly keys: Map<string, string> } {
  const request = { key: Buffer.from([0]), rangeEnd: Buffer.from([0]) };
  const response = simulated.call(RANGE, RangeRequest, request, RangeResponse);
  const keys = new Map<string, string>();
  for (const kv of response.kvs) {
    assert.equal(kv.version, 1, "every key is put once");
    keys.set(Buffer.from(kv.key).toString(), Buffer.from(kv.value).toString());
  }
  return { revision: response.header!.revision, keys };
}

// --- crashes

/** Few entries between marks and small segments, so that crashes meet every part of cutting the log. */
const BUSY_SETTINGS = { "snapshot-count": "6", "snapshot-catchup-entries": "3", "backend-batch-limit": "4" };

// covers: AP-01, AP-04, AP-06, AP-13, SN-01, WA-13, WA-18
test("whatever is crashed or killed at whatever step, nothing acknowledged is lost and nothing is applied twice", async () => {
  for (let seed = 0; seed < 120; seed++) {
    const random = new SeededRandom(seed);
    const simulated = await SimulatedMember.serving({ seed, settings: BUSY_SETTINGS, segmentBytes: 16 * 1024 });
    const attempted = new Map<string, string>();
    let calls: { readonly key: string; readonly call: FakeCall }[] = [];
    let count = 0;
    for (let life = 0; life < 4; life++) {
      for (let step = random.below(120); step > 0; step--) {
        if (random.below(3) === 0) {
          const key = `k${count++}`;
          const value = `v${count}`.padEnd(random.below(900), ".");
          attempted.set(key, value);
          calls.push({ key, call: put(simulated, key, value) });
        } else {
          simulated.happen(random.below(4));
        }
      }
      assert.equal(simulated.failure, null);
      const acknowledged = calls.filter((each) => each.call.status?.code === 0);
      for (const { call } of calls) {
        if (call.status !== null) assert.equal(call.status.code, 0);
      }
      if (random.below(2) === 0) simulated.crash();
      else simulated.kill();
      await simulated.boot();
      const { revision, keys } = contents(simulated);
      const where = `seed ${seed}, life ${life}`;
      for (const { key } of acknowledged) assert.equal(keys.get(key), attempted.get(key), `${where}: ${key}`);
      for (const [key, value] of keys) assert.equal(value, attempted.get(key), `${where}: ${key}`);
      assert.equal(revision, 1 + keys.size, `${where}: one revision for each put`);
      calls = [];
    }
  }
});

// covers: AP-04, WA-18
test("cutting the log keeps what a restart needs, and gives up the rest", async () => {
  const simulated = await SimulatedMember.serving({ settings: BUSY_SETTINGS, segmentBytes: 16 * 1024 });
  for (let i = 0; i < 200; i++) {
    putNow(simulated, `k${i}`, "v".repeat(700));
    simulated.advance(20);
  }
  simulated.advance(1000);
  const segments = simulated.disk.readDirectory(`${MEMBER_DIRECTORY}/wal`);
  assert.ok(segments.length < 8, `${segments.length} files are left of a log of 200 KB in segments of 16 KB`);
  simulated.crash();
  await simulated.boot();
  assert.equal(contents(simulated).keys.size, 200);
});

test("large values are cut from the log by their bytes, long before there are many of them", async () => {
  const segmentBytes = 8 * 1024 * 1024;
  const simulated = await SimulatedMember.serving({ segmentBytes });
  const value = "v".repeat(1024 * 1024);
  for (let i = 0; i < 160; i++) {
    putNow(simulated, `k${i % 4}`, value);
    simulated.advance(20);
  }
  simulated.advance(1000);
  const segments = simulated.disk.readDirectory(`${MEMBER_DIRECTORY}/wal`).length;
  assert.ok(segments * segmentBytes <= 112 * 1024 * 1024, `${segments} files of 8 MiB for a log of 160 MiB`);
});

// covers: WA-07, LI-02
test("a start that is interrupted before the log has its first entry is made good by the next", async () => {
  const simulated = new SimulatedMember();
  createLog(identityOf(simulated.config), simulated.config.walDirectory, simulated.directories);
  simulated.disk.crash();
  // The first save is on its way when power fails: the promise never settles.
  void simulated.openOver({ clock: simulated.world, timers: simulated.world });
  for (let i = 0; i < 10; i++) await Promise.resolve();
  assert.equal(simulated.disk.pendingCount, 1);
  simulated.crash();
  await simulated.boot();
  putNow(simulated, "a", "1");
  simulated.crash();
  await simulated.boot();
  assert.equal(contents(simulated).keys.get("a"), "1");
  assert.equal(simulated.member.membership.members().length, 1);
});

test("a start is made good however often it is cut off", async () => {
  for (let seed = 0; seed < 40; seed++) {
    const simulated = new SimulatedMember({ seed });
    const random = new SeededRandom(seed);
    for (let attempt = 0; attempt < 4; attempt++) {
      await simulated.open();
      simulated.member.start();
      for (let step = random.below(20); step > 0; step--) simulated.happen(random.below(4));
      simulated.crash();
    }
    await simulated.boot();
    putNow(simulated, "a", "1");
    assert.equal(simulated.member.membership.members().length, 1);
    assert.equal(simulated.member.membership.members()[0]!.name, "m");
  }
});

test("the identity and the configuration last", async () => {
  const simulated = await SimulatedMember.serving();
  const { id, membership } = simulated.member;
  simulated.advance(1000);
  assert.notEqual(simulated.image.table("meta").get(Buffer.from("confState").toString("hex")), undefined);
  for (const end of ["crash", "stop"] as const) {
    simulated[end]();
    await simulated.boot();
    assert.equal(simulated.member.id, id);
    assert.equal(simulated.member.membership.clusterId, membership.clusterId);
    assert.equal(simulated.member.isLeader, true);
    assert.equal(simulated.member.membership.clusterVersion, membership.clusterVersion);
  }
});

test("a member that was alone and had flushed nothing starts behind its log", async () => {
  const simulated = await SimulatedMember.serving();
  for (let i = 0; i < 10; i++) {
    put(simulated, `k${i}`, "v");
    simulated.saveLog();
  }
  simulated.crash();
  assert.equal(simulated.image.records.length, 0);
  await simulated.boot();
  assert.equal(contents(simulated).keys.size, 10);
});

// covers: QU-10
test("a member becomes ready however many entries its log is ahead of its storage", async () => {
  const simulated = await SimulatedMember.serving();
  // In one save: the log knows of the commit only with the next one, so all of it is applied after the election.
  for (let i = 0; i < 7000; i++) put(simulated, `k${i}`, "v");
  simulated.saveLog();
  simulated.crash();
  await simulated.boot();
  assert.equal(contents(simulated).keys.size, 7000);
});

test("storage that has more than the log's commit index says is believed", async () => {
  const simulated = await SimulatedMember.serving();
  putNow(simulated, "a", "1");
  // Flushed, while no later save has carried the commit index of the put into the log.
  simulated.advance(200);
  const { appliedIndex } = simulated.member;
  simulated.crash();
  await simulated.open();
  assert.equal(simulated.member.backend.flushedIndex, appliedIndex);
  simulated.member.start();
  simulated.settle();
  assert.equal(contents(simulated).revision, 2);
});

// --- failures of disk and storage

// covers: WA-08
test("when a save of the log fails nothing is answered and the member asks to end", async () => {
  const simulated = await SimulatedMember.serving();
  simulated.disk.onCall = (call, path) => (call === "writeDurably" ? systemError("EIO", "write", path) : null);
  const call = put(simulated, "a", "1");
  simulated.settle();
  assert.match(String(simulated.failure), /EIO/);
  assert.equal(call.status, null);
  simulated.advance(3000);
  assert.equal(simulated.image.records.length, 0, "what was not saved is not stored either");
  simulated.disk.onCall = null;
  simulated.crash();
  await simulated.boot();
  assert.equal(contents(simulated).keys.size, 0);
});

// covers: WA-08, WA-10
test("when a flush fails the member asks to end, and the log still has everything", async () => {
  const simulated = await SimulatedMember.serving();
  putNow(simulated, "a", "1");
  simulated.storage.failNextCommit(new Error("ENOSPC"));
  simulated.advance(200);
  assert.match(String(simulated.failure), /ENOSPC/);
  simulated.crash();
  await simulated.boot();
  assert.equal(contents(simulated).keys.get("a"), "1");
});

test("what is applied during a long flush is flushed after it, though nothing more is written", async () => {
  const simulated = await SimulatedMember.serving();
  putNow(simulated, "a", "1");
  simulated.advanceStalled(150);
  assert.equal(simulated.member.backend.isFlushing, true);
  put(simulated, "b", "2");
  simulated.saveLog();
  simulated.advanceStalled(300);
  simulated.settle();
  const { backend } = simulated.member;
  assert.ok(backend.flushedIndex < backend.appliedIndex);
  simulated.advance(200);
  assert.equal(backend.flushedIndex, backend.appliedIndex);
});

// --- stopping

test("a clean stop flushes everything and fails what waits", async () => {
  const simulated = await SimulatedMember.serving();
  putNow(simulated, "a", "1");
  const waiting = put(simulated, "b", "2");
  assert.equal(simulated.stop(), null);
  assert.equal(waiting.status!.message, "etcdserver: server stopped");
  assert.equal(simulated.image.records.length, 1);
  const late = put(simulated, "c", "3");
  assert.equal(late.status!.message, "etcdserver: server stopped");
  await simulated.boot();
  assert.equal(contents(simulated).keys.get("a"), "1");
});

test("a stop during a save of the log and a flush waits for both", async () => {
  const simulated = await SimulatedMember.serving();
  putNow(simulated, "a", "1");
  simulated.advanceStalled(150);
  assert.equal(simulated.member.backend.isFlushing, true);
  put(simulated, "b", "2");
  simulated.runTurns();
  assert.equal(simulated.disk.pendingCount, 1);
  assert.equal(simulated.stop(), null);
  await simulated.boot();
  assert.equal(contents(simulated).keys.get("a"), "1");
});

// --- the checkpoint of the key index

function overwrite(simulated: SimulatedMember, path: string, at: number, with_: number): void {
  const file = simulated.disk.open(path, "write");
  file.write(Buffer.from([with_]), 0, 1, at);
  file.sync();
  file.close();
}

test("a checkpoint of the key index that is damaged, cut short, old or missing only costs time", async () => {
  const path = `${MEMBER_DIRECTORY}/index`;
  const simulated = await SimulatedMember.serving();
  for (let i = 0; i < 30; i++) putNow(simulated, `k${i}`, `v${i}`);
  assert.equal(simulated.stop(), null);
  assert.equal(simulated.disk.exists(path), true);
  const whole = Buffer.from(simulated.disk.contents(path));
  for (let at = 0; at < whole.length; at += 3) {
    overwrite(simulated, path, at, whole[at]! ^ 0xff);
    await simulated.boot();
    assert.equal(contents(simulated).keys.size, 30, `byte ${at}`);
    simulated.kill();
    overwrite(simulated, path, at, whole[at]!);
  }
  for (const sizeBytes of [0, 1, 20, 48, whole.length - 1]) {
    const file = simulated.disk.open(path, "write");
    file.truncate(sizeBytes);
    file.close();
    await simulated.boot();
    assert.equal(contents(simulated).keys.size, 30, `${sizeBytes} bytes`);
    simulated.kill();
  }
  simulated.disk.remove(path);
  await simulated.boot();
  assert.equal(contents(simulated).keys.size, 30);
  // Old: written at a stop, then the member went on, deleted, compacted, and was killed.
  assert.equal(simulated.stop(), null);
  await simulated.boot();
  const remove = { key: bytes("k1"), rangeEnd: bytes("k2") };
  simulated.call("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, remove, DeleteRangeResponse);
  putNow(simulated, "new", "1");
  const { revision } = simulated.member.store;
  simulated.call("/etcdserverpb.KV/Compact", CompactionRequest, { revision }, CompactionResponse);
  simulated.advance(1000);
  simulated.kill();
  await simulated.boot();
  const after = contents(simulated);
  assert.equal(after.revision, revision);
  assert.equal(after.keys.size, 30 - 11 + 1);
});

test("a checkpoint that the disk cannot read only costs time", async () => {
  const simulated = await SimulatedMember.serving();
  for (let i = 0; i < 30; i++) putNow(simulated, `k${i}`, `v${i}`);
  assert.equal(simulated.stop(), null);
  simulated.disk.onCall = (call, path) =>
    call === "read" && path.endsWith("/index") ? systemError("EIO", "read", path) : null;
  await simulated.boot();
  assert.equal(contents(simulated).keys.size, 30);
});

// --- leases

const GRANT = "/etcdserverpb.Lease/LeaseGrant";

function ttlOf(simulated: SimulatedMember, ID: bigint): number {
  const path = "/etcdserverpb.Lease/LeaseTimeToLive";
  return simulated.call(path, LeaseTimeToLiveRequest, { ID }, LeaseTimeToLiveResponse).TTL;
}

test("an expired lease goes with its keys, in one revision, and never early", async () => {
  const simulated = await SimulatedMember.serving();
  simulated.call(GRANT, LeaseGrantRequest, { ID: 7n, TTL: 5 }, LeaseGrantResponse);
  putNow(simulated, "a", "1", 7n);
  const revision = putNow(simulated, "b", "2", 7n);
  simulated.advance(4900);
  assert.equal(contents(simulated).keys.size, 2);
  simulated.advance(700);
  const after = contents(simulated);
  assert.equal(after.keys.size, 0);
  assert.equal(after.revision, revision + 1);
  assert.equal(ttlOf(simulated, 7n), -1);
});

// covers: LE-07
test("a revoke that is lost is proposed again", async () => {
  const simulated = await SimulatedMember.serving();
  simulated.call(GRANT, LeaseGrantRequest, { ID: 7n, TTL: 5 }, LeaseGrantResponse);
  simulated.advanceStalled(5600);
  assert.equal(simulated.member.counters.leasesExpired, 1);
  simulated.advanceStalled(6300);
  assert.equal(simulated.member.counters.leasesExpired, 1);
  simulated.advanceStalled(700);
  assert.equal(simulated.member.counters.leasesExpired, 2);
  simulated.settle();
  assert.equal(ttlOf(simulated, 7n), -1);
  assert.equal(simulated.failure, null, "the second revoke of the lease harms nobody");
});

// covers: LE-05, LE-06
test("the clock of leases starts when everything before the leader's term is applied", async () => {
  const simulated = await SimulatedMember.serving();
  // The next life ends when the first entry of its term is durable, and the log has not heard that anything is committed.
  simulated.crash();
  await simulated.open();
  simulated.member.start();
  while (simulated.member.appliedIndex < simulated.member.commitIndex || !simulated.member.isLeader) {
    simulated.disk.runPending(1);
  }
  simulated.send(GRANT, LeaseGrantRequest, { ID: 1n, TTL: 60 });
  simulated.kill();
  await simulated.open();
  const { lessor, backend } = simulated.member;
  const promotedAt: number[] = [];
  const promote = lessor.promote.bind(lessor);
  lessor.promote = (extendMs) => {
    promotedAt.push(backend.appliedIndex);
    assert.equal(backend.appliedIndex, simulated.member.commitIndex, "nothing is left to apply");
    promote(extendMs);
  };
  simulated.member.start();
  simulated.settle();
  assert.equal(promotedAt.length, 1, "once");
});

test("a lease outlives a restart with its full time", async () => {
  const simulated = await SimulatedMember.serving();
  simulated.call(GRANT, LeaseGrantRequest, { ID: 7n, TTL: 10 }, LeaseGrantResponse);
  putNow(simulated, "a", "1", 7n);
  simulated.advance(8000);
  simulated.crash();
  await simulated.boot();
  simulated.advance(9000);
  assert.equal(contents(simulated).keys.size, 1);
  simulated.advance(3000);
  assert.equal(contents(simulated).keys.size, 0);
});

// --- time-outs and alarms

// covers: RA-19
test("a proposal whose entry never becomes durable times out, and its outcome is unknown", async () => {
  const simulated = await SimulatedMember.serving();
  const call = put(simulated, "a", "1");
  simulated.advanceStalled(6900);
  assert.equal(call.status, null);
  simulated.advanceStalled(800);
  assert.equal(call.status!.message, "etcdserver: request timed out");
  simulated.settle();
  assert.equal(contents(simulated).keys.get("a"), "1");
});

// covers: QU-06, AP-04
test("alarms last, whatever is asked of them twice", async () => {
  const simulated = await SimulatedMember.serving();
  const ask = (action: number, memberID: bigint, alarm: number): number =>
    simulated.call("/etcdserverpb.Maintenance/Alarm", AlarmRequest, { action, memberID, alarm }, AlarmResponse).alarms
      .length;
  for (let i = 0; i < 2; i++) assert.equal(ask(AlarmAction.ACTIVATE, 5n, AlarmType.NOSPACE), 1);
  assert.equal(ask(AlarmAction.GET, 0n, AlarmType.NONE), 1);
  const { appliedIndex } = simulated.member.backend;
  assert.equal(ask(AlarmAction.GET, 0n, AlarmType.CORRUPT), 0);
  assert.equal(simulated.member.backend.appliedIndex, appliedIndex + 1, "a question is an entry too");
  simulated.crash();
  await simulated.boot();
  assert.equal(ask(AlarmAction.GET, 0n, AlarmType.NOSPACE), 1);
  assert.equal(ask(AlarmAction.DEACTIVATE, 6n, AlarmType.NOSPACE), 0);
  assert.equal(ask(AlarmAction.DEACTIVATE, 5n, AlarmType.CORRUPT), 0);
  assert.equal(ask(AlarmAction.DEACTIVATE, 5n, AlarmType.NOSPACE), 1);
  assert.equal(ask(AlarmAction.DEACTIVATE, 5n, AlarmType.NOSPACE), 0);
  simulated.crash();
  await simulated.boot();
  assert.equal(ask(AlarmAction.GET, 0n, AlarmType.NONE), 0);
});

test("a physical compaction answers when it is carried out and flushed, also if the revision was compacted before", async () => {
  const simulated = await SimulatedMember.serving();
  for (let i = 0; i < 5; i++) putNow(simulated, `k${i}`, "v");
  simulated.advance(500);
  const request = { revision: 4, physical: true };
  const path = "/etcdserverpb.KV/Compact";
  const first = simulated.send(path, CompactionRequest, request);
  simulated.saveLog();
  const second = simulated.send(path, CompactionRequest, request);
  simulated.saveLog();
  assert.equal(simulated.member.store.compactRevision, 4);
  assert.deepEqual([first.status, second.status], [null, null]);
  simulated.advance(500);
  assert.equal(first.status!.code, 0);
  assert.match(second.status!.message, /required revision has been compacted/);
});
