/** What the HTTP endpoints ask of a member, answered. */
import { AlarmType, errors } from "@quorate/api";
import { NO_NODE } from "@quorate/raft";
import type { Condition } from "./http/endpoints.ts";
import type { Member } from "./member/member.ts";
import type { ServerMetrics } from "./metrics/server-metrics.ts";
import { VERSIONS } from "./versions.ts";

export function conditionOf(member: Member, metrics: ServerMetrics): Condition {
  return {
    ...versionsOf(member),
    hasLeader: () => member.leader !== NO_NODE,
    isLearner: () => member.isLearner,
    alarms: () =>
      member.alarms.list(AlarmType.NONE).map((each) => (each.alarm === AlarmType.CORRUPT ? "CORRUPT" : "NOSPACE")),
    // A local read cannot fail here: the state is in this process.
    probeRead: (isSerializable, done) => {
      if (isSerializable) done(null);
      else member.read({ readReady: () => done(null), readFailed: (reason) => done(errors[reason].message) });
    },
    metricsText: () => metrics.render(),
    checked: (kind, name, isOk) => metrics.checked(kind, name, isOk),
  };
}

/** What /version tells, on the client and the peer port. */
export function versionsOf(member: Member): Pick<Condition, "versions" | "clusterVersion" | "storageVersion"> {
  return {
    versions: VERSIONS,
    clusterVersion: () => member.membership.clusterVersion,
    storageVersion: () => member.storageVersion,
  };
}
