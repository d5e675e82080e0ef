import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryImage, MemoryStorage } from "./memory-storage.ts";
import { StorageFailedError } from "./storage.ts";
import { collect } from "./testing/records.ts";
import { batchOf, storageSuite } from "./testing/storage-suite.ts";

storageSuite("MemoryStorage", () => {
  const image = new MemoryImage();
  return { open: () => new MemoryStorage({ image, schedule: queueMicrotask }), dispose() {} };
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
