/**
 * Time and turns for tests: nothing happens until the test says so. Timers fire in order of their time, at equal times in
 * the order they were set.
 */
import type { Clock, Timer, Timers } from "@quorate/world";

interface SetTimer extends Timer {
  readonly atMs: number;
  readonly number: number;
  readonly fire: () => void;
}

export class ManualWorld implements Clock, Timers {
  nowMs = 1000;
  /** Milliseconds since the epoch when `nowMs` is 0. */
  readonly #epochMs = 1_700_000_000_000;
  readonly #timers = new Set<SetTimer>();
  #turns: (() => void)[] = [];
  #count = 0;

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.#epochMs + this.nowMs;
  }

  after(delayMs: number, fire: () => void): Timer {
    const timer: SetTimer = {
      atMs: this.nowMs + delayMs,
      number: this.#count++,
      fire,
      cancel: () => {
        this.#timers.delete(timer);
      },
    };
    this.#timers.add(timer);
    return timer;
  }

  nextTurn(run: () => void): void {
    this.#turns.push(run);
  }

  /** Timers that are set and have not fired. */
  get timerCount(): number {
    return this.#timers.size;
  }

  /** Runs what was put off to the next turn; false if nothing was. What that puts off waits for another call. */
  runTurn(): boolean {
    const turns = this.#turns;
    this.#turns = [];
    for (const run of turns) run();
    return turns.length > 0;
  }

  /** Moves on to the next timer due within `untilMs` and fires it; false, and time stands at `untilMs`, if there is none. */
  fireNext(untilMs: number): boolean {
    let next: SetTimer | null = null;
    for (const timer of this.#timers) {
      if (timer.atMs > untilMs) continue;
      if (next === null || timer.atMs < next.atMs || (timer.atMs === next.atMs && timer.number < next.number))
        next = timer;
    }
    if (next === null) {
      this.nowMs = untilMs;
      return false;
    }
    this.#timers.delete(next);
    this.nowMs = Math.max(this.nowMs, next.atMs);
    next.fire();
    return true;
  }

  /** A process that ended: nothing that was set or put off ever runs. */
  forget(): void {
    this.#timers.clear();
    this.#turns = [];
  }
}
