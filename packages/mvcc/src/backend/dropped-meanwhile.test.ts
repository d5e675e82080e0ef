import assert from "node:assert/strict";
import { test } from "node:test";
import { DroppedMeanwhile } from "./dropped-meanwhile.ts";

test("what was dropped is remembered in order, up to a limit", () => {
  const dropped = new DroppedMeanwhile();
  dropped.add(Float64Array.of(1, 0, 2, 0));
  dropped.add(new Float64Array(0));
  dropped.add(Float64Array.of(3, 1));
  assert.equal(dropped.length, 6);
  assert.deepEqual(dropped.take(6), Float64Array.of(1, 0, 2, 0, 3, 1));
  assert.equal(dropped.length, 0);
  dropped.add(new Float64Array(8 * 1024 * 1024));
  assert.ok(dropped.isComplete);
  dropped.add(Float64Array.of(4, 0));
  assert.ok(!dropped.isComplete);
  assert.equal(dropped.take(100).length, 0);
  dropped.add(Float64Array.of(5, 0));
  assert.ok(!dropped.isComplete, "what was forgotten is never remembered");
});

test("it is taken a few commits at a time, one at least", () => {
  const dropped = new DroppedMeanwhile();
  for (let main = 1; main < 5; main++) dropped.add(Float64Array.of(main, 0, main, 1));
  assert.deepEqual(dropped.take(8), Float64Array.of(1, 0, 1, 1, 2, 0, 2, 1));
  assert.deepEqual(dropped.take(7), Float64Array.of(3, 0, 3, 1));
  assert.deepEqual(dropped.take(1), Float64Array.of(4, 0, 4, 1));
  assert.equal(dropped.take(1).length, 0);
  assert.equal(dropped.length, 0);
});
