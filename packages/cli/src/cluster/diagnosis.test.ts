import assert from "node:assert/strict";
import { test } from "node:test";
import { type Init, StatusResponse } from "@quorate/api/messages";
import { type Diagnosis, diagnose, EXIT_CODES } from "./diagnosis.ts";
import type { Survey, SurveyedMember } from "./survey.ts";

/** A member that follows member 1 in term 2, unless said otherwise; `status: null` does not answer. */
function member(
  n: number,
  { status, ...rest }: Partial<Omit<SurveyedMember, "status">> & { status?: Init<StatusResponse> | null } = {},
): SurveyedMember {
  const given = { version: "3.7.1", leader: 1n, raftTerm: 2, raftIndex: 10, raftAppliedIndex: 10, ...status };
  return {
    id: BigInt(n),
    name: `m${n}`,
    endpoint: `127.0.0.1:${n}`,
    isLearner: false,
    hasStarted: true,
    status: status === null ? null : StatusResponse.decode(StatusResponse.encode(given)),
    problem: status === null ? "connection refused" : null,
    lag: status === null ? null : 0,
    isLeftBehind: false,
    ...rest,
  };
}

function surveyOf(members: readonly SurveyedMember[], rest: Partial<Survey> = {}): Survey {
  return { clusterId: 7n, members, silent: [], foreign: [], differing: [], ...rest };
}

function kinds({ findings }: Diagnosis): string[] {
  return findings.map(({ kind }) => kind);
}

const silent = { status: null };

test("nothing is found in three members that follow one of them", () => {
  const seen = diagnose(surveyOf([member(1), member(2), member(3)]));
  assert.equal(seen.health, "healthy");
  assert.deepEqual(seen.findings, []);
  assert.equal(seen.leader?.name, "m1");
  assert.deepEqual(seen.quorum, { voters: 3, needed: 2, reachable: 3, survives: 1 });
});

test("a silent member degrades the cluster, and how many more it survives is said", () => {
  const three = diagnose(surveyOf([member(1), member(2), member(3, silent)]));
  assert.equal(three.health, "degraded");
  assert.match(three.findings[0]!.text, /^m3 at 127.0.0.1:3 does not answer: connection refused.*no further failure/);
  const five = diagnose(surveyOf([member(1), member(2), member(3), member(4), member(5, silent)]));
  assert.match(five.findings[0]!.text, /survives 1 more failure\./);
});

test("without a quorum the cluster is down, whoever may be believed to lead", () => {
  const leaderless = diagnose(surveyOf([member(1, { status: { leader: 0n } }), member(2, silent), member(3, silent)]));
  assert.equal(leaderless.health, "down");
  assert.deepEqual(kinds(leaderless), ["no-quorum", "unreachable", "unreachable"]);
  assert.match(leaderless.findings[0]!.text, /Only 1 of 3 .* until 1 more is back\.$/);
  const led = diagnose(surveyOf([member(1), member(2, silent), member(3, silent)]));
  assert.equal(led.health, "down");
  assert.match(led.findings[0]!.text, /cannot be reached from here/);
});

test("a quorum without a leader is down", () => {
  const views = [1, 2, 3].map((n) => member(n, { status: { leader: 0n } }));
  assert.deepEqual(kinds(diagnose(surveyOf(views))), ["no-leader"]);
  assert.equal(diagnose(surveyOf(views)).health, "down");
});

test("members that name different leaders or terms disagree", () => {
  const leaders = diagnose(surveyOf([member(1), member(2), member(3, { status: { leader: 3n } })]));
  assert.deepEqual(kinds(leaders), ["disagreement"]);
  assert.match(leaders.findings[0]!.text, /m1 says m1, m2 says m1, m3 says m3/);
  const terms = diagnose(surveyOf([member(1), member(2), member(3, { status: { raftTerm: 3, leader: 0n } })]));
  assert.deepEqual(kinds(terms), ["disagreement", "disagreement"]);
  assert.equal(terms.leader?.name, "m1");
});

test("a leader that is in no list is told", () => {
  const seen = diagnose(surveyOf([2, 3].map((n) => member(n))));
  assert.deepEqual(kinds(seen), ["membership-differs", "even-voters"]);
  assert.equal(seen.leader, null);
});

test("an alarm is told once, with its member and its remedy", () => {
  // Go's protobuf prints one or two spaces, by chance.
  const status = { errors: ["memberID:2  alarm:NOSPACE ", "memberID:3 alarm:CORRUPT"] };
  const seen = diagnose(surveyOf([member(1, { status }), member(2, { status }), member(3, { status })]));
  assert.deepEqual(kinds(seen), ["alarm", "alarm"]);
  assert.match(seen.findings[0]!.text, /^Alarm NOSPACE at m2\..*alarm disarm/);
  assert.match(seen.findings[1]!.text, /^Alarm CORRUPT at m3\..*member remove/);
});

test("an alarm of no member in particular is an alarm", () => {
  const seen = diagnose(surveyOf([member(1, { status: { errors: ["alarm:CORRUPT"] } })]));
  assert.deepEqual([kinds(seen), seen.health], [["alarm"], "down"]);
  assert.match(seen.findings[0]!.text, /^Alarm CORRUPT at a member that nobody can name\./);
});

test("a learner has no vote and makes nothing worse", () => {
  const seen = diagnose(surveyOf([member(1), member(2), member(3), member(4, { isLearner: true })]));
  assert.equal(seen.health, "healthy");
  assert.deepEqual(kinds(seen), ["learner"]);
  assert.match(seen.findings[0]!.text, /member promote 4\.$/);
  assert.equal(seen.quorum.voters, 3);
});

test("a member that was added and never started counts against the quorum", () => {
  const added = member(2, { ...silent, name: "", hasStarted: false });
  const seen = diagnose(surveyOf([member(1), added]));
  assert.equal(seen.health, "down");
  assert.match(seen.findings[1]!.text, /^member 2 was added and has never started/);
});

test("even voters and different versions are notes", () => {
  const seen = diagnose(surveyOf([member(1), member(2, { status: { version: "3.6.0" } })]));
  assert.equal(seen.health, "healthy");
  assert.deepEqual(kinds(seen), ["even-voters", "version-skew"]);
  assert.match(seen.findings[0]!.text, /2 voting members survive no failure, as many as 1 do/);
  assert.match(seen.findings[1]!.text, /m1 3\.7\.1, m2 3\.6\.0/);
});

test("a nearly full database says whether defragmenting would help", () => {
  const full = (dbSizeInUse: number) =>
    diagnose(surveyOf([member(1, { status: { dbSize: 80, dbSizeInUse, dbSizeQuota: 100 } })])).findings[0]!.text;
  assert.match(full(80), /80 % of its quota.*Compact/);
  assert.match(full(20), /80 % of its quota, 20 % in use.*etcdctl defrag/);
  const alarm = { dbSize: 99, dbSizeInUse: 99, dbSizeQuota: 100, errors: ["memberID:1 alarm:NOSPACE"] };
  assert.deepEqual(kinds(diagnose(surveyOf([member(1, { status: alarm })]))), ["alarm"]);
  const roomy = member(1, { status: { dbSize: 79, dbSizeInUse: 79, dbSizeQuota: 100 } });
  assert.deepEqual(diagnose(surveyOf([roomy])).findings, []);
});

test("a member that has not caught up is named with its lag", () => {
  const seen = diagnose(surveyOf([member(1), member(2), member(3, { lag: 12_345, isLeftBehind: true })]));
  assert.deepEqual(kinds(seen), ["behind"]);
  assert.match(seen.findings[0]!.text, /^m3 was 12,345 entries behind/);
});

test("endpoints that are silent, foreign or of another opinion are told", () => {
  const three = [member(1), member(2), member(3, silent)];
  const seen = diagnose(
    surveyOf(three, {
      // The second is m3's own address: told as m3's silence.
      silent: [
        { endpoint: "other:1", problem: "x" },
        { endpoint: "127.0.0.1:3", problem: "x" },
      ],
      foreign: ["foreign:1"],
      differing: ["127.0.0.1:2"],
    }),
  );
  assert.deepEqual(kinds(seen), ["unreachable", "silent-endpoint", "foreign-endpoint", "membership-differs"]);
});

test("if all that is wrong is how it was asked, it is not called down, and what to do is said", () => {
  const cases: [string, RegExp][] = [
    ["etcdserver: user name is empty", /--user NAME:PASSWORD/],
    ["etcdserver: authentication failed, invalid user ID or password", /not known/],
    ["connection closed", /https:/],
    ["self-signed certificate; if the root CA is installed locally, try", /--cacert/],
    ["unable to verify the first certificate", /--cacert/],
    ["ssl/tls alert certificate required: SSL alert number 116", /--cert FILE and --key/],
  ];
  for (const [problem, advice] of cases) {
    const seen = diagnose(surveyOf([], { clusterId: null, silent: [{ endpoint: "a:1", problem }] }));
    assert.deepEqual([seen.health, EXIT_CODES[seen.health], seen.findings[0]!.kind], ["unknown", 2, "not-admitted"]);
    assert.match(seen.findings[0]!.text, advice);
  }
});

test("if nobody says who is in the cluster, it is down", () => {
  const nobody = { clusterId: null };
  const seen = diagnose(surveyOf([], { ...nobody, silent: [{ endpoint: "a:1", problem: "refused" }] }));
  assert.equal(seen.health, "down");
  assert.equal(seen.findings[0]!.text, "No endpoint answers: a:1 (refused).");
  assert.match(diagnose(surveyOf([], nobody)).findings[0]!.text, /learner/);
});

test("members that have applied the same and are at different revisions have gone apart", () => {
  const at = (revision: number, raftAppliedIndex = 10): { status: Init<StatusResponse> } => ({
    status: { raftAppliedIndex, header: { clusterId: 7n, memberId: 1n, revision, raftTerm: 2 } },
  });
  const seen = diagnose(surveyOf([member(1, at(7)), member(2, at(7)), member(3, at(6))]));
  assert.equal(seen.health, "down");
  assert.deepEqual(kinds(seen), ["different-data"]);
  assert.match(seen.findings[0]!.text, /m1 7, m2 7, m3 6/);
  const atWork = diagnose(surveyOf([member(1, at(7)), member(2, at(6, 9)), member(3, at(6))]));
  assert.deepEqual(kinds(atWork), []);
});
