/**
 * An etcd member's data directory becomes ours: the same member of the same cluster, with the same votes, entries and
 * state. Called by `quorate utl import-etcd` while neither of them runs; etcd's directory is only read.
 *
 *   member/snap/db, at its consistent_index ─▶ member/db          applied state, as it is
 *   member/wal, from etcd's newest mark on  ─▶ member/wal         entries, applied or not, and the hard state
 *
 * Invariants:
 *  - everything is checked before anything gets its name: what a start would refuse, or could not apply, is refused here;
 *  - nothing that etcd made durable is lost: the log reaches as far as the database and the hard state say;
 *  - the log alone is no member: without the database that it continues a start is refused;
 *  - the configuration in force is what the members table says, as it is for etcd 3.7 at a start. What the database or the
 *    log have besides may be another cluster's (`etcdutl snapshot restore`), or be missing (3.4).
 */
import { existsSync } from "node:fs";
import { BboltDamagedError, BboltReader } from "@quorate/bbolt";
import { type EtcdLog, EtcdLogDamagedError, readEtcdLog, readSnapFile, snapFileName } from "@quorate/etcd-wal";
import { ascending, idText } from "@quorate/membership";
import { LmdbStorage, type Storage, type TableChange } from "@quorate/mvcc";
import { type ConfState, type Entry, type HardState, type Index, index, type Term } from "@quorate/raft";
import { Wal } from "@quorate/wal";
import { type Disk, type Log, silentLog } from "@quorate/world";
import { AppliedState, CONF_STATE_KEY } from "../member/applied-state.ts";
import { confStateJson } from "../member/conf-state.ts";
import { createLog, stateOptionsOf, type World } from "../member/open-member.ts";
import { EtcdRunningError, ExchangeError, withSystemErrors } from "./errors.ts";
import {
  type EtcdDirectory,
  etcdDirectoryOf,
  receivedDatabasePath,
  refuseUnlessEtcds,
  refuseWhileInUse,
} from "./etcd-directory.ts";
import { lastUnknownIndex } from "./known-entries.ts";
import { withoutLegacy } from "./legacy-entries.ts";
import { configOfDirectory, machineWorld, unfinishedMember } from "./machine.ts";
import { retryWhileBusy } from "./waiting.ts";

export interface ImportOptions {
  /** etcd's data directory. */
  readonly from: string;
  /** Where etcd's log is, if it was told by --wal-dir. */
  readonly fromWalDirectory?: string;
  /** Ours: must not exist, or be empty. */
  readonly to: string;
  /** Where our log goes; default: member/wal of our directory. Must not exist, or be empty. */
  readonly walDirectory?: string;
  /** How long to wait for an etcd that uses the directory; 0: for ever. Default: not at all. */
  readonly timeoutMs?: number;
  /** Size of our log's segments; default: the log's own. */
  readonly segmentBytes?: number;
  readonly log: Log;
}

/** What has come over. */
export interface ExchangeSummary {
  readonly memberId: bigint;
  readonly clusterId: bigint;
  /** The newest revision of the keys in the database; entries that are not applied yet may add to it. */
  readonly revision: number;
  readonly appliedIndex: number;
  readonly lastIndex: number;
}

/**
 * @throws ExchangeError, EtcdLogDamagedError, EtcdLogMissingError, SnapshotDamagedError, SnapshotError: their messages name
 * file and place. Nothing is left behind then.
 */
export function importEtcd(options: ImportOptions): Promise<ExchangeSummary> {
  return withSystemErrors(() => importMember(options));
}

async function importMember(options: ImportOptions): Promise<ExchangeSummary> {
  const { from, fromWalDirectory, to, walDirectory, timeoutMs, segmentBytes, log } = options;
  const world: World = { ...machineWorld(log), ...(segmentBytes === undefined ? {} : { segmentBytes }) };
  const etcd = etcdDirectoryOf(from, fromWalDirectory);
  refuseUnlessEtcds(etcd);
  const isBusy = (error: unknown): boolean => error instanceof EtcdRunningError;
  await retryWhileBusy(timeoutMs, isBusy, async () => refuseWhileInUse(etcd, log));
  const source = readSource(etcd, world.disk, log);
  const ours = await unfinishedMember(to, walDirectory, world.disk);
  try {
    const { revision, confState } = await importDatabase(source, `${ours.directory}/member/db`, world);
    await importLog(source, confState, ours.walDirectory, world);
    // It may have been started meanwhile.
    refuseWhileInUse(etcd, silentLog);
    ours.putInPlace();
    const { memberId, clusterId } = source.log.identity;
    return { memberId, clusterId, revision, appliedIndex: source.appliedIndex, lastIndex: source.lastIndex };
  } catch (error) {
    ours.discard();
    throw error;
  }
}

/** What is read of etcd's directory, checked as far as it can be without the database's contents. */
interface Source {
  readonly databasePath: string;
  /** Of the last entry that the database has applied. */
  readonly appliedIndex: number;
  readonly appliedTerm: Term;
  readonly log: EtcdLog;
  /** Our log begins behind this entry, with `entries`. */
  readonly start: { readonly index: Index; readonly term: Term };
  readonly entries: readonly Entry[];
  readonly hardState: HardState;
  readonly lastIndex: number;
}

function readSource(etcd: EtcdDirectory, disk: Disk, log: Log): Source {
  const etcdLog = readEtcdLog({ disk, directory: etcd.walDirectory });
  const { start, hardState, torn } = etcdLog;
  const entries = etcdLog.entries.map(withoutLegacy);
  if (torn !== null) log.warn("the log's last record was torn by a crash: it is left out, as etcd does", { ...torn });
  const lastIndex = start.index + entries.length;
  if (lastIndex === 0) {
    throw new ExchangeError(`${etcd.walDirectory} has no entries: this member has not begun, start a new one instead`);
  }
  checkSnapFile(etcd, etcdLog, disk);
  const { path, appliedIndex, appliedTerm } = chooseDatabase(etcd, start.index, disk);
  if (appliedIndex > lastIndex) {
    throw new ExchangeError(
      `${path} has applied entries up to ${appliedIndex}, but the log in ${etcd.walDirectory} ends at ${lastIndex}`,
    );
  }
  const term = termAt(etcdLog, appliedIndex);
  if (appliedTerm !== 0 && appliedTerm !== term) {
    throw new ExchangeError(
      `${path} has applied entry ${appliedIndex} of term ${appliedTerm}, in the log it is of term ${term}: they do not belong together`,
    );
  }
  // Never at the very beginning if anything is applied: an empty database would then pass for one that is only behind.
  const ourStart = Math.max(start.index, Math.min(1, appliedIndex), lastUnknownIndex(entries, appliedIndex));
  return {
    databasePath: path,
    appliedIndex,
    appliedTerm: term,
    log: etcdLog,
    start: { index: index(ourStart), term: termAt(etcdLog, ourStart) },
    entries: entries.slice(ourStart - start.index),
    // What was applied was committed, and etcd does not make a commit alone durable.
    hardState: { ...hardState, commit: index(Math.max(hardState.commit, appliedIndex)) },
    lastIndex,
  };
}

/** `at` lies from the log's start to its end. */
function termAt({ start, entries }: EtcdLog, at: number): Term {
  return at === start.index ? start.term : entries[at - start.index - 1]!.term;
}

/** etcd before 3.7 begins with this file: if it is there, it must be whole. */
function checkSnapFile({ snapDirectory }: EtcdDirectory, { start }: EtcdLog, disk: Disk): void {
  const path = `${snapDirectory}/${snapFileName(start)}`;
  if (start.index === 0 || !existsSync(path)) return;
  const { metadata } = readSnapFile(disk, path);
  if (metadata.index === start.index && metadata.term === start.term) return;
  throw new EtcdLogDamagedError(path, 0, `it is of entry ${metadata.index} of term ${metadata.term}`);
}

/** The member's database; or the one it received from its leader, if a crash came before that took its place. */
function chooseDatabase(
  etcd: EtcdDirectory,
  startIndex: number,
  disk: Disk,
): { path: string; appliedIndex: number; appliedTerm: number } {
  for (const path of [etcd.databasePath, receivedDatabasePath(etcd, startIndex)]) {
    if (!existsSync(path)) continue;
    const place = placeOf(path, disk);
    if (place.appliedIndex >= startIndex) return { path, ...place };
  }
  throw new ExchangeError(
    `the log in ${etcd.walDirectory} begins behind entry ${startIndex}, and no database in ${etcd.snapDirectory} has come so far`,
  );
}

/** Checks the whole file. */
function placeOf(path: string, disk: Disk): { appliedIndex: number; appliedTerm: number } {
  const file = disk.open(path, "read");
  try {
    const reader = new BboltReader(file);
    reader.check();
    const numberOf = (key: string): number => {
      const value = reader.get(Buffer.from("meta"), Buffer.from(key));
      if (value === null) return 0;
      const number = value.length === 8 ? Number(Buffer.from(value).readBigUInt64BE()) : Number.NaN;
      if (!Number.isSafeInteger(number)) throw new ExchangeError(`${path} is damaged: its ${key} is no number`);
      return number;
    };
    return { appliedIndex: numberOf("consistent_index"), appliedTerm: numberOf("term") };
  } catch (error) {
    if (!(error instanceof BboltDamagedError)) throw error;
    throw new ExchangeError(`${path} is damaged at page ${error.page}, offset ${error.offset}: ${error.detail}`, {
      cause: error,
    });
  } finally {
    file.close();
  }
}

interface ImportedDatabase {
  readonly revision: number;
  readonly confState: ConfState;
}

async function importDatabase(source: Source, directory: string, world: World): Promise<ImportedDatabase> {
  const storage = await new Promise<Storage>((resolve, reject) => {
    LmdbStorage.readSnapshot({ path: source.databasePath, directory }, (error, made) => {
      if (error === null) resolve(made!);
      else reject(error);
    });
  });
  try {
    const { memberId, clusterId } = source.log.identity;
    const options = { ...stateOptionsOf(configOfDirectory(directory)), clusterId, clock: world.clock, log: world.log };
    // As a start would: what it cannot read is found now.
    const { membership, store, storageVersion } = AppliedState.open(storage, options);
    if (!storageVersion.isSupported) throw new ExchangeError(`${source.databasePath}: ${storageVersion.complaint}`);
    if (membership.isRemoved(memberId)) {
      throw new ExchangeError(`member ${idText(memberId)} was removed from its cluster: it cannot come back`);
    }
    const confState = confStateOf(membership.voters(), membership.learners());
    const rows: TableChange[] = [{ table: "meta", key: CONF_STATE_KEY, value: Buffer.from(confStateJson(confState)) }];
    if (source.appliedIndex > 0) rows.push({ table: "meta", key: TERM_KEY, value: numberBytes(source.appliedTerm) });
    await commit(storage, rows);
    return { revision: store.revision, confState };
  } finally {
    await new Promise<void>((resolve, reject) => {
      storage.close((error) => (error === null ? resolve() : reject(error)));
    });
  }
}

const TERM_KEY: Uint8Array = Buffer.from("term");

function confStateOf(voters: readonly { id: bigint }[], learners: readonly { id: bigint }[]): ConfState {
  const ids = (members: readonly { id: bigint }[]): bigint[] => members.map(({ id }) => id).sort(ascending);
  return { voters: ids(voters), learners: ids(learners), votersOutgoing: [], learnersNext: [], autoLeave: false };
}

function numberBytes(value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

function commit(storage: Storage, changes: readonly TableChange[]): Promise<void> {
  const batch = { regions: [], recordCount: 0, drops: new Float64Array(0), changes };
  return new Promise((resolve, reject) => {
    storage.commit(batch, (error) => (error === null ? resolve() : reject(error)));
  });
}

async function importLog(source: Source, confState: ConfState, directory: string, world: World): Promise<void> {
  const { start, entries, hardState, log } = source;
  createLog({ kind: "new", ...log.identity, members: [], token: "" }, directory, world);
  const { disk, segmentBytes } = world;
  const { wal } = Wal.open({
    disk,
    directory,
    log: world.log,
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
  });
  try {
    if (start.index > 0) {
      const mark = { ...start, confState: Buffer.from(confStateJson(confState)) };
      await saved((done) => wal.replaceWithSnapshot(mark, hardState, done));
    }
    if (entries.length > 0) await saved((done) => wal.save(entries, hardState, done));
  } finally {
    wal.close();
  }
}

function saved(save: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    save((error) => (error === null ? resolve() : reject(error)));
  });
}
