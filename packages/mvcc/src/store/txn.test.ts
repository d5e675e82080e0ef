import assert from "node:assert/strict";
import { test } from "node:test";
import { CompareResult, CompareTarget } from "@quorate/api";
import { CompactedError, FutureRevisionError, KeyNotFoundError, LeaseNotFoundError } from "./errors.ts";
import { bytes, compare, decodeAll, deleteRange, keysOf, op, put, range, TestStore, txn } from "./testing/harness.ts";
import { checkTxn } from "./txn-check.ts";

// covers: AP-07, AP-08, MV-03, MV-07

/** a … e put at 2 … 6. */
function fiveKeys(): TestStore {
  const it = new TestStore({ leases: [1n, 2n] });
  for (const key of ["a", "b", "c", "d", "e"]) it.put(key, key.toUpperCase());
  return it;
}

function historyFrom(it: TestStore, revision: number): string[] {
  const seen: string[] = [];
  it.store.changesFrom(revision, {
    visit: (main, sub, isTombstone, buffer, start, end) => {
      const keyEnd = start + 2 + buffer[start + 1]!;
      assert.ok(keyEnd <= end);
      seen.push(`${main},${sub} ${isTombstone ? "delete" : "put"} ${Buffer.from(buffer.subarray(start + 2, keyEnd))}`);
      return true;
    },
  });
  return seen;
}

test("nested put, then a sibling's delete: one revision, answers as the reference gives them", () => {
  const it = fiveKeys();
  const input = txn([op(txn([op(put("q"))])), op(txn([op(deleteRange("q"))])), op(range("q"))]);
  checkTxn(input, 128);
  const result = it.store.txn(input);
  const [first, second, third] = result.responses;
  assert.equal(result.revision, 7);
  assert.equal(first?.responseTxn?.responses[0]?.responsePut?.revision, 7);
  assert.deepEqual(second?.responseTxn?.responses[0]?.responseDeleteRange, { revision: 7, deleted: 1, prevKvs: null });
  assert.equal(third?.responseRange?.revision, 7);
  assert.equal(third?.responseRange?.records.length, 0);
  assert.deepEqual(historyFrom(it, 7), ["7,0 put q", "7,1 delete q"]);
});

test("a put inside a delete to the end of the keys is deleted with the rest", () => {
  const it = fiveKeys();
  it.store.txn(txn([op(put("b")), op(deleteRange("a", "\0"))]));
  assert.equal(it.get("b"), null);
  assert.deepEqual(historyFrom(it, 7), [
    "7,0 put b",
    "7,1 delete a",
    "7,2 delete b",
    "7,3 delete c",
    "7,4 delete d",
    "7,5 delete e",
  ]);
});

test("a key deleted and put again by one txn begins anew", () => {
  const it = fiveKeys();
  it.store.txn(txn([op(deleteRange("a", "\0")), op(put("b", "again"))]));
  assert.deepEqual(it.get("b"), { key: "b", create: 7, mod: 7, version: 1, value: "again", lease: 0n });
  it.store.compact(7);
  it.compactAll();
  it.flush();
  const after = it.reopen();
  assert.deepEqual(after.get("b"), it.get("b"));
  assert.deepEqual(keysOf(after.store.range(range("\0", "\0")).records), "b");
});

test("a txn that changes nothing takes no revision", () => {
  const it = fiveKeys();
  const result = it.store.txn(txn([op(deleteRange("x", "z")), op(range("a")), op(txn([]))]));
  assert.equal(result.revision, 6);
  assert.deepEqual(result.responses[0]?.responseDeleteRange, { revision: 6, deleted: 0, prevKvs: null });
  assert.equal(it.store.revision, 6);
  assert.equal(it.store.begin().commit(), 6);
});

test("headers say the revision as of each operation", () => {
  const it = fiveKeys();
  const { responses } = it.store.txn(
    txn([op(range("a")), op(deleteRange("x")), op(put("a")), op(range("a")), op(deleteRange("x"))]),
  );
  const revisions = responses.map((r) => (r.responseRange ?? r.responsePut ?? r.responseDeleteRange)?.revision);
  assert.deepEqual(revisions, [6, 6, 7, 7, 7]);
});

test("the whole chosen tree is checked before the first write", () => {
  const bad = [
    { name: "a lease nobody granted", failing: op(put("z", "", { lease: 9n })), error: LeaseNotFoundError },
    {
      name: "ignore_value on an absent key",
      failing: op(put("z", "", { ignoreValue: true })),
      error: KeyNotFoundError,
    },
    {
      name: "ignore_lease on an absent key",
      failing: op(put("z", "", { ignoreLease: true })),
      error: KeyNotFoundError,
    },
    { name: "a future revision", failing: op(range("a", "", { revision: 7 })), error: FutureRevisionError },
    { name: "a compacted revision", failing: op(range("a", "", { revision: 2 })), error: CompactedError },
    {
      name: "a revision below zero after a compaction",
      failing: op(range("a", "", { revision: -1 })),
      error: CompactedError,
    },
  ];
  for (const { failing, error } of bad) {
    for (const respond of [true, false]) {
      const it = fiveKeys();
      it.store.compact(3);
      const before = it.hashKv();
      const isFalse = [compare("a", { version: 0 })];
      for (const last of [failing, op(txn([failing])), op(txn([], [op(txn([failing]))], isFalse))]) {
        const input = txn([op(put("n")), op(deleteRange("a", "\0")), op(txn([op(put("o"))])), last]);
        assert.throws(() => it.store.txn(input, respond), error);
      }
      assert.deepEqual(it.hashKv(), before);
      // In the branch not taken it does no harm.
      assert.equal(it.store.txn(txn([op(put("n"))], [failing]), respond).revision, 7);
    }
  }
});

test("a revision below zero means now in a txn as long as nothing was compacted", () => {
  const it = fiveKeys();
  assert.equal(it.store.txn(txn([op(range("a", "", { revision: -1 }))])).responses[0]?.responseRange?.count, 1);
});

test("a put that keeps the value of a key deleted before it is refused before anything is written", () => {
  const it = fiveKeys();
  const input = txn([op(deleteRange("a", "\0")), op(put("b", "", { ignoreValue: true }))]);
  checkTxn(input, 128);
  assert.throws(() => it.store.txn(input), KeyNotFoundError);
  assert.equal(it.store.revision, 6);
  it.store.txn(txn([op(deleteRange("c", "\0")), op(put("b", "", { ignoreValue: true }))]));
  assert.equal(it.get("b")?.version, 2);
});

test("what is written does not depend on whether someone waits for the answer", () => {
  const input = txn([
    op(range("a", "z")),
    op(put("a", "new", { prevKv: true })),
    op(deleteRange("b", "d", true)),
    op(txn([op(put("x"))])),
  ]);
  const [heard, unheard] = [fiveKeys(), fiveKeys()];
  const answered = heard.store.txn(input, true);
  const unanswered = unheard.store.txn(input, false);
  assert.equal(answered.responses.length, 4);
  assert.deepEqual(unanswered, { revision: answered.revision, succeeded: answered.succeeded, responses: [] });
  assert.deepEqual(unheard.hashKv(), heard.hashKv());
});

test("previous records are those before the operation, within the txn too", () => {
  const it = fiveKeys();
  const { responses } = it.store.txn(
    txn([op(put("a", "2", { prevKv: true })), op(deleteRange("b", "d", true)), op(put("new", "", { prevKv: true }))]),
  );
  assert.equal(decodeAll(responses[0]!.responsePut!.prevKv!)[0]?.value, "A");
  assert.deepEqual(keysOf(responses[1]!.responseDeleteRange!.prevKvs!), "b c");
  assert.equal(responses[2]!.responsePut!.prevKv!.length, 0);
});

const { GREATER: Greater, LESS: Less, NOT_EQUAL: NotEqual } = CompareResult;
const { VERSION: Version, CREATE: Create, MOD: Mod, VALUE: Value, LEASE: Lease } = CompareTarget;
const MAX = Number.MAX_SAFE_INTEGER;
const COMPARES: [string, ReturnType<typeof compare>, boolean][] = [
  ["version = 1", compare("a", { target: Version, version: 1 }), true],
  ["version < 1", compare("a", { target: Version, result: Less, version: 1 }), false],
  ["create = 2", compare("a", { target: Create, createRevision: 2 }), true],
  ["mod > 1", compare("a", { target: Mod, result: Greater, modRevision: 1 }), true],
  ["mod < max-int64", compare("a", { target: Mod, result: Less, modRevision: MAX }), true],
  ["value = A", compare("a", { target: Value, value: bytes("A") }), true],
  ["value > @, bytewise", compare("a", { target: Value, result: Greater, value: bytes("@\xff") }), true],
  ["value != with nothing given", compare("a", { target: Value, result: NotEqual }), true],
  ["lease = 0", compare("a", { target: Lease }), true],
  ["lease > a negative one", compare("a", { target: Lease, result: Greater, lease: -1n }), true],
  ["absent: create = 0", compare("x", { target: Create }), true],
  ["absent: version < 5", compare("x", { target: Version, result: Less, version: 5 }), true],
  ["absent: mod > -1", compare("x", { target: Mod, result: Greater, modRevision: -1 }), true],
  ["absent: lease = 0", compare("x", { target: Lease }), true],
  ["absent: value =", compare("x", { target: Value }), false],
  ["absent: value !=", compare("x", { target: Value, result: NotEqual, value: bytes("v") }), false],
  [
    "range: all create > 1",
    compare("a", { rangeEnd: bytes("z"), target: Create, result: Greater, createRevision: 1 }),
    true,
  ],
  [
    "range: not all create > 2",
    compare("a", { rangeEnd: bytes("z"), target: Create, result: Greater, createRevision: 2 }),
    false,
  ],
  [
    "range: the last fails",
    compare("a", { rangeEnd: bytes("\0"), target: Value, result: Less, value: bytes("E") }),
    false,
  ],
  ["range without keys: create = 0", compare("x", { rangeEnd: bytes("z"), target: Create }), true],
  ["range without keys: value !=", compare("x", { rangeEnd: bytes("z"), target: Value, result: NotEqual }), false],
  ["unknown result", compare("a", { result: 9, target: Version, version: 4 }), true],
  ["unknown target compares as equal", compare("a", { target: 9, version: 4 }), true],
  ["unknown target is not greater", compare("a", { target: 9, result: Greater }), false],
];
for (const [name, condition, holds] of COMPARES) {
  test(`compare ${name} is ${holds}`, () => {
    assert.equal(fiveKeys().store.txn(txn([], [], [condition])).succeeded, holds);
    const both = txn([], [], [compare("a", { target: Version, version: 1 }), condition]);
    assert.equal(fiveKeys().store.txn(both).succeeded, holds);
  });
}

test("compares of nested txns see the state before the outermost", () => {
  const it = fiveKeys();
  const isAbsent = [compare("q", { target: Create })];
  const inner = txn([op(put("r"))], [op(put("s"))], isAbsent);
  const { responses } = it.store.txn(txn([op(put("q")), op(inner)]));
  assert.equal(responses[1]?.responseTxn?.succeeded, true);
  assert.ok(it.get("r") !== null && it.get("s") === null);
});

test("leases follow the last put of a key", () => {
  const it = fiveKeys();
  it.put("a", "", 1n);
  it.put("b", "", 1n);
  assert.deepEqual(it.leases.attachments(), ["1:a", "1:b"]);
  it.put("a", "", 1n);
  it.put("b", "", 2n);
  assert.deepEqual(it.leases.attachments(), ["1:a", "2:b"]);
  it.store.put(put("b", "kept", { ignoreLease: true }));
  assert.deepEqual([it.get("b")?.lease, it.leases.attachments()], [2n, ["1:a", "2:b"]]);
  it.put("b");
  it.delete("a");
  assert.deepEqual(it.leases.attachments(), []);
  assert.throws(() => it.put("a", "", 3n), LeaseNotFoundError);
});

test("ignore_value keeps the value and may change the lease", () => {
  const it = fiveKeys();
  it.store.put(put("a", "", { ignoreValue: true, lease: 2n }));
  assert.deepEqual(it.get("a"), { key: "a", create: 2, mod: 7, version: 2, value: "A", lease: 2n });
  it.store.put(put("a", "", { ignoreValue: true, ignoreLease: true }));
  assert.deepEqual(it.get("a"), { key: "a", create: 2, mod: 8, version: 3, value: "A", lease: 2n });
});

test("a transaction of single puts and deletes numbers its changes", () => {
  const it = fiveKeys();
  const write = it.store.begin();
  const buffer = bytes("..k..value..");
  write.put(buffer, 2, 3, buffer, 5, 10, 0n);
  assert.equal(write.delete(bytes("a"), 0, 1), true);
  assert.equal(write.delete(bytes("a"), 0, 1), false);
  assert.equal(write.delete(bytes("none"), 0, 4), false);
  assert.equal(write.changeCount, 2);
  assert.equal(it.get("k"), null);
  assert.equal(write.commit(), 7);
  assert.equal(it.get("k")?.value, "value");
  assert.deepEqual(historyFrom(it, 7), ["7,0 put k", "7,1 delete a"]);
});
