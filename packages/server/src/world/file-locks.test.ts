import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isInstalled } from "../../../../tests/harness/processes.ts";
import { isLocked, lockedFiles } from "./file-locks.ts";

const TABLE = `1: POSIX  ADVISORY  WRITE 12701 fe:00:10559586 12701 12701
2: FLOCK  ADVISORY  WRITE 12688 fe:01:10560715 0 EOF
2: -> FLOCK  ADVISORY  WRITE 12689 fe:01:10560799 0 EOF
3: OFDLCK ADVISORY  WRITE -1 00:2f:77 0 EOF
4: LEASE  ACTIVE    READ 1 fe:00:55 0 EOF
`;

test("a file is locked if the table names its device and inode", () => {
  const device = 0xfe01n;
  assert.equal(isLocked(TABLE, device, 10560715n), true);
  assert.equal(isLocked(TABLE, device, 10560799n), true);
  assert.equal(isLocked(TABLE, device, 10559586n), false);
  assert.equal(isLocked(TABLE, 0xfe00n, 10559586n), true);
  assert.equal(isLocked(TABLE, 0xfe00n, 55n), false);
  // A file of an overlay: the lock's device is another anonymous one.
  assert.equal(isLocked(TABLE, 0x31n, 77n), true);
});

test("the lock of another process is seen while it lasts", { skip: !isInstalled("flock", "--version") }, async () => {
  const directory = mkdtempSync(join(tmpdir(), "file-locks-"));
  try {
    const path = join(directory, "file");
    writeFileSync(path, "");
    const free = join(directory, "free");
    writeFileSync(free, "");
    assert.deepEqual(lockedFiles([path, free, join(directory, "none")]), []);
    const holder = spawn("flock", [path, "sh", "-c", "echo held; read line"], { stdio: ["pipe", "pipe", "inherit"] });
    await new Promise((resolve) => holder.stdout.once("data", resolve));
    assert.deepEqual(lockedFiles([path, free, join(directory, "none")]), [path]);
    const ended = new Promise((resolve) => holder.once("exit", resolve));
    holder.stdin.end("\n");
    await ended;
    assert.deepEqual(lockedFiles([path]), []);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
