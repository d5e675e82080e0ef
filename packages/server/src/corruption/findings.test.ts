import assert from "node:assert/strict";
import { test } from "node:test";
import type { HashKv } from "../peers/peer-requests.ts";
import { compactHashVerdict, differsFromPeers, type HashAnswer, type PeerHash, periodicFindings } from "./findings.ts";

const LEADER = 1n;

/** "hash", "hash@compact" or "hash@compact#current"; compacted at 5, at revision 10. */
function hashOf(text: string): HashKv {
  const [, hash, compact = "5", current = "10"] = /^(\d+)(?:@(-?\d+))?(?:#(\d+))?$/.exec(text)!;
  return { hash: Number(hash), compactRevision: Number(compact), revision: Number(current), hashRevision: 10 };
}

const SILENT: Readonly<Record<string, HashAnswer>> = {
  unreachable: { kind: "unreachable", message: "" },
  stranger: { kind: "cluster mismatch" },
  ahead: { kind: "compacted" },
  behind: { kind: "future revision" },
  broken: { kind: "failed", message: "" },
};

/** Members 2, 3, … with these answers. */
function peersOf(answers: readonly string[]): PeerHash[] {
  return answers.map((text, i) => ({
    memberId: BigInt(i + 2),
    answer: SILENT[text] ?? { kind: "hashed", hashed: hashOf(text) },
  }));
}

// covers: ST-05, ST-08
test("a member may not start if another has another hash at the same point; who cannot be compared with says nothing", () => {
  const table: [peers: string[], differs: boolean][] = [
    [[], false],
    [["7", "7"], false],
    [["7", "8"], true],
    [["8@4", "8@6"], false],
    [Object.keys(SILENT), false],
    [["unreachable", "8"], true],
  ];
  for (const [peers, differs] of table)
    assert.equal(differsFromPeers(hashOf("7"), peersOf(peers)), differs, peers.join());
});

// covers: ST-05, ST-06, ST-07, ST-08
test("periodic: most of the members decide who is corrupt, else the leader's hash counts", () => {
  const table: [first: string, second: string, peers: string[], corrupt: bigint[]][] = [
    ["7", "7", [], []],
    ["7", "7", ["7", "7"], []],
    // Keys that change under the leader's hands.
    ["7", "8", ["7", "7"], [LEADER]],
    // Written to, or compacted, between the two: nothing to compare.
    ["7", "8@6", ["7", "7"], []],
    ["7", "7", ["7", "8"], [3n]],
    ["7", "7", ["8", "7"], [2n]],
    ["7", "7", ["8", "8"], [LEADER]],
    ["7", "7", ["8", "9", "7", "7"], [2n, 3n]],
    // No majority: the first that differs.
    ["7", "7", ["8"], [2n]],
    ["7", "7", ["8", "9"], [2n]],
    ["7", "7", ["unreachable", "8"], [3n]],
    // Not at the same point, or no answer at all.
    ["7", "7", ["8@4", "unreachable"], []],
    ["7", "7", Object.keys(SILENT), []],
    // Ahead of the leader.
    ["7", "7", ["7", "7#11"], [3n]],
    ["7", "7", ["8@6", "7"], [2n]],
  ];
  for (const [first, second, peers, corrupt] of table) {
    const found = periodicFindings(LEADER, hashOf(first), hashOf(second), peersOf(peers));
    assert.deepEqual(found, corrupt, `${first} ${second} ${peers.join()}`);
  }
});

// covers: ST-06, ST-07, ST-08
test("compaction hashes: the same, different with the members outside the majority, or not known", () => {
  const different = (...corrupt: bigint[]) => ({ kind: "different", corrupt });
  const table: [peers: string[], verdict: ReturnType<typeof compactHashVerdict>][] = [
    [["7", "7"], { kind: "same" }],
    [["7", "unreachable"], { kind: "unknown" }],
    [["7", "7@4"], { kind: "unknown" }],
    [["8@4", "8@6"], { kind: "unknown" }],
    [Object.keys(SILENT), { kind: "unknown" }],
    [["7", "8"], different(3n) as never],
    [["8", "8"], different(LEADER) as never],
    [["8", "9", "7", "7"], different(2n, 3n) as never],
    // Nobody has a majority: nobody knows who.
    [["8"], different(0n) as never],
    [["8", "9"], different(0n) as never],
    [["8", "unreachable"], different(0n) as never],
    [["7", "8", "8", "unreachable"], different(0n) as never],
  ];
  for (const [peers, verdict] of table) {
    assert.deepEqual(compactHashVerdict(LEADER, hashOf("7"), peersOf(peers)), verdict, peers.join());
  }
});
