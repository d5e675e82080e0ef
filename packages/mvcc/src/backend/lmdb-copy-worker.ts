/**
 * The thread that makes the copy of a database, and ends. Started by lmdb-copy.ts. Records are appended to the copy one by one:
 * LMDB's own compacting copy leaves free pages out but takes the others as they are, and those of old records stay as empty as
 * compaction left them, because revisions only ascend. Nothing is synced before all of it is there.
 */
import { parentPort, workerData } from "node:worker_threads";
import { withContents } from "./lmdb-contents.ts";
import type { CopyAnswer, CopyThreadData } from "./lmdb-copy.ts";
import {
  closeEnvironment,
  defragmentedPath,
  type Environment,
  joinEnvironment,
  measureEnvironment,
  openCopy,
  removeDatabase,
  syncPath,
} from "./lmdb-environment.ts";
import { checkSpace } from "./lmdb-space.ts";
import { EnvironmentTarget } from "./lmdb-target.ts";
import { describeError } from "./lmdb-thread.ts";
import { TABLES } from "./storage.ts";

const { work, cancelled } = workerData as CopyThreadData;
const { directory, mapBytes, inode, reserveBytes } = work;

function run(): CopyAnswer {
  const path = defragmentedPath(directory);
  try {
    removeDatabase(path);
    const environment = joinEnvironment(directory, mapBytes, inode);
    try {
      check(measureEnvironment(environment).sizeInUseBytes);
      const copy = openCopy(directory, mapBytes);
      try {
        copyContents(environment, copy);
      } finally {
        closeEnvironment(copy);
      }
    } finally {
      closeEnvironment(environment);
    }
    syncPath(path);
    return null;
  } catch (error) {
    const answer = describeError(error, directory);
    try {
      removeDatabase(path);
    } catch {
      // What is left may be beyond removing; the next start tries again.
    }
    return answer;
  }
}

function copyContents(from: Environment, to: Environment): void {
  const target = new EnvironmentTarget(to, check);
  withContents(from, directory, inode, (contents) => {
    contents.scanRecords(0, 0, {
      visit: (main, sub, isTombstone, bytes, start, end) => {
        target.addRecord(main, sub, isTombstone, bytes, start, end);
        return true;
      },
    });
    for (const table of TABLES) contents.scan(table, (key, value) => target.addRow(table, key, value));
    target.commit();
  });
}

function check(neededBytes: number): void {
  if (Atomics.load(cancelled, 0) !== 0) throw Object.assign(new Error("given up"), { code: "ECANCELED" });
  checkSpace(directory, neededBytes, reserveBytes);
}

parentPort!.postMessage(run());
