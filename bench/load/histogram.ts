/** Latencies in buckets 2 % wide from 1 µs to minutes: what p50, p99 and p99.9 are read from. */
const BUCKETS = 1024;
const LOG_WIDTH = Math.log(1.02);

export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #total = 0;
  #longestMs = 0;

  get total(): number {
    return this.#total;
  }

  get longestMs(): number {
    return this.#longestMs;
  }

  addMs(ms: number): void {
    const bucket = Math.log(Math.max(1, ms * 1000)) / LOG_WIDTH;
    this.#counts[Math.min(BUCKETS - 1, bucket | 0)]!++;
    this.#total++;
    if (ms > this.#longestMs) this.#longestMs = ms;
  }

  /** Milliseconds below which `share` (0 to 1) of the samples lie. */
  quantileMs(share: number): number {
    let seen = 0;
    for (let i = 0; i < BUCKETS; i++) {
      seen += this.#counts[i]!;
      if (seen >= share * this.#total) return Math.exp((i + 0.5) * LOG_WIDTH) / 1000;
    }
    return Number.NaN;
  }
}
