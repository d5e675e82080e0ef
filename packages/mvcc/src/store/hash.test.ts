import assert from "node:assert/strict";
import { test } from "node:test";
import { CompactedError, FutureRevisionError } from "./errors.ts";
import { TestStore } from "./testing/harness.ts";

// covers: ST-04, ST-05

test("HashKV of a short history is etcd's", () => {
  const it = new TestStore();
  assert.deepEqual(it.hashKv(), { hash: 1084519789, compactRevision: -1, revision: 1 });
  it.put("foo", "bar");
  assert.equal(it.hashKv().hash, 3305255506);
  it.put("foo", "baz");
  assert.equal(it.hashKv().hash, 2020292994);
  it.delete("foo");
  assert.equal(it.hashKv().hash, 3153096970);
  assert.equal(it.hashKv(2).hash, 3305255506);
  assert.equal(it.hashKv(1).hash, 1084519789);
  assert.equal(it.hashKv(-5).hash, 1084519789);
});

const NAMES = ["alice", "bob", "celine", "dominik", "eve", "frederica", "gorge"] as const;

function keyOf(i: number): string {
  if (i % 142 === 30) return "zenek";
  return i % 71 === 30 ? "xavery" : NAMES[i % 7]!;
}

// The published vectors (semantics §15): puts in rounds, each round hashed and compacted at its last revision.
const ROUNDS = [
  {
    offset: 71,
    expected: [
      [1913897190, -1, 73],
      [224860069, 73, 145],
      [1565167519, 145, 217],
      [1566261620, 217, 289],
      [2037173024, 289, 361],
    ],
  },
  {
    offset: 35,
    expected: [
      [4082599214, -1, 35],
      [2279933401, 35, 106],
      [3284231217, 106, 177],
      [126286495, 177, 248],
      [900108730, 248, 319],
    ],
  },
] as const;

for (const { offset, expected } of ROUNDS) {
  test(`HashKV across compactions is etcd's: rounds of 71, compacted ${offset} revisions in`, () => {
    const it = new TestStore();
    const results: number[][] = [];
    for (let round = 0; round < 5; round++) {
      const base = round * 71;
      for (let i = base; i <= base + 71; i++) it.put(keyOf(i), String(i));
      const revision = offset === 71 ? it.store.revision : base + offset;
      const before = it.hashKv(revision, 7);
      results.push([before.hash, before.compactRevision, before.revision]);
      it.store.compact(revision);
      it.compactAll(5);
      if (round % 2 === 0) it.flush();
      // Now it is the cached hash of the compaction: the same triple, though more has been compacted.
      assert.deepEqual(it.hashKv(revision), before);
    }
    assert.deepEqual(results, expected);
    assert.equal(it.store.compactionHashes().length, 5);
  });
}

test("HashKV is the same before, during and after the removal", () => {
  for (const flushes of [false, true]) {
    const it = new TestStore();
    for (let i = 0; i < 300; i++) {
      if (i % 11 === 5) it.delete(keyOf(i - 1));
      else it.put(keyOf(i), String(i));
    }
    const { revision } = it.store;
    it.store.compact(revision - 40);
    const expected = it.hashKv(revision);
    let steps = 0;
    while (it.store.compactionStep(3)) {
      if (flushes && steps % 10 === 0) it.flush();
      assert.deepEqual(it.hashKv(revision), expected);
      steps++;
    }
    assert.ok(steps > 10);
    assert.deepEqual(it.hashKv(revision), expected);
    it.flush();
    assert.deepEqual(it.reopen().hashKv(revision), expected);
  }
});

test("a hash taken in slices sees neither later writes nor later compactions", () => {
  const it = new TestStore();
  for (let i = 0; i < 100; i++) it.put(keyOf(i), String(i));
  const expected = it.hashKv();
  const task = it.store.startHash(0);
  let i = 100;
  while (task.step(5)) {
    it.put(keyOf(i), String(i));
    if (i === 104) it.store.compact(it.store.revision);
    it.compactAll();
    if (i % 3 === 0) it.flush();
    i++;
  }
  assert.equal(task.hash, expected.hash);
  assert.equal(it.store.pendingCompactions, 1);
  it.compactAll();
  assert.equal(it.store.pendingCompactions, 0);
});

test("deleted keys, however many, are looked at in slices until one is found that is kept", () => {
  const it = new TestStore();
  for (let i = 0; i < 500; i++) it.put(`deleted${i}`);
  it.store.compact(3);
  it.compactAll();
  for (let i = 0; i < 500; i++) it.delete(`deleted${i}`);
  const nothingKept = it.hashKv().hash;
  it.put("kept");
  const { index } = it.store;
  const look = index.newestAtOrBefore.bind(index);
  let looks = 0;
  index.newestAtOrBefore = (slot, revision) => {
    looks++;
    return look(slot, revision);
  };
  const hashes = [1, 10, 100, 10_000].map((budget) => {
    const task = it.store.startHash(0);
    let most = 0;
    do {
      most = Math.max(most, looks);
      looks = 0;
    } while (task.step(budget));
    assert.ok(most <= 9 * budget, `${most} looks at keys in a step of ${budget}`);
    return task.hash;
  });
  assert.equal(new Set(hashes).size, 1);
  assert.notEqual(hashes[0], nothingKept);
});

test("a cancelled hash lets the compaction go on", () => {
  const it = new TestStore();
  for (let i = 0; i < 20; i++) it.put("a", String(i));
  const task = it.store.startHash(0);
  task.step(3);
  it.store.compact(10);
  it.compactAll();
  assert.equal(it.store.pendingCompactions, 1);
  task.cancel();
  task.cancel();
  it.compactAll();
  assert.equal(it.store.pendingCompactions, 0);
});

test("HashKV refuses compacted and future revisions, but not the compacted one itself", () => {
  const it = new TestStore();
  for (let i = 0; i < 9; i++) it.put("a", String(i));
  it.store.compact(3);
  it.compactAll();
  it.store.compact(5);
  it.compactAll();
  assert.throws(() => it.store.startHash(4), CompactedError);
  assert.throws(() => it.store.startHash(2), CompactedError);
  assert.throws(() => it.store.startHash(11), FutureRevisionError);
  assert.equal(it.hashKv(5).revision, 5);
  // The hash a compaction left is answered even though its revision is compacted by now.
  assert.deepEqual([it.hashKv(3).compactRevision, it.hashKv(3).revision], [-1, 3]);
});

test("only the newest ten compaction hashes are kept", () => {
  const it = new TestStore();
  for (let i = 0; i < 15; i++) {
    it.put("a", String(i));
    it.store.compact(it.store.revision);
    it.compactAll();
  }
  assert.deepEqual(
    it.store.compactionHashes().map((hash) => hash.revision),
    [7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  );
});

test("a compaction accepted before the one before it finished leaves no hash", () => {
  const it = new TestStore();
  for (let i = 0; i < 9; i++) it.put("a", String(i));
  it.store.compact(3);
  it.store.compact(6);
  it.compactAll();
  assert.deepEqual(
    it.store.compactionHashes().map((hash) => hash.revision),
    [3],
  );
});

test("a compaction taken up again after a crash leaves no hash, wherever it was", () => {
  for (let steps = 1; ; steps++) {
    const before = new TestStore();
    for (let i = 0; i < 30; i++) before.put(keyOf(i), String(i));
    before.store.compact(20);
    for (let step = 0; step < steps; step++) before.store.compactionStep(4);
    if (before.store.pendingCompactions === 0) {
      assert.ok(steps > 5, `${steps} steps`);
      return;
    }
    before.flush();
    const it = before.reopen();
    assert.equal(it.store.pendingCompactions, 1);
    it.compactAll();
    assert.equal(it.store.pendingCompactions, 0);
    assert.deepEqual(it.store.compactionHashes(), []);
    it.store.compact(25);
    it.compactAll();
    assert.equal(it.store.compactionHashes().length, 1);
  }
});

test("Hash covers every table but what may differ between equal members", () => {
  const it = new TestStore();
  const hash = () => {
    it.flush();
    const task = it.store.startTablesHash();
    while (task.step(2)) {
      // Until everything is taken in.
    }
    return task.hash;
  };
  const empty = hash();
  for (let i = 0; i < 5; i++) it.put("foo", String(i));
  const written = hash();
  assert.notEqual(written, empty);
  it.backend.put("meta", Buffer.from("storageVersion"), Buffer.from("3.6.0"));
  assert.equal(hash(), written);
  it.backend.put("lease", Buffer.from("lease"), Buffer.from("x"));
  assert.notEqual(hash(), written);
  it.backend.put("lease", Buffer.from("lease"), null);
  assert.equal(hash(), written);
});
