import assert from "node:assert/strict";
import test from "node:test";
import { Stream } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";

class Bare extends Stream {
  constructor(id: number) {
    super(id, 0, 0, 0);
  }
  receive(): void {}
  remoteEnded(): void {}
  aborted(): void {}
  queueDrained(): void {}
}

test("the table agrees with a Map through growth, collisions and removal", () => {
  let seed = 5;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const table = new StreamTable();
  const twin = new Map<number, Stream>();
  let next = 1;
  for (let step = 0; step < 200_000; step++) {
    // Phases of growth and of shrinking; some streams stay for long, so that later ids wrap onto their slots.
    const grows = Math.floor(step / 5000) % 2 === 0;
    if (random(10) < (grows ? 6 : 4)) {
      const stream = new Bare(next);
      next += random(20) === 0 ? 2 * (1 + random(600)) : 2;
      table.add(stream);
      twin.set(stream.id, stream);
    } else if (twin.size > 0) {
      const newest = next - 2 - 2 * random(30);
      const id = twin.has(newest) ? newest : [...twin.keys()][random(Math.min(twin.size, 3))]!;
      table.remove(id);
      twin.delete(id);
      table.remove(id);
    }
    const probe = Math.max(1, next - 2 * random(50));
    assert.equal(table.get(probe), twin.get(probe));
    assert.equal(table.size, twin.size);
    if (step % 5000 === 0)
      assert.deepEqual(
        table.all().map(({ id }) => id),
        [...twin.keys()].sort((a, b) => a - b),
      );
  }
});
