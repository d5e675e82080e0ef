/** Who else comes to the place where a member is made, and what is left there by those who were killed. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { NodeDisk } from "../world/disk.ts";
import { unfinishedMember } from "./machine.ts";
import { UnfinishedMember } from "./unfinished-member.ts";

const root = mkdtempSync(join(tmpdir(), "unfinished-member-"));
after(() => rmSync(root, { recursive: true }));
const target = join(root, "data");
const wal = join(root, "log");
const disk = new NodeDisk();

beforeEach(() => {
  for (const name of readdirSync(root)) rmSync(join(root, name), { recursive: true });
});

async function made(walTarget?: string): Promise<UnfinishedMember> {
  const unfinished = await unfinishedMember(target, walTarget, disk);
  writeFileSync(`${unfinished.directory}/member/db`, "");
  writeFileSync(`${unfinished.walDirectory}/segment`, "");
  return unfinished;
}

/** As a process that is killed after the log has its name, and before the data directory has. */
async function killedBetweenRenames(walTarget: string): Promise<void> {
  const killed = await made(walTarget);
  const isThere = existsSync(target);
  // The last rename fails, and nothing is cleared away.
  const inTheWay = isThere ? `${target}/member/x` : `${target}/x`;
  mkdirSync(inTheWay, { recursive: true });
  assert.throws(() => killed.putInPlace(), { code: "ENOTEMPTY" });
  rmSync(isThere ? `${target}/member` : target, { recursive: true });
  // Its lock goes with the process.
  const site = isThere ? `${target}/.unfinished` : `${target}.unfinished`;
  for (const each of [site, `${walTarget}.unfinished`]) {
    for (const name of readdirSync(each)) if (name.startsWith("lock.")) rmSync(join(each, name));
  }
}

test("a second run is refused while the first is at work, and takes nothing of it away", async () => {
  for (const walTarget of [undefined, wal, join(target, "member/deep/log"), join(target, "deep/log")]) {
    for (const isThere of [false, true]) {
      if (isThere) mkdirSync(target);
      const first = await made(walTarget);
      await assert.rejects(made(walTarget), { kind: "DirectoryLock" });
      first.putInPlace();
      assert.ok(existsSync(`${target}/member/db`));
      assert.ok(existsSync(`${walTarget ?? `${target}/member/wal`}/segment`));
      await assert.rejects(made(walTarget), /data-dir ".*" not empty/);
      assert.deepEqual(
        readdirSync(root, { recursive: true }).filter((name) => /unfinished|lock/.test(String(name))),
        [],
      );
      for (const name of readdirSync(root)) rmSync(join(root, name), { recursive: true });
    }
  }
});

test("the same log for two data directories at once is refused, and the first keeps it", async () => {
  const first = await made(wal);
  const second = unfinishedMember(join(root, "other"), wal, disk);
  await assert.rejects(second, { kind: "DirectoryLock" });
  assert.deepEqual(readdirSync(root).sort(), ["data.unfinished", "log.unfinished"]);
  first.putInPlace();
  assert.deepEqual(readdirSync(wal), ["segment"]);
});

test("a log that a killed run had put in place is replaced by the next run", async () => {
  for (const walTarget of [wal, join(target, "log")]) {
    mkdirSync(target);
    await killedBetweenRenames(walTarget);
    writeFileSync(join(walTarget, "old"), "");
    (await made(walTarget)).putInPlace();
    assert.deepEqual(readdirSync(walTarget), ["segment"]);
    assert.deepEqual(readdirSync(target).sort(), walTarget === wal ? ["member"] : ["log", "member"]);
    for (const name of readdirSync(root)) rmSync(join(root, name), { recursive: true });
  }
  await killedBetweenRenames(wal);
  (await made(wal)).putInPlace();
  assert.deepEqual(readdirSync(root).sort(), ["data", "log"]);
});

test("a log that is not the killed run's is refused, also at its place, and so is one whose member exists", async () => {
  await killedBetweenRenames(wal);
  const another = join(root, "another");
  mkdirSync(another);
  writeFileSync(join(another, "segment"), "");
  await assert.rejects(made(another), /wal-dir ".*another" not empty/);
  mkdirSync(target);
  await assert.rejects(made(wal), /wal-dir ".*log" not empty/);
  rmSync(target, { recursive: true });
  renameSync(wal, join(root, "kept"));
  renameSync(another, wal);
  await assert.rejects(made(wal), /wal-dir ".*log" not empty/);
  assert.deepEqual(readdirSync(wal), ["segment"]);
});

test("what is discarded leaves an empty directory as it was, and the place free", async () => {
  mkdirSync(target);
  (await made(wal)).discard();
  assert.deepEqual(readdirSync(root, { recursive: true }), ["data"]);
  (await made()).putInPlace();
});

test("an empty log directory is refused where it must not exist", async () => {
  mkdirSync(wal);
  const refuse = (place: string): Error => new Error(place);
  const options = { target, walTarget: wal, takesEmptyWal: false, disk, refuse };
  await assert.rejects(UnfinishedMember.prepare(options), /wal-dir/);
  assert.deepEqual(readdirSync(root), ["log"]);
});

test("a place where no directory can be made is refused, and not tried for ever", {
  skip: !existsSync("/proc/self"),
}, async () => {
  await assert.rejects(unfinishedMember("/proc/nowhere/data", undefined, disk), { code: "ENOENT" });
});
