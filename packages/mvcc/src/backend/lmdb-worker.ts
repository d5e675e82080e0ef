/**
 * The thread that writes LMDB, so that the event loop never waits for a disk. Started by LmdbStorage; owns nothing:
 * records are read in place from the record log's shared chunks, and whatever fails is reported and ends the process
 * there. Handles one request at a time, in order.
 */
import { parentPort, workerData } from "node:worker_threads";
import { TransactionFlags } from "lmdb";
import type { Revision } from "./history-key.ts";
import { catchUp, catchUpPart } from "./lmdb-catch-up.ts";
import {
  closeEnvironment,
  databasePath,
  defragmentedPath,
  type Environment,
  type EnvironmentSizes,
  joinEnvironment,
  measureEnvironment,
  moveDurably,
  openCopy,
  removeDatabase,
  syncPath,
} from "./lmdb-environment.ts";
import type { Answer, Request, WorkerData } from "./lmdb-messages.ts";
import { checkSpace } from "./lmdb-space.ts";
import { describeError } from "./lmdb-thread.ts";
import { FRAME_HEADER_BYTES, FrameView } from "./record-frame.ts";
import type { StorageBatch } from "./storage.ts";

const port = parentPort!;
const { directory, mapBytes, inode, reserveBytes } = workerData as WorkerData;
let environment: Environment = joinEnvironment(directory, mapBytes, inode);
/** Of the defragmentation under way. */
let copy: Environment | null = null;

const key: Revision = { main: 0, sub: 0, isTombstone: false };
/** Where a record is copied to out of shared memory; see lmdb-environment.ts. */
let scratch = new Uint8Array(64 * 1024);

const APPEND = { append: true };

port.on("message", (request: Request) => {
  let answer: Answer;
  try {
    answer = handle(request);
  } catch (error) {
    answer = { kind: "failed", ...describeError(error, directory) };
  }
  port.postMessage(answer);
});

function handle(request: Request): Answer {
  switch (request.kind) {
    case "commit":
      commit(request.batch);
      return { kind: "done", sizes: measureEnvironment(environment) };
    case "catchUp":
      return catchUpSome(request.drops, request.transactionCount);
    case "defragment":
      return defragment(request.drops);
    case "reopen":
      environment = joinEnvironment(directory, mapBytes, request.inode);
      return { kind: "done", sizes: measureEnvironment(environment) };
    case "close":
      closeCopy();
      closeEnvironment(environment);
      return process.exit(0);
    default:
      return request satisfies never;
  }
}

/** What one dropped record or changed key may cost: a copied leaf and its share of the pages above. */
const CHANGE_BYTES = 8192;
const SLACK_BYTES = 1024 * 1024;

function commit(batch: StorageBatch): void {
  refuseWithoutSpace(batch);
  environment.records.transactionSync(() => {
    addRecords(batch);
    dropRecords(batch.drops);
    for (const change of batch.changes) {
      const table = environment.tables[change.table];
      if (change.value === null) table.removeSync(change.key);
      else if (!table.putSync(change.key, change.value)) throw new Error(`table ${change.table} refused a key`);
    }
  }, TransactionFlags.SYNCHRONOUS_COMMIT);
}

/**
 * Asks for space before LMDB runs out of it half-way. The binding's LMDB writes its message about a short write past the
 * end of the memory it has for it, and what that breaks may end the process before the error is told (lmdb 3.5.6).
 */
function refuseWithoutSpace(batch: StorageBatch): void {
  let neededBytes = SLACK_BYTES + batch.drops.length * (CHANGE_BYTES / 2);
  for (const region of batch.regions) neededBytes += 2 * (region.end - region.start);
  for (const { key, value } of batch.changes) neededBytes += CHANGE_BYTES + key.length + (value?.length ?? 0);
  checkSpace(directory, neededBytes, 0);
}

function addRecords(batch: StorageBatch): void {
  let added = 0;
  for (const region of batch.regions) {
    const frames = new FrameView(region.shared);
    for (let at = region.start; at < region.end; at = frames.next(at)) {
      const start = at + FRAME_HEADER_BYTES;
      const sizeBytes = frames.sizeBytes(at);
      if (sizeBytes > scratch.length) scratch = new Uint8Array(sizeBytes * 2);
      scratch.set(frames.bytes.subarray(start, start + sizeBytes));
      key.main = frames.main(at);
      key.sub = frames.sub(at);
      key.isTombstone = frames.isTombstone(at);
      // Appending fills pages to the brim and finds its place without a search. It is refused when out of order.
      if (!environment.records.putSync(key, scratch.subarray(0, sizeBytes), APPEND)) {
        throw new Error(`record ${key.main}/${key.sub} is not greater than the last one stored`);
      }
      added++;
    }
  }
  if (added !== batch.recordCount) throw new Error(`a batch of ${batch.recordCount} records holds ${added}`);
}

function dropRecords(drops: Float64Array): void {
  for (let i = 0; i < drops.length; i += 2) {
    const second = drops[i + 1]!;
    key.main = drops[i]!;
    key.sub = Math.floor(second / 2);
    key.isTombstone = second % 2 === 1;
    environment.records.removeSync(key);
  }
}

/** Brings the copy a part of the way up to date. */
function catchUpSome(drops: Float64Array, transactionCount: number): Answer {
  try {
    copy ??= openCopy(directory, mapBytes);
    const isBehind = catchUpPart(environment, copy, drops, transactionCount, checkCopySpace);
    // Commits wait for the last sync, so that it should have little to do.
    syncPath(defragmentedPath(directory));
    return { kind: "caughtUp", isBehind };
  } catch (error) {
    return refuseCopy(error);
  }
}

/**
 * Brings the copy up to date, then puts it in place of the database. Until the rename any failure leaves everything as it was;
 * the main thread goes on reading the old file, which lives until it lets go (known-failures ST-11).
 */
function defragment(drops: Float64Array | null): Answer {
  const path = defragmentedPath(directory);
  try {
    if (drops === null) throw new Error("too much was compacted meanwhile; try again");
    copy ??= openCopy(directory, mapBytes);
    catchUp(environment, copy, drops, checkCopySpace);
    closeCopy();
    syncPath(path);
  } catch (error) {
    return refuseCopy(error);
  }
  moveDurably(path, databasePath(directory));
  removeDatabase(path);
  const sizes: EnvironmentSizes = measureEnvironment(environment);
  closeEnvironment(environment);
  return { kind: "done", sizes };
}

function checkCopySpace(bytes: number): void {
  checkSpace(directory, SLACK_BYTES + bytes, reserveBytes);
}

function closeCopy(): void {
  if (copy !== null) closeEnvironment(copy);
  copy = null;
}

function refuseCopy(error: unknown): Answer {
  const answer: Answer = { kind: "refused", ...describeError(error, directory) };
  try {
    closeCopy();
    removeDatabase(defragmentedPath(directory));
  } catch {
    // What is left of it may be beyond removing; the next start tries again.
  }
  return answer;
}
