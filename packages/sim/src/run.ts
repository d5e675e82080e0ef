/**
 * The command line of the simulator:
 *
 *   npm run sim -- 42                      replays seed 42 with its trace
 *   npm run sim -- 42 --steps 500          with so many events before everything heals (default 6000)
 *   npm run sim -- 42 --members 5          with so many members in place of what the seed says
 *   npm run sim -- 42 --without pause,storm  leaving out kinds of faults
 *   npm run sim -- 42 --last 200           only the last lines of the trace
 *   npm run sim -- 42 --shrink             looks for the fewest events and kinds of faults with which it still fails
 *   npm run sim -- --seeds 1..1000         runs many, prints those that fail; exit code 1 if any did
 */
import { parseArgs } from "node:util";
import { FAULT_KINDS, type FaultKind } from "./scenario.ts";
import { shrink } from "./shrink.ts";
import { type SimOptions, type SimResult, simulate } from "./sim-cluster.ts";

const DEFAULT_STEPS = 6000;

function usage(problem: string): never {
  console.error(
    `${problem}\nusage: npm run sim -- SEED | --seeds FROM..TO  [--steps N] [--members N] [--without KINDS]`,
  );
  console.error(`       with SEED: [--last LINES] [--shrink]; kinds of faults: ${FAULT_KINDS.join(", ")}`);
  process.exit(2);
}

function numberOf(name: string, text: string): number {
  if (!/^\d+$/.test(text)) usage(`${name} takes a number, not ${text}`);
  return Number(text);
}

function kindsOf(text: string): FaultKind[] {
  return text.split(",").map((each) => {
    const kind = FAULT_KINDS.find((known) => known === each);
    return kind ?? usage(`there is no fault ${each}`);
  });
}

async function runMany(from: number, to: number, options: Omit<SimOptions, "seed">): Promise<void> {
  const startedMs = performance.now();
  const total: Record<string, number> = {};
  const failed: SimResult[] = [];
  let steps = 0;
  for (let seed = from; seed <= to; seed++) {
    const result = await simulate({ ...options, seed });
    steps += result.steps;
    for (const [name, count] of Object.entries(result.counts)) total[name] = (total[name] ?? 0) + count;
    if (result.violation === null) continue;
    failed.push(result);
    console.log(`seed ${seed} after ${result.steps} steps: ${result.violation.message}`);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const count = to - from + 1;
  console.log(
    `${count} seeds, ${failed.length} failed, ${steps} steps; ${(count / seconds).toFixed(1)} seeds a second`,
  );
  console.log(JSON.stringify(total));
  process.exitCode = failed.length > 0 ? 1 : 0;
}

async function runOne(options: SimOptions, lastLines: number): Promise<void> {
  let lines: string[] = [];
  const write = (line: string): void => {
    if (lastLines === 0) console.log(line);
    else lines.push(line);
    if (lastLines > 0 && lines.length > 2 * lastLines) lines = lines.slice(-lastLines);
  };
  const result = await simulate({ ...options, write });
  for (const line of lines.slice(-lastLines)) console.log(line);
  const { violation, steps, isAtRest, simulatedMs, counts } = result;
  console.log(JSON.stringify(counts));
  const when = `after ${steps} steps and ${simulatedMs.toFixed(0)} simulated ms`;
  if (violation === null) {
    console.log(`seed ${options.seed} kept every promise, ${when}`);
    return;
  }
  console.log(
    `seed ${options.seed} FAILED ${when}${isAtRest ? ", when everything had healed" : ""}: ${violation.message}`,
  );
  if (violation.cause !== undefined) console.log(violation.cause);
  process.exitCode = 1;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: "string" },
    steps: { type: "string" },
    members: { type: "string" },
    without: { type: "string" },
    last: { type: "string" },
    shrink: { type: "boolean" },
  },
});
const options: Omit<SimOptions, "seed"> = {
  steps: values.steps === undefined ? DEFAULT_STEPS : numberOf("--steps", values.steps),
  ...(values.members === undefined ? {} : { memberCount: numberOf("--members", values.members) }),
  ...(values.without === undefined ? {} : { without: kindsOf(values.without) }),
};
if (values.seeds !== undefined) {
  const range = /^(\d+)\.\.(\d+)$/.exec(values.seeds) ?? usage(`--seeds takes FROM..TO, not ${values.seeds}`);
  await runMany(Number(range[1]), Number(range[2]), options);
} else if (positionals.length === 1) {
  const seed = numberOf("the seed", positionals[0]!);
  if (values.shrink === true) {
    const small = await shrink({ ...options, seed }, (line) => console.log(line));
    if (small !== null) await runOne(small, numberOf("--last", values.last ?? "100"));
  } else {
    await runOne({ ...options, seed }, numberOf("--last", values.last ?? "0"));
  }
} else {
  usage("one seed, or --seeds");
}
