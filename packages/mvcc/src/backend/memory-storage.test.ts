import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom, SimDisk } from "@quorate/wal/testing";
import { MemoryImage, MemoryStorage } from "./memory-storage.ts";
import { SnapshotError, type Storage, StorageFailedError } from "./storage.ts";
import { collect } from "./testing/records.ts";
import { fileOf, minimal, snapshotSuite } from "./testing/snapshot-suite.ts";
import { batchOf, storageSuite } from "./testing/storage-suite.ts";

storageSuite("MemoryStorage", () => {
  const image = new MemoryImage();
  return { open: () => new MemoryStorage({ image, schedule: queueMicrotask }), dispose() {} };
});

snapshotSuite("MemoryStorage", () => {
  const disk = diskWith();
  const image = new MemoryImage();
  const schedule = queueMicrotask;
  return {
    open: () => new MemoryStorage({ image, schedule, disk }),
    dispose() {},
    path: (name) => `/files/${name}`,
    readFile: (path) => (disk.exists(path) ? readFile(disk, path) : null),
    writeFile: (path, bytes) => writeFile(disk, path, bytes),
    readSnapshot(path) {
      let resolve: (storage: Storage) => void;
      let reject: (error: Error) => void;
      const read = new Promise<Storage>((...settle) => {
        [resolve, reject] = settle;
      });
      const task = MemoryStorage.readSnapshot({ path, disk, schedule }, (error, storage) => {
        if (error === null) resolve(storage!);
        else reject(error);
      });
      return { task, read };
    },
    made: () => [],
  };
});

function diskWith(): SimDisk {
  const disk = new SimDisk({ random: new SeededRandom(1) });
  disk.makeDirectory("/files");
  disk.syncDirectory("/");
  return disk;
}

function readFile(disk: SimDisk, path: string): Buffer {
  const file = disk.open(path, "read");
  const bytes = Buffer.alloc(file.sizeBytes());
  file.read(bytes, bytes.length, 0);
  file.close();
  return bytes;
}

function writeFile(disk: SimDisk, path: string, bytes: Uint8Array): void {
  if (disk.exists(path)) disk.remove(path);
  const file = disk.open(path, "create");
  file.write(bytes, 0, bytes.length, 0);
  file.close();
}

test("a snapshot happens when its step is taken, and outlives a crash of the disk from then on", () => {
  const disk = diskWith();
  const storage = new MemoryStorage({ disk });
  storage.commit(batchOf([["2/0", "a"]]), () => {});
  let isWritten = false;
  storage.writeSnapshot("/files/snapshot", (error) => {
    assert.equal(error, null);
    isWritten = true;
  });
  storage.step();
  assert.deepEqual([isWritten, disk.exists("/files/snapshot")], [false, false]);
  storage.step();
  assert.equal(isWritten, true);
  const written = readFile(disk, "/files/snapshot");
  disk.crash();
  assert.ok(readFile(disk, "/files/snapshot").equals(written));
});

test("a snapshot is read when its step is taken", () => {
  const disk = diskWith();
  writeFile(disk, "/files/snapshot", fileOf(minimal()));
  let read: MemoryStorage | null = null;
  const task = MemoryStorage.readSnapshot({ path: "/files/snapshot", disk }, (_, storage) => {
    read = storage;
  });
  assert.equal(read, null);
  assert.equal(task.step(), true);
  assert.equal(task.step(), false);
  assert.equal(collect(read!).length, 1);
});

test("a snapshot that the disk fails to write, wherever, leaves no file and a storage that goes on", () => {
  for (let failAt = 0; ; failAt++) {
    const disk = diskWith();
    const storage = new MemoryStorage({ disk });
    storage.commit(batchOf([["2/0", "a".repeat(400_000)]]), () => {});
    storage.step();
    let calls = 0;
    disk.onCall = (call) => {
      if (call === "remove" || calls++ !== failAt) return null;
      return Object.assign(new Error(`ENOSPC: no space left on device, ${call}`), { code: "ENOSPC" });
    };
    let outcome: Error | null | undefined;
    storage.writeSnapshot("/files/snapshot", (error) => {
      outcome = error;
    });
    storage.step();
    if (calls <= failAt) {
      assert.equal(outcome, null);
      assert.ok(failAt > 4, `${failAt} calls`);
      break;
    }
    assert.ok(outcome instanceof SnapshotError && outcome.code === "ENOSPC", String(outcome));
    assert.equal(disk.exists("/files/snapshot"), false);
    storage.commit(batchOf([["3/0", "b"]]), (error) => assert.equal(error, null));
    storage.step();
    assert.equal(collect(storage).length, 2);
  }
});

test("a commit happens when its step is taken, and one that never is leaves no trace", () => {
  const storage = new MemoryStorage();
  assert.equal(storage.step(), false);
  let isDone = false;
  storage.commit(batchOf([["2/0", "a"]]), () => {
    isDone = true;
  });
  assert.equal(isDone, false);
  assert.deepEqual(collect(storage), []);
  assert.equal(storage.step(), true);
  assert.equal(isDone, true);
  storage.commit(batchOf([["3/0", "b"]]), () => assert.fail("called after a crash"));
  storage.crash();
  assert.equal(storage.step(), false);
  assert.throws(() => collect(storage), /storage is open/);
  assert.deepEqual(collect(new MemoryStorage({ image: storage.image })), ["2/0 a"]);
});

test("a failed commit changes nothing, and neither does any later one", () => {
  // covers: WA-08
  const storage = new MemoryStorage();
  const cause = new Error("EIO");
  const errors: (Error | null)[] = [];
  storage.failNextCommit(cause);
  storage.commit(batchOf([["2/0", "a"]]), (error) => errors.push(error));
  storage.step();
  storage.commit(batchOf([["3/0", "b"]]), (error) => errors.push(error));
  storage.step();
  assert.ok(errors[0] instanceof StorageFailedError);
  assert.equal(errors[0].cause, cause);
  assert.equal(errors[1], errors[0]);
  assert.deepEqual(collect(storage), []);
});
