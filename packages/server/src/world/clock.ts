/** The machine's clocks and timers. Made once by the process; nothing else in the server reads the time. */
import type { Clock, Timer, Timers } from "@quorate/world";

/** setTimeout takes at most this many milliseconds and fires at once when given more. */
const DELAY_MAX_MS = 2_147_483_647;

export class MachineClock implements Clock {
  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }
}

export class MachineTimers implements Timers {
  after(delayMs: number, fire: () => void): Timer {
    if (!(delayMs <= DELAY_MAX_MS)) throw new RangeError(`delay of ${delayMs} ms exceeds ${DELAY_MAX_MS} ms`);
    return new MachineTimer(setTimeout(fire, delayMs));
  }

  nextTurn(run: () => void): void {
    setImmediate(run);
  }
}

class MachineTimer implements Timer {
  readonly #timeout: NodeJS.Timeout;

  constructor(timeout: NodeJS.Timeout) {
    this.#timeout = timeout;
  }

  cancel(): void {
    clearTimeout(this.#timeout);
  }
}
