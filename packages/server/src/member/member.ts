/**
 * One member: its replicated state and everything that drives it. Services ask it to propose and to read; it owns the
 * apply loop, the wait for outcomes, the flush behind, expiry of leases and the cutting of the log, and it speaks with the
 * other members through a PeerNetwork.
 *
 *   services ── propose ──▶ Consensus ── committed ──▶ Applier ── outcome ──▶ whoever waits
 *            ── read ─────▶  │  ▲ │                       │
 *                            ▼  │ ▼                       ▼
 *                     PeerNetwork log  ◀── release ──  Backend ── flush ──▶ storage
 *
 * Invariants:
 *  - nothing is answered before its entry is applied, and nothing is applied before it is durable on a quorum;
 *  - the log is released only behind what storage has durably (`flushedIndex`), and a mark in the log says so first;
 *  - everything that entries are applied to is one AppliedState, which a snapshot from the leader replaces as a whole:
 *    nothing that outlives a turn may keep a part of it without asking again;
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
import { AlarmRequest, LeaseCheckpointRequest, LeaseRevokeRequest } from "@quorate/api/messages";
import type { Lessor } from "@quorate/lease";
import {
  type Member as ClusterMember,
  encodeChange,
  idText,
  isOlderThanCluster,
  type Membership,
  type MembershipChange,
} from "@quorate/membership";
import { type Backend, type Store, WatchHub } from "@quorate/mvcc";
import {
  type ConfChange,
  type Entry,
  type HardState,
  type Message,
  NO_NODE,
  type NodeId,
  type ProgressStatus,
  Role,
  type Snapshot,
  type SnapshotMetadata,
} from "@quorate/raft";
import type { ServerCall } from "@quorate/rpc";
import { failWith } from "../answer.ts";
import type { PeerNetwork, PeerNetworkOwner } from "../peers/peer-network.ts";
import type { Alarms } from "./alarms.ts";
import type { AppliedState } from "./applied-state.ts";
import { type AppliedDone, AppliedWaits } from "./applied-waits.ts";
import { Applier } from "./applier.ts";
import { CompactionDriver } from "./compaction-driver.ts";
import { confStateJson } from "./conf-state.ts";
import { Consensus, type ConsensusOwner, type Proposal } from "./consensus.ts";
import { checkForwardedChanges } from "./forwarded-change.ts";
import { Intervals } from "./intervals.ts";
import { Leadership, type TransferDone } from "./leadership.ts";
import { LogWriter } from "./log-writer.ts";
import { MemberCounters } from "./member-counters.ts";
import type { MemberOptions } from "./member-options.ts";
import type { MemberParts } from "./open-member.ts";
import type { Outcome } from "./outcome.ts";
import { Pending, PendingProposals, type ProposalHandler } from "./pending.ts";
import { Publisher } from "./publisher.ts";
import type { ReadWaiter } from "./read-rounds.ts";
import type { RequestIds } from "./request-ids.ts";
import { SnapshotExchange } from "./snapshot-exchange.ts";
import { VersionMonitor } from "./version-monitor.ts";
import { WatchReplay } from "./watch-replay.ts";
import { WriteBehind } from "./write-behind.ts";

export interface MemberOwner {
  /** Answers of this turn may leave. */
  flush(): void;
  /** The member cannot go on: end the process. */
  failed(error: Error): void;
  /** It knows a leader and has told the cluster its name: clients may come. */
  ready(): void;
  /** It is no member of the cluster any more: end the process, without haste. */
  removed(): void;
  /** Nothing has been written for a while: a moment to tidy up. */
  resting(): void;
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
/** How often the leader asks whether the cluster may run at a higher version: etcd's. */
const VERSION_CHECK_MS = 4000;
/** What is left of the first election timeout for a member that starts among others. */
const FIRST_ELECTION_TICKS = 2;
/** A leader whose clock has ticked so lately knows that it leads: etcd's. */
const TRUSTED_TICKS = 3;
/** Those who saw the leader end stand for election within this time, each at a moment of its own. */
const SUCCESSION_MS = 200;
/** Between learning that we were removed and ending: etcd's. */
const REMOVED_STOP_MS = 1000;
const NO_USER = new Uint8Array(0);
const LOW_48_BITS = 0xffff_ffff_ffffn;

export class Member implements ConsensusOwner {
  readonly id: bigint;
  readonly header: HeaderEncoder;
  readonly ids: RequestIds;
  readonly limits: { readonly maxTxnOps: number; readonly maxRequestBytes: number };
  readonly counters: MemberCounters = new MemberCounters();
  readonly options: MemberOptions;
  readonly hub: WatchHub;
  readonly network: PeerNetwork;
  readonly #parts: MemberParts;
  readonly #owner: MemberOwner;
  readonly #consensus: Consensus;
  readonly #pending = new PendingProposals();
  /** Changes of the membership wait as long as their callers do. */
  readonly #pendingChanges = new Map<number, Pending>();
  readonly #logWriter: LogWriter;
  readonly #publisher: Publisher;
  readonly #versions: VersionMonitor;
  readonly #snapshots: SnapshotExchange;
  readonly #leadership: Leadership;
  readonly #appliedWaits: AppliedWaits;
  readonly #compactionWaits = new Set<(error: "LeaderChanged" | null) => void>();
  /** Replaced as a whole, with what works on it, when a snapshot is installed. */
  #state: AppliedState;
  #applier: Applier;
  #writeBehind: WriteBehind;
  #compaction: CompactionDriver;
  #isPublished = false;
  #isReady = false;
  #isRemoved = false;
  #isStopping = false;
  readonly #intervals: Intervals;
  readonly #replay: WatchReplay;

  constructor(parts: MemberParts, options: MemberOptions, owner: MemberOwner) {
    this.#parts = parts;
    this.options = options;
    this.#owner = owner;
    this.id = parts.id;
    this.header = new HeaderEncoder({ clusterId: parts.state.membership.clusterId, memberId: parts.id });
    this.ids = parts.ids;
    this.limits = { maxTxnOps: options.maxTxnOps, maxRequestBytes: options.maxRequestBytes };
    this.hub = new WatchHub({ source: parts.state.store });
    this.#intervals = new Intervals(options.timers);
    this.#replay = new WatchReplay(this.hub, options.timers, () => owner.flush());
    this.#logWriter = new LogWriter(parts.wal, parts.markedIndex, (error) => owner.failed(error));
    this.#state = parts.state;
    this.#writeBehind = this.#writeBehindOf(parts.state);
    this.#compaction = this.#compactionOf(parts.state);
    this.#applier = this.#applierOf(parts.state, 0);
    this.#attach(parts.state);
    const propose = (op: RaftOp, bytes: Uint8Array, handler: ProposalHandler): void =>
      this.propose(op, bytes, 0, bytes.length, handler, null, null);
    this.#publisher = new Publisher(
      { ...options, memberId: parts.id },
      {
        propose,
        mayPropose: () => !this.#isStopping && !this.#isRemoved,
        published: () => {
          this.#isPublished = true;
          this.#becomeReady();
        },
      },
    );
    this.#versions = new VersionMonitor(
      { ...options, memberId: parts.id },
      {
        propose: (op, bytes, handler) => this.#proposeAsLeader(op, bytes, handler),
        isLeader: () => this.isLeader,
        membership: () => this.membership,
      },
    );
    this.#snapshots = new SnapshotExchange(
      { ...options, clusterId: this.membership.clusterId, memberId: parts.id, databases: parts.databases },
      {
        state: () => this.#state,
        commitIndex: () => this.commitIndex,
        stepSnapshot: (message) => {
          this.#consensus.step(message);
          return this.#consensus.isInstalling(message.snapshot!.metadata.index);
        },
      },
    );
    this.network = options.network(this.#networkOwner(), this);
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
        stallMs: options.electionTicks * options.heartbeatMs,
      },
      parts.state.backend.appliedIndex,
    );
    this.#leadership = new Leadership(this.#consensus, options);
    this.#appliedWaits = new AppliedWaits(options.clock);
  }

  // --- life

  /** Starts the clock. A member that is alone stands for election at once. */
  start(): void {
    const { electionTicks, advanceFirstElection } = this.options;
    for (const peer of this.#parts.firstPeers) this.#addPeer(peer);
    for (const peer of this.membership.members()) this.#addPeer(peer);
    this.#intervals.every(this.options.heartbeatMs, () => this.#tick());
    this.#intervals.every(SWEEP_MS, () => this.#sweep());
    this.#intervals.every(REPLAY_MS, () => this.replayWatchers());
    this.#intervals.every(VERSION_CHECK_MS, () => this.#versions.check());
    // What the log says is committed is applied first: for a new member, the configuration itself.
    this.#consensus.begin();
    const { voters } = this.#state.confState;
    if (voters.length === 1 && voters[0] === this.id) this.#consensus.campaign();
    // Whoever leads is heard from within two heartbeats; votes before that are refused to us (RA-09).
    else if (advanceFirstElection) this.#consensus.advanceElection(electionTicks - FIRST_ELECTION_TICKS);
    this.#publisher.begin();
    this.#compaction.run();
  }

  /**
   * A leader hands over to the voter it has been in touch with for longest, if that takes no longer than `limitMs`. `done`
   * in any case; {@link stop} follows.
   */
  prepareStop(limitMs: number, done: () => void): void {
    const target = this.#successor();
    if (target === null) {
      done();
      return;
    }
    this.options.log.info("leadership transfer starting", {
      "local-member-id": idText(this.id),
      "transferee-member-id": idText(target),
    });
    this.#leadership.transfer(target, limitMs, (error) => {
      if (error === null) this.options.log.info("leadership transfer finished");
      else this.options.log.warn("leadership transfer failed", { error });
      done();
    });
  }

  /** Fails what waits and flushes what was applied. `done` when storage has it and everything is closed. */
  stop(done: (error: Error | null) => void): void {
    this.#isStopping = true;
    this.#intervals.stop();
    this.#replay.stop();
    this.network.stop();
    this.#snapshots.stop();
    this.#compaction.stop();
    this.#leadership.stop();
    this.#appliedWaits.stop();
    this.#consensus.stop();
    this.#pending.failAll("Stopped");
    for (const pending of this.#pendingChanges.values()) pending.handler.failed(pending, "Stopped");
    this.#pendingChanges.clear();
    this.#owner.flush();
    // A snapshot that is being installed replaces the state first: what is closed is what is there afterwards.
    this.#logWriter.whenIdle(() => this.#writeBehind.close(done));
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
    return this.#consensus.role === Role.Leader;
  }

  get term(): number {
    return this.#consensus.term;
  }

  /** It has not become a voter yet. */
  get isLearner(): boolean {
    return this.membership.member(this.id)?.isLearner === true;
  }

  get store(): Store {
    return this.#state.store;
  }

  get backend(): Backend {
    return this.#state.backend;
  }

  get lessor(): Lessor {
    return this.#state.lessor;
  }

  get membership(): Membership {
    return this.#state.membership;
  }

  get alarms(): Alarms {
    return this.#state.alarms;
  }

  /** The leader's view of the members; empty elsewhere. */
  get progress(): readonly ProgressStatus[] {
    return this.#consensus.progress;
  }

  /** Who has led, how long, and handing it over. */
  get leadership(): Leadership {
    return this.#leadership;
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
    leaderTerm: number | null = null,
  ): void {
    const idLow = this.ids.next();
    const pending = new Pending(idLow, handler, call, this.options.clock.monotonicMs(), detail);
    pending.leaderTerm = leaderTerm;
    const refused = this.#refusal(op, idLow, end - start, call === null);
    if (refused !== null) {
      handler.failed(pending, refused);
      return;
    }
    pending.data = encodeRaftRequest(this.ids.high, idLow, NO_USER, 0, op, bytes, start, end);
    this.#pending.add(pending);
    this.#consensus.propose(pending);
  }

  /** Puts a change of the membership into the log; the handler hears of it as of any proposal. */
  proposeChange(change: MembershipChange, handler: ProposalHandler, call: ServerCall | null): void {
    const idLow = this.ids.next();
    const pending = new Pending(idLow, handler, call, this.options.clock.monotonicMs(), null);
    if (this.#isStopping) {
      handler.failed(pending, "Stopped");
      return;
    }
    this.#pendingChanges.set(idLow, pending);
    const id = (BigInt(this.ids.high) << 48n) | BigInt(idLow);
    const isWanted = (): boolean => this.#pendingChanges.has(idLow) && call?.isOpen !== false;
    this.#consensus.proposeConfChange({ id, ...encodeChange(change) }, isWanted);
  }

  /**
   * Whether this member leads beyond doubt: its clock has not stood still, so that check-quorum would have told it otherwise;
   * after a pause a round of reads finds out (known failures LE-01, LE-02).
   */
  confirmLeadership(done: (isLeader: boolean) => void): void {
    if (!this.isLeader || this.leadsBeyondDoubt) done(this.isLeader);
    else this.read({ readReady: () => done(this.isLeader), readFailed: () => done(false) });
  }

  /** It leads, and its clock has not stood still. Hot: every keep-alive asks. */
  get leadsBeyondDoubt(): boolean {
    if (!this.isLeader || this.#isInDoubt) return false;
    return this.options.clock.monotonicMs() - this.#consensus.lastTickMs <= TRUSTED_TICKS * this.options.heartbeatMs;
  }

  /**
   * The clock has stood still, and the next tick does not make up for that: check-quorum believes for another election
   * timeout what it heard before the pause. Only a round of reads tells; until one has, every tick asks.
   */
  #doubtLeadership(): void {
    this.#isInDoubt = true;
    if (this.#isAskingWhoLeads) return;
    this.#isAskingWhoLeads = true;
    const heard = (isInDoubt: boolean): void => {
      this.#isInDoubt = isInDoubt;
      this.#isAskingWhoLeads = false;
    };
    this.read({ readReady: () => heard(false), readFailed: () => heard(this.#isInDoubt) });
  }
  #isInDoubt = false;
  #isAskingWhoLeads = false;

  /** Calls back, perhaps at once, when everything committed so far is applied here, or that took longer than a second. */
  whenApplied(done: AppliedDone): void {
    if (this.#isStopping) done("Stopped");
    else if (this.appliedIndex >= this.commitIndex) done(null);
    else this.#appliedWaits.add(this.commitIndex, done);
  }

  /** Answers given by a timer or another member's answer may leave; those of a turn do by themselves. */
  flush(): void {
    this.#owner.flush();
  }

  /** Hands leadership to a voter; for a leader. */
  transferLeadership(to: NodeId, limitMs: number, done: TransferDone): void {
    this.#leadership.transfer(to, limitMs, done);
  }

  /** Some watcher may be behind, or able to take more. */
  replayWatchers(): void {
    this.#replay.begin();
  }

  /** Calls back when every compaction accepted so far is carried out and flushed, or its store has been replaced. */
  whenCompacted(done: (error: "LeaderChanged" | null) => void): void {
    this.#compactionWaits.add(done);
    this.store.whenCompacted({
      compacted: () => {
        if (this.#compactionWaits.delete(done)) this.whenFlushed(() => done(null));
      },
    });
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

  leaderChanged(leader: NodeId, role: Role): void {
    if (leader !== NO_NODE && leader !== this.#lastLeader) {
      this.#lastLeader = leader;
      this.counters.leaderChanges++;
      this.options.log.info(`raft.node: ${idText(this.id)} elected leader ${idText(leader)} at term ${this.term}`);
    }
    this.#leadership.changed(leader, role === Role.Leader);
    if (role === Role.Leader) return;
    this.#isInDoubt = false;
    this.lessor.demote();
  }
  #lastLeader: NodeId = NO_NODE;

  /** The member's own stay pending until they time out: what would make them again at once would not come to an end. */
  proposalsDropped(proposals: readonly Proposal[]): void {
    for (const proposal of proposals) {
      const pending = proposal as Pending;
      if (pending.call !== null) this.#pending.take(pending.idLow)?.handler.failed(pending, "ProposalDropped");
    }
  }

  changeDropped(change: ConfChange): void {
    const idLow = Number(change.id & LOW_48_BITS);
    const pending = this.#pendingChanges.get(idLow);
    this.#pendingChanges.delete(idLow);
    pending?.handler.failed(pending, "ProposalDropped");
  }

  send(message: Message): void {
    this.network.send(message);
  }

  flushPeers(): void {
    this.network.flush();
  }

  installSnapshot(snapshot: Snapshot, hardState: HardState, done: () => void): void {
    const { metadata } = snapshot;
    const { log, clock } = this.options;
    const startedMs = clock.monotonicMs();
    log.info("applying snapshot", { "current-applied-index": this.appliedIndex, "incoming-index": metadata.index });
    const state = this.#snapshots.take(metadata);
    const replaced = this.#writeBehind;
    replaced.abandon();
    this.#compaction.stop();
    const mark = { ...metadata, confState: Buffer.from(confStateJson(metadata.confState)) };
    this.#logWriter.replace(mark, hardState, () => {
      this.#replaceState(state, metadata);
      for (const waiter of replaced.takeWaiters()) waiter();
      done();
      log.info("applied snapshot", { "applied-index": metadata.index, "took-ms": clock.monotonicMs() - startedMs });
    });
  }

  logFailed(error: Error): void {
    this.#owner.failed(error);
  }

  turnEnded(): void {
    this.#appliedWaits.release(this.appliedIndex);
    this.#owner.flush();
  }

  saved(tookMs: number): void {
    this.counters.onLogSaved?.(tookMs);
  }

  // --- applying

  #entryApplied(idHigh: number, idLow: number, outcome: Outcome): void {
    if (idHigh !== this.ids.high) return;
    const pending = this.#pending.take(idLow) ?? this.#pendingChanges.get(idLow);
    if (pending === undefined) return;
    this.#pendingChanges.delete(idLow);
    pending.handler.applied(pending, outcome);
  }

  #membershipChanged(change: MembershipChange): void {
    switch (change.kind) {
      case "add": {
        const { id, peerUrls, isLearner } = change.member;
        this.#logChange("added member", { "added-peer-id": idText(id), "added-peer-peer-urls": peerUrls, isLearner });
        this.#addPeer(change.member);
        return;
      }
      case "promote":
        this.#logChange("promote member", { "promoted-member-id": idText(change.id) });
        return;
      case "updatePeerUrls":
        this.#logChange("updated member", {
          "updated-remote-peer-id": idText(change.id),
          "updated-remote-peer-urls": change.peerUrls,
        });
        this.#addPeer(this.membership.member(change.id)!);
        return;
      case "remove":
        this.#logChange("removed member", { "removed-remote-peer-id": idText(change.id) });
        if (change.id === this.id) return this.#removedFromCluster();
        this.network.removePeer(change.id);
        this.#leaderGone(change.id, "the leader was removed");
        return;
      default:
        change satisfies never;
    }
  }

  #logChange(text: string, fields: Record<string, unknown>): void {
    this.options.log.info(text, {
      "cluster-id": idText(this.membership.clusterId),
      "local-member-id": idText(this.id),
      ...fields,
    });
  }

  #addPeer(peer: ClusterMember): void {
    if (peer.id !== this.id && peer.peerUrls.length > 0) this.network.addPeer(peer.id, peer.peerUrls);
  }

  /** A moment later: the others should hear that we know, and whoever waits here should get his answer (MB-05, MB-06). */
  #removedFromCluster(): void {
    if (this.#isRemoved || this.#isStopping) return;
    this.#isRemoved = true;
    this.options.timers.after(REMOVED_STOP_MS, () => {
      if (!this.#isStopping) this.#owner.removed();
    });
  }

  #clusterVersionSet(version: string): void {
    const { serverVersion } = this.options;
    if (isOlderThanCluster(serverVersion, version)) {
      const text = "invalid downgrade; server version is lower than determined cluster version";
      this.#owner.failed(new Error(`${text}: ${serverVersion}, the cluster runs at ${version}`));
      return;
    }
    this.#becomeReady();
  }

  /** Tools ask for the cluster's version at once, so clients come when it is decided. */
  #becomeReady(): void {
    if (this.#isReady || !this.#isPublished || this.membership.clusterVersion === null) return;
    this.#isReady = true;
    this.#owner.ready();
  }

  /** The first entry of the term is applied: all earlier ones are too, so the lessor may start its clock. */
  #termBegan(term: number): void {
    // Not the first entry of an earlier term, which a new leader applies on its way to its own.
    if (!this.#consensus.isLeader || term !== this.#consensus.term || this.lessor.isPrimary) return;
    this.lessor.promote(this.options.electionTicks * this.options.heartbeatMs);
    this.#versions.check();
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

  #tick(): void {
    if (this.isLeader && !this.leadsBeyondDoubt) this.#doubtLeadership();
    this.#consensus.tick();
    this.#leadership.tick();
    this.#appliedWaits.expire();
  }

  #sweep(): void {
    const nowMs = this.options.clock.monotonicMs();
    this.counters.proposalsFailed += this.#pending.expire(nowMs - this.requestTimeoutMs, this.#timeoutOf);
    this.#endChanges(nowMs - this.requestTimeoutMs);
    this.#expireLeases();
    this.#rest(nowMs);
    this.#owner.flush();
  }

  /** A change waits as long as its caller does; what another member asked for, as long as that member would. */
  #endChanges(beforeMs: number): void {
    for (const pending of this.#pendingChanges.values()) {
      const { idLow, call, handler, startedMs } = pending;
      if (call === null ? startedMs >= beforeMs : call.isOpen) continue;
      this.#pendingChanges.delete(idLow);
      if (call === null) handler.failed(pending, "Timeout");
    }
  }

  readonly #timeoutOf = (pending: Pending): ErrorKind => {
    // What could not even be handed to consensus times out as the caller's own wait does (semantics §11.3).
    if (!pending.isProposed) return "ContextDeadlineExceeded";
    return this.#leadership.timeoutOf(pending.startedMs, {
      memberId: this.id,
      memberIds: this.membership.members().map(({ id }) => id),
      activeSinceMs: (id) => this.network.activeSinceMs(id),
    });
  };

  /** Once per lull. */
  #rest(nowMs: number): void {
    const { lastFlushMs } = this.#writeBehind;
    if (lastFlushMs === this.#restedSinceMs || nowMs - lastFlushMs <= REST_AFTER_MS) return;
    this.#restedSinceMs = lastFlushMs;
    this.backend.storage.rest();
    this.#owner.resting();
  }
  #restedSinceMs = -1;

  /** Only by a leader that is one beyond doubt; a lease renewed while that was found out is spared (LE-01). */
  #expireLeases(): void {
    const expired = this.lessor.expired();
    const checkpoints = this.lessor.dueCheckpoints();
    if (expired.length === 0 && checkpoints.length === 0) return;
    this.confirmLeadership((isLeader) => {
      if (!isLeader || this.#isStopping) return;
      for (const id of expired) {
        if (!this.lessor.isOverdue(id)) continue;
        this.counters.leasesExpired++;
        this.#proposeAsLeader(RaftOp.LeaseRevoke, LeaseRevokeRequest.encode({ ID: id }), IGNORED);
      }
      if (checkpoints.length === 0) return;
      const entries = checkpoints.map(({ id, remainingTtlSeconds }) => ({ ID: id, remainingTTL: remainingTtlSeconds }));
      this.#proposeAsLeader(RaftOp.LeaseCheckpoint, LeaseCheckpointRequest.encode({ checkpoints: entries }), IGNORED);
    });
  }

  /** Lost if this member leads no more when its turn comes: the next leader finds out for itself. */
  #proposeAsLeader(op: RaftOp, bytes: Uint8Array, handler: ProposalHandler): void {
    this.propose(op, bytes, 0, bytes.length, handler, null, null, this.term);
  }

  // --- other members

  #networkOwner(): PeerNetworkOwner {
    return {
      step: (message) => {
        if (this.membership.isRemoved(message.from)) return;
        checkForwardedChanges(message);
        this.#consensus.step(message);
      },
      receiveSnapshot: (message, path, done) => this.#snapshots.receive(message, path, done),
      peerGone: (id) => this.#leaderGone(id, "the leader has ended"),
      reportUnreachable: (id) => this.#consensus.reportUnreachable(id),
      reportSnapshot: (id, status) => this.#consensus.reportSnapshot(id, status),
      openSnapshot: (message, done) => this.#snapshots.open(message, done),
      isRemoved: (id) => this.membership.isRemoved(id),
      removedFromCluster: () => this.#removedFromCluster(),
    };
  }

  /**
   * A leader whose process has ended, or who is no member any more, need not be waited for: nothing of the latter's is
   * accepted (MB-05). Whoever sees it forgets the leader, and after a moment, by chance
   * not the same for all, stands for election. If we are the only one who cannot reach it, the others refuse the pre-vote,
   * and its next heartbeat makes us follow again (RA-09, RA-11); so this is not done without pre-vote.
   */
  #leaderGone(id: NodeId, why: string): void {
    if (id !== this.leader || this.isLeader || this.isLearner || !this.options.preVote || this.#isStopping) return;
    this.options.log.info(`${why}; standing for election soon`, { "leader-member-id": idText(id) });
    this.#consensus.forgetLeader();
    this.options.timers.after(this.options.random.below(SUCCESSION_MS), () => {
      if (!this.#isStopping && this.leader === NO_NODE) this.#consensus.campaign();
    });
  }

  /** The voter that has been within reach for longest; null if we do not lead or there is none. */
  #successor(): NodeId | null {
    if (!this.isLeader) return null;
    let successor: NodeId | null = null;
    let longestMs = Number.POSITIVE_INFINITY;
    for (const { id } of this.membership.voters()) {
      const sinceMs = id === this.id ? null : this.network.activeSinceMs(id);
      if (sinceMs === null || sinceMs >= longestMs) continue;
      successor = id;
      longestMs = sinceMs;
    }
    return successor;
  }

  /** Entries after this index are still to be sent to somebody who is there. */
  #neededIndex(): number {
    let needed = this.#snapshots.heldIndex;
    if (!this.isLeader) return needed;
    for (const { id, match, pendingSnapshot, recentActive } of this.progress) {
      if (id === this.id || !recentActive) continue;
      needed = Math.min(needed, Math.max(match, pendingSnapshot));
    }
    return needed;
  }

  // --- the state and what works on it

  #writeBehindOf({ backend }: AppliedState): WriteBehind {
    const { wal, logStorage, indexFile } = this.#parts;
    return new WriteBehind({ backend, wal, logStorage, indexFile, logWriter: this.#logWriter }, this.options, {
      confState: () => this.#state.confState,
      hardStateForMark: () => this.#consensus.hardStateForMark,
      neededIndex: () => this.#neededIndex(),
      flushed: (tookMs, metadata) => {
        logStorage.flushed(metadata);
        this.counters.onFlushed?.(tookMs);
        this.#owner.flush();
      },
      failed: (error) => this.#owner.failed(error),
    });
  }

  #compactionOf({ store }: AppliedState): CompactionDriver {
    return new CompactionDriver(store, {
      batchLimit: this.options.compactionBatchLimit,
      sleepMs: this.options.compactionSleepMs,
      timers: this.options.timers,
      log: this.options.log,
      stepped: () => this.#writeBehind.applied(0),
    });
  }

  #applierOf(state: AppliedState, term: number): Applier {
    return new Applier(state, this.options.maxLearners, term, {
      entryApplied: (idHigh, idLow, outcome) => this.#entryApplied(idHigh, idLow, outcome),
      applyConfChange: (change) => this.#consensus.applyConfChange(change),
      membershipChanged: (change) => this.#membershipChanged(change),
      clusterVersionSet: (version) => this.#clusterVersionSet(version),
      termBegan: (began) => this.#termBegan(began),
    });
  }

  #attach({ store }: AppliedState): void {
    this.#parts.indexFile.attach(store, {
      whenFlushed: (done) => this.whenFlushed(done),
      released: () => this.#compaction.run(),
    });
    store.listen(this.hub);
  }

  /** From the old state to the installed one, as one step: nobody may see half of it (known failure AP-02). */
  #replaceState(state: AppliedState, { term }: SnapshotMetadata): void {
    const old = this.#state;
    old.lessor.demote();
    this.#state = state;
    this.#writeBehind = this.#writeBehindOf(state);
    this.#compaction = this.#compactionOf(state);
    this.#applier = this.#applierOf(state, term);
    this.#attach(state);
    this.hub.restored(state.store);
    this.#parts.logStorage.flushed({
      index: state.backend.appliedIndex as Snapshot["metadata"]["index"],
      term,
      confState: state.confState,
    });
    for (const done of this.#compactionWaits) done("LeaderChanged");
    this.#compactionWaits.clear();
    this.#parts.databases.discard(old.backend.storage);
    if (this.#isStopping) return;
    for (const peer of old.membership.members()) {
      if (peer.id !== this.id && state.membership.member(peer.id) === undefined) this.network.removePeer(peer.id);
    }
    for (const peer of state.membership.members()) this.#addPeer(peer);
    if (state.membership.isRemoved(this.id)) this.#removedFromCluster();
    this.#compaction.run();
    if (state.membership.clusterVersion !== null) this.#clusterVersionSet(state.membership.clusterVersion);
    this.replayWatchers();
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
