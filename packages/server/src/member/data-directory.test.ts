/** The data directory on the machine's own disk: what is durable before what, and what is refused untouched. */
import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { SeededRandom } from "@quorate/wal/testing";
import { silentLog } from "@quorate/world";
import { type Config, configOf } from "../config/config.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import { identityOf } from "../testing/simulated-machine.ts";
import { NodeDisk } from "../world/disk.ts";
import { type OpenedMember, openDataDirectory } from "./data-directory.ts";
import type { World } from "./open-member.ts";

const root = mkdtempSync(join(tmpdir(), "data-directory-"));
after(() => rmSync(root, { recursive: true }));

/** Writes down which directories are synced, and which files are made, in order. */
class WitnessDisk extends NodeDisk {
  readonly calls: string[] = [];

  override syncDirectory(path: string): void {
    super.syncDirectory(path);
    this.calls.push(`sync ${path}`);
  }

  override makeDirectory(path: string): void {
    this.calls.push(`make ${path}`);
    super.makeDirectory(path);
  }
}

function worldOf(disk: NodeDisk): World {
  const time = new ManualWorld();
  const log = silentLog;
  const random = new SeededRandom(1);
  return { disk, clock: time, timers: time, random, log, raftLog: log, segmentBytes: 64 * 1024 };
}

function configFor(directory: string, settings: Readonly<Record<string, string>> = {}): Config {
  return configOf(new Map(Object.entries({ name: "m", "data-dir": directory, ...settings })), true);
}

/** All names below, but for the lock, which every start renews. */
function contentsOf(directory: string): string[] {
  const names = readdirSync(directory, { recursive: true }).map(String);
  return names.filter((name) => !name.startsWith("lock.")).sort();
}

function openFor(config: Config, world: World): Promise<OpenedMember> {
  return openDataDirectory(config, world, () => Promise.resolve(identityOf(config)));
}

async function close({ parts, locks }: OpenedMember): Promise<void> {
  parts.wal.close();
  await new Promise<void>((resolve, reject) => {
    parts.state.backend.storage.close((error) => (error === null ? resolve() : reject(error)));
  });
  for (const lock of locks) lock.release();
}

// covers: WA-06, WA-07
test("every directory is durable in its parent before the log is made in it", async () => {
  const disk = new WitnessDisk();
  const directory = join(root, "new", "deep", "data");
  await close(await openFor(configFor(directory), worldOf(disk)));
  const log = disk.calls.findIndex((each) => each.startsWith(`make ${directory}/member/wal`));
  assert.ok(log > 0);
  for (const parent of [root, join(root, "new"), join(root, "new", "deep"), directory]) {
    const at = disk.calls.indexOf(`sync ${parent}`);
    assert.ok(at >= 0 && at < log, parent);
  }
  // A crash may have come between making and syncing: the next start syncs again.
  disk.calls.length = 0;
  await close(await openFor(configFor(directory), worldOf(disk)));
  assert.ok(disk.calls.includes(`sync ${directory}`) && disk.calls.includes(`sync ${join(root, "new", "deep")}`));
});

// covers: SA-06
test("only the owner may enter, also a directory that was open before", async () => {
  const directory = join(root, "open");
  mkdirSync(directory, { mode: 0o755 });
  await close(await openFor(configFor(directory), worldOf(new NodeDisk())));
  for (const each of [directory, join(directory, "member"), join(directory, "member/wal")]) {
    assert.equal(statSync(each).mode & 0o077, 0, each);
  }
});

test("a database without its log is refused, and neither is touched", async () => {
  const directory = join(root, "no-log");
  await close(await openFor(configFor(directory), worldOf(new NodeDisk())));
  rmSync(join(directory, "member/wal"), { recursive: true });
  const before = contentsOf(join(directory, "member"));
  await assert.rejects(openFor(configFor(directory), worldOf(new NodeDisk())), {
    kind: "DataDirectory",
    message: /has a database but .* has no log/,
  });
  assert.deepEqual(contentsOf(join(directory, "member")), before);
});

test("a database cut short refuses the start, naming the file", async () => {
  const directory = join(root, "cut-short");
  await close(await openFor(configFor(directory), worldOf(new NodeDisk())));
  const database = join(directory, "member/db/db");
  truncateSync(database, statSync(database).size >> 1);
  await assert.rejects(openFor(configFor(directory), worldOf(new NodeDisk())), {
    kind: "StorageDamaged",
    message: /member\/db\/db is damaged at offset \d+: /,
  });
});

test("a directory of etcd's is refused before anything is made in it", async () => {
  for (const file of ["member/snap/db", "member/wal/0000000000000000-0000000000000000.wal"]) {
    const directory = join(root, `etcd-${file.length}`);
    mkdirSync(join(directory, file, ".."), { recursive: true });
    writeFileSync(join(directory, file), "");
    const before = contentsOf(directory);
    await assert.rejects(openFor(configFor(directory), worldOf(new NodeDisk())), { kind: "DataDirectory" });
    assert.deepEqual(contentsOf(directory), before);
  }
});

test("a member that has begun keeps its identity, whatever the flags of a later start say", async () => {
  const other = { "initial-cluster-token": "another" };
  const directory = join(root, "begun");
  const { parts, locks } = await openFor(configFor(directory), worldOf(new NodeDisk()));
  await close({ parts, locks });
  const again = await openFor(configFor(directory, other), worldOf(new NodeDisk()));
  assert.equal(again.parts.id, parts.id);
  await close(again);
});

test("a directory in use is refused, and free again after a refused start", async () => {
  const directory = join(root, "used");
  const first = await openFor(configFor(directory), worldOf(new NodeDisk()));
  await assert.rejects(openFor(configFor(directory), worldOf(new NodeDisk())));
  await close(first);
  await close(await openFor(configFor(directory), worldOf(new NodeDisk())));
  assert.equal(existsSync(join(directory, "member/db")), true);
});

test("a log elsewhere is locked too: two members cannot write the same one", async () => {
  const log = { "wal-dir": join(root, "shared-log") };
  const first = await openFor(configFor(join(root, "one"), log), worldOf(new NodeDisk()));
  await assert.rejects(openFor(configFor(join(root, "two"), log), worldOf(new NodeDisk())));
  await close(first);
  await close(await openFor(configFor(join(root, "one"), log), worldOf(new NodeDisk())));
});
