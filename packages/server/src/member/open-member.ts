/**
 * Opens the parts of a member from what is durable: the log says who we are, storage says how far state is, and what the
 * log has beyond storage is left to consensus to apply again. A new member's log is created here, too. Called by
 * data-directory.ts on the machine's disk, and by tests on a simulated one: nothing here knows which.
 *
 *   createLog ──▶ empty log with our identity ──crash?──▶ openMember of a new cluster's member writes the entries that
 *                                                         begin the cluster; one that joins waits for the leader's
 *
 * Invariants:
 *  - storage is never ahead of the log: a log that ends before what storage has applied is refused;
 *  - of several databases (a snapshot was being installed) the log decides: the least advanced one that its newest
 *    snapshot mark allows, because a mark follows what it speaks of;
 *  - the checkpoint of the key index is a cache: whatever is wrong with it, the member opens.
 */
import { type Member as ClusterMember, idText } from "@quorate/membership";
import { Backend, type Storage } from "@quorate/mvcc";
import { type Entry, type HardState, index, RawNode, type Term } from "@quorate/raft";
import { Wal } from "@quorate/wal";
import type { Clock, Disk, Log, Random, Timers } from "@quorate/world";
import { type Bootstrap, bootstrapEntries, bootstrapHardState } from "../bootstrap/bootstrap.ts";
import type { Config } from "../config/config.ts";
import { AppliedState } from "./applied-state.ts";
import type { Databases } from "./databases.ts";
import { forceNewCluster } from "./force-new-cluster.ts";
import { IndexFile } from "./index-file.ts";
import { RequestIds } from "./request-ids.ts";
import { StoredLog } from "./stored-log.ts";

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

/** What a member is built of. */
export interface MemberParts {
  readonly id: bigint;
  readonly raft: RawNode;
  readonly logStorage: StoredLog;
  readonly wal: Wal;
  readonly state: AppliedState;
  readonly databases: Databases;
  readonly ids: RequestIds;
  readonly indexFile: IndexFile;
  /** Index of the newest snapshot mark in the log; 0: none. */
  readonly markedIndex: number;
  /** Whom to talk to before the log has said who the members are. */
  readonly firstPeers: readonly ClusterMember[];
}

export interface OpenOptions {
  readonly config: Config;
  /** All databases found; each of them complete. Those that are not used are discarded. */
  readonly storages: readonly Storage[];
  readonly databases: Databases;
  readonly indexPath: string;
  readonly world: World;
  /** Asked only while the log is empty. */
  readonly identify: () => Promise<Bootstrap>;
}

const MAX_SIZE_PER_MESSAGE_BYTES = 1024 * 1024;
const MAX_INFLIGHT_MESSAGES = 512;
/** On the way to one follower at a time: more than a fast network holds, little enough to be let go when it breaks. */
const MAX_INFLIGHT_BYTES = 64 * 1024 * 1024;
/** etcd's. */
const LEASE_CHECKPOINT_MS = 5 * 60 * 1000;
/** Proposals that wait for the disk may take this much memory before raft refuses more. */
const MAX_UNCOMMITTED_BYTES = 256 * 1024 * 1024;
const IDENTITY_BYTES = 16;
/** Follows the ids in the log of a member that joined a running cluster. */
const JOINED = 1;

/** An empty log that says who we are; the entries that begin the cluster follow when it is opened. */
export function createLog(bootstrap: Bootstrap, directory: string, world: World): void {
  Wal.create({
    disk: world.disk,
    directory,
    metadata: encodeIdentity(bootstrap),
    random: world.random,
    log: world.log,
    ...segmentSize(world),
  }).close();
  const { memberId, clusterId } = bootstrap;
  world.log.info("starting local member", { "local-member-id": idText(memberId), "cluster-id": idText(clusterId) });
}

/** The storages are the member's from here on. Throws DataDirectoryError, and what the log refuses to open with. */
export async function openMember(options: OpenOptions): Promise<MemberParts> {
  const { config, databases, world } = options;
  const { disk, clock, timers, log, random } = world;
  const candidates = options.storages
    .map((storage) => ({ storage, flushedIndex: new Backend({ storage }).flushedIndex }))
    .sort((a, b) => a.flushedIndex - b.flushedIndex);
  const least = candidates[0]!;
  const most = candidates[candidates.length - 1]!;
  const { wal, replay } = Wal.open({
    disk,
    directory: config.walDirectory,
    log,
    ...segmentSize(world),
    // What a database has applied was durable in the log first; a log that ends earlier has lost entries.
    mustReach: index(least.flushedIndex),
    isUsable: (mark) => mark.index <= most.flushedIndex,
  });
  const used = candidates.find((each) => (replay.snapshotMark?.index ?? 0) <= each.flushedIndex)!;
  for (const { storage } of candidates) if (storage !== used.storage) databases.discard(storage);

  await defragmentAtStart(used.storage, config.bootstrapDefragBytes, log);
  const { memberId, clusterId, isJoined } = decodeIdentity(replay.metadata);
  log.info("restarting local member", {
    "local-member-id": idText(memberId),
    "cluster-id": idText(clusterId),
    "applied-index": used.flushedIndex,
    "last-index": replay.lastIndex,
  });
  const indexFile = new IndexFile({ disk, path: options.indexPath, timers, log });
  const stateOptions = { ...stateOptionsOf(config), clusterId, clock, log };
  const state = AppliedState.open(used.storage, stateOptions, indexFile.reader());
  if (!state.storageVersion.isSupported) {
    // Written by a newer server, or by none (known failure ST-17).
    throw new DataDirectoryError(state.storageVersion.complaint);
  }
  const { flushedIndex, flushedTerm } = state.backend;
  const logStorage = new StoredLog({
    index: index(flushedIndex),
    term: flushedTerm as Term,
    confState: state.confState,
  });
  let firstPeers: readonly ClusterMember[] = [];
  if (replay.lastIndex === 0) {
    const bootstrap = await options.identify();
    if (bootstrap.memberId !== memberId) {
      throw new DataDirectoryError(
        `${config.walDirectory} was created for member ${idText(memberId)}, but the configuration describes member ${idText(bootstrap.memberId)}`,
      );
    }
    firstPeers = bootstrap.members;
    if (isJoined) {
      // It may have voted before the leader sent it anything (known failure RA-02).
      logStorage.restore(replay, flushedIndex);
    } else {
      const { entries, hardState } = await beginCluster({ ...bootstrap, kind: "new" }, wal);
      logStorage.append(entries);
      logStorage.setHardState(hardState);
    }
  } else {
    const replayed = config.forceNewCluster ? await forceNewCluster({ replay, wal, state, memberId, log }) : replay;
    logStorage.restore(replayed, flushedIndex);
  }
  const raft = new RawNode({
    id: memberId,
    electionTicks: config.electionTicks,
    heartbeatTicks: 1,
    storage: logStorage,
    applied: index(flushedIndex),
    maxSizePerMessageBytes: MAX_SIZE_PER_MESSAGE_BYTES,
    maxCommittedSizePerReadyBytes: 0,
    maxUncommittedSizeBytes: MAX_UNCOMMITTED_BYTES,
    maxInflightMessages: MAX_INFLIGHT_MESSAGES,
    maxInflightBytes: MAX_INFLIGHT_BYTES,
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
    state,
    databases,
    ids: new RequestIds(memberId, clock.wallMs()),
    indexFile,
    markedIndex: replay.snapshotMark?.index ?? 0,
    firstPeers,
  };
}

/** While nobody waits for it. One that fails leaves the database as it was. */
function defragmentAtStart(storage: Storage, thresholdBytes: number, log: Log): Promise<void> {
  const sizes = {
    "current-db-size-bytes": storage.sizeBytes(),
    "current-db-size-in-use-bytes": storage.sizeInUseBytes(),
  };
  if (thresholdBytes === 0) return Promise.resolve();
  if (storage.sizeBytes() - storage.sizeInUseBytes() < thresholdBytes) {
    log.info("Skipping defragmentation", { ...sizes, "bootstrap-defrag-threshold-bytes": thresholdBytes });
    return Promise.resolve();
  }
  return new Promise((resolve) => {
    storage.defragment((error) => {
      if (error === null) log.info("defragmented at start", { ...sizes, "new-db-size-bytes": storage.sizeBytes() });
      else log.warn("failed to defragment at start", { ...sizes, error });
      resolve();
    });
  });
}

/** What the state of a member needs to know of the configuration. */
export function stateOptionsOf(config: Config): {
  readonly heartbeatMs: number;
  readonly electionTicks: number;
  readonly leaseCheckpointMs: number | null;
} {
  return {
    heartbeatMs: config.heartbeatMs,
    electionTicks: config.electionTicks,
    leaseCheckpointMs: config.leaseCheckpoint ? LEASE_CHECKPOINT_MS : null,
  };
}

/**
 * The log of a member of a new cluster begins with one committed entry per member, the same in every log (etcd's
 * bootstrap). A crash before it was written leaves a log without entries, and the next start writes it.
 */
function beginCluster(bootstrap: Bootstrap, wal: Wal): Promise<{ entries: Entry[]; hardState: HardState }> {
  const entries = bootstrapEntries(bootstrap);
  const hardState = bootstrapHardState(entries);
  return new Promise((resolve, reject) => {
    wal.save(entries, hardState, (error) => {
      if (error === null) resolve({ entries, hardState });
      else reject(error);
    });
  });
}

function encodeIdentity({ kind, memberId, clusterId }: Bootstrap): Uint8Array {
  const bytes = Buffer.alloc(kind === "join" ? IDENTITY_BYTES + 1 : IDENTITY_BYTES);
  bytes.writeBigUInt64BE(memberId, 0);
  bytes.writeBigUInt64BE(clusterId, 8);
  if (kind === "join") bytes[IDENTITY_BYTES] = JOINED;
  return bytes;
}

function decodeIdentity(metadata: Uint8Array): { memberId: bigint; clusterId: bigint; isJoined: boolean } {
  const isJoined = metadata.length === IDENTITY_BYTES + 1 && metadata[IDENTITY_BYTES] === JOINED;
  if (metadata.length !== IDENTITY_BYTES && !isJoined) {
    throw new DataDirectoryError(`the log's identity has ${metadata.length} bytes, expected ${IDENTITY_BYTES}`);
  }
  const bytes = Buffer.from(metadata);
  return { memberId: bytes.readBigUInt64BE(0), clusterId: bytes.readBigUInt64BE(8), isJoined };
}

function segmentSize(world: World): { segmentBytes?: number } {
  return world.segmentBytes === undefined ? {} : { segmentBytes: world.segmentBytes };
}
