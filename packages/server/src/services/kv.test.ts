/** What space refuses, and what it must not (semantics §3.7 of the reference). */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { AlarmAction, AlarmType, StatusCode } from "@quorate/api";
import {
  AlarmRequest,
  AlarmResponse,
  CompactionRequest,
  DeleteRangeRequest,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseRevokeRequest,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  TxnRequest,
} from "@quorate/api/messages";
import type { FakeCall } from "../testing/fake-call.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";

const PUT = "/etcdserverpb.KV/Put";
const TXN = "/etcdserverpb.KV/Txn";
const GRANT = "/etcdserverpb.Lease/LeaseGrant";
const ALARM = "/etcdserverpb.Maintenance/Alarm";
const a = Buffer.from("a");
const NO_SPACE = "etcdserver: mvcc: database space exceeded";

const putOp = { requestPut: { key: a, value: a } };
const rangeOp = { requestRange: { key: a } };
const deleteOp = { requestDeleteRange: { key: a } };
const nested = (inner: object): object => ({ requestTxn: { success: [{ requestTxn: { failure: [inner] } }] } });

/** Everything a client may ask that has to do with space, and whether an alarm lets it through. */
function attempts(simulated: SimulatedMember): [string, boolean, FakeCall][] {
  const txn = (success: object[], failure: object[] = []): FakeCall =>
    simulated.send(TXN, TxnRequest, { success, failure } as never);
  return [
    ["put", false, simulated.send(PUT, PutRequest, { key: a })],
    ["grant", false, simulated.send(GRANT, LeaseGrantRequest, { ID: 9n, TTL: 60 })],
    ["txn with a put", false, txn([putOp])],
    ["txn with a put in the branch not taken", false, txn([rangeOp], [putOp])],
    ["txn with a put deep inside", false, txn([nested(putOp)])],
    ["txn without puts", true, txn([deleteOp, rangeOp], [nested(deleteOp)])],
    ["read-only txn", true, txn([rangeOp])],
    ["range", true, simulated.send("/etcdserverpb.KV/Range", RangeRequest, { key: a })],
    ["delete", true, simulated.send("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, { key: a })],
    ["compact", true, simulated.send("/etcdserverpb.KV/Compact", CompactionRequest, { revision: 2 })],
    ["revoke", true, simulated.send("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, { ID: 7n })],
    ["question", true, simulated.send(ALARM, AlarmRequest, { action: AlarmAction.GET })],
  ];
}

async function withLeases(settings: Record<string, string> = {}): Promise<SimulatedMember> {
  const simulated = await SimulatedMember.serving({ settings });
  for (const ID of [7n, 8n]) simulated.call(GRANT, LeaseGrantRequest, { ID, TTL: 60 }, LeaseGrantResponse);
  simulated.call(PUT, PutRequest, { key: a }, PutResponse);
  return simulated;
}

// covers: QU-01, QU-02, QU-03
test("an alarm of any member refuses puts, grants and txns with a put anywhere, and nothing else", async () => {
  const simulated = await withLeases();
  const raise = { action: AlarmAction.ACTIVATE, memberID: 12345n, alarm: AlarmType.NOSPACE };
  simulated.call(ALARM, AlarmRequest, raise, AlarmResponse);
  const made = attempts(simulated);
  simulated.settle();
  for (const [what, passes, call] of made) {
    assert.equal(call.status!.message, passes ? "" : NO_SPACE, what);
    if (!passes) assert.equal(call.status!.code, StatusCode.ResourceExhausted, what);
  }
  const stream = simulated.openStream("/etcdserverpb.Lease/LeaseKeepAlive");
  stream.send(LeaseKeepAliveRequest, { ID: 8n });
  assert.equal(stream.received(LeaseKeepAliveResponse)[0]!.TTL, 60);
  simulated.call(ALARM, AlarmRequest, { ...raise, action: AlarmAction.DEACTIVATE }, AlarmResponse);
  simulated.call(PUT, PutRequest, { key: a }, PutResponse);
});

// covers: AP-04, QU-01
test("refused entries are entries: they move the applied index and are refused again after a crash", async () => {
  const simulated = await withLeases();
  const raise = { action: AlarmAction.ACTIVATE, memberID: 1n, alarm: AlarmType.NOSPACE };
  simulated.call(ALARM, AlarmRequest, raise, AlarmResponse);
  const before = simulated.member.backend.appliedIndex;
  const { revision } = simulated.member.store;
  for (let i = 0; i < 5; i++) simulated.send(PUT, PutRequest, { key: a });
  simulated.settle();
  assert.equal(simulated.member.backend.appliedIndex, before + 5);
  simulated.advance(1000);
  assert.equal(simulated.member.backend.flushedIndex, before + 5);
  simulated.crash();
  await simulated.boot();
  assert.equal(simulated.member.store.revision, revision);
});

// covers: QU-01, QU-02
test("over the quota the alarm goes through the log, and what gives space back still works", async () => {
  const simulated = await withLeases({ "quota-backend-bytes": "20000" });
  const value = Buffer.alloc(5000, 1);
  const calls: FakeCall[] = [];
  for (let i = 0; i < 6; i++) {
    calls.push(simulated.send(PUT, PutRequest, { key: Buffer.from(`k${i}`), value }));
    simulated.settle();
  }
  assert.deepEqual(
    calls.map((each) => each.status!.message),
    ["", "", "", NO_SPACE, NO_SPACE, NO_SPACE],
  );
  const alarms = simulated.call(ALARM, AlarmRequest, { action: AlarmAction.GET }, AlarmResponse).alarms;
  assert.deepEqual(alarms, [{ memberID: simulated.member.id, alarm: AlarmType.NOSPACE }]);
  for (const [what, passes, call] of attempts(simulated)) {
    simulated.settle();
    assert.equal(call.status!.message, passes ? "" : NO_SPACE, what);
  }
});

// covers: QU-04
test("what is proposed counts against the quota before it is applied", async () => {
  const simulated = await withLeases({ "quota-backend-bytes": "20000" });
  const value = Buffer.alloc(5000, 1);
  const calls = [...Array(6).keys()].map((i) => simulated.send(PUT, PutRequest, { key: Buffer.from(`k${i}`), value }));
  simulated.settle();
  const refused = calls.filter((each) => each.status!.message === NO_SPACE);
  assert.equal(refused.length, 3);
});

test("without a quota nothing is refused for space", async () => {
  const simulated = await withLeases({ "quota-backend-bytes": "-1" });
  for (let i = 0; i < 20; i++) {
    const request = { key: Buffer.from(`k${i}`), value: Buffer.alloc(5000, 1) };
    simulated.call(PUT, PutRequest, request, PutResponse);
  }
});

// covers: WA-05
test("a request is refused by the size of its entry, and the largest that is taken survives a restart", async () => {
  const simulated = await SimulatedMember.serving({ settings: { "max-request-bytes": "10000" } });
  let largest = 0;
  for (let size = 9900; size <= 10_010; size++) {
    const call = simulated.send(PUT, PutRequest, { key: a, value: Buffer.alloc(size, 1) });
    simulated.settle();
    if (call.status!.code === 0) largest = size;
    else assert.equal(call.status!.message, "etcdserver: request is too large");
  }
  assert.ok(largest > 9950 && largest < 10_000, `${largest}`);
  simulated.crash();
  await simulated.boot();
  const { kvs } = simulated.call("/etcdserverpb.KV/Range", RangeRequest, { key: a }, RangeResponse);
  assert.equal(kvs[0]!.value.length, largest);
});

// covers: AP-09
test("a write whose client has gone is applied all the same, and answers nobody", async () => {
  const simulated = await SimulatedMember.serving();
  const call = simulated.send(PUT, PutRequest, { key: a, value: a });
  call.cancel("deadline");
  simulated.settle();
  assert.equal(call.messages.length, 0);
  assert.equal(simulated.call("/etcdserverpb.KV/Range", RangeRequest, { key: a }, RangeResponse).count, 1);
});

// covers: AP-06, AP-13
test("nothing is answered or shown before its save completed", async () => {
  const simulated = await SimulatedMember.serving();
  const call = simulated.send(PUT, PutRequest, { key: a, value: a });
  simulated.runTurns();
  assert.equal(call.status, null);
  const read = simulated.send("/etcdserverpb.KV/Range", RangeRequest, { key: a, serializable: true });
  assert.equal(RangeResponse.decode(read.messages[0]!, 0, read.messages[0]!.length).count, 0);
  simulated.saveLog();
  assert.equal(call.status!.code, 0);
});

// covers: WA-05
test("a request that the configuration allows and the log cannot take is refused", async () => {
  const simulated = await SimulatedMember.serving({ segmentBytes: 16 * 1024 });
  let largest = 0;
  for (let size = 8000; size <= 8300; size += 3) {
    const call = simulated.send(PUT, PutRequest, { key: a, value: Buffer.alloc(size, 1) });
    simulated.settle();
    if (call.status!.code === 0) largest = size;
    else assert.equal(call.status!.message, "etcdserver: request is too large");
  }
  assert.ok(largest > 8000 && largest < 8192, `${largest}`);
  assert.equal(simulated.failure, null);
});
