import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "@quorate/wal/testing";
import fc from "fast-check";
import { FairQueue } from "./fair-queue.ts";

/** Draws the last place. */
const LAST = { below: (bound: number) => bound - 1 };

function queueOf(max: number, maxPerOwner: number): FairQueue<string> {
  return new FairQueue({ max, maxPerOwner, random: LAST, sourceOf: () => null });
}

function drained(queue: FairQueue<string>): string[] {
  const items: string[] = [];
  for (let item = queue.next(); item !== undefined; item = queue.next()) items.push(item);
  return items;
}

test("queues take turns, each in the order its items came", () => {
  const queue = queueOf(100, 100);
  for (const item of ["a1", "a2", "a3", "b1", "c1", "c2"]) queue.add(item[0]!, item);
  queue.add(null, "null");
  assert.equal(queue.next(), "a1");
  queue.add("d", "d1");
  assert.deepEqual(drained(queue), ["b1", "c1", "null", "a2", "d1", "c2", "a3"]);
});

test("in a full queue a newcomer takes the place of one drawn by lot", () => {
  const queue = queueOf(100, 3);
  for (const item of ["a1", "a2", "a3"]) assert.equal(queue.add("a", item), null);
  assert.equal(queue.add("a", "a4"), "a3");
  assert.equal(queue.add("b", "b1"), null);
  for (let i = 0; i < 10; i++) assert.equal(queue.add(null, "null"), null);
  assert.deepEqual(drained(queue).slice(0, 5), ["a1", "b1", "null", "a2", "null"]);
});

test("when all places are taken the longest queue gives one up, and nobody his only one", () => {
  const queue = queueOf(4, 3);
  for (const item of ["a1", "a2", "b1", "c1"]) assert.equal(queue.add(item[0]!, item), null);
  assert.equal(queue.add("d", "d1"), "a2");
  assert.equal(queue.add("e", "e1"), "e1");
  assert.equal(queue.add("a", "a3"), "a3");
  assert.deepEqual(drained(queue), ["a1", "b1", "c1", "d1"]);
});

test("whoever is asked about gets his turn among those who flood his queue, sooner or later", () => {
  const random = new SeededRandom(7);
  const queue = new FairQueue<string>({ max: 4096, maxPerOwner: 64, random, sourceOf: () => null });
  let served = 0;
  for (let i = 0; i < 100; i++) {
    queue.add("bob", "right");
    // Ten guesses for each that is checked.
    for (let turn = 0; turn < 64; turn++) {
      for (let guess = 0; guess < 10; guess++) queue.add("bob", "guess");
      if (queue.next() === "right") served++;
    }
  }
  assert.ok(served >= 3, `${served} of 100`);
});

test("whoever comes alone stays, however much comes from elsewhere", () => {
  const sourceOf = (item: string): string => item[0]!;
  const queue = new FairQueue<string>({ max: 4096, maxPerOwner: 4, random: new SeededRandom(3), sourceOf });
  for (const item of ["x1", "y1", "a1", "y2"]) queue.add("bob", item);
  for (let i = 0; i < 100; i++) assert.match(queue.add("bob", i % 2 === 0 ? "x2" : "y3")!, /[xy]/);
  assert.ok(drained(queue).includes("a1"));
});

test("for any history, what was added was served, displaced, removed, or waits, once, within the limits", () => {
  const owner = fc.constantFrom("a", "b", "c", null);
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("add" as const), owner }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("next" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("remove" as const), owner }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.nat(), (steps, seed) => {
      type Item = { readonly owner: string | null };
      const queue = new FairQueue<Item>({
        max: 6,
        maxPerOwner: 3,
        random: new SeededRandom(seed),
        sourceOf: () => null,
      });
      const waiting = new Set<Item>();
      for (const each of steps) {
        if (each.kind === "add") {
          const item = { owner: each.owner };
          const wasFull = queue.isFullFor(each.owner);
          const displaced = queue.add(each.owner, item);
          waiting.add(item);
          assert.equal(displaced !== null, wasFull);
          if (displaced !== null) assert.ok(waiting.delete(displaced));
        } else if (each.kind === "next") {
          const item = queue.next();
          assert.equal(item === undefined ? waiting.size === 0 : waiting.delete(item), true);
        } else {
          const removed = queue.removeIf((item) => item.owner === each.owner);
          assert.equal(removed.length, [...waiting].filter((item) => item.owner === each.owner).length);
          for (const item of removed) assert.ok(waiting.delete(item));
        }
        assert.ok(waiting.size <= 6);
        for (const name of ["a", "b", "c"]) {
          assert.ok([...waiting].filter((item) => item.owner === name).length <= 3);
        }
      }
    }),
  );
});
