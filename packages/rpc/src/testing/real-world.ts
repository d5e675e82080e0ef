/** The machine's clock and timers, for tests over real sockets and for benchmarks. */
import type { Clock, Timers } from "@quorate/world";

export const realClock: Clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };

export const realTimers: Timers = {
  after(delayMs, fire) {
    const handle = setTimeout(fire, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
  nextTurn(run) {
    setImmediate(run);
  },
};
