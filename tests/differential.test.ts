/**
 * The same random requests to Debian's etcd and to Quorate; every answer must be the same, field by field. See
 * differential/duel.ts for how, differential/differences.ts for where etcds before 3.7 answer otherwise than 3.7.
 *
 * DIFFERENTIAL_SEED runs another seed, DIFFERENTIAL_OPS more steps, ETCD another etcd.
 */
import test, { describe } from "node:test";
import { AuthDuel } from "./differential/auth-duel.ts";
import { Duel } from "./differential/duel.ts";
import { isInstalled } from "./harness/processes.ts";

const SEEDS =
  process.env.DIFFERENTIAL_SEED === undefined ? [1, 2] : process.env.DIFFERENTIAL_SEED.split(",").map(Number);
const STEPS = Number(process.env.DIFFERENTIAL_OPS ?? 1500);
const etcd = process.env.ETCD ?? "etcd";

describe("Quorate answers as etcd does", { skip: !isInstalled(etcd) }, () => {
  for (const seed of SEEDS) {
    test(`to the random requests of seed ${seed}`, () => Duel.fight({ seed, steps: STEPS }));
  }

  for (const seed of SEEDS) {
    test(`to users with and without permission, seed ${seed}`, () => AuthDuel.fight({ seed, steps: STEPS / 2 }));
  }

  test("after Quorate was killed and started again, over and over", () =>
    Duel.fight({ seed: SEEDS[0]! + 100, steps: STEPS / 2, restartEvery: Math.ceil(STEPS / 8) }));
});
