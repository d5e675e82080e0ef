/** The checkpoint of the key index while the member runs; what a start makes of one is in member.test.ts. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { Backend, MemoryStorage, Store } from "@quorate/mvcc";
import { SeededRandom, SimDisk, systemError } from "@quorate/wal/testing";
import { silentLog } from "@quorate/world";
import { ManualWorld } from "../testing/manual-world.ts";
import { IndexFile } from "./index-file.ts";

const PATH = "/d/index";

class Bench {
  readonly disk = new SimDisk({ random: new SeededRandom(1) });
  readonly world = new ManualWorld();
  readonly storage = new MemoryStorage();
  readonly backend = new Backend({ storage: this.storage });
  readonly store: Store;
  file: IndexFile;
  waiting: (() => void)[] = [];
  releases = 0;
  #index = 0;

  constructor() {
    this.disk.makeDirectory("/d");
    const leases = { exists: () => false, attach: () => {}, detach: () => {} };
    this.store = Store.open({ backend: this.backend, leases, log: silentLog });
    this.file = this.open();
  }

  open(): IndexFile {
    const file = new IndexFile({
      disk: this.disk,
      path: PATH,
      timers: this.world,
      log: silentLog,
      dueRevisions: 50,
      slice: 10,
    });
    file.attach(this.store, {
      whenFlushed: (done) => this.waiting.push(done),
      released: () => this.releases++,
    });
    return file;
  }

  put(count: number): void {
    for (let i = 0; i < count; i++) {
      const key = Buffer.from(`k${this.#index++}`);
      const write = this.store.begin();
      write.put(key, 0, key.length, key, 0, key.length, 0n);
      write.commit();
      this.backend.applied(this.#index, 1);
    }
  }

  flush(): void {
    this.backend.flush(() => {});
    this.storage.step();
    const waiting = this.waiting;
    this.waiting = [];
    for (const done of waiting) done();
  }

  turns(): void {
    while (this.world.runTurn()) {
      // All of them.
    }
  }

  /** Keys a start finds by the file in place; null if it refuses the file. */
  keysOfFile(): number | null {
    let isRefused = false;
    const backend = new Backend({ storage: new MemoryStorage({ image: this.storage.image }) });
    const leases = { exists: () => false, attach: () => {}, detach: () => {} };
    const log = { ...silentLog, warn: () => (isRefused = true) };
    const checkpoint = this.open().reader();
    if (checkpoint === undefined) return null;
    const store = Store.open({ backend, leases, log, checkpoint });
    return isRefused ? null : store.index.countAt(Buffer.from("k"), null, store.revision);
  }
}

test("the file is written when enough is new, a slice a turn, and put in place when storage has caught up", () => {
  const bench = new Bench();
  bench.put(48);
  bench.file.saveIfDue();
  assert.equal(bench.disk.exists(`${PATH}.tmp`), false);
  bench.put(61);
  bench.file.saveIfDue();
  assert.equal(bench.world.runTurn(), true);
  assert.equal(bench.world.runTurn(), true);
  bench.file.saveIfDue();
  bench.turns();
  assert.equal(bench.disk.exists(PATH), false);
  bench.flush();
  assert.equal(bench.disk.exists(PATH), true);
  assert.equal(bench.disk.exists(`${PATH}.tmp`), false);
  assert.equal(bench.keysOfFile(), 109);
  bench.put(30);
  bench.file.saveIfDue();
  assert.equal(bench.disk.exists(`${PATH}.tmp`), false, "not due again");
});

test("a file being written holds compaction back, and says when it no longer does", () => {
  const bench = new Bench();
  bench.put(60);
  bench.file.saveIfDue();
  bench.store.compact(50);
  assert.equal(bench.store.compactionStep(1000), false);
  assert.deepEqual([bench.store.pendingCompactions, bench.releases], [1, 0]);
  bench.turns();
  assert.equal(bench.releases, 1);
  while (bench.store.compactionStep(1000)) {
    // To the end.
  }
  assert.equal(bench.store.pendingCompactions, 0);
  bench.flush();
  assert.equal(bench.keysOfFile(), 60);
});

test("a stop gives up the file being written, at any slice, and writes the present one", () => {
  for (let slices = 0; slices < 9; slices++) {
    const bench = new Bench();
    bench.put(60);
    bench.file.saveIfDue();
    for (let i = 0; i < slices; i++) bench.world.runTurn();
    bench.put(5);
    bench.flush();
    // The file may have been put in place by that; what was put since is then in a new one.
    bench.file.saveNow();
    assert.equal(bench.keysOfFile(), 65, `${slices} slices`);
    bench.waiting = [];
    bench.turns();
    assert.deepEqual(bench.waiting, [], "nothing is asked of a member that has stopped");
    assert.equal(bench.disk.exists(`${PATH}.tmp`), false);
    bench.store.compact(bench.store.revision);
    while (bench.store.compactionStep(1000)) {
      // To the end.
    }
    assert.equal(bench.store.pendingCompactions, 0, "nothing is held back");
  }
});

test("a file that cannot be written, whatever the disk refuses, is no file and no harm", () => {
  const bench = new Bench();
  bench.put(60);
  bench.flush();
  let count = 0;
  for (let fail = 0; fail < 20; fail++) {
    count = 0;
    bench.disk.onCall = (call, path) => (count++ === fail ? systemError("ENOSPC", call, path) : null);
    bench.file.saveNow();
    bench.disk.onCall = null;
    assert.equal(bench.keysOfFile() ?? 60 + fail, 60 + fail);
    bench.put(1);
    bench.flush();
    bench.file.saveNow();
    assert.equal(bench.keysOfFile(), 61 + fail);
    bench.disk.remove(PATH);
    bench.file = bench.open();
  }
  bench.store.compact(bench.store.revision);
  while (bench.store.compactionStep(1000)) {
    // To the end.
  }
  assert.equal(bench.store.pendingCompactions, 0);
});
