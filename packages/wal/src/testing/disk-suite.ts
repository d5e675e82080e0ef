/** What every Disk does, machine's or simulated. Each implementation's own test file calls {@link diskSuite}. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import type { Disk } from "@quorate/world";

export interface DiskUnderTest {
  readonly disk: Disk;
  /** An existing, empty directory. */
  readonly directory: string;
  /** Lets durable writes come to their end. */
  readonly settle: () => void;
}

export function diskSuite(name: string, make: () => DiskUnderTest): void {
  const bytes = Buffer.from("0123456789");

  test(`${name}: a file is created once, and opened only where it is`, () => {
    const { disk, directory } = make();
    const path = `${directory}/file`;
    assert.equal(disk.exists(path), false);
    assert.throws(() => disk.open(path, "read"), { code: "ENOENT" });
    assert.throws(() => disk.open(path, "write"), { code: "ENOENT" });
    const file = disk.open(path, "create");
    assert.equal(file.path, path);
    assert.equal(file.sizeBytes(), 0);
    assert.equal(disk.exists(path), true);
    assert.throws(() => disk.open(path, "create"), { code: "EEXIST" });
    file.close();
    file.close();
    assert.throws(() => disk.open(`${directory}/no/file`, "create"), { code: "ENOENT" });
  });

  test(`${name}: what is written is read, short at the end of the file`, () => {
    const { disk, directory } = make();
    const file = disk.open(`${directory}/file`, "create");
    file.write(bytes, 2, 7, 5000);
    assert.equal(file.sizeBytes(), 5005);
    file.sync();
    const into = Buffer.alloc(12, 255);
    assert.equal(file.read(into, 12, 4998), 7);
    assert.deepEqual([...into.subarray(0, 8)], [0, 0, 50, 51, 52, 53, 54, 255]);
    assert.equal(file.read(into, 12, 9000), 0);
    file.close();
    const again = disk.open(`${directory}/file`, "read");
    assert.equal(again.sizeBytes(), 5005);
    assert.equal(again.read(into, 2, 5003), 2);
    assert.equal(into.toString("latin1", 0, 2), "56");
    assert.throws(() => again.write(bytes, 0, 1, 0), { code: "EBADF" });
    again.close();
  });

  test(`${name}: truncating cuts off, and grows with zeroes`, () => {
    const { disk, directory } = make();
    const file = disk.open(`${directory}/file`, "create");
    file.write(bytes, 0, 10, 0);
    file.truncate(4);
    file.truncate(9000);
    assert.equal(file.sizeBytes(), 9000);
    const into = Buffer.alloc(10, 255);
    file.read(into, 10, 0);
    assert.equal(into.toString("latin1"), "0123\0\0\0\0\0\0");
    file.close();
  });

  test(`${name}: a durable write ends later, exactly once, and the next may begin in its end`, async () => {
    const { disk, directory, settle } = make();
    const file = disk.open(`${directory}/file`, "create");
    const ends: string[] = [];
    const ended = new Promise<void>((resolve) => {
      file.writeDurably(bytes, 3, 6, 600, (error) => {
        ends.push(`first ${error}`);
        file.writeDurably(bytes, 0, 2, 0, (secondError) => {
          ends.push(`second ${secondError}`);
          resolve();
        });
      });
    });
    assert.deepEqual(ends, []);
    settle();
    await ended;
    assert.deepEqual(ends, ["first null", "second null"]);
    const into = Buffer.alloc(3);
    file.read(into, 3, 600);
    assert.equal(into.toString("latin1"), "345");
    file.read(into, 3, 0);
    assert.equal(into.toString("latin1"), "01\0");
    file.close();
  });

  test(`${name}: names are listed in order, renamed over others, and removed`, () => {
    const { disk, directory } = make();
    for (const each of ["c", "a", "b"]) disk.open(`${directory}/${each}`, "create").close();
    const file = disk.open(`${directory}/a`, "write");
    file.write(bytes, 0, 5, 0);
    file.close();
    disk.makeDirectory(`${directory}/d`);
    assert.throws(() => disk.makeDirectory(`${directory}/d`), { code: "EEXIST" });
    assert.throws(() => disk.makeDirectory(`${directory}/no/e`), { code: "ENOENT" });
    disk.syncDirectory(directory);
    assert.deepEqual(disk.readDirectory(directory), ["a", "b", "c", "d"]);
    disk.rename(`${directory}/a`, `${directory}/b`);
    disk.remove(`${directory}/c`);
    disk.remove(`${directory}/d`);
    disk.syncDirectory(directory);
    assert.deepEqual(disk.readDirectory(directory), ["b"]);
    const moved = disk.open(`${directory}/b`, "read");
    assert.equal(moved.sizeBytes(), 5);
    moved.close();
    assert.throws(() => disk.remove(`${directory}/c`), { code: "ENOENT" });
    assert.throws(() => disk.rename(`${directory}/c`, `${directory}/e`), { code: "ENOENT" });
    assert.throws(() => disk.readDirectory(`${directory}/d`), { code: "ENOENT" });
  });
}
