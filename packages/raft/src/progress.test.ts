/** covers: RA-15, RA-17 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Inflights } from "./inflights.ts";
import { Progress, ProgressState } from "./progress.ts";
import { SeededRandom } from "./testing/seeded-random.ts";
import type { Index } from "./types.ts";

function at(index: number): Index {
  return index as Index;
}

function progress(match: number, next: number): Progress {
  const place = { match: at(match), next: at(next), isLearner: false, recentActive: true };
  return new Progress(2n, place, new Inflights(2, 0));
}

test("replicating sends ahead until the window is full, and an acknowledgement opens it", () => {
  const p = progress(5, 6);
  p.becomeReplicate();
  p.sentEntries(1, 10);
  assert.equal(p.isPaused(), false);
  p.sentEntries(2, 10);
  assert.equal(p.toString(), "StateReplicate match=5 next=9 paused inflight=2[full]");
  assert.equal(p.maybeUpdate(at(6)), true);
  p.inflights.freeUpTo(at(6));
  assert.equal(p.toString(), "StateReplicate match=6 next=9 inflight=1");
});

test("an acknowledgement that is no news changes nothing", () => {
  const p = progress(5, 6);
  assert.equal(p.maybeUpdate(at(5)), false);
  assert.equal(p.maybeUpdate(at(3)), false);
  assert.equal(p.toString(), "StateProbe match=5 next=6");
});

test("a stale refusal is ignored, in either state", () => {
  const replicating = progress(5, 6);
  replicating.becomeReplicate();
  replicating.sentEntries(3, 0);
  assert.equal(replicating.maybeDecrease(at(5), at(2)), false);
  assert.equal(replicating.maybeDecrease(at(8), at(2)), true);
  assert.equal(replicating.next, 6);

  const probing = progress(0, 10);
  assert.equal(probing.maybeDecrease(at(8), at(2)), false);
  assert.equal(probing.maybeDecrease(at(9), at(2)), true);
  assert.equal(probing.next, 3);
});

test("a refusal never moves next to or below match, whatever the hint", () => {
  const p = progress(5, 7);
  assert.equal(p.maybeDecrease(at(6), at(0)), true);
  assert.equal(p.next, 6);
});

test("a probe that is out pauses, an empty message does not", () => {
  const p = progress(0, 3);
  p.sentEntries(0, 0);
  assert.equal(p.isPaused(), false);
  p.sentEntries(1, 1);
  assert.equal(p.isPaused(), true);
});

test("probing after a snapshot starts behind it, unless it failed", () => {
  const delivered = progress(0, 3);
  delivered.becomeSnapshot(at(9));
  assert.equal(delivered.isPaused(), true);
  delivered.becomeProbe();
  assert.equal(delivered.next, 10);

  const failed = progress(0, 3);
  failed.becomeSnapshot(at(9));
  failed.pendingSnapshot = at(0);
  failed.becomeProbe();
  assert.equal(failed.next, 1);
});

test("a change of state forgets what was under way, bytes included", () => {
  const p = new Progress(
    2n,
    { match: at(0), next: at(1), isLearner: false, recentActive: true },
    new Inflights(10, 100),
  );
  p.becomeReplicate();
  p.sentEntries(1, 100);
  assert.equal(p.isPaused(), true);
  p.becomeProbe();
  p.becomeReplicate();
  assert.equal(p.inflights.isFull(), false);
  p.sentEntries(1, 99);
  assert.equal(p.isPaused(), false);
});

test("the commit index known to be in flight stays below next, so that it can be sent again", () => {
  const p = progress(5, 6);
  p.becomeReplicate();
  p.sentEntries(3, 0);
  p.sentCommit = at(8);
  assert.equal(p.canBumpCommit(at(20)), false);
  p.becomeProbe();
  p.becomeReplicate();
  p.sentEntries(3, 0);
  assert.equal(p.canBumpCommit(at(8)), true);
});

test("match stays below next through any sequence of events", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new SeededRandom(seed);
    const p = progress(0, 1 + random.below(10));
    for (let step = 0; step < 200; step++) {
      const index = at(random.below(30));
      const choice = random.below(7);
      if (choice === 0) p.becomeProbe();
      else if (choice === 1) p.becomeReplicate();
      else if (choice === 2) p.becomeSnapshot(at(Math.max(index, p.match)));
      else if (choice === 3) p.maybeUpdate(index);
      else if (choice === 4) p.maybeDecrease(index, at(random.below(30)));
      else if (choice === 5 && p.state !== ProgressState.Snapshot && !p.inflights.isFull()) p.sentEntries(1, 1);
      else p.inflights.freeUpTo(index);
      assert.ok(p.match < p.next, `seed ${seed}: ${p}`);
    }
  }
});
