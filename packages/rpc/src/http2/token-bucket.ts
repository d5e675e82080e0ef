/**
 * How often something may happen: `burst` at once, then `perSecond`. The connection keeps one for each kind of frame
 * that is legal in small numbers and an attack in large ones.
 */
export class TokenBucket {
  readonly #burst: number;
  readonly #perMs: number;
  #tokens: number;
  #filledMs: number;

  constructor(burst: number, perSecond: number, nowMs: number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1000;
    this.#tokens = burst;
    this.#filledMs = nowMs;
  }

  /** Takes one token; false if there is none, which takes nothing. */
  take(nowMs: number): boolean {
    if (this.#tokens < 1) {
      this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#filledMs) * this.#perMs);
      this.#filledMs = nowMs;
      if (this.#tokens < 1) return false;
    } else if (this.#tokens === this.#burst) this.#filledMs = nowMs;
    this.#tokens--;
    return true;
  }
}
