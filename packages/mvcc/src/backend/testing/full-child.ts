/**
 * A process whose files may not grow beyond a limit its parent has set: commits until storage fails, then checks that
 * reading goes on and committing does not. Run as `full-child.ts <directory>`; says how far it got.
 */
import assert from "node:assert/strict";
import { writeSync } from "node:fs";
import { LmdbStorage } from "../lmdb-storage.ts";
import { StorageFailedError } from "../storage.ts";
import { collect } from "./records.ts";
import { batchOf, commit } from "./storage-suite.ts";

const storage = new LmdbStorage({ directory: process.argv[2]! });
let committed = 0;
let failure: unknown;
while (failure === undefined) {
  try {
    await commit(storage, batchOf([[`${committed + 2}/0`, "x".repeat(100_000)]], [`meta count=${committed + 1}`]));
    committed++;
  } catch (error) {
    failure = error;
  }
}
assert.ok(failure instanceof StorageFailedError);
// LMDB's word for a write that comes out short, or the system's for one that does not happen at all.
assert.match(failure.code, /^(EIO|EFBIG)$/);
assert.equal(collect(storage).length, committed, "what was committed is still read");
await assert.rejects(commit(storage, batchOf([[`${committed + 2}/0`, "small"]])), (error) => error === failure);
writeSync(1, String(committed));
