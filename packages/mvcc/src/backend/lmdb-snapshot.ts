/**
 * Runs one snapshot, written or read, in a thread of its own, so that neither the event loop nor the commits wait for
 * gigabytes. The thread is lmdb-snapshot-worker.ts; the two share a few words of memory, for giving up.
 */
import { rmSync } from "node:fs";
import type { Worker } from "node:worker_threads";
import { removeDirectory } from "./lmdb-environment.ts";
import { startThread } from "./lmdb-thread.ts";
import { asSnapshotError } from "./snapshot-file.ts";
import {
  type DatabaseCut,
  SnapshotDamagedError,
  SnapshotError,
  type SnapshotLifetime,
  type SnapshotTask,
} from "./storage.ts";

export type SnapshotWork =
  | {
      readonly kind: "write";
      /** The file to make. */
      readonly path: string;
      readonly lifetime: SnapshotLifetime;
      /** The open database, and which file the main thread has open. */
      readonly directory: string;
      readonly mapBytes: number;
      readonly inode: bigint;
      /** To be left free on the database's disk. */
      readonly reserveBytes: number;
    }
  | {
      readonly kind: "read";
      readonly path: string;
      /** The database to make. */
      readonly directory: string;
      readonly mapBytes: number;
    };

export interface SnapshotWorkerData {
  readonly work: SnapshotWork;
  /** Words at {@link CANCELLED} and {@link CREATED}. */
  readonly signals: Int32Array<SharedArrayBuffer>;
}

/** Not 0: the work is to end. */
export const CANCELLED = 0;
/** Not 0: the file or directory to make exists and is the thread's. */
export const CREATED = 1;

export type SnapshotAnswer =
  | { readonly kind: "done"; readonly cut: DatabaseCut | null }
  | { readonly kind: "damaged"; readonly place: string; readonly detail: string }
  | { readonly kind: "failed"; readonly detail: string; readonly code: string };

/** Calls `done` when the thread has ended and so has let go of every file. A cut comes of writing only. */
export function runSnapshot(
  work: SnapshotWork,
  done: (error: Error | null, cut: DatabaseCut | null) => void,
): SnapshotTask {
  const signals = new Int32Array(new SharedArrayBuffer(8));
  let answer: SnapshotAnswer | null = null;
  const cancel = (): void => void Atomics.store(signals, CANCELLED, 1);
  const data: SnapshotWorkerData = { work, signals };
  let thread: Worker;
  try {
    thread = startThread("lmdb-snapshot-worker", "quorate-snapshot", data);
  } catch (error) {
    queueMicrotask(() => done(asSnapshotError(work.kind, work.path, error), null));
    return { cancel };
  }
  thread.on("message", (message: SnapshotAnswer) => {
    answer = message;
  });
  let crash = "";
  thread.on("error", (error) => {
    crash = `the thread crashed: ${error.message}`;
  });
  thread.on("exit", (code) => {
    if (answer === null) {
      answer = { kind: "failed", detail: crash || `the thread ended with code ${code}`, code: "" };
      if (Atomics.load(signals, CREATED) !== 0) removeMade(work);
    }
    if (answer.kind === "done") done(null, answer.cut);
    else if (answer.kind === "damaged") done(new SnapshotDamagedError(work.path, answer.place, answer.detail), null);
    else done(new SnapshotError(work.kind, work.path, answer.detail, answer.code), null);
  });
  return { cancel };
}

/** Removes what a thread that is gone left behind. If that fails, it is for whoever starts next to clear away. */
export function removeMade(work: SnapshotWork): void {
  try {
    if (work.kind === "write") rmSync(work.path, { force: true });
    else removeDirectory(work.directory);
  } catch {}
}
