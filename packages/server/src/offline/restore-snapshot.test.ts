/** A snapshot becomes a data directory as a whole, or nothing is left of the attempt. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { PutRequest, SnapshotRequest, SnapshotResponse } from "@quorate/api/messages";
import { silentLog } from "@quorate/world";
import { configOfDirectory, machineWorld } from "../exchange-data/machine.ts";
import { openDataDirectory } from "../member/data-directory.ts";
import type { MemberParts } from "../member/open-member.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";
import { keysHashOf } from "./keys-hash.ts";
import { type RestoreOptions, restoreSnapshot } from "./restore-snapshot.ts";
import { snapshotStatus } from "./snapshot-status.ts";

const root = mkdtempSync(join(tmpdir(), "quorate-restore-"));
after(() => rmSync(root, { recursive: true, force: true }));
const path = join(root, "snapshot.db");
const target = join(root, "target");

async function snapshotBytes(): Promise<Buffer> {
  const simulated = await SimulatedMember.serving();
  for (let i = 0; i < 60; i++) {
    simulated.send("/etcdserverpb.KV/Put", PutRequest, { key: Buffer.from(`k${i}`), value: Buffer.alloc(300, i) });
    simulated.settle();
  }
  const call = simulated.send("/etcdserverpb.Maintenance/Snapshot", SnapshotRequest, {});
  simulated.settle();
  return Buffer.concat(call.messages.map((each) => SnapshotResponse.decode(each, 0, each.length).blob));
}

function options(more: Partial<RestoreOptions> = {}): RestoreOptions {
  return {
    snapshotPath: path,
    name: "default",
    dataDirectory: target,
    walDirectory: null,
    initialCluster: "default=http://localhost:2380",
    initialClusterToken: "etcd-cluster",
    initialAdvertisePeerUrls: "http://localhost:2380",
    skipsHashCheck: false,
    bumpRevision: 0,
    ...more,
  };
}

function kindOf(error: unknown): string {
  return String((error as { kind?: unknown }).kind);
}

/** The kind of the refusal; null if it was restored. What is in the root afterwards is the snapshot, and perhaps the target. */
async function attempt(bytes: Uint8Array, more: Partial<RestoreOptions> = {}): Promise<string | null> {
  writeFileSync(path, bytes);
  let kind: string | null = null;
  try {
    await restoreSnapshot(options(more), silentLog);
  } catch (error) {
    kind = kindOf(error);
  }
  const expected = kind === null ? ["snapshot.db", "target"] : ["snapshot.db"];
  assert.deepEqual(readdirSync(root).sort(), expected);
  rmSync(target, { recursive: true, force: true });
  return kind;
}

// covers: SN-07, SN-09
test("a file cut short anywhere, or altered at any byte, is refused, and nothing is left behind", async () => {
  const whole = await snapshotBytes();
  for (let at = 0; at < whole.length; at += at % 4096 < 96 || at > whole.length - 64 ? 1 : 331) {
    const altered = Buffer.from(whole);
    altered[at]! ^= 0x10;
    assert.equal(await attempt(altered), "Digest", `byte ${at}`);
  }
  const cuts = [0, 1, 31, 32, 33, 511, 512, 543, 544, 4095, 4096, 4097, 4128, whole.length - 33, whole.length - 32];
  for (let at = 100; at < whole.length; at += 997) cuts.push(at);
  for (const at of cuts) assert.equal(await attempt(whole.subarray(0, at)), "Digest", `cut at ${at}`);
  assert.equal(await attempt(Buffer.concat([whole, Buffer.alloc(512)])), "Digest", "longer than it was");
  assert.equal(await attempt(whole), null);
});

test("without the digest a damaged structure is still refused, and what is restored is whole", async () => {
  const whole = await snapshotBytes();
  const database = whole.subarray(0, -32);
  let refusals = 0;
  for (const at of [
    4,
    24,
    64,
    4120,
    8192,
    8200,
    8204,
    8208,
    8230,
    12_290,
    12_300,
    16_384,
    16_396,
    database.length - 4090,
  ]) {
    const altered = Buffer.from(database);
    // Both metas alike, or the other one would do.
    altered[at]! ^= 0xff;
    if (at < 4096) altered[4096 + at]! ^= 0xff;
    const kind = await attempt(altered, { skipsHashCheck: true });
    if (kind === null) continue;
    assert.ok(["SnapshotDamaged", "Snapshot"].includes(kind), kind);
    refusals++;
  }
  assert.ok(refusals >= 8, `${refusals} refusals`);
  assert.equal(await attempt(database.subarray(0, -4096), { skipsHashCheck: true }), "SnapshotDamaged");
  assert.equal(await attempt(database), "Digest", "it must be said that there is none");
  assert.equal(await attempt(database, { skipsHashCheck: true }), null);
});

// covers: SN-12
test("an occupied place, and a configuration that makes no sense, are refused before anything is made", async () => {
  const whole = await snapshotBytes();
  writeFileSync(path, whole);
  mkdirSync(join(target, "member/wal"), { recursive: true });
  const refused = async (more: Partial<RestoreOptions>, reason: RegExp): Promise<void> => {
    await assert.rejects(restoreSnapshot(options(more), silentLog), reason);
    assert.ok(!existsSync(`${target}.unfinished`));
  };
  await refused({}, /data-dir ".*target" not empty or could not be read/);
  rmSync(target, { recursive: true });
  await refused({ walDirectory: root }, /wal-dir ".*" exists/);
  await refused({ name: "other" }, /couldn't find local name "other" in the initial cluster configuration/);
  await refused(
    { initialAdvertisePeerUrls: "http://localhost:1" },
    /--initial-cluster has default=http:\/\/localhost:2380/,
  );
  await refused({ initialCluster: "default=nonsense" }, /URL scheme must be http, https, unix, or unixs: nonsense/);
  await refused({ snapshotPath: `${root}/none` }, /open .*none: no such file or directory/);
  await refused({ bumpRevision: Number.MAX_SAFE_INTEGER }, /takes revision 61 beyond 2\^53/);
  assert.deepEqual(readdirSync(root), ["snapshot.db"]);
});

test("what a killed attempt has left is replaced, and an empty directory is taken as it is", async () => {
  writeFileSync(path, await snapshotBytes());
  const { hash } = await keysHashOf({ path, revision: 0, timeoutMs: 1000, log: silentLog });
  for (const isThere of [false, true]) {
    const site = isThere ? `${target}/.unfinished` : `${target}.unfinished`;
    mkdirSync(`${site}/data/member/db`, { recursive: true });
    writeFileSync(`${site}/data/member/db/db`, "half");
    // A mount point cannot be replaced by another directory.
    const place = isThere ? statSync(target).ino : null;
    await restoreSnapshot(options(), silentLog);
    assert.deepEqual(readdirSync(root).sort(), ["snapshot.db", "target"]);
    assert.deepEqual(readdirSync(target), ["member"]);
    assert.deepEqual(readdirSync(`${target}/member`).sort(), ["db", "wal"]);
    if (place !== null) assert.equal(statSync(target).ino, place);
    assert.equal((await keysHashOf({ path: target, revision: 0, timeoutMs: 1000, log: silentLog })).hash, hash);
    rmSync(target, { recursive: true });
  }
});

/** As a start would, and closes it again. */
async function opened(check: (parts: MemberParts) => void, walDirectory?: string): Promise<void> {
  const neverAsked = (): never => assert.fail("the log says who we are");
  const config = configOfDirectory(target, walDirectory);
  const { parts, locks } = await openDataDirectory(config, machineWorld(silentLog), neverAsked);
  try {
    check(parts);
  } finally {
    parts.wal.close();
    await new Promise<void>((done) => parts.state.backend.storage.close(() => done()));
    for (const lock of locks) lock.release();
  }
}

test("a restored member opens at its state, and not at all once the database is missing", async () => {
  writeFileSync(path, await snapshotBytes());
  const initialCluster = "default=http://localhost:2380,other=http://localhost:2381";
  await restoreSnapshot(options({ initialCluster }), silentLog);
  await opened(({ state, logStorage, markedIndex }) => {
    assert.deepEqual([state.backend.flushedIndex, state.store.revision], [2, 61]);
    assert.deepEqual([markedIndex, logStorage.firstIndex(), logStorage.lastIndex()], [2, 3, 2]);
    const { hardState, confState } = logStorage.initialState();
    assert.deepEqual(hardState, { term: 1, vote: 0n, commit: 2 });
    assert.deepEqual(
      [...confState.voters].sort(),
      state.membership
        .members()
        .map(({ id }) => id)
        .sort(),
    );
  });
  rmSync(`${target}/member/db`, { recursive: true });
  await assert.rejects(
    opened(() => {}),
    /continues from index 3, but the newest usable snapshot is at index 0/,
  );
  rmSync(target, { recursive: true });
});

test("status tells damage from a file that is only not what was saved", async () => {
  const whole = await snapshotBytes();
  writeFileSync(path, whole);
  const { revision, totalKeys, sizeBytes, storageVersion } = snapshotStatus(path, silentLog);
  assert.deepEqual([revision, totalKeys, sizeBytes, storageVersion], [61, 60, whole.length - 32, "3.7.0"]);
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (message: string) => warnings.push(message) };
  const altered = Buffer.from(whole);
  altered[altered.indexOf(Buffer.alloc(100, 7))]! ^= 1;
  writeFileSync(path, altered);
  assert.equal(snapshotStatus(path, log).revision, 61);
  assert.deepEqual(warnings, ["the file is not what was saved; it cannot be restored"]);
  writeFileSync(path, whole.subarray(0, -8192));
  assert.throws(() => snapshotStatus(path, silentLog), /snapshot file integrity check failed\. 1 errors found\.\n/);
});
