/**
 * A data directory of ours out of a snapshot file, etcd's or ours: the data stays, the members are those of a new cluster
 * (semantics: bbolt-format.md §10). Every member of that cluster is restored from the same file, so all begin with the same
 * state and the same log.
 *
 *     digest ─▶ <data-dir>.restoring/member/db   the file's contents; members, indexes and configuration replaced
 *                                     /wal  a mark behind the entries that add the members, which are left out
 *            ─▶ renamed to <data-dir>
 *
 * Invariants:
 *  - the data directory appears whole and durable, or not at all; the snapshot is only read;
 *  - the log begins behind the state: whoever joins later needs a snapshot, as nothing of the data is in any log (SN-12),
 *    and a member that has lost its database is refused at a start, instead of beginning an empty one;
 *  - of the cluster that the snapshot comes from no member is left (SN-10); leases, users and alarms are;
 *  - with a bump of the revision no reader sees the past again: everything before the new revision is compacted (SN-11).
 *
 * A process that is killed leaves the directory in the making, locked by nobody; the next restore to the same place removes it.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { encodeMember, idText, type Member } from "@quorate/membership";
import { Backend, LmdbStorage, type Storage, type Table, type TableChange } from "@quorate/mvcc";
import { EMPTY_CONF_STATE, index, type Term, term } from "@quorate/raft";
import { Wal } from "@quorate/wal";
import { type Log, silentLog } from "@quorate/world";
import { type Bootstrap, bootstrapEntries, bootstrapHardState } from "../bootstrap/bootstrap.ts";
import { configuredMember } from "../bootstrap/discover-cluster.ts";
import { parseClusterMap } from "../config/cluster-map.ts";
import { parseUrls } from "../config/urls.ts";
import { CONF_STATE_KEY } from "../member/applied-state.ts";
import { confStateJson } from "../member/conf-state.ts";
import { createLog, type World } from "../member/open-member.ts";
import { MachineClock, MachineTimers } from "../world/clock.ts";
import { DirectoryLock, isLockName } from "../world/directory-lock.ts";
import { NodeDisk } from "../world/disk.ts";
import { machineNames } from "../world/names.ts";
import { MachineRandom } from "../world/random.ts";
import { withFile } from "./file-error.ts";
import { SnapshotSource } from "./snapshot-source.ts";
import { closed } from "./stopped-member.ts";

/** The place is not free, or the revision cannot be raised so far. Nothing was made. */
export class RestoreRefused extends Error {
  readonly kind = "RestoreRefused";
}

/** As etcdutl's flags of the same names. */
export interface RestoreOptions {
  readonly snapshotPath: string;
  readonly name: string;
  readonly dataDirectory: string;
  /** null: inside the data directory. */
  readonly walDirectory: string | null;
  readonly initialCluster: string;
  readonly initialClusterToken: string;
  readonly initialAdvertisePeerUrls: string;
  readonly skipsHashCheck: boolean;
  /** Added to the revision, all before it compacted; 0: neither. */
  readonly bumpRevision: number;
}

/**
 * Throws what the configuration, the place and the file are refused for: Error of the URLs, BootstrapError, RestoreRefused,
 * FileError, DigestError, SnapshotDamagedError, SnapshotError (no space), and then nothing is left behind.
 */
export async function restoreSnapshot(options: RestoreOptions, log: Log): Promise<void> {
  const { snapshotPath, dataDirectory, walDirectory } = options;
  const world: World = {
    disk: new NodeDisk(),
    clock: new MachineClock(),
    timers: new MachineTimers(),
    random: new MachineRandom(),
    log,
    raftLog: log,
  };
  const bootstrap = await bootstrapOf(options, world);
  refuseOccupied(dataDirectory, walDirectory);
  const fields = {
    path: snapshotPath,
    "wal-dir": walDirectory ?? join(dataDirectory, "member/wal"),
    "data-dir": dataDirectory,
  };
  log.info("restoring snapshot", fields);
  checkDigest(options);
  const places = await Places.prepare(dataDirectory, walDirectory, world);
  try {
    await buildDatabase(`${places.directory}/member/db`, options, bootstrap, log);
    await buildLog(places.walDirectory, bootstrap, world);
    places.moveIn();
  } catch (error) {
    places.remove();
    throw error;
  } finally {
    places.release();
  }
  log.info("restored snapshot", {
    ...fields,
    "local-member-id": idText(bootstrap.memberId),
    "cluster-id": idText(bootstrap.clusterId),
  });
}

function bootstrapOf(options: RestoreOptions, world: World): Promise<Bootstrap> {
  const { name, initialCluster, initialClusterToken, initialAdvertisePeerUrls } = options;
  const config = {
    name,
    advertisePeerUrls: parseUrls(initialAdvertisePeerUrls).map(({ text }) => text),
    initialCluster: parseClusterMap(initialCluster),
    initialClusterToken,
  };
  return configuredMember(config, { ...world, names: machineNames });
}

function refuseOccupied(dataDirectory: string, walDirectory: string | null): void {
  if (!isFree(dataDirectory)) {
    throw new RestoreRefused(`data-dir ${JSON.stringify(dataDirectory)} not empty or could not be read`);
  }
  if (walDirectory !== null && existsSync(walDirectory)) {
    throw new RestoreRefused(`wal-dir ${JSON.stringify(walDirectory)} exists`);
  }
}

function isFree(directory: string): boolean {
  if (!existsSync(directory)) return true;
  try {
    return readdirSync(directory).length === 0;
  } catch {
    return false;
  }
}

function checkDigest({ snapshotPath, skipsHashCheck }: RestoreOptions): void {
  const source = new SnapshotSource(snapshotPath);
  try {
    if (!skipsHashCheck) source.checkDigest();
  } finally {
    source.close();
  }
}

/** Where the directories are made, and where they go. */
class Places {
  /** The data directory in the making. */
  readonly directory: string;
  readonly walDirectory: string;
  readonly #target: string;
  /** null: inside the data directory. */
  readonly #walTarget: string | null;
  readonly #lock: DirectoryLock;
  readonly #world: World;

  /** Makes empty ones, in place of what a killed process has left there. */
  static async prepare(dataDirectory: string, walDirectory: string | null, world: World): Promise<Places> {
    const target = resolve(dataDirectory);
    const directory = `${target}.restoring`;
    const inside = relative(target, resolve(walDirectory ?? join(target, "member/wal")));
    const isInside = !inside.startsWith("..") && !isAbsolute(inside);
    const walTarget = isInside ? null : resolve(walDirectory!);
    return withFileAsync("mkdir", dataDirectory, async () => {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const lock = await DirectoryLock.acquire(directory);
      try {
        for (const name of readdirSync(directory)) {
          if (!isLockName(name)) rmSync(join(directory, name), { recursive: true });
        }
        mkdirSync(join(directory, "member"), { mode: 0o700 });
        const walPlace = walTarget === null ? join(directory, inside) : `${walTarget}.restoring`;
        if (walTarget !== null) rmSync(walPlace, { recursive: true, force: true });
        mkdirSync(dirname(walPlace), { recursive: true, mode: 0o700 });
        mkdirSync(walPlace, { mode: 0o700 });
        return new Places(directory, walPlace, target, walTarget, lock, world);
      } catch (error) {
        rmSync(directory, { recursive: true, force: true });
        lock.release();
        throw error;
      }
    });
  }

  private constructor(
    directory: string,
    walDirectory: string,
    target: string,
    walTarget: string | null,
    lock: DirectoryLock,
    world: World,
  ) {
    this.directory = directory;
    this.walDirectory = walDirectory;
    this.#target = target;
    this.#walTarget = walTarget;
    this.#lock = lock;
    this.#world = world;
  }

  /** The log first: a data directory without its log would be refused by a member, a log alone is nobody's. */
  moveIn(): void {
    const { disk } = this.#world;
    for (const each of [this.directory, `${this.directory}/member`, dirname(this.walDirectory)])
      disk.syncDirectory(each);
    if (this.#walTarget !== null) {
      renameSync(this.walDirectory, this.#walTarget);
      disk.syncDirectory(dirname(this.#walTarget));
    }
    try {
      renameSync(this.directory, this.#target);
    } catch (error) {
      if (this.#walTarget !== null) renameSync(this.#walTarget, this.walDirectory);
      throw error;
    }
    disk.syncDirectory(dirname(this.#target));
  }

  remove(): void {
    rmSync(this.walDirectory, { recursive: true, force: true });
    rmSync(this.directory, { recursive: true, force: true });
  }

  release(): void {
    this.#lock.release();
    if (!existsSync(this.#target)) return;
    for (const name of readdirSync(this.#target))
      if (isLockName(name)) rmSync(join(this.#target, name), { force: true });
  }
}

async function withFileAsync<Result>(operation: string, path: string, action: () => Promise<Result>): Promise<Result> {
  try {
    return await action();
  } catch (error) {
    return withFile(operation, path, () => {
      throw error;
    });
  }
}

/** What was in the snapshot, with the members, indexes and configuration of the cluster that begins. */
async function buildDatabase(
  directory: string,
  { snapshotPath, bumpRevision }: RestoreOptions,
  bootstrap: Bootstrap,
  log: Log,
): Promise<void> {
  const storage = await readInto(directory, snapshotPath);
  try {
    if (bumpRevision > 0) await raiseRevision(storage, bumpRevision, log);
    await commit(storage, newClusterChanges(storage, bootstrap));
  } finally {
    await closed(storage);
  }
}

function readInto(directory: string, path: string): Promise<Storage> {
  return new Promise((done, failed) => {
    LmdbStorage.readSnapshot({ path, directory }, (error, storage) => {
      if (storage === null) failed(error!);
      else done(storage);
    });
  });
}

/** A record without contents far ahead, and a compaction to it that the first start carries out. */
async function raiseRevision(storage: Storage, amount: number, log: Log): Promise<void> {
  const latest = latestRevisionOf(storage);
  const raised = latest + amount;
  if (!Number.isSafeInteger(raised)) {
    throw new RestoreRefused(`--bump-revision ${amount} takes revision ${latest} beyond 2^53`);
  }
  log.info("bumping latest revision", {
    "latest-revision": latest,
    "bump-amount": amount,
    "new-latest-revision": raised,
  });
  const backend = new Backend({ storage });
  backend.append(raised, 0, false, new Uint8Array(0), 0, 0);
  log.info("marking revision compacted", { revision: raised });
  const revision = Buffer.alloc(REVISION_BYTES);
  revision.writeBigUInt64BE(BigInt(raised));
  revision.write("_", 8, "latin1");
  backend.put("meta", Buffer.from("scheduledCompactRev"), revision);
  backend.applied(backend.appliedIndex, backend.appliedTerm);
  await new Promise<void>((done, failed) => backend.flush((error) => (error === null ? done() : failed(error))));
}

/** main as u64be, "_", sub as u64be. */
const REVISION_BYTES = 17;

function latestRevisionOf(storage: Storage): number {
  let latest = 0;
  storage.scanRecords(0, 0, {
    visit: (main) => {
      latest = main;
      return true;
    },
  });
  return latest;
}

function newClusterChanges(storage: Storage, bootstrap: Bootstrap): TableChange[] {
  const entries = bootstrapEntries(bootstrap);
  const changes: TableChange[] = [];
  const members = new Map<string, Member>(bootstrap.members.map((member) => [idText(member.id), member]));
  for (const table of ["members", "members_removed"] as const) {
    for (const key of keysOf(storage, table)) {
      if (table === "members" && members.has(Buffer.from(key).toString())) continue;
      changes.push({ table, key, value: null });
    }
  }
  for (const [id, member] of members) {
    changes.push({ table: "members", key: Buffer.from(id), value: Buffer.from(encodeMember(member)) });
  }
  const meta: [Uint8Array, Uint8Array][] = [
    [Buffer.from("consistent_index"), bigEndian64(entries.length)],
    [Buffer.from("term"), bigEndian64(FIRST_TERM)],
    [CONF_STATE_KEY, Buffer.from(confStateJson(confStateOf(bootstrap)))],
  ];
  for (const [key, value] of meta) changes.push({ table: "meta", key, value });
  return changes;
}

const FIRST_TERM: Term = term(1);

function confStateOf({ members }: Bootstrap): typeof EMPTY_CONF_STATE {
  return { ...EMPTY_CONF_STATE, voters: members.map(({ id }) => id) };
}

function keysOf(storage: Storage, table: Table): Uint8Array[] {
  const keys: Uint8Array[] = [];
  storage.scan(table, (key) => keys.push(Uint8Array.from(key)));
  return keys;
}

function commit(storage: Storage, changes: readonly TableChange[]): Promise<void> {
  const batch = { regions: [], recordCount: 0, drops: new Float64Array(0), changes };
  return new Promise((done, failed) => storage.commit(batch, (error) => (error === null ? done() : failed(error))));
}

function bigEndian64(value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** A mark in place of the entries that begin the cluster: they are in the database, and nowhere else. */
async function buildLog(directory: string, bootstrap: Bootstrap, world: World): Promise<void> {
  createLog(bootstrap, directory, { ...world, log: silentLog });
  const { wal } = Wal.open({ disk: world.disk, directory, log: world.log });
  try {
    const entries = bootstrapEntries(bootstrap);
    const confState = Buffer.from(confStateJson(confStateOf(bootstrap)));
    const mark = { index: index(entries.length), term: FIRST_TERM, confState };
    await new Promise<void>((done, failed) => {
      wal.replaceWithSnapshot(mark, bootstrapHardState(entries), (error) => (error === null ? done() : failed(error)));
    });
  } finally {
    wal.close();
  }
}
