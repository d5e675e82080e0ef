import assert from "node:assert/strict";
import { test } from "node:test";
import { DroppedMeanwhile } from "./dropped-meanwhile.ts";

test("what was dropped is remembered in order, up to a limit", () => {
  const dropped = new DroppedMeanwhile();
  dropped.add(Float64Array.of(1, 0, 2, 0));
  dropped.add(new Float64Array(0));
  dropped.add(Float64Array.of(3, 1));
  assert.deepEqual(dropped.toArray(), Float64Array.of(1, 0, 2, 0, 3, 1));
  dropped.add(new Float64Array(8 * 1024 * 1024 - 6));
  assert.ok(dropped.isComplete);
  dropped.add(Float64Array.of(4, 0));
  assert.ok(!dropped.isComplete);
  dropped.add(Float64Array.of(5, 0));
  assert.ok(!dropped.isComplete);
});
