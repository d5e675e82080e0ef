/**
 * What happened, for a person who wants to understand a seed. Lines are built only while somebody listens, so a run
 * without a listener pays nothing but the question.
 */
import type { SimTime } from "./sim-time.ts";

export class Trace {
  readonly #time: SimTime;
  readonly #write: ((line: string) => void) | null;

  constructor(time: SimTime, write: ((line: string) => void) | null) {
    this.#time = time;
    this.#write = write;
  }

  get isOn(): boolean {
    return this.#write !== null;
  }

  /** `who` is a member's or client's name, or empty for the world at large. */
  line(who: string, text: () => string): void {
    if (this.#write === null) return;
    this.#write(`${this.#time.nowMs.toFixed(2).padStart(10)} ${who.padEnd(4)} ${text()}`);
  }
}
