/**
 * Where etcd keeps a member, and whether an etcd is using it right now.
 *
 *   <data-dir>/member/snap/db                        the database, which etcd locks
 *                     snap/<term>-<index>.snap       membership at a snapshot
 *                     snap/<index>.snap.db           a database received from the leader and not yet put in place
 *                     wal/<sequence>-<index>.wal     the log (or where --wal-dir said), each segment in use locked
 */
import { existsSync, readdirSync } from "node:fs";
import type { Log } from "@quorate/world";
import { lockedFiles } from "../world/file-locks.ts";
import { EtcdRunningError, ExchangeError } from "./errors.ts";

export interface EtcdDirectory {
  readonly dataDirectory: string;
  readonly snapDirectory: string;
  readonly databasePath: string;
  readonly walDirectory: string;
}

export function etcdDirectoryOf(dataDirectory: string, walDirectory: string | undefined): EtcdDirectory {
  const member = `${dataDirectory}/member`;
  return {
    dataDirectory,
    snapDirectory: `${member}/snap`,
    databasePath: `${member}/snap/db`,
    walDirectory: walDirectory ?? `${member}/wal`,
  };
}

/** Of a database that the leader sent at this index. */
export function receivedDatabasePath({ snapDirectory }: EtcdDirectory, index: number): string {
  return `${snapDirectory}/${index.toString(16).padStart(16, "0")}.snap.db`;
}

/** @throws ExchangeError */
export function refuseUnlessEtcds(directory: EtcdDirectory): void {
  const { dataDirectory, snapDirectory, walDirectory } = directory;
  for (const needed of [snapDirectory, walDirectory]) {
    if (existsSync(needed)) continue;
    throw new ExchangeError(`${dataDirectory} is not the data directory of an etcd member: there is no ${needed}`);
  }
}

/** @throws EtcdRunningError */
export function refuseWhileInUse({ databasePath, walDirectory }: EtcdDirectory, log: Log): void {
  const segments = readdirSync(walDirectory).map((name) => `${walDirectory}/${name}`);
  const locked = lockedFiles([databasePath, ...segments]);
  if (locked === null) {
    log.warn("cannot tell whether an etcd is running on the directory: make sure that none is", { path: databasePath });
  } else if (locked.length > 0) {
    throw new EtcdRunningError(`${locked[0]} is locked: an etcd is running on it, stop it first`);
  }
}
