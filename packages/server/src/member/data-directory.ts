/**
 * What a data directory holds, and the one order of opening it that survives a crash at any point (the parts themselves
 * are open-member.ts's):
 *
 *   <data-dir>/member/       0700, locked by the process that uses it
 *     wal/                   the log: the source of truth (or where --wal-dir says, with a lock of its own)
 *     db/                    applied state, LMDB; or db.<index>, made of the leader's snapshot at that index
 *     snap/                  snapshot files on their way in or out; nothing in it outlives the process
 *     index                  checkpoint of the key index, a cache
 *
 * A new member: the log, whose creation is atomic and carries the identity, then the database. The log's presence is what
 * makes the directory a member's. A restart: the log says who we are; the database says how far state is; everything in
 * the log after that is applied again. Each directory is durable in its parent before anything is written into it: the
 * log and the database are only as durable as the names on the way to them (known failure WA-06).
 *
 * Refused, with nothing touched: a directory of etcd's, of another version, in use, or not writable.
 */
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { Wal } from "@quorate/wal";
import type { Disk, Log } from "@quorate/world";
import type { Bootstrap } from "../bootstrap/bootstrap.ts";
import type { Config } from "../config/config.ts";
import { DirectoryLock } from "../world/directory-lock.ts";
import { LmdbDatabases } from "./lmdb-databases.ts";
import { createLog, DataDirectoryError, type MemberParts, openMember, type World } from "./open-member.ts";

export interface OpenedMember {
  readonly parts: MemberParts;
  readonly locks: readonly DirectoryLock[];
}

/** Where snapshot files are while they come or go. */
export function snapshotDirectoryOf(config: Config): string {
  return `${config.dataDirectory}/member/snap`;
}

/** `discover` finds out who a new member is; asked only if the directory does not say. */
export async function openDataDirectory(
  config: Config,
  world: World,
  discover: () => Promise<Bootstrap>,
): Promise<OpenedMember> {
  const memberDirectory = `${config.dataDirectory}/member`;
  refuseForeign(config);
  makePrivate(config.dataDirectory, world);
  makePrivate(memberDirectory, world);
  const locks = [await DirectoryLock.acquire(memberDirectory)];
  try {
    if (config.walDirectory !== `${memberDirectory}/wal`) {
      // A log elsewhere could be given to two members, each with a data directory of its own.
      makePrivate(config.walDirectory, world);
      locks.push(await DirectoryLock.acquire(config.walDirectory));
    }
    const databases = new LmdbDatabases(memberDirectory, snapshotDirectoryOf(config), world.log);
    let identity: Promise<Bootstrap> | null = null;
    const identify = (): Promise<Bootstrap> => {
      identity ??= discover();
      return identity;
    };
    if (!Wal.exists({ disk: world.disk, directory: config.walDirectory })) {
      if (databases.holdState()) {
        throw new DataDirectoryError(
          `${memberDirectory} has a database but ${config.walDirectory} has no log: refusing to start a new member over it`,
        );
      }
      createLog(await identify(), config.walDirectory, world);
    }
    const storages = databases.open();
    const indexPath = `${memberDirectory}/index`;
    return { parts: await openMember({ config, storages, databases, indexPath, world, identify }), locks };
  } catch (error) {
    for (const lock of locks) lock.release();
    throw error;
  }
}

/** etcd keeps its database in member/snap/db; its log has files ours never has. Throws DataDirectoryError. */
export function refuseForeign({ dataDirectory, walDirectory }: Config): void {
  const memberDirectory = `${dataDirectory}/member`;
  const isEtcds =
    existsSync(`${memberDirectory}/snap/db`) ||
    (existsSync(walDirectory) &&
      readdirSync(walDirectory).some((name) => /^[0-9a-f]{16}-[0-9a-f]{16}\.wal$/.test(name)));
  if (isEtcds) {
    throw new DataDirectoryError(
      `${memberDirectory} is the data directory of an etcd member: it was not touched, choose another --data-dir, or carry it over with "quorate utl import-etcd"`,
    );
  }
}

/** Other users must not read what clients stored (known failure SA-06). */
export function makePrivate(directory: string, { disk, log }: { disk: Disk; log: Log }): void {
  makeDurably(directory, { disk, log });
  const { mode } = statSync(directory);
  if ((mode & 0o077) === 0) return;
  log.warn("the data directory was open to other users; closing it", { directory, mode: (mode & 0o777).toString(8) });
  chmodSync(directory, 0o700);
}

/**
 * Makes the directory and what is missing above it. Synced at every start: a crash may have come between the two. A parent
 * that we may not read is the operator's, and so is its durability. Private where it is made.
 */
export function makeDurably(directory: string, { disk, log }: { disk: Disk; log: Log }): void {
  const parent = dirname(directory);
  if (!existsSync(parent)) makeDurably(parent, { disk, log });
  // Not `recursive`: on a file system that takes no directories (/proc) that never returns.
  if (!existsSync(directory)) mkdirSync(directory, { mode: 0o700 });
  else if (!statSync(directory).isDirectory()) throw new DataDirectoryError(`${directory} is not a directory`);
  try {
    disk.syncDirectory(parent);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
    log.warn("cannot sync the directory above the data directory", { directory: parent, error });
  }
}
