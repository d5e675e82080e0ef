/**
 * What does the key index cost per key and per operation? Prints nanoseconds per operation and bytes per key.
 *
 *   node packages/mvcc/bench/key-index.ts [keys, default 1000000]
 *
 * Keys are 34 bytes: "/registry/pods/" and a 19-digit number, scattered (random) or counting (ascending). Operations are
 * timed in batches of 2000; the figures are the median batch and the tenth percentile, which other load on the machine
 * disturbs least. At a million keys a find is a chain of reads that miss the caches, so the time of one such read on this
 * machine is printed last.
 */
import { KeyIndex, NodeList } from "../src/key-index/index.ts";

const KEY_BYTES = 34;
const BATCH = 100_000;

const keyCount = Number(process.argv[2] ?? 1_000_000);
const key = Buffer.alloc(KEY_BYTES);
let escaped = 0; // results must be used, or the work may be optimised away

function report(what: string, value: number, unit: string): void {
  console.log(`${what.padEnd(62)} ${value.toFixed(value < 10 ? 2 : 0).padStart(8)} ${unit}`);
}

/** Runs `count` operations and reports nanoseconds for each: the median batch, and the tenth percentile. */
function measure(what: string, count: number, operation: (i: number) => void): void {
  const batches: number[] = [];
  for (let i = 0; i < count; ) {
    const start = process.hrtime.bigint();
    for (const end = Math.min(count, i + 2000); i < end; i++) operation(i);
    batches.push(Number(process.hrtime.bigint() - start) / 2000);
  }
  batches.sort((left, right) => left - right);
  const tenth = batches[Math.floor(batches.length / 10)]!;
  report(what, batches[Math.floor(batches.length / 2)]!, `ns  (${tenth.toFixed(0)})`);
}

/** The i-th key: i itself, or i scattered over all numbers below 2^32 without repetition. */
function setKey(i: number, isScattered: boolean): void {
  let number = isScattered ? scatter(i) : i;
  for (let at = KEY_BYTES - 1; at >= 15; at--) {
    key[at] = 48 + (number % 10);
    number = Math.floor(number / 10);
  }
}

/** A permutation of 32-bit numbers. */
function scatter(i: number): number {
  let x = Math.imul(i ^ 0x5bd1e995, 0x9e3779b1);
  x ^= x >>> 15;
  x = Math.imul(x, 0x85ebca6b);
  x ^= x >>> 13;
  return x >>> 0;
}

function put(index: KeyIndex, i: number, isScattered: boolean, main: number): void {
  setKey(i, isScattered);
  index.put(key, 0, KEY_BYTES, main, 0, main, 300, false);
}

key.write("/registry/pods/", "latin1");
measure("making a key (included below)", keyCount, (i) => {
  setKey(i, true);
  escaped += key[30]!;
});
report("empty index", new KeyIndex().memoryBytes() / 1024, "KiB");

{
  const index = new KeyIndex();
  let main = 1;
  measure("insert, random, into 0 … 100k keys", BATCH, (i) => put(index, i, true, main++));
  measure("put of an existing key, random, 100k keys", BATCH, (i) => put(index, (i * 7919) % BATCH, true, main++));
  measure("find, random, 100k keys", BATCH, (i) => {
    setKey((i * 7919) % BATCH, true);
    escaped += index.find(key, 0, KEY_BYTES);
  });
}

for (const isScattered of [true, false]) {
  const order = isScattered ? "random" : "ascending";
  const index = new KeyIndex();
  let main = 1;
  const before = process.memoryUsage();
  measure(`insert, ${order}, into 0 … ${keyCount} keys`, keyCount, (i) => put(index, i, isScattered, main++));
  const after = process.memoryUsage();
  report("  memory per key, one revision each", index.memoryBytes() / index.keyCount, "B");
  report("  growth of the process's resident memory per key", (after.rss - before.rss) / index.keyCount, "B");
  report("  growth of the JavaScript heap per key", (after.heapUsed - before.heapUsed) / index.keyCount, "B");
  measure(`insert, ${order}, into ${keyCount} keys`, BATCH, (i) => put(index, keyCount + i, isScattered, main++));
  measure("find, random", keyCount, (i) => {
    setKey((i * 7919) % keyCount, isScattered);
    escaped += index.find(key, 0, KEY_BYTES);
  });
  measure("find of an absent key, random", BATCH, (i) => {
    setKey(keyCount + BATCH + i, isScattered);
    escaped += index.find(key, 0, KEY_BYTES);
  });
  measure("put of an existing key, random", BATCH, (i) => put(index, (i * 7919) % keyCount, isScattered, main++));

  const list = new NodeList(keyCount);
  const from = Buffer.from([0]);
  let start = process.hrtime.bigint();
  escaped += index.collect(from, null, main, 0, list);
  report("collect all, per key", Number(process.hrtime.bigint() - start) / index.keyCount, "ns");
  start = process.hrtime.bigint();
  escaped += index.countAt(from, null, main);
  report("count all, per key", Number(process.hrtime.bigint() - start) / index.keyCount, "ns");

  const chunks: Buffer[] = [];
  start = process.hrtime.bigint();
  index.save((chunk) => chunks.push(Buffer.from(chunk)));
  report("save, whole", Number(process.hrtime.bigint() - start) / 1e6, "ms");
  const file = Buffer.concat(chunks);
  report("  checkpoint, per key", file.length / index.keyCount, "B");
  let at = 0;
  start = process.hrtime.bigint();
  const loaded = KeyIndex.load((length) => {
    at += length;
    return file.subarray(at - length, at);
  });
  report("load, whole", Number(process.hrtime.bigint() - start) / 1e6, "ms");
  report("  memory per key after load", loaded.memoryBytes() / loaded.keyCount, "B");

  let slices = 0;
  let longest = 0;
  let cursor = 0;
  start = process.hrtime.bigint();
  while (cursor !== -1) {
    const began = process.hrtime.bigint();
    cursor = index.compactSlice(main, cursor, 1000);
    longest = Math.max(longest, Number(process.hrtime.bigint() - began));
    slices++;
  }
  report(
    "compaction of 100k old revisions, per key looked at",
    Number(process.hrtime.bigint() - start) / keyCount,
    "ns",
  );
  report("  longest slice of 1000", longest / 1000, "µs");
  escaped += slices;

  for (let i = 0; i < keyCount; i++) {
    setKey(i, isScattered);
    index.tombstone(index.find(key, 0, KEY_BYTES), main++, 0, 0, 40);
  }
  start = process.hrtime.bigint();
  for (cursor = 0; cursor !== -1; ) cursor = index.compactSlice(main, cursor, 1000);
  report("compaction that removes every key, per key", Number(process.hrtime.bigint() - start) / keyCount, "ns");
}
{
  const memory = new Uint32Array(25_000_000).fill(1);
  let at = 0;
  measure("one dependent random read of 100 MB", 200_000, (i) => {
    at = memory[(scatter(i) + at) % memory.length]!;
  });
  escaped += at;
}
console.log(escaped > 0 ? "" : "nothing measured");
