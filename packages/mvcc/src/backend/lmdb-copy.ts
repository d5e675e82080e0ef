/**
 * Runs the long part of a defragmentation, a copy beside the database, in a thread of its own, so that commits go on
 * meanwhile. The thread is lmdb-copy-worker.ts; what the copy misses by then is added in the end (lmdb-catch-up.ts).
 */
import type { Worker } from "node:worker_threads";
import { startThread } from "./lmdb-thread.ts";
import { DefragmentError } from "./storage.ts";

export interface CopyWork {
  readonly directory: string;
  readonly mapBytes: number;
  /** The database file the main thread has open. */
  readonly inode: bigint;
  /** To be left free on its disk. */
  readonly reserveBytes: number;
}

export interface CopyThreadData {
  readonly work: CopyWork;
  /** One word; not 0: the copy is to be given up. */
  readonly cancelled: Int32Array<SharedArrayBuffer>;
}

/** A copy being made. */
export interface CopyTask {
  /** Gives it up, unless it is complete. */
  cancel(): void;
}

/** null: the copy is there, and synced. */
export type CopyAnswer = { readonly detail: string; readonly code: string } | null;

/** Calls `done`, never at once, when the thread has ended and so has let go of every file. After an error there is no copy. */
export function runCopy(work: CopyWork, done: (error: DefragmentError | null) => void): CopyTask {
  const cancelled = new Int32Array(new SharedArrayBuffer(4));
  const cancel = (): void => void Atomics.store(cancelled, 0, 1);
  const data: CopyThreadData = { work, cancelled };
  let answer: CopyAnswer | undefined;
  let crash = "";
  let thread: Worker;
  try {
    thread = startThread("lmdb-copy-worker", "quorate-defragment", data);
  } catch (error) {
    queueMicrotask(() => done(new DefragmentError((error as Error).message, "")));
    return { cancel };
  }
  thread.on("message", (message: CopyAnswer) => {
    answer = message;
  });
  thread.on("error", (error) => {
    crash = `the thread crashed: ${error.message}`;
  });
  thread.on("exit", (code) => {
    if (answer === undefined) answer = { detail: crash || `the thread ended with code ${code}`, code: "" };
    done(answer === null ? null : new DefragmentError(answer.detail, answer.code));
  });
  return { cancel };
}
