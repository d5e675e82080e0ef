/**
 * Who has led and since when, as this member saw it, and the handing over of leadership. Services ask it to tell a client
 * why a request ran out of time; the member asks it to hand over when it stops.
 *
 *   transfer ──▶ raft ─▶ … ─▶ another leader: done(null)
 *                         └─▶ `limitMs` passed: done(error); raft has given up by itself after an election timeout
 */
import { NO_NODE, type NodeId } from "@quorate/raft";
import type { Clock } from "@quorate/world";

/** null: the target leads. */
export type TransferDone = (error: TransferFailed | null) => void;

export class TransferFailed extends Error {
  readonly kind = "TransferFailed";
}

export interface LeadershipOptions {
  readonly clock: Clock;
  readonly heartbeatMs: number;
  readonly electionTicks: number;
}

/** How far this member reaches, when it has to say why something took too long. */
export interface Reach {
  readonly memberId: NodeId;
  /** Of all members, learners too. */
  readonly memberIds: readonly NodeId[];
  /** On the clock: since when the connection has lasted; null: there is none. */
  activeSinceMs(id: NodeId): number | null;
}

export type TimeoutReason = "Timeout" | "TimeoutLeaderFailure" | "TimeoutConnectionLost";

interface Transfer {
  readonly to: NodeId;
  readonly untilMs: number;
  readonly done: TransferDone;
}

export class Leadership {
  readonly #raft: { transferLeadership(to: NodeId): void };
  readonly #options: LeadershipOptions;
  #leader: NodeId = NO_NODE;
  #isLeader = false;
  #lastElectedMs: number | null = null;
  #leaderlessSinceMs: number | null;
  #transfers: Transfer[] = [];

  constructor(raft: { transferLeadership(to: NodeId): void }, options: LeadershipOptions) {
    this.#raft = raft;
    this.#options = options;
    this.#leaderlessSinceMs = options.clock.monotonicMs();
  }

  /** On the clock: when this member was elected last; null if it never was. */
  get lastElectedMs(): number | null {
    return this.#lastElectedMs;
  }

  /** On the clock: since when no leader has been known; null while one is. */
  get leaderlessSinceMs(): number | null {
    return this.#leaderlessSinceMs;
  }

  /** Why a proposal that was begun then and handed to raft has not come back in time (semantics §11.3). */
  timeoutOf(startedMs: number, reach: Reach): TimeoutReason {
    const { electionTicks, heartbeatMs } = this.#options;
    const electedMs = this.#lastElectedMs;
    // Only the member that won the election knows when it was: others cannot tell this reason.
    if (electedMs !== null && startedMs > electedMs - 2 * electionTicks * heartbeatMs && startedMs < electedMs) {
      return "TimeoutLeaderFailure";
    }
    if (this.#leader === NO_NODE) return "Timeout";
    const isReached = (id: NodeId): boolean => {
      const sinceMs = reach.activeSinceMs(id);
      return sinceMs !== null && sinceMs < startedMs;
    };
    if (this.#leader !== reach.memberId) return isReached(this.#leader) ? "Timeout" : "TimeoutConnectionLost";
    const reached = reach.memberIds.filter((id) => id === reach.memberId || isReached(id)).length;
    return reached > reach.memberIds.length / 2 ? "Timeout" : "TimeoutConnectionLost";
  }

  changed(leader: NodeId, isLeader: boolean): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (isLeader && !this.#isLeader) this.#lastElectedMs = nowMs;
    this.#isLeader = isLeader;
    this.#leader = leader;
    if (leader !== NO_NODE) this.#leaderlessSinceMs = null;
    else this.#leaderlessSinceMs ??= nowMs;
    this.#settle();
  }

  /** Asks raft to hand over, and waits until `to` leads or `limitMs` have passed. */
  transfer(to: NodeId, limitMs: number, done: TransferDone): void {
    this.#transfers.push({ to, untilMs: this.#options.clock.monotonicMs() + limitMs, done });
    this.#raft.transferLeadership(to);
    this.#settle();
  }

  /** Once a heartbeat. */
  tick(): void {
    if (this.#transfers.length > 0) this.#settle();
  }

  stop(): void {
    for (const { done } of this.#transfers.splice(0)) done(new TransferFailed("the member stops"));
  }

  #settle(): void {
    const nowMs = this.#options.clock.monotonicMs();
    const ended = this.#transfers.filter((each) => each.to === this.#leader || nowMs >= each.untilMs);
    if (ended.length === 0) return;
    this.#transfers = this.#transfers.filter((each) => !ended.includes(each));
    for (const { to, done } of ended) {
      done(to === this.#leader ? null : new TransferFailed(`${to.toString(16)} has not taken over in time`));
    }
  }
}
