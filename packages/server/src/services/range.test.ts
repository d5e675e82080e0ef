/** Large answers and streams of them: the same bytes as the small ones, and no revision held for a client that has gone. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { SortOrder, SortTarget } from "@quorate/api";
import {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RangeStreamResponse,
} from "@quorate/api/messages";
import { SeededRandom } from "@quorate/wal/testing";
import { FakeCall } from "../testing/fake-call.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";

const RANGE = "/etcdserverpb.KV/Range";
const RANGE_STREAM = "/etcdserverpb.KV/RangeStream";
const ALL = { key: Buffer.from([0]), rangeEnd: Buffer.from([0]) };

function put(simulated: SimulatedMember, key: string, valueBytes: number, lease = 0n): void {
  const value = Buffer.alloc(valueBytes, key);
  simulated.send("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from(key), value, lease });
}

/** Forty keys of 20 KB: above the size from which answers go out in pieces. */
async function withMuch(): Promise<SimulatedMember> {
  const simulated = await SimulatedMember.serving();
  for (let i = 0; i < 40; i++) put(simulated, `k${100 + i}`, 20_000 + i);
  simulated.settle();
  return simulated;
}

/** Whether a compaction of everything old is carried out, which a pinned revision prevents. */
function isCompacted(simulated: SimulatedMember): boolean {
  simulated.advance(1000);
  return simulated.member.store.pendingCompactions === 0;
}

function compactAll(simulated: SimulatedMember): void {
  const { revision } = simulated.member.store;
  simulated.call("/etcdserverpb.KV/Compact", CompactionRequest, { revision }, CompactionResponse);
}

test("a large answer in pieces of any size is the small answers put together", async () => {
  const simulated = await withMuch();
  const single = [...Array(40).keys()].map((i) => {
    const request = { key: Buffer.from(`k${100 + i}`) };
    return simulated.call(RANGE, RangeRequest, request, RangeResponse).kvs[0]!;
  });
  for (const pieceBytes of [1, 7, 100, 4096, 16_384, 70_000, 10_000_000]) {
    for (const limit of [0, 30]) {
      const call = new FakeCall(RANGE);
      call.isReading = false;
      simulated.send(RANGE, RangeRequest, { ...ALL, limit }, call);
      assert.equal(call.messages.length, 0);
      call.pull(Number.POSITIVE_INFINITY, pieceBytes);
      const response = RangeResponse.decode(call.messages[0]!, 0, call.messages[0]!.length);
      assert.deepEqual(response.kvs, single.slice(0, limit || 40), `pieces of ${pieceBytes}`);
      assert.deepEqual([response.count, response.more], [40, limit > 0]);
      assert.equal(response.header!.revision, simulated.member.store.revision);
    }
  }
  compactAll(simulated);
  assert.equal(isCompacted(simulated), true);
});

test("a large answer is of its revision, whatever is written and compacted while it is sent", async () => {
  const simulated = await withMuch();
  const call = new FakeCall(RANGE);
  call.isReading = false;
  simulated.send(RANGE, RangeRequest, ALL, call);
  call.pull(3);
  simulated.send("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, ALL);
  for (let i = 0; i < 40; i += 2) put(simulated, `k${100 + i}`, 5);
  simulated.settle();
  compactAll(simulated);
  assert.equal(isCompacted(simulated), false, "the answer holds its revision");
  call.pull(Number.POSITIVE_INFINITY);
  const { kvs } = RangeResponse.decode(call.messages[0]!, 0, call.messages[0]!.length);
  assert.deepEqual(
    kvs.map((each) => each.value.length),
    [...Array(40).keys()].map((i) => 20_000 + i),
  );
  assert.equal(isCompacted(simulated), true, "and lets go at its end");
});

test("keys alone are of the answer's revision too", async () => {
  const simulated = await SimulatedMember.serving();
  const name = (i: number): string => `${"n".repeat(900)}${1000 + i}`;
  for (let i = 0; i < 400; i++) put(simulated, name(i), 1);
  simulated.settle();
  const call = new FakeCall(RANGE);
  call.isReading = false;
  simulated.send(RANGE, RangeRequest, { ...ALL, keysOnly: true }, call);
  call.pull(2);
  for (let i = 0; i < 400; i++) put(simulated, name(i), 2);
  simulated.settle();
  compactAll(simulated);
  call.pull(Number.POSITIVE_INFINITY);
  const { kvs } = RangeResponse.decode(call.messages[0]!, 0, call.messages[0]!.length);
  assert.deepEqual(
    kvs.map((each) => [each.version, each.modRevision]),
    [...Array(400).keys()].map((i) => [1, 2 + i]),
  );
});

for (const moment of ["before it is begun", "in the middle"] as const) {
  test(`a client that goes away ${moment} lets go of the revision`, async () => {
    const simulated = await withMuch();
    const call = new FakeCall(RANGE);
    call.isReading = false;
    simulated.send(RANGE, RangeRequest, ALL, call);
    if (moment === "in the middle") call.pull(4);
    put(simulated, "k100", 1);
    simulated.settle();
    compactAll(simulated);
    assert.equal(isCompacted(simulated), false);
    call.cancel();
    assert.equal(isCompacted(simulated), true);
  });
}

test("an answer in pieces keeps the length it promised when the term grows meanwhile", async () => {
  const simulated = await withMuch();
  const call = new FakeCall(RANGE);
  call.isReading = false;
  const terms = [2, 200];
  Object.defineProperty(simulated.member, "appliedTerm", { get: () => terms[0] });
  simulated.send(RANGE, RangeRequest, ALL, call);
  terms.shift();
  call.pull(Number.POSITIVE_INFINITY);
  const response = RangeResponse.decode(call.messages[0]!, 0, call.messages[0]!.length);
  assert.deepEqual([response.header!.raftTerm, response.kvs.length, response.count], [2, 40, 40]);
});

// --- streams

function merged(call: FakeCall): Buffer {
  return Buffer.concat(
    call.messages.map((each) => {
      const { rangeResponse } = RangeStreamResponse.decode(each, 0, each.length);
      return RangeResponse.encode(rangeResponse!);
    }),
  );
}

test("the chunks of a stream, merged, are what Range answers", async () => {
  const simulated = await SimulatedMember.serving({ settings: { "max-request-bytes": "3000" } });
  const random = new SeededRandom(3);
  for (let i = 0; i < 400; i++) {
    const key = `k${random.below(200)}`;
    if (random.below(5) > 0) put(simulated, key, random.below(4) === 0 ? random.below(2500) : random.below(20));
    else simulated.send("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, { key: Buffer.from(key) });
  }
  simulated.settle();
  const { revision } = simulated.member.store;
  let chunkCount = 0;
  for (let i = 0; i < 300; i++) {
    const ends = [Buffer.from([0]), Buffer.from(`k${random.below(300)}`), Buffer.from("z"), Buffer.alloc(0)];
    const request = {
      key: random.below(3) === 0 ? Buffer.from([0]) : Buffer.from(`k${random.below(200)}`),
      rangeEnd: ends[random.below(4)]!,
      limit: random.below(2) * random.below(120),
      revision: random.below(2) * (1 + random.below(revision)),
      keysOnly: random.below(4) === 0,
      countOnly: random.below(8) === 0,
      serializable: random.below(2) === 0,
      sortTarget: random.below(6) === 0 ? SortTarget.VERSION : SortTarget.KEY,
      sortOrder: SortOrder.NONE,
    };
    const whole = simulated.call(RANGE, RangeRequest, request, RangeResponse);
    const call = new FakeCall(RANGE_STREAM);
    call.isReading = random.below(2) === 0;
    simulated.send(RANGE_STREAM, RangeRequest, request, call);
    while (call.status === null) call.take();
    assert.equal(call.status.code, 0);
    const bytes = merged(call);
    assert.deepEqual(RangeResponse.decode(bytes, 0, bytes.length), whole, JSON.stringify(request));
    chunkCount += call.messages.length;
  }
  assert.ok(chunkCount > 600, `${chunkCount} chunks`);
});

/** A stream of 2.4 MB whose client has read nothing yet; every key is then written again. */
async function withSlowStream(): Promise<{ simulated: SimulatedMember; call: FakeCall }> {
  const simulated = await SimulatedMember.serving();
  for (let i = 0; i < 120; i++) put(simulated, `k${1000 + i}`, 20_000);
  simulated.settle();
  const call = new FakeCall(RANGE_STREAM);
  call.isReading = false;
  simulated.send(RANGE_STREAM, RangeRequest, ALL, call);
  const before = call.messages.length;
  assert.ok(before >= 1 && call.status === null);
  for (let i = 0; i < 120; i++) put(simulated, `k${1000 + i}`, 1);
  simulated.settle();
  assert.equal(call.messages.length, before, "nothing more is sent to a client that does not read");
  return { simulated, call };
}

test("a stream is of one revision however slowly it is read", async () => {
  const { simulated, call } = await withSlowStream();
  while (call.status === null) call.take();
  const bytes = merged(call);
  const { kvs, header, count } = RangeResponse.decode(bytes, 0, bytes.length);
  assert.deepEqual([kvs.length, count, header!.revision], [120, 120, 121]);
  assert.ok(kvs.every((each) => each.value.length === 20_000));
  compactAll(simulated);
  assert.equal(isCompacted(simulated), true);
});

test("a stream that compaction overtakes ends with its error, and lets go", async () => {
  const { simulated, call } = await withSlowStream();
  compactAll(simulated);
  assert.equal(isCompacted(simulated), false);
  call.take();
  assert.match(call.status!.message, /required revision has been compacted/);
  assert.equal(isCompacted(simulated), true);
});

test("a stream whose client goes away lets go of its revision", async () => {
  const { simulated, call } = await withSlowStream();
  compactAll(simulated);
  assert.equal(isCompacted(simulated), false);
  call.cancel();
  assert.equal(isCompacted(simulated), true);
});

test("a stream of a future or compacted revision fails with Range's words, and holds nothing", async () => {
  const simulated = await withMuch();
  for (const revision of [1000, 2]) {
    if (revision === 2) compactAll(simulated);
    const expected = simulated.send(RANGE, RangeRequest, { ...ALL, revision });
    const call = simulated.send(RANGE_STREAM, RangeRequest, { ...ALL, revision });
    assert.notEqual(call.status!.code, 0);
    assert.deepEqual(call.status, expected.status);
  }
  assert.equal(isCompacted(simulated), true);
  assert.equal(
    simulated.call("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from("a") }, PutResponse).header!.revision,
    42,
  );
});
