/**
 * The leader's care for the version the cluster runs at: when its term has begun, and every few seconds, it asks all members
 * which version they are and proposes what follows, and now and then whether a downgrade is done, which it ends then
 * (membership/cluster-version.ts decides; semantics §9.6, §9.7).
 */
import { RaftOp } from "@quorate/api";
import { ClusterVersionSetRequest, DowngradeInfoSetRequest } from "@quorate/api/messages";
import {
  type Member as ClusterMember,
  decideClusterVersion,
  isDowngradeDone,
  type Membership,
} from "@quorate/membership";
import type { Log } from "@quorate/world";
import type { ProposalHandler } from "./pending.ts";

/** Asks other members for their server versions; null for one that does not answer. In the order asked, never at once. */
export type AskVersions = (
  members: readonly ClusterMember[],
  done: (versions: readonly (string | null)[]) => void,
) => void;

export interface VersionMonitorOptions {
  readonly memberId: bigint;
  readonly serverVersion: string;
  readonly askVersions: AskVersions;
  readonly log: Log;
}

export interface VersionMonitorOwner {
  membership(): Membership;
  isLeader(): boolean;
  propose(op: RaftOp, bytes: Uint8Array, handler: ProposalHandler): void;
}

export class VersionMonitor {
  readonly #options: VersionMonitorOptions;
  readonly #owner: VersionMonitorOwner;
  #isAsking = false;

  constructor(options: VersionMonitorOptions, owner: VersionMonitorOwner) {
    this.#options = options;
    this.#owner = owner;
  }

  /** Whether another version is due. */
  check(): void {
    this.#ask((servers) => this.#decide(servers));
  }

  /** Whether the downgrade under way is done. */
  checkDowngrade(): void {
    const target = this.#owner.membership().downgradeTarget;
    if (target !== null) this.#ask((servers) => this.#endDowngrade(target, servers));
  }

  /** One round, unless one is under way. */
  #ask(use: (servers: readonly (string | null)[]) => void): void {
    if (this.#isAsking || !this.#owner.isLeader()) return;
    const { memberId, serverVersion, askVersions } = this.#options;
    const others = this.#owner
      .membership()
      .members()
      .filter((each) => each.id !== memberId);
    if (others.length === 0) {
      use([serverVersion]);
      return;
    }
    this.#isAsking = true;
    askVersions(others, (versions) => {
      this.#isAsking = false;
      if (this.#owner.isLeader()) use([serverVersion, ...versions]);
    });
  }

  #decide(servers: readonly (string | null)[]): void {
    const { clusterVersion: from, downgradeTarget } = this.#owner.membership();
    const to = decideClusterVersion(from, servers, downgradeTarget);
    if (to === null) return;
    this.#owner.propose(RaftOp.ClusterVersionSet, ClusterVersionSetRequest.encode({ ver: to }), {
      applied: () => {
        const { log } = this.#options;
        if (from === null) log.info("set initial cluster version", { "cluster-version": to });
        else log.info("updated cluster version", { from, to });
      },
      // The next round makes it again.
      failed: () => {},
    });
  }

  #endDowngrade(target: string, servers: readonly (string | null)[]): void {
    // Another one may have been asked for meanwhile.
    if (target !== this.#owner.membership().downgradeTarget || !isDowngradeDone(target, servers)) return;
    this.#options.log.info("the cluster has been downgraded", { "cluster-version": target });
    const bytes = DowngradeInfoSetRequest.encode({ enabled: false });
    // If it is lost, the next round makes it again.
    this.#owner.propose(RaftOp.DowngradeInfoSet, bytes, { applied: () => {}, failed: () => {} });
  }
}
