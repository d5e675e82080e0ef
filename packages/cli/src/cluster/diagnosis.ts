/**
 * What a survey means, in words: everything that is wrong with the cluster or will be, and what to do about it. A function
 * of the survey alone.
 *
 *   note      nothing is wrong; worth knowing        exit code 0
 *   degraded  it works, but less safely than it could          1
 *   down      writes do not go through                         2
 */
import type { Survey, SurveyedMember } from "./survey.ts";

/** "unknown": there is somebody, but who asked was told nothing. */
export type Health = "healthy" | "degraded" | "unknown" | "down";

export type FindingKind =
  | "alarm"
  | "behind"
  | "database-nearly-full"
  | "different-data"
  | "disagreement"
  | "even-voters"
  | "foreign-endpoint"
  | "learner"
  | "membership-differs"
  | "no-answer"
  | "no-leader"
  | "no-quorum"
  | "not-admitted"
  | "silent-endpoint"
  | "unreachable"
  | "version-skew";

export interface Finding {
  readonly kind: FindingKind;
  readonly severity: "note" | "degraded" | "unknown" | "down";
  /** One or more sentences. */
  readonly text: string;
}

export interface Diagnosis {
  readonly health: Health;
  /** The gravest first. */
  readonly findings: readonly Finding[];
  readonly leader: SurveyedMember | null;
  readonly quorum: {
    readonly voters: number;
    readonly needed: number;
    readonly reachable: number;
    /** How many more voters may fail; 0 without a quorum. */
    readonly survives: number;
  };
}

export const EXIT_CODES: Readonly<Record<Health, number>> = { healthy: 0, degraded: 1, unknown: 2, down: 2 };

/** Where etcd's own documentation begins to worry. */
const NEARLY_FULL = 0.8;
const RANK = { down: 0, unknown: 1, degraded: 2, note: 3 } as const;

export function diagnose(seen: Survey): Diagnosis {
  const { members } = seen;
  const voters = members.filter((member) => !member.isLearner);
  const needed = Math.floor(voters.length / 2) + 1;
  const reachable = voters.filter((member) => member.status !== null).length;
  const quorum = { voters: voters.length, needed, reachable, survives: Math.max(0, reachable - needed) };
  if (seen.clusterId === null) {
    const finding = nobodyAnswered(seen);
    return {
      health: finding.severity,
      findings: [finding],
      leader: null,
      quorum: { voters: 0, needed: 0, reachable: 0, survives: 0 },
    };
  }
  const leader = leaderOf(members);
  const findings = [
    ...quorumFindings(members, quorum),
    ...leaderFindings(members, quorum),
    ...dataFindings(members),
    ...alarmFindings(members),
    ...endpointFindings(seen),
    ...memberFindings(members),
    ...shapeFindings(members, voters.length),
  ].sort((a, b) => RANK[a.severity] - RANK[b.severity]);
  const gravest = findings[0]?.severity ?? "note";
  return { health: gravest === "note" ? "healthy" : gravest, findings, leader, quorum };
}

/** Whom those follow that have a leader in the highest term, if it is in the cluster. */
function leaderOf(members: readonly SurveyedMember[]): SurveyedMember | null {
  const views = members.flatMap(({ status }) => (status === null || status.leader === 0n ? [] : [status]));
  const [latest] = views.sort((a, b) => b.raftTerm - a.raftTerm);
  return members.find(({ id }) => id === latest?.leader) ?? null;
}

function nobodyAnswered({ silent }: Survey): Finding & { readonly severity: "unknown" | "down" } {
  if (silent.length === 0) {
    const text =
      "No endpoint could say who is in the cluster. Only a learner answers like this: ask a voting member with --endpoints.";
    return { kind: "no-answer", severity: "down", text };
  }
  const places = silent.map(({ endpoint, problem }) => `${endpoint} (${problem})`).join(", ");
  const advice = silent
    .map(({ problem }) => ADVICE.find(([of]) => of.test(problem))?.[1])
    .find((each) => each !== undefined);
  if (advice === undefined) return { kind: "no-answer", severity: "down", text: `No endpoint answers: ${places}.` };
  return { kind: "not-admitted", severity: "unknown", text: `No endpoint tells us anything: ${places}. ${advice}` };
}

/** Where somebody is there and the asker did not ask as he should have: what is said then, and what to do. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/user name is empty/, "The cluster wants to know who asks: give --user NAME:PASSWORD."],
  [/authentication failed|permission denied|invalid auth token/, "This user, or its password, is not known there."],
  [/^connection closed$/, "If it speaks TLS, begin the endpoint with https:// or give --cacert FILE."],
  [
    /self-signed certificate|unable to (get|verify)|altnames/,
    "Give the authority that signed its certificate with --cacert FILE.",
  ],
  [
    /alert (number|certificate)|certificate required|bad certificate/,
    "It wants a certificate of ours: give --cert FILE and --key FILE.",
  ],
];

function quorumFindings(members: readonly SurveyedMember[], quorum: Diagnosis["quorum"]): Finding[] {
  const { voters, needed, reachable, survives } = quorum;
  const findings: Finding[] = [];
  const hasQuorum = reachable >= needed;
  if (!hasQuorum) {
    const hears = members.some(({ status }) => status !== null && status.leader !== 0n);
    const doubt = hears
      ? " Those that answer still follow a leader: either the others have failed just now, or they cannot be reached from here."
      : "";
    findings.push({
      kind: "no-quorum",
      severity: "down",
      text:
        `Only ${reachable} of ${voters} voting members answer; ${needed} are needed. Nothing can be written, and only ` +
        `serializable reads are answered, until ${needed - reachable} more ${needed - reachable === 1 ? "is" : "are"} back.${doubt}`,
    });
  }
  for (const member of members) {
    if (member.status !== null) continue;
    if (member.isLearner) {
      const text = member.hasStarted
        ? `The learner ${nameOf(member)} at ${member.endpoint} does not answer: ${member.problem}.`
        : `The learner ${nameOf(member)} was added and has never started.`;
      findings.push({ kind: "unreachable", severity: "degraded", text });
      continue;
    }
    const rest = !hasQuorum
      ? ""
      : survives === 0
        ? " The cluster works without it, but survives no further failure."
        : ` The cluster works without it and survives ${count(survives, "more failure")}.`;
    const text = member.hasStarted
      ? `${nameOf(member)} at ${member.endpoint} does not answer: ${member.problem}.${rest}`
      : `${nameOf(member)} was added and has never started; it counts as a voter that is down.${rest}`;
    findings.push({ kind: "unreachable", severity: "degraded", text });
  }
  return findings;
}

function leaderFindings(members: readonly SurveyedMember[], { needed, reachable }: Diagnosis["quorum"]): Finding[] {
  const answering = members.filter(({ status }) => status !== null);
  const leaders = new Set(answering.map(({ status }) => status!.leader).filter((leader) => leader !== 0n));
  if (leaders.size === 0) {
    // Without a quorum there can be none, and that has been said.
    if (reachable < needed) return [];
    const text =
      "There is no leader: nothing can be written. Enough members answer, so an election should be under way; if this " +
      "stays, the members cannot reach each other's peer addresses.";
    return [{ kind: "no-leader", severity: "down", text }];
  }
  const findings: Finding[] = [];
  if (leaders.size > 1) {
    const views = answering.map((member) => `${nameOf(member)} says ${leaderName(member.status!.leader, members)}`);
    findings.push({
      kind: "disagreement",
      severity: "degraded",
      text: `Members disagree on who leads: ${views.join(", ")}.`,
    });
  } else {
    for (const member of answering) {
      if (member.status!.leader !== 0n) continue;
      const text = `${nameOf(member)} knows no leader, while others do: it cannot reach them, or an election has just ended.`;
      findings.push({ kind: "disagreement", severity: "degraded", text });
    }
  }
  for (const id of leaders) {
    if (members.some((member) => member.id === id)) continue;
    const text = `Members follow ${idText(id)}, which is not in the list of members: the list is out of date; ask again.`;
    findings.push({ kind: "membership-differs", severity: "degraded", text });
  }
  if (new Set(answering.map(({ status }) => status!.raftTerm)).size > 1) {
    const views = answering.map((member) => `${nameOf(member)} ${member.status!.raftTerm}`).join(", ");
    const text = `Members are in different terms (${views}). During an election that is normal; ask again.`;
    findings.push({ kind: "disagreement", severity: "degraded", text });
  }
  return findings;
}

/**
 * Members that have all applied the same entries are at the same revision, or one of them has gone wrong. While they are at
 * work they are seen at different moments, and nothing can be told.
 */
function dataFindings(members: readonly SurveyedMember[]): Finding[] {
  const seen = members.flatMap((member) => {
    const { header, raftAppliedIndex } = member.status ?? {};
    return header === undefined ? [] : [{ member, index: raftAppliedIndex, revision: header.revision }];
  });
  const isSettled = new Set(seen.map(({ index }) => index)).size === 1;
  if (!isSettled || new Set(seen.map(({ revision }) => revision)).size === 1) return [];
  const views = seen.map(({ member, revision }) => `${nameOf(member)} ${revision}`).join(", ");
  const text =
    `Members have applied the same entries and are at different revisions (${views}): the data of one of them is wrong. ` +
    "Compare etcdctl endpoint hashkv --cluster, and replace the member that differs.";
  return [{ kind: "different-data", severity: "down", text }];
}

function alarmFindings(members: readonly SurveyedMember[]): Finding[] {
  // Every member lists the alarms of all.
  const alarms = new Map<string, Finding>();
  for (const { status } of members) {
    for (const error of status?.errors ?? []) {
      // An id of zero is left out.
      const alarm = /(?:memberID:\s*(\d+)\s+)?alarm:\s*(\w+)/.exec(error);
      if (alarm === null) continue;
      const [, id = "0", name] = alarm;
      const whose = whoseAlarm(members, BigInt(id));
      alarms.set(`${id} ${name}`, {
        kind: "alarm",
        // While one of these is raised the cluster refuses writes.
        severity: name === "NOSPACE" || name === "CORRUPT" ? "down" : "degraded",
        text: `Alarm ${name} at ${whose}. ${remedy(name!)}`,
      });
    }
  }
  return [...alarms.values()];
}

function whoseAlarm(members: readonly SurveyedMember[], id: bigint): string {
  if (id === 0n) return "a member that nobody can name";
  const member = members.find((each) => each.id === id);
  return member === undefined ? `member ${id.toString(16)}` : nameOf(member);
}

function remedy(alarm: string): string {
  switch (alarm) {
    case "NOSPACE":
      return (
        "Its database has reached the quota and the whole cluster refuses writes but deletes. Delete what can go, then " +
        "etcdctl compact REVISION and, if that frees too little, etcdctl defrag --cluster. The alarm ends by itself; at a " +
        "member of etcd's, or after a restart with a larger --quota-backend-bytes, by etcdctl alarm disarm."
      );
    case "CORRUPT":
      return (
        "Its data differs from the others' and the cluster refuses every write. Compare etcdctl endpoint hashkv --cluster, " +
        "replace the member that differs (etcdctl member remove, empty its directory, etcdctl member add), then " +
        "etcdctl alarm disarm."
      );
    default:
      return "etcdctl alarm list shows it.";
  }
}

function endpointFindings({ silent, foreign, differing, members }: Survey): Finding[] {
  const findings: Finding[] = [];
  const covered = new Set(members.map(({ endpoint }) => endpoint));
  for (const { endpoint, problem } of silent) {
    // A member's own address is told as the member's failure.
    if (covered.has(endpoint)) continue;
    findings.push({
      kind: "silent-endpoint",
      severity: "degraded",
      text: `The endpoint ${endpoint} does not answer: ${problem}.`,
    });
  }
  for (const endpoint of foreign) {
    const text = `The endpoint ${endpoint} belongs to another cluster; it is left out here. A client given both would see two truths.`;
    findings.push({ kind: "foreign-endpoint", severity: "degraded", text });
  }
  for (const endpoint of differing) {
    const text = `The member at ${endpoint} knows other members than the list above: it is behind, or was removed.`;
    findings.push({ kind: "membership-differs", severity: "degraded", text });
  }
  return findings;
}

function memberFindings(members: readonly SurveyedMember[]): Finding[] {
  const findings: Finding[] = [];
  // Once the alarm is raised it says the same, and with more weight.
  const isFull = members.some(({ status }) => status?.errors.some((error) => error.includes("NOSPACE")));
  for (const member of members) {
    if (member.isLeftBehind) {
      const text = `${nameOf(member)} was ${member.lag!.toLocaleString("en-US")} entries behind the leader and has not caught up with that: its disk, its processor or its network is too slow, or it has just come back.`;
      findings.push({ kind: "behind", severity: "degraded", text });
    }
    const { dbSize, dbSizeInUse, dbSizeQuota } = member.status ?? { dbSize: 0, dbSizeInUse: 0, dbSizeQuota: 0 };
    if (!isFull && dbSizeQuota > 0 && dbSize >= NEARLY_FULL * dbSizeQuota) {
      const inUse = dbSizeInUse / dbSizeQuota;
      const has = `The database of ${nameOf(member)} has ${Math.round((100 * dbSize) / dbSizeQuota)} % of its quota`;
      const isInUse = inUse >= NEARLY_FULL;
      const text = isInUse
        ? `${has}; at 100 % the cluster refuses writes. Compact old revisions and defragment, or raise --quota-backend-bytes.`
        : `${has}, ${Math.round(100 * inUse)} % in use. Quorate writes into what is free; a member of etcd's refuses writes at 100 %: etcdctl defrag --cluster gives the rest back.`;
      findings.push({ kind: "database-nearly-full", severity: isInUse ? "degraded" : "note", text });
    }
    if (member.isLearner) {
      const text = `${nameOf(member)} is a learner: it stores everything and has no vote. Once it has caught up: etcdctl member promote ${idText(member.id)}.`;
      findings.push({ kind: "learner", severity: "note", text });
    }
  }
  return findings;
}

function shapeFindings(members: readonly SurveyedMember[], voters: number): Finding[] {
  const findings: Finding[] = [];
  if (voters > 0 && voters % 2 === 0) {
    const survived = Math.ceil(voters / 2) - 1;
    const text = `${voters} voting members survive ${survived === 0 ? "no failure" : count(survived, "failure")}, as many as ${voters - 1} do, and one more can fail: use an odd number.`;
    findings.push({ kind: "even-voters", severity: "note", text });
  }
  const versions = new Set(members.flatMap(({ status }) => (status === null ? [] : [status.version])));
  if (versions.size > 1) {
    const views = members.flatMap((member) =>
      member.status === null ? [] : [`${nameOf(member)} ${member.status.version}`],
    );
    const text = `Members run different versions (${views.join(", ")}). Finish the upgrade: the cluster acts as its oldest member.`;
    findings.push({ kind: "version-skew", severity: "note", text });
  }
  return findings;
}

export function idText(id: bigint): string {
  return id.toString(16);
}

function nameOf(member: SurveyedMember): string {
  return member.name === "" ? `member ${idText(member.id)}` : member.name;
}

function leaderName(id: bigint, members: readonly SurveyedMember[]): string {
  if (id === 0n) return "nobody";
  const member = members.find((each) => each.id === id);
  return member === undefined ? idText(id) : nameOf(member);
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}
