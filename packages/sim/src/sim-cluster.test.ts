/**
 * Whole clusters under faults, one seed each. A failure names its seed; `npm run sim -- SEED --steps 2500` replays it with
 * its trace, `--shrink` makes it smaller. SIM_SEEDS and SIM_FIRST_SEED look further.
 *
 * covers: AP-01, RA-01, RA-02, RA-03, RA-04, RA-08, RA-09, RA-11, RA-12, RA-19, SN-01, WA-08
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FAULT_KINDS } from "./scenario.ts";
import { simulate } from "./sim-cluster.ts";

const SEEDS = Number(process.env.SIM_SEEDS ?? 150);
const FIRST_SEED = Number(process.env.SIM_FIRST_SEED ?? 1);
const STEPS = 2500;

test(`no promise is broken, and the cluster recovers, in ${SEEDS} simulated worlds`, async () => {
  const total: Record<string, number> = {};
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const { violation, steps, counts } = await simulate({ seed, steps: STEPS });
    if (violation !== null) throw new Error(`seed ${seed}, after ${steps} steps`, { cause: violation });
    for (const [name, count] of Object.entries(counts)) total[name] = (total[name] ?? 0) + count;
  }
  // A world in which nothing happens would break no promise either.
  const atLeast = { elections: 1, applied: 50, answered: 50, watched: 20, reconnects: 2 };
  for (const [name, each] of Object.entries(atLeast)) {
    assert.ok(total[name]! >= each * SEEDS, `${name}: ${total[name]}`);
  }
  assert.ok(total.snapshots! * 20 >= SEEDS, `${total.snapshots} snapshots between members`);
  assert.ok(total.undecided! * 50 <= SEEDS, `${total.undecided} histories too hard to judge`);
  for (const kind of FAULT_KINDS) assert.ok(total[kind]! * 12 >= SEEDS, `${kind}: ${total[kind]}`);
});

test("a seed replays exactly, line by line, however many ran before", async () => {
  for (const seed of [3, 17]) {
    const traces: string[][] = [];
    for (let i = 0; i < 2; i++) {
      const lines: string[] = [];
      await simulate({ seed, steps: 3000, write: (line) => lines.push(line) });
      traces.push(lines);
    }
    assert.ok(traces[0]!.length > 500, `${traces[0]!.length} lines`);
    assert.deepEqual(traces[0], traces[1]);
  }
});

test("who listens to the trace changes nothing", async () => {
  const silent = await simulate({ seed: 5, steps: 3000 });
  const loud = await simulate({ seed: 5, steps: 3000, write: () => {} });
  assert.deepEqual(silent, loud);
});
