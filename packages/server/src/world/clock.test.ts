import assert from "node:assert/strict";
import { test } from "node:test";
import { MachineClock, MachineTimers } from "./clock.ts";

test("the monotonic clock never goes back, the wall clock is the system's", () => {
  const clock = new MachineClock();
  let before = clock.monotonicMs();
  for (let i = 0; i < 1000; i++) {
    const now = clock.monotonicMs();
    assert.ok(now >= before);
    before = now;
  }
  assert.ok(Math.abs(clock.wallMs() - Date.now()) < 1000);
});

test("a timer fires once, later, and not after it was cancelled", async () => {
  const timers = new MachineTimers();
  const fired: string[] = [];
  await new Promise<void>((resolve) => {
    const cancelled = timers.after(1, () => fired.push("cancelled"));
    timers.after(0, () => fired.push("first"));
    timers.after(20, () => {
      fired.push("last");
      resolve();
    });
    assert.deepEqual(fired, []);
    cancelled.cancel();
    cancelled.cancel();
  });
  assert.deepEqual(fired, ["first", "last"]);
});

test("a delay that setTimeout would cut to nothing is refused", () => {
  assert.throws(() => new MachineTimers().after(2 ** 31, () => {}), RangeError);
  assert.throws(() => new MachineTimers().after(Number.NaN, () => {}), RangeError);
});

test("the next turn comes after the microtasks of this one", async () => {
  const timers = new MachineTimers();
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    timers.nextTurn(() => {
      order.push("turn");
      resolve();
    });
    queueMicrotask(() => order.push("microtask"));
    order.push("now");
  });
  assert.deepEqual(order, ["now", "microtask", "turn"]);
});
