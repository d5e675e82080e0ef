/**
 * How long does a save take, and how much of that does the event loop pay?
 *
 *   node packages/wal/bench/save.ts [directory]
 *
 * Saves of 1, 40 and 100 entries of 300 bytes, one after the other, into prepared segments on the disk of `directory`
 * (default: the working directory; never a tmpfs), by both ways of writing durably, interleaved A B A B. Printed per way:
 * p50 and p99 from `save` to `done`, and the processor time of the main thread per save, of which "inside save" is the
 * part before `save` returns.
 */
import { Buffer } from "node:buffer";
import fs from "node:fs";
import os from "node:os";
import { Entry, EntryType, type HardState, index, term } from "@quorate/raft";
import { silentLog } from "@quorate/world";
// The real disk lives in the server, which no room may know; a benchmark may.
import { type DurableWriteMethod, NodeDisk } from "../../server/src/world/disk.ts";
import { MachineRandom } from "../../server/src/world/random.ts";
import { Wal } from "../src/index.ts";

const ENTRY_BYTES = 300;
const SAVES = 1500;
const ROUNDS = 3;

const root = process.argv[2] ?? ".";
const results = new Map<string, number[][]>();

for (let round = 0; round < ROUNDS; round++) {
  for (const entryCount of [1, 40, 100]) {
    for (const method of ["dsync", "fdatasync"] as const) {
      const key = `${String(entryCount).padStart(3)} entries, ${method.padEnd(9)}`;
      const list = results.get(key) ?? [];
      list.push(await measure(method, entryCount));
      results.set(key, list);
    }
  }
}
console.log(`${os.cpus()[0]?.model ?? "?"}, ${os.cpus().length} processors, Node ${process.version}`);
console.log("best of", ROUNDS, "rounds, µs:             p50     p99   main thread   inside save");
for (const [key, rounds] of results) {
  const best = [0, 1, 2, 3].map((column) => Math.min(...rounds.map((round) => round[column]!)));
  const [p50, p99, thread, inside] = best.map((value) => value.toFixed(1).padStart(7));
  console.log(`${key}          ${p50} ${p99}       ${thread}       ${inside}`);
}

async function measure(durableWriteMethod: DurableWriteMethod, entryCount: number): Promise<number[]> {
  const directory = fs.mkdtempSync(`${root}/wal-bench-`);
  const options = { disk: new NodeDisk({ durableWriteMethod }), directory: `${directory}/wal`, log: silentLog };
  const wal = Wal.create({ ...options, random: new MachineRandom(), metadata: Buffer.alloc(16) });
  const data = Buffer.alloc(ENTRY_BYTES, 7);
  let last = 0;
  let insideMs = 0;
  const latenciesMs: number[] = [];
  const run = (count: number): Promise<void> =>
    new Promise((resolve, reject) => {
      let left = count;
      let startMs = 0;
      const next = (): void => {
        const entries: Entry[] = [];
        for (let i = 0; i < entryCount; i++) entries.push(new Entry(EntryType.Normal, term(1), index(++last), data));
        const hardState: HardState = { term: term(1), vote: 1n, commit: index(last - entryCount) };
        startMs = performance.now();
        wal.save(entries, hardState, done);
        insideMs += performance.now() - startMs;
      };
      const done = (error: Error | null): void => {
        latenciesMs.push(performance.now() - startMs);
        if (error !== null) reject(error);
        else if (--left > 0) next();
        else resolve();
      };
      next();
    });
  await run(200);
  latenciesMs.length = 0;
  insideMs = 0;
  const before = process.threadCpuUsage();
  await run(SAVES);
  const used = process.threadCpuUsage(before);
  wal.close();
  await new Promise((resolve) => setTimeout(resolve, 50));
  fs.rmSync(directory, { recursive: true });
  latenciesMs.sort((a, b) => a - b);
  const at = (share: number): number => latenciesMs[Math.floor(latenciesMs.length * share)]! * 1000;
  return [at(0.5), at(0.99), (used.user + used.system) / SAVES, (insideMs * 1000) / SAVES];
}
