import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLog } from "@quorate/world";
import { Backend } from "../backend/backend.ts";
import { LmdbStorage } from "../backend/lmdb-storage.ts";
import { Store } from "./store.ts";
import { decodeAll, deleteRange, put, range, TestLeases } from "./testing/harness.ts";

// The one run over a real disk: that records borrowed from LMDB are looked into before they are given back.

interface Opened {
  store: Store;
  leases: TestLeases;
  flush(): Promise<void>;
  close(): Promise<void>;
}

function open(directory: string): Opened {
  const storage = new LmdbStorage({ directory, mapBytes: 64 * 1024 * 1024 });
  // No cache: what is flushed is read from the disk.
  const backend = new Backend({ storage, chunkBytes: 4096, cacheBytes: 0 });
  const leases = new TestLeases([1n, 2n]);
  const store = Store.open({ backend, leases, log: silentLog, restoreChunkRecords: 7 });
  const settled = (start: (done: (error: Error | null) => void) => void) =>
    new Promise<void>((resolve, reject) => start((error) => (error === null ? resolve() : reject(error))));
  return {
    store,
    leases,
    flush: () => {
      backend.applied(backend.appliedIndex + 1, 1);
      return settled((done) => backend.flush(done));
    },
    close: () => settled((done) => storage.close(done)),
  };
}

function hashOf(store: Store): number {
  const task = store.startHash(0);
  while (task.step(10)) {
    // Until everything is taken in.
  }
  return task.hash;
}

test("a store on disk answers from it what it answered from memory, and again after a restart", async () => {
  const directory = mkdtempSync(join(tmpdir(), "quorate-store-"));
  try {
    let it = open(directory);
    for (let i = 0; i < 200; i++) {
      const key = `k${String(i % 40).padStart(2, "0")}`;
      if (i % 9 === 4) it.store.deleteRange(deleteRange(key));
      else it.store.put(put(key, `${199 - i}-${"v".repeat(i)}`, { lease: BigInt(i % 3) }));
      if (i % 50 === 49) await it.flush();
    }
    const readings = [
      range("\0", "\0"),
      range("\0", "\0", { revision: 150 }),
      range("\0", "\0", { sortTarget: 4, sortOrder: 1 }),
      range("\0", "\0", { sortTarget: 4, sortOrder: 2, keysOnly: true, limit: 5 }),
    ];
    const answers = () => readings.map((reading) => decodeAll(it.store.range(reading).records));
    const hash = hashOf(it.store);
    const expected = [answers(), it.leases.attachments()];
    await it.flush();
    assert.deepEqual([answers(), it.leases.attachments()], expected);
    assert.equal(hashOf(it.store), hash);
    await it.close();

    it = open(directory);
    assert.deepEqual([answers(), it.leases.attachments()], expected);
    assert.equal(hashOf(it.store), hash);
    // Keeping the old value and lease reads them from the disk.
    const kept = it.store.put(put("k03", "", { ignoreValue: true, prevKv: true }));
    const previous = decodeAll(kept.prevKv!)[0]?.value;
    assert.ok(previous?.endsWith("vvv"));
    assert.equal(currentValue(it, "k03"), previous);
    it.store.compact(180);
    const compacted = hashOf(it.store);
    while (it.store.compactionStep(10)) await it.flush();
    await it.flush();
    assert.equal(hashOf(it.store), compacted);
    await it.close();

    it = open(directory);
    assert.deepEqual([it.store.compactRevision, hashOf(it.store)], [180, compacted]);
    await it.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

function currentValue(it: Opened, key: string): string | undefined {
  return decodeAll(it.store.range(range(key)).records)[0]?.value;
}
