/**
 * Opens the parts of a member from what is durable: the log says who we are, storage says how far state is, and what the
 * log has beyond storage is left to consensus to apply again. A new member's log is created here, too. Called by
 * data-directory.ts on the machine's disk, and by tests on a simulated one: nothing here knows which.
 *
 *   createLog ──▶ empty log with our identity ──crash?──▶ openMember writes the entries that begin the cluster
 *
 * Invariants:
 *  - storage is never ahead of the log: a log that ends before what storage has applied is refused;
 *  - the checkpoint of the key index is a cache: whatever is wrong with it, the member opens.
 */
import { Lessor } from "@quorate/lease";
import { clusterIdOf, encodeMember, idText, Membership, memberIdOf } from "@quorate/membership";
import { Backend, type Storage, Store, type Table } from "@quorate/mvcc";
import {
  ConfChangeType,
  type ConfState,
  EMPTY_CONF_STATE,
  EMPTY_HARD_STATE,
  Entry,
  EntryType,
  encodeConfChange,
  type HardState,
  index,
  MemoryLogStorage,
  NO_NODE,
  RawNode,
  term,
} from "@quorate/raft";
import { type Replay, Wal } from "@quorate/wal";
import { assert, type Clock, type Disk, type Log, type Random, type Timers } from "@quorate/world";
import type { Config } from "../config/config.ts";
import { Alarms } from "./alarms.ts";
import { parseConfState } from "./applier.ts";
import { IndexFile } from "./index-file.ts";
import type { MemberParts } from "./member.ts";
import { RequestIds } from "./request-ids.ts";

/** The directory cannot be used as it is; the message is one line for the operator. */
export class DataDirectoryError extends Error {
  readonly kind = "DataDirectory";
}

export interface World {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
  /** Where raft's own lines go, which tools look for under its name. */
  readonly raftLog: Log;
  /** Size of new segments of the log; default: the log's own. */
  readonly segmentBytes?: number;
}

const MAX_SIZE_PER_MESSAGE_BYTES = 1024 * 1024;
const MAX_INFLIGHT_MESSAGES = 512;
/** Proposals that wait for the disk may take this much memory before raft refuses more. */
const MAX_UNCOMMITTED_BYTES = 256 * 1024 * 1024;
const IDENTITY_BYTES = 16;
const CONF_STATE_KEY = Buffer.from("confState");

/** An empty log that says who we are; the entries that begin the cluster follow when it is opened. */
export function createLog(config: Config, world: World): void {
  const { memberId, clusterId } = bootstrapMember(config);
  Wal.create({
    disk: world.disk,
    directory: config.walDirectory,
    metadata: encodeIdentity(memberId, clusterId),
    random: world.random,
    log: world.log,
    ...segmentSize(world),
  }).close();
  world.log.info("starting local member", { "local-member-id": idText(memberId), "cluster-id": idText(clusterId) });
}

/** The member this configuration describes, as the first of a new cluster. Throws DataDirectoryError. */
function bootstrapMember(config: Config): { memberId: bigint; clusterId: bigint; peerUrls: readonly string[] } {
  if (config.initialClusterState === "existing") {
    throw new DataDirectoryError("joining an existing cluster is not supported by this version of quorate");
  }
  const own = config.initialCluster.find((each) => each.name === config.name);
  if (own === undefined) {
    throw new DataDirectoryError(`couldn't find local name "${config.name}" in the initial cluster configuration`);
  }
  checkAdvertised(config.advertisePeerUrls, own.peerUrls, config.name);
  const memberId = memberIdOf(own.peerUrls, config.initialClusterToken);
  const ids = config.initialCluster.map((each) => memberIdOf(each.peerUrls, config.initialClusterToken));
  return { memberId, clusterId: clusterIdOf(ids), peerUrls: own.peerUrls };
}

/**
 * The log of a new member begins with one committed entry per member of the cluster (etcd's bootstrap). A crash before it
 * was written leaves a log without entries, and the next start writes it.
 */
function bootstrap(config: Config, wal: Wal, memberId: bigint): Promise<{ entries: Entry[]; hardState: HardState }> {
  const described = bootstrapMember(config);
  if (described.memberId !== memberId) {
    throw new DataDirectoryError(
      `the log in ${config.walDirectory} was begun for member ${idText(memberId)}, ` +
        `but the flags describe member ${idText(described.memberId)}`,
    );
  }
  const members = config.initialCluster
    .map(({ peerUrls, name }) => ({ id: memberIdOf(peerUrls, config.initialClusterToken), peerUrls, name }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const entries = members.map((each, at) => {
    const member = { ...each, name: "", isLearner: false, clientUrls: [] };
    const context = Buffer.from(encodeMember(member));
    const change = { id: 0n, type: ConfChangeType.AddNode, nodeId: each.id, context };
    return new Entry(EntryType.ConfChange, term(1), index(at + 1), encodeConfChange(change));
  });
  const hardState: HardState = { term: term(1), vote: NO_NODE, commit: index(entries.length) };
  return new Promise((resolve, reject) => {
    wal.save(entries, hardState, (error) => {
      if (error === null) resolve({ entries, hardState });
      else reject(error);
    });
  });
}

function checkAdvertised(advertised: readonly string[], listed: readonly string[], name: string): void {
  const missing = listed.filter((url) => !advertised.includes(url));
  if (missing.length > 0) {
    throw new DataDirectoryError(
      `--initial-cluster has ${missing.map((url) => `${name}=${url}`).join(",")} but missing from --initial-advertise-peer-urls=${advertised.join(",")}`,
    );
  }
  const extra = advertised.filter((url) => !listed.includes(url));
  if (extra.length > 0) {
    throw new DataDirectoryError(
      `--initial-advertise-peer-urls has ${extra.join(",")} but missing from --initial-cluster=${listed.map((url) => `${name}=${url}`).join(",")}`,
    );
  }
}

/** `storage` is the member's from here on. Throws DataDirectoryError, and what the log refuses to open with. */
export async function openMember(
  config: Config,
  storage: Storage,
  indexPath: string,
  world: World,
): Promise<MemberParts> {
  const { disk, clock, timers, log, random } = world;
  const backend = new Backend({ storage });
  const { wal, replay } = Wal.open({
    disk,
    directory: config.walDirectory,
    log,
    ...segmentSize(world),
    // What the database has applied was durable in the log first; a log that ends earlier has lost entries.
    mustReach: index(backend.flushedIndex),
    isUsable: (mark) => mark.index <= backend.flushedIndex,
  });
  const { memberId, clusterId } = decodeIdentity(replay.metadata);
  log.info("restarting local member", {
    "local-member-id": idText(memberId),
    "cluster-id": idText(clusterId),
    "applied-index": backend.flushedIndex,
    "last-index": replay.lastIndex,
  });

  const tables = {
    put: (table: Table, key: Uint8Array, value: Uint8Array | null) => backend.put(table, key, value),
    scan: (table: Table, visit: (key: Uint8Array, value: Uint8Array) => void) => storage.scan(table, visit),
  };
  const membership = new Membership(clusterId, tables);
  membership.load();
  const alarms = new Alarms({ put: (key, value) => backend.put("alarm", key, value) });
  alarms.load((visit) => storage.scan("alarm", visit));
  const electionMs = config.electionTicks * config.heartbeatMs;
  const lessor = new Lessor({
    clock,
    table: { put: (key, value) => backend.put("lease", key, value) },
    minTtlSeconds: Math.ceil((Math.floor((3 * config.electionTicks) / 2) * config.heartbeatMs) / 1000),
    expiryRetryMs: 5000 + 2 * electionMs,
  });
  lessor.load((visit) => storage.scan("lease", visit));
  const indexFile = new IndexFile({ disk, path: indexPath, timers, log });
  const checkpoint = indexFile.reader();
  const store = Store.open({ backend, leases: lessor, log, ...(checkpoint === undefined ? {} : { checkpoint }) });

  const confState = storedConfState(storage);
  const logStorage = new StoredLog(confState);
  if (replay.lastIndex === 0) {
    const begun = await bootstrap(config, wal, memberId);
    logStorage.append(begun.entries);
    logStorage.setHardState(begun.hardState);
  } else {
    logStorage.restore(replay, backend.flushedIndex);
  }
  const raft = new RawNode({
    id: memberId,
    electionTicks: config.electionTicks,
    heartbeatTicks: 1,
    storage: logStorage,
    applied: index(backend.flushedIndex),
    maxSizePerMessageBytes: MAX_SIZE_PER_MESSAGE_BYTES,
    maxCommittedSizePerReadyBytes: 0,
    maxUncommittedSizeBytes: MAX_UNCOMMITTED_BYTES,
    maxInflightMessages: MAX_INFLIGHT_MESSAGES,
    maxInflightBytes: 0,
    checkQuorum: true,
    preVote: config.preVote,
    readOnly: "safe",
    disableProposalForwarding: false,
    disableConfChangeValidation: false,
    stepDownOnRemoval: false,
    asyncStorageWrites: true,
    random,
    log: world.raftLog,
  });
  return {
    id: memberId,
    raft,
    logStorage,
    wal,
    backend,
    store,
    lessor,
    membership,
    alarms,
    ids: new RequestIds(memberId, clock.wallMs()),
    indexFile,
    confState,
    markedIndex: replay.snapshotMark?.index ?? 0,
  };
}

/** The configuration in force at the applied index; empty before the first change was applied. */
function storedConfState(storage: Storage): ConfState {
  const stored = storage.get("meta", CONF_STATE_KEY);
  return stored === undefined ? EMPTY_CONF_STATE : parseConfState(Buffer.from(stored).toString());
}

/** The tail of the log in memory. The configuration that raft starts with is the database's, not a snapshot's. */
class StoredLog extends MemoryLogStorage {
  readonly #confState: ConfState;

  constructor(confState: ConfState) {
    super();
    this.#confState = confState;
  }

  override initialState(): ReturnType<MemoryLogStorage["initialState"]> {
    return { hardState: super.initialState().hardState, confState: this.#confState };
  }

  restore(replay: Replay, appliedIndex: number): void {
    const mark = replay.snapshotMark;
    if (mark !== null) {
      const metadata = { confState: this.#confState, index: mark.index, term: mark.term };
      this.applySnapshot({ data: new Uint8Array(0), metadata });
    }
    this.append(replay.entries);
    const saved = replay.hardState ?? EMPTY_HARD_STATE;
    // The log saves the commit index with the next entries only; what was applied was committed all the same.
    assert(appliedIndex <= replay.lastIndex, "what was applied is in the log");
    this.setHardState({ ...saved, commit: index(Math.max(saved.commit, appliedIndex)) });
  }
}

function encodeIdentity(memberId: bigint, clusterId: bigint): Uint8Array {
  const bytes = Buffer.alloc(IDENTITY_BYTES);
  bytes.writeBigUInt64BE(memberId, 0);
  bytes.writeBigUInt64BE(clusterId, 8);
  return bytes;
}

function decodeIdentity(metadata: Uint8Array): { memberId: bigint; clusterId: bigint } {
  if (metadata.length !== IDENTITY_BYTES) {
    throw new DataDirectoryError(`the log's identity has ${metadata.length} bytes, expected ${IDENTITY_BYTES}`);
  }
  const bytes = Buffer.from(metadata);
  return { memberId: bytes.readBigUInt64BE(0), clusterId: bytes.readBigUInt64BE(8) };
}

function segmentSize(world: World): { segmentBytes?: number } {
  return world.segmentBytes === undefined ? {} : { segmentBytes: world.segmentBytes };
}
