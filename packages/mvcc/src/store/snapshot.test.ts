import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLog } from "@quorate/world";
import { isInstalled, ServerProcess } from "../../../../tests/harness/processes.ts";
import { Backend } from "../backend/backend.ts";
import { LmdbStorage } from "../backend/lmdb-storage.ts";
import type { DatabaseCut, Storage } from "../backend/storage.ts";
import { Store } from "./store.ts";
import { deleteRange, op, put, TestLeases, txn } from "./testing/harness.ts";

// Whole databases out and in again, judged by HashKV: within our own storage, from a real etcd and to a real etcd.

const ETCD = process.env.ETCD ?? "etcd";
const CTL = process.env.ETCDCTL ?? "etcdctl";
const UTL = process.env.ETCDUTL ?? "etcdutl";
const environment = { ...process.env, ETCDCTL_API: "3" };

interface Opened {
  readonly storage: Storage;
  readonly backend: Backend;
  readonly leases: TestLeases;
  readonly store: Store;
}

function openOver(storage: Storage): Opened {
  const backend = new Backend({ storage, chunkBytes: 4096, cacheBytes: 0 });
  const leases = new TestLeases(leaseIds(storage));
  return { storage, backend, leases, store: Store.open({ backend, leases, log: silentLog }) };
}

function leaseIds(storage: Storage): bigint[] {
  const ids: bigint[] = [];
  storage.scan("lease", (key) => ids.push(Buffer.from(key).readBigInt64BE()));
  return ids;
}

function hashOf(store: Store, revision = 0): { hash: number; compactRevision: number; revision: number } {
  const task = store.startHash(revision);
  while (task.step(1000)) {
    // Until everything is taken in.
  }
  return { hash: task.hash, compactRevision: task.compactRevision, revision: task.revision };
}

function settled(start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => start((error) => (error === null ? resolve() : reject(error))));
}

function flush(it: Opened): Promise<void> {
  it.backend.applied(it.backend.appliedIndex + 1, 2);
  return settled((done) => it.backend.flush(done));
}

function writeSnapshot(storage: Storage, path: string): Promise<DatabaseCut> {
  return new Promise((resolve, reject) => {
    storage.writeSnapshot(path, (error, cut) => (error === null ? resolve(cut!) : reject(error)));
  });
}

function readSnapshot(path: string, directory: string): Promise<LmdbStorage> {
  return new Promise((resolve, reject) => {
    LmdbStorage.readSnapshot({ path, directory }, (error, storage) =>
      error === null ? resolve(storage!) : reject(error),
    );
  });
}

/** Runs with a directory that is removed afterwards. */
async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "quorate-snapshot-"));
  try {
    await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Puts, deletes, transactions and leases, a compaction carried out and another one pending. */
async function history(storage: Storage): Promise<Opened> {
  const lease = Buffer.alloc(8);
  lease.writeBigInt64BE(7n);
  const it = openOver(storage);
  it.backend.put("lease", lease, Buffer.from("0807100a", "hex"));
  it.leases.keys.set(7n, new Set());
  for (let i = 0; i < 400; i++) {
    const key = `k${i % 37}`;
    if (i % 9 === 5) it.store.deleteRange(deleteRange(key));
    else if (i % 10 === 3)
      it.store.txn(txn([op(put(key, `t${i}`)), op(put(`x${i % 5}`)), op(deleteRange("k3", "k4"))]));
    else it.store.put(put(key, "v".repeat(i), { lease: i % 4 === 0 ? 7n : 0n }));
    if (i === 150) it.store.compact(100);
    if (i === 200) {
      while (it.store.compactionStep(100)) {
        // Until it is carried out.
      }
    }
    if (i % 100 === 99) await flush(it);
  }
  it.store.compact(300);
  await flush(it);
  return it;
}

test("a store over a snapshot of another is that store", async () => {
  await inDirectory(async (directory) => {
    const it = await history(new LmdbStorage({ directory: join(directory, "storage") }));
    const path = join(directory, "snapshot");
    const cut = await writeSnapshot(it.storage, path);
    const copy = openOver(await readSnapshot(path, join(directory, "copy")));
    const { revision } = it.store;
    assert.deepEqual([cut.appliedIndex, cut.appliedTerm, cut.revision], [it.backend.appliedIndex, 2, revision]);
    assert.deepEqual([copy.backend.appliedIndex, copy.backend.appliedTerm], [it.backend.appliedIndex, 2]);
    assert.deepEqual([copy.store.revision, copy.store.compactRevision], [revision, 300]);
    assert.equal(copy.store.pendingCompactions, 1);
    assert.deepEqual(copy.leases.attachments(), it.leases.attachments());
    for (const at of [300, 350, 0]) assert.deepEqual(hashOf(copy.store, at), hashOf(it.store, at));
    for (const { store } of [it, copy]) {
      while (store.compactionStep(50)) {
        // Until it is carried out.
      }
    }
    assert.deepEqual(hashOf(copy.store), hashOf(it.store));
    await settled((done) => copy.storage.close(done));
    await settled((done) => it.storage.close(done));
  });
});

test("what a real etcd left is a store with the hash that etcd said", {
  skip: !isInstalled(ETCD) || !isInstalled(CTL, "version"),
}, async () => {
  const etcd = await ServerProcess.etcd();
  try {
    const run = (...args: string[]): string => ctl(etcd, args);
    const lease = /lease ([0-9a-f]+) granted/.exec(run("lease", "grant", "1000"))![1]!;
    for (let i = 0; i < 12; i++) run("put", `key${i % 5}`, "v".repeat(i * 900), `--lease=${i % 2 === 0 ? lease : "0"}`);
    run("del", "key1");
    run("compaction", "9", "--physical");
    run("put", "key2", "last");
    const said = etcdHash(etcd);
    await etcd.kill("SIGTERM");
    await inDirectory(async (directory) => {
      const storage = await readSnapshot(join(etcd.directory, "data/member/snap/db"), join(directory, "storage"));
      const it = openOver(storage);
      assert.deepEqual(hashOf(it.store), said);
      assert.deepEqual(it.leases.attachments(), attachedBy(lease, [0, 3]));
      assert.ok(it.backend.appliedIndex > 14);
      const path = join(directory, "snapshot");
      assert.equal((await writeSnapshot(storage, path)).revision, said.revision);
      await settled((done) => storage.close(done));
    });
  } finally {
    await etcd.dispose();
  }
});

test("a real etcd restored from our snapshot has our hash, and goes on", {
  skip: !isInstalled(ETCD) || !(isInstalled(UTL, "version") || isInstalled(CTL, "version")),
}, async () => {
  await inDirectory(async (directory) => {
    const it = await history(new LmdbStorage({ directory: join(directory, "storage") }));
    while (it.store.compactionStep(100)) {
      // etcd finishes a pending compaction in its own time.
    }
    await flush(it);
    const ours = hashOf(it.store);
    const path = join(directory, "snapshot");
    await writeSnapshot(it.storage, path);
    await settled((done) => it.storage.close(done));
    withDigest(path, join(directory, "saved"));
    restore(join(directory, "saved"), join(directory, "data"));
    const etcd = await ServerProcess.etcd({ directory });
    try {
      assert.deepEqual(etcdHash(etcd), ours);
      ctl(etcd, ["put", "more", "of it"]);
      ctl(etcd, ["del", "k", "--prefix"]);
      ctl(etcd, ["defrag"]);
      const { hash, ...rest } = etcdHash(etcd);
      assert.deepEqual(rest, { revision: ours.revision + 2, compactRevision: 300 });
      await etcd.kill("SIGTERM");
      const copy = await readSnapshot(join(directory, "data/member/snap/db"), join(directory, "copy"));
      assert.equal(hashOf(openOver(copy).store).hash, hash);
      await settled((done) => copy.close(done));
    } finally {
      await etcd.dispose();
    }
  });
});

test("a revision raised by etcd's restore gives the hash that etcd gives", {
  skip: !isInstalled(ETCD) || !isInstalled(UTL, "version"),
}, async () => {
  // covers: SN-11
  await inDirectory(async (directory) => {
    const it = await history(new LmdbStorage({ directory: join(directory, "storage") }));
    await writeSnapshot(it.storage, join(directory, "snapshot"));
    const { revision } = it.store;
    await settled((done) => it.storage.close(done));
    withDigest(join(directory, "snapshot"), join(directory, "saved"));
    restore(join(directory, "saved"), join(directory, "data"), ["--bump-revision=5000", "--mark-compacted"]);
    mkdirSync(join(directory, "copies"));
    copyFileSync(join(directory, "data/member/snap/db"), join(directory, "copies/restored"));
    const etcd = await ServerProcess.etcd({ directory });
    try {
      ctl(etcd, ["put", "after", "it"]);
      const said = etcdHash(etcd);
      assert.deepEqual([said.revision, said.compactRevision], [revision + 5001, revision + 5000]);
      // Its own restored file, in which the compaction is still to be done, and the put that it did since.
      const copy = openOver(await readSnapshot(join(directory, "copies/restored"), join(directory, "copies/storage")));
      copy.store.put(put("after", "it"));
      assert.deepEqual(hashOf(copy.store), said);
      while (copy.store.compactionStep(100)) {
        // Until it is carried out.
      }
      assert.deepEqual(hashOf(copy.store), said);
      await settled((done) => copy.storage.close(done));
    } finally {
      await etcd.dispose();
    }
  });
});

function ctl(etcd: ServerProcess, args: readonly string[]): string {
  return execFileSync(CTL, [`--endpoints=${etcd.endpoint}`, ...args], { env: environment, stdio: "pipe" }).toString();
}

/** Hash, compacted and current revision, of the same moment because nobody writes. */
function etcdHash(etcd: ServerProcess): { hash: number; compactRevision: number; revision: number } {
  const [said] = JSON.parse(ctl(etcd, ["endpoint", "hashkv", "--write-out=json"]));
  const { hash, compact_revision, header } = said.HashKV ?? said.Hash;
  return { hash, compactRevision: compact_revision ?? -1, revision: header.revision };
}

function attachedBy(lease: string, keys: readonly number[]): string[] {
  return keys.map((key) => `${BigInt(`0x${lease}`)}:key${key}`);
}

/** As `snapshot save` leaves a file: its digest behind it. */
function withDigest(from: string, to: string): void {
  const bytes = readFileSync(from);
  writeFileSync(to, Buffer.concat([bytes, createHash("sha256").update(bytes).digest()]));
}

/** The newer etcd's tool of its own, or the older one's client. */
function restore(from: string, to: string, flags: readonly string[] = []): void {
  const tool = isInstalled(UTL, "version") ? UTL : CTL;
  execFileSync(tool, ["snapshot", "restore", from, `--data-dir=${to}`, ...flags], { env: environment, stdio: "pipe" });
}
