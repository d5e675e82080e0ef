import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAutoCompaction } from "./auto-compaction.ts";

const HOUR_MS = 3_600_000;

test("a bare number is hours or revisions, anything else a duration, and nothing is off", () => {
  const periodic = (retentionMs: number) => ({ mode: "periodic", retentionMs });
  for (const [mode, retention, expected] of [
    ["periodic", "0", null],
    ["periodic", "", null],
    ["periodic", "0s", null],
    ["revision", "0", null],
    ["revision", "", null],
    ["periodic", "5", periodic(5 * HOUR_MS)],
    ["periodic", "10h", periodic(10 * HOUR_MS)],
    ["periodic", "1h30m", periodic(1.5 * HOUR_MS)],
    ["periodic", "500ms", periodic(500)],
    ["revision", "1000", { mode: "revision", retention: 1000 }],
    ["revision", "9000000000000", { mode: "revision", retention: 9e12 }],
  ] as const) {
    assert.deepEqual(parseAutoCompaction(mode, retention), expected, `${mode} ${retention}`);
  }
});

// covers: QU-08
test("what would run without a pause, or means nothing, is refused at the start", () => {
  for (const [mode, retention, problem] of [
    ["", "0", /^undefined auto-compaction-mode$/],
    ["sometimes", "0", /^unknown auto-compaction-mode "sometimes"$/],
    ["periodic", "-1", /^error parsing CompactionRetention: time: invalid duration "-1"$/],
    ["periodic", "soon", /^error parsing CompactionRetention: time: invalid duration "soon"$/],
    ["periodic", "99999999999999999999", /^error parsing CompactionRetention/],
    ["periodic", "-1h", /must be at least 10ms \(set to "-1h"\)$/],
    ["periodic", "1ns", /must be at least 10ms/],
    ["revision", "-1", /^error parsing CompactionRetention/],
    ["revision", "1e3", /^error parsing CompactionRetention/],
    ["revision", "1h", /in revision mode is a number of revisions/],
    ["revision", "-1h", /in revision mode is a number of revisions/],
  ] as const) {
    assert.throws(() => parseAutoCompaction(mode, retention), { message: problem }, `${mode} ${retention}`);
  }
});
