/**
 * What does a renewal cost with 100,000 leases? Prints nanoseconds and bytes.
 *
 *   node --expose-gc packages/lease/bench/renew.ts
 *
 * The budget is 300,000 renewals a second, 3.3 µs each, for all of a keep-alive. One 2-core machine, Node 24.21: 0.5 µs a
 * renewal, 330 bytes of heap a lease with one key.
 */
import { Lessor } from "../src/index.ts";

const LEASE_COUNT = 100_000;
const RENEWAL_COUNT = 2_000_000;

const heapBefore = process.memoryUsage().heapUsed;
const clock = { monotonicMs: () => performance.now(), wallMs: () => 0 };
const lessor = new Lessor({ clock, table: { put: () => {} }, minTtlSeconds: 2 });
lessor.promote(0);
const ids: bigint[] = [];
for (let i = 1; i <= LEASE_COUNT; i++) {
  const id = BigInt.asIntN(64, BigInt(i) * 0x9e3779b97f4a7c15n);
  ids.push(id);
  lessor.grant(id, 10 + (i % 50));
  lessor.attach(id, Buffer.from(`/services/instance-${i}`));
}
for (let round = 0; round < 3; round++) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < RENEWAL_COUNT; i++) lessor.renew(ids[(i * 7919) % LEASE_COUNT]!);
  console.log(`renewal      ${(Number(process.hrtime.bigint() - start) / RENEWAL_COUNT).toFixed(0)} ns`);
}
globalThis.gc?.();
const heapBytes = process.memoryUsage().heapUsed - heapBefore;
console.log(`heap a lease ${(heapBytes / lessor.count).toFixed(0)} bytes, ids included`);
