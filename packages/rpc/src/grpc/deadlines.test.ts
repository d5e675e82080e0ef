import assert from "node:assert/strict";
import test from "node:test";
import { ManualWorld } from "../testing/manual-world.ts";
import { Deadlines, type Timed } from "./deadlines.ts";

class Waiting implements Timed {
  deadlineSlot = -1;
  deadlineBefore: Timed | null = null;
  deadlineAfter: Timed | null = null;
  firedMs = -1;
  deadlineMs: number;
  readonly #world: ManualWorld;
  readonly #then: () => void;
  constructor(world: ManualWorld, deadlineMs: number, then: () => void = () => {}) {
    this.#world = world;
    this.deadlineMs = deadlineMs;
    this.#then = then;
  }
  deadlinePassed(): void {
    assert.equal(this.firedMs, -1, "only once");
    this.firedMs = this.#world.monotonicMs();
    this.#then();
  }
}

test("every deadline fires once, not early, and at most two slots late", () => {
  const world = new ManualWorld();
  const deadlines = new Deadlines(world, world);
  let seed = 12;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed / 2 ** 32) * below;
  };
  const waiting: Waiting[] = [];
  const removed = new Set<Waiting>();
  for (let step = 0; step < 3000; step++) {
    const roll = random(10);
    if (roll < 7) {
      // Near, far beyond the wheel's reach, and already over.
      const ahead = roll < 4 ? random(300) : roll < 6 ? random(60_000) : -random(50);
      const one = new Waiting(world, world.monotonicMs() + ahead);
      waiting.push(one);
      deadlines.add(one);
    } else if (roll < 8.5 && waiting.length > 0) {
      const one = waiting[Math.floor(random(waiting.length))]!;
      if (one.firedMs < 0) removed.add(one);
      deadlines.remove(one);
    } else world.pass(random(60));
  }
  world.pass(70_000);
  for (const one of waiting) {
    if (removed.has(one)) assert.equal(one.firedMs, -1);
    else {
      assert.ok(one.firedMs >= one.deadlineMs, "early");
    }
  }
  assert.equal(deadlines.count, 0);
  assert.equal(world.timerCount, 0, "no timer without a deadline");
});

test("a deadline is at most two slots late when the clock runs evenly", () => {
  const world = new ManualWorld();
  const deadlines = new Deadlines(world, world);
  const waiting = Array.from({ length: 500 }, (_, i) => new Waiting(world, world.monotonicMs() + i * 37.3 + 0.1));
  for (const one of waiting) deadlines.add(one);
  world.pass(25_000);
  for (const one of waiting) assert.ok(one.firedMs - one.deadlineMs <= 16, `${one.firedMs - one.deadlineMs}`);
});

test("a deadline may remove its neighbours, add others, and survive a long pause of the process", () => {
  const world = new ManualWorld();
  const deadlines = new Deadlines(world, world);
  const at = world.monotonicMs() + 100;
  const b = new Waiting(world, at);
  const late = new Waiting(world, at + 5);
  const a = new Waiting(world, at, () => {
    deadlines.remove(b);
    deadlines.add(late);
  });
  const c = new Waiting(world, at);
  for (const one of [b, a, c]) deadlines.add(one);
  world.pass(100_000);
  assert.ok(a.firedMs > 0 && c.firedMs > 0 && late.firedMs > 0);
  assert.equal(b.firedMs, -1);
  assert.equal(deadlines.count, 0);
});
