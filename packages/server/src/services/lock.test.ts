/** Locks against the semantics reference, §8, on one member whose time stands still unless told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { StatusCode } from "@quorate/api";
import {
  AlarmRequest,
  AlarmResponse,
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
  LockRequest,
  LockResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  UnlockRequest,
  UnlockResponse,
} from "@quorate/api/messages";
import type { FakeCall } from "../testing/fake-call.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";

const LOCK = "/v3lockpb.Lock/Lock";
const UNLOCK = "/v3lockpb.Lock/Unlock";

function grant(simulated: SimulatedMember, ...ids: bigint[]): void {
  for (const ID of ids) {
    simulated.call("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, { ID, TTL: 60 }, LeaseGrantResponse);
  }
}

function revoke(simulated: SimulatedMember, ID: bigint): void {
  simulated.call("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, { ID }, LeaseRevokeResponse);
}

/** The call, which may wait. */
function lock(simulated: SimulatedMember, name: string, lease: bigint): FakeCall {
  const call = simulated.send(LOCK, LockRequest, { name: Buffer.from(name), lease });
  simulated.settle();
  return call;
}

function unlock(simulated: SimulatedMember, key: string): UnlockResponse {
  return simulated.call(UNLOCK, UnlockRequest, { key: Buffer.from(key) }, UnlockResponse);
}

function remove(simulated: SimulatedMember, key: string): void {
  const path = "/etcdserverpb.KV/DeleteRange";
  simulated.call(path, DeleteRangeRequest, { key: Buffer.from(key) }, DeleteRangeResponse);
}

/** "waits", the key and the header's revision, or how it failed. */
function state(call: FakeCall): string {
  if (call.status === null) return "waits";
  if (call.status.code !== 0) return `${call.status.code} ${call.status.message}`;
  const { key, header } = LockResponse.decode(call.messages[0]!, 0, call.messages[0]!.length);
  return `${key} @${header!.revision}`;
}

/** Keys under the name with their create revisions, as a client sees them. */
function queue(simulated: SimulatedMember, name: string): string[] {
  const { kvs } = simulated.call(
    "/etcdserverpb.KV/Range",
    RangeRequest,
    { key: Buffer.from(`${name}/`), rangeEnd: Buffer.from(`${name}0`) },
    RangeResponse,
  );
  return kvs.map((kv) => `${kv.key}:${kv.createRevision}`);
}

test("a free lock is acquired by one transaction, whose header is answered", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 0xabcn);
  assert.equal(state(lock(simulated, "l", 0xabcn)), "l/abc @2");
  assert.deepEqual(queue(simulated, "l"), ["l/abc:2"]);
});

test("the key is the name, a slash and the lease in hex, whatever the name and the lease", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, -255n);
  assert.equal(state(lock(simulated, "", 1n)), "/1 @2");
  assert.equal(state(lock(simulated, "a/b/", -255n)), "a/b//-ff @3");
});

test("without a lease one of a minute is granted, and nobody keeps it alive", async () => {
  const simulated = await SimulatedMember.serving();
  const answered = state(lock(simulated, "l", 0n));
  const ID = BigInt(`0x${/^l\/([0-9a-f]+) @2$/.exec(answered)![1]!}`);
  const path = "/etcdserverpb.Lease/LeaseTimeToLive";
  const { grantedTTL } = simulated.call(path, LeaseTimeToLiveRequest, { ID }, LeaseTimeToLiveResponse);
  assert.equal(grantedTTL, 60);
  simulated.advance(62_000);
  assert.deepEqual(queue(simulated, "l"), []);
});

test("waiters get the lock in the order they came, each by the read that showed it", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n, 3n);
  lock(simulated, "l", 1n);
  const second = lock(simulated, "l", 2n);
  const third = lock(simulated, "l", 3n);
  lock(simulated, "lx", 1n);
  assert.deepEqual([state(second), state(third)], ["waits", "waits"]);
  assert.equal(unlock(simulated, "l/1").header!.revision, 6);
  simulated.settle();
  assert.deepEqual([state(second), state(third)], ["l/2 @6", "waits"]);
  revoke(simulated, 2n);
  simulated.settle();
  assert.equal(state(third), "l/3 @7");
});

test("a waiter in the middle that leaves is passed over", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n, 3n);
  lock(simulated, "l", 1n);
  const second = lock(simulated, "l", 2n);
  const third = lock(simulated, "l", 3n);
  second.cancel();
  simulated.settle();
  assert.equal(state(third), "waits");
  unlock(simulated, "l/1");
  simulated.settle();
  assert.equal(state(third), "l/3 @6");
});

test("the same session gets the lock it holds once more, and waits twice for one place", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n);
  lock(simulated, "l", 1n);
  assert.equal(state(lock(simulated, "l", 1n)), "l/1 @2");
  const waiting = [lock(simulated, "l", 2n), lock(simulated, "l", 2n)];
  unlock(simulated, "l/1");
  simulated.settle();
  assert.deepEqual(waiting.map(state), ["l/2 @4", "l/2 @4"]);
});

test("unlocking deletes whatever key it is given, and is content if there is none", async () => {
  const simulated = await SimulatedMember.serving();
  assert.equal(unlock(simulated, "l/1").header!.revision, 1);
  simulated.call("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("any") }, PutResponse);
  assert.equal(unlock(simulated, "any").header!.revision, 3);
});

// covers: LO-01, LO-03
test("a waiter whose session has expired hears so at once, though the holder stays", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n, 3n);
  lock(simulated, "l", 1n);
  const second = lock(simulated, "l", 2n);
  const third = lock(simulated, "l", 3n);
  revoke(simulated, 2n);
  simulated.settle();
  assert.equal(state(second), `${StatusCode.Unknown} mutex: session is expired`);
  assert.deepEqual(queue(simulated, "l"), ["l/1:2", "l/3:4"]);
  unlock(simulated, "l/1");
  simulated.settle();
  assert.equal(state(third), "l/3 @6");
});

// covers: LO-01
test("a place that was lost and taken anew is another place", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n, 3n);
  lock(simulated, "l", 1n);
  const second = lock(simulated, "l", 2n);
  const third = lock(simulated, "l", 3n);
  remove(simulated, "l/2");
  const again = simulated.send(LOCK, LockRequest, { name: Buffer.from("l"), lease: 2n });
  remove(simulated, "l/1");
  simulated.settle();
  assert.equal(state(second), `${StatusCode.Unknown} mutex: session is expired`);
  assert.equal(state(third), "l/3 @7", "it was there before the second came back");
  assert.equal(state(again), "waits");
});

// covers: LO-05
test("a waiter that is cancelled leaves nothing behind", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n);
  lock(simulated, "l", 1n);
  for (const reason of ["cancelled", "deadline", "connection"] as const) {
    const waiting = lock(simulated, "l", 2n);
    assert.equal(state(waiting), "waits");
    assert.equal(queue(simulated, "l").length, 2);
    waiting.cancel(reason);
    simulated.settle();
    assert.deepEqual(queue(simulated, "l"), ["l/1:2"]);
  }
  assert.equal(simulated.member.hub.watcherCount, 0);
});

// covers: LO-05
test("a call cancelled while its transaction is under way leaves nothing behind either", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n);
  const call = simulated.send(LOCK, LockRequest, { name: Buffer.from("l"), lease: 1n });
  call.cancel();
  simulated.settle();
  assert.deepEqual(queue(simulated, "l"), []);
  assert.equal(simulated.member.store.revision, 3, "put, and deleted");
});

test("a session that asks for the lock it holds and gives that call up keeps the lock", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n);
  lock(simulated, "l", 1n);
  const call = simulated.send(LOCK, LockRequest, { name: Buffer.from("l"), lease: 1n });
  call.cancel();
  simulated.settle();
  assert.deepEqual(queue(simulated, "l"), ["l/1:2"]);
});

// covers: LO-04
test("leaving late does not take a newer place of the same session away", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n);
  lock(simulated, "l", 1n);
  const old = lock(simulated, "l", 2n);
  // The newer place is in the log before the old call leaves.
  simulated.send("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, { key: Buffer.from("l/2") });
  simulated.send("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("l/2"), lease: 2n });
  old.cancel();
  simulated.settle();
  assert.deepEqual(queue(simulated, "l"), ["l/1:2", "l/2:5"]);
});

test("what fails inside keeps its text and loses its code", async () => {
  const simulated = await SimulatedMember.serving();
  assert.equal(state(lock(simulated, "l", 7n)), `${StatusCode.Unknown} etcdserver: requested lease not found`);
  const call = simulated.send(UNLOCK, UnlockRequest, {});
  simulated.settle();
  assert.deepEqual(call.status, { code: StatusCode.Unknown, message: "etcdserver: key is not provided" });
  simulated.call(
    "/etcdserverpb.Maintenance/Alarm",
    AlarmRequest,
    { action: 1, memberID: simulated.member.id, alarm: 1 },
    AlarmResponse,
  );
  assert.equal(state(lock(simulated, "l", 0n)), `${StatusCode.Unknown} etcdserver: mvcc: database space exceeded`);
});

test("a request that is no message is refused as everywhere", async () => {
  const simulated = await SimulatedMember.serving();
  const call = simulated.sendBytes(LOCK, Buffer.from([0x0a, 0x7f]));
  assert.equal(call.status!.code, StatusCode.Internal);
});

test("an end wakes one waiter, and waiting costs nothing", async () => {
  const simulated = await SimulatedMember.serving();
  const ids = Array.from({ length: 20 }, (_, i) => BigInt(i + 1));
  grant(simulated, ...ids);
  const calls = ids.map((id) => lock(simulated, "l", id));
  const { counters, store } = simulated.member;
  const before = { events: counters.watchEvents, txns: store.counts.txns };
  simulated.advance(30_000);
  assert.deepEqual({ events: counters.watchEvents, txns: store.counts.txns }, before, "nobody polls");
  unlock(simulated, "l/1");
  simulated.settle();
  assert.equal(counters.watchEvents - before.events, 1);
  assert.deepEqual(
    calls.map((call) => state(call) === "waits"),
    ids.map((id) => id > 2n),
  );
});

test("compaction does not disturb who waits", async () => {
  const simulated = await SimulatedMember.serving();
  grant(simulated, 1n, 2n);
  lock(simulated, "l", 1n);
  const second = simulated.send(LOCK, LockRequest, { name: Buffer.from("l"), lease: 2n });
  simulated.settle();
  for (let i = 0; i < 5; i++) {
    simulated.call("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("other") }, PutResponse);
  }
  const revision = simulated.member.store.revision;
  simulated.call("/etcdserverpb.KV/Compact", CompactionRequest, { revision }, CompactionResponse);
  simulated.settle();
  assert.equal(state(second), "waits");
  unlock(simulated, "l/1");
  simulated.settle();
  assert.equal(state(second), "l/2 @9");
});
