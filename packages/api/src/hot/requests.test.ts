// covers: MV-08, GR-04
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { mutated, parameters, someMessage } from "../testing/arbitrary.ts";
import { attempt } from "../testing/outcome.ts";
import {
  plainDeleteRangeView,
  plainKeyValueView,
  plainPutView,
  plainRangeView,
  plainTxn,
  plainWatch,
} from "../testing/plain.ts";
import {
  hasForeignWireType,
  referenceCanonical,
  referenceDecode,
  referenceEncode,
  typeOf,
} from "../testing/reference.ts";
import { BOUND_MAX, MalformedMessage } from "../wire/index.ts";
import {
  CompareUnion,
  DeleteRangeView,
  decodeTxnRequest,
  decodeWatchRequest,
  encodeDeleteRangeRequest,
  encodePutRequest,
  encodeTxnRequest,
  KeyValueView,
  keyValueSize,
  LeaseKeepAliveView,
  PutView,
  RangeView,
  writeKeyValue,
} from "./index.ts";

/** A hot codec under test: how it reads a message into the plain form, what it says of canonical, how it writes. */
interface Subject {
  readonly name: string;
  decode(bytes: Uint8Array, start: number, end: number): object;
  isCanonical?(): boolean;
  encode?(): Uint8Array;
}

// Views are reused throughout, so that something left over from an earlier message would show.
const put = new PutView();
const range = new RangeView();
const deleteRange = new DeleteRangeView();
const keyValue = new KeyValueView();
const keepAlive = new LeaseKeepAliveView();
let txn = decodeTxnRequest(Buffer.alloc(0), 0, 0);

const subjects: readonly Subject[] = [
  {
    name: "etcdserverpb.PutRequest",
    decode: (bytes, start, end) => {
      put.decode(bytes, start, end);
      return plainPutView(put);
    },
    isCanonical: () => put.isCanonical,
    encode: () => encodePutRequest(put),
  },
  {
    name: "etcdserverpb.RangeRequest",
    decode: (bytes, start, end) => {
      range.decode(bytes, start, end);
      return plainRangeView(range);
    },
  },
  {
    name: "etcdserverpb.DeleteRangeRequest",
    decode: (bytes, start, end) => {
      deleteRange.decode(bytes, start, end);
      return plainDeleteRangeView(deleteRange);
    },
    isCanonical: () => deleteRange.isCanonical,
    encode: () => encodeDeleteRangeRequest(deleteRange),
  },
  {
    name: "etcdserverpb.TxnRequest",
    decode: (bytes, start, end) => {
      txn = decodeTxnRequest(bytes, start, end);
      return plainTxn(txn.txn);
    },
    isCanonical: () => txn.isCanonical,
    encode: () => encodeTxnRequest(txn.txn),
  },
  {
    name: "mvccpb.KeyValue",
    decode: (bytes, start, end) => {
      keyValue.decode(bytes, start, end);
      return plainKeyValueView(keyValue);
    },
    encode: () => {
      const { buffer, keyStart, keyEnd, createRevision, modRevision, version, valueStart, valueEnd, lease } = keyValue;
      const size = keyValueSize(keyEnd - keyStart, createRevision, modRevision, version, valueEnd - valueStart, lease);
      const out = Buffer.alloc(size + 2);
      const end = writeKeyValue(
        out,
        1,
        buffer,
        keyStart,
        keyEnd,
        createRevision,
        modRevision,
        version,
        buffer,
        valueStart,
        valueEnd,
        lease,
      );
      assert.equal(end, size + 1, "the size was reckoned right");
      return out.subarray(1, end);
    },
  },
  {
    name: "etcdserverpb.LeaseKeepAliveRequest",
    decode: (bytes, start, end) => {
      keepAlive.decode(bytes, start, end);
      return { ID: keepAlive.id };
    },
  },
  {
    name: "etcdserverpb.WatchRequest",
    decode: (bytes, start, end) => plainWatch(decodeWatchRequest(bytes, start, end)),
  },
];

/** The reference's object as a view can show it: filters are the two with names. */
function seen(message: object): object {
  const create = (message as { createRequest?: { filters: number[] } }).createRequest;
  if (create === undefined) return message;
  const filters = [0, 1].filter((filter) => create.filters.includes(filter));
  return { ...message, createRequest: { ...create, filters } };
}

for (const subject of subjects) {
  const type = typeOf(subject.name);
  const message = someMessage(type, 4);
  const bytes = message.map((made) => referenceEncode(type, made));

  test(`${subject.name}: read as the reference reads it, wherever it lies in the buffer`, () => {
    fc.assert(
      fc.property(bytes, fc.nat({ max: 9 }), (encoded, offset) => {
        const padded = Buffer.concat([Buffer.alloc(offset, 0xff), encoded, Buffer.alloc(3, 0xff)]);
        const ours = subject.decode(padded, offset, offset + encoded.length);
        assert.deepEqual(ours, seen(referenceDecode(type, encoded)));
        if (subject.isCanonical) assert.equal(subject.isCanonical(), true);
        if (subject.encode) assert.deepEqual(Buffer.from(subject.encode()), Buffer.from(encoded));
      }),
      parameters,
    );
  });

  test(`${subject.name}: damaged, refused or read as the reference reads it; canonical exactly when the reference would write it so`, () => {
    const doubled = fc.tuple(bytes, bytes).map(([first, second]) => Buffer.concat([first, second]));
    let read = 0;
    fc.assert(
      fc.property(fc.oneof(mutated(bytes), doubled, mutated(doubled)), (damaged) => {
        const ours = attempt(() => subject.decode(damaged, 0, damaged.length));
        const table = attempt(() => type.decode(damaged));
        if ("refused" in ours) {
          assert.deepEqual(ours, table);
          return;
        }
        assert.ok("value" in table);
        assert.deepEqual(ours.value, seen(table.value));
        if (hasForeignWireType(type, damaged)) {
          if (subject.isCanonical) assert.equal(subject.isCanonical(), false);
          return;
        }
        read++;
        assert.deepEqual(ours.value, seen(referenceDecode(type, damaged)));
        const canonical = Buffer.from(referenceCanonical(subject.name, damaged));
        if (subject.isCanonical)
          assert.equal(subject.isCanonical(), canonical.equals(damaged), canonical.toString("hex"));
        if (subject.encode && !saturates(ours.value)) assert.deepEqual(Buffer.from(subject.encode()), canonical);
      }),
      { ...parameters, numRuns: 600 },
    );
    assert.ok(read > 50, `enough survives: ${read}`);
  });

  test(`${subject.name}: cut at any byte, refused or a shorter message`, () => {
    fc.assert(
      fc.property(bytes, (encoded) => {
        for (let end = 0; end < encoded.length; end++) {
          const ours = attempt(() => subject.decode(encoded, 0, end));
          const table = attempt(() => type.decode(encoded, 0, end));
          if ("refused" in ours) assert.deepEqual(ours, table);
          else assert.ok("value" in table);
        }
      }),
      { ...parameters, numRuns: 60 },
    );
  });
}

/** Whether some bound was cut to ±BOUND_MAX, so that writing it gives the end of int64 and not the number that came. */
function saturates(value: unknown): boolean {
  if (typeof value === "number") return Math.abs(value) === BOUND_MAX;
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return false;
  return Object.values(value).some(saturates);
}

test("each way of not being canonical is noticed", () => {
  const canonical = "0a0161 120162 1805 2001";
  for (const [hex, why] of [
    ["120162 0a0161", "fields out of order"],
    ["0a0161 0a0161", "a field twice"],
    ["0a00 120162", "an empty key"],
    ["0a0161 1200", "an empty value"],
    ["0a0161 1800", "lease 0"],
    ["0a0161 2000", "prev_kv false"],
    ["0a0161 2002", "prev_kv 2"],
    ["0a0161 2800", "ignore_value false"],
    ["0a0161 3000", "ignore_lease false"],
    ["0a0161 188500", "a long varint"],
    ["0a8100 61", "a long length"],
    ["8a00 0161", "a long tag"],
    ["0a0161 3801", "an unknown field"],
    ["0a0161 1a0161", "an unknown wire type"],
  ] as const) {
    const bytes = Buffer.from(hex.replaceAll(" ", ""), "hex");
    put.decode(bytes, 0, bytes.length);
    assert.equal(put.isCanonical, false, why);
    assert.notDeepEqual(Buffer.from(encodePutRequest(put)), bytes, why);
  }
  const bytes = Buffer.from(canonical.replaceAll(" ", ""), "hex");
  put.decode(bytes, 0, bytes.length);
  assert.equal(put.isCanonical, true);
});

test("a view says nothing of the message before", () => {
  const full = encodePutRequest({
    buffer: Buffer.from("kv"),
    keyStart: 0,
    keyEnd: 1,
    valueStart: 1,
    valueEnd: 2,
    lease: 2n ** 63n - 1n,
    prevKv: true,
    ignoreValue: true,
    ignoreLease: true,
  });
  put.decode(full, 0, full.length);
  assert.equal(put.lease, 2n ** 63n - 1n);
  put.decode(full, 0, 0);
  assert.deepEqual(plainPutView(put), plainPutView(new PutView()));
  assert.equal(put.isCanonical, true);
});

test("KeyValues have etcd's stored form", () => {
  const key = Buffer.from("foo");
  const value = Buffer.from("bar");
  const out = Buffer.alloc(64);
  const put = writeKeyValue(out, 0, key, 0, 3, 2, 2, 1, value, 0, 3, 0n);
  assert.equal(out.toString("hex", 0, put), "0a03666f6f1002180220012a03626172");
  const tombstone = writeKeyValue(out, 0, key, 0, 3, 0, 0, 0, value, 0, 0, 0n);
  assert.equal(out.toString("hex", 0, tombstone), "0a03666f6f");
});

test("bounds of max-int64, as etcd's own clients send, are read as the largest number", () => {
  const bytes = Buffer.from("0a0161 58ffffffffffffffff7f 20ffffffffffffffffff01".replaceAll(" ", ""), "hex");
  range.decode(bytes, 0, bytes.length);
  assert.equal(range.maxModRevision, BOUND_MAX);
  assert.equal(range.revision, -1);
  const compare = Buffer.from("0a11 0802 1002 1a0161 30ffffffffffffffff7f".replaceAll(" ", ""), "hex");
  const { txn: claimed, isCanonical } = decodeTxnRequest(compare, 0, compare.length);
  assert.equal(claimed.compare[0]?.union, CompareUnion.ModRevision);
  assert.equal(claimed.compare[0]?.modRevision, BOUND_MAX);
  assert.equal(isCanonical, true);
  assert.deepEqual(Buffer.from(encodeTxnRequest(claimed)), compare);
});

test("a compare whose union changes its mind keeps the last alone", () => {
  const bytes = Buffer.from("0a08 1a0161 2005 3a0162".replaceAll(" ", ""), "hex");
  const { txn: claimed } = decodeTxnRequest(bytes, 0, bytes.length);
  assert.equal(claimed.compare[0]?.union, CompareUnion.Value);
  assert.equal(claimed.compare[0]?.version, 0);
  assert.equal(Buffer.from(claimed.compare[0]?.value ?? []).toString(), "b");
});

test("transactions nested beyond a hundred messages are refused", () => {
  // Each level is a RequestOp around a TxnRequest: success=2 { request_txn=4 { ... } }.
  let bytes: Buffer = Buffer.alloc(0);
  const wrap = (tag: number, inner: Buffer): Buffer =>
    Buffer.concat([
      inner.length < 128
        ? Buffer.from([tag, inner.length])
        : Buffer.from([tag, (inner.length & 0x7f) | 0x80, inner.length >> 7]),
      inner,
    ]);
  for (let level = 0; level < 50; level++) bytes = wrap(0x12, wrap(0x22, bytes));
  assert.equal(decodeTxnRequest(bytes, 0, bytes.length).isCanonical, true);
  const deeper = wrap(0x12, wrap(0x22, bytes));
  assert.throws(() => decodeTxnRequest(deeper, 0, deeper.length), MalformedMessage);
});

test("watch filters are read packed and one by one, and those without a name are passed over", () => {
  for (const hex of ["0a04 2a020001", "0a04 28002801", "0a08 2a0100 2a0301077f", "0a07 2807 2800 2a0101"]) {
    const bytes = Buffer.from(hex.replaceAll(" ", ""), "hex");
    const watch = decodeWatchRequest(bytes, 0, bytes.length);
    assert.ok(watch.kind === "create");
    assert.deepEqual([watch.request.noPut, watch.request.noDelete], [true, true], hex);
  }
  const one = Buffer.from("0a022801", "hex");
  const watch = decodeWatchRequest(one, 0, one.length);
  assert.ok(watch.kind === "create");
  assert.deepEqual([watch.request.noPut, watch.request.noDelete], [false, true]);
});
