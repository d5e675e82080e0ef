import assert from "node:assert/strict";
import { test } from "node:test";
import { MemberLines } from "./member-lines.ts";

function line(fields: object): string {
  return JSON.stringify({ level: "info", ts: "2026-01-01T00:00:00.000000Z", caller: "x/y.go:1", ...fields });
}

test("an election is told once, by the member that was elected", () => {
  const told = (msg: string) => new MemberLines().read(line({ msg }), 0);
  assert.equal(told("raft.node: aa elected leader aa at term 2"), "is the leader of term 2");
  assert.equal(told("raft.node: bb elected leader aa at term 2"), null);
  assert.equal(told("raft.node: bb changed leader from aa to bb at term 3"), "is the leader of term 3");
  assert.equal(told("raft.node: cc changed leader from aa to bb at term 3"), null);
  assert.equal(told("raft.node: cc lost leader bb at term 3"), "has lost its leader of term 3");
});

test("everyday lines and the warnings every local member gives are not told", () => {
  const lines = new MemberLines();
  assert.equal(lines.read(line({ msg: "started stream reader with remote peer" }), 0), null);
  assert.equal(lines.read(line({ level: "warn", msg: "simple token is not cryptographically signed" }), 0), null);
  assert.equal(lines.read("", 0), null);
});

test("a warning is told with its fields and without the log's frame", () => {
  const text = new MemberLines().read(line({ level: "warn", msg: "slow", took: "2s", n: 3, stacktrace: "a\nb" }), 0);
  assert.equal(text, "warning: slow (took: 2s, n: 3)");
});

test("a repeated warning is told again after ten seconds, with how often it came", () => {
  const lines = new MemberLines();
  const slow = line({ level: "warn", msg: "slow" });
  assert.equal(lines.read(slow, 0), "warning: slow");
  assert.equal(lines.read(slow, 1), null);
  assert.equal(lines.read(slow, 9_999), null);
  assert.equal(lines.read(slow, 10_000), "warning: slow (3 times)");
});

test("what is not a log line is shown as it is", () => {
  const lines = new MemberLines();
  assert.equal(lines.read("    at main (x.ts:1)", 0), "    at main (x.ts:1)");
  assert.equal(lines.read('{"level":"warn", torn', 0), '{"level":"warn", torn');
});

test("a member's id is learnt from its own lines", () => {
  const lines = new MemberLines();
  assert.equal(lines.memberId, null);
  lines.read(line({ msg: "starting", "local-member-id": "aa" }), 0);
  assert.equal(lines.memberId, "aa");
});
