/**
 * The way back: our data directory becomes one that an etcd starts on as the same member. Called by `quorate utl
 * export-etcd` while neither of them runs.
 *
 *   member/db, as it is            ─▶ member/snap/db            at our applied index, which becomes consistent_index
 *   member/wal, behind that index  ─▶ member/wal/*.wal          a mark there, entries, the hard state
 *   who the members are            ─▶ member/snap/*.snap        where etcd before 3.7 begins
 *
 * etcd's log begins where the database ends, so a follower that lags behind a member just carried over is sent a snapshot.
 * Ours is opened as a start would open it, which repairs what a crash left, and is not changed otherwise.
 */
import { writeEtcdLog, writeSnapFile } from "@quorate/etcd-wal";
import { encodeV2Store } from "@quorate/membership";
import type { DatabaseCut } from "@quorate/mvcc";
import { type Entry, type Index, index, nextIndex, type Term } from "@quorate/raft";
import { assert, type Log } from "@quorate/world";
import { type OpenedMember, openDataDirectory } from "../member/data-directory.ts";
import type { StoredLog } from "../member/stored-log.ts";
import { ExchangeError } from "./errors.ts";
import type { ExchangeSummary } from "./import-etcd.ts";
import { configOfDirectory, machineWorld } from "./machine.ts";
import { UnfinishedDirectory } from "./unfinished-directory.ts";

export interface ExportOptions {
  /** Our data directory. */
  readonly from: string;
  /** Where our log is, if it was told by --wal-dir. */
  readonly fromWalDirectory?: string;
  /** etcd's: must not exist, or be empty. */
  readonly to: string;
  /** Where etcd's log goes; default: member/wal of its directory. Must not exist, or be empty. */
  readonly walDirectory?: string;
  readonly log: Log;
}

/**
 * @throws ExchangeError, DirectoryLockError while our member runs, and what a start on the directory would; nothing is
 * left behind.
 */
export async function exportEtcd(options: ExportOptions): Promise<ExchangeSummary> {
  const { from, to, log } = options;
  const world = machineWorld(log);
  const config = configOfDirectory(from, options.fromWalDirectory);
  if (!world.disk.exists(`${from}/member`) || !world.disk.exists(config.walDirectory)) {
    throw new ExchangeError(`${from} is not the data directory of a member of ours`);
  }
  const member = await openDataDirectory(config, world, () => {
    throw new ExchangeError(`${from} has no entries: this member has not begun, start a new one instead`);
  });
  const made: UnfinishedDirectory[] = [];
  try {
    const theirs = new UnfinishedDirectory(to, "data-dir", world.disk);
    made.push(theirs);
    const snapDirectory = `${theirs.path}/member/snap`;
    let walDirectory = `${theirs.path}/member/wal`;
    const directories = [`${theirs.path}/member`, snapDirectory];
    if (options.walDirectory === undefined) {
      directories.push(walDirectory);
    } else {
      const elsewhere = new UnfinishedDirectory(options.walDirectory, "wal-dir", world.disk);
      made.unshift(elsewhere);
      walDirectory = elsewhere.path;
    }
    for (const directory of directories) world.disk.makeDirectory(directory);

    const { id: memberId, state, logStorage } = member.parts;
    const cut = await writeDatabase(member, `${snapDirectory}/db`);
    const start = { index: index(cut.appliedIndex), term: cut.appliedTerm as Term, confState: state.confState };
    const { disk } = world;
    if (start.index > 0) {
      writeSnapFile(disk, snapDirectory, { data: encodeV2Store(state.membership), metadata: start });
    }
    const lastIndex = logStorage.lastIndex();
    const entries = entriesBetween(logStorage, start.index, lastIndex);
    const { clusterId } = state.membership;
    const { hardState } = logStorage.initialState();
    writeEtcdLog({ disk, directory: walDirectory, identity: { memberId, clusterId }, start, entries, hardState });
    for (const directory of directories.reverse()) disk.syncDirectory(directory);
    for (const directory of made) directory.putInPlace();
    return { memberId, clusterId, revision: cut.revision, appliedIndex: cut.appliedIndex, lastIndex };
  } catch (error) {
    for (const directory of made) directory.discard();
    throw error;
  } finally {
    await close(member);
  }
}

/** After the one, up to and including the other. */
function entriesBetween(logStorage: StoredLog, after: Index, last: Index): Entry[] {
  if (last === after) return [];
  const entries = logStorage.entries(nextIndex(after), nextIndex(last), Number.POSITIVE_INFINITY);
  assert(entries !== undefined, "the log begins before what is applied");
  return entries;
}

function writeDatabase({ parts }: OpenedMember, path: string): Promise<DatabaseCut> {
  return new Promise((resolve, reject) => {
    parts.state.backend.storage.writeSnapshot(path, (error, cut) => (error === null ? resolve(cut!) : reject(error)));
  });
}

async function close({ parts, locks }: OpenedMember): Promise<void> {
  parts.wal.close();
  await new Promise<void>((resolve, reject) => {
    parts.state.backend.storage.close((error) => (error === null ? resolve() : reject(error)));
  });
  for (const lock of locks) lock.release();
}
