/** How long a lease still has, as the leader knows it (semantics §6.5; known failure LE-13). */
import type { ErrorKind } from "@quorate/api";
import type { LeaseTimeToLive } from "@quorate/lease";
import type { Member } from "../member/member.ts";

export interface LeaseTime extends LeaseTimeToLive {
  readonly remainingSeconds: number;
}

/** For a member that leads. `done` is called once, with the lease, with null if there is none, or with an error. */
export function leaseTimeOf(
  member: Member,
  id: bigint,
  done: (time: LeaseTime | null, error: ErrorKind | null) => void,
): void {
  member.confirmLeadership((isLeader) => {
    if (!isLeader) return done(null, "LeaderChanged");
    member.whenApplied((error) => {
      if (error !== null) return done(null, error);
      const time = member.lessor.timeToLive(id);
      // Before its first entry a new leader does not know what was committed before it, nor how long leases have.
      if (!member.lessor.isPrimary) return done(null, "LeaderChanged");
      done(time === null ? null : { ...time, remainingSeconds: time.remainingSeconds! }, null);
    });
  });
}
