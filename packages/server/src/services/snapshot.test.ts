/** Maintenance.Snapshot: what arrives is a database with its digest, and who goes away or comes in crowds costs nothing. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { PutRequest, SnapshotRequest, SnapshotResponse } from "@quorate/api/messages";
import { BboltReader } from "@quorate/bbolt";
import { CLIENT_SNAPSHOTS_MAX } from "../member/client-snapshots.ts";
import { FakeCall } from "../testing/fake-call.ts";
import { MEMBER_DIRECTORY, SimulatedMember } from "../testing/simulated-member.ts";
import { SNAPSHOT_BLOB_BYTES } from "./snapshot.ts";

const SNAPSHOT = "/etcdserverpb.Maintenance/Snapshot";
const PUT = "/etcdserverpb.KV/Put";
const DIGEST_BYTES = 32;

async function withKeys(count: number, valueBytes = 1000): Promise<SimulatedMember> {
  const simulated = await SimulatedMember.serving();
  for (let i = 0; i < count; i++) put(simulated, `key-${String(i).padStart(5, "0")}`, valueBytes);
  return simulated;
}

function put(simulated: SimulatedMember, key: string, valueBytes = 10): void {
  simulated.send(PUT, PutRequest, { key: Buffer.from(key), value: Buffer.alloc(valueBytes, key) });
  simulated.settle();
}

function ask(simulated: SimulatedMember, call: FakeCall = new FakeCall(SNAPSHOT)): FakeCall {
  return simulated.send(SNAPSHOT, SnapshotRequest, {}, call);
}

function received(call: FakeCall): SnapshotResponse[] {
  return call.messages.map((each) => SnapshotResponse.decode(each, 0, each.length));
}

/** The records in the file that the call has received. */
function recordsOf(call: FakeCall): number {
  const bytes = Buffer.concat(received(call).map(({ blob }) => blob));
  const reader = new BboltReader({
    sizeBytes: () => bytes.length,
    read: (into, length, position) => bytes.copy(into, 0, position, position + length),
  });
  reader.check();
  let count = 0;
  reader.visit(Buffer.from("key"), {
    visit: () => {
      count++;
      return true;
    },
  });
  return count;
}

function filesOf(simulated: SimulatedMember): string[] {
  return simulated.disk.readDirectory(MEMBER_DIRECTORY).filter((name) => name.startsWith("outgoing"));
}

test("pieces count down to nothing, the digest of all of them follows, and each says the version", async () => {
  const simulated = await withKeys(200);
  const call = ask(simulated);
  simulated.settle();
  assert.deepEqual(call.status, { code: 0, message: "" });
  const messages = received(call);
  const blobs = messages.map(({ blob }) => blob);
  const digest = blobs.pop()!;
  assert.deepEqual(createHash("sha256").update(Buffer.concat(blobs)).digest(), Buffer.from(digest));
  let left = blobs.reduce((sum, { length }) => sum + length, 0);
  assert.equal(left % 4096, 0, "the saved file's size says that a digest ends it");
  for (const [i, { remainingBytes, version, header }] of messages.entries()) {
    if (i < blobs.length) left -= blobs[i]!.length;
    assert.deepEqual([remainingBytes, version, header], [left, "3.7.0", undefined]);
  }
  for (const blob of blobs.slice(0, -1)) assert.equal(blob.length, SNAPSHOT_BLOB_BYTES);
  assert.equal(recordsOf(call), 200);
  assert.deepEqual(filesOf(simulated), []);
});

test("it has everything that was applied when it was asked for, in storage or not", async () => {
  const simulated = await withKeys(20);
  assert.equal(simulated.storage.image.records.length, 0, "nothing is in storage yet");
  const call = ask(simulated);
  simulated.settle();
  assert.equal(recordsOf(call), 20);
});

test("nothing is read ahead of a client that does not take what it was sent", async () => {
  const simulated = await withKeys(1000, 2000);
  const call = new FakeCall(SNAPSHOT);
  call.isReading = false;
  ask(simulated, call);
  simulated.settle();
  const sent = call.messages.length;
  assert.ok(call.queuedBytes < 512 * 1024 && call.status === null, `${call.queuedBytes} bytes are queued`);
  // Writes go on meanwhile, and are not in it.
  put(simulated, "later");
  assert.equal(call.messages.length, sent);
  call.isReading = true;
  call.take();
  simulated.settle();
  assert.equal(recordsOf(call), 1000);
  assert.equal(received(call).at(-1)!.blob.length, DIGEST_BYTES);
});

test("a client that goes away, before the file is made or in the middle of it, leaves nothing behind", async () => {
  const simulated = await withKeys(1000, 2000);
  const early = ask(simulated);
  early.cancel();
  simulated.settle();
  assert.deepEqual([early.messages.length, filesOf(simulated)], [0, []]);
  const late = new FakeCall(SNAPSHOT);
  late.isReading = false;
  ask(simulated, late);
  simulated.settle();
  late.cancel();
  simulated.settle();
  assert.deepEqual(filesOf(simulated), []);
  // Room for as many as ever.
  const calls = Array.from({ length: CLIENT_SNAPSHOTS_MAX }, () => ask(simulated));
  simulated.settle();
  for (const call of calls) assert.equal(call.status!.code, 0);
});

test("more than a few at once are refused, and giving one up makes room only when its writing has ended", async () => {
  const simulated = await withKeys(10);
  const calls = Array.from({ length: CLIENT_SNAPSHOTS_MAX }, () => ask(simulated));
  const refused = { code: 2, message: "etcdserver: too many requests" };
  assert.deepEqual(ask(simulated).status, refused);
  calls[0]!.cancel();
  assert.deepEqual(ask(simulated).status, refused);
  simulated.settle();
  for (const call of calls.slice(1)) assert.equal(call.status!.code, 0);
  const next = ask(simulated);
  simulated.settle();
  assert.equal(next.status!.code, 0);
});

test("a full disk is said to be one, and the member goes on", async () => {
  const simulated = await withKeys(10);
  const { storage } = simulated;
  const write = storage.writeSnapshot;
  storage.writeSnapshot = (path, done) => {
    queueMicrotask(() =>
      done(Object.assign(new Error(`snapshot ${path} was not written: no space`), { code: "ENOSPC" }), null),
    );
    return { cancel: () => {} };
  };
  const call = ask(simulated);
  simulated.settle();
  await Promise.resolve();
  assert.equal(call.status!.code, 8);
  assert.match(call.status!.message, /^etcdserver: .*no space/);
  storage.writeSnapshot = write;
  put(simulated, "goes on");
  const again = ask(simulated);
  simulated.settle();
  assert.equal(recordsOf(again), 11);
});

test("a member that stops says so to whom it owes a snapshot", async () => {
  const simulated = await withKeys(10);
  const call = ask(simulated);
  simulated.member.stop(() => {});
  simulated.settle();
  assert.deepEqual(call.status, { code: 14, message: "etcdserver: server stopped" });
});
