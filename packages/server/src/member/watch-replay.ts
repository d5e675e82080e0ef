/**
 * Reads history for watchers that are behind, a slice each turn, until those who can take it have caught up. Called by
 * whatever may have put one behind or made it able to take more, and every so often, so that a watcher that starts in a
 * compacted past hears of it.
 */
import type { WatchHub } from "@quorate/mvcc";
import type { Timers } from "@quorate/world";

export class WatchReplay {
  readonly #hub: Pick<WatchHub, "step">;
  readonly #timers: Timers;
  readonly #flush: () => void;
  #isUnderWay = false;
  #isStopped = false;

  /** `flush` lets out what a slice gave watchers. */
  constructor(hub: Pick<WatchHub, "step">, timers: Timers, flush: () => void) {
    this.#hub = hub;
    this.#timers = timers;
    this.#flush = flush;
  }

  begin(): void {
    if (this.#isUnderWay || this.#isStopped) return;
    this.#isUnderWay = true;
    this.#timers.nextTurn(this.#step);
  }

  stop(): void {
    this.#isStopped = true;
  }

  readonly #step = (): void => {
    this.#isUnderWay = false;
    if (this.#isStopped) return;
    if (this.#hub.step()) this.begin();
    this.#flush();
  };
}
