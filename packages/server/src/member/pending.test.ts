import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "@quorate/wal/testing";
import { Outcome } from "./outcome.ts";
import { Pending, PendingProposals, type ProposalHandler } from "./pending.ts";
import { RequestIds } from "./request-ids.ts";

class Heard implements ProposalHandler {
  readonly failures: string[] = [];
  applied(): void {}
  failed(pending: Pending, error: string): void {
    this.failures.push(`${pending.idLow} ${error}`);
  }
}

function pendingOf(id: number, startedMs: number, sizeBytes: number, handler: ProposalHandler): Pending {
  const pending = new Pending(id, handler, null, startedMs, null);
  pending.data = new Uint8Array(sizeBytes);
  return pending;
}

test("each proposal is taken once, and one that nobody added never", () => {
  const pendings = new PendingProposals();
  const one = pendingOf(1000, 0, 5, new Heard());
  pendings.add(one);
  assert.equal(pendings.take(1001), undefined);
  // The same place in the ring.
  assert.equal(pendings.take(1000 + 1024), undefined);
  assert.equal(pendings.take(1000), one);
  assert.equal(pendings.take(1000), undefined);
  assert.deepEqual([pendings.count, pendings.sizeBytes], [0, 0]);
});

// covers: RA-19, QU-04
test("whatever comes and goes in whatever order, a Map says the same", () => {
  for (let seed = 0; seed < 30; seed++) {
    const random = new SeededRandom(seed);
    const handler = new Heard();
    const pendings = new PendingProposals();
    const twin = new Map<number, Pending>();
    let id = random.below(2 ** 31) * 1000;
    let nowMs = 0;
    for (let step = 0; step < 6000; step++) {
      const choice = random.below(100);
      if (choice < 55) {
        id += 1 + random.below(3);
        const pending = pendingOf(id, nowMs, random.below(100), handler);
        pendings.add(pending);
        twin.set(id, pending);
      } else if (choice < 98) {
        const wanted = id - random.below(step % 2000 < 1000 ? 10 : 4000);
        assert.equal(pendings.take(wanted), twin.get(wanted));
        twin.delete(wanted);
      } else if (choice === 98) {
        nowMs += random.below(50);
      } else if (random.below(4) === 0) {
        const before = nowMs - 300;
        const late = [...twin.values()].filter((each) => each.startedMs < before);
        handler.failures.length = 0;
        assert.equal(
          pendings.expire(before, () => "Timeout"),
          late.length,
        );
        assert.deepEqual(
          handler.failures,
          late.map((each) => `${each.idLow} Timeout`),
        );
        for (const each of late) {
          assert.equal(each.isAbandoned, true);
          twin.delete(each.idLow);
        }
      }
      assert.equal(pendings.count, twin.size);
    }
    let sizeBytes = 0;
    for (const each of twin.values()) sizeBytes += each.data.length;
    assert.equal(pendings.sizeBytes, sizeBytes);
    pendings.failAll("Stopped");
    assert.deepEqual([pendings.count, pendings.sizeBytes], [0, 0]);
  }
});

test("a proposal made while others are failed waits for its own end", () => {
  const pendings = new PendingProposals();
  const handler: ProposalHandler = {
    applied: () => {},
    failed: () => pendings.add(pendingOf(2000, 500, 0, handler)),
  };
  pendings.add(pendingOf(1000, 0, 0, handler));
  assert.equal(
    pendings.expire(100, () => "Timeout"),
    1,
  );
  assert.equal(pendings.count, 1);
  assert.notEqual(pendings.take(2000), undefined);
});

test("request ids ascend, never repeat, tell members apart, and go on above those of a life before", () => {
  const first = new RequestIds(0xabcd_0000_0000_1234n, 1_700_000_000_000);
  assert.equal(first.high, 0x1234);
  let last = 0;
  for (let i = 0; i < 1000; i++) {
    const id = first.next();
    assert.ok(id > last && id < 2 ** 48);
    last = id;
  }
  // 1000 ids in 4 ms are as many as a life may use and still be restarted at once.
  const second = new RequestIds(0xabcd_0000_0000_1234n, 1_700_000_000_004);
  assert.ok(second.next() > last);
});

// covers: LE-09
test("a lease id that the server chooses is a positive int64", () => {
  for (const memberId of [0n, 1n, 0xffffn, 0x8000n, 2n ** 64n - 1n]) {
    const id = new RequestIds(memberId, 1_700_000_000_000).nextLeaseId();
    assert.ok(id > 0n && id < 2n ** 63n);
  }
});

test("an outcome keeps nothing of the entry before", () => {
  const outcome = new Outcome();
  const fresh = JSON.stringify({ ...new Outcome(), leaseId: "0" });
  outcome.error = "Compacted";
  outcome.revision = 5;
  outcome.leaseId = 3n;
  outcome.leaseTtlSeconds = 4;
  outcome.alarms = [{ memberId: 1n, alarm: 1 }];
  outcome.reset();
  assert.equal(JSON.stringify({ ...outcome, leaseId: outcome.leaseId.toString() }), fresh);
});
