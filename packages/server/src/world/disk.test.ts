import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { diskSuite } from "@quorate/wal/testing";
import { NodeDisk } from "./disk.ts";

const root = fs.mkdtempSync(path.join(os.tmpdir(), "quorate-disk-"));
after(() => fs.rmSync(root, { recursive: true }));
let count = 0;

function newDirectory(): string {
  const directory = `${root}/${++count}`;
  fs.mkdirSync(directory);
  return directory;
}

for (const durableWriteMethod of ["dsync", "fdatasync"] as const) {
  diskSuite(`machine's disk, ${durableWriteMethod}`, () => ({
    disk: new NodeDisk({ durableWriteMethod }),
    directory: newDirectory(),
    // The ends come by themselves.
    settle: () => {},
  }));

  test(`a durable write that fails says so, with the system's code: ${durableWriteMethod}`, async (context) => {
    if (!fs.existsSync("/dev/full")) return context.skip("no /dev/full");
    const file = new NodeDisk({ durableWriteMethod }).open("/dev/full", "write");
    const error = await new Promise<Error | null>((resolve) => file.writeDurably(Buffer.alloc(9), 0, 9, 0, resolve));
    assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
    file.close();
  });
}

test("a second durable write before the first has ended is refused, and so is closing", async () => {
  const file = new NodeDisk().open(`${newDirectory()}/file`, "create");
  const bytes = Buffer.alloc(100);
  const ended = new Promise((resolve) => file.writeDurably(bytes, 0, 100, 0, resolve));
  assert.throws(() => file.writeDurably(bytes, 0, 100, 100, () => {}), /under way already/);
  assert.throws(() => file.close(), /under way/);
  assert.equal(await ended, null);
  file.close();
});

test("files and directories are the owner's alone", () => {
  const directory = newDirectory();
  const disk = new NodeDisk();
  disk.open(`${directory}/file`, "create").close();
  disk.makeDirectory(`${directory}/inner`);
  assert.equal(fs.statSync(`${directory}/file`).mode & 0o077, 0);
  assert.equal(fs.statSync(`${directory}/inner`).mode & 0o077, 0);
});
