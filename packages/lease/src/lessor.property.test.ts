/** The lessor against a naive twin that keeps plain objects and looks at all of them every time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LeaseExistsError, LeaseNotFoundError, LeaseTtlTooLargeError, Lessor, Renewal } from "./index.ts";

const MIN_TTL_SECONDS = 2;
const RETRY_MS = 3000;

interface NaiveLease {
  ttl: number;
  remaining: number;
  /** Persisted remaining TTL. */
  saved: number;
  expiryMs: number;
  /** Not handed out again before this. */
  quietUntilMs: number;
  keys: Set<string>;
}

class NaiveLessor {
  leases = new Map<bigint, NaiveLease>();
  isPrimary = false;
  nowMs = 0;

  grant(id: bigint, ttl: number): string | number {
    if (id === 0n) return "LeaseNotFound";
    if (ttl > 9e9) return "LeaseTtlTooLarge";
    if (this.leases.has(id)) return "LeaseExists";
    const effective = Math.max(ttl, MIN_TTL_SECONDS);
    const expiryMs = this.isPrimary ? this.nowMs + effective * 1000 : Infinity;
    this.leases.set(id, { ttl: effective, remaining: 0, saved: 0, expiryMs, quietUntilMs: 0, keys: new Set() });
    return effective;
  }

  renew(id: bigint): number {
    const lease = this.leases.get(id);
    if (!this.isPrimary) return Renewal.NotPrimary;
    if (lease === undefined) return 0;
    if (lease.expiryMs <= this.nowMs) return Renewal.Overdue;
    lease.expiryMs = this.nowMs + lease.ttl * 1000;
    return lease.ttl;
  }

  overdue(): { id: bigint; expiryMs: number }[] {
    return [...this.leases]
      .filter(([, lease]) => lease.expiryMs <= this.nowMs && lease.quietUntilMs <= this.nowMs)
      .map(([id, lease]) => ({ id, expiryMs: lease.expiryMs }));
  }
}

const id = fc.bigInt({ min: -4n, max: 5n });
const key = fc.constantFrom("a", "b", "aa", "\xff", "\x00");
const step = fc.oneof(
  fc.record({
    do: fc.constant("grant" as const),
    id,
    ttl: fc.oneof(fc.integer({ min: -3, max: 12 }), fc.constant(9e9 + 1)),
  }),
  fc.record({ do: fc.constant("revoke" as const), id }),
  fc.record({ do: fc.constant("attach" as const), id, key }),
  fc.record({ do: fc.constant("detach" as const), id, key }),
  fc.record({
    do: fc.constant("checkpoint" as const),
    id,
    remaining: fc.integer({ min: 0, max: 9 }),
    persist: fc.boolean(),
  }),
  fc.record({ do: fc.constant("promote" as const), extendMs: fc.constantFrom(0, 1000, 5000) }),
  fc.record({ do: fc.constant("demote" as const) }),
  fc.record({ do: fc.constant("restart" as const) }),
  fc.record({ do: fc.constant("renew" as const), id }),
  fc.record({ do: fc.constant("expired" as const), limit: fc.integer({ min: 0, max: 4 }) }),
  fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 6000 }) }),
);

test("every history of leases reads as the naive twin's", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const rows = new Map<string, Uint8Array>();
      const clock = { nowMs: 0, monotonicMs: () => clock.nowMs, wallMs: () => 0 };
      const options = {
        clock,
        table: {
          put(key: Uint8Array, value: Uint8Array | null): void {
            if (value === null) rows.delete(Buffer.from(key).toString("hex"));
            else rows.set(Buffer.from(key).toString("hex"), value);
          },
        },
        minTtlSeconds: MIN_TTL_SECONDS,
        expiryRetryMs: RETRY_MS,
      };
      let lessor = new Lessor(options);
      const naive = new NaiveLessor();
      for (const each of steps) {
        switch (each.do) {
          case "grant":
            assert.equal(
              outcome(() => lessor.grant(each.id, each.ttl)),
              naive.grant(each.id, each.ttl),
            );
            break;
          case "revoke": {
            const lease = naive.leases.get(each.id);
            const expected = lease === undefined ? "LeaseNotFound" : [...lease.keys].sort();
            naive.leases.delete(each.id);
            const revoked = outcome(() => lessor.revoke(each.id));
            assert.deepEqual(Array.isArray(revoked) ? revoked.map(latin1) : revoked, expected);
            break;
          }
          case "attach":
            lessor.attach(each.id, Buffer.from(each.key, "latin1"));
            naive.leases.get(each.id)?.keys.add(each.key);
            break;
          case "detach":
            lessor.detach(each.id, Buffer.from(each.key, "latin1"));
            naive.leases.get(each.id)?.keys.delete(each.key);
            break;
          case "checkpoint": {
            lessor.checkpoint(each.id, each.remaining, each.persist);
            const lease = naive.leases.get(each.id);
            if (lease !== undefined) {
              lease.remaining = each.remaining;
              if (each.persist) lease.saved = each.remaining;
            }
            break;
          }
          case "promote":
            if (naive.isPrimary) break;
            naive.isPrimary = true;
            for (const lease of naive.leases.values()) {
              const seconds = lease.remaining > 0 ? lease.remaining : lease.ttl;
              lease.expiryMs = naive.nowMs + each.extendMs + seconds * 1000;
              lease.quietUntilMs = 0;
            }
            lessor.promote(each.extendMs);
            break;
          case "demote":
            naive.isPrimary = false;
            for (const lease of naive.leases.values()) lease.expiryMs = Infinity;
            lessor.demote();
            break;
          case "restart":
            naive.isPrimary = false;
            for (const lease of naive.leases.values()) {
              lease.remaining = lease.saved;
              lease.expiryMs = Infinity;
              lease.keys.clear();
            }
            lessor = new Lessor(options);
            lessor.load((visit) => {
              for (const [key, value] of rows) visit(Buffer.from(key, "hex"), value);
            });
            break;
          case "renew":
            assert.equal(lessor.renew(each.id), naive.renew(each.id));
            break;
          case "expired": {
            const candidates = naive.overdue();
            const ids = lessor.expired(each.limit);
            assert.equal(ids.length, Math.min(each.limit, candidates.length));
            for (const handedOut of ids) {
              assert.ok(candidates.some((candidate) => candidate.id === handedOut));
              naive.leases.get(handedOut)!.quietUntilMs = naive.nowMs + RETRY_MS;
            }
            break;
          }
          case "pass":
            naive.nowMs += each.ms;
            clock.nowMs += each.ms;
            break;
        }
        assert.equal(rows.size, naive.leases.size);
        assert.equal(lessor.count, naive.leases.size);
        for (const [leaseId, lease] of naive.leases) {
          assert.deepEqual(lessor.keys(leaseId).map(latin1), [...lease.keys].sort());
          assert.deepEqual(visited(lessor, leaseId).sort(), [...lease.keys].sort());
          assert.equal(lessor.isOverdue(leaseId), lease.expiryMs <= naive.nowMs);
        }
      }
    }),
    { numRuns: 400, seed: 6 },
  );
});

function outcome<Result>(run: () => Result): Result | string {
  try {
    return run();
  } catch (error) {
    const isExpected =
      error instanceof LeaseNotFoundError ||
      error instanceof LeaseExistsError ||
      error instanceof LeaseTtlTooLargeError;
    assert.ok(isExpected, String(error));
    return error.kind;
  }
}

function visited(lessor: Lessor, id: bigint): string[] {
  const keys: string[] = [];
  const isAll = lessor.everyKey(id, (buffer, length) => keys.push(latin1(buffer.subarray(0, length))) > 0);
  assert.ok(isAll);
  return keys;
}

function latin1(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}
