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

test("the more is written, the larger a compaction's slices and the shorter its pauses", () => {
  // Written while a slice is waited for, and whether another compaction waits: what follows.
  const steps = [
    { written: 0, pending: 1, budget: 1000, pauseMs: 10 },
    { written: 333, pending: 1, budget: 1000, pauseMs: 10 },
    { written: 333, pending: 2, budget: 1000, pauseMs: 0 },
    { written: 334, pending: 1, budget: 1002, pauseMs: 0 },
    { written: 1500, pending: 2, budget: 4500, pauseMs: 0 },
    { written: 90_000, pending: 1, budget: 5000, pauseMs: 0 },
    { written: 0, pending: 1, budget: 1000, pauseMs: 10 },
  ];
  let writtenRecords = 77_000;
  const budgets: number[] = [];
  const beganMs: number[] = [];
  const store = {
    compactRevision: 7,
    get pendingCompactions() {
      return budgets.length > steps.length ? 0 : steps[Math.max(0, budgets.length - 1)]!.pending;
    },
    get writtenRecords() {
      return writtenRecords;
    },
    compactionStep: (budget: number) => {
      budgets.push(budget);
      beganMs.push(world.nowMs);
      return budgets.length <= steps.length;
    },
  };
  const options = { batchLimit: 1000, sleepMs: 10, timers: world, log: silentLog };
  new CompactionDriver(store as unknown as Store, { ...options, hasRoom: () => true, stepped: () => {} }).run();
  for (const { written } of steps) {
    writtenRecords += written;
    assert.ok(world.fireNext(world.nowMs + 1000));
  }
  while (world.fireNext(world.nowMs + 1000)) {
    // To the end.
  }
  const seen = steps.map(({ written, pending }, i) => ({
    written,
    pending,
    budget: budgets[i],
    pauseMs: beganMs[i + 1]! - beganMs[i]!,
  }));
  assert.deepEqual(seen, steps);
});

test("a compaction waits for storage to take what it has dropped, and then goes on to its end", () => {
  let left = TOO_MANY;
  const store = {
    get pendingCompactions() {
      return left > 0 ? 1 : 0;
    },
    writtenRecords: TOO_MANY,
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
