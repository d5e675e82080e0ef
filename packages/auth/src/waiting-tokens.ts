/**
 * Calls whose token speaks of an entry that has not been applied here: a follower may hear from a client before it hears
 * from the leader. They wait until the entry is applied, but not long, not many, and not for an entry that is nowhere
 * near, because anybody can make up a token that would have to be waited for.
 */
import type { Clock } from "@quorate/world";

/** A follower that is further behind cannot serve its clients anyway. */
const WAIT_MS = 5000;
/** More entries than are applied in that time. */
const AHEAD_MAX = 2_000_000;
const WAITING_MAX = 1024;

interface Waiting {
  readonly index: number;
  readonly untilMs: number;
  readonly ready: () => void;
}

export class WaitingTokens {
  readonly #clock: Pick<Clock, "monotonicMs">;
  #appliedIndex: number;
  /** In the order they came, which is that of their ends. */
  #waiting: Waiting[] = [];
  /** The least of their indexes, so that an entry nobody waits for costs one comparison. */
  #leastIndex: number = Number.POSITIVE_INFINITY;

  constructor(clock: Pick<Clock, "monotonicMs">, appliedIndex: number) {
    this.#clock = clock;
    this.#appliedIndex = appliedIndex;
  }

  /**
   * Calls `ready` once: when the entry of this index has been applied, or when it is not to be waited for (any longer).
   * False: too many wait already, and `ready` is not called.
   */
  add(index: number, ready: () => void): boolean {
    const isAhead = index > this.#appliedIndex && index <= this.#appliedIndex + AHEAD_MAX;
    if (!isAhead) {
      ready();
      return true;
    }
    if (this.#waiting.length >= WAITING_MAX) return false;
    this.#waiting.push({ index, untilMs: this.#clock.monotonicMs() + WAIT_MS, ready });
    this.#leastIndex = Math.min(this.#leastIndex, index);
    return true;
  }

  /** Hot: called for every entry. */
  applied(index: number): void {
    this.#appliedIndex = index;
    if (index >= this.#leastIndex) this.#release((each) => each.index <= index);
  }

  expire(): void {
    const [first] = this.#waiting;
    if (first === undefined) return;
    const nowMs = this.#clock.monotonicMs();
    if (first.untilMs <= nowMs) this.#release((each) => each.untilMs <= nowMs);
  }

  /** Those who are told may come again at once. */
  #release(isOver: (waiting: Waiting) => boolean): void {
    const over: Waiting[] = [];
    const rest: Waiting[] = [];
    let leastIndex = Number.POSITIVE_INFINITY;
    for (const each of this.#waiting) {
      if (isOver(each)) over.push(each);
      else {
        rest.push(each);
        leastIndex = Math.min(leastIndex, each.index);
      }
    }
    this.#waiting = rest;
    this.#leastIndex = leastIndex;
    for (const { ready } of over) ready();
  }
}
