/** A leader whose clock may stand still, and rounds of reads that the test answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Role } from "@quorate/raft";
import { LeaderCertainty } from "./leader-certainty.ts";
import type { ReadWaiter } from "./read-rounds.ts";

const HEARTBEAT_MS = 100;

class Leader {
  nowMs = 1000;
  lastTickMs = 1000;
  role: Role = Role.Leader;
  /** Under way. */
  readonly rounds: ReadWaiter[] = [];
  readonly certainty: LeaderCertainty;

  constructor() {
    const clock = { monotonicMs: () => this.nowMs, wallMs: () => this.nowMs };
    this.certainty = new LeaderCertainty(this, { clock, heartbeatMs: HEARTBEAT_MS });
  }

  read(waiter: ReadWaiter): void {
    this.rounds.push(waiter);
  }

  /** As the member does: doubt first, then raft's clock goes on. */
  tickAfter(ms: number): void {
    this.nowMs += ms;
    this.certainty.tick();
    this.lastTickMs = this.nowMs;
  }

  /** What `confirm` said by now. */
  asked(): boolean[] {
    const heard: boolean[] = [];
    this.certainty.confirm((isLeader) => heard.push(isLeader));
    return heard;
  }
}

test("a leader whose clock ticks is believed at once, one that leads no more is not", () => {
  const leader = new Leader();
  for (let i = 0; i < 10; i++) leader.tickAfter(HEARTBEAT_MS);
  assert.deepEqual(leader.asked(), [true]);
  leader.role = Role.Follower;
  assert.deepEqual(leader.asked(), [false]);
  assert.equal(leader.rounds.length, 0);
});

// covers: LE-01, LE-02
test("after a pause ticks alone restore nothing, a round of reads does", () => {
  const leader = new Leader();
  leader.nowMs += 3 * HEARTBEAT_MS + 1;
  assert.equal(leader.certainty.leadsBeyondDoubt, false);
  leader.tickAfter(0);
  leader.tickAfter(HEARTBEAT_MS);
  assert.equal(leader.certainty.leadsBeyondDoubt, false);
  assert.equal(leader.rounds.length, 1, "one round at a time");
  const heard = leader.asked();
  assert.deepEqual(heard, [], "who asks meanwhile waits for a round that began later");
  leader.rounds.shift()!.readReady();
  assert.equal(leader.certainty.leadsBeyondDoubt, true);
  leader.rounds.shift()!.readReady();
  assert.deepEqual(heard, [true]);
});

test("a round that fails leaves the doubt, and the next tick begins another", () => {
  const leader = new Leader();
  leader.tickAfter(10 * HEARTBEAT_MS);
  leader.rounds.shift()!.readFailed("Timeout");
  assert.equal(leader.certainty.leadsBeyondDoubt, false);
  leader.tickAfter(HEARTBEAT_MS);
  assert.equal(leader.rounds.length, 1);
});

test("the doubt ends with the leadership, and a pause in the next one raises it anew though a round is under way", () => {
  const leader = new Leader();
  leader.tickAfter(10 * HEARTBEAT_MS);
  leader.role = Role.Follower;
  leader.certainty.deposed();
  leader.role = Role.Leader;
  assert.equal(leader.certainty.leadsBeyondDoubt, true);
  leader.tickAfter(10 * HEARTBEAT_MS);
  assert.equal(leader.certainty.leadsBeyondDoubt, false);
  leader.rounds.shift()!.readFailed("LeaderChanged");
  assert.equal(leader.certainty.leadsBeyondDoubt, false);
});
