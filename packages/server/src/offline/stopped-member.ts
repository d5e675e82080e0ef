/** The database of a member of ours that does not run: locked as a member locks it while a tool works on it. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Storage } from "@quorate/mvcc";
import type { Log } from "@quorate/world";
import { LmdbDatabases } from "../member/lmdb-databases.ts";
import { DirectoryLock, DirectoryLockError } from "../world/directory-lock.ts";

/** The directory holds no database of a stopped member that a tool could work on. */
export class StoppedMemberError extends Error {
  readonly kind = "StoppedMember";
}

export interface StoppedMemberOptions {
  /** The data directory. */
  readonly directory: string;
  /** How long to wait for a process that uses it; 0: for ever. */
  readonly timeoutMs: number;
  readonly log: Log;
}

const RETRY_MS = 100;

/** Runs `work` on the database, nobody else having it open. Throws StoppedMemberError, DirectoryLockError, and what work does. */
export async function withStoppedMember<Result>(
  { directory, timeoutMs, log }: StoppedMemberOptions,
  work: (storage: Storage) => Result | Promise<Result>,
): Promise<Result> {
  const memberDirectory = resolve(directory, "member");
  if (existsSync(`${memberDirectory}/snap/db`)) {
    throw new StoppedMemberError(`${directory} is the data directory of an etcd member, not of ours`);
  }
  const databases = existsSync(memberDirectory)
    ? new LmdbDatabases(memberDirectory, `${memberDirectory}/snap`, log)
    : null;
  if (databases === null || !databases.holdState()) {
    throw new StoppedMemberError(`stat ${directory}/member/db: no such file or directory`);
  }
  const lock = await lockWithin(memberDirectory, timeoutMs);
  try {
    const storages = databases.open();
    try {
      if (storages.length === 1) return await work(storages[0]!);
    } finally {
      for (const storage of storages) await closed(storage);
    }
    throw new StoppedMemberError(
      `${memberDirectory} has ${storages.length} databases: the member ended while it took up a snapshot; start it once`,
    );
  } finally {
    lock.release();
  }
}

async function lockWithin(directory: string, timeoutMs: number): Promise<DirectoryLock> {
  const endMs = timeoutMs === 0 ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
  for (;;) {
    try {
      return await DirectoryLock.acquire(directory);
    } catch (error) {
      if (!(error instanceof DirectoryLockError) || performance.now() + RETRY_MS > endMs) throw error;
      await new Promise((wake) => setTimeout(wake, RETRY_MS));
    }
  }
}

/** Everything committed is where the next one to open it finds it. */
export function closed(storage: Storage): Promise<void> {
  return new Promise((done, failed) => storage.close((error) => (error === null ? done() : failed(error))));
}
