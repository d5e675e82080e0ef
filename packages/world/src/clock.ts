/** Time and chance are arguments: the server passes the machine's, the simulator passes a seed's. */

export interface Clock {
  /** Milliseconds since an arbitrary start, never going back. May be fractional. */
  monotonicMs(): number;
  /** Milliseconds since the Unix epoch; for people and for etcd's id seeds, never for ordering or expiry. */
  wallMs(): number;
}

export interface Timers {
  /** Calls `fire` once after `delayMs` (at most 2^31-1). Never calls it synchronously. */
  after(delayMs: number, fire: () => void): Timer;
  /** Calls `run` after the events at hand have been drained, before new ones are waited for: the next turn. */
  nextTurn(run: () => void): void;
}

export interface Timer {
  /** Cancelling twice, or after firing, does nothing. */
  cancel(): void;
}

/** A source of chance that a seed replays. */
export interface Random {
  /** Uniform in [0, bound), bound in [1, 2^32]. */
  below(bound: number): number;
}
