import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Backend, MemoryStorage, type Store } from "@quorate/mvcc";
import { EMPTY_CONF_STATE, type HardState } from "@quorate/raft";
import { silentLog } from "@quorate/world";
import { ManualWorld } from "../testing/manual-world.ts";
import { CompactionDriver } from "./compaction-driver.ts";
import { WriteBehind, type WriteBehindParts } from "./write-behind.ts";

/** More than LMDB can commit at once, were each to cost a page of its own. */
const TOO_MANY = 140_000;

let world: ManualWorld;
let storage: MemoryStorage;
let backend: Backend;
let writeBehind: WriteBehind;

beforeEach(() => {
  world = new ManualWorld();
  storage = new MemoryStorage();
  backend = new Backend({ storage });
  const logWriter = { markedIndex: 0, mark: () => {} };
  const logStorage = { sizeBytes: 0, firstIndex: () => 1, compact: () => {} };
  const parts = { backend, logWriter, logStorage, wal: null, indexFile: { saveIfDue: () => {} } };
  const options = { flushIntervalMs: 100, flushOperations: 10_000, snapshotCount: 1e6, catchUpEntries: 5000 };
  writeBehind = new WriteBehind(
    parts as unknown as WriteBehindParts,
    { ...options, clock: world, timers: world },
    {
      confState: () => EMPTY_CONF_STATE,
      hardStateForMark: (): HardState => assert.fail("nothing is marked here"),
      neededIndex: () => Number.POSITIVE_INFINITY,
      flushed: () => {},
      failed: (error) => assert.fail(error),
    },
  );
});

test("who writes many keys of small tables is held back before a batch is more than LMDB commits at once", () => {
  let written = 0;
  for (; written < TOO_MANY && !writeBehind.isBehind; written++) {
    const key = Buffer.alloc(4);
    key.writeUInt32BE(written);
    backend.put("lease", key, key);
    backend.applied(written + 1, 1);
    writeBehind.applied(4);
  }
  assert.ok(written < 30_000, `${written} keys in one batch`);
  while (storage.step()) {
    // All that is under way, and what follows it.
  }
  assert.equal(writeBehind.isBehind, false);
});

test("a compaction pauses between its slices unless another one waits for it or much is written", () => {
  // What there is after each slice: compactions left, and the revision.
  const after: [number, number][] = [
    [2, 10_000],
    [2, 10_000],
    [1, 10_500],
    [1, 11_001],
    [1, 11_002],
    [0, 11_002],
  ];
  const steppedMs: number[] = [];
  const store = {
    pendingCompactions: 2,
    revision: 10_000,
    compactRevision: 7,
    compactionStep: () => {
      steppedMs.push(world.nowMs);
      [store.pendingCompactions, store.revision] = after[steppedMs.length - 1]!;
      return store.pendingCompactions > 0;
    },
  };
  const options = { batchLimit: 1000, sleepMs: 10, timers: world, log: silentLog };
  new CompactionDriver(store as unknown as Store, { ...options, hasRoom: () => true, stepped: () => {} }).run();
  while (world.fireNext(world.nowMs + 1000)) {
    // To the end.
  }
  const pauses = steppedMs.slice(1).map((ms, i) => ms - steppedMs[i]!);
  assert.deepEqual(pauses, [0, 0, 10, 0, 10]);
});

test("a compaction waits for storage to take what it has dropped, and then goes on to its end", () => {
  let left = TOO_MANY;
  const store = {
    get pendingCompactions() {
      return left > 0 ? 1 : 0;
    },
    compactRevision: 7,
    compactionStep: (budget: number) => {
      for (let i = 0; i < budget && left > 0; i++) backend.drop(left--, 0, false);
      backend.applied(backend.appliedIndex, backend.appliedTerm);
      return left > 0;
    },
  };
  const driver = new CompactionDriver(store as unknown as Store, {
    batchLimit: 1000,
    sleepMs: 10,
    timers: world,
    log: silentLog,
    hasRoom: () => writeBehind.takesDrops,
    stepped: () => writeBehind.applied(0),
  });
  driver.run();
  for (let i = 0; i < 1000; i++) world.fireNext(world.nowMs + 1000);
  assert.ok(left > TOO_MANY - 60_000, `${TOO_MANY - left} records dropped in one batch`);

  while (left > 0) assert.ok(storage.step() || world.fireNext(world.nowMs + 1000), "nothing goes on");
});
