/**
 * Makes a failing seed easier to understand: the fewest kinds of faults and the fewest events with which it still fails in
 * the same way. Each attempt is a whole run; dropping one kind of fault changes what the others do, so several orders of
 * dropping are not tried.
 */
import { FAULT_KINDS, type FaultKind } from "./scenario.ts";
import { type SimOptions, type SimResult, simulate } from "./sim-cluster.ts";
import type { Violation } from "./violation.ts";

/** Null if the seed does not fail. `report` takes a line for each step forward. */
export async function shrink(options: SimOptions, report: (line: string) => void): Promise<SimOptions | null> {
  let best = await simulate(options);
  if (best.violation === null) {
    report(`seed ${options.seed} does not fail`);
    return null;
  }
  const symptom = symptomOf(best.violation);
  report(`fails after ${best.steps} steps: ${symptom}`);
  let small = options;
  const attempt = async (smaller: SimOptions): Promise<SimResult | null> => {
    const result = await simulate(smaller);
    return result.violation !== null && symptomOf(result.violation) === symptom ? result : null;
  };
  for (const kind of FAULT_KINDS) {
    const without: readonly FaultKind[] = [...(small.without ?? []), kind];
    const result = await attempt({ ...small, without });
    if (result === null) continue;
    small = { ...small, without };
    best = result;
    report(`fails without ${kind}, after ${best.steps} steps`);
  }
  // A violation on the way needs no more events than it took; one at the end may need fewer before everything heals.
  let enough = best.isAtRest ? small.steps : Math.min(small.steps, best.steps);
  let tooFew = 0;
  while (best.isAtRest && tooFew + 1 < enough) {
    const steps = (tooFew + enough) >> 1;
    if ((await attempt({ ...small, steps })) === null) tooFew = steps;
    else enough = steps;
  }
  small = { ...small, steps: enough };
  const left = FAULT_KINDS.filter((kind) => small.without?.includes(kind) !== true);
  report(`fails with --steps ${small.steps}, faults: ${left.join(", ") || "none"}`);
  return small;
}

/** What makes two failures the same: the promise, or, for what the code under test threw itself, its text. */
function symptomOf({ promise, cause }: Violation): string {
  return cause === undefined ? promise : String(cause);
}
