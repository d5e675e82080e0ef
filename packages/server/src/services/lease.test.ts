/** Keep-alive streams: strictly in order, also behind a lease that is past its time. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { StatusCode } from "@quorate/api";
import {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseLeasesRequest,
  LeaseLeasesResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
  PutRequest,
  PutResponse,
} from "@quorate/api/messages";
import { type FakeStream, SimulatedMember } from "../testing/simulated-member.ts";

const GRANT = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE = "/etcdserverpb.Lease/LeaseRevoke";
const KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive";

async function withLeases(ttls: Readonly<Record<number, number>>): Promise<SimulatedMember> {
  const simulated = await SimulatedMember.serving();
  for (const [id, TTL] of Object.entries(ttls)) {
    simulated.call(GRANT, LeaseGrantRequest, { ID: BigInt(id), TTL }, LeaseGrantResponse);
  }
  return simulated;
}

function keepAlive(stream: FakeStream, ...ids: number[]): void {
  for (const id of ids) stream.send(LeaseKeepAliveRequest, { ID: BigInt(id) });
}

/** "7:60" for each answer. */
function answers(stream: FakeStream): string[] {
  return stream.received(LeaseKeepAliveResponse).map((each) => `${each.ID}:${each.TTL}`);
}

test("a keep-alive answers the granted time, an unknown lease 0, and the stream goes on", async () => {
  const simulated = await withLeases({ 7: 60, 8: 1 });
  const stream = simulated.openStream(KEEP_ALIVE);
  keepAlive(stream, 7, 99, 8, 7);
  assert.deepEqual(answers(stream), ["7:60", "99:0", "8:2", "7:60"]);
  assert.equal(stream.call.status, null);
  stream.halfClose();
  assert.equal(stream.call.status!.code, 0);
});

test("a lease kept alive does not expire, and one that is not does", async () => {
  const simulated = await withLeases({ 7: 5, 8: 5 });
  const stream = simulated.openStream(KEEP_ALIVE);
  for (let i = 0; i < 10; i++) {
    simulated.advance(2000);
    keepAlive(stream, 7);
  }
  const { leases } = simulated.call("/etcdserverpb.Lease/LeaseLeases", LeaseLeasesRequest, {}, LeaseLeasesResponse);
  assert.deepEqual(leases, [{ ID: 7n }]);
});

// covers: LE-01, LE-03
test("a lease past its time cannot be saved: the stream waits for its revoke, and what comes after waits behind", async () => {
  const simulated = await withLeases({ 7: 5, 8: 60 });
  simulated.call("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("a"), lease: 7n }, PutResponse);
  const stream = simulated.openStream(KEEP_ALIVE);
  const other = simulated.openStream(KEEP_ALIVE);
  simulated.world.nowMs += 5001;
  keepAlive(stream, 7, 8, 99);
  keepAlive(other, 8);
  assert.deepEqual(answers(stream), []);
  assert.deepEqual(answers(other), ["8:60"], "another stream does not wait");
  simulated.advanceStalled(600);
  assert.deepEqual(answers(stream), [], "the revoke is proposed and not durable");
  simulated.saveLog();
  assert.deepEqual(answers(stream), ["7:0", "8:60", "99:0"]);
  keepAlive(stream, 7);
  assert.deepEqual(answers(stream), ["7:0"]);
});

test("a stream may wait for one lease after the other, and ends when it was half closed meanwhile", async () => {
  const simulated = await withLeases({ 7: 5, 8: 5, 9: 60 });
  const stream = simulated.openStream(KEEP_ALIVE);
  simulated.world.nowMs += 5001;
  keepAlive(stream, 7, 9, 8, 9, 7);
  stream.halfClose();
  assert.equal(stream.call.status, null);
  simulated.advance(600);
  assert.deepEqual(answers(stream), ["7:0", "9:60", "8:0", "9:60", "7:0"]);
  assert.equal(stream.call.status!.code, 0);
});

test("a client that goes away while it waits is forgotten", async () => {
  const simulated = await withLeases({ 7: 5, 9: 60 });
  const stream = simulated.openStream(KEEP_ALIVE);
  simulated.world.nowMs += 5001;
  keepAlive(stream, 7, 9);
  stream.call.cancel();
  const before = simulated.member.lessor.timeToLive(9n)!.remainingSeconds;
  simulated.advance(600);
  assert.deepEqual(answers(stream), []);
  assert.ok(simulated.member.lessor.timeToLive(9n)!.remainingSeconds! <= before!, "what was queued renews nothing");
});

test("a stream that sends nonsense or too much while it waits fails, and renews nothing afterwards", async () => {
  for (const kind of ["nonsense", "too much"] as const) {
    const simulated = await withLeases({ 7: 5, 9: 60 });
    const stream = simulated.openStream(KEEP_ALIVE);
    simulated.world.nowMs += 5001;
    keepAlive(stream, 7, 9);
    if (kind === "nonsense") stream.sendBytes(Buffer.from([0xff]));
    else for (let i = 0; i < 10_000; i++) keepAlive(stream, 9);
    assert.notEqual(stream.call.status!.code, 0);
    simulated.advance(600);
    assert.deepEqual(answers(stream), []);
    assert.ok(simulated.member.lessor.timeToLive(9n)!.remainingSeconds! < 56);
  }
});

test("a keep-alive waits for whoever leads next, no longer than a request may take", async () => {
  const simulated = await withLeases({ 7: 5, 8: 5 });
  const waiting = simulated.openStream(KEEP_ALIVE);
  simulated.world.nowMs += 5001;
  keepAlive(waiting, 7, 8);
  simulated.member.lessor.demote();
  const late = simulated.openStream(KEEP_ALIVE);
  keepAlive(late, 7);
  simulated.advance(6999);
  assert.deepEqual([waiting.call.status, late.call.status], [null, null]);
  simulated.advance(1);
  const status = { code: StatusCode.Unavailable, message: "etcdserver: request timed out" };
  assert.deepEqual([waiting.call.status, late.call.status], [status, status]);
});

test("the answer's revision is the one before the renewal was tried", async () => {
  const simulated = await withLeases({ 7: 5 });
  simulated.call("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("a"), lease: 7n }, PutResponse);
  const stream = simulated.openStream(KEEP_ALIVE);
  simulated.world.nowMs += 5001;
  keepAlive(stream, 7);
  simulated.advance(600);
  assert.equal(simulated.member.store.revision, 3);
  assert.equal(stream.received(LeaseKeepAliveResponse)[0]!.header!.revision, 2);
});

// covers: LE-09, LE-10
test("a grant takes any id but 0, which is for the server to choose, and any time it can count", async () => {
  const simulated = await SimulatedMember.serving();
  const grant = (ID: bigint, TTL: number) => simulated.call(GRANT, LeaseGrantRequest, { ID, TTL }, LeaseGrantResponse);
  const chosen = grant(0n, 100);
  assert.ok(chosen.ID > 0n);
  assert.equal(grant(-5n, -100).TTL, 2);
  assert.equal(grant(2n ** 63n - 1n, 9_000_000_000).TTL, 9_000_000_000);
  assert.throws(() => grant(11n, 9_000_000_001), /too large lease TTL/);
  assert.throws(() => grant(-5n, 100), /lease already exists/);
  simulated.crash();
  await simulated.boot();
  assert.equal(simulated.member.lessor.count, 3);
  simulated.advance(10_000);
  assert.deepEqual(new Set(simulated.member.lessor.leases()), new Set([chosen.ID, 2n ** 63n - 1n]));
});

test("a revoke takes the keys along in one revision; without keys there is none", async () => {
  const simulated = await withLeases({ 7: 60, 8: 60 });
  for (const key of ["b", "a"]) {
    simulated.call("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from(key), lease: 7n }, PutResponse);
  }
  const ask = { ID: 7n, keys: true };
  const path = "/etcdserverpb.Lease/LeaseTimeToLive";
  const told = simulated.call(path, LeaseTimeToLiveRequest, ask, LeaseTimeToLiveResponse);
  assert.deepEqual(told.keys.map(String).length, 2);
  const revoke = (ID: bigint) => simulated.call(REVOKE, LeaseRevokeRequest, { ID }, LeaseRevokeResponse).header!;
  assert.equal(revoke(7n).revision, 4);
  assert.equal(revoke(8n).revision, 4);
  assert.throws(() => revoke(8n), /requested lease not found/);
  assert.equal(simulated.call(path, LeaseTimeToLiveRequest, ask, LeaseTimeToLiveResponse).TTL, -1);
});
