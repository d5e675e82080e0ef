import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "@quorate/world";
import { LeaseExistsError, LeaseNotFoundError, LeaseTtlTooLargeError, Lessor, Renewal } from "./index.ts";
import type { LessorOptions } from "./lessor.ts";

/** Only what it is told; asking it for the time of day fails the test (covers: LE-11). */
class FakeClock implements Clock {
  nowMs = 1000;
  monotonicMs(): number {
    return this.nowMs;
  }
  wallMs(): number {
    throw new Error("the wall clock must not be asked");
  }
}

class MapTable {
  readonly rows = new Map<string, Uint8Array>();
  put(key: Uint8Array, value: Uint8Array | null): void {
    const text = Buffer.from(key).toString("hex");
    if (value === null) this.rows.delete(text);
    else this.rows.set(text, value);
  }
  scan = (visit: (key: Uint8Array, value: Uint8Array) => void): void => {
    for (const [key, value] of [...this.rows].sort()) visit(Buffer.from(key, "hex"), value);
  };
}

function setUp(options: Partial<LessorOptions> = {}): { clock: FakeClock; table: MapTable; lessor: Lessor } {
  const clock = new FakeClock();
  const table = new MapTable();
  return { clock, table, lessor: new Lessor({ clock, table, minTtlSeconds: 2, ...options }) };
}

const bytes = (text: string): Uint8Array => Buffer.from(text);
const texts = (keys: readonly Uint8Array[]): string[] => keys.map((key) => Buffer.from(key).toString());

class Waiter {
  readonly heard: string[] = [];
  revoked(): void {
    this.heard.push("revoked");
  }
  demoted(): void {
    this.heard.push("demoted");
  }
}

test("a grant raises a TTL below the least one, zero and negatives included", () => {
  const { lessor } = setUp();
  assert.equal(lessor.grant(1n, 0), 2);
  assert.equal(lessor.grant(2n, -5), 2);
  assert.equal(lessor.grant(3n, 2), 2);
  assert.equal(lessor.grant(4n, 3), 3);
});

test("a grant checks id 0, then the TTL, then whether the id is taken", () => {
  const { lessor } = setUp();
  lessor.grant(7n, 10);
  assert.throws(() => lessor.grant(0n, 9_000_000_001), LeaseNotFoundError);
  assert.throws(() => lessor.grant(7n, 9_000_000_001), LeaseTtlTooLargeError);
  assert.throws(() => lessor.grant(7n, 10), LeaseExistsError);
  assert.equal(lessor.count, 1);
  assert.deepEqual(
    [
      new LeaseNotFoundError("revoke", 1n).kind,
      new LeaseExistsError(1n).kind,
      new LeaseTtlTooLargeError(1n, 2, 1).kind,
    ],
    ["LeaseNotFound", "LeaseExists", "LeaseTtlTooLarge"],
  );
});

test("the largest TTL counts down and neither fires at once nor never", () => {
  // covers: LE-10
  const { clock, lessor } = setUp();
  lessor.promote(0);
  assert.equal(lessor.grant(1n, 9_000_000_000), 9_000_000_000);
  clock.nowMs += 2 ** 31;
  assert.deepEqual(lessor.expired(), []);
  clock.nowMs = 1000 + 9_000_000_000_000;
  assert.deepEqual(lessor.expired(), [1n]);
});

test("ids are all of int64, and negative ones survive a restart", () => {
  // covers: LE-09
  const { clock, table, lessor } = setUp();
  const ids = [1n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 0x123456789abcdefn];
  ids.forEach((id, index) => {
    lessor.grant(id, 10 + index);
  });
  assert.equal(Buffer.from(table.rows.get("ffffffffffffffff")!).toString("hex"), "08ffffffffffffffffff01100b");
  const again = new Lessor({ clock, table, minTtlSeconds: 2 });
  again.load(table.scan);
  assert.deepEqual(new Set(again.leases()), new Set(ids));
  ids.forEach((id, index) => {
    assert.equal(again.timeToLive(id)?.grantedTtlSeconds, 10 + index);
  });
});

test("a damaged lease record is refused with its key", () => {
  const { lessor } = setUp();
  const load = (key: string, value: string): void =>
    lessor.load((visit) => visit(Buffer.from(key, "hex"), Buffer.from(value, "hex")));
  assert.throws(() => load("01", "080110"), { kind: "LeaseRecordCorrupt" });
  assert.throws(() => load("0000000000000001", "08"), { kind: "LeaseRecordCorrupt" });
  assert.throws(() => load("0000000000000001", "0802100a"), { kind: "LeaseRecordCorrupt" });
  assert.throws(() => load("0000000000000000", ""), { kind: "LeaseRecordCorrupt" });
  load("0000000000000001", "0801100a4a0178"); // field 9 is not ours: a newer version's
  assert.equal(lessor.timeToLive(1n)?.grantedTtlSeconds, 10);
});

test("loading raises TTLs to the least one and forgets what the table does not hold", () => {
  const { clock, table, lessor } = setUp();
  lessor.grant(1n, 3);
  const stricter = new Lessor({ clock, table: new MapTable(), minTtlSeconds: 5 });
  stricter.grant(2n, 60);
  stricter.promote(0);
  stricter.load(table.scan);
  assert.deepEqual(stricter.leases(), [1n]);
  assert.equal(stricter.timeToLive(1n)?.grantedTtlSeconds, 5);
  assert.equal(stricter.isPrimary, false);
});

test("revoke returns the keys ascending bytewise and removes the record", () => {
  const { table, lessor } = setUp();
  lessor.grant(1n, 10);
  const keys = [
    Buffer.from([0xff]),
    Buffer.from("b"),
    Buffer.from("a\xff", "latin1"),
    Buffer.from("aa"),
    Buffer.from("é"),
  ];
  for (const key of keys) lessor.attach(1n, key);
  keys[1]!.fill(0); // the lessor's copy is its own
  const sorted = [
    Buffer.from("a\xff", "latin1"),
    Buffer.from("aa"),
    Buffer.from("b"),
    Buffer.from("é"),
    Buffer.from([0xff]),
  ];
  sorted.sort(Buffer.compare);
  assert.deepEqual(lessor.revoke(1n), sorted);
  assert.equal(table.rows.size, 0);
  assert.equal(lessor.exists(1n), false);
  lessor.detach(1n, bytes("b")); // as the deletions that follow will
  assert.throws(() => lessor.revoke(1n), LeaseNotFoundError);
});

test("attach and detach are idempotent and ignore unknown leases", () => {
  // covers: LE-14
  const { lessor } = setUp();
  lessor.attach(9n, bytes("a"));
  lessor.grant(9n, 10);
  assert.deepEqual(lessor.keys(9n), []);
  lessor.attach(9n, bytes("a"));
  lessor.attach(9n, bytes("a"));
  assert.deepEqual(texts(lessor.keys(9n)), ["a"]);
  lessor.detach(9n, bytes("z"));
  lessor.attach(9n, bytes("b"));
  lessor.detach(9n, bytes("z"));
  lessor.detach(9n, bytes("a"));
  const borrowed = lessor.keys(9n);
  borrowed[0]!.fill(0);
  assert.deepEqual(texts(lessor.keys(9n)), ["b"]);
  lessor.detach(9n, bytes("b"));
  lessor.detach(9n, bytes("b"));
  assert.deepEqual(lessor.keys(9n), []);
  assert.deepEqual(lessor.keys(1n), []);
});

test("every key of a lease is shown, long ones and all bytes too, until one does not hold", () => {
  const { lessor } = setUp();
  assert.ok(lessor.everyKey(9n, () => assert.fail("an unknown lease has no keys")));
  lessor.grant(9n, 10);
  const keys = [bytes("a"), Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)), Buffer.alloc(5000, 0xff)];
  for (const key of keys) {
    lessor.attach(9n, key);
    const count = keys.indexOf(key) + 1;
    const shown: Buffer[] = [];
    assert.ok(lessor.everyKey(9n, (buffer, length) => shown.push(Buffer.from(buffer.subarray(0, length))) > 0));
    assert.deepEqual(new Set(shown.map(String)), new Set(keys.slice(0, count).map(String)));
  }
  let asked = 0;
  assert.ok(!lessor.everyKey(9n, () => ++asked < 2));
  assert.equal(asked, 2);
});

test("a lease expires at its TTL and not a moment before", () => {
  const { clock, lessor } = setUp();
  lessor.promote(0);
  lessor.grant(1n, 10);
  clock.nowMs += 9_999;
  assert.deepEqual(lessor.expired(), []);
  assert.equal(lessor.isOverdue(1n), false);
  clock.nowMs += 1;
  assert.equal(lessor.isOverdue(1n), true);
  assert.deepEqual(lessor.expired(), [1n]);
});

test("a stopped clock expires nothing", () => {
  // covers: LE-11
  const { lessor } = setUp();
  lessor.promote(0);
  lessor.grant(1n, 2);
  for (let round = 0; round < 100; round++) assert.deepEqual(lessor.expired(), []);
  assert.equal(lessor.renew(1n), 2);
});

test("a member that does not lead expires, renews and checkpoints nothing", () => {
  // covers: LE-06, LE-15
  const { clock, lessor } = setUp({ checkpointIntervalMs: 1000 });
  lessor.grant(1n, 10);
  clock.nowMs += 1e9;
  assert.deepEqual(lessor.expired(), []);
  assert.deepEqual(lessor.dueCheckpoints(), []);
  assert.equal(lessor.isOverdue(1n), false);
  assert.equal(lessor.renew(1n), Renewal.NotPrimary);
  assert.equal(lessor.renew(2n), Renewal.NotPrimary);
  assert.equal(lessor.awaitRevoke(1n, new Waiter()), false);
  assert.deepEqual(lessor.timeToLive(1n), { id: 1n, grantedTtlSeconds: 10, remainingSeconds: null });
});

test("a renewal starts the TTL over, however often and whatever the heap still says", () => {
  const { clock, lessor } = setUp();
  lessor.promote(0);
  lessor.grant(1n, 10);
  for (let round = 0; round < 5; round++) {
    clock.nowMs += 9999;
    assert.deepEqual(lessor.expired(), []);
    assert.equal(lessor.renew(1n), 10);
    if (round % 2 === 0) assert.equal(lessor.renew(1n), 10);
  }
  clock.nowMs += 9999;
  assert.deepEqual(lessor.expired(), []);
  clock.nowMs += 1;
  assert.deepEqual(lessor.expired(), [1n]);
});

test("renewing an unknown lease says not found, which is TTL 0 on the wire", () => {
  // covers: LE-03
  const { lessor } = setUp();
  lessor.promote(0);
  assert.equal(lessor.renew(1n), 0);
  lessor.grant(1n, 10);
  lessor.revoke(1n);
  assert.equal(lessor.renew(1n), Renewal.NotFound);
});

test("an overdue lease cannot be renewed; who tries waits for its revoke or the demotion", () => {
  const { clock, lessor } = setUp();
  lessor.promote(0);
  lessor.grant(1n, 10);
  lessor.grant(2n, 10);
  clock.nowMs += 10_000;
  assert.equal(lessor.renew(1n), Renewal.Overdue);
  const revoked = new Waiter();
  const demoted = new Waiter();
  const gone = new Waiter();
  assert.equal(lessor.awaitRevoke(1n, revoked), true);
  assert.equal(lessor.awaitRevoke(2n, gone), true);
  assert.equal(lessor.awaitRevoke(2n, demoted), true);
  lessor.forgetWaiter(2n, gone);
  lessor.forgetWaiter(2n, gone);
  lessor.forgetWaiter(3n, gone);
  lessor.revoke(1n);
  assert.deepEqual([revoked.heard, demoted.heard], [["revoked"], []]);
  lessor.demote();
  assert.deepEqual([revoked.heard, demoted.heard, gone.heard], [["revoked"], ["demoted"], []]);
  assert.equal(lessor.awaitRevoke(1n, new Waiter()), false);
});

test("an overdue lease that is still here is handed out again after the retry interval, until it is gone", () => {
  // covers: LE-07
  const { clock, lessor } = setUp({ expiryRetryMs: 5000 });
  lessor.promote(0);
  lessor.grant(1n, 10);
  clock.nowMs += 10_000;
  for (let round = 0; round < 20; round++) {
    assert.deepEqual(lessor.expired(), [1n]);
    clock.nowMs += 4999;
    assert.deepEqual(lessor.expired(), []);
    clock.nowMs += 1;
  }
  lessor.revoke(1n);
  clock.nowMs += 5000;
  assert.deepEqual(lessor.expired(), []);
});

test("at most 500 leases are handed out a call, earliest first, and none twice", () => {
  // covers: LE-12
  const { clock, lessor } = setUp();
  lessor.promote(0);
  for (let id = 1; id <= 1200; id++) lessor.grant(BigInt(id), 2 + ((id * 7919) % 1200));
  clock.nowMs += 1e7;
  const handedOut = [lessor.expired(1e9), lessor.expired(), lessor.expired(100), lessor.expired(), lessor.expired()];
  assert.deepEqual(
    handedOut.map((ids) => ids.length),
    [500, 500, 100, 100, 0],
  );
  const ttls = handedOut.flat().map((id) => lessor.timeToLive(id)!.grantedTtlSeconds);
  assert.deepEqual(
    ttls,
    [...ttls].sort((a, b) => a - b),
  );
  assert.equal(new Set(handedOut.flat()).size, 1200);
});

test("promotion gives every lease its full TTL plus the extension", () => {
  const { clock, lessor } = setUp();
  lessor.grant(1n, 10);
  clock.nowMs += 1e6;
  lessor.promote(3000);
  assert.equal(lessor.timeToLive(1n)?.remainingSeconds, 13);
  clock.nowMs += 12_999;
  assert.deepEqual(lessor.expired(), []);
  clock.nowMs += 1;
  assert.deepEqual(lessor.expired(), [1n]);
});

test("a renewal right after a promotion takes the extension back", () => {
  const { clock, lessor } = setUp();
  lessor.grant(1n, 10);
  lessor.promote(60_000);
  assert.equal(lessor.renew(1n), 10);
  clock.nowMs += 10_000;
  assert.deepEqual(lessor.expired(), [1n]);
});

test("promotion spreads a thousand leases so that about 750 a second fall due, none early", () => {
  // covers: LE-12
  const { clock, lessor } = setUp();
  const count = 3000;
  for (let id = 1; id <= count; id++) lessor.grant(BigInt(id), id % 2 === 0 ? 10 : 60);
  lessor.promote(0);
  const startMs = clock.nowMs;
  let total = 0;
  for (let tick = 1; tick <= 130; tick++) {
    clock.nowMs = startMs + tick * 500;
    const ids = lessor.expired();
    assert.ok(ids.length <= 376, `${ids.length} in half a second`);
    total += ids.length;
    for (const id of ids) {
      assert.ok(clock.nowMs - startMs >= (id % 2n === 0n ? 10_000 : 60_000));
      lessor.revoke(id);
    }
  }
  assert.equal(total, count);
});

test("promotion does not spread 999 leases", () => {
  const { clock, lessor } = setUp();
  for (let id = 1; id <= 999; id++) lessor.grant(BigInt(id), 10);
  lessor.promote(0);
  clock.nowMs += 10_000;
  assert.equal(lessor.expired().length + lessor.expired().length, 999);
});

test("after a thousand changes of leader only the last leadership's clock counts", () => {
  // covers: LE-15
  const { clock, lessor } = setUp();
  lessor.grant(1n, 10);
  for (let change = 0; change < 1000; change++) {
    lessor.promote(0);
    clock.nowMs += 9000;
    assert.deepEqual(lessor.expired(), []);
    lessor.demote();
    lessor.demote();
  }
  lessor.promote(0);
  clock.nowMs += 10_000;
  assert.deepEqual(lessor.expired(), [1n]);
});

test("time to live truncates toward zero, is 0 or less once overdue, and null for an unknown lease", () => {
  const { clock, lessor } = setUp();
  lessor.promote(0);
  lessor.grant(1n, 10);
  const seen: (number | null | undefined)[] = [];
  for (const afterMs of [0, 1, 9999, 10_000, 10_999, 11_000]) {
    clock.nowMs = 1000 + afterMs;
    seen.push(lessor.timeToLive(1n)?.remainingSeconds);
  }
  assert.deepEqual(seen, [10, 9, 0, 0, 0, -1]);
  assert.equal(lessor.timeToLive(2n), null);
});

test("the leader lists leases by remaining time", () => {
  const { lessor } = setUp();
  lessor.promote(0);
  lessor.grant(1n, 30);
  lessor.grant(2n, 10);
  lessor.grant(-3n, 20);
  lessor.grant(-4n, 20);
  assert.deepEqual(lessor.leases(), [2n, -4n, -3n, 1n]);
});

test("a checkpoint carries the remaining TTL to the next leader, and over a restart if persisted", () => {
  // covers: LE-05
  const { clock, table, lessor } = setUp({ checkpointIntervalMs: 300_000 });
  lessor.promote(0);
  lessor.grant(1n, 3600);
  lessor.grant(2n, 300); // not longer than the interval: never checkpointed
  clock.nowMs += 299_999;
  assert.deepEqual(lessor.dueCheckpoints(), []);
  clock.nowMs += 2;
  assert.deepEqual(lessor.dueCheckpoints(), [{ id: 1n, remainingTtlSeconds: 3300 }]);
  lessor.checkpoint(1n, 3300, true);
  lessor.checkpoint(99n, 5, true);
  lessor.demote();
  lessor.promote(1000);
  assert.equal(lessor.timeToLive(1n)?.remainingSeconds, 3301);

  const restarted = new Lessor({ clock, table, minTtlSeconds: 2 });
  restarted.load(table.scan);
  restarted.promote(0);
  assert.equal(restarted.timeToLive(1n)?.remainingSeconds, 3300);
  assert.equal(restarted.timeToLive(1n)?.grantedTtlSeconds, 3600);
});

test("a checkpoint that is not to be persisted leaves the table as it was", () => {
  const { clock, table, lessor } = setUp();
  lessor.grant(1n, 3600);
  lessor.checkpoint(1n, 100, false);
  const restarted = new Lessor({ clock, table, minTtlSeconds: 2 });
  restarted.load(table.scan);
  restarted.promote(0);
  lessor.promote(0);
  assert.equal(lessor.timeToLive(1n)?.remainingSeconds, 100);
  assert.equal(restarted.timeToLive(1n)?.remainingSeconds, 3600);
});

test("a renewal asks for the checkpoint to be cleared first, and then gets the full TTL", () => {
  const { lessor } = setUp({ checkpointIntervalMs: 300_000 });
  lessor.grant(1n, 3600);
  lessor.checkpoint(1n, 400, true);
  lessor.promote(0);
  assert.equal(lessor.renew(1n), Renewal.CheckpointFirst);
  lessor.checkpoint(1n, 0, true);
  assert.equal(lessor.renew(1n), 3600);
  assert.equal(lessor.timeToLive(1n)?.remainingSeconds, 3600);
});

test("without checkpointing a renewal ignores an old checkpoint and gets what it is told it gets", () => {
  const { lessor } = setUp();
  lessor.grant(1n, 3600);
  lessor.checkpoint(1n, 400, true);
  lessor.promote(0);
  assert.equal(lessor.timeToLive(1n)?.remainingSeconds, 400);
  assert.equal(lessor.renew(1n), 3600);
  assert.equal(lessor.timeToLive(1n)?.remainingSeconds, 3600);
});

test("checkpoints go on after a change of leader, a lost proposal and a renewal, and skip what needs none", () => {
  // covers: LE-06
  const { clock, lessor } = setUp({ checkpointIntervalMs: 300_000 });
  lessor.grant(1n, 1000);
  lessor.promote(0);
  lessor.demote();
  lessor.promote(0);
  clock.nowMs += 300_000;
  assert.equal(lessor.dueCheckpoints().length, 1); // the proposal is lost
  clock.nowMs += 300_000;
  assert.equal(lessor.renew(1n), 1000);
  assert.deepEqual(lessor.dueCheckpoints(), []); // just renewed
  clock.nowMs += 300_000;
  assert.deepEqual(lessor.dueCheckpoints(), [{ id: 1n, remainingTtlSeconds: 700 }]);
  clock.nowMs += 700_000;
  assert.deepEqual(lessor.dueCheckpoints(), []); // overdue
  lessor.revoke(1n);
  clock.nowMs += 300_000;
  assert.deepEqual(lessor.dueCheckpoints(), []);
});

test("at most a thousand checkpoints are handed out a call", () => {
  const { clock, lessor } = setUp({ checkpointIntervalMs: 300_000 });
  lessor.promote(0);
  for (let id = 1; id <= 1500; id++) lessor.grant(BigInt(id), 1000);
  clock.nowMs += 300_000;
  assert.deepEqual([lessor.dueCheckpoints().length, lessor.dueCheckpoints().length], [1000, 500]);
});
