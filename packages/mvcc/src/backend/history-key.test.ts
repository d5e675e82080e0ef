import assert from "node:assert/strict";
import { test } from "node:test";
import { HISTORY_KEY_BYTES, type Revision, readHistoryKey, writeHistoryKey } from "./history-key.ts";
import { Rng } from "./testing/records.ts";

test("keys are etcd's, byte for byte", () => {
  const key = Buffer.alloc(20, 0xee);
  assert.equal(writeHistoryKey(key, 1, 0x01_0203_0405_0607, 0x08, false), 1 + HISTORY_KEY_BYTES);
  assert.equal(key.toString("hex"), "ee0001020304050607" + "5f" + "0000000000000008" + "eeee");
  assert.equal(writeHistoryKey(key, 1, 2, 0, true), 1 + HISTORY_KEY_BYTES + 1);
  assert.equal(key.toString("hex"), "ee0000000000000002" + "5f" + "0000000000000000" + "74" + "ee");
});

test("order of bytes is order of revisions, and reading gives back what was written", () => {
  const rng = new Rng(1);
  const bounds = [3, 300, 2 ** 31, 2 ** 32, 2 ** 33, 2 ** 53 - 1];
  let last: { revision: Revision; key: Buffer } | null = null;
  const read: Revision = { main: 0, sub: 0, isTombstone: false };
  for (let i = 0; i < 5000; i++) {
    const revision: Revision = {
      main: Math.floor((rng.below(2 ** 32) / 2 ** 32) * bounds[rng.below(bounds.length)]!),
      sub: rng.below(bounds[rng.below(3)]!),
      isTombstone: rng.below(2) === 0,
    };
    const key = Buffer.alloc(18);
    const end = writeHistoryKey(key, 0, revision.main, revision.sub, revision.isTombstone);
    readHistoryKey(key, 0, end, read);
    assert.deepEqual(read, revision);
    const bytes = key.subarray(0, end);
    if (last !== null) {
      const order: number = last.revision.main - revision.main || last.revision.sub - revision.sub;
      if (order !== 0) assert.equal(Math.sign(Buffer.compare(last.key, bytes)), Math.sign(order));
    }
    last = { revision, key: bytes };
  }
});
