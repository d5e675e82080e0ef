import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { checkKv } from "./kv-model.ts";
import type { Compare, Found, KvInput, KvOutput, Operation } from "./operation.ts";
import { isLinearizable } from "./testing/exhaustive.ts";
import { makeHistory, seeded } from "./testing/random-history.ts";

let client = 0;

/** An operation of a client of its own from `call` to `end`; no output: of unknown outcome. */
function op(call: number, end: number | null, input: KvInput, output: KvOutput | null = null): Operation {
  return { client: client++, call, return: end, input, output };
}
function put(call: number, end: number, value: string, revision: number): Operation {
  return op(call, end, { kind: "put", key: "k", value }, { kind: "put", revision });
}
function get(call: number, end: number, found: Found | null, revision: number): Operation {
  return op(call, end, { kind: "get", key: "k" }, { kind: "get", revision, found });
}
function swap(call: number, end: number, compare: Compare, value: string, revision: number, found?: Found | null) {
  const input: KvInput = { kind: "txn", key: "k", compare, write: value };
  return op(call, end, input, { kind: "txn", revision, succeeded: found === undefined, found: found ?? null });
}
function remove(call: number, end: number, deleted: number, revision: number): Operation {
  return op(call, end, { kind: "delete", key: "k" }, { kind: "delete", revision, deleted });
}
const lostPut = (call: number, value: string): Operation => op(call, null, { kind: "put", key: "k", value });
const lostSwap = (call: number, modRevision: number, value: string): Operation =>
  op(call, null, { kind: "txn", key: "k", compare: { target: "mod", modRevision }, write: value });
const lostRemove = (call: number): Operation => op(call, null, { kind: "delete", key: "k" });
const at = (value: string, modRevision: number): Found => ({ value, modRevision });

const legal: Record<string, Operation[]> = {
  "nothing at all": [],
  "one write and a read of it": [put(0, 1, "a", 2), get(2, 3, at("a", 2), 2)],
  "a read beside a write, before it": [put(0, 10, "a", 2), get(1, 2, null, 1)],
  "a read beside a write, after it": [put(0, 10, "a", 2), get(1, 2, at("a", 2), 2)],
  "two reads beside a write that disagree in the right order": [
    put(0, 10, "a", 2),
    get(1, 2, null, 1),
    get(3, 4, at("a", 2), 2),
  ],
  "concurrent writes that take effect against the order of their calls": [
    put(0, 10, "a", 3),
    put(1, 9, "b", 2),
    get(11, 12, at("a", 3), 3),
  ],
  "other keys' revisions in between": [put(0, 1, "a", 7), get(2, 3, at("a", 7), 40), put(4, 5, "b", 90)],
  "a lost put that took effect": [lostPut(0, "a"), get(1, 2, at("a", 5), 6)],
  "a lost put that never did": [lostPut(0, "a"), get(1, 2, null, 1), remove(3, 4, 0, 1)],
  "a lost put that took effect long after": [
    lostPut(0, "a"),
    put(1, 2, "b", 2),
    get(3, 4, at("b", 2), 2),
    get(5, 6, at("a", 3), 3),
  ],
  "a lost delete that took effect": [put(0, 1, "a", 2), lostRemove(2), get(3, 4, null, 3)],
  "a lost swap on what a lost put left": [lostPut(0, "a"), lostSwap(1, 4, "b"), get(2, 3, at("b", 5), 5)],
  "a swap that succeeds on a revision nobody was told": [
    lostPut(0, "a"),
    swap(1, 2, { target: "mod", modRevision: 4 }, "b", 5),
  ],
  "a lost put kept for the read that needs it": [
    lostPut(0, "a"),
    lostPut(0, "b"),
    remove(1, 2, 1, 5),
    swap(3, 4, { target: "value", value: "b" }, "c", 6, at("a", 6)),
  ],
  "a swap that fails and says why": [
    put(0, 1, "a", 2),
    swap(2, 3, { target: "mod", modRevision: 1 }, "b", 2, at("a", 2)),
    swap(4, 5, { target: "value", value: "b" }, "c", 2, at("a", 2)),
  ],
  "a swap on absence": [swap(0, 1, { target: "mod", modRevision: 0 }, "a", 2), get(2, 3, at("a", 2), 2)],
};

const illegal: Record<string, Operation[]> = {
  "a stale read": [put(0, 1, "a", 2), put(2, 3, "b", 3), get(4, 5, at("a", 2), 3)],
  "a stale read at its own old revision": [put(0, 1, "a", 2), put(2, 3, "b", 3), get(4, 5, at("a", 2), 2)],
  "a lost acknowledged write": [put(0, 1, "a", 2), get(2, 3, null, 2)],
  "reads beside a write that go back": [put(0, 10, "a", 2), get(1, 2, at("a", 2), 2), get(3, 4, null, 2)],
  "a value nobody wrote": [put(0, 1, "a", 2), get(2, 3, at("b", 2), 2)],
  "a write with another revision than the answer": [put(0, 1, "a", 2), get(2, 3, at("a", 3), 3)],
  "two swaps from one revision that both succeed": [
    put(0, 1, "a", 2),
    swap(2, 10, { target: "mod", modRevision: 2 }, "b", 3),
    swap(2, 10, { target: "mod", modRevision: 2 }, "c", 4),
  ],
  "a swap that fails though its comparison holds": [
    put(0, 1, "a", 2),
    swap(2, 3, { target: "mod", modRevision: 2 }, "b", 2, at("a", 2)),
  ],
  "a lost put that takes effect twice": [
    lostPut(0, "a"),
    get(1, 2, at("a", 2), 2),
    put(3, 4, "b", 3),
    get(5, 6, at("a", 4), 4),
  ],
  "a lost put that takes effect before its call": [get(0, 1, at("a", 2), 2), lostPut(2, "a")],
  "a swap that succeeds on a revision above its own": [
    lostPut(0, "a"),
    swap(1, 2, { target: "mod", modRevision: 7 }, "b", 5),
  ],
  "a delete that deletes what is absent": [remove(0, 1, 1, 2)],
  "a delete that finds nothing to delete": [put(0, 1, "a", 2), remove(2, 3, 0, 2)],
  "revisions against real time": [put(0, 1, "a", 5), put(2, 3, "b", 4)],
};

describe("linearizability of one key", () => {
  for (const [name, history] of Object.entries(legal)) {
    it(`accepts ${name}`, () => assert.equal(checkKv(history).kind, "ok"));
  }
  for (const [name, history] of Object.entries(illegal)) {
    it(`refuses ${name}`, () => assert.equal(checkKv(history).kind, "illegal"));
  }

  it("agrees with the exhaustive twin on those", () => {
    for (const history of Object.values(legal)) assert.equal(isLinearizable(history), true);
    for (const history of Object.values(illegal)) assert.equal(isLinearizable(history), false);
  });

  it("agrees with the exhaustive twin on small histories, straight and bent", () => {
    let refused = 0;
    let count = 0;
    const seeds = fc.record({ seed: fc.integer({ min: 1, max: 2 ** 30 }), bends: fc.integer({ min: 0, max: 2 }) });
    fc.assert(
      fc.property(seeds, ({ seed, bends }) => {
        const random = seeded(seed);
        const options = { operationCount: 6, keyCount: 1, clientCount: 3, unknownShare: 0.3, valueCount: 2 };
        let { operations } = makeHistory(options, random);
        for (let i = 0; i < bends; i++) operations = bend(operations, random);
        const expected = isLinearizable(operations);
        if (bends === 0) assert.equal(expected, true);
        count++;
        if (!expected) refused++;
        assert.equal(checkKv(operations).kind, expected ? "ok" : "illegal");
      }),
      { numRuns: 1500, seed: 7 },
    );
    assert.ok(
      refused > count / 5 && refused < (count * 4) / 5,
      `${refused} of ${count} were refused: a lopsided trial`,
    );
  });
});

/** Changes one answer by a little, or swaps when two operations happened. */
function bend(operations: readonly Operation[], random: () => number): Operation[] {
  const bent = [...operations];
  const i = Math.floor(random() * bent.length);
  const operation = bent[i]!;
  const { output } = operation;
  if (output === null) {
    bent[i] = { ...operation, call: operation.call + Math.floor(random() * 10) };
  } else if (random() < 0.4) {
    const shift = Math.floor(random() * 9) - 4;
    bent[i] = { ...operation, call: operation.call + shift, return: operation.return! + shift };
  } else if (random() < 0.5) {
    bent[i] = {
      ...operation,
      output: { ...output, revision: Math.max(1, output.revision + (random() < 0.5 ? 1 : -1)) },
    };
  } else if (output.kind === "delete") {
    bent[i] = { ...operation, output: { ...output, deleted: 1 - output.deleted } };
  } else if (output.kind === "txn") {
    bent[i] = { ...operation, output: { ...output, succeeded: !output.succeeded, found: null } };
  } else if (output.kind === "get") {
    const found = output.found === null ? at("v0", 2) : random() < 0.5 ? null : at("v1", output.found.modRevision);
    bent[i] = { ...operation, output: { ...output, found } };
  }
  return bent;
}

describe("linearizability of a whole history", () => {
  it("names the key, the end of the longest order, and what does not fit", () => {
    const history = [
      op(0, 1, { kind: "put", key: "other", value: "x" }, { kind: "put", revision: 2 }),
      put(0, 1, "a", 3),
      put(2, 3, "b", 4),
      { client: 77, call: 4, return: 5, input: { kind: "get", key: "k" }, output: get(4, 5, at("a", 3), 4).output },
    ] as const;
    const verdict = checkKv(history);
    assert.equal(verdict.kind, "illegal");
    if (verdict.kind !== "illegal") return;
    assert.equal(verdict.key, "k");
    const lines = verdict.explanation.split("\n");
    assert.match(lines.at(-1)!, /client 77 \[4, 5\] get k -> a \(mod 3\) at 4/);
    assert.match(verdict.explanation, /then k is b \(mod 4\), the store at revision 4 or above/);
    assert.match(verdict.explanation, /put k = b -> done at 4/);
  });

  it("says unknown when the budget is spent, and illegal all the same if another key is", () => {
    const options = { operationCount: 200, keyCount: 1, clientCount: 8, unknownShare: 0.1, valueCount: 2 };
    const { operations } = makeHistory(options, seeded(3));
    assert.deepEqual(checkKv(operations, { budgetPerKey: 50 }), { kind: "unknown", key: "k0", steps: 51 });
    const verdict = checkKv([...operations, ...illegal["a stale read"]!], { budgetPerKey: 50 });
    assert.equal(verdict.kind === "illegal" && verdict.key, "k");
  });

  it("decides 100,000 operations on 50 keys, some of unknown outcome, with hardly a wrong turn", () => {
    const options = { operationCount: 100_000, keyCount: 50, clientCount: 20, unknownShare: 0.05, valueCount: 0 };
    const verdict = checkKv(makeHistory(options, seeded(1)).operations);
    assert.equal(verdict.kind, "ok");
    // A step for each would be perfect; what a lost write left behind takes a search.
    assert.ok(verdict.steps < 400_000, `${verdict.steps} steps`);
  });

  it("finds the one stale read among 20,000 operations", () => {
    const options = { operationCount: 20_000, keyCount: 10, clientCount: 10, unknownShare: 0.01, valueCount: 0 };
    const { operations } = makeHistory(options, seeded(2));
    const reads = operations.filter(({ output }) => output?.kind === "get" && output.found !== null);
    const early = reads[Math.floor(reads.length / 4)]!;
    const late = reads.findLast(({ input, call }) => input.key === early.input.key && call > early.return!)!;
    assert.notDeepEqual(late.output, early.output);
    const stale = operations.map((operation) => (operation === late ? { ...late, output: early.output } : operation));
    const verdict = checkKv(stale);
    assert.equal(verdict.kind === "illegal" && verdict.key, early.input.key);
  });
});
