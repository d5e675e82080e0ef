import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  checkAgainst,
  endpointsOf,
  flagsOf,
  MEMBERS_MOST,
  newPlan,
  newPlanOn,
  OWN_FLAGS,
  PlanRefused,
  readPlan,
  writePlan,
} from "./plan.ts";

function freshDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "quorate-plan-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test("without a base port the members are where etcd's examples have them", () => {
  const { members } = newPlan(3, undefined);
  assert.deepEqual(
    members.map(({ name, clientPort, peerPort }) => [name, clientPort, peerPort]),
    [
      ["m1", 2379, 2380],
      ["m2", 22379, 22380],
      ["m3", 32379, 32380],
    ],
  );
});

test("every port of the largest cluster is a port, and another one", () => {
  const ports = newPlan(MEMBERS_MOST, undefined).members.flatMap(({ clientPort, peerPort }) => [clientPort, peerPort]);
  assert.equal(new Set(ports).size, 2 * MEMBERS_MOST);
  assert.ok(ports.every((port) => port > 0 && port < 65536));
});

test("from a base port on, members take pairs", () => {
  assert.equal(endpointsOf(newPlan(3, 4000)), "127.0.0.1:4000,127.0.0.1:4002,127.0.0.1:4004");
  const [first, second] = newPlanOn([9, 8, 7, 6]).members;
  assert.deepEqual([first!.clientPort, first!.peerPort, second!.clientPort, second!.peerPort], [9, 8, 7, 6]);
});

test("a plan that was written is read again as it was", (t) => {
  const directory = freshDirectory(t);
  assert.equal(readPlan(directory), null);
  const plan = { ...newPlan(5, 4000), hasFormed: true };
  writePlan(directory, plan);
  assert.deepEqual(readPlan(directory), plan);
});

test("a directory that belongs to something else is refused", (t) => {
  const directory = freshDirectory(t);
  writeFileSync(join(directory, "thesis.txt"), "");
  assert.throws(() => readPlan(directory), PlanRefused);
});

test("a damaged plan is refused by what is wrong with it", (t) => {
  const directory = freshDirectory(t);
  writePlan(directory, newPlan(1, 4000));
  for (const [content, problem] of [
    ["{", /JSON/],
    ["null", /format is undefined, not 1/],
    ['{"format":1}', /token is missing/],
    ['{"format":1,"token":"t","hasFormed":true,"members":[]}', /not a list of 1 to 7/],
    ['{"format":1,"token":"t","hasFormed":true,"members":[{"name":"../x"}]}', /no name/],
    ['{"format":1,"token":"t","hasFormed":true,"members":[{"name":"m","clientPort":70000,"peerPort":1}]}', /no ports/],
  ] as const) {
    writeFileSync(join(directory, "cluster.json"), content);
    assert.throws(() => readPlan(directory), problem);
  }
});

test("another number of members or other ports than the cluster has are refused", () => {
  const plan = newPlan(3, 4000);
  const check = (memberCount?: number, basePort?: number) => checkAgainst(plan, "/x", { memberCount, basePort });
  check();
  check(3, 4000);
  check(3, 0);
  assert.throws(() => check(5), /has 3 members, not 5/);
  assert.throws(() => check(3, 5000), /ports from 4000 on, not from 5000/);
});

test("a member whose data is gone does not come back, but one that never started may start", (t) => {
  const directory = freshDirectory(t);
  const plan = newPlan(2, 4000);
  mkdirSync(join(directory, "m1"));
  const asked = { memberCount: undefined, basePort: undefined };
  checkAgainst(plan, directory, asked);
  assert.throws(() => checkAgainst({ ...plan, hasFormed: true }, directory, asked), /the data of m2 is gone/);
});

test("a member's flags are those that nobody else may set", () => {
  const plan = newPlan(2, 4000);
  const flags = flagsOf(plan, plan.members[1]!, "/data");
  assert.deepEqual(flags.map((flag) => /^--([^=]+)=/.exec(flag)![1]).sort(), [...OWN_FLAGS].sort());
  assert.ok(flags.includes("--initial-cluster=m1=http://127.0.0.1:4001,m2=http://127.0.0.1:4003"));
  assert.ok(flags.includes("--initial-cluster-state=new"));
  assert.ok(flags.includes("--data-dir=/data/m2"));
  assert.ok(
    flagsOf({ ...plan, hasFormed: true }, plan.members[0]!, "/data").includes("--initial-cluster-state=existing"),
  );
});
