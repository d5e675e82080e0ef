import assert from "node:assert/strict";
import { test } from "node:test";
import { checkAdd, checkPromote, checkReady, checkRemove, type MemberCondition } from "./reconfig-check.ts";

/**
 * A cluster as a word, a letter a member, ids from 1; the first voter is ourselves.
 *   S started and connected   s started, connection too young   d started, no connection
 *   u never started           L learner, connected              l learner, no connection
 */
function cluster(word: string): MemberCondition[] {
  return [...word].map((letter, at) => ({
    id: BigInt(at + 1),
    isLearner: letter.toLowerCase() === "l",
    isStarted: letter !== "u",
    isSelf: at === 0,
    activeMs: letter === "S" || letter === "L" ? 5001 : letter === "s" ? 5000 : null,
  }));
}

// covers: MB-09
test("a voter is added if a majority is there with the new one counted as down", () => {
  const table: [string, ReturnType<typeof checkAdd>][] = [
    ["S", null],
    ["u", "NotEnoughStartedMembers"],
    ["SS", null],
    ["Sd", "UnhealthyCluster"],
    ["Ss", "UnhealthyCluster"],
    ["Su", "NotEnoughStartedMembers"],
    ["SSS", null],
    ["SSd", "UnhealthyCluster"],
    ["SSs", "UnhealthyCluster"],
    ["SSu", "NotEnoughStartedMembers"],
    ["SSSd", null],
    ["SSSu", null],
    ["SSdd", "UnhealthyCluster"],
    ["SSuu", "NotEnoughStartedMembers"],
    ["SSSS", null],
    ["SSSSd", null],
    ["SSSdd", "UnhealthyCluster"],
    ["SSSuu", "NotEnoughStartedMembers"],
    ["Sl", null],
    ["SSl", null],
    ["SdL", "UnhealthyCluster"],
  ];
  for (const [word, refusal] of table) assert.equal(checkAdd(cluster(word), false), refusal, word);
});

test("a learner is added if the voters are connected, started or not", () => {
  const table: [string, ReturnType<typeof checkAdd>][] = [
    ["S", null],
    ["u", null],
    ["SS", null],
    ["Sd", "UnhealthyCluster"],
    ["Su", "UnhealthyCluster"],
    ["SSS", null],
    ["SSd", "UnhealthyCluster"],
    ["SSSu", null],
  ];
  for (const [word, refusal] of table) assert.equal(checkAdd(cluster(word), true), refusal, word);
});

test("a member is removed if a majority of the others is there", () => {
  const table: [string, id: bigint, ReturnType<typeof checkRemove>][] = [
    ["S", 1n, "NotEnoughStartedMembers"],
    ["SS", 1n, null],
    ["SS", 2n, null],
    ["Sd", 2n, null],
    ["Ss", 2n, "UnhealthyCluster"],
    ["Sd", 1n, "UnhealthyCluster"],
    ["Su", 2n, null],
    ["Su", 1n, "NotEnoughStartedMembers"],
    ["SSS", 3n, null],
    ["SSS", 1n, null],
    ["SSd", 3n, null],
    ["SSd", 2n, "UnhealthyCluster"],
    ["SSd", 1n, "UnhealthyCluster"],
    ["SSs", 3n, "UnhealthyCluster"],
    ["Suu", 1n, "NotEnoughStartedMembers"],
    ["SSu", 2n, "NotEnoughStartedMembers"],
    ["SSSSd", 4n, null],
    ["SSSdd", 3n, "UnhealthyCluster"],
    ["Sl", 2n, null],
    ["SddL", 4n, null],
    ["SSS", 9n, null],
    ["Suu", 9n, "NotEnoughStartedMembers"],
  ];
  for (const [word, id, refusal] of table) assert.equal(checkRemove(cluster(word), id), refusal, `${word} - ${id}`);
});

test("a learner is promoted if a majority has started, itself among them", () => {
  const table: [string, ReturnType<typeof checkPromote>][] = [
    ["SL", null],
    ["SdL", null],
    ["SuL", null],
    ["uL", "NotEnoughStartedMembers"],
    ["SuuL", "NotEnoughStartedMembers"],
    ["SSuL", null],
    ["SuuuL", "NotEnoughStartedMembers"],
    ["SSuuL", null],
  ];
  for (const [word, refusal] of table) assert.equal(checkPromote(cluster(word)), refusal, word);
});

// covers: MB-12
test("a learner is ready with nine tenths of the leader's log and a live connection", () => {
  const ready = { match: 90, leaderMatch: 100, isLearner: true, isConnected: true };
  assert.equal(checkReady(ready), null);
  assert.equal(checkReady({ ...ready, match: 89 }), "LearnerNotReady");
  assert.equal(checkReady({ ...ready, match: 0 }), "LearnerNotReady");
  assert.equal(checkReady({ ...ready, match: null }), "MemberNotFound");
  assert.equal(checkReady({ ...ready, isConnected: false }), "LearnerNotReady");
  // A voter passes: that it is no learner is found when the change is applied.
  assert.equal(checkReady({ ...ready, isLearner: false, isConnected: false }), null);
});
