/**
 * What a member asks of the leader for its own clients, over the leader's peer port: leases are the leader's alone to
 * keep, and only the leader knows how far a learner is.
 */
import type { PeerClient, Unreachable } from "../peers/peer-client.ts";
import type { Failed, KeepAliveOutcome, PromoteOutcome, TimeToLiveOutcome } from "../peers/peer-requests.ts";

/**
 * Each question goes to the URLs in their order until one of them gives an answer that is not "failed". `done` is called
 * once, and no later than a request may take: with "failed" if nobody has answered.
 */
export interface LeaderLink {
  leaseKeepAlive(peerUrls: readonly string[], id: bigint, done: (outcome: KeepAliveOutcome) => void): void;
  leaseTimeToLive(
    peerUrls: readonly string[],
    id: bigint,
    withKeys: boolean,
    done: (outcome: TimeToLiveOutcome) => void,
  ): void;
  /** `token`: of the user who asks, null if there is none. */
  promote(peerUrls: readonly string[], id: bigint, token: string | null, done: (outcome: PromoteOutcome) => void): void;
}

export interface LeaderLinkLimits {
  /** An answer about a lease: short, because it is asked again, perhaps of the next leader, and no harm is in that. */
  readonly leaseMs: number;
  /** A promotion is not asked for twice if once will do: the second would find no learner. */
  readonly promoteMs: number;
}

/** Over the peer ports. */
export function leaderLinkOf(client: PeerClient, { leaseMs, promoteMs }: LeaderLinkLimits): LeaderLink {
  return {
    leaseKeepAlive: (urls, id, done) => {
      void client.leaseKeepAlive(urls, id, leaseMs).then((outcome) => done(orFailed(outcome)));
    },
    leaseTimeToLive: (urls, id, withKeys, done) => {
      void client.leaseTimeToLive(urls, id, withKeys, leaseMs).then((outcome) => done(orFailed(outcome)));
    },
    promote: (urls, id, token, done) => {
      void client.promote(urls, id, token, promoteMs).then((outcome) => done(orFailed(outcome)));
    },
  };
}

function orFailed<Outcome extends { readonly kind: string }>(outcome: Outcome | Unreachable): Outcome | Failed {
  return isUnreachable(outcome) ? { kind: "failed", message: outcome.message } : outcome;
}

function isUnreachable(outcome: { readonly kind: string }): outcome is Unreachable {
  return outcome.kind === "unreachable";
}

/** For a member that has no others to ask. */
export const NO_LEADER_LINK: LeaderLink = {
  leaseKeepAlive: (_urls, _id, done) => done(UNREACHABLE),
  leaseTimeToLive: (_urls, _id, _withKeys, done) => done(UNREACHABLE),
  promote: (_urls, _id, _token, done) => done(UNREACHABLE),
};

const UNREACHABLE = { kind: "failed", message: "there is no way to other members" } as const;
