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
