/**
 * Who leads after a leader that ends. One that stops chooses its successor and hands over; when one is gone without that,
 * those who see it do not wait the election timeout out. The member calls it when it stops, and when OtherMembers says that
 * one of them is gone.
 *
 *   the leader stops    ─▶ the voter within reach for longest ─▶ Leadership.transfer
 *   the leader is gone  ─▶ forgotten ─▶ a moment by chance ─▶ still none? ─▶ campaign
 */
import { idText } from "@quorate/membership";
import { NO_NODE, type NodeId, Role } from "@quorate/raft";
import type { Log, Random, Timers } from "@quorate/world";
import type { PeerNetwork } from "../peers/peer-network.ts";
import type { Consensus } from "./consensus.ts";
import type { Leadership } from "./leadership.ts";
import type { StateMachine } from "./state-machine.ts";

export interface SuccessionParts {
  readonly memberId: bigint;
  readonly state: Pick<StateMachine, "membership">;
  readonly consensus: Pick<Consensus, "role" | "leader" | "forgetLeader" | "campaign">;
  readonly leadership: Pick<Leadership, "transfer">;
  readonly network: Pick<PeerNetwork, "activeSinceMs">;
}

export interface SuccessionOptions {
  readonly preVote: boolean;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
}

/** Those who saw the leader end stand for election within this time, each at a moment of its own. */
const SUCCESSION_MS = 200;

export class Succession {
  readonly #parts: SuccessionParts;
  readonly #options: SuccessionOptions;
  #isStopped = false;

  constructor(parts: SuccessionParts, options: SuccessionOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** A leader hands over, if that takes no longer than `limitMs`. `done` in any case. */
  handOver(limitMs: number, done: () => void): void {
    const target = this.#successor();
    if (target === null) {
      done();
      return;
    }
    const { memberId, leadership } = this.#parts;
    const { log } = this.#options;
    log.info("leadership transfer starting", {
      "local-member-id": idText(memberId),
      "transferee-member-id": idText(target),
    });
    leadership.transfer(target, limitMs, (error) => {
      if (error === null) log.info("leadership transfer finished");
      else log.warn("leadership transfer failed", { error });
      done();
    });
  }

  /**
   * A leader whose process has ended, or who is no member any more, need not be waited for: nothing of the latter's is
   * accepted (MB-05). Whoever sees it forgets the leader, and after a moment, by chance not the same for all, stands for
   * election. If we are the only one who cannot reach it, the others refuse the pre-vote, and its next heartbeat makes us
   * follow again (RA-09, RA-11); so this is not done without pre-vote.
   */
  memberGone(id: NodeId, why: "has ended" | "was removed"): void {
    const { memberId, state, consensus } = this.#parts;
    const { preVote, timers, random, log } = this.#options;
    if (id !== consensus.leader || consensus.role === Role.Leader || !preVote || this.#isStopped) return;
    if (state.membership.member(memberId)?.isLearner === true) return;
    log.info(`the leader ${why}; standing for election soon`, { "leader-member-id": idText(id) });
    consensus.forgetLeader();
    timers.after(random.below(SUCCESSION_MS), () => {
      if (!this.#isStopped && consensus.leader === NO_NODE) consensus.campaign();
    });
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** The voter that has been within reach for longest; null if we do not lead or there is none. */
  #successor(): NodeId | null {
    const { memberId, state, consensus, network } = this.#parts;
    if (consensus.role !== Role.Leader) return null;
    let successor: NodeId | null = null;
    let longestMs = Number.POSITIVE_INFINITY;
    for (const { id } of state.membership.voters()) {
      const sinceMs = id === memberId ? null : network.activeSinceMs(id);
      if (sinceMs === null || sinceMs >= longestMs) continue;
      successor = id;
      longestMs = sinceMs;
    }
    return successor;
  }
}
