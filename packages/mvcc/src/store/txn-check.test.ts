import assert from "node:assert/strict";
import { test } from "node:test";
import type { OpInput, TxnInput } from "./requests.ts";
import { compare, deleteRange, op, put, range, txn } from "./testing/harness.ts";
import { checkTxn, isReadOnlyTxn, isSerializableTxn, txnCost, walkOps } from "./txn-check.ts";

// covers: MV-01, MV-02, MV-04

const p = (key: string): OpInput => op(put(key));
const d = (key: string, rangeEnd = ""): OpInput => op(deleteRange(key, rangeEnd));
const t = (success: OpInput[], failure: OpInput[] = []): OpInput => op(txn(success, failure));

const ACCEPTED: [string, OpInput[]][] = [
  ["nothing", []],
  ["different keys", [p("a"), p("b"), d("c"), d("d", "z")]],
  ["deletes over each other", [d("a"), d("a"), d("a", "z"), d("\0", "\0")]],
  ["a put just outside a deleted range", [p("b"), d("a", "b")]],
  ["a put of one key in both branches of one nested txn", [t([p("q")], [p("q")])]],
  ["a nested put before a later sibling's delete", [t([p("q")]), t([d("q")])]],
  ["a put within a delete to the end of the keys", [p("b"), d("a", "\0")]],
  ["a put within a range turned around", [p("b"), d("z", "a")]],
  ["a put of the key a range starts after", [p("a"), d("a\0", "b")]],
];
for (const [name, ops] of ACCEPTED) {
  test(`${name}: no duplicate`, () => {
    checkTxn(txn(ops), 128);
    checkTxn(txn([], ops), 128);
  });
}

const DUPLICATE: [string, OpInput[]][] = [
  ["put and put", [p("q"), p("q")]],
  ["put and delete", [p("q"), d("q")]],
  ["delete and put", [d("q"), p("q")]],
  ["put within a deleted range", [p("b"), d("a", "c")]],
  ["put within two deleted ranges that touch", [d("a", "c"), d("b", "e"), d("x"), p("d")]],
  ["nested delete, then nested put", [t([d("q")]), t([p("q")])]],
  ["put and a nested delete", [p("q"), t([d("q")])]],
  ["put and a nested put", [t([], [p("q")]), p("q")]],
  ["delete and a nested put", [d("a", "z"), t([p("q")])]],
  ["two nested puts", [t([p("q")]), t([], [p("q")])]],
  ["deep below each other", [t([t([t([p("q")])])]), t([], [t([p("q")])])]],
  ["a nested put and a put in the same list", [t([p("q"), t([p("q")])])]],
];
for (const [name, ops] of DUPLICATE) {
  test(`${name}: a duplicate`, () => {
    assert.throws(() => checkTxn(txn(ops), 128), { kind: "DuplicateKey" });
    assert.throws(() => checkTxn(txn([], ops), 128), { kind: "DuplicateKey" });
  });
}

test("the two branches of a txn may write the same keys", () => {
  checkTxn(txn([p("q")], [p("q"), t([d("r")])]), 128);
});

test("the longest list of a level counts against the limit, and what is left is for the levels below", () => {
  const three = [p("a"), p("b"), p("c")];
  checkTxn(txn(three, [], []), 3);
  assert.throws(() => checkTxn(txn(three), 2), { kind: "TooManyOperations" });
  assert.throws(() => checkTxn(txn([], three), 2), { kind: "TooManyOperations" });
  const compares = ["a", "b", "c"].map((key) => compare(key, {}));
  assert.throws(() => checkTxn(txn([], [], compares), 2), { kind: "TooManyOperations" });
  checkTxn(txn([t(three)]), 4);
  assert.throws(() => checkTxn(txn([t(three)]), 3), { kind: "TooManyOperations" });
  assert.throws(() => checkTxn(txn([t([t([t([p("a")])])])]), 3), { kind: "TooManyOperations" });
});

test("every nested operation is checked as its own request", () => {
  const bad: [OpInput, { kind: string }][] = [
    [op(range("")), { kind: "EmptyKey" }],
    [op(put("")), { kind: "EmptyKey" }],
    [op(deleteRange("")), { kind: "EmptyKey" }],
    [op(range("a", "", { sortOrder: 3 })), { kind: "InvalidSortOption" }],
    [op(put("a", "v", { ignoreValue: true })), { kind: "ValueProvided" }],
    [op(put("a", "", { ignoreLease: true, lease: 1n })), { kind: "LeaseProvided" }],
    [op(null), { kind: "KeyNotFound" }],
    [op(txn([], [], [compare("", {})])), { kind: "EmptyKey" }],
  ];
  for (const [operation, error] of bad) {
    for (const nested of [txn([operation]), txn([], [operation]), txn([t([], [t([operation])])])]) {
      assert.throws(() => checkTxn(nested, 128), error);
    }
  }
});

test("checks come in order: count, compares, success, failure, then duplicates", () => {
  const empty = txn([op(null)], [op(put(""))], [compare("", {})]);
  assert.throws(() => checkTxn(empty, 0), { kind: "TooManyOperations" });
  assert.throws(() => checkTxn(empty, 1), { kind: "EmptyKey" });
  assert.throws(() => checkTxn({ ...empty, compare: [] }, 1), { kind: "KeyNotFound" });
  assert.throws(() => checkTxn(txn([p("q"), p("q")], [op(null)]), 9), { kind: "KeyNotFound" });
});

/** Checks a txn of this one operation. */
const check = (input: Parameters<typeof op>[0]): void => checkTxn(txn([op(input)]), 9);

test("a put is refused for its key, then its value, then its lease", () => {
  const all = { ignoreValue: true, ignoreLease: true, lease: 1n };
  assert.throws(() => check(put("", "v", all)), { kind: "EmptyKey" });
  assert.throws(() => check(put("a", "v", all)), { kind: "ValueProvided" });
  assert.throws(() => check(put("a", "", all)), { kind: "LeaseProvided" });
  check(put("a", "", { ...all, lease: 0n }));
});

test("a range's sort options are known ones", () => {
  for (const [sortOrder, sortTarget] of [
    [-1, 0],
    [3, 0],
    [0, -1],
    [0, 5],
  ] as const) {
    assert.throws(() => check(range("a", "", { sortOrder, sortTarget })), { kind: "InvalidSortOption" });
  }
  check(range("a", "", { sortOrder: 2, sortTarget: 4 }));
  assert.throws(() => check(deleteRange("", "b")), { kind: "EmptyKey" });
});

test("only a txn all of whose operations are ranges is a read", () => {
  const r = op(range("a"));
  const s = op(range("a", "", { serializable: true }));
  const table: [TxnInput, boolean, boolean][] = [
    [txn([]), true, true],
    [txn([], [], [compare("a", {})]), true, true],
    [txn([r, s]), true, false],
    [txn([s], [s]), true, true],
    [txn([s], [r]), true, false],
    [txn([], [p("a")]), false, false],
    [txn([d("a")]), false, false],
    [txn([s, t([s])]), false, false],
  ];
  for (const [input, isReadOnly, isSerializable] of table) {
    assert.equal(isReadOnlyTxn(input), isReadOnly);
    assert.equal(isSerializableTxn(input), isSerializable);
  }
});

test("a txn costs what its dearer branch may add, nested puts included", () => {
  assert.equal(txnCost(txn([op(range("a")), d("a")])), 0);
  assert.equal(txnCost(txn([op(put("ab", "123"))])), 261);
  assert.equal(txnCost(txn([p("a")], [t([p("a"), p("b")], [p("c")]), p("d")])), 3 * 257);
});

test("the walker visits every compare and operation once, in order", () => {
  const seen: string[] = [];
  const input = txn(
    [p("1"), t([d("3")], [op(range("4"))]), p("5")],
    [op(txn([p("7")], [], [compare("6", {})]))],
    [compare("0", {})],
  );
  const name = (of: { key: Uint8Array }) => seen.push(Buffer.from(of.key).toString()) > 0;
  const visitor = { range: name, put: name, deleteRange: name, compare: name, txn: () => seen.push("txn") > 0 };
  assert.equal(walkOps(input, visitor), true);
  assert.equal(seen.join(" "), "0 1 txn 3 4 5 txn 6 7");
  seen.length = 0;
  assert.equal(walkOps(input, { ...visitor, range: () => false }), false);
  assert.equal(seen.join(" "), "0 1 txn 3");
});

test("a txn of tens of thousands of nested operations is checked quickly", () => {
  const level = (depth: number, prefix: string): OpInput[] => {
    const ops: OpInput[] = [];
    for (let i = 0; i < 30; i++) {
      const key = `${prefix}${String.fromCharCode(65 + i)}`;
      ops.push(depth === 0 ? d(`${key}0`, `${key}1`) : i % 2 === 0 ? t(level(depth - 1, key)) : p(key));
    }
    return ops;
  };
  checkTxn(txn(level(2, "k")), 128);
});
