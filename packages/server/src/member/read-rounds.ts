/**
 * Linearizable reads, batched: all that wait when a round begins share one ReadIndex request. Driven by consensus.ts once
 * per turn and once per tick; asks raft through it, and has no other effect than calling the waiters.
 *
 *   wait ──▶ waiting ──begin──▶ round ──confirm(index)──▶ confirmed ──applied ≥ index──▶ readReady
 *                                 │ 500 ms without answer, or a new leader's first entry: ask again, new id
 *                                 └ leader changed, or out of time: readFailed
 *
 * Invariants:
 *  - only reads that were waiting when the round began may use its answer;
 *  - every try has an id of its own, never used again, so a late answer to an old round is nobody's (known failure RA-05);
 *  - a change of leader fails the round before anything else is looked at (RA-06).
 */
import type { Clock, Log } from "@quorate/world";
import type { RequestIds } from "./request-ids.ts";

/** A linearizable read that waits until it may look at the applied state. */
export interface ReadWaiter {
  readReady(): void;
  readFailed(reason: ReadFailure): void;
}

export type ReadFailure = "LeaderChanged" | "Timeout" | "Stopped";

export interface ReadRoundsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly ids: RequestIds;
  readonly requestTimeoutMs: number;
  /** Asks raft to confirm the commit index under this context. */
  readonly ask: (context: Uint8Array) => void;
}

const RETRY_MS = 500;

interface Round {
  readonly waiters: readonly ReadWaiter[];
  readonly startedMs: number;
  /** Contexts of its tries, hex; only these answer it. */
  readonly contexts: string[];
  lastTryMs: number;
  /** Applied state at or past this index may answer; null until confirmed. */
  index: number | null;
}

export class ReadRounds {
  readonly #options: ReadRoundsOptions;
  #waiting: ReadWaiter[] = [];
  /** When each of them began to wait. */
  #waitingSinceMs: number[] = [];
  #round: Round | null = null;

  constructor(options: ReadRoundsOptions) {
    this.#options = options;
  }

  /** A round could begin: somebody waits and none is under way. */
  get mayBegin(): boolean {
    return this.#round === null && this.#waiting.length > 0;
  }

  wait(waiter: ReadWaiter): void {
    this.#waiting.push(waiter);
    this.#waitingSinceMs.push(this.#options.clock.monotonicMs());
  }

  /** Begins a round for all who wait, if it may. A leader is known. */
  begin(): void {
    if (!this.mayBegin) return;
    const nowMs = this.#options.clock.monotonicMs();
    this.#round = { waiters: this.#waiting, startedMs: nowMs, contexts: [], lastTryMs: nowMs, index: null };
    this.#waiting = [];
    this.#waitingSinceMs = [];
    this.#ask(this.#round);
  }

  /** Raft's answer to one of the tries, or to one of a round that is over. */
  confirm(index: number, context: Uint8Array): void {
    const round = this.#round;
    if (round === null || round.index !== null) return;
    if (round.contexts.includes(Buffer.from(context).toString("hex"))) round.index = index;
  }

  release(appliedIndex: number): void {
    const round = this.#round;
    if (round === null || round.index === null || appliedIndex < round.index) return;
    this.#round = null;
    for (const waiter of round.waiters) waiter.readReady();
  }

  /** A leader's first entry is applied: it answers what it had to leave waiting before. */
  termBegan(): void {
    if (this.#round !== null && this.#round.index === null) this.#ask(this.#round);
  }

  /** Once a tick. `hasLeader` says whether asking again is of any use. */
  tick(hasLeader: boolean): void {
    const { clock, log, requestTimeoutMs } = this.#options;
    const nowMs = clock.monotonicMs();
    this.#expireWaiting(nowMs - requestTimeoutMs);
    const round = this.#round;
    if (round === null) return;
    if (nowMs - round.startedMs >= requestTimeoutMs) {
      this.failRound("Timeout");
    } else if (hasLeader && round.index === null && nowMs - round.lastTryMs >= RETRY_MS) {
      log.warn("waiting for ReadIndex response took too long, retrying", { "sent-request-ids": round.contexts });
      this.#ask(round);
    }
  }

  /** Fails the round under way; those who wait for the next one go on waiting. */
  failRound(reason: ReadFailure): void {
    const round = this.#round;
    if (round === null) return;
    this.#round = null;
    for (const waiter of round.waiters) waiter.readFailed(reason);
  }

  failAll(reason: ReadFailure): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingSinceMs = [];
    this.failRound(reason);
    for (const waiter of waiting) waiter.readFailed(reason);
  }

  #ask(round: Round): void {
    const { ids, clock, ask } = this.#options;
    const context = Buffer.allocUnsafe(8);
    context.writeUInt16BE(ids.high, 0);
    context.writeUIntBE(ids.next(), 2, 6);
    round.contexts.push(context.toString("hex"));
    round.lastTryMs = clock.monotonicMs();
    ask(context);
  }

  /** Fails those that have waited for a leader since `beforeMs` or longer; the oldest come first. */
  #expireWaiting(beforeMs: number): void {
    let count = 0;
    while (count < this.#waiting.length && this.#waitingSinceMs[count]! <= beforeMs) count++;
    if (count === 0) return;
    this.#waitingSinceMs.splice(0, count);
    for (const waiter of this.#waiting.splice(0, count)) waiter.readFailed("Timeout");
  }
}
