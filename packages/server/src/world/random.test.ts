import assert from "node:assert/strict";
import { test } from "node:test";
import { MachineRandom } from "./random.ts";

test("every number below the bound comes about equally often", () => {
  const random = new MachineRandom();
  for (const bound of [1, 2, 7, 10]) {
    const counts = new Array<number>(bound).fill(0);
    for (let i = 0; i < 20_000; i++) {
      const value = random.below(bound);
      assert.ok(Number.isInteger(value) && value >= 0 && value < bound);
      counts[value]!++;
    }
    // Six standard deviations: chance fails this once in a hundred million runs.
    const expected = 20_000 / bound;
    for (const count of counts) assert.ok(Math.abs(count - expected) <= 6 * Math.sqrt(expected), `${bound}: ${counts}`);
  }
});

test("bounds up to 2^32 are taken, others refused", () => {
  const random = new MachineRandom();
  assert.ok(random.below(2 ** 32) < 2 ** 32);
  for (const bound of [0, -1, 1.5, 2 ** 32 + 1, Number.NaN]) assert.throws(() => random.below(bound), RangeError);
});

test("two sources differ", () => {
  const one = new MachineRandom();
  const other = new MachineRandom();
  const draw = (random: MachineRandom): number[] => Array.from({ length: 8 }, () => random.below(2 ** 32));
  assert.notDeepEqual(draw(one), draw(other));
});
