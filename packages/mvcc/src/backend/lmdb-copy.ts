/**
 * Runs the long part of a defragmentation, a compacted copy beside the database, in a thread of its own, so that commits go on
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
}

/** null: the copy is there, and synced. */
export type CopyAnswer = { readonly detail: string; readonly code: string } | null;

/** Calls `done`, never at once, when the thread has ended and so has let go of every file. After an error there is no copy. */
export function runCopy(work: CopyWork, done: (error: DefragmentError | null) => void): void {
  let answer: CopyAnswer | undefined;
  let crash = "";
  let thread: Worker;
  try {
    thread = startThread("lmdb-copy-worker", "quorate-defragment", work);
  } catch (error) {
    queueMicrotask(() => done(new DefragmentError((error as Error).message, "")));
    return;
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
}
