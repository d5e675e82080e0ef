/**
 * What a compaction costs a store on disk that is being written: 100k keys of 34 bytes with values of 256, 400k random
 * puts, then a compaction of everything, over and over; a batch goes to disk after every 50k puts or 24k dropped
 * records. CPU is of both threads together. Run: node packages/mvcc/bench/compaction.ts
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "@quorate/world";
import { Backend, LmdbStorage, noLeases, Store } from "../src/index.ts";

const KEY_COUNT = 100_000;
const PUTS = 400_000;
const ROUNDS = 5;

const directory = mkdtempSync(join(tmpdir(), "quorate-bench-"));
const storage = new LmdbStorage({ directory });
const backend = new Backend({ storage });
const store = Store.open({ backend, leases: noLeases, log: silentLog });
const value = Buffer.alloc(256, "v");
const key = Buffer.alloc(34, "k");
let entry = 0;
let chance = 1;

function put(): void {
  chance = (Math.imul(chance, 1664525) + 1013904223) >>> 0;
  key.write(String(chance % KEY_COUNT).padStart(11, "0"), 23, "latin1");
  const write = store.begin();
  write.put(key, 0, key.length, value, 0, value.length, 0n);
  write.commit();
  backend.applied(++entry, 1);
}

function flush(): Promise<void> {
  return new Promise((resolve, reject) => backend.flush((error) => (error === null ? resolve() : reject(error))));
}

async function puts(): Promise<void> {
  for (let i = 1; i <= PUTS; i++) {
    put();
    if (i % 50_000 === 0) await flush();
  }
}

async function compaction(): Promise<number> {
  let longestMs = 0;
  store.compact(store.revision);
  for (let more = true; more; ) {
    const startMs = performance.now();
    more = store.compactionStep(1000);
    longestMs = Math.max(longestMs, performance.now() - startMs);
    if (backend.gatheredDrops > 24_000) await flush();
  }
  await flush();
  return longestMs;
}

try {
  console.log(`node ${process.version}, ${KEY_COUNT} keys, ${PUTS} puts a round`);
  for (let round = 1; round <= ROUNDS; round++) {
    const begun = { ms: performance.now(), cpu: process.cpuUsage() };
    await puts();
    const between = { ms: performance.now(), cpu: process.cpuUsage(begun.cpu) };
    const longestMs = await compaction();
    const cpu = process.cpuUsage(begun.cpu);
    const cpuMs = (cpu.user + cpu.system - between.cpu.user - between.cpu.system) / 1000;
    console.log(
      `round ${round}: puts ${(between.ms - begun.ms).toFixed(0)} ms; compaction ${(performance.now() - between.ms).toFixed(0)} ms, ` +
        `CPU ${cpuMs.toFixed(0)} ms, longest step ${longestMs.toFixed(1)} ms, database ${(backend.sizeBytes() / 2 ** 20).toFixed(0)} MiB`,
    );
  }
} finally {
  await new Promise<void>((resolve) => storage.close(() => resolve()));
  rmSync(directory, { recursive: true, force: true });
}
