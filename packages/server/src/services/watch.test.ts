/** One watch stream against the semantics reference, §5: order, ids, ends, slow clients. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  type Init,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  PutRequest,
  TxnRequest,
  type WatchCreateRequest,
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import { SeededRandom } from "@quorate/wal/testing";
import { type FakeStream, SimulatedMember } from "../testing/simulated-member.ts";

const WATCH = "/etcdserverpb.Watch/Watch";

function put(simulated: SimulatedMember, key: string, value = "v", lease = 0n): void {
  simulated.send("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from(key), value: Buffer.from(value), lease });
  simulated.settle();
}

function compact(simulated: SimulatedMember, revision: number): void {
  simulated.call("/etcdserverpb.KV/Compact", CompactionRequest, { revision }, CompactionResponse);
}

function create(stream: FakeStream, key: string, fields: Init<WatchCreateRequest> = {}): void {
  stream.send(WatchRequest, { createRequest: { key: Buffer.from(key), ...fields } });
}

function cancel(stream: FakeStream, watchId: bigint): void {
  stream.send(WatchRequest, { cancelRequest: { watchId } });
}

function askProgress(stream: FakeStream): void {
  stream.send(WatchRequest, { progressRequest: {} });
}

/** "0 created@1", "0 +a=v@2 @2" for each response: the watch, what it says, and the header's revision. */
function seen(stream: FakeStream): string[] {
  return stream.received(WatchResponse).map((each) => {
    const words = [`${each.watchId}`];
    if (each.created) words.push("created");
    if (each.canceled) words.push("canceled");
    if (each.compactRevision > 0) words.push(`compacted ${each.compactRevision}`);
    if (each.cancelReason !== "") words.push(`(${each.cancelReason})`);
    if (each.fragment) words.push("fragment");
    for (const { type, kv, prevKv } of each.events) {
      const value = type === 0 ? `+${kv!.key}=${kv!.value}` : `-${kv!.key}`;
      words.push(`${value}:${kv!.modRevision}${prevKv === undefined ? "" : `(${prevKv.value})`}`);
    }
    return `${words.join(" ")} @${each.header!.revision}`;
  });
}

test("a created answer precedes events, and each revision is one response", async () => {
  const simulated = await SimulatedMember.serving();
  put(simulated, "a", "1");
  const stream = simulated.openStream(WATCH);
  create(stream, "a", { startRevision: 2 });
  create(stream, "a", { rangeEnd: Buffer.from("c") });
  assert.deepEqual(seen(stream), ["0 created @2", "1 created @2"]);
  simulated.advance(150);
  assert.deepEqual(seen(stream), ["0 +a=1:2 @2"]);
  const op = (key: string): object => ({ requestPut: { key: Buffer.from(key), value: Buffer.from("x") } });
  simulated.send("/etcdserverpb.KV/Txn", TxnRequest, { success: [op("a"), op("b"), op("z")] } as never);
  simulated.settle();
  assert.deepEqual(seen(stream).sort(), ["0 +a=x:3 @3", "1 +a=x:3 +b=x:3 @3"]);
  simulated.send("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, { key: Buffer.from("a") });
  simulated.settle();
  assert.deepEqual(seen(stream).sort(), ["0 -a:4 @4", "1 -a:4 @4"]);
});

// covers: AP-13
test("no event is sent before its entry is durable", async () => {
  const simulated = await SimulatedMember.serving();
  const stream = simulated.openStream(WATCH);
  create(stream, "a");
  seen(stream);
  simulated.send("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("a") });
  simulated.runTurns();
  simulated.advanceStalled(400);
  assert.deepEqual(seen(stream), []);
  simulated.saveLog();
  assert.deepEqual(seen(stream), ["0 +a=:2 @2"]);
});

// covers: WT-11, WT-13
test("ids are the stream's own, chosen or counted from 0, and never two at once", async () => {
  const simulated = await SimulatedMember.serving();
  const stream = simulated.openStream(WATCH);
  create(stream, "a");
  create(stream, "a", { watchId: 1n });
  create(stream, "a");
  create(stream, "a", { watchId: 2n });
  create(stream, "a", { watchId: 2n ** 62n });
  assert.deepEqual(seen(stream), [
    "0 created @1",
    "1 created @1",
    "2 created @1",
    "-1 created canceled (mvcc: duplicate watch ID provided on the WatchStream) @1",
    `${2n ** 62n} created @1`,
  ]);
  cancel(stream, 1n);
  cancel(stream, 1n);
  cancel(stream, 77n);
  assert.deepEqual(seen(stream), ["1 canceled @1"], "an id not in use gets no answer");
  create(stream, "a", { watchId: 1n });
  cancel(stream, 0n);
  assert.deepEqual(seen(stream), ["1 created @1", "0 canceled @1"]);
  put(simulated, "a");
  assert.deepEqual(
    seen(stream)
      .map((each) => each.split(" ")[0])
      .sort(),
    ["1", "2", `${2n ** 62n}`],
  );
  const other = simulated.openStream(WATCH);
  create(other, "b");
  assert.deepEqual(seen(other), ["0 created @2"]);
});

// covers: WT-13
test("a create that cannot be is created and cancelled under no id, and the stream goes on", async () => {
  const simulated = await SimulatedMember.serving();
  put(simulated, "a");
  const stream = simulated.openStream(WATCH);
  create(stream, "a", { startRevision: -1 });
  create(stream, "b", { rangeEnd: Buffer.from("a") });
  create(stream, "b", { rangeEnd: Buffer.from("b") });
  stream.send(WatchRequest, {});
  create(stream, "a");
  assert.deepEqual(seen(stream), [
    "-1 created canceled (etcdserver: mvcc: required revision has been compacted) @2",
    "-1 created canceled (mvcc: watcher range is empty) @2",
    "-1 created canceled (mvcc: watcher range is empty) @2",
    "0 created @2",
  ]);
});

// covers: WT-01
test("a watch that starts in a compacted past is created, told once, and keeps its id until it is cancelled", async () => {
  const simulated = await SimulatedMember.serving();
  for (let i = 0; i < 5; i++) put(simulated, "a", `${i}`);
  compact(simulated, 4);
  const stream = simulated.openStream(WATCH);
  create(stream, "a", { startRevision: 3 });
  create(stream, "a", { startRevision: 4 });
  assert.deepEqual(seen(stream), ["0 created @6", "1 created @6"]);
  simulated.advance(100);
  assert.deepEqual(seen(stream), ["0 canceled compacted 4 @0", "1 +a=2:4 +a=3:5 +a=4:6 @6"]);
  askProgress(stream);
  simulated.advance(1000);
  assert.deepEqual(seen(stream), [], "it stands in the way of progress answers");
  create(stream, "a", { watchId: 0n });
  cancel(stream, 0n);
  askProgress(stream);
  assert.deepEqual(seen(stream), ["2 created @6", "0 canceled @6", "-1 @6"]);
});

// covers: WT-14
test("revision 0 and revisions to come start now and then", async () => {
  const simulated = await SimulatedMember.serving();
  put(simulated, "a");
  const stream = simulated.openStream(WATCH);
  create(stream, "a", { startRevision: 0 });
  create(stream, "a", { startRevision: 4 });
  create(stream, "a", { startRevision: 2 ** 53 });
  for (let i = 0; i < 3; i++) put(simulated, "a", `${i}`);
  assert.deepEqual(seen(stream).slice(3), ["0 +a=0:3 @3", "0 +a=1:4 @4", "1 +a=1:4 @4", "0 +a=2:5 @5", "1 +a=2:5 @5"]);
});

test("an empty key watches from the first key on, a zero byte as its end to the last", async () => {
  const simulated = await SimulatedMember.serving();
  const stream = simulated.openStream(WATCH);
  create(stream, "", { rangeEnd: Buffer.from([0]) });
  create(stream, "");
  create(stream, "b", { rangeEnd: Buffer.from([0]) });
  seen(stream);
  put(simulated, "a");
  put(simulated, "\0");
  put(simulated, "c");
  assert.deepEqual(
    seen(stream)
      .map((each) => JSON.stringify(each))
      .sort(),
    ['"0 +\\u0000=v:3 @3"', '"0 +a=v:2 @2"', '"0 +c=v:4 @4"', '"1 +\\u0000=v:3 @3"', '"2 +c=v:4 @4"'],
  );
});

// covers: WT-19
test("filters and previous values are each watch's own", async () => {
  const simulated = await SimulatedMember.serving();
  const stream = simulated.openStream(WATCH);
  create(stream, "a", { filters: [0] });
  create(stream, "a", { filters: [1, 9] });
  create(stream, "a", { prevKv: true });
  create(stream, "a", { filters: [0, 1] });
  seen(stream);
  put(simulated, "a", "1");
  put(simulated, "a", "2");
  simulated.send("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, { key: Buffer.from("a") });
  simulated.settle();
  assert.deepEqual(seen(stream).sort(), [
    "0 -a:4 @4",
    "1 +a=1:2 @2",
    "1 +a=2:3 @3",
    "2 +a=1:2 @2",
    "2 +a=2:3(1) @3",
    "2 -a:4(2) @4",
  ]);
});

test("a lease that goes takes its keys in one response", async () => {
  const simulated = await SimulatedMember.serving();
  simulated.call("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, { ID: 7n, TTL: 60 }, LeaseGrantResponse);
  for (const key of ["b", "a"]) put(simulated, key, "v", 7n);
  const stream = simulated.openStream(WATCH);
  create(stream, "a", { rangeEnd: Buffer.from([0]) });
  simulated.call("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, { ID: 7n }, LeaseRevokeResponse);
  assert.deepEqual(seen(stream), ["0 created @3", "0 -a:4 -b:4 @4"]);
});

test("half closing the stream ends nothing", async () => {
  const simulated = await SimulatedMember.serving();
  const stream = simulated.openStream(WATCH);
  create(stream, "a");
  stream.halfClose();
  put(simulated, "a");
  assert.deepEqual(seen(stream), ["0 created @1", "0 +a=v:2 @2"]);
  assert.equal(stream.call.status, null);
});

// --- progress

// covers: WT-05, WT-06
test("progress is answered only when every watch of the stream has been given everything", async () => {
  const simulated = await SimulatedMember.serving();
  for (let i = 0; i < 3; i++) put(simulated, "a", `${i}`);
  const stream = simulated.openStream(WATCH);
  askProgress(stream);
  assert.deepEqual(seen(stream), [], "there is no watch");
  create(stream, "quiet");
  askProgress(stream);
  assert.deepEqual(seen(stream), ["0 created @4", "-1 @4"]);
  create(stream, "a", { startRevision: 2 });
  askProgress(stream);
  assert.deepEqual(seen(stream), ["1 created @4"], "not answered, not remembered");
  simulated.advance(150);
  askProgress(stream);
  assert.deepEqual(seen(stream), ["1 +a=0:2 +a=1:3 +a=2:4 @4", "-1 @4"]);
  create(stream, "a", { startRevision: 100 });
  askProgress(stream);
  assert.deepEqual(seen(stream), ["2 created @4"], "one watch has not begun");
});

test("a quiet watch that asked for it is told where it is, a busy one at the next turn", async () => {
  const simulated = await SimulatedMember.serving({ settings: { "watch-progress-notify-interval": "10s" } });
  const stream = simulated.openStream(WATCH);
  create(stream, "quiet", { progressNotify: true });
  create(stream, "busy", { progressNotify: true });
  create(stream, "silent");
  create(stream, "quiet", { progressNotify: true, startRevision: 100 });
  seen(stream);
  put(simulated, "busy");
  put(simulated, "other");
  assert.deepEqual(seen(stream), ["1 +busy=v:2 @2"]);
  simulated.advance(9999);
  assert.deepEqual(seen(stream), []);
  simulated.advance(1001);
  assert.deepEqual(seen(stream), ["0 @3"]);
  simulated.advance(11_000);
  assert.deepEqual(seen(stream), ["0 @3", "1 @3"]);
});

// --- slow clients

/** Writes big values until the stream refuses more. */
function fill(simulated: SimulatedMember, stream: FakeStream): number {
  stream.call.isReading = false;
  let count = 0;
  while (stream.call.queuedBytes < 1024 * 1024) {
    put(simulated, "a", `${count++}`.padEnd(60_000, "."));
    assert.ok(count < 100);
  }
  return count;
}

function numbers(stream: FakeStream): number[] {
  const found: number[] = [];
  for (const { events } of stream.received(WatchResponse)) {
    for (const { kv } of events) found.push(Number.parseInt(Buffer.from(kv!.value).toString(), 10));
  }
  return found;
}

// covers: WT-01, WT-07, WT-16
test("a client that does not read is sent no more, and then everything, in order and once", async () => {
  const simulated = await SimulatedMember.serving();
  const stream = simulated.openStream(WATCH);
  create(stream, "a");
  let count = fill(simulated, stream);
  const queued = stream.call.queuedBytes;
  for (let i = 0; i < 30; i++) put(simulated, "a", `${count++}`.padEnd(60_000, "."));
  simulated.advance(2000);
  assert.equal(stream.call.queuedBytes, queued);
  for (let i = 0; i < 200; i++) {
    stream.call.take();
    simulated.advance(10);
  }
  assert.deepEqual(numbers(stream), [...Array(count).keys()]);
  put(simulated, "a", `${count}`);
  assert.deepEqual(numbers(stream), [count]);
  assert.equal(simulated.member.hub.retainedSizeBytes, 0);
});

// covers: WT-05
test("progress is not answered while events wait for a slow client", async () => {
  const simulated = await SimulatedMember.serving();
  const stream = simulated.openStream(WATCH);
  create(stream, "a");
  fill(simulated, stream);
  put(simulated, "a", "last");
  numbers(stream);
  askProgress(stream);
  assert.deepEqual(seen(stream), []);
  for (let i = 0; i < 20; i++) {
    stream.call.take();
    simulated.advance(10);
  }
  assert.deepEqual(
    seen(stream).map((each) => each.slice(0, 10)),
    ["0 +a=last:"],
  );
  askProgress(stream);
  assert.deepEqual(seen(stream), [`-1 @${simulated.member.store.revision}`]);
});

// covers: WT-01
test("a slow client whose place is compacted is told exactly once, even while it does not read", async () => {
  const simulated = await SimulatedMember.serving();
  const stream = simulated.openStream(WATCH);
  create(stream, "a");
  let count = fill(simulated, stream);
  for (let i = 0; i < 30; i++) put(simulated, "a", `${count++}`.padEnd(600_000, "."));
  compact(simulated, simulated.member.store.revision);
  simulated.advance(2000);
  for (let i = 0; i < 100; i++) {
    stream.call.take();
    simulated.advance(10);
  }
  put(simulated, "a", "later");
  const responses = stream.received(WatchResponse);
  const ends = responses.filter((each) => each.canceled);
  assert.equal(ends.length, 1);
  assert.equal(ends[0]!.compactRevision, count + 1);
  assert.equal(responses.at(-1), ends[0], "nothing follows the end");
  const given = responses.flatMap((each) => each.events.map((event) => event.kv!.modRevision));
  assert.deepEqual(
    given,
    [...Array(given.length).keys()].map((i) => i + 2),
    "no gap before the end",
  );
});

test("whatever is written, read and cancelled in whatever order, each watch gets its events once and in order", async () => {
  for (let seed = 0; seed < 12; seed++) {
    const random = new SeededRandom(seed);
    const simulated = await SimulatedMember.serving({ seed });
    const stream = simulated.openStream(WATCH);
    const starts = new Map<bigint, number>();
    const got = new Map<bigint, number[]>();
    const written: { readonly revision: number; readonly key: string }[] = [];
    let nextId = 1n;
    for (let step = 0; step < 250; step++) {
      const choice = random.below(12);
      if (choice < 7) {
        const key = `k${random.below(3)}`;
        put(simulated, key, "x".repeat(random.below(5) === 0 ? 200_000 : 100));
        written.push({ revision: simulated.member.store.revision, key });
      } else if (choice === 7 && starts.size < 6) {
        const id = nextId++;
        const current = simulated.member.store.revision;
        const startRevision = random.below(2) * (1 + random.below(current + 3));
        create(stream, `k${id % 3n}`, { watchId: id, startRevision });
        starts.set(id, startRevision === 0 ? current + 1 : startRevision);
        got.set(id, []);
      } else if (choice === 8) {
        stream.call.isReading = !stream.call.isReading;
        if (stream.call.isReading) stream.call.take();
      } else if (choice === 9) {
        stream.call.take();
      } else {
        simulated.advance(random.below(120));
      }
    }
    stream.call.isReading = true;
    for (let i = 0; i < 60; i++) {
      stream.call.take();
      simulated.advance(20);
    }
    for (const { watchId, events } of stream.received(WatchResponse)) {
      got.get(watchId)!.push(...events.map((each) => each.kv!.modRevision));
    }
    for (const [id, start] of starts) {
      const expected = written.filter((each) => each.key === `k${id % 3n}` && each.revision >= start);
      assert.deepEqual(
        got.get(id),
        expected.map((each) => each.revision),
        `seed ${seed}, watch ${id}`,
      );
    }
  }
});

// covers: WT-08
test("a large revision is cut for those who asked, marked but for the last piece, and whole for others", async () => {
  const simulated = await SimulatedMember.serving({ settings: { "max-request-bytes": "400000" } });
  const stream = simulated.openStream(WATCH);
  create(stream, "a", { rangeEnd: Buffer.from("b"), fragment: true });
  create(stream, "a", { rangeEnd: Buffer.from("b") });
  seen(stream);
  simulated.call("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, { ID: 7n, TTL: 60 }, LeaseGrantResponse);
  for (let i = 0; i < 10; i++) put(simulated, `a${i}`, "x".repeat(300_000), 7n);
  stream.received(WatchResponse);
  const prev = simulated.openStream(WATCH);
  create(prev, "a", { rangeEnd: Buffer.from("b"), fragment: true, prevKv: true });
  create(prev, "a", { rangeEnd: Buffer.from("b"), prevKv: true });
  seen(prev);
  simulated.call("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, { ID: 7n }, LeaseRevokeResponse);
  const responses = prev.received(WatchResponse);
  const pieces = responses.filter((each) => each.watchId === 0n);
  const whole = responses.filter((each) => each.watchId === 1n);
  assert.ok(pieces.length > 1);
  assert.deepEqual(
    pieces.map((each) => each.fragment),
    pieces.map((_, i) => i < pieces.length - 1),
  );
  for (const each of pieces) assert.ok(WatchResponse.encode(each).length < 400_000 + 512 * 1024);
  assert.equal(whole.length, 1);
  assert.deepEqual(
    pieces.flatMap((each) => each.events),
    whole[0]!.events,
  );
});

// --- ends

// covers: WT-17
test("a closed stream leaves nothing behind, however it closed", async () => {
  const simulated = await SimulatedMember.serving();
  put(simulated, "a");
  const timers = simulated.world.timerCount;
  for (let i = 0; i < 1000; i++) {
    const stream = simulated.openStream(WATCH);
    create(stream, "a", { progressNotify: true, startRevision: i % 3 });
    create(stream, "b", { rangeEnd: Buffer.from([0]) });
    if (i % 4 === 0) stream.sendBytes(Buffer.from([0xff]));
    else if (i % 4 === 1) cancel(stream, 0n);
    if (i % 100 === 0) simulated.settle();
    stream.call.cancel(i % 2 === 0 ? "connection" : "cancelled");
    stream.call.cancel();
  }
  simulated.settle();
  const { hub } = simulated.member;
  assert.deepEqual([hub.streamCount, hub.watcherCount, hub.groupCount, hub.slowWatcherCount], [0, 0, 0, 0]);
  assert.equal(simulated.world.timerCount, timers);
});

test("nonsense ends the stream and its watches, and what comes after is nobody's", async () => {
  const simulated = await SimulatedMember.serving();
  const stream = simulated.openStream(WATCH);
  create(stream, "a");
  seen(stream);
  stream.sendBytes(Buffer.from([0xff]));
  assert.notEqual(stream.call.status!.code, 0);
  put(simulated, "a");
  simulated.advance(500);
  assert.deepEqual(seen(stream), []);
  assert.equal(simulated.member.hub.watcherCount, 0);
});
