import assert from "node:assert/strict";
import { test } from "node:test";
import { releaseMemory } from "./memory.ts";

test("releasing memory collects what nobody refers to, and leaves no gc function behind", () => {
  let garbage: number[][] | null = Array.from({ length: 200 }, () => new Array<number>(10_000).fill(1.5));
  const before = process.memoryUsage().heapUsed;
  assert.equal(garbage.length, 200);
  garbage = null;
  releaseMemory();
  assert.ok(before - process.memoryUsage().heapUsed > 8e6, "16 MB of garbage are gone");
  assert.equal("gc" in globalThis, false);
});
