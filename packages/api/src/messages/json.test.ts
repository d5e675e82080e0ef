// covers: MV-08
import assert from "node:assert/strict";
import { test } from "node:test";
import * as reference from "@bufbuild/protobuf";
import fc from "fast-check";
import { parameters, someMessage } from "../testing/arbitrary.ts";
import { descriptorOf, referenceDecode, referenceEncode, registry } from "../testing/reference.ts";
import { BOUND_MAX } from "../wire/index.ts";
import {
  AlarmRequest,
  Compare,
  fromJson,
  HealthListResponse,
  KeyValue,
  LeaseGrantRequest,
  Member,
  messageTypes,
  PutRequest,
  RangeRequest,
  RequestOp,
  StatusResponse,
  toJson,
  WatchCreateRequest,
} from "./index.ts";
import { parseJson } from "./json-text.ts";

test("JSON says what the reference's JSON says, and is read back", () => {
  for (const type of messageTypes.values()) {
    if (type.name.endsWith("Entry")) continue;
    fc.assert(
      fc.property(someMessage(type), (message) => {
        const desc = descriptorOf(type.name);
        const bytes = referenceEncode(type, message);
        const theirs = reference.toJson(desc, reference.fromBinary(desc, bytes), { useProtoFieldName: true, registry });
        const ours = toJson(type, message);
        assert.deepEqual(JSON.parse(ours), theirs, type.name);
        assert.deepEqual(Buffer.from(type.encode(fromJson(type, ours))), Buffer.from(bytes), type.name);
      }),
      { ...parameters, numRuns: 15 },
    );
  }
});

test("JSON of either naming and spacing is read as the reference reads it", () => {
  for (const name of ["etcdserverpb.TxnRequest", "etcdserverpb.StatusResponse", "etcdserverpb.WatchResponse"]) {
    const type = messageTypes.get(name)!;
    const desc = descriptorOf(name);
    fc.assert(
      fc.property(someMessage(type), fc.boolean(), fc.nat({ max: 3 }), (message, useProtoFieldName, indent) => {
        const made = reference.fromBinary(desc, referenceEncode(type, message));
        const text = JSON.stringify(reference.toJson(desc, made, { useProtoFieldName, registry }), null, indent);
        assert.deepEqual(fromJson(type, text), referenceDecode(type, reference.toBinary(desc, made)));
      }),
      { ...parameters, numRuns: 100 },
    );
  }
});

test("it is the gateway's JSON: .proto names, zeroes left out, 64 bits as strings, enums by name", () => {
  assert.equal(
    toJson(Member, { ID: 2n ** 64n - 1n, peerURLs: ["http://a:1"] }),
    '{"ID":"18446744073709551615","peerURLs":["http://a:1"]}',
  );
  assert.equal(
    toJson(KeyValue, { key: Buffer.from("a"), createRevision: 2, lease: -1n, value: Buffer.from([255, 254]) }),
    '{"key":"YQ==","create_revision":"2","value":"//4=","lease":"-1"}',
  );
  assert.equal(toJson(AlarmRequest, { action: 1, alarm: 9 }), '{"action":"ACTIVATE","alarm":9}');
  assert.equal(toJson(StatusResponse, { header: {}, dbSizeQuota: 0, isLearner: false }), '{"header":{}}');
  assert.equal(toJson(Compare, { version: 0 }), '{"version":"0"}');
  assert.equal(
    toJson(HealthListResponse, { statuses: [{ key: "", value: { status: 1 } }] }),
    '{"statuses":{"":{"status":"SERVING"}}}',
  );
  assert.equal(toJson(LeaseGrantRequest, { TTL: BOUND_MAX }), '{"TTL":"9223372036854775807"}');
});

test("integers are read as numbers or strings, all 64 bits of them", () => {
  for (const [text, id] of [
    ["9223372036854775807", 2n ** 63n - 1n],
    ['"-9223372036854775808"', -(2n ** 63n)],
    ["1e3", 1000n],
    ["12.50e1", 125n],
    ["0.0", 0n],
    ["-0", 0n],
    ['"7"', 7n],
    ["null", 0n],
  ] as const) {
    assert.equal(fromJson(PutRequest, `{"lease":${text}}`).lease, id, text);
  }
  for (const text of [
    "9223372036854775808",
    "1.5",
    "1e-1",
    '"x"',
    '""',
    '" 1"',
    '"007"',
    "true",
    "[1]",
    "1e400",
    '"0x10"',
  ]) {
    assert.throws(() => fromJson(PutRequest, `{"lease":${text}}`), { kind: "MalformedJson" }, text);
  }
  assert.equal(fromJson(RangeRequest, '{"max_mod_revision":"9223372036854775807"}').maxModRevision, BOUND_MAX);
  assert.throws(() => fromJson(KeyValue, '{"version":"9223372036854775807"}'), { kind: "InexactInteger" });
  assert.throws(() => fromJson(Member, '{"ID":-1}'), { kind: "MalformedJson" });
});

test("bytes are read in either alphabet, padded or not", () => {
  for (const text of ["-_8=", "+/8=", "-_8", "+/8"]) {
    assert.deepEqual([...fromJson(PutRequest, `{"key":"${text}"}`).key], [0xfb, 0xff], text);
  }
  assert.equal(fromJson(PutRequest, '{"key":""}').key.length, 0);
  for (const text of ["a", "a===", "+_8=", "Zm9v!", "Zg=", "=", "Zm=9"]) {
    assert.throws(() => fromJson(PutRequest, `{"key":"${text}"}`), { kind: "MalformedJson" }, text);
  }
});

test("a large value is read", () => {
  const key = Buffer.alloc(1_500_000, 7);
  assert.deepEqual(fromJson(PutRequest, toJson(PutRequest, { key })).key, key);
  const text = `{"cancel_reason":"${'\\"'.repeat(200_000)}"}`;
  assert.equal(
    (fromJson(messageTypes.get("etcdserverpb.WatchResponse")!, text) as { cancelReason: string }).cancelReason.length,
    200_000,
  );
});

test("unknown fields and enum names are passed over, and so is text after the value", () => {
  assert.deepEqual(
    fromJson(WatchCreateRequest, '{"filters":["NOPUT","NOPE","toString",1],"prevKv":true,"new":[{"deep":1}]} trailing'),
    { ...WatchCreateRequest.zero(), filters: [0, 1], prevKv: true },
  );
  assert.equal(fromJson(AlarmRequest, '{"action":"constructor"}').action, 0);
  assert.deepEqual(fromJson(PutRequest, "  \n"), PutRequest.zero());
});

test("what is given twice is refused, under either name", () => {
  for (const text of ['{"key":"","key":""}', '{"prev_kv":true,"prevKv":true}', '{"lease":null,"lease":1}']) {
    assert.throws(() => fromJson(PutRequest, text), { kind: "MalformedJson", message: /duplicate field/ }, text);
  }
  assert.throws(() => fromJson(RequestOp, '{"request_put":{},"requestRange":{}}'), { message: /oneof request/ });
  assert.equal(fromJson(RequestOp, '{"request_put":{},"requestRange":null}').requestRange, undefined);
  assert.throws(() => fromJson(HealthListResponse, '{"statuses":{"a":{},"a":{}}}'), { message: /duplicate map key/ });
});

test("what is not JSON of the message is refused", () => {
  for (const text of [
    "[]",
    "1",
    "null",
    "{",
    '{"key"',
    '{"key":}',
    '{"key":"YQ=="',
    '{"key":"YQ==",}',
    "{key:1}",
    '{"key":"YQ',
    '{"key":"\\x"}',
    '{"key":tru}',
    '{"lease":01}',
    '{"lease":+1}',
    '{"prev_kv":1}',
    '{"prev_kv":"true"}',
    '{"key":1}',
    '{"key":{}}',
    "\u00a0{}",
  ]) {
    assert.throws(() => fromJson(PutRequest, text), { kind: "MalformedJson" }, text);
  }
  assert.throws(() => fromJson(WatchCreateRequest, '{"filters":[null]}'), { kind: "MalformedJson" });
  assert.throws(() => fromJson(WatchCreateRequest, '{"filters":0}'), { kind: "MalformedJson" });
  assert.throws(() => fromJson(HealthListResponse, '{"statuses":[]}'), { kind: "MalformedJson" });
  assert.throws(() => fromJson(Member, '{"name":"\\ud800"}'), { kind: "MalformedJson" });
});

test("JSON is nested three hundred deep and no deeper", () => {
  assert.throws(() => parseJson("[".repeat(100_000)), { kind: "MalformedJson", message: /too deeply/ });
  assert.equal(parseJson(`${"[".repeat(300)}${"]".repeat(300)} `).end, 600);
});

test("the parser agrees with JSON.parse on what is JSON", () => {
  fc.assert(
    fc.property(fc.json(), fc.nat(), fc.constantFrom("", '"', "\\", ",", "}", "1", "e"), (text, at, edit) => {
      const where = at % (text.length + 1);
      const edited = text.slice(0, where) + edit + text.slice(where);
      let expected: unknown;
      let isJson = true;
      try {
        expected = JSON.parse(edited);
      } catch {
        isJson = false;
      }
      let end = -1;
      try {
        end = parseJson(edited).end;
      } catch (error) {
        assert.equal((error as { kind: string }).kind, "MalformedJson");
      }
      if (isJson) assert.equal(edited.slice(end).trim(), "", JSON.stringify(expected));
      else if (end >= 0) assert.notEqual(edited.slice(end).trim(), "", `not JSON: ${edited}`);
    }),
    parameters,
  );
});
