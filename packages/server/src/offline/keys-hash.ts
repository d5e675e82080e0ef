/**
 * HashKV of what is on a disk: of a snapshot, of a stopped etcd's database, or of a data directory of ours. The number that
 * members compare, at a revision; nothing is changed, unlike by etcdutl, which opens the file for writing.
 */
import { statSync } from "node:fs";
import { Backend, BboltStorage, noLeases, type Storage, Store } from "@quorate/mvcc";
import { type Log, silentLog } from "@quorate/world";
import { withFile } from "./file-error.ts";
import { SnapshotSource } from "./snapshot-source.ts";
import { withStoppedMember } from "./stopped-member.ts";

export interface KeysHash {
  readonly hash: number;
  readonly hashRevision: number;
  /** -1: never compacted. */
  readonly compactRevision: number;
}

export interface KeysHashOptions {
  /** A file, or a data directory of ours. */
  readonly path: string;
  /** 0: the last one. */
  readonly revision: number;
  /** How long to wait for a member that uses the directory; 0: for ever. */
  readonly timeoutMs: number;
  readonly log: Log;
}

/**
 * Of a data directory: of what its database has, which after a clean stop is everything.
 * @throws FileError, SnapshotDamagedError, StoppedMemberError, DirectoryLockError, CompactedError, FutureRevisionError
 */
export async function keysHashOf({ path, revision, timeoutMs, log }: KeysHashOptions): Promise<KeysHash> {
  const isDirectory = withFile("stat", path, () => statSync(path).isDirectory());
  if (isDirectory) {
    return withStoppedMember({ directory: path, timeoutMs, log }, (storage) => hashOf(storage, revision));
  }
  const source = new SnapshotSource(path);
  try {
    source.warnOfDigest(log);
    return hashOf(new BboltStorage(path, source), revision);
  } finally {
    source.close();
  }
}

function hashOf(storage: Storage, revision: number): KeysHash {
  // One scan for all: a file has no place to go on from.
  const store = Store.open({
    backend: new Backend({ storage }),
    leases: noLeases,
    log: silentLog,
    restoreChunkRecords: Number.MAX_SAFE_INTEGER,
  });
  const task = store.startHash(revision);
  while (task.step(Number.MAX_SAFE_INTEGER)) {
    // All of it.
  }
  return { hash: task.hash, hashRevision: task.revision, compactRevision: task.compactRevision };
}
