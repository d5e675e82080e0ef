/** Time that moves when a test says so, for tests that must not wait and must not vary. */
import type { Clock, Timer, Timers } from "@quorate/world";

interface PendingTimer {
  readonly atMs: number;
  readonly fire: () => void;
  isCancelled: boolean;
}

export class ManualWorld implements Clock, Timers {
  #nowMs = 1000;
  #timers: PendingTimer[] = [];
  #turn: (() => void)[] = [];

  monotonicMs(): number {
    return this.#nowMs;
  }
  wallMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }
  after(delayMs: number, fire: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, fire, isCancelled: false };
    this.#timers.push(timer);
    return {
      cancel: () => {
        timer.isCancelled = true;
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }
  nextTurn(run: () => void): void {
    this.#turn.push(run);
  }

  get timerCount(): number {
    return this.#timers.length;
  }

  /** Runs what was put off to the next turn, until nothing is left. */
  turn(): void {
    while (this.#turn.length > 0) {
      const runs = this.#turn;
      this.#turn = [];
      for (const run of runs) run();
    }
  }

  /** Lets `ms` pass, firing timers in order and turning after each. */
  pass(ms: number): void {
    const endMs = this.#nowMs + ms;
    this.turn();
    for (;;) {
      let next: PendingTimer | undefined;
      for (const timer of this.#timers) {
        if (timer.atMs <= endMs && (next === undefined || timer.atMs < next.atMs)) next = timer;
      }
      if (next === undefined) break;
      const due = next;
      this.#timers = this.#timers.filter((other) => other !== due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      if (!due.isCancelled) due.fire();
      this.turn();
    }
    this.#nowMs = endMs;
    this.turn();
  }
}
