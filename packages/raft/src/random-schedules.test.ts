/**
 * The promises of raft under random schedules. A failure names its seed; `new SimulatedGroup(seed)` replays it.
 *
 * covers: RA-02, RA-03, RA-04, RA-15, RA-16, RA-17, MB-03, MB-04, MB-15, MB-16
 *
 * Too rare for chance, and therefore scripted: RA-01 (figure_8.txt), RA-05 (read-only.test.ts), RA-06, MB-01 and MB-02
 * (raw-node.test.ts). Each of these faults, put in on purpose, survives 150 schedules.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedGroup } from "./testing/simulated-group.ts";

const SEEDS = Number(process.env.RAFT_SEEDS ?? 150);
const FIRST_SEED = Number(process.env.RAFT_FIRST_SEED ?? 1);

test(`no promise is broken, and the group recovers, in ${SEEDS} random schedules`, () => {
  const total = { elections: 0, committed: 0, reads: 0, stranded: 0 };
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const group = new SimulatedGroup(seed);
    try {
      group.run(5000);
      group.settle();
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    total.elections += group.history.counts.elections;
    total.committed += group.history.counts.committed;
    total.reads += group.history.counts.reads;
    total.stranded += group.history.counts.stranded;
  }
  // A schedule in which nothing happens would break no promise either.
  assert.ok(total.elections > SEEDS * 2, `${total.elections} elections`);
  assert.ok(total.committed > SEEDS * 10, `${total.committed} entries committed`);
  assert.ok(total.reads > SEEDS, `${total.reads} reads answered`);
  assert.ok(total.stranded * 50 <= SEEDS, `${total.stranded} groups stranded by losing their last but one voter`);
});
