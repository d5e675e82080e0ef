import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualWorld } from "../testing/manual-world.ts";
import { Leadership } from "./leadership.ts";

function make(): { world: ManualWorld; leadership: Leadership; asked: bigint[]; heard: string[] } {
  const world = new ManualWorld();
  const asked: bigint[] = [];
  const leadership = new Leadership(
    { transferLeadership: (to) => asked.push(to) },
    { clock: world, heartbeatMs: 100, electionTicks: 10 },
  );
  return { world, leadership, asked, heard: [] };
}

// covers: RA-22
test("a transfer ends when the target leads, and not before", () => {
  const { leadership, asked, heard } = make();
  leadership.changed(1n, true);
  leadership.transfer(2n, 1000, (error) => heard.push(error?.kind ?? "done"));
  leadership.changed(0n, false);
  leadership.tick();
  assert.deepEqual([asked, heard], [[2n], []]);
  leadership.changed(2n, false);
  assert.deepEqual(heard, ["done"]);
});

test("a transfer that takes too long is given up", () => {
  const { world, leadership, heard } = make();
  leadership.changed(1n, true);
  leadership.transfer(2n, 1000, (error) => heard.push(error?.kind ?? "done"));
  world.nowMs += 999;
  leadership.tick();
  assert.deepEqual(heard, []);
  world.nowMs += 1;
  leadership.tick();
  assert.deepEqual(heard, ["TransferFailed"]);
});

test("times without a leader, and of our own elections, are remembered", () => {
  const { world, leadership } = make();
  assert.equal(leadership.leaderlessSinceMs, world.nowMs);
  leadership.changed(2n, false);
  assert.equal(leadership.leaderlessSinceMs, null);
  assert.equal(leadership.lastElectedMs, null);
  world.nowMs += 50;
  leadership.changed(0n, false);
  world.nowMs += 50;
  leadership.changed(0n, false);
  assert.equal(leadership.leaderlessSinceMs, world.nowMs - 50);
  leadership.changed(1n, true);
  assert.equal(leadership.lastElectedMs, world.nowMs);
});

test("a proposal that ran out of time is told the likeliest reason", () => {
  const table: {
    name: string;
    leader: bigint;
    elections?: number;
    connected: Record<string, number>;
    reason: string;
  }[] = [
    { name: "no leader", leader: 0n, connected: {}, reason: "Timeout" },
    { name: "leader reached all the time", leader: 2n, connected: { 2: 4999 }, reason: "Timeout" },
    { name: "leader reached since it began", leader: 2n, connected: { 2: 5000 }, reason: "TimeoutConnectionLost" },
    { name: "leader not reached", leader: 2n, connected: { 3: 0 }, reason: "TimeoutConnectionLost" },
    { name: "we lead a quorum", leader: 1n, elections: 1000, connected: { 3: 0 }, reason: "Timeout" },
    { name: "we lead, cut off", leader: 1n, elections: 1000, connected: { 3: 5000 }, reason: "TimeoutConnectionLost" },
    { name: "we were elected meanwhile", leader: 1n, elections: 6999, connected: {}, reason: "TimeoutLeaderFailure" },
    { name: "... long after", leader: 1n, elections: 7000, connected: { 2: 0 }, reason: "Timeout" },
    { name: "... before", leader: 1n, elections: 5000, connected: { 2: 0 }, reason: "Timeout" },
    { name: "... and lost it again", leader: 2n, elections: 5001, connected: {}, reason: "TimeoutLeaderFailure" },
  ];
  for (const { name, leader, elections, connected, reason } of table) {
    const { world, leadership } = make();
    if (elections !== undefined) {
      world.nowMs = elections;
      leadership.changed(1n, true);
    }
    leadership.changed(leader, leader === 1n);
    const reach = {
      memberId: 1n,
      memberIds: [1n, 2n, 3n],
      activeSinceMs: (id: bigint) => connected[String(id)] ?? null,
    };
    assert.equal(leadership.timeoutOf(5000, reach), reason, name);
  }
});
