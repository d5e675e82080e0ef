import assert from "node:assert/strict";
import { test } from "node:test";
import { type Log, silentLog } from "@quorate/world";
import { Backend } from "../backend/backend.ts";
import { MemoryStorage } from "../backend/memory-storage.ts";
import { Store } from "./store.ts";
import { decodeAll, range, TestLeases, TestStore } from "./testing/harness.ts";

// covers: AP-11, ST-03, ST-13, WA-14

/** Three hundred changes of twenty keys, a few on leases, compacted half-way; flushed. */
function history(): TestStore {
  const it = new TestStore({ leases: [1n, 2n] });
  for (let i = 0; i < 300; i++) {
    if (i % 7 === 3) it.delete(`k${i % 20}`);
    else it.put(`k${i % 20}`, String(i), i % 5 === 0 ? BigInt(1 + (i % 2)) : 0n);
    if (i === 200) {
      it.store.compact(150);
      it.compactAll();
    }
  }
  it.flush();
  return it;
}

function everything(it: Pick<TestStore, "store" | "leases" | "hashKv">): unknown {
  const { store } = it;
  const states: unknown[] = [store.revision, store.compactRevision, it.leases.attachments(), it.hashKv().hash];
  for (let revision = store.compactRevision; revision <= store.revision; revision += 10) {
    states.push(decodeAll(store.range(range("\0", "\0", { revision })).records));
  }
  return states;
}

function checkpointOf(store: Store, budget: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  const task = store.startCheckpoint((chunk) => chunks.push(Uint8Array.from(chunk)));
  assert.ok(task !== null);
  while (task.step(budget)) {
    // Until it is written.
  }
  assert.equal(task.step(budget), false);
  return Buffer.concat(chunks);
}

function reader(all: Uint8Array): (length: number) => Uint8Array {
  let at = 0;
  return (length) => {
    const piece = all.subarray(at, at + length);
    at += piece.length;
    return piece;
  };
}

test("a restart in chunks of any size gives the same store", () => {
  const it = history();
  const expected = everything(it);
  for (const restoreChunkRecords of [1, 2, 3, 7, 100, 10_000]) {
    assert.deepEqual(everything(it.reopen({ restoreChunkRecords })), expected);
  }
});

test("opened in slices of any size, with a slice of another store between each two, it is the same store", () => {
  const it = history();
  const expected = everything(it);
  for (const budgets of [[1], [2, 5, 1], [50], [1_000_000]]) {
    const openings = [0, 1].map(() => {
      const backend = new Backend({ storage: new MemoryStorage({ image: it.storage.image }) });
      const leases = new TestLeases([1n, 2n]);
      return { leases, opening: Store.startOpening({ backend, leases, log: silentLog }) };
    });
    assert.throws(() => openings[0]!.opening.store, /used when it is open/);
    for (let i = 0, isMore = true; isMore; i++) {
      isMore = openings.map(({ opening }) => opening.step(budgets[i % budgets.length]!)).some((more) => more);
    }
    for (const { leases, opening } of openings) {
      assert.equal(opening.step(1), false);
      assert.deepEqual(everything(storeWith(opening.store, leases)), expected);
    }
  }
});

test("a revision that a restore raised is the store's, belongs to no key, and counts in hashes until a later one", () => {
  // covers: SN-11
  const it = history();
  const { image } = it.storage;
  const shown = decodeAll(it.store.range(range("\0", "\0")).records);
  const empty = new Uint8Array(0);
  image.addRecord(1000, 0, false, empty, 0, 0);
  image.addRecord(2000, 0, false, empty, 0, 0);
  const after = it.reopen();
  assert.equal(after.store.revision, 2000);
  assert.deepEqual(decodeAll(after.store.range(range("\0", "\0")).records), shown);
  const seen: number[] = [];
  after.store.changesFrom(it.store.revision, {
    visit: (main) => {
      seen.push(main);
      return true;
    },
  });
  assert.deepEqual(seen, [it.store.revision]);
  assert.equal(
    after.store.startCheckpoint(() => {}),
    null,
  );
  after.put("k1", "later");
  assert.equal(after.store.revision, 2001);
  const before = after.hashKv(2000);
  after.store.compact(2000);
  const compacted = after.hashKv(2001).hash;
  after.compactAll();
  assert.equal(after.hashKv(2001).hash, compacted);
  assert.deepEqual(after.hashKv(2000).hash, before.hash);
  after.flush();
  const bumps = image.records.filter((record) => record.bytes.length === 0).map((record) => record.main);
  assert.deepEqual(bumps, [2000]);
  const again = after.reopen();
  assert.deepEqual([again.store.revision, again.hashKv(2001).hash], [2001, compacted]);
});

/** What {@link everything} looks at. */
function storeWith(store: Store, leases: TestLeases): Pick<TestStore, "store" | "leases" | "hashKv"> {
  const hashKv = (revision = 0): { hash: number; compactRevision: number; revision: number } => {
    const task = store.startHash(revision);
    while (task.step(1000)) {
      // Until everything is taken in.
    }
    return { hash: task.hash, compactRevision: task.compactRevision, revision: task.revision };
  };
  return { store, leases, hashKv };
}

test("an empty storage opens as a fresh store", () => {
  const { store } = new TestStore();
  assert.deepEqual([store.revision, store.compactRevision, store.index.keyCount], [1, -1, 0]);
  assert.equal(
    store.startCheckpoint(() => {}),
    null,
  );
});

test("a start from a checkpoint and the records behind it equals one from all records", () => {
  const it = history();
  const checkpoint = checkpointOf(it.store, 3);
  assert.deepEqual(everything(it.reopen({ checkpoint: reader(checkpoint) })), everything(it.reopen()));
  const later = it.reopen();
  for (let i = 0; i < 30; i++) {
    if (i % 4 === 1) later.delete(`k${i % 20}`);
    else later.put(`k${i + 10}`, `later ${i}`, i % 3 === 0 ? 2n : 0n);
  }
  later.flush();
  const expected = everything(later);
  assert.deepEqual(everything(later.reopen({ checkpoint: reader(checkpoint) })), expected);
  assert.deepEqual(everything(later.reopen()), expected);
});

test("what is written while a checkpoint is taken does not get into it", () => {
  const it = history();
  const chunks: Uint8Array[] = [];
  const task = it.store.startCheckpoint((chunk) => chunks.push(Uint8Array.from(chunk)));
  assert.ok(task !== null);
  for (let i = 0; task.step(2); i++) {
    if (i % 3 === 0) it.delete(`k${i % 20}`);
    else it.put(`k${i % 30}`, "meanwhile");
    if (i === 3) it.store.compact(it.store.revision);
    it.compactAll();
  }
  assert.equal(it.store.pendingCompactions, 1);
  it.flush();
  const expected = everything(it);
  // The compaction went past the checkpoint's end, so it is not used; the result is right all the same.
  assert.deepEqual(everything(it.reopen({ checkpoint: reader(Buffer.concat(chunks)) })), expected);
});

test("a checkpoint older than a compaction that stays below its end is used and caught up", () => {
  const it = history();
  const checkpoint = checkpointOf(it.store, 50);
  it.put("k1", "new");
  it.store.compact(280);
  it.compactAll();
  it.flush();
  const warnings: string[] = [];
  const after = open(it, reader(checkpoint), warnings);
  assert.deepEqual(warnings, []);
  assert.equal(after.index.revisionCount, it.reopen().store.index.revisionCount);
});

test("a checkpoint that does not fit is said to be unused, and the store opens without it", () => {
  const it = history();
  const good = checkpointOf(it.store, 50);
  const expected = decodeAll(it.store.range(range("\0", "\0")).records);
  const refused = (checkpoint: Uint8Array, of: TestStore = it) => {
    const warnings: string[] = [];
    const store = open(of, reader(checkpoint), warnings);
    assert.equal(warnings.length, 1, "one warning");
    return store;
  };
  const altered = (at: number) => {
    const bytes = Buffer.from(good);
    bytes[at] = bytes[at]! ^ 1;
    return bytes;
  };
  for (const bad of [
    new Uint8Array(0),
    good.subarray(0, 20),
    good.subarray(0, -1),
    ...[0, 9, 13, 30, 35, 42, 60, 300].map(altered),
  ]) {
    assert.deepEqual(decodeAll(refused(bad).range(range("\0", "\0")).records), expected);
  }

  const ahead = it.reopen();
  ahead.put("k1", "not flushed");
  refused(checkpointOf(ahead.store, 50));

  const other = new TestStore();
  for (let i = 0; i < 300; i++) other.put("k", `other ${i}`);
  other.flush();
  refused(good, other);

  const compacted = it.reopen();
  compacted.delete("k1");
  compacted.put("k2");
  compacted.store.compact(compacted.store.revision);
  compacted.compactAll();
  compacted.flush();
  const store = refused(good, compacted);
  assert.equal(store.index.find(Buffer.from("k1"), 0, 2), 0xffff_ffff);
});

test("a checkpoint that the disk fails to read, wherever, is said to be unused, and the store opens without it", () => {
  const it = history();
  const good = checkpointOf(it.store, 50);
  const expected = decodeAll(it.store.range(range("\0", "\0")).records);
  for (let failAt = 0; ; failAt++) {
    const read = reader(good);
    let reads = 0;
    const failing = (length: number): Uint8Array => {
      if (reads++ === failAt) throw Object.assign(new Error("EIO: i/o error, read"), { code: "EIO" });
      return read(length);
    };
    const warnings: string[] = [];
    const store = open(it, failing, warnings);
    assert.deepEqual(decodeAll(store.range(range("\0", "\0")).records), expected);
    if (reads <= failAt) {
      assert.deepEqual([warnings, failAt > 3], [[], true]);
      break;
    }
    assert.equal(warnings.length, 1);
  }
});

test("a checkpoint waits for a pending compaction", () => {
  const it = history();
  it.store.compact(200);
  assert.equal(
    it.store.startCheckpoint(() => {}),
    null,
  );
  it.compactAll();
  assert.ok(checkpointOf(it.store, 10).length > 0);
});

test("an abandoned checkpoint lets compactions go on", () => {
  const it = history();
  const task = it.store.startCheckpoint(() => {});
  it.store.compact(200);
  it.compactAll();
  assert.equal(it.store.pendingCompactions, 1);
  task?.cancel();
  it.compactAll();
  assert.equal(it.store.pendingCompactions, 0);
});

test("keys hang on the leases their newest records name, and on none that is gone", () => {
  const it = new TestStore({ leases: [1n, 2n] });
  it.put("a", "", 1n);
  it.put("b", "", 1n);
  it.put("b", "", 2n);
  it.put("c", "", 1n);
  it.put("c");
  it.put("d", "", 1n);
  it.delete("d");
  it.flush();
  assert.deepEqual(it.reopen().leases.attachments(), ["1:a", "2:b"]);
  const after = it.reopen({ leases: [2n] });
  assert.deepEqual(after.leases.attachments(), ["2:b"]);
  after.put("a", "still there, on no lease");
  after.delete("b");
  assert.deepEqual(after.leases.attachments(), []);
});

function open(it: TestStore, checkpoint: (length: number) => Uint8Array, warnings: string[]): Store {
  const log: Log = { ...silentLog, warn: (message) => warnings.push(message) };
  const backend = new Backend({ storage: new MemoryStorage({ image: it.storage.image }) });
  return Store.open({ backend, leases: new TestLeases([1n, 2n]), log, checkpoint });
}

test("records that a compaction should have removed and did not stay without harm", () => {
  const before = new TestStore();
  before.put("a", "1");
  before.delete("a");
  before.put("b", "1");
  before.flush();
  const left = before.storage.image.records.slice(0, 2);
  before.store.compact(4);
  before.compactAll();
  before.flush();
  before.storage.image.records.unshift(...left);
  const withAll = before.reopen();
  const checkpoint = checkpointOf(withAll.store, 100);

  // The checkpoint is cut to what the compaction leaves, so that the index does not know the key of these records.
  const it = before.reopen({ checkpoint: reader(checkpoint) });
  assert.equal(it.store.index.keyCount, 1);
  it.put("b", "2");
  it.store.compact(5);
  it.compactAll();
  it.flush();
  assert.deepEqual(
    it.storage.image.records.map(({ main }) => main),
    [2, 3, 5],
  );
  assert.equal(it.get("a"), null);
  assert.equal(it.reopen().get("b")?.value, "2");
});
