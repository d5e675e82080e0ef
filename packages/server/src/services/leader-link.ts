/**
 * What a member asks of the leader for its own clients, over the leader's peer port: leases are the leader's alone to
 * keep, and only the leader knows how far a learner is. outward.ts makes the one over sockets.
 */
import type { KeepAliveOutcome, PromoteOutcome, TimeToLiveOutcome } from "../peers/peer-requests.ts";

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

/** For a member that has no others to ask. */
export const NO_LEADER_LINK: LeaderLink = {
  leaseKeepAlive: (_urls, _id, done) => done(UNREACHABLE),
  leaseTimeToLive: (_urls, _id, _withKeys, done) => done(UNREACHABLE),
  promote: (_urls, _id, _token, done) => done(UNREACHABLE),
};

const UNREACHABLE = { kind: "failed", message: "there is no way to other members" } as const;
