/** What is done every so often: the interval begins anew when the work of the last one is done. */
import type { Timer, Timers } from "@quorate/world";

export class Intervals {
  readonly #timers: Timers;
  readonly #pending: Set<Timer> = new Set();
  #isStopped = false;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  every(intervalMs: number, run: () => void): void {
    let timer: Timer;
    const again = (): void => {
      this.#pending.delete(timer);
      if (this.#isStopped) return;
      run();
      timer = this.#timers.after(intervalMs, again);
      this.#pending.add(timer);
    };
    timer = this.#timers.after(intervalMs, again);
    this.#pending.add(timer);
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#pending) timer.cancel();
  }
}
