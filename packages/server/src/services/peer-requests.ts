/**
 * What other members ask of this one besides raft, answered from its state: the other side of leader-link.ts, and what the
 * leader asks of everybody. The peer port's handler speaks HTTP around it (peers/peer-handler.ts).
 */
import { type ErrorKind, errors } from "@quorate/api";
import { CompactedError, FutureRevisionError } from "@quorate/mvcc";
import { versionBody } from "../http/endpoints.ts";
import type { Member } from "../member/member.ts";
import { versionsOf } from "../member-condition.ts";
import type {
  DowngradeOutcome,
  Failed,
  HashKvOutcome,
  KeepAliveOutcome,
  PeerRequests,
  PromoteOutcome,
  TimeToLiveOutcome,
} from "../peers/peer-requests.ts";
import { Callers } from "./callers.ts";
import { hashKv } from "./hash-kv.ts";
import { LeaseRenewal } from "./lease-renewal.ts";
import { leaseTimeOf } from "./lease-time.ts";
import { Reconfiguration } from "./reconfiguration.ts";

export interface PeerRequestsOptions {
  readonly strictReconfigCheck: boolean;
}

export function peerRequestsOf(member: Member, { strictReconfigCheck }: PeerRequestsOptions): PeerRequests {
  const reconfiguration = new Reconfiguration(member, strictReconfigCheck);
  return {
    versionBody: () => versionBody(versionsOf(member)),
    members: () => member.membership.members(),
    promote: (id, token, done) =>
      authorisePromotion(member, token, (refused) => {
        if (refused !== null) return done(failed(refused));
        reconfiguration.promote(id, null, (members, error) => {
          done(error === null ? { kind: "promoted", members } : refusedPromotion(error));
        });
      }),
    hashKv: (revision, done) => answerHashKv(member, revision, done),
    leaseKeepAlive: (id, done) => answerKeepAlive(member, id, done),
    leaseTimeToLive: (id, withKeys, done) => answerTimeToLive(member, id, withKeys, done),
    downgradeEnabled: (done) => answerDowngrade(member, done),
  };
}

/** Whoever asked the other member must be an administrator here too (MB-14). */
function authorisePromotion(member: Member, token: string | null, done: (refused: ErrorKind | null) => void): void {
  const { auth } = member;
  if (!auth.isEnabled || token === null) return done(auth.authoriseAdmin(null));
  new Callers(member).ofToken(token, (identity) => {
    if (identity === null) done("InvalidAuthToken");
    else done(identity === "busy" ? "TooManyRequests" : member.auth.authoriseAdmin(identity));
  });
}

function refusedPromotion(error: keyof typeof errors): PromoteOutcome {
  switch (error) {
    case "MemberNotFound":
      return { kind: "not found" };
    case "MemberNotLearner":
      return { kind: "not a learner" };
    case "LearnerNotReady":
      return { kind: "not in sync" };
    default:
      return failed(error);
  }
}

function answerHashKv(member: Member, revision: number, done: (outcome: HashKvOutcome) => void): void {
  try {
    const isWanted = (): boolean => true;
    hashKv(member, revision, isWanted, (hashed) => {
      done(hashed === null ? failed("LeaderChanged") : { kind: "hashed", hashed });
    });
  } catch (error) {
    if (error instanceof CompactedError) done({ kind: "compacted" });
    else if (error instanceof FutureRevisionError) done({ kind: "future revision" });
    else throw error;
  }
}

/** For another member's client: that member waits for nothing but us, so a known lease waits for what is committed too. */
function answerKeepAlive(member: Member, id: bigint, done: (outcome: KeepAliveOutcome) => void): void {
  const renewal = new LeaseRenewal(member, id, true, {
    // The member that asks has found out.
    refusal: () => null,
    renewed: (ttlSeconds) => done(ttlSeconds === 0 ? { kind: "not found" } : { kind: "renewed", ttlSeconds }),
    notPrimary: () => done(failed("NotPrimaryLessor")),
    failed: (error) => done(error === "TimeoutWaitAppliedIndex" ? { kind: "timed out" } : failed(error)),
  });
  renewal.begin();
}

function answerTimeToLive(
  member: Member,
  id: bigint,
  withKeys: boolean,
  done: (outcome: TimeToLiveOutcome) => void,
): void {
  leaseTimeOf(member, id, (time, error) => {
    if (error === "TimeoutWaitAppliedIndex") done({ kind: "timed out" });
    else if (error !== null) done(failed(error === "LeaderChanged" ? "NotPrimaryLessor" : error));
    else if (time === null) done({ kind: "not found" });
    else {
      const { remainingSeconds: ttlSeconds, grantedTtlSeconds } = time;
      done({ kind: "found", ttlSeconds, grantedTtlSeconds, keys: withKeys ? member.lessor.keys(id) : [] });
    }
  });
}

/** A member of the version below asks before it joins. */
function answerDowngrade(member: Member, done: (outcome: DowngradeOutcome) => void): void {
  member.read({
    readReady: () => done({ kind: "answered", isEnabled: member.membership.downgradeTarget !== null }),
    readFailed: (reason) => done(failed(reason)),
  });
}

function failed(error: keyof typeof errors): Failed {
  return { kind: "failed", message: errors[error].message };
}
