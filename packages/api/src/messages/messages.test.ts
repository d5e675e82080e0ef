// covers: MV-08, GR-04
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import fc from "fast-check";
import { mutated, parameters, someMessage } from "../testing/arbitrary.ts";
import {
  descriptorOf,
  hasForeignWireType,
  referenceDecode,
  referenceEncode,
  registry,
  ScalarType,
  typeOf,
} from "../testing/reference.ts";
import { BOUND_MAX, InexactInteger, MalformedMessage } from "../wire/index.ts";
import { AlarmRequest, KeyValue, LeaseGrantRequest, Member, messageTypes, RequestOp, StatusResponse } from "./index.ts";
import type { Field } from "./message-type.ts";

const scalarKinds: Readonly<Partial<Record<ScalarType, readonly string[]>>> = {
  [ScalarType.BYTES]: ["bytes"],
  [ScalarType.STRING]: ["string"],
  [ScalarType.BOOL]: ["bool"],
  [ScalarType.UINT32]: ["uint32"],
  [ScalarType.INT64]: ["int64", "bound", "id"],
  [ScalarType.UINT64]: ["uint64", "uid"],
};

test("every message of proto/ has a table and every table a message", () => {
  const inProto: string[] = [];
  for (const type of registry) if (type.kind === "message") inProto.push(type.typeName);
  const ours = [...messageTypes.keys()].filter((name) => !name.endsWith("Entry"));
  assert.deepEqual(ours.sort(), inProto.sort());
  assert.ok(inProto.length > 130);
});

test("every table has the numbers, names, types and unions of proto/", () => {
  for (const type of messageTypes.values()) {
    if (type.name.endsWith("Entry")) continue;
    const desc = descriptorOf(type.name);
    assert.deepEqual(
      type.fields.map((field) => `${type.name} ${describeOurs(field)}`),
      sortedFields(desc).map((field) => `${type.name} ${describeProto(field)}`),
    );
    for (const field of type.fields) {
      const scalar = desc.fields.find((candidate) => candidate.number === field.number);
      if (scalar?.fieldKind === "scalar" || (scalar?.fieldKind === "list" && scalar.listKind === "scalar")) {
        assert.ok(scalarKinds[scalar.scalar]?.includes(field.kind), `${type.name}.${field.property} is ${field.kind}`);
      }
    }
  }
});

test("encoding gives the reference's bytes, and decoding gives back what was encoded", () => {
  for (const type of messageTypes.values()) {
    if (type.name.endsWith("Entry")) continue;
    fc.assert(
      fc.property(someMessage(type), (message) => {
        const bytes = type.encode(message);
        assert.deepEqual(Buffer.from(bytes), Buffer.from(referenceEncode(type, message)), type.name);
        assert.deepEqual(type.decode(bytes), type.decode(referenceEncode(type, message)));
        assert.deepEqual(type.encode(type.decode(bytes)), bytes);
      }),
      { ...parameters, numRuns: 20 },
    );
  }
});

test("mutated messages are refused, or read as the reference reads them", () => {
  const names = ["RangeRequest", "TxnRequest", "WatchCreateRequest", "StatusResponse", "AuthRoleGetResponse"];
  for (const name of [...names.map((short) => `etcdserverpb.${short}`), "grpc.health.v1.HealthListResponse"]) {
    const type = typeOf(name);
    const bytes = someMessage(type, 2).map((message) => type.encode(message));
    let read = 0;
    fc.assert(
      fc.property(mutated(bytes), (damaged) => {
        let ours: object;
        try {
          ours = type.decode(damaged);
        } catch (error) {
          assert.ok(error instanceof MalformedMessage || error instanceof InexactInteger, String(error));
          return;
        }
        if (hasForeignWireType(type, damaged)) return;
        read++;
        const theirs = referenceDecode(type, damaged);
        assert.deepEqual(Buffer.from(type.encode(ours)), Buffer.from(referenceEncode(type, theirs)));
      }),
      parameters,
    );
    assert.ok(read > 10, `${name}: the mutations leave something to read`);
  }
});

test("a message cut anywhere is refused or is a shorter message", () => {
  const type = typeOf("etcdserverpb.TxnRequest");
  fc.assert(
    fc.property(someMessage(type, 4), (message) => {
      const bytes = type.encode(message);
      for (let end = 0; end < bytes.length; end++) {
        try {
          assert.ok(type.encode(type.decode(bytes, 0, end)).length <= end);
        } catch (error) {
          assert.ok(error instanceof MalformedMessage, String(error));
        }
      }
    }),
    { ...parameters, numRuns: 50 },
  );
});

test("ids keep all 64 bits", () => {
  for (const id of [2n ** 64n - 1n, 2n ** 63n, 2n ** 53n + 1n, 0x8e9e05c52164694dn]) {
    assert.equal(Member.decode(Member.encode({ ID: id })).ID, id);
  }
  for (const lease of [-1n, -(2n ** 63n), 2n ** 63n - 1n, 2n ** 53n + 1n]) {
    assert.equal(KeyValue.decode(KeyValue.encode({ lease })).lease, lease);
  }
});

test("counted integers beyond 2^53 - 1 are refused, both ways", () => {
  // mod_revision = 3 with max-int64, then with 2^53.
  const max = Buffer.from("18ffffffffffffffff7f", "hex");
  assert.throws(() => KeyValue.decode(max), { kind: "InexactInteger", message: /9223372036854775807/ });
  assert.throws(() => KeyValue.decode(Buffer.from("1880808080808080 10".replace(" ", ""), "hex")), InexactInteger);
  assert.throws(() => KeyValue.encode({ modRevision: 2 ** 53 }), InexactInteger);
  assert.throws(() => KeyValue.encode({ modRevision: 1.5 }), InexactInteger);
  assert.equal(KeyValue.decode(KeyValue.encode({ modRevision: 2 ** 53 - 1 })).modRevision, 2 ** 53 - 1);
  assert.equal(StatusResponse.decode(Buffer.from("18ffffffffffffffffff01", "hex")).dbSize, -1);
});

test("bounds saturate and go back out as the end of int64 they stand for", () => {
  const max = Buffer.from("08ffffffffffffffff7f", "hex");
  assert.equal(LeaseGrantRequest.decode(max).TTL, BOUND_MAX);
  assert.deepEqual(Buffer.from(LeaseGrantRequest.encode({ TTL: BOUND_MAX })), max);
  const min = Buffer.from("0880808080808080808001", "hex");
  assert.equal(LeaseGrantRequest.decode(min).TTL, -BOUND_MAX);
  assert.deepEqual(Buffer.from(LeaseGrantRequest.encode({ TTL: -BOUND_MAX })), min);
});

test("a string that is not UTF-8 is refused", () => {
  assert.throws(() => Member.decode(Buffer.from("1201ff", "hex")), { kind: "MalformedMessage", offset: 1 });
});

test("decoded bytes do not share the buffer they came from", () => {
  const bytes = Buffer.from(KeyValue.encode({ key: Buffer.from("foo") }));
  const kv = KeyValue.decode(bytes);
  bytes.fill(0);
  assert.equal(kv.key.toString(), "foo");
});

test("the last member of a union wins, and the same one twice is merged", () => {
  const put = RequestOp.encode({ requestPut: { key: Buffer.from("a") } });
  const range = RequestOp.encode({ requestRange: { key: Buffer.from("b") } });
  const value = RequestOp.encode({ requestPut: { value: Buffer.from("c") } });
  const replaced = RequestOp.decode(Buffer.concat([put, range]));
  assert.equal(replaced.requestPut, undefined);
  assert.equal(replaced.requestRange?.key.toString(), "b");
  const merged = RequestOp.decode(Buffer.concat([put, value]));
  assert.equal(merged.requestPut?.key.toString(), "a");
  assert.equal(merged.requestPut?.value.toString(), "c");
  assert.throws(() => RequestOp.encode({ requestPut: {}, requestRange: {} }), { kind: "BrokenInvariant" });
});

test("what is left out is the zero, and zeroes are not written", () => {
  assert.equal(AlarmRequest.encode({ action: 0, memberID: 0n, alarm: 0 }).length, 0);
  assert.deepEqual(AlarmRequest.decode(Buffer.alloc(0)), { action: 0, memberID: 0n, alarm: 0 });
});

function sortedFields(desc: DescMessage): DescField[] {
  return [...desc.fields].sort((a, b) => a.number - b.number);
}

function describeOurs(field: Field): string {
  const isMap = field.message?.().name.endsWith("Entry") === true;
  const type = isMap
    ? "map"
    : field.kind === "message"
      ? field.message!().name
      : field.kind === "enum"
        ? "enum"
        : "scalar";
  const names = field.names === undefined ? "" : JSON.stringify(field.names);
  const repeated = field.isRepeated && !isMap;
  return `${field.number} ${field.protoName} ${field.property} ${type}${names} ${repeated} ${field.oneof}`;
}

function describeProto(field: DescField): string {
  const kind = field.fieldKind === "list" ? field.listKind : field.fieldKind;
  const type = kind === "message" ? field.message!.typeName : kind;
  const names =
    field.enum === undefined
      ? ""
      : JSON.stringify(Object.fromEntries(field.enum.values.map((value) => [value.name, value.number])));
  return `${field.number} ${field.name} ${field.jsonName} ${type}${names} ${field.fieldKind === "list"} ${field.oneof?.name}`;
}
