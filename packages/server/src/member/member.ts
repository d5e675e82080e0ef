/**
 * One member: its replicated state and everything that drives it. Services ask it to propose and to read; it owns the
 * apply loop, the wait for outcomes, the flush behind, expiry of leases and the cutting of the log.
 *
 *   services ── propose ──▶ Consensus ── committed ──▶ Applier ── outcome ──▶ whoever waits
 *            ── read ─────▶    │                          │
 *                              ▼                          ▼
 *                             log  ◀── release ──  Backend ── flush ──▶ storage
 *
 * Invariants:
 *  - nothing is answered before its entry is applied, and nothing is applied before it is durable;
 *  - the log is released only behind what storage has durably (`flushedIndex`), and a mark in the log says so first;
 *  - after a failed write of log or storage the owner ends the process; nothing is answered in between.
 */
import {
  AlarmAction,
  AlarmType,
  type ErrorKind,
  encodeRaftRequest,
  HeaderEncoder,
  RaftOp,
  raftRequestSize,
} from "@quorate/api";
import { AlarmRequest, LeaseRevokeRequest } from "@quorate/api/messages";
import type { Lessor } from "@quorate/lease";
import { idText, type Membership } from "@quorate/membership";
import { type Backend, type Store, WatchHub } from "@quorate/mvcc";
import {
  type ConfChange,
  type ConfState,
  type Entry,
  type MemoryLogStorage,
  type Message,
  NO_NODE,
  type NodeId,
  ProposalDropped,
  type RawNode,
  UnknownPeer,
} from "@quorate/raft";
import type { ServerCall } from "@quorate/rpc";
import type { Wal } from "@quorate/wal";
import type { Clock, Log, Random, Timer, Timers } from "@quorate/world";
import { failWith } from "../answer.ts";
import type { OutgoingSnapshot, PeerNetwork, PeerNetworkOwner } from "../peers/peer-network.ts";
import type { Alarms } from "./alarms.ts";
import { Applier } from "./applier.ts";
import { CompactionDriver } from "./compaction-driver.ts";
import { Consensus, type ConsensusOwner, type ReadWaiter } from "./consensus.ts";
import type { IndexFile } from "./index-file.ts";
import { LogWriter } from "./log-writer.ts";
import type { Outcome } from "./outcome.ts";
import { Pending, PendingProposals, type ProposalHandler } from "./pending.ts";
import { Publisher } from "./publisher.ts";
import type { RequestIds } from "./request-ids.ts";
import { WriteBehind } from "./write-behind.ts";

export interface MemberParts {
  readonly id: bigint;
  readonly raft: RawNode;
  readonly logStorage: MemoryLogStorage;
  readonly wal: Wal;
  readonly backend: Backend;
  readonly store: Store;
  readonly lessor: Lessor;
  readonly membership: Membership;
  readonly alarms: Alarms;
  readonly ids: RequestIds;
  readonly indexFile: IndexFile;
  /** In force at the applied index. */
  readonly confState: ConfState;
  /** Index of the newest snapshot mark in the log; 0: none. */
  readonly markedIndex: number;
}

export interface MemberOptions {
  readonly name: string;
  readonly clientUrls: readonly string[];
  readonly clusterVersion: string;
  readonly heartbeatMs: number;
  readonly electionTicks: number;
  /** Negative: none. */
  readonly quotaBytes: number;
  readonly maxTxnOps: number;
  readonly maxRequestBytes: number;
  readonly flushIntervalMs: number;
  readonly flushOperations: number;
  readonly snapshotCount: number;
  readonly catchUpEntries: number;
  readonly compactionBatchLimit: number;
  readonly compactionSleepMs: number;
  /** An entry that takes longer to apply is logged. */
  readonly slowApplyMs: number;
  readonly progressNotifyMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
  readonly network?: (owner: PeerNetworkOwner) => PeerNetwork;
}

export interface MemberOwner {
  /** Answers of this turn may leave. */
  flush(): void;
  /** The member cannot go on: end the process. */
  failed(error: Error): void;
  /** It knows a leader and has told the cluster its name: clients may come. */
  ready(): void;
  /** Nothing has been written for a while: a moment to tidy up. */
  resting(): void;
}

/** What the metrics read; counted where it happens. */
export class MemberCounters {
  leaderChanges = 0;
  proposalsFailed = 0;
  leasesExpired = 0;
  slowApplies = 0;
  watchEvents = 0;
  /** Called with each durable write of the log and each flush, in milliseconds. */
  onLogSaved: ((tookMs: number) => void) | null = null;
  onFlushed: ((tookMs: number) => void) | null = null;
}

/** etcd refuses writes when so many committed entries wait to be applied; here also what waits to be committed. */
const MAX_APPLY_LAG = 5000;
const MAX_PENDING_PROPOSALS = 200_000;
/** Below what raft lets wait for commitment (open-member.ts), so that who is refused hears of it instead of waiting. */
const MAX_PENDING_BYTES = 192 * 1024 * 1024;
const SWEEP_MS = 500;
/** How soon a watcher that starts in a compacted past hears of it, at the latest. */
const REPLAY_MS = 100;
/** Beyond this much unflushed state writes are refused until the disk has caught up. */
const MAX_UNFLUSHED_BYTES = 512 * 1024 * 1024;
/** A member that has written nothing for so long gives up what only writing needs. */
const REST_AFTER_MS = 10_000;
const NO_USER = new Uint8Array(0);

export class Member implements ConsensusOwner, PeerNetworkOwner {
  readonly #network: PeerNetwork | null;
  readonly id: bigint;
  readonly header: HeaderEncoder;
  readonly store: Store;
  readonly backend: Backend;
  readonly lessor: Lessor;
  readonly membership: Membership;
  readonly alarms: Alarms;
  readonly ids: RequestIds;
  readonly limits: { readonly maxTxnOps: number; readonly maxRequestBytes: number };
  readonly counters: MemberCounters = new MemberCounters();
  readonly options: MemberOptions;
  readonly hub: WatchHub;
  readonly #parts: MemberParts;
  readonly #owner: MemberOwner;
  readonly #consensus: Consensus;
  readonly #applier: Applier;
  readonly #pending = new PendingProposals();
  readonly #logWriter: LogWriter;
  readonly #writeBehind: WriteBehind;
  readonly #compaction: CompactionDriver;
  readonly #publisher: Publisher;
  #confState: ConfState;
  #isLeader = false;
  #isStopping = false;
  readonly #timers: Set<Timer> = new Set();

  constructor(parts: MemberParts, options: MemberOptions, owner: MemberOwner) {
    this.#parts = parts;
    this.options = options;
    this.#owner = owner;
    this.id = parts.id;
    this.header = new HeaderEncoder({ clusterId: parts.membership.clusterId, memberId: parts.id });
    this.store = parts.store;
    this.backend = parts.backend;
    this.lessor = parts.lessor;
    this.membership = parts.membership;
    this.alarms = parts.alarms;
    this.ids = parts.ids;
    this.limits = { maxTxnOps: options.maxTxnOps, maxRequestBytes: options.maxRequestBytes };
    parts.indexFile.attach(parts.store, {
      whenFlushed: (done) => this.whenFlushed(done),
      released: () => this.#compaction.run(),
    });
    this.hub = new WatchHub({ source: parts.store });
    parts.store.listen(this.hub);
    this.#confState = parts.confState;
    this.#logWriter = new LogWriter(parts.wal, parts.markedIndex, (error) => owner.failed(error));
    this.#writeBehind = new WriteBehind({ ...parts, logWriter: this.#logWriter }, options, {
      confState: () => this.#confState,
      hardStateForMark: () => this.#consensus.hardStateForMark,
      flushed: (tookMs) => {
        this.counters.onFlushed?.(tookMs);
        owner.flush();
      },
      failed: (error) => owner.failed(error),
    });
    this.#compaction = new CompactionDriver(parts.store, {
      batchLimit: options.compactionBatchLimit,
      sleepMs: options.compactionSleepMs,
      timers: options.timers,
      log: options.log,
      stepped: () => this.#writeBehind.applied(0),
    });
    this.#publisher = new Publisher(
      parts.membership,
      { ...options, memberId: parts.id },
      {
        propose: (op, bytes, handler) => this.propose(op, bytes, 0, bytes.length, handler, null, null),
        mayPropose: () => !this.#isStopping,
        published: () => owner.ready(),
      },
    );
    this.#applier = new Applier(parts, {
      entryApplied: (idHigh, idLow, outcome) => this.#entryApplied(idHigh, idLow, outcome),
      applyConfChange: (change) => this.#applyConfChange(change),
      termBegan: (term) => this.#termBegan(term),
    });
    this.#consensus = new Consensus(
      {
        raft: parts.raft,
        storage: parts.logStorage,
        wal: this.#logWriter,
        owner: this,
        clock: options.clock,
        timers: options.timers,
        log: options.log,
        ids: parts.ids,
        requestTimeoutMs: this.requestTimeoutMs,
      },
      parts.backend.appliedIndex,
    );
    this.#network = options.network?.(this) ?? null;
  }

  step(message: Message): void {
    try {
      this.#consensus.step(message);
    } catch (error) {
      if (!(error instanceof ProposalDropped || error instanceof UnknownPeer)) throw error;
    }
  }
  receiveSnapshot(_m: Message, _path: string, done: (error: Error | null) => void): void {
    done(new Error("not yet"));
  }
  reportUnreachable(id: NodeId): void {
    this.#parts.raft.reportUnreachable(id);
  }
  reportSnapshot(id: NodeId, status: "finished" | "failed"): void {
    this.#parts.raft.reportSnapshot(id, status);
  }
  openSnapshot(_m: Message, done: (error: Error | null, snapshot: OutgoingSnapshot | null) => void): void {
    done(new Error("not yet"), null);
  }
  isRemoved(): boolean {
    return false;
  }
  removedFromCluster(): void {}

  // --- life

  /** Starts the clock. A member that is alone stands for election at once. */
  start(): void {
    for (const each of this.membership.members()) if (each.id !== this.id) this.#network?.addPeer(each.id, []);
    this.#every(this.options.heartbeatMs, () => this.#consensus.tick());
    this.#every(SWEEP_MS, () => this.#sweep());
    this.#every(REPLAY_MS, () => this.replayWatchers());
    // What the log says is committed is applied first: for a new member, the configuration itself.
    this.#consensus.begin();
    if (this.#confState.voters.length === 1 && this.#confState.voters[0] === this.id) this.#consensus.campaign();
    this.#compaction.run();
  }

  /** Fails what waits and flushes what was applied. `done` when storage has it and everything is closed. */
  stop(done: (error: Error | null) => void): void {
    this.#isStopping = true;
    for (const timer of this.#timers) timer.cancel();
    this.#compaction.stop();
    this.#consensus.stop();
    this.#pending.failAll("Stopped");
    this.#owner.flush();
    this.#writeBehind.close(done);
  }

  // --- for services

  /** etcd's: 5 s + 2 election timeouts. */
  get requestTimeoutMs(): number {
    return 5000 + 2 * this.options.electionTicks * this.options.heartbeatMs;
  }

  get leader(): NodeId {
    return this.#consensus.leader;
  }

  get isLeader(): boolean {
    return this.#isLeader;
  }

  get commitIndex(): number {
    return this.#consensus.commitIndex;
  }

  get appliedIndex(): number {
    return this.#consensus.appliedIndex;
  }

  /** Term of the last entry applied since the start: what response headers show. */
  get appliedTerm(): number {
    return this.#applier.term;
  }

  get pendingCount(): number {
    return this.#pending.count;
  }

  get quotaBytes(): number {
    return this.options.quotaBytes;
  }

  /** A linearizable read may be answered this moment, without a round. */
  get mayReadNow(): boolean {
    return this.#consensus.mayReadNow;
  }

  read(waiter: ReadWaiter): void {
    this.#consensus.read(waiter);
  }

  /**
   * Whether the database has room for a write of this cost. If not, the alarm is raised through the log and the call
   * fails.
   */
  admitsWrite(call: ServerCall, costBytes: number): boolean {
    const { quotaBytes } = this.options;
    const sizeBytes = this.backend.sizeBytes() + this.#pending.sizeBytes;
    if (quotaBytes < 0 || sizeBytes + costBytes < quotaBytes) return true;
    if (this.alarms.list(AlarmType.NOSPACE).some((each) => each.memberId === this.id)) {
      failWith(call, "NoSpace");
      return false;
    }
    this.options.log.warn("message exceeded backend quota; raising alarm", {
      "quota-size-bytes": quotaBytes,
      "backend-size-bytes": this.backend.sizeBytes(),
    });
    const bytes = AlarmRequest.encode({
      action: AlarmAction.ACTIVATE,
      memberID: this.id,
      alarm: AlarmType.NOSPACE,
    });
    this.propose(RaftOp.Alarm, bytes, 0, bytes.length, NO_SPACE_RAISED, call, null);
    return false;
  }

  /**
   * Puts an operation, canonically encoded in `bytes[start, end)` (copied), into the log. The handler hears once what
   * became of it, unless the call is refused here, which the handler's `failed` reports at once.
   */
  propose(
    op: RaftOp,
    bytes: Uint8Array,
    start: number,
    end: number,
    handler: ProposalHandler,
    call: ServerCall | null,
    detail: unknown,
  ): void {
    const idLow = this.ids.next();
    const pending = new Pending(idLow, handler, call, this.options.clock.monotonicMs(), detail);
    const refused = this.#refusal(op, idLow, end - start, call === null);
    if (refused !== null) {
      handler.failed(pending, refused);
      return;
    }
    pending.data = encodeRaftRequest(this.ids.high, idLow, NO_USER, 0, op, bytes, start, end);
    this.#pending.add(pending);
    this.#consensus.propose(pending);
  }

  /** Reads history for watchers that are behind, a slice each turn until those who can take it have caught up. */
  replayWatchers(): void {
    if (this.#isReplaying || this.#isStopping) return;
    this.#isReplaying = true;
    this.options.timers.nextTurn(this.#replay);
  }
  #isReplaying = false;
  readonly #replay = (): void => {
    this.#isReplaying = false;
    if (this.#isStopping) return;
    if (this.hub.step()) this.replayWatchers();
    this.#owner.flush();
  };

  /** Calls back when every compaction accepted so far is carried out and flushed. */
  whenCompacted(done: () => void): void {
    this.store.whenCompacted({ compacted: () => this.whenFlushed(done) });
  }

  /** Calls back when everything applied so far is durable in storage. */
  whenFlushed(done: () => void): void {
    this.#writeBehind.whenFlushed(done);
  }

  /** A reader's hold on a revision ends; a compaction that waited for it goes on. */
  unpin(revision: number): void {
    this.store.unpin(revision);
    this.#compaction.run();
  }

  /** A hash that held compaction back is done. */
  resumeCompaction(): void {
    this.#compaction.run();
  }

  // --- ConsensusOwner

  apply(entries: readonly Entry[]): void {
    const startedMs = this.options.clock.monotonicMs();
    const applier = this.#applier;
    let entryBytes = 0;
    for (let i = 0; i < entries.length; i++) {
      applier.apply(entries[i]!);
      entryBytes += entries[i]!.data.length;
    }
    const tookMs = this.options.clock.monotonicMs() - startedMs;
    if (tookMs > this.options.slowApplyMs * entries.length) {
      this.counters.slowApplies++;
      this.options.log.warn("apply request took too long", { "took-ms": tookMs, entries: entries.length });
    }
    this.#writeBehind.applied(entryBytes);
    this.#compaction.run();
  }

  leaderChanged(leader: NodeId, isLeader: boolean): void {
    if (leader !== NO_NODE && leader !== this.#lastLeader) {
      this.#lastLeader = leader;
      this.counters.leaderChanges++;
      this.options.log.info(`raft.node: ${idText(this.id)} elected leader ${idText(leader)}`);
    }
    this.#isLeader = isLeader;
    if (!isLeader) this.lessor.demote();
  }
  #lastLeader: NodeId = NO_NODE;

  send(message: Message): void {
    this.#network?.send(message);
  }

  logFailed(error: Error): void {
    this.#owner.failed(error);
  }

  turnEnded(): void {
    this.#network?.flush();
    this.#owner.flush();
  }

  saved(tookMs: number): void {
    this.counters.onLogSaved?.(tookMs);
  }

  // --- applying

  #entryApplied(idHigh: number, idLow: number, outcome: Outcome): void {
    if (idHigh !== this.ids.high) return;
    const pending = this.#pending.take(idLow);
    if (pending !== undefined) pending.handler.applied(pending, outcome);
  }

  #applyConfChange(change: ConfChange): ConfState {
    this.#confState = this.#consensus.applyConfChange(change);
    if (change.nodeId !== this.id) this.#network?.addPeer(change.nodeId, []);
    return this.#confState;
  }

  /** The first entry of the term is applied: all earlier ones are too, so the lessor may start its clock. */
  #termBegan(term: number): void {
    // Not the first entry of an earlier term, which a new leader applies on its way to its own.
    if (!this.#consensus.isLeader || term !== this.#consensus.term || this.lessor.isPrimary) return;
    this.lessor.promote(this.options.electionTicks * this.options.heartbeatMs);
    this.#publisher.begin();
  }

  /**
   * What the member itself proposes is never refused for load: an expired lease must go and a member must get ready however
   * much clients ask for (known failure LE-12), and while entries are applied the lag says nothing.
   */
  #refusal(op: RaftOp, idLow: number, operationBytes: number, isOwn: boolean): ErrorKind | null {
    if (this.#isStopping) return "Stopped";
    if (isOwn) return null;
    if (this.commitIndex - this.appliedIndex > MAX_APPLY_LAG || this.#pending.count >= MAX_PENDING_PROPOSALS) {
      return "TooManyRequests";
    }
    if (this.#pending.sizeBytes > MAX_PENDING_BYTES) return "TooManyRequests";
    if (this.backend.unflushedBytes > MAX_UNFLUSHED_BYTES) return "TooManyRequests";
    const sizeBytes = raftRequestSize(this.ids.high, idLow, 0, 0, op, operationBytes);
    // What the log cannot take would end the process, whatever the configuration allows (known failure WA-05).
    const limitBytes = Math.min(this.limits.maxRequestBytes, this.#parts.wal.maxEntryBytes);
    return sizeBytes > limitBytes ? "RequestTooLarge" : null;
  }

  // --- time

  #sweep(): void {
    const nowMs = this.options.clock.monotonicMs();
    const isLeaderless = this.#consensus.leader === NO_NODE;
    // What could not even be handed to consensus times out as the caller's own wait does (semantics §11.3).
    const reason = isLeaderless ? "ContextDeadlineExceeded" : "Timeout";
    this.counters.proposalsFailed += this.#pending.expire(nowMs - this.requestTimeoutMs, reason);
    this.#expireLeases();
    this.#rest(nowMs);
    this.#owner.flush();
  }

  /** Once per lull. */
  #rest(nowMs: number): void {
    const { lastFlushMs } = this.#writeBehind;
    if (lastFlushMs === this.#restedSinceMs || nowMs - lastFlushMs <= REST_AFTER_MS) return;
    this.#restedSinceMs = lastFlushMs;
    this.backend.storage.rest();
    this.#owner.resting();
  }
  #restedSinceMs = -1;

  #expireLeases(): void {
    for (const id of this.lessor.expired()) {
      const bytes = LeaseRevokeRequest.encode({ ID: id });
      this.counters.leasesExpired++;
      this.propose(RaftOp.LeaseRevoke, bytes, 0, bytes.length, IGNORED, null, null);
    }
  }

  #every(intervalMs: number, run: () => void): void {
    let timer: Timer;
    const again = (): void => {
      this.#timers.delete(timer);
      if (this.#isStopping) return;
      run();
      timer = this.options.timers.after(intervalMs, again);
      this.#timers.add(timer);
    };
    timer = this.options.timers.after(intervalMs, again);
    this.#timers.add(timer);
  }
}

/** For proposals of our own that are made again by themselves if they are lost. */
const IGNORED: ProposalHandler = { applied: () => {}, failed: () => {} };

/** The alarm is raised: now the write that did not fit is refused. */
const NO_SPACE_RAISED: ProposalHandler = {
  applied: (pending) => refuseForSpace(pending),
  failed: (pending) => refuseForSpace(pending),
};

function refuseForSpace(pending: Pending): void {
  if (pending.call !== null) failWith(pending.call, "NoSpace");
}
