/** The thread that makes the compacted copy of a database, and ends. Started by lmdb-copy.ts. */
import { parentPort, workerData } from "node:worker_threads";
import type { CopyAnswer, CopyWork } from "./lmdb-copy.ts";
import { closeEnvironment, defragmentedPath, joinEnvironment, removeDatabase, syncPath } from "./lmdb-environment.ts";
import { describeError } from "./lmdb-thread.ts";

const { directory, mapBytes, inode } = workerData as CopyWork;

async function run(): Promise<CopyAnswer> {
  const copy = defragmentedPath(directory);
  try {
    removeDatabase(copy);
    const environment = joinEnvironment(directory, mapBytes, inode);
    try {
      await environment.records.backup(copy, true);
    } finally {
      closeEnvironment(environment);
    }
    syncPath(copy);
    return null;
  } catch (error) {
    const answer = describeError(error, directory);
    try {
      removeDatabase(copy);
    } catch {
      // What is left may be beyond removing; the next start tries again.
    }
    return answer;
  }
}

parentPort!.postMessage(await run());
