/**
 * What does a commit cost per watcher, before any bytes go to a socket? Prints nanoseconds.
 *
 *   node packages/mvcc/bench/watch.ts
 *
 * The sink counts and takes everything, the store gives the same record of 256 bytes each time: what is left is the hub.
 * The budget is 300 ns a watcher. One 2-core machine, Node 24.21: 8 (100 streams × 100), 11 (10,000 × 1), 11 (a range, with
 * prev_kv); per commit 0.6 µs with one watcher, 1.3 µs if it matches one of 10,000 ranges beside 10,000 keys.
 */
import type { RecordSpan } from "../src/backend/storage.ts";
import { recordSize, writeRecord } from "../src/store/key-value.ts";
import { type SharedEvents, type Watcher, WatchHub, type WatchSink, type WatchSource } from "../src/watch/index.ts";

const key = Buffer.from("/registry/pods/ns-77/web");
const value = Buffer.alloc(256, "x");
const record = new Uint8Array(recordSize(key.length, 2, 2, 1, value.length, 0n));
writeRecord(record, 0, key, 0, key.length, 2, 2, 1, value, 0, value.length, 0n);

const source: WatchSource = {
  revision: 1,
  compactRevision: -1,
  read(_node: number, span: RecordSpan): void {
    span.buffer = record;
    span.start = 0;
    span.end = record.length;
  },
  changesFrom: () => {},
  previous: () => false,
};
const onePut = { length: 1, node: () => 0, isTombstone: () => false };

class CountingSink implements WatchSink {
  count = 0;
  sizeBytes = 0;
  deliver(_watcher: Watcher, _revision: number, events: SharedEvents): boolean {
    this.count++;
    this.sizeBytes += events.sizeBytes;
    return true;
  }
  compacted(): void {}
}

interface Watchers {
  streams: number;
  perStream: number;
  rangeEnd: Uint8Array | null;
  prevKv: boolean;
}

function hubWith({ streams, perStream, rangeEnd, prevKv }: Watchers): WatchHub {
  const hub = new WatchHub({ source });
  for (let i = 0; i < streams; i++) {
    const stream = hub.openStream(new CountingSink());
    for (let j = 0; j < perStream; j++)
      hub.create(stream, { id: 0n, key, rangeEnd, startRevision: 0, filters: 0, prevKv });
  }
  return hub;
}

/** Nanoseconds a commit takes, the median of batches. */
function commitNs(hub: WatchHub, commitCount: number): number {
  const batches: number[] = [];
  let revision = 1;
  for (let batch = 0; batch < 11; batch++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < commitCount; i++) hub.committed(++revision, onePut);
    batches.push(Number(process.hrtime.bigint() - start) / commitCount);
  }
  return batches.sort((a, b) => a - b)[5]!;
}

function report(what: string, ns: number): void {
  console.log(`${what.padEnd(62)} ${ns.toFixed(1).padStart(8)} ns`);
}

const rangeEnd = Buffer.from("/registry/pods/ns-77/z");
report(
  "per watcher: 100 streams × 100, one key",
  commitNs(hubWith({ streams: 100, perStream: 100, rangeEnd: null, prevKv: false }), 20) / 10_000,
);
report(
  "per watcher: 10,000 streams × 1, one key",
  commitNs(hubWith({ streams: 10_000, perStream: 1, rangeEnd: null, prevKv: false }), 20) / 10_000,
);
report(
  "per watcher: 100 streams × 100, one range, prev_kv",
  commitNs(hubWith({ streams: 100, perStream: 100, rangeEnd, prevKv: true }), 20) / 10_000,
);
report(
  "per commit: one watcher",
  commitNs(hubWith({ streams: 1, perStream: 1, rangeEnd: null, prevKv: false }), 20_000),
);

const crowded = new WatchHub({ source });
const stream = crowded.openStream(new CountingSink());
for (let i = 0; i < 10_000; i++) {
  const prefix = { startRevision: 0, filters: 0, prevKv: false, id: 0n };
  crowded.create(stream, {
    ...prefix,
    key: Buffer.from(`/registry/pods/ns-${i}/`),
    rangeEnd: Buffer.from(`/registry/pods/ns-${i}0`),
  });
  crowded.create(stream, { ...prefix, key: Buffer.from(`/registry/leases/node-${i}`), rangeEnd: null });
}
report("per commit: one of 10,000 ranges, beside 10,000 keys", commitNs(crowded, 20_000));
