/**
 * The thread that writes a snapshot of a database, or builds a database from one, and ends. Started by lmdb-snapshot.ts.
 *
 *  - Written is what one commit left, while commits go on (lmdb-contents.ts).
 *  - A database is built by appending (lmdb-target.ts), and nothing of it is synced before all of it is there: until it has
 *    its name it is nobody's (lmdb-environment.ts).
 *  - Both stop while there is still room on the disk: the one who commits beside us dies of a full disk, we need not.
 */
import { closeSync, fdatasyncSync, fstatSync, fsyncSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import type { BboltSource } from "@quorate/bbolt";
import { withContents } from "./lmdb-contents.ts";
import {
  buildDirectory,
  closeEnvironment,
  type Environment,
  joinEnvironment,
  measureEnvironment,
  syncPath,
} from "./lmdb-environment.ts";
import {
  CANCELLED,
  CREATED,
  type SnapshotAnswer,
  type SnapshotWork,
  type SnapshotWorkerData,
} from "./lmdb-snapshot.ts";
import { checkSpace, isSameDisk, PLAIN_RESERVE_BYTES } from "./lmdb-space.ts";
import { EnvironmentTarget } from "./lmdb-target.ts";
import { describeError } from "./lmdb-thread.ts";
import { readDatabase, SnapshotCancelled, type SnapshotContents, writeDatabase } from "./snapshot-file.ts";
import { type DatabaseCut, SnapshotDamagedError, type SnapshotLifetime } from "./storage.ts";

type Work<Kind extends SnapshotWork["kind"]> = Extract<SnapshotWork, { kind: Kind }>;

/** Written between two syncs, so that the last one is short and the disk's queue is too. */
const SYNC_EACH_BYTES = 32 * 1024 * 1024;

const { work, signals } = workerData as SnapshotWorkerData;

function run(): SnapshotAnswer {
  try {
    return { kind: "done", cut: work.kind === "write" ? writeFile(work) : readFile(work) };
  } catch (error) {
    if (error instanceof SnapshotDamagedError) return { kind: "damaged", place: error.place, detail: error.detail };
    if (error instanceof SnapshotCancelled) return { kind: "failed", detail: error.message, code: "ECANCELED" };
    return { kind: "failed", ...describeError(error, dirname(work.kind === "write" ? work.path : work.directory)) };
  }
}

function checkCancelled(): void {
  if (Atomics.load(signals, CANCELLED) !== 0) throw new SnapshotCancelled();
}

function writeFile({ path, lifetime, directory, mapBytes, inode, reserveBytes }: Work<"write">): DatabaseCut {
  const keptFree = isSameDisk(dirname(path), directory) ? reserveBytes : PLAIN_RESERVE_BYTES;
  const file = openSync(path, "wx", 0o600);
  Atomics.store(signals, CREATED, 1);
  try {
    let cut: DatabaseCut;
    try {
      checkCancelled();
      const environment = joinEnvironment(directory, mapBytes, inode);
      try {
        cut = withContents(environment, directory, inode, (contents) => {
          return writeContents(environment, contents, { file, path, lifetime, reserveBytes: keptFree });
        });
      } finally {
        closeEnvironment(environment);
      }
      if (lifetime === "durable") fsyncSync(file);
    } finally {
      closeSync(file);
    }
    if (lifetime === "durable") syncPath(dirname(path));
    return cut;
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

interface OpenFile {
  readonly file: number;
  readonly path: string;
  readonly lifetime: SnapshotLifetime;
  /** To be left free on its disk. */
  readonly reserveBytes: number;
}

function writeContents(
  environment: Environment,
  contents: SnapshotContents,
  { file, path, lifetime, reserveBytes }: OpenFile,
): DatabaseCut {
  // Small records take a quarter more room than LMDB gives them.
  checkSpace(dirname(path), measureEnvironment(environment).sizeInUseBytes * 1.25, reserveBytes);
  let syncedBytes = 0;
  return writeDatabase(
    contents,
    {
      write: (from, start, end, position) => {
        for (let at = start; at < end; ) at += writeSync(file, from, at, end - at, position + at - start);
      },
    },
    (doneBytes) => {
      checkCancelled();
      if (doneBytes - syncedBytes < SYNC_EACH_BYTES) return;
      syncedBytes = doneBytes;
      if (lifetime === "durable") fdatasyncSync(file);
      checkSpace(dirname(path), 2 * SYNC_EACH_BYTES, reserveBytes);
    },
  );
}

function readFile({ path, directory, mapBytes }: Work<"read">): null {
  const file = openSync(path, "r");
  try {
    const source: BboltSource = {
      sizeBytes: () => fstatSync(file).size,
      read: (into, length, position) => readFully(file, into, length, position),
    };
    buildDirectory(directory, mapBytes, (environment) => {
      Atomics.store(signals, CREATED, 1);
      const target = new EnvironmentTarget(environment, (sizeBytes) => {
        checkCancelled();
        checkSpace(dirname(directory), sizeBytes, PLAIN_RESERVE_BYTES);
      });
      readDatabase(path, source, target);
      target.commit();
    });
  } finally {
    closeSync(file);
  }
  return null;
}

function readFully(file: number, into: Uint8Array, length: number, position: number): number {
  let at = 0;
  while (at < length) {
    const readBytes = readSync(file, into, at, length - at, position + at);
    if (readBytes === 0) break;
    at += readBytes;
  }
  return at;
}

parentPort!.postMessage(run());
