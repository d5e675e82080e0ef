import assert from "node:assert/strict";
import { test } from "node:test";
import { SortOrder, SortTarget } from "@quorate/api";
import { RecordSpan } from "../backend/storage.ts";
import { CompactedError, FutureRevisionError } from "./errors.ts";
import type { RangeInput } from "./requests.ts";
import { bytes, decodeAll, keysOf, range, TestStore } from "./testing/harness.ts";

// covers: MV-05, MV-06, MV-09, MV-10, ST-16

/** a, b, c, d created at 2, 3, 4, 5; then a updated at 6. */
function fourKeys(): TestStore {
  const it = new TestStore({ leases: [5n] });
  it.put("a", "9");
  it.put("b", "3", 5n);
  it.put("c", "5");
  it.put("d", "1");
  it.put("a", "7");
  return it;
}

const TABLE: { name: string; rest: Partial<RangeInput>; keys: string; more: boolean; count: number }[] = [
  { name: "limit 2", rest: { limit: 2 }, keys: "a b", more: true, count: 4 },
  {
    name: "limit 2, sort MOD DESC",
    rest: { limit: 2, sortTarget: SortTarget.MOD, sortOrder: SortOrder.DESCEND },
    keys: "a d",
    more: true,
    count: 4,
  },
  {
    name: "limit 2, target MOD, order NONE",
    rest: { limit: 2, sortTarget: SortTarget.MOD },
    keys: "b c",
    more: true,
    count: 4,
  },
  { name: "min_mod_revision 5", rest: { minModRevision: 5 }, keys: "a d", more: false, count: 4 },
  { name: "count_only, limit 1", rest: { countOnly: true, limit: 1 }, keys: "", more: false, count: 4 },
  { name: "revision 3", rest: { revision: 3 }, keys: "a b", more: false, count: 2 },
  { name: "limit as many as there are", rest: { limit: 4 }, keys: "a b c d", more: false, count: 4 },
  {
    name: "limit max-int64, saturated",
    rest: { limit: Number.MAX_SAFE_INTEGER },
    keys: "a b c d",
    more: false,
    count: 4,
  },
  { name: "negative limit", rest: { limit: -1 }, keys: "a b c d", more: false, count: 4 },
  { name: "KEY DESC", rest: { sortOrder: SortOrder.DESCEND, limit: 3 }, keys: "d c b", more: true, count: 4 },
  {
    name: "VALUE ASC",
    rest: { sortTarget: SortTarget.VALUE, sortOrder: SortOrder.ASCEND },
    keys: "d b c a",
    more: false,
    count: 4,
  },
  {
    name: "VERSION DESC, limit 1",
    rest: { sortTarget: SortTarget.VERSION, sortOrder: SortOrder.DESCEND, limit: 1 },
    keys: "a",
    more: true,
    count: 4,
  },
  {
    name: "CREATE DESC",
    rest: { sortTarget: SortTarget.CREATE, sortOrder: SortOrder.DESCEND },
    keys: "d c b a",
    more: false,
    count: 4,
  },
  { name: "filters before the limit", rest: { minModRevision: 4, limit: 2 }, keys: "a c", more: true, count: 4 },
  { name: "max_create_revision", rest: { maxCreateRevision: 3 }, keys: "a b", more: false, count: 4 },
  { name: "count_only ignores filters", rest: { countOnly: true, minModRevision: 6 }, keys: "", more: false, count: 4 },
  {
    name: "count_only wins over keys_only",
    rest: { countOnly: true, keysOnly: true },
    keys: "",
    more: false,
    count: 4,
  },
];

for (const { name, rest, keys, more, count } of TABLE) {
  test(`a range with ${name} answers as etcd does`, () => {
    const result = fourKeys().store.range(range("a", "z", rest));
    assert.deepEqual(
      { keys: keysOf(result.records), more: result.more, count: result.count, revision: result.revision },
      { keys, more, count, revision: 6 },
    );
  });
}

test("what sorts alike stays in the order of its keys, also descending", () => {
  const it = new TestStore();
  for (const key of ["c", "a", "b"]) it.put(key, "same");
  for (const sortTarget of [SortTarget.VERSION, SortTarget.VALUE]) {
    const result = it.store.range(range("a", "z", { sortTarget, sortOrder: SortOrder.DESCEND }));
    assert.equal(keysOf(result.records), "a b c");
  }
});

test("keys_only drops the lease too, except when sorted by value", () => {
  const it = fourKeys();
  const plain = it.store.range(range("b", "", { keysOnly: true }));
  assert.deepEqual(decodeAll(plain.records), [{ key: "b", create: 3, mod: 3, version: 1, value: "", lease: 0n }]);
  for (const sortOrder of [SortOrder.NONE, SortOrder.ASCEND, SortOrder.DESCEND]) {
    const sorted = it.store.range(range("a", "z", { keysOnly: true, sortTarget: SortTarget.VALUE, sortOrder }));
    const b = decodeAll(sorted.records).find((kv) => kv.key === "b");
    assert.deepEqual(b, { key: "b", create: 3, mod: 3, version: 1, value: "", lease: 5n });
  }
});

test("the sizes a result announces are those it writes", () => {
  const it = fourKeys();
  it.put("long", "x".repeat(200));
  for (const rest of [{}, { keysOnly: true }, { keysOnly: true, sortTarget: SortTarget.VALUE }]) {
    const { records } = it.store.range(range("\0", "\0", rest));
    let framed = 0;
    for (let i = 0; i < records.length; i++) {
      const size = records.sizeBytes(i);
      const into = new Uint8Array(size + 2);
      assert.equal(records.copy(i, into, 1), size + 1);
      framed += size + (size < 128 ? 2 : 3);
    }
    assert.equal(records.framedBytes(), framed);
  }
});

test("range_end has three meanings", () => {
  const it = new TestStore();
  const keys = ["\0", "a", "a\0", "a\0\0", "aa", "b", "\xed\xa0\x80", "\xff", "\xff\xff"];
  for (const key of [...keys].reverse()) it.put(key);
  const of = (key: string, end: string) => decodeAll(it.store.range(range(key, end)).records).map((kv) => kv.key);
  assert.deepEqual(of("a", ""), ["a"]);
  assert.deepEqual(of("\0", "\0"), keys);
  assert.deepEqual(of("b", "\0"), keys.slice(5));
  assert.deepEqual(of("a", "b"), keys.slice(1, 5));
  assert.deepEqual(of("a", "a\0"), ["a"]);
  assert.deepEqual(of("b", "a"), []);
  assert.deepEqual(of("a", "a"), []);
  assert.deepEqual(of("\xff", "\0"), ["\xff", "\xff\xff"]);
});

test("a revision below zero means now, one beyond now and one below the compacted are refused", () => {
  const it = fourKeys();
  assert.equal(it.store.range(range("a", "", { revision: -1 })).count, 1);
  assert.throws(() => it.store.range(range("a", "", { revision: 7 })), FutureRevisionError);
  it.store.compact(4);
  const refused = (error: unknown) => error instanceof CompactedError && error.compactRevision === 4;
  assert.throws(() => it.store.range(range("a", "", { revision: 3 })), refused);
  assert.throws(() => it.store.range(range("a", "", { revision: 3, countOnly: true })), refused);
  assert.throws(() => it.get("a", 3), refused);
  assert.throws(() => it.get("a", 7), FutureRevisionError);
  assert.equal(it.get("a", 4)?.value, "9");
});

test("a get finds what was there at a revision", () => {
  const it = fourKeys();
  it.delete("a");
  assert.equal(it.get("a"), null);
  assert.equal(it.get("nothing"), null);
  assert.deepEqual(it.get("a", 6), { key: "a", create: 2, mod: 6, version: 2, value: "7", lease: 0n });
  assert.deepEqual(it.get("a", 5)?.mod, 2);
  assert.equal(it.get("b", 2), null);
});

test("the value before a change is that of the revision before, as long as it can be read", () => {
  const it = fourKeys();
  const span = new RecordSpan();
  const previous = (key: string, revision: number) => it.store.previous(bytes(key), 0, key.length, revision, span);
  assert.equal(previous("a", 6), true);
  assert.equal(previous("a", 2), false);
  assert.equal(previous("none", 6), false);
  it.store.compact(5);
  assert.equal(previous("a", 6), true);
  it.put("b");
  it.store.compact(6);
  assert.equal(previous("a", 6), false);
  assert.equal(previous("b", 7), true);
});

test("a pinned range can be written long after its records were replaced and compacted", () => {
  const it = fourKeys();
  const result = it.store.range(range("a", "z"));
  it.store.pin(result.readRevision);
  const before = decodeAll(result.records);
  for (const key of ["a", "b", "c", "d"]) it.delete(key);
  it.put("zz");
  it.store.compact(it.store.revision);
  it.compactAll(1);
  it.flush();
  assert.equal(it.store.pendingCompactions, 1);
  assert.deepEqual(decodeAll(result.records), before);
  it.store.unpin(result.readRevision);
  it.compactAll(1);
  assert.equal(it.store.pendingCompactions, 0);
  assert.equal(it.store.index.keyCount, 1);
});
