import assert from "node:assert/strict";
import { test } from "node:test";
import { CompactedError, FutureRevisionError } from "./errors.ts";
import { TestStore } from "./testing/harness.ts";

// covers: ST-01, ST-02, ST-03, ST-04

/** Revisions of one key as `2,3t` …, as they are stored. */
function stored(it: TestStore): string {
  it.flush();
  return it.storage.image.records.map((record) => `${record.main}${record.isTombstone ? "t" : ""}`).join(",");
}

/** put@2, put@3, delete@4, put@5, delete@6 on one key. */
function generations(): TestStore {
  const it = new TestStore();
  it.put("k", "1");
  it.put("k", "2");
  it.delete("k");
  it.put("k", "3");
  it.delete("k");
  return it;
}

const KEPT: [number, string][] = [
  [2, "2,3,4t,5,6t"],
  [3, "3,4t,5,6t"],
  [4, "4t,5,6t"],
  [5, "5,6t"],
  [6, "6t"],
];
for (const [revision, expected] of KEPT) {
  test(`compaction at ${revision} keeps ${expected} of 2,3,4t,5,6t`, () => {
    const it = generations();
    it.store.compact(revision);
    it.compactAll(1);
    assert.equal(stored(it), expected);
    assert.equal(stored(it.reopen()), expected);
  });
}

test("a key whose last revision is a tombstone before the compacted one is forgotten", () => {
  const it = generations();
  it.put("other");
  it.store.compact(7);
  it.compactAll();
  assert.equal(stored(it), "7");
  assert.equal(it.store.index.keyCount, 1);
});

test("a delete at the compacted revision is still there for a watch from it, after a restart too", () => {
  const it = generations();
  it.store.compact(6);
  it.compactAll();
  it.flush();
  for (const open of [() => it, () => it.reopen()]) {
    const { store } = open();
    const seen: string[] = [];
    store.changesFrom(6, { visit: (main, _, isTombstone) => seen.push(`${main}${isTombstone}`) > 0 });
    assert.deepEqual(seen, ["6true"]);
    assert.equal(store.index.keyCount, 1);
    assert.throws(() => store.changesFrom(5, { visit: () => true }), CompactedError);
  }
});

test("a compaction is refused below or at the last one and beyond now", () => {
  const it = generations();
  assert.throws(() => it.store.compact(-1), CompactedError);
  assert.throws(() => it.store.compact(7), FutureRevisionError);
  it.store.compact(0);
  assert.throws(() => it.store.compact(0), CompactedError);
  it.store.compact(3);
  assert.throws(() => it.store.compact(3), CompactedError);
  assert.throws(() => it.store.compact(2), CompactedError);
  assert.equal(it.store.compactRevision, 3);
  it.compactAll();
});

test("jobs run in order, and who waits hears when those queued then are done", () => {
  const it = generations();
  const heard: string[] = [];
  const waiter = (name: string) => ({ compacted: () => heard.push(`${name}: ${it.store.pendingCompactions} left`) });
  it.store.whenCompacted(waiter("none"));
  assert.deepEqual(heard, ["none: 0 left"]);
  it.store.compact(3);
  it.store.whenCompacted(waiter("first"));
  it.store.compact(5);
  it.store.whenCompacted(waiter("second"));
  it.compactAll(1);
  assert.deepEqual(heard, ["none: 0 left", "first: 1 left", "second: 0 left"]);
});

test("etcd's notes of compactions are in the table meta", () => {
  const it = generations();
  it.store.compact(5);
  it.flush();
  const note = (name: string) => it.storage.get("meta", Buffer.from(name));
  const five = Uint8Array.from(Buffer.from("00000000000000055f0000000000000000", "hex"));
  assert.deepEqual(note("scheduledCompactRev"), five);
  assert.equal(note("finishedCompactRev"), undefined);
  it.compactAll();
  it.flush();
  assert.deepEqual(note("finishedCompactRev"), five);
});

test("the revision does not go back when a compaction is interrupted at any point", () => {
  for (let steps = 0; steps < 12; steps++) {
    const it = generations();
    it.put("other", "x");
    it.delete("other");
    it.flush();
    it.store.compact(8);
    it.flush();
    for (let step = 0; step < steps; step++) it.store.compactionStep(1);
    it.flush();
    const after = it.reopen();
    assert.deepEqual([after.store.revision, after.store.compactRevision], [8, 8]);
    after.compactAll(1);
    assert.equal(stored(after), "8t");
    const last = after.reopen();
    assert.deepEqual([last.store.revision, last.store.pendingCompactions], [8, 0]);
    assert.equal(last.put("k"), 9);
  }
});

test("the revision is the compacted one where no record reaches it", () => {
  const it = generations();
  it.store.compact(6);
  it.flush();
  // Older etcd versions remove the tombstone at the compacted revision too.
  it.storage.image.records = it.storage.image.records.filter((record) => record.main === 2);
  const after = it.reopen();
  assert.deepEqual([after.store.revision, after.store.compactRevision], [6, 6]);
});

test("a crash before the compaction was durable leaves everything readable", () => {
  const it = generations();
  it.flush();
  it.store.compact(5);
  it.compactAll();
  const after = it.reopen();
  assert.equal(after.store.compactRevision, -1);
  assert.equal(after.get("k", 3)?.value, "2");
});

test("writes between the slices of a compaction are kept", () => {
  const it = new TestStore();
  for (let i = 0; i < 50; i++) it.put(`k${i % 10}`, String(i));
  it.store.compact(40);
  let n = 0;
  do {
    if (n % 3 === 0) it.delete(`k${n % 10}`);
    else it.put(`k${n % 10}`, `new${n}`);
    n++;
  } while (it.store.compactionStep(2));
  assert.ok(n > 20);
  it.flush();
  const answers = (of: TestStore) => {
    const keys = Array.from({ length: 10 }, (_, i) => `k${i}`);
    return [of.hashKv().hash, ...keys.map((key) => of.get(key)), ...keys.map((key) => of.get(key, 45))];
  };
  const expected = answers(it);
  assert.deepEqual(answers(it.reopen()), expected);
});

test("pins are counted, and only older ones hold a compaction", () => {
  const it = generations();
  it.store.pin(4);
  it.store.pin(4);
  it.store.pin(6);
  it.store.compact(4);
  it.compactAll();
  assert.equal(it.store.pendingCompactions, 0);
  it.store.compact(5);
  assert.equal(it.store.compactionStep(9), false);
  it.store.unpin(4);
  assert.equal(it.store.compactionStep(9), false);
  it.store.unpin(4);
  it.compactAll();
  assert.equal(it.store.pendingCompactions, 0);
  assert.throws(() => it.store.pin(4), CompactedError);
  assert.throws(() => it.store.pin(7), FutureRevisionError);
});

test("nothing kept at the hashed revision: HashKV counts what is still stored, but no tombstone at the compacted one", () => {
  const it = new TestStore();
  it.put("k");
  const afterPut = it.hashKv().hash;
  it.delete("k");
  it.store.compact(3);
  assert.equal(it.hashKv(0).hash, afterPut);
  it.flush();
  const after = it.reopen();
  after.compactAll();
  assert.equal(after.hashKv(0).hash, 1084519789);
});

test("a slice is as long for large records and for keys with many newer changes as for others", () => {
  const steps = (it: TestStore, revision: number): number => {
    it.store.compact(revision);
    let count = 1;
    while (it.store.compactionStep(100)) count++;
    return count;
  };
  const large = new TestStore();
  for (let i = 0; i < 50; i++) large.put("k", "v".repeat(100_000));
  const small = new TestStore();
  for (let i = 0; i < 50; i++) small.put("k");
  assert.ok(steps(small, 50) <= 3);
  assert.ok(steps(large, 50) >= 10);

  const busy = new TestStore();
  for (let i = 0; i < 20; i++) busy.put(`k${i}`);
  for (let i = 0; i < 20 * 1000; i++) busy.put(`k${i % 20}`);
  const idle = new TestStore();
  for (let i = 0; i < 20; i++) idle.put(`k${i}`);
  assert.ok(steps(idle, 20) <= 3);
  // The walk of the index comes on top, as long as ever.
  assert.ok(steps(busy, 20) >= 40 + 20);
});
