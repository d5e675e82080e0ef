import assert from "node:assert/strict";
import { test } from "node:test";
import { RecordCorruptError, RecordView, recordSize, tombstoneSize, writeRecord, writeTombstone } from "./key-value.ts";
import { bytes, decode } from "./testing/harness.ts";

// covers: MV-08

function encode(key: string, create: number, mod: number, version: number, value: string, lease: bigint): Uint8Array {
  const size = recordSize(key.length, create, mod, version, value.length, lease);
  const out = new Uint8Array(size);
  const end = writeRecord(
    out,
    0,
    bytes(key),
    0,
    key.length,
    create,
    mod,
    version,
    bytes(value),
    0,
    value.length,
    lease,
  );
  assert.equal(end, size);
  return out;
}

test("a record is etcd's KeyValue byte for byte", () => {
  assert.equal(Buffer.from(encode("foo", 2, 2, 1, "bar", 0n)).toString("hex"), "0a03666f6f1002180220012a03626172");
  const tombstone = new Uint8Array(tombstoneSize(3));
  assert.equal(writeTombstone(tombstone, 0, bytes("foo"), 0, 3), 5);
  assert.equal(Buffer.from(tombstone).toString("hex"), "0a03666f6f");
});

test("an empty value and no lease leave no trace in the record", () => {
  assert.equal(Buffer.from(encode("a", 2, 3, 2, "", 0n)).toString("hex"), "0a0161100218032002");
});

test("what is written is read back, up to the ends of the number ranges", () => {
  const large = Number.MAX_SAFE_INTEGER;
  const leases = [0n, 1n, 127n, 128n, 2n ** 53n + 1n, 2n ** 63n - 1n, -1n, -(2n ** 63n)];
  for (const lease of leases) {
    for (const value of ["", "v", "x".repeat(23), "x".repeat(300), "\0\xff"]) {
      for (const revision of [1, 127, 128, 2 ** 32 - 1, 2 ** 32, 2 ** 35 + 3, large]) {
        const record = encode("k\0\xff", 1, revision, revision, value, lease);
        const kv = decode(record, 0, record.length);
        assert.deepEqual(kv, { key: "k\0\xff", create: 1, mod: revision, version: revision, value, lease });
      }
    }
  }
});

test("a copied value does not alias the record it came from", () => {
  const record = Buffer.from(encode("k", 2, 2, 1, "value", 0n));
  const view = new RecordView();
  view.parse(record, 0, record.length, 2, 0);
  const value = view.copyValue();
  record.fill(0);
  assert.deepEqual(value, Uint8Array.from(bytes("value")));
});

test("bytes that are no KeyValue are refused with the record's revision", () => {
  const view = new RecordView();
  const good = encode("key", 2, 2, 1, "value", 0n);
  for (const bad of [
    EMPTY_RECORD,
    good.subarray(0, good.length - 1),
    Uint8Array.of(0x0a, 0x05, 0x61),
    Uint8Array.of(0),
  ]) {
    assert.throws(
      () => view.parse(bad, 0, bad.length, 7, 1),
      (error) => error instanceof RecordCorruptError && error.message.includes("7_1") && error.cause !== undefined,
    );
  }
});

const EMPTY_RECORD = new Uint8Array(0);
