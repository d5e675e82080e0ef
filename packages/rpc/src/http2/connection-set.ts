/**
 * The connections of one server or client, and the two things done to all of them: writing out what they have queued,
 * once per turn, and looking after them once a second (timeouts, pings, stalls), with one timer for all.
 *
 * The timer runs only while there is a connection.
 */
import type { Clock, Timer, Timers } from "@quorate/world";

/** What a set needs of its members. */
export interface KeptConnection {
  flush(): void;
  sweep(nowMs: number): void;
}

const sweepIntervalMs = 1000;

export class ConnectionSet<C extends KeptConnection> {
  readonly members: Set<C> = new Set();
  readonly #clock: Clock;
  readonly #timers: Timers;
  #toFlush: C[] = [];
  #isTurnScheduled = false;
  #sweepTimer: Timer | null = null;

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock;
    this.#timers = timers;
  }

  add(connection: C): void {
    this.members.add(connection);
    if (this.#sweepTimer === null) this.#sweepTimer = this.#timers.after(sweepIntervalMs, this.#sweep);
  }

  remove(connection: C): void {
    this.members.delete(connection);
    if (this.members.size > 0 || this.#sweepTimer === null) return;
    this.#sweepTimer.cancel();
    this.#sweepTimer = null;
  }

  /** `connection` has something to write; it will be flushed by the next `flush`, at the latest in the next turn. */
  scheduleFlush(connection: C): void {
    this.#toFlush.push(connection);
    if (this.#isTurnScheduled) return;
    this.#isTurnScheduled = true;
    this.#timers.nextTurn(this.#turn);
  }

  /** Flushes every connection scheduled until now. */
  flush(): void {
    if (this.#toFlush.length === 0) return;
    const connections = this.#toFlush;
    this.#toFlush = [];
    for (let i = 0; i < connections.length; i++) connections[i]!.flush();
  }

  readonly #turn = (): void => {
    this.#isTurnScheduled = false;
    this.flush();
  };

  readonly #sweep = (): void => {
    this.#sweepTimer = this.#timers.after(sweepIntervalMs, this.#sweep);
    const nowMs = this.#clock.monotonicMs();
    for (const connection of this.members) connection.sweep(nowMs);
    this.flush();
  };
}
