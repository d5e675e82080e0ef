/**
 * What a member does because it leads: it keeps the clock of leases, revoking what has expired and recording now and then
 * how much time is left, it looks after the version the cluster runs at, and it ends the alarms of members that are gone.
 * The member tells it when its term begins and when it leads no more, and calls it every so often; on a member that does not
 * lead nothing happens.
 *
 * Invariants:
 *  - the clock of leases starts only when everything before the leader's term is applied;
 *  - a lease is revoked only by a leader that is one beyond doubt, and what it proposes is lost if it leads no more when
 *    its turn comes (known failure LE-01): the next leader finds out for itself.
 */
import { AlarmAction, AlarmType, RaftOp } from "@quorate/api";
import { AlarmRequest, LeaseCheckpointRequest, LeaseRevokeRequest } from "@quorate/api/messages";
import { Role } from "@quorate/raft";
import type { Consensus } from "./consensus.ts";
import type { LeaderCertainty } from "./leader-certainty.ts";
import type { MemberCounters } from "./member-counters.ts";
import type { ProposalHandler } from "./pending.ts";
import type { Proposals } from "./proposals.ts";
import type { StateMachine } from "./state-machine.ts";
import { VersionMonitor, type VersionMonitorOptions } from "./version-monitor.ts";

export interface LeaderDutiesParts {
  readonly state: Pick<StateMachine, "alarms" | "lessor" | "membership">;
  readonly consensus: Pick<Consensus, "isLeader" | "role" | "term">;
  readonly certainty: Pick<LeaderCertainty, "confirm">;
  readonly proposals: Pick<Proposals, "proposeOwn">;
  readonly counters: MemberCounters;
}

export interface LeaderDutiesOptions extends VersionMonitorOptions {
  readonly heartbeatMs: number;
  readonly electionTicks: number;
}

export class LeaderDuties {
  readonly #parts: LeaderDutiesParts;
  readonly #electionMs: number;
  readonly #versions: VersionMonitor;

  constructor(parts: LeaderDutiesParts, options: LeaderDutiesOptions) {
    this.#parts = parts;
    this.#electionMs = options.electionTicks * options.heartbeatMs;
    this.#versions = new VersionMonitor(options, {
      propose: (op, bytes, handler) => this.#propose(op, bytes, handler),
      isLeader: () => parts.consensus.role === Role.Leader,
      membership: () => parts.state.membership,
    });
  }

  /** The first entry of the term is applied: all earlier ones are too, so the lessor may start its clock. */
  termBegan(term: number): void {
    const { consensus, state } = this.#parts;
    // Not the first entry of an earlier term, which a new leader applies on its way to its own.
    if (!consensus.isLeader || term !== consensus.term || state.lessor.isPrimary) return;
    state.lessor.promote(this.#electionMs);
    this.#versions.check();
  }

  /** It leads no more. */
  deposed(): void {
    this.#parts.state.lessor.demote();
  }

  /** Asks all members whether the cluster should run at another version. */
  checkVersions(): void {
    this.#versions.check();
  }

  /** A member that was removed cannot have its alarms ended by anybody who knows better (known failure QU-07). */
  disarmRemoved(): void {
    const { consensus, state } = this.#parts;
    if (consensus.role !== Role.Leader) return;
    for (const { memberId, alarm } of state.alarms.list(AlarmType.NONE)) {
      if (!state.membership.isRemoved(memberId)) continue;
      const bytes = AlarmRequest.encode({ action: AlarmAction.DEACTIVATE, memberID: memberId, alarm });
      this.#propose(RaftOp.Alarm, bytes, IGNORED);
    }
  }

  /** Asks all members whether the downgrade under way is done. */
  checkDowngrade(): void {
    this.#versions.checkDowngrade();
  }

  /** Revokes the leases that have expired; one renewed while it was found out who leads is spared (LE-01). */
  expireLeases(): void {
    const { state, certainty, counters } = this.#parts;
    const expired = state.lessor.expired();
    const checkpoints = state.lessor.dueCheckpoints();
    if (expired.length === 0 && checkpoints.length === 0) return;
    certainty.confirm((isLeader) => {
      if (!isLeader) return;
      for (const id of expired) {
        if (!state.lessor.isOverdue(id)) continue;
        counters.leasesExpired++;
        this.#propose(RaftOp.LeaseRevoke, LeaseRevokeRequest.encode({ ID: id }), IGNORED);
      }
      if (checkpoints.length === 0) return;
      const entries = checkpoints.map(({ id, remainingTtlSeconds }) => ({ ID: id, remainingTTL: remainingTtlSeconds }));
      this.#propose(RaftOp.LeaseCheckpoint, LeaseCheckpointRequest.encode({ checkpoints: entries }), IGNORED);
    });
  }

  #propose(op: RaftOp, bytes: Uint8Array, handler: ProposalHandler): void {
    const { proposals, consensus } = this.#parts;
    proposals.proposeOwn(op, bytes, handler, consensus.term);
  }
}

/** For what is proposed again by itself if it is lost. */
const IGNORED: ProposalHandler = { applied: () => {}, failed: () => {} };
