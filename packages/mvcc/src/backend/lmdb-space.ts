/**
 * Whether a disk has room for what is made beside a database: copies and snapshots. Asked before they are begun and before
 * each part of them is written. They give up early, because the commits beside them cannot: a commit that finds no room
 * ends the process.
 */
import { statSync } from "node:fs";
import { freeBytes } from "./lmdb-environment.ts";

/**
 * Left free beside a live database, 512 MiB: enough for a commit of 128 MiB of records (lmdb-worker.ts asks for twice as
 * much), or for one that drops 53,000, which is what a member lets gather with a slice more, and for the log meanwhile.
 */
export const COMMIT_RESERVE_BYTES: number = 512 * 1024 * 1024;
/** Left free on a disk that has no database of ours. */
export const PLAIN_RESERVE_BYTES: number = 32 * 1024 * 1024;

/**
 * @param directory on the disk in question.
 * @throws Error with the code "ENOSPC"
 */
export function checkSpace(directory: string, neededBytes: number, reserveBytes: number): void {
  const free = freeBytes(directory);
  if (free >= neededBytes + reserveBytes) return;
  const detail = `no space left: it may need ${neededBytes} bytes beyond a reserve of ${reserveBytes}, free are ${free}`;
  throw Object.assign(new Error(detail), { code: "ENOSPC" });
}

/** Whether what is written in one of them takes space from the other. */
export function isSameDisk(one: string, other: string): boolean {
  return statSync(one).dev === statSync(other).dev;
}
