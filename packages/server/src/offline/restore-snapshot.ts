/**
 * A data directory of ours out of a snapshot file, etcd's or ours: the data stays, the members are those of a new cluster
 * (semantics: bbolt-format.md §10). Every member of that cluster is restored from the same file, so all begin with the same
 * state and the same log.
 *
 *     digest ─▶ member/db    the file's contents; members, indexes and configuration replaced
 *               member/wal   a mark behind the entries that add the members, which are left out
 *
 * Invariants:
 *  - the data directory appears whole and durable, or not at all; the snapshot is only read;
 *  - the log begins behind the state: whoever joins later needs a snapshot, as nothing of the data is in any log (SN-12),
 *    and a member that has lost its database is refused at a start, instead of beginning an empty one;
 *  - of the cluster that the snapshot comes from no member is left (SN-10); leases, users and alarms are;
 *  - with a bump of the revision no reader sees the past again: everything before the new revision is compacted (SN-11).
 *
 * How that comes about, and what becomes of a restore that was killed: unfinished-member.ts.
 */
import { join } from "node:path";
import { encodeMember, idText, type Member } from "@quorate/membership";
import { Backend, LmdbStorage, type Storage, type Table, type TableChange } from "@quorate/mvcc";
import { EMPTY_CONF_STATE, index, type Term, term } from "@quorate/raft";
import { Wal } from "@quorate/wal";
import { type Log, silentLog } from "@quorate/world";
import { type Bootstrap, bootstrapEntries, bootstrapHardState } from "../bootstrap/bootstrap.ts";
import { configuredMember } from "../bootstrap/discover-cluster.ts";
import { parseClusterMap } from "../config/cluster-map.ts";
import { parseUrls } from "../config/urls.ts";
import { UnfinishedMember } from "../exchange-data/unfinished-member.ts";
import { CONF_STATE_KEY } from "../member/applied-state.ts";
import { confStateJson } from "../member/conf-state.ts";
import { createLog, type World } from "../member/open-member.ts";
import { MachineClock, MachineTimers } from "../world/clock.ts";
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
  const made = await prepare(options, world);
  const fields = {
    path: snapshotPath,
    "wal-dir": walDirectory ?? join(dataDirectory, "member/wal"),
    "data-dir": dataDirectory,
  };
  try {
    log.info("restoring snapshot", fields);
    checkDigest(options);
    await buildDatabase(`${made.directory}/member/db`, options, bootstrap, log);
    await buildLog(made.walDirectory, bootstrap, world);
    made.putInPlace();
  } catch (error) {
    made.discard();
    throw error;
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

function checkDigest({ snapshotPath, skipsHashCheck }: RestoreOptions): void {
  const source = new SnapshotSource(snapshotPath);
  try {
    if (!skipsHashCheck) source.checkDigest();
  } finally {
    source.close();
  }
}

/** Where the directories are made, and where they go. */
function prepare({ dataDirectory, walDirectory }: RestoreOptions, world: World): Promise<UnfinishedMember> {
  return withFileAsync("mkdir", dataDirectory, () => {
    return UnfinishedMember.prepare({
      target: dataDirectory,
      walTarget: walDirectory,
      takesEmptyWal: false,
      disk: world.disk,
      refuse: (place) => {
        return new RestoreRefused(
          place === "wal-dir"
            ? `wal-dir ${JSON.stringify(walDirectory)} exists`
            : `data-dir ${JSON.stringify(dataDirectory)} not empty or could not be read`,
        );
      },
    });
  });
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
