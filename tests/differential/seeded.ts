/** Chance that a seed replays: what the generator draws everything from. */
export class Seeded {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Uniform in [0, bound), by mulberry32. */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  }

  chance(percent: number): boolean {
    return this.below(10_000) < percent * 100;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** Draws by weight: each row is [weight, what]. */
  weighted<T>(rows: readonly (readonly [number, T])[]): T {
    let total = 0;
    for (const [weight] of rows) total += weight;
    let left = this.below(total);
    for (const [weight, what] of rows) {
      if (left < weight) return what;
      left -= weight;
    }
    throw new Error("the weights do not add up");
  }

  list<T>(length: number, make: () => T): T[] {
    return Array.from({ length }, make);
  }
}
