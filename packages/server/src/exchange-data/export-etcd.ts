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
import { Wal } from "@quorate/wal";
import { assert, type Disk, type Log } from "@quorate/world";
import { type OpenedMember, openDataDirectory } from "../member/data-directory.ts";
import type { StoredLog } from "../member/stored-log.ts";
import { DirectoryLockError } from "../world/directory-lock.ts";
import { ExchangeError, withSystemErrors } from "./errors.ts";
import type { ExchangeSummary } from "./import-etcd.ts";
import { configOfDirectory, machineWorld, unfinishedMember } from "./machine.ts";
import type { UnfinishedMember } from "./unfinished-member.ts";
import { retryWhileBusy } from "./waiting.ts";

export interface ExportOptions {
  /** Our data directory. */
  readonly from: string;
  /** Where our log is, if it was told by --wal-dir. */
  readonly fromWalDirectory?: string;
  /** etcd's: must not exist, or be empty. */
  readonly to: string;
  /** Where etcd's log goes; default: member/wal of its directory. Must not exist, or be empty. */
  readonly walDirectory?: string;
  /** How long to wait for a member of ours that uses the directory; 0: for ever. Default: not at all. */
  readonly timeoutMs?: number;
  readonly log: Log;
}

/**
 * @throws ExchangeError, DirectoryLockError while our member runs, and what a start on the directory would. Nothing is left
 * behind then.
 */
export function exportEtcd(options: ExportOptions): Promise<ExchangeSummary> {
  return withSystemErrors(() => exportMember(options));
}

async function exportMember(options: ExportOptions): Promise<ExchangeSummary> {
  const { from, to, walDirectory, timeoutMs, log } = options;
  const world = machineWorld(log);
  const config = configOfDirectory(from, options.fromWalDirectory);
  if (!Wal.exists({ disk: world.disk, directory: config.walDirectory })) {
    throw new ExchangeError(
      `${from} is not the data directory of a member of ours: there is no log in ${config.walDirectory}`,
    );
  }
  const isBusy = (error: unknown): boolean => error instanceof DirectoryLockError;
  const member = await retryWhileBusy(timeoutMs, isBusy, () => {
    return openDataDirectory(config, world, () => {
      throw new ExchangeError(`${from} has no entries: this member has not begun, start a new one instead`);
    });
  });
  try {
    const theirs = await unfinishedMember(to, walDirectory, world.disk);
    try {
      const summary = await fill(theirs, member, world.disk);
      theirs.putInPlace();
      return summary;
    } catch (error) {
      theirs.discard();
      throw error;
    }
  } finally {
    await close(member);
  }
}

async function fill(theirs: UnfinishedMember, member: OpenedMember, disk: Disk): Promise<ExchangeSummary> {
  const { id: memberId, state, logStorage } = member.parts;
  const { membership, confState } = state;
  const { clusterId } = membership;
  const snapDirectory = `${theirs.directory}/member/snap`;
  disk.makeDirectory(snapDirectory);
  const { appliedIndex, appliedTerm, revision } = await writeDatabase(member, `${snapDirectory}/db`);
  const start = { index: index(appliedIndex), term: appliedTerm as Term, confState };
  if (appliedIndex > 0) writeSnapFile(disk, snapDirectory, { data: encodeV2Store(membership), metadata: start });
  disk.syncDirectory(snapDirectory);
  const lastIndex = logStorage.lastIndex();
  writeEtcdLog({
    disk,
    directory: theirs.walDirectory,
    identity: { memberId, clusterId },
    start,
    entries: entriesBetween(logStorage, start.index, lastIndex),
    hardState: logStorage.initialState().hardState,
  });
  return { memberId, clusterId, revision, appliedIndex, lastIndex };
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
