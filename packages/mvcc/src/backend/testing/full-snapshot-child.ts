/**
 * A process whose files may not grow beyond a limit its parent has set: writes a snapshot that is larger than the database,
 * which just fits, and reads one that does not fit. Run as `full-snapshot-child.ts <directory>`; says the codes it heard.
 */
import assert from "node:assert/strict";
import { writeSync } from "node:fs";
import { join } from "node:path";
import { LmdbStorage } from "../lmdb-storage.ts";
import { SnapshotError } from "../storage.ts";
import { collect } from "./records.ts";
import { writeSnapshot } from "./snapshot-suite.ts";
import { batchOf, close, commit } from "./storage-suite.ts";

const directory = process.argv[2]!;
const storage = new LmdbStorage({ directory: join(directory, "storage") });
// Small records take more room in a bbolt file than in LMDB: 1.9 MB there, 2.3 MB here, and 2.1 MB are allowed.
const records = Array.from({ length: 33_000 }, (_, i) => [`${i + 2}/0`, "x".repeat(29)] as const);
await commit(storage, batchOf(records));
const codes: string[] = [];
await assert.rejects(writeSnapshot(storage, join(directory, "snapshot")), noteCode);
await commit(storage, batchOf([["50000/0", "later"]]));
assert.equal(collect(storage).length, 33_001);

const read = new Promise((resolve, reject) => {
  LmdbStorage.readSnapshot({ path: join(directory, "large"), directory: join(directory, "made") }, (error) => {
    if (error === null) resolve(null);
    else reject(error);
  });
});
await assert.rejects(read, noteCode);
await commit(storage, batchOf([["50001/0", "later"]]));
await close(storage);
writeSync(1, codes.join(" "));

function noteCode(error: unknown): boolean {
  assert.ok(error instanceof SnapshotError, String(error));
  codes.push(error.code);
  return true;
}
