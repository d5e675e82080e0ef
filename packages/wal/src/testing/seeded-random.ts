/** Chance that a seed replays, for tests and simulations. Not for secrets. */
import type { Random } from "@quorate/world";

/** The splitmix32 generator: every seed, also small ones, gives a well-mixed sequence. */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  below(bound: number): number {
    return Math.floor((this.#next() / 4_294_967_296) * bound);
  }

  #next(): number {
    this.#state = (this.#state + 0x9e37_79b9) | 0;
    let mixed = this.#state ^ (this.#state >>> 16);
    mixed = Math.imul(mixed, 0x21f0_aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a_2d97);
    mixed ^= mixed >>> 15;
    return mixed >>> 0;
  }
}
