/** What the storage and its worker tell each other. One request at a time, each with one answer. */
import type { EnvironmentSizes } from "./lmdb-environment.ts";
import type { StorageBatch } from "./storage.ts";

export interface WorkerData {
  readonly directory: string;
  readonly mapBytes: number;
  /** The database file the main thread has open. */
  readonly inode: bigint;
  /** To be left free on the disk by what is made beside the database. */
  readonly reserveBytes: number;
}

export type Request =
  | { readonly kind: "commit"; readonly batch: StorageBatch }
  /** Bring the copy a part of the way up to date; see catchUpPart. */
  | { readonly kind: "catchUp"; readonly drops: Float64Array; readonly transactionCount: number }
  /** Bring the copy up to date, sync, put in place, and let go of the old file. `drops`: not handed over yet; null: too many. */
  | { readonly kind: "defragment"; readonly drops: Float64Array | null }
  /** The main thread has opened the new file: open it too. */
  | { readonly kind: "reopen"; readonly inode: bigint }
  | { readonly kind: "close" };

export type Answer =
  | { readonly kind: "done"; readonly sizes: EnvironmentSizes }
  | { readonly kind: "caughtUp"; readonly isBehind: boolean }
  /** The request changed nothing and there is no copy any more. Only for "catchUp" and "defragment". */
  | { readonly kind: "refused"; readonly detail: string; readonly code: string }
  | { readonly kind: "failed"; readonly detail: string; readonly code: string };
