/**
 * What members ask each other besides raft, and what may come of it. One set of outcomes for both sides: the peer port maps
 * them to statuses and texts (peer-handler.ts), those who ask map them back (peer-client.ts).
 */
import type { Member } from "@quorate/membership";

/** Of the member, for the peer port. Every `done` is called once, now or later. */
export interface PeerRequests {
  /** What /version says, JSON as on the client port. */
  versionBody(): string;
  members(): readonly Member[];
  /** As leader. `token`: of the user who asks, null if there is none. */
  promote(id: bigint, token: string | null, done: (outcome: PromoteOutcome) => void): void;
  /** Revision 0 is the current one. */
  hashKv(revision: number, done: (outcome: HashKvOutcome) => void): void;
  /** As leader, when everything committed is applied, for which it waits a second. */
  leaseKeepAlive(id: bigint, done: (outcome: KeepAliveOutcome) => void): void;
  /** Likewise. */
  leaseTimeToLive(id: bigint, withKeys: boolean, done: (outcome: TimeToLiveOutcome) => void): void;
  /** Linearizable. */
  downgradeEnabled(done: (outcome: DowngradeOutcome) => void): void;
}

/** Anything else that went wrong; the text is for people. */
export interface Failed {
  readonly kind: "failed";
  readonly message: string;
}

export type PromoteOutcome =
  | { readonly kind: "promoted"; readonly members: readonly Member[] }
  | { readonly kind: "not found" }
  | { readonly kind: "not a learner" }
  | { readonly kind: "not in sync" }
  | Failed;

export interface HashKv {
  /** The store's revision when it was hashed. */
  readonly revision: number;
  readonly hash: number;
  /** -1: never compacted. */
  readonly compactRevision: number;
  /** What was hashed up to. */
  readonly hashRevision: number;
}

export type HashKvOutcome =
  | { readonly kind: "hashed"; readonly hashed: HashKv }
  | { readonly kind: "compacted" }
  | { readonly kind: "future revision" }
  | Failed;

export type KeepAliveOutcome =
  | { readonly kind: "renewed"; readonly ttlSeconds: number }
  | { readonly kind: "not found" }
  /** What was committed was not applied in time. */
  | { readonly kind: "timed out" }
  | Failed;

export type TimeToLiveOutcome =
  | {
      readonly kind: "found";
      readonly ttlSeconds: number;
      readonly grantedTtlSeconds: number;
      /** Empty if not asked for. */
      readonly keys: readonly Uint8Array[];
    }
  | { readonly kind: "not found" }
  | { readonly kind: "timed out" }
  | Failed;

export type DowngradeOutcome = { readonly kind: "answered"; readonly isEnabled: boolean } | Failed;

/** etcd's texts, which its members look for in our answers and we in theirs. */
export const PEER_TEXTS = {
  memberNotFound: "membership: ID not found",
  notLearner: "membership: can only promote a learner member",
  learnerNotReady: "etcdserver: can only promote a learner member which is in sync with leader",
  compacted: "mvcc: required revision has been compacted",
  futureRevision: "mvcc: required revision is a future revision",
  leaseNotFound: "lease not found",
  notApplied: "waiting for node to catch up its applied index has timed out",
  clusterMismatch: "cluster ID mismatch",
} as const;
