// covers: MV-08, GR-04
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { mutated, parameters, someBytes, someNumber, someString } from "../testing/arbitrary.ts";
import { attempt } from "../testing/outcome.ts";
import { descriptorOf, hasForeignWireType, referenceDecode, referenceEncode, typeOf } from "../testing/reference.ts";
import { encodeRaftRequest, RaftOp, RaftRequestView, raftRequestSize } from "./raft-request.ts";

const type = typeOf("etcdserverpb.InternalRaftRequest");
const view = new RaftRequestView();
const operations = Object.values(RaftOp).filter((op) => op !== RaftOp.None);

const someIdHigh = fc.oneof(fc.constantFrom(0, 1, 0x7fff, 0x8000, 0xffff), fc.nat({ max: 0xffff }));
const someIdLow = fc.oneof(
  fc.constantFrom(1, 2 ** 32 - 1, 2 ** 32, 2 ** 48 - 1),
  fc.nat({ max: 2 ** 31 - 1 }).map((value) => value * 2 ** 17 + 1),
);

function idOf(high: number, low: number): bigint {
  return (BigInt(high) << 48n) | BigInt(low);
}

test("RaftOp names the operations of InternalRaftRequest, and no others", () => {
  const inProto = descriptorOf(type.name)
    .fields.filter((field) => field.name !== "header" && field.name !== "ID")
    .map((field) => [field.jsonName.toLowerCase(), field.number]);
  const ours = Object.entries(RaftOp)
    .filter(([, number]) => number !== RaftOp.None)
    .map(([name, number]) => [name.toLowerCase(), number]);
  assert.deepEqual(Object.fromEntries(ours), Object.fromEntries(inProto));
});

test("entries are written as the reference writes them, and read back", () => {
  fc.assert(
    fc.property(
      someIdHigh,
      someIdLow,
      someString,
      someNumber,
      fc.constantFrom(...operations),
      fc.nat({ max: 300 }),
      (idHigh, idLow, username, authRevision, op, length) => {
        // Every operation's message may carry a bytes or string field 1; what it says is of no matter here.
        const field = type.fields.find((candidate) => candidate.number === op)!;
        const inner = field.message!();
        const first = inner.fields.find((candidate) => candidate.kind === "bytes" || candidate.kind === "string");
        const content = first === undefined || first.isRepeated ? {} : { [first.property]: filler(first.kind, length) };
        const operation = inner.encode(content);
        const padded = Buffer.concat([Buffer.from("<"), operation, Buffer.from(">")]);
        const name = Buffer.from(username);
        const bytes = encodeRaftRequest(idHigh, idLow, name, authRevision, op, padded, 1, padded.length - 1);
        assert.equal(bytes.length, raftRequestSize(idHigh, idLow, name.length, authRevision, op, operation.length));
        const message = {
          header: { ID: idOf(idHigh, idLow), username, authRevision },
          [field.property]: content,
        };
        assert.deepEqual(Buffer.from(bytes), Buffer.from(referenceEncode(type, message)));

        const entry = Buffer.concat([Buffer.from("<<"), bytes, Buffer.from(">")]);
        view.decode(entry, 2, 2 + bytes.length);
        assert.equal(view.op, op);
        assert.deepEqual(entry.subarray(view.start, view.end), Buffer.from(operation));
        assert.equal(view.idHigh, idHigh);
        assert.equal(view.idLow, idLow);
        assert.equal(view.username(), username);
        assert.equal(view.authRevision, authRevision);
      },
    ),
    parameters,
  );
});

test("damaged entries are refused or read as the reference reads them", () => {
  const bytes = fc.tuple(someIdHigh, someIdLow, someString, someBytes).map(([idHigh, idLow, username, key]) => {
    const operation = typeOf("etcdserverpb.PutRequest").encode({ key });
    return encodeRaftRequest(idHigh, idLow, Buffer.from(username), 3, RaftOp.Put, operation, 0, operation.length);
  });
  let read = 0;
  fc.assert(
    fc.property(mutated(bytes), (damaged) => {
      const ours = attempt(() => view.decode(damaged, 0, damaged.length));
      // The view leaves the operation's inside and the username's UTF-8 to whoever reads them.
      const table = attempt(() => type.decode(damaged));
      if ("refused" in ours || "refused" in table || hasForeignWireType(type, damaged)) return;
      read++;
      const theirs = referenceDecode(type, damaged) as Record<string, unknown>;
      const header = theirs.header as { ID: bigint; username: string; authRevision: number } | undefined;
      const legacy = theirs.ID as bigint;
      assert.equal(idOf(view.idHigh, view.idLow), legacy !== 0n ? legacy : (header?.ID ?? 0n));
      assert.equal(view.username(), header?.username ?? "");
      assert.equal(view.authRevision, header?.authRevision ?? 0);
      const given = type.fields.filter((field) => field.kind === "message" && field.number !== 100);
      const set = given.filter((field) => theirs[field.property] !== undefined);
      assert.deepEqual(
        set.map((field) => field.number),
        view.op === RaftOp.None ? [] : [view.op],
      );
    }),
    { ...parameters, numRuns: 1500 },
  );
  assert.ok(read > 50, `enough survives: ${read}`);
});

test("the legacy id comes before the header's", () => {
  const bytes = Buffer.from(type.encode({ ID: 7n, header: { ID: 2n ** 64n - 1n }, put: {} }));
  view.decode(bytes, 0, bytes.length);
  assert.deepEqual([view.idHigh, view.idLow], [0, 7]);
  const plain = Buffer.from(type.encode({ header: { ID: 2n ** 64n - 1n }, put: {} }));
  view.decode(plain, 0, plain.length);
  assert.deepEqual([view.idHigh, view.idLow], [0xffff, 2 ** 48 - 1]);
});

test("an entry of an operation we do not know says so", () => {
  const bytes = Buffer.from("a2060208 05 e23e0161".replaceAll(" ", ""), "hex");
  view.decode(bytes, 0, bytes.length);
  assert.equal(view.op, RaftOp.None);
  assert.equal(view.idLow, 5);
  view.decode(bytes, 0, 0);
  assert.deepEqual([view.op, view.idHigh, view.idLow, view.username()], [RaftOp.None, 0, 0, ""]);
});

test("an entry of two operations is refused, and so is encoding one without an id", () => {
  const bytes = Buffer.from(type.encode({ put: {}, compaction: {} }));
  assert.throws(() => view.decode(bytes, 0, bytes.length), { kind: "MalformedMessage" });
  assert.throws(() => encodeRaftRequest(0, 0, Buffer.alloc(0), 0, RaftOp.Put, bytes, 0, 0), {
    kind: "BrokenInvariant",
  });
});

function filler(kind: string, length: number): unknown {
  return kind === "bytes" ? Buffer.alloc(length, 1) : "x".repeat(length);
}
