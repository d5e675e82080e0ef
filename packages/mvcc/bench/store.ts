/**
 * What a put and a get cost inside the store, without network, log or disk: the share of the request's budget that is
 * ours. Run: node packages/mvcc/bench/store.ts
 *
 * Keys of 34 bytes, values of 256, random over 100k keys. A put is a transaction of its own with a flush to memory
 * every 100k. Best and median of several rounds; other work on the machine only adds.
 *
 * Node 24.21, 2 busy cores (load 3):  put 1.9 µs best, 2.5 median · get 0.85, 1.0 · get and copy 1.6, 1.7
 * range of all 0.7, 0.9 a key · compaction of 1M revisions 1.05 s in 2000 steps. Most of a put and a get is the search
 * for the key, which a put does twice (its own, and the index's).
 */

import { silentLog } from "@quorate/world";
import { Backend, MemoryStorage, noLeases, RecordSpan, Store } from "../src/index.ts";

const KEY_COUNT = 100_000;
const KEY_BYTES = 34;
const ROUND = 100_000;
const ROUNDS = 9;

/** Keys one behind the other, with a shared prefix and a spread-out tail, as clients' keys are. */
const keys = Buffer.alloc(KEY_COUNT * KEY_BYTES);
for (let i = 0; i < KEY_COUNT; i++) {
  keys.write(`/registry/pods/default/${String((i * 7919) % KEY_COUNT).padStart(11, "0")}`, i * KEY_BYTES, "latin1");
}
const value = Buffer.alloc(256, "v");
const picks = Uint32Array.from({ length: ROUND }, (_, i) => Math.imul(i + 1, 2654435761) >>> 0).map(
  (x) => x % KEY_COUNT,
);

const storage = new MemoryStorage();
const backend = new Backend({ storage });
const store = Store.open({ backend, leases: noLeases, log: silentLog });
const span = new RecordSpan();
const copy = Buffer.alloc(512);
let entry = 0;
let sum = 0;

function putRound(): void {
  for (let i = 0; i < ROUND; i++) {
    const at = picks[i]! * KEY_BYTES;
    const write = store.begin();
    write.put(keys, at, at + KEY_BYTES, value, 0, value.length, 0n);
    write.commit();
    backend.applied(++entry, 1);
  }
}

function getRound(): void {
  for (let i = 0; i < ROUND; i++) {
    const at = picks[ROUND - 1 - i]! * KEY_BYTES;
    if (!store.get(keys, at, at + KEY_BYTES, 0, span)) continue;
    sum += span.buffer[span.start + 2]!;
  }
}

/** A get whose record is copied into an answer. */
function copyRound(): void {
  for (let i = 0; i < ROUND; i++) {
    const at = picks[ROUND - 1 - i]! * KEY_BYTES;
    if (!store.get(keys, at, at + KEY_BYTES, 0, span)) continue;
    copy.set(span.buffer.subarray(span.start, span.end));
    sum += copy[5]!;
  }
}

/** Counts and frames everything, then copies it out: what a range of all keys costs a key. */
function rangeRound(): void {
  const result = store.range(ALL);
  result.records.framedBytes();
  for (let i = 0; i < result.records.length; i++) sum += result.records.copy(i, copy, 0);
}

const ALL = {
  key: Buffer.from("\0"),
  rangeEnd: Buffer.from("\0"),
  limit: 0,
  revision: 0,
  sortOrder: 0,
  sortTarget: 0,
  serializable: true,
  keysOnly: false,
  countOnly: false,
  minModRevision: 0,
  maxModRevision: 0,
  minCreateRevision: 0,
  maxCreateRevision: 0,
};

function measure(name: string, per: () => number, round: () => void, between?: () => void): void {
  const times: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const start = performance.now();
    round();
    times.push(((performance.now() - start) * 1000) / per());
    between?.();
  }
  times.sort((a, b) => a - b);
  const [best, median] = [times[0]!, times[ROUNDS >> 1]!];
  console.log(`${name.padEnd(34)} ${best.toFixed(2)} µs best  ${median.toFixed(2)} µs median`);
}

function flush(): void {
  backend.flush((error) => {
    if (error !== null) throw error;
  });
  while (storage.step()) {
    // One commit.
  }
}

console.log(`node ${process.version}, ${KEY_COUNT} keys`);
measure("put 256 B, own transaction", () => ROUND, putRound, flush);
putRound();
measure("get, found in memory", () => ROUND, getRound);
measure("get and copy", () => ROUND, copyRound);
measure("range of all, per key", () => store.index.liveKeyCount, rangeRound);
store.compact(store.revision);
let steps = 0;
const start = performance.now();
let longest = 0;
for (let more = true; more; steps++) {
  const stepStart = performance.now();
  more = store.compactionStep(1000);
  longest = Math.max(longest, performance.now() - stepStart);
}
const took = performance.now() - start;
console.log(
  `compaction of ${ROUND * (ROUNDS + 1)} revisions: ${took.toFixed(0)} ms in ${steps} steps, longest ${longest.toFixed(1)} ms`,
);
console.log(`index ${(store.index.memoryBytes() / store.index.keyCount).toFixed(0)} bytes a key, sum ${sum}`);
