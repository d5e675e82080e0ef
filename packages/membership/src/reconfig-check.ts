/**
 * Whether a change of membership may be proposed at all: etcd's strict-reconfig-check, and the rule by which a learner is
 * ready to vote. Unlike `Membership.validate`, which every member repeats when it applies, these rules look at what one
 * member happens to see of the others, so they are asked once, where the request arrives.
 *
 * Invariant: what is let through leaves a majority of the resulting voters started and within reach, a voter that is
 * being added counted as down.
 */

/** What one member knows of another (or of itself). */
export interface MemberCondition {
  readonly id: bigint;
  readonly isLearner: boolean;
  /** It has published its name. */
  readonly isStarted: boolean;
  readonly isSelf: boolean;
  /** How long the connection with it has been alive without a break; null if it is not. Not looked at for ourselves. */
  readonly activeMs: number | null;
}

/** Kinds of the table of errors in packages/api. */
export type ReconfigRefusal = "NotEnoughStartedMembers" | "UnhealthyCluster";

/** A connection counts once it has lasted longer than this: a member that flaps carries no quorum. */
export const HEALTHY_AFTER_MS = 5000;

/** May a voter or a learner be added to these members? */
export function checkAdd(members: readonly MemberCondition[], isLearner: boolean): ReconfigRefusal | null {
  const voters = votersAmong(members);
  const isFirstOfTwo = voters.length === 1 && startedAmong(voters) === 1;
  if (!isLearner && !isFirstOfTwo && startedAmong(voters) < quorumOf(voters.length + 1)) {
    return "NotEnoughStartedMembers";
  }
  // A lone voter could never grow otherwise: of two voters it would have to reach both.
  if (voters.length === 1) return null;
  return connectedAmong(voters) < quorumOf(voters.length + 1) ? "UnhealthyCluster" : null;
}

/** May this member be removed? An id that is unknown passes or fails like a voter's; applying finds out. */
export function checkRemove(members: readonly MemberCondition[], id: bigint): ReconfigRefusal | null {
  const target = members.find((each) => each.id === id);
  if (target?.isLearner) return null;
  const voters = votersAmong(members);
  const remaining = voters.filter((each) => each.id !== id);
  if (startedAmong(remaining) < quorumOf(remaining.length)) return "NotEnoughStartedMembers";
  // Who is down carries no quorum now, so that nothing is lost with it.
  if (target === undefined || (!target.isSelf && target.activeMs === null)) return null;
  return connectedAmong(voters) - 1 < quorumOf(voters.length - 1) ? "UnhealthyCluster" : null;
}

/** May one more of these members vote? The learner itself counts as started. */
export function checkPromote(members: readonly MemberCondition[]): ReconfigRefusal | null {
  const voters = votersAmong(members);
  return startedAmong(voters) + 1 < quorumOf(voters.length + 1) ? "NotEnoughStartedMembers" : null;
}

/** A learner has to have this much of what the leader has. */
const READY_RATIO = 0.9;

export interface PromotionCandidate {
  /** Index up to which the member's log is known to match the leader's; null: raft knows no such member. */
  readonly match: number | null;
  /** The leader's own: at least 1. */
  readonly leaderMatch: number;
  readonly isLearner: boolean;
  /** The leader has a live connection with it. */
  readonly isConnected: boolean;
}

/**
 * Whether the leader sees a learner ready to vote. Stricter than etcd in one point: a learner that has caught up and then
 * died would cost the quorum it is counted into, and is not ready (known failures MB-12).
 */
export function checkReady(candidate: PromotionCandidate): "MemberNotFound" | "LearnerNotReady" | null {
  const { match, leaderMatch, isLearner, isConnected } = candidate;
  if (match === null) return "MemberNotFound";
  if (match / leaderMatch < READY_RATIO) return "LearnerNotReady";
  // That only learners can be promoted is for applying to say.
  return isLearner && !isConnected ? "LearnerNotReady" : null;
}

function votersAmong(members: readonly MemberCondition[]): MemberCondition[] {
  return members.filter((each) => !each.isLearner);
}

function startedAmong(members: readonly MemberCondition[]): number {
  return members.filter((each) => each.isStarted).length;
}

function connectedAmong(members: readonly MemberCondition[]): number {
  return members.filter((each) => each.isSelf || (each.activeMs !== null && each.activeMs > HEALTHY_AFTER_MS)).length;
}

function quorumOf(count: number): number {
  return Math.floor(count / 2) + 1;
}
