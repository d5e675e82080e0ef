/** covers: RA-17 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Inflights } from "./inflights.ts";
import { SeededRandom } from "./testing/seeded-random.ts";
import type { Index } from "./types.ts";

test("inflights behave as a list of (index, bytes) does, whatever is added and freed", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new SeededRandom(seed);
    const maxCount = 1 + random.below(20);
    const maxBytes = random.oneIn(2) ? 0 : 100;
    const inflights = new Inflights(maxCount, maxBytes);
    let twin: { index: number; bytes: number }[] = [];
    let next = 1;
    for (let step = 0; step < 300; step++) {
      const bytes = twin.reduce((sum, one) => sum + one.bytes, 0);
      assert.equal(inflights.count, twin.length);
      assert.equal(inflights.isFull(), twin.length === maxCount || (maxBytes > 0 && bytes >= maxBytes));
      if (!inflights.isFull() && !random.oneIn(3)) {
        next += random.below(3) + 1;
        const size = random.below(40);
        inflights.add(next as Index, size);
        twin.push({ index: next, bytes: size });
      } else if (random.oneIn(20)) {
        inflights.reset();
        twin = [];
      } else {
        const upTo = next - random.below(10);
        inflights.freeUpTo(upTo as Index);
        twin = twin.filter((one) => one.index > upTo);
      }
    }
  }
});

test("the message that crosses the byte limit is the last one let through", () => {
  const inflights = new Inflights(10, 100);
  inflights.add(1 as Index, 99);
  assert.equal(inflights.isFull(), false);
  inflights.add(2 as Index, 1000);
  assert.equal(inflights.isFull(), true);
  assert.throws(() => inflights.add(3 as Index, 1), /full inflights/);
});
