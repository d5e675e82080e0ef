/**
 * Replays scenario files: our own, and those of etcd-io/raft in the folder that RAFT_SCENARIOS names.
 *
 * covers: RA-01 (figure_8), RA-03 (append_aba_race), RA-04, RA-05 (reads), RA-09 (forget_leader_prevote), RA-22
 * (transfer), MB-05 (step_down_on_removal, demoted_leader), MB-15 (learner_votes)
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { firstDifference, scenarioFiles } from "../scenarios/run.ts";
import { parseScenario, replay, rewrite } from "../scenarios/scenario-file.ts";
import { stageFor } from "../scenarios/stages.ts";

const OWN = join(import.meta.dirname, "../scenarios/testdata");
const PUBLISHED = process.env.RAFT_SCENARIOS ?? "";

for (const file of scenarioFiles(OWN)) {
  test(`own scenario ${basename(file)} plays as written`, () => {
    assert.equal(firstDifference(file), null);
  });
}

const isPublishedHere = existsSync(PUBLISHED);
if (!isPublishedHere) console.warn("SKIPPED: RAFT_SCENARIOS names no folder with etcd-io/raft's scenario files");
test("etcd-io/raft's scenarios play as published", { skip: !isPublishedHere && "files are absent" }, () => {
  const files = scenarioFiles(PUBLISHED);
  assert.ok(files.length > 0);
  for (const file of files) assert.equal(firstDifference(file), null, file);
});

test("a directive that prints something else is a difference, and rewriting removes it", () => {
  const text = "# story\nsimple\nv1\n----\nvoters=(1)\n1: StateProbe match=0 next=2\n\nsimple\nv2 v3\n----\nok\n";
  assert.deepEqual(replay(text, stageFor(text))?.directive.line, 2);
  const rewritten = rewrite(text, stageFor(text));
  assert.equal(replay(rewritten, stageFor(rewritten)), null);
  assert.ok(rewritten.startsWith("# story\nsimple\nv1\n----\nvoters=(1)\n1: StateProbe match=0 next=1\n"));
});

test("the file format knows lists, nested parentheses, continued lines and blank lines in output", () => {
  const text = "cmd a=(1, (2,3)) \\\n  b=x c= d\nin put\n\nmore\n----\n----\none\n\ntwo\n----\n----\n";
  const [directive] = parseScenario(text).directives;
  assert.deepEqual(directive?.args, [
    { key: "a", values: ["1", "(2,3)"] },
    { key: "b", values: ["x"] },
    { key: "c", values: [""] },
    { key: "d", values: [] },
  ]);
  assert.equal(directive?.input, "in put\n\nmore");
  assert.equal(directive?.expected, "one\n\ntwo\n");
});
