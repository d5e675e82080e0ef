/**
 * Those who wait until everything committed at their coming is applied here, for a second at most: only then may a member
 * say that something (a lease, a learner) does not exist. On a leader the disk may be behind the quorum.
 */
import type { Clock } from "@quorate/world";

/** null: everything committed when the wait began is applied. */
export type AppliedDone = (error: AppliedWaitFailure | null) => void;

export type AppliedWaitFailure = "TimeoutWaitAppliedIndex" | "Stopped";

/** etcd's. */
const LIMIT_MS = 1000;

interface Wait {
  readonly index: number;
  readonly untilMs: number;
  readonly done: AppliedDone;
}

export class AppliedWaits {
  readonly #clock: Clock;
  /** In the order they came, which is that of their indexes and of their ends. */
  #waits: Wait[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(index: number, done: AppliedDone): void {
    this.#waits.push({ index, untilMs: this.#clock.monotonicMs() + LIMIT_MS, done });
  }

  /** Once a turn. */
  release(appliedIndex: number): void {
    while (this.#waits.length > 0 && this.#waits[0]!.index <= appliedIndex) this.#waits.shift()!.done(null);
  }

  /** Once a heartbeat. */
  expire(): void {
    if (this.#waits.length === 0) return;
    const nowMs = this.#clock.monotonicMs();
    while (this.#waits.length > 0 && this.#waits[0]!.untilMs <= nowMs) {
      this.#waits.shift()!.done("TimeoutWaitAppliedIndex");
    }
  }

  stop(): void {
    for (const { done } of this.#waits.splice(0)) done("Stopped");
  }
}
