import assert from "node:assert/strict";
import { test } from "node:test";
import { entrySizeBytes } from "./codec.ts";
import { MemoryLogStorage } from "./storage.ts";
import { EMPTY_CONF_STATE, Entry, EntryType, type Index, type Term } from "./types.ts";

function entry(index: number, term: number): Entry {
  return new Entry(EntryType.Normal, term as Term, index as Index, new Uint8Array(10));
}

function at(index: number): Index {
  return index as Index;
}

/** Snapshot at 3 (term 3), entries 4, 5, 6 of terms 4, 5, 6. */
function filled(): MemoryLogStorage {
  const storage = new MemoryLogStorage();
  storage.applySnapshot({
    data: new Uint8Array(),
    metadata: { index: at(3), term: 3 as Term, confState: EMPTY_CONF_STATE },
  });
  storage.append([entry(4, 4), entry(5, 5), entry(6, 6)]);
  return storage;
}

function terms(storage: MemoryLogStorage): number[] {
  const all = storage.entries(storage.firstIndex(), at(storage.lastIndex() + 1), Number.POSITIVE_INFINITY);
  return all!.map((one) => one.term);
}

test("a fresh log is empty and starts at 1, after an entry of term 0 that stands for nothing", () => {
  const storage = new MemoryLogStorage();
  assert.deepEqual([storage.firstIndex(), storage.lastIndex(), storage.term(at(0))], [1, 0, 0]);
});

test("terms are known from just before the first entry to the last, and nowhere else", () => {
  const storage = filled();
  assert.deepEqual(
    [2, 3, 4, 6, 7].map((index) => storage.term(at(index))),
    [undefined, 3, 4, 6, undefined],
  );
});

test("entries stop at the size limit but are at least one", () => {
  const storage = filled();
  const size = entrySizeBytes(entry(4, 4));
  const count = (limit: number): number => storage.entries(at(4), at(7), limit)!.length;
  assert.deepEqual([count(0), count(size), count(2 * size - 1), count(2 * size), count(1000)], [1, 1, 1, 2, 3]);
  assert.equal(storage.entries(at(3), at(7), 1000), undefined);
  assert.throws(() => storage.entries(at(4), at(8), 1000), { name: "BrokenInvariant" });
});

test("appending replaces what stands in the way and passes over what is compacted", () => {
  const storage = filled();
  storage.append([entry(5, 7)]);
  assert.deepEqual(terms(storage), [4, 7]);
  storage.append([entry(2, 2), entry(3, 3), entry(4, 8), entry(5, 8)]);
  assert.deepEqual(terms(storage), [8, 8]);
  storage.append([entry(1, 1), entry(2, 1)]);
  assert.deepEqual(terms(storage), [8, 8]);
  assert.throws(() => storage.append([entry(7, 9)]), { name: "BrokenInvariant" });
});

test("the size is that of the data held, whatever came and went", () => {
  const storage = filled();
  const sized = (index: number, bytes: number): Entry => ({ ...entry(index, 9), data: new Uint8Array(bytes) });
  const base = storage.sizeBytes;
  storage.append([sized(7, 100), sized(8, 10)]);
  assert.equal(storage.sizeBytes, base + 110);
  storage.append([sized(8, 1)]);
  assert.equal(storage.sizeBytes, base + 101);
  storage.compact(at(7));
  assert.equal(storage.sizeBytes, 1);
  const metadata = { index: at(20), term: 9 as Term, confState: EMPTY_CONF_STATE };
  storage.applySnapshot({ data: new Uint8Array(), metadata });
  assert.equal(storage.sizeBytes, 0);
});

test("compaction keeps the term of the last entry it removes", () => {
  const storage = filled();
  storage.compact(at(5));
  assert.deepEqual([storage.firstIndex(), storage.term(at(5)), storage.term(at(4))], [6, 5, undefined]);
  assert.throws(() => storage.compact(at(5)), { kind: "Compacted" });
  storage.compact(at(6));
  assert.deepEqual([storage.firstIndex(), storage.lastIndex(), storage.term(at(6))], [7, 6, 6]);
  assert.throws(() => storage.compact(at(7)), { name: "BrokenInvariant" });
});

test("a snapshot of our own leaves the log, one from the leader replaces it, an old one is refused", () => {
  const storage = filled();
  const own = storage.createSnapshot(at(5), { ...EMPTY_CONF_STATE, voters: [1n] }, new Uint8Array([7]));
  assert.deepEqual([own.metadata.term, storage.lastIndex(), storage.snapshot()], [5, 6, own]);
  assert.throws(() => storage.createSnapshot(at(5), EMPTY_CONF_STATE, new Uint8Array()), { kind: "SnapshotOutOfDate" });
  const theirs = { data: new Uint8Array(), metadata: { index: at(9), term: 9 as Term, confState: EMPTY_CONF_STATE } };
  storage.applySnapshot(theirs);
  assert.deepEqual([storage.firstIndex(), storage.lastIndex(), storage.term(at(9))], [10, 9, 9]);
  assert.throws(() => storage.applySnapshot(theirs), { kind: "SnapshotOutOfDate" });
});
