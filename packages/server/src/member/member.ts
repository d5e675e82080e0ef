/**
 * One member as services see it, and what joins its parts: it gives each of them the others it works with, hands what
 * consensus decides to whom it concerns, and calls what is to be done every so often.
 *
 *   services ── propose ──▶ Proposals ──▶ Consensus ── committed ──▶ StateMachine ── outcome ──▶ Proposals ─▶ whoever waits
 *            ── read ─────────────────▶   │  ▲ │                         │
 *                                         ▼  │ ▼                         ▼
 *                     OtherMembers: network  log  ◀──── release ────  storage
 *
 *   LeaderCertainty, LeaderDuties   whether it leads beyond doubt; what it does because it leads
 *   Leadership, Succession          who has led; who leads next
 *   Publisher, SnapshotExchange     its name for the cluster; whole states from and to other members
 *
 * Invariants:
 *  - nothing is answered before its entry is applied, and nothing is applied before it is durable on a quorum;
 *  - the log is released only behind what storage has durably (`flushedIndex`), and a mark in the log says so first;
 *  - a snapshot from the leader replaces the applied state as a whole: nothing that outlives a turn may keep a part of it
 *    without asking again;
 *  - after a failed write of log or storage the owner ends the process; nothing is answered in between.
 */
import { HeaderEncoder, type RaftOp } from "@quorate/api";
import type { AuthStore } from "@quorate/auth";
import type { Lessor } from "@quorate/lease";
import {
  type Member as ClusterMember,
  idText,
  isOlderThanCluster,
  type Membership,
  type MembershipChange,
} from "@quorate/membership";
import type { Backend, Store, WatchHub } from "@quorate/mvcc";
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
} from "@quorate/raft";
import type { ServerCall } from "@quorate/rpc";
import type { PeerNetwork } from "../peers/peer-network.ts";
import { Intervals } from "../world/intervals.ts";
import type { Alarms } from "./alarms.ts";
import { type AppliedDone, AppliedWaits } from "./applied-waits.ts";
import { AutoCompactor } from "./auto-compactor.ts";
import { ClientSnapshots, type ClientSnapshotTask } from "./client-snapshots.ts";
import { confStateJson } from "./conf-state.ts";
import { Consensus, type ConsensusOwner, type Proposal } from "./consensus.ts";
import { LeaderCertainty } from "./leader-certainty.ts";
import { LeaderDuties } from "./leader-duties.ts";
import { Leadership, type TransferDone } from "./leadership.ts";
import { LogWriter } from "./log-writer.ts";
import { MemberCounters } from "./member-counters.ts";
import type { MemberOptions } from "./member-options.ts";
import type { MemberParts } from "./open-member.ts";
import { OtherMembers } from "./other-members.ts";
import type { ProposalHandler } from "./pending.ts";
import { Proposals } from "./proposals.ts";
import { Publisher } from "./publisher.ts";
import type { ReadWaiter } from "./read-rounds.ts";
import type { RequestIds } from "./request-ids.ts";
import { SnapshotExchange } from "./snapshot-exchange.ts";
import { Space } from "./space.ts";
import { type CompactedDone, StateMachine } from "./state-machine.ts";
import { Succession } from "./succession.ts";
import { WatchReplay } from "./watch-replay.ts";

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

const SWEEP_MS = 500;
/** How soon a watcher that starts in a compacted past hears of it, at the latest. */
const REPLAY_MS = 100;
/** How often the leader asks whether the cluster should run at another version, and the database follows: etcd's. */
const VERSION_CHECK_MS = 4000;
const TOKEN_EXPIRY_MS = 1000;
/** What is left of the first election timeout for a member that starts among others. */
const FIRST_ELECTION_TICKS = 2;

export class Member implements ConsensusOwner {
  readonly id: bigint;
  readonly header: HeaderEncoder;
  readonly ids: RequestIds;
  readonly limits: { readonly maxTxnOps: number; readonly maxRequestBytes: number };
  readonly counters: MemberCounters = new MemberCounters();
  readonly options: MemberOptions;
  readonly hub: WatchHub;
  readonly network: PeerNetwork;
  /** Who has led, how long, and handing it over. */
  readonly leadership: Leadership;
  readonly #owner: MemberOwner;
  readonly #firstPeers: readonly ClusterMember[];
  readonly #logWriter: LogWriter;
  readonly #state: StateMachine;
  readonly #consensus: Consensus;
  readonly #proposals: Proposals;
  readonly #space: Space;
  readonly #certainty: LeaderCertainty;
  readonly #duties: LeaderDuties;
  readonly #others: OtherMembers;
  readonly #succession: Succession;
  readonly #snapshots: SnapshotExchange;
  readonly #clientSnapshots: ClientSnapshots;
  readonly #publisher: Publisher;
  readonly #autoCompactor: AutoCompactor | null;
  readonly #appliedWaits: AppliedWaits;
  readonly #replay: WatchReplay;
  readonly #intervals: Intervals;
  #lastLeader: NodeId = NO_NODE;
  #isPublished = false;
  #isReady = false;
  #isStopping = false;

  /** Each part is given those before it; what comes from one after it is asked for when it is needed. */
  constructor(parts: MemberParts, options: MemberOptions, owner: MemberOwner) {
    const { counters } = this;
    const { id: memberId, ids, wal, databases } = parts;
    const { clusterId } = parts.state.membership;
    this.id = memberId;
    this.ids = ids;
    this.options = options;
    this.#owner = owner;
    this.#firstPeers = parts.firstPeers;
    this.header = new HeaderEncoder({ clusterId, memberId });
    this.limits = { maxTxnOps: options.maxTxnOps, maxRequestBytes: options.maxRequestBytes };
    this.#intervals = new Intervals(options.timers);
    this.#appliedWaits = new AppliedWaits(options.clock);
    const failed = (error: Error): void => owner.failed(error);
    const logWriter = new LogWriter(wal, parts.markedIndex, failed);
    this.#logWriter = logWriter;
    const { logStorage, indexFile } = parts;
    const state = new StateMachine(
      parts.state,
      { wal, logStorage, logWriter, databases, indexFile, counters },
      options,
      {
        entryApplied: (idHigh, idLow, outcome) => this.#proposals.entryApplied(idHigh, idLow, outcome),
        applyConfChange: (change) => this.#consensus.applyConfChange(change),
        membershipChanged: (change) => this.#others.changed(change),
        clusterVersionSet: (version) => this.#clusterVersionSet(version),
        termBegan: (term) => this.#duties.termBegan(term),
        loggedIn: (login) => options.tokens.loggedIn(login),
        credentialsDropped: (user) => this.#dropCredentials(user),
        hardStateForMark: () => this.#consensus.hardStateForMark,
        neededIndex: () => this.#others.neededIndex,
        flushed: () => {
          this.#consensus.resume();
          owner.flush();
        },
        failed,
      },
    );
    this.#state = state;
    this.hub = state.hub;
    this.#replay = new WatchReplay(state.hub, options.timers, () => owner.flush());
    const { requestTimeoutMs } = this;
    const consensus = new Consensus(
      {
        raft: parts.raft,
        storage: logStorage,
        wal: logWriter,
        owner: this,
        clock: options.clock,
        timers: options.timers,
        log: options.log,
        ids,
        requestTimeoutMs,
        stallMs: options.electionTicks * options.heartbeatMs,
      },
      state.backend.appliedIndex,
    );
    this.#consensus = consensus;
    this.leadership = new Leadership(consensus, options);
    this.#certainty = new LeaderCertainty(consensus, options);
    this.#snapshots = new SnapshotExchange(
      { ...options, clusterId, memberId, databases },
      {
        state: () => state.state,
        commitIndex: () => consensus.commitIndex,
        stepSnapshot: (message) => {
          consensus.step(message);
          return consensus.isInstalling(message.snapshot!.metadata.index);
        },
      },
    );
    this.#clientSnapshots = new ClientSnapshots(databases, {
      state: () => state.state,
      whenFlushed: (done) => state.whenFlushed(done),
    });
    this.#others = new OtherMembers(
      {
        memberId,
        state,
        consensus,
        snapshots: this.#snapshots,
        network: (networkOwner) => options.network(networkOwner, this),
      },
      options,
      { gone: (id, why) => this.#succession.memberGone(id, why), removed: () => owner.removed() },
    );
    this.network = this.#others.network;
    this.#succession = new Succession(
      { memberId, state, consensus, leadership: this.leadership, network: this.network },
      options,
    );
    this.#proposals = new Proposals(
      {
        ids,
        state,
        consensus,
        timeoutOf: (startedMs) => this.leadership.timeoutOf(startedMs, this.#others.reach),
        maxEntryBytes: wal.maxEntryBytes,
        requestTimeoutMs,
        counters,
      },
      options,
    );
    this.#space = new Space({ memberId, state, proposals: this.#proposals }, options);
    this.#duties = new LeaderDuties(
      { state, consensus, certainty: this.#certainty, proposals: this.#proposals, counters },
      { ...options, memberId },
    );
    const { autoCompaction } = options;
    this.#autoCompactor =
      autoCompaction === null
        ? null
        : new AutoCompactor(
            autoCompaction,
            {
              revision: () => this.store.revision,
              isLeader: () => this.isLeader,
              propose: (op, bytes, handler) => this.#proposals.proposeOwn(op, bytes, handler, this.term),
            },
            options,
          );
    this.#publisher = new Publisher(
      { ...options, memberId },
      {
        propose: (op, bytes, handler) => this.#proposals.proposeOwn(op, bytes, handler),
        mayPropose: () => !this.#isStopping && !this.#others.isRemoved,
        published: () => {
          this.#isPublished = true;
          this.#becomeReady();
        },
      },
    );
  }

  // --- life

  /** Starts the clock. A member that is alone stands for election at once. */
  start(): void {
    const { heartbeatMs, electionTicks, advanceFirstElection } = this.options;
    this.#others.begin(this.#firstPeers);
    this.#intervals.every(heartbeatMs, () => this.#tick());
    this.#intervals.every(SWEEP_MS, () => this.#sweep());
    this.#intervals.every(REPLAY_MS, () => this.#replay.begin());
    this.#intervals.every(VERSION_CHECK_MS, () => {
      this.#duties.checkVersions();
      this.#duties.disarmRemoved();
      this.#state.followClusterVersion();
    });
    const { downgradeCheckMs } = this.options;
    if (downgradeCheckMs > 0) this.#intervals.every(downgradeCheckMs, () => this.#duties.checkDowngrade());
    this.#intervals.every(TOKEN_EXPIRY_MS, () => this.options.tokens.expire());
    // What the log says is committed is applied first: for a new member, the configuration itself.
    this.#consensus.begin();
    const { voters } = this.#state.confState;
    if (voters.length === 1 && voters[0] === this.id) this.#consensus.campaign();
    // Whoever leads is heard from within two heartbeats; votes before that are refused to us (RA-09).
    else if (advanceFirstElection) this.#consensus.advanceElection(electionTicks - FIRST_ELECTION_TICKS);
    this.#publisher.begin();
    this.#autoCompactor?.start();
    this.#state.followClusterVersion();
    this.#state.resumeCompaction();
  }

  /**
   * A leader hands over to the voter it has been in touch with for longest, if that takes no longer than `limitMs`. `done`
   * in any case; {@link stop} follows.
   */
  prepareStop(limitMs: number, done: () => void): void {
    this.#succession.handOver(limitMs, done);
  }

  /** Fails what waits and flushes what was applied. `done` when storage has it and everything is closed. */
  stop(done: (error: Error | null) => void): void {
    this.#isStopping = true;
    this.#intervals.stop();
    this.#autoCompactor?.stop();
    this.#replay.stop();
    this.#others.stop();
    this.#succession.stop();
    this.#snapshots.stop();
    this.#clientSnapshots.stop();
    this.#state.stop();
    this.leadership.stop();
    this.#appliedWaits.stop();
    this.#consensus.stop();
    this.#proposals.stop();
    this.#owner.flush();
    // A snapshot that is being installed replaces the state first: what is closed is what is there afterwards.
    this.#logWriter.whenIdle(() => this.#state.close(done));
  }

  // --- what there is to know

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

  /** It leads, and its clock has not stood still. Hot: every keep-alive asks. */
  get leadsBeyondDoubt(): boolean {
    return this.#certainty.leadsBeyondDoubt;
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

  /** The version whose form the database has; null while nothing has been applied. */
  get storageVersion(): string | null {
    return this.#state.storageVersion;
  }

  get alarms(): Alarms {
    return this.#state.alarms;
  }

  get auth(): AuthStore {
    return this.#state.auth;
  }

  /** The leader's view of the members; empty elsewhere. */
  get progress(): readonly ProgressStatus[] {
    return this.#consensus.progress;
  }

  get commitIndex(): number {
    return this.#consensus.commitIndex;
  }

  get appliedIndex(): number {
    return this.#consensus.appliedIndex;
  }

  /** Term of the last entry applied since the start: what response headers show. */
  get appliedTerm(): number {
    return this.#state.appliedTerm;
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  get pendingCount(): number {
    return this.#proposals.count;
  }

  get quotaBytes(): number {
    return this.options.quotaBytes;
  }

  /** A linearizable read may be answered this moment, without a round. */
  get mayReadNow(): boolean {
    return this.#consensus.mayReadNow;
  }

  // --- what services ask for

  read(waiter: ReadWaiter): void {
    this.#consensus.read(waiter);
  }

  /** Whether the database has room for a write of this cost. If not, the call fails. See {@link Space.admitsWrite}. */
  admitsWrite(call: ServerCall, costBytes: number): boolean {
    return this.#space.admitsWrite(call, costBytes);
  }

  /** Puts an operation, encoded in `bytes[start, end)` (copied), into the log. See {@link Proposals.propose}. */
  propose(
    op: RaftOp,
    bytes: Uint8Array,
    start: number,
    end: number,
    handler: ProposalHandler,
    call: ServerCall | null,
    detail: unknown,
  ): void {
    this.#proposals.propose(op, bytes, start, end, handler, call, detail, null);
  }

  /** Puts a change of the membership into the log; the handler hears of it as of any proposal. */
  proposeChange(change: MembershipChange, handler: ProposalHandler, call: ServerCall | null): void {
    this.#proposals.proposeChange(change, handler, call);
  }

  /** Whether this member leads beyond doubt, found out by a round of reads if need be. See {@link LeaderCertainty}. */
  confirmLeadership(done: (isLeader: boolean) => void): void {
    this.#certainty.confirm(done);
  }

  /** Hands leadership to a voter; for a leader. */
  transferLeadership(to: NodeId, limitMs: number, done: TransferDone): void {
    this.leadership.transfer(to, limitMs, done);
  }

  /** Calls back, perhaps at once, when everything committed so far is applied here, or that took longer than a second. */
  whenApplied(done: AppliedDone): void {
    if (this.#isStopping) done("Stopped");
    else if (this.appliedIndex >= this.commitIndex) done(null);
    else this.#appliedWaits.add(this.commitIndex, done);
  }

  /** Calls back when everything applied so far is durable in storage. */
  whenFlushed(done: () => void): void {
    this.#state.whenFlushed(done);
  }

  /** Calls back when every compaction accepted so far is carried out and flushed, or its store has been replaced. */
  whenCompacted(done: CompactedDone): void {
    this.#state.whenCompacted(done);
  }

  /** Everything applied so far as a file, for a client. See {@link ClientSnapshots.open}. */
  openSnapshot(done: Parameters<ClientSnapshots["open"]>[0]): ClientSnapshotTask {
    return this.#clientSnapshots.open(done);
  }

  /** A reader's hold on a revision ends; a compaction that waited for it goes on. */
  unpin(revision: number): void {
    this.#state.unpin(revision);
  }

  /** A hash that held compaction back is done. */
  resumeCompaction(): void {
    this.#state.resumeCompaction();
  }

  /** Some watcher may be behind, or able to take more. */
  replayWatchers(): void {
    this.#replay.begin();
  }

  /** Answers given by a timer or another member's answer may leave; those of a turn do by themselves. */
  flush(): void {
    this.#owner.flush();
  }

  // --- ConsensusOwner

  apply(entries: readonly Entry[]): void {
    this.#state.apply(entries);
  }

  leaderChanged(leader: NodeId, role: Role): void {
    if (leader !== NO_NODE && leader !== this.#lastLeader) {
      this.#lastLeader = leader;
      this.counters.leaderChanges++;
      this.options.log.info(`raft.node: ${idText(this.id)} elected leader ${idText(leader)} at term ${this.term}`);
    }
    this.leadership.changed(leader, role === Role.Leader);
    if (role === Role.Leader) return;
    this.#certainty.deposed();
    this.#duties.deposed();
  }

  proposalsDropped(proposals: readonly Proposal[]): void {
    this.#proposals.dropped(proposals);
  }

  changeDropped(change: ConfChange): void {
    this.#proposals.changeDropped(change);
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
    this.#state.abandon();
    const mark = { ...metadata, confState: Buffer.from(confStateJson(metadata.confState)) };
    this.#logWriter.replace(mark, hardState, () => {
      const oldMembership = this.membership;
      this.#state.replace(state, metadata);
      if (!this.#isStopping) this.#stateReplaced(oldMembership);
      done();
      log.info("applied snapshot", { "applied-index": metadata.index, "took-ms": clock.monotonicMs() - startedMs });
    });
  }

  get isStorageBehind(): boolean {
    return this.#state.isStorageBehind;
  }

  logFailed(error: Error): void {
    this.#owner.failed(error);
  }

  turnEnded(): void {
    this.#appliedWaits.release(this.appliedIndex);
    this.options.tokens.applied(this.appliedIndex);
    this.#owner.flush();
  }

  saved(tookMs: number): void {
    this.counters.onLogSaved?.(tookMs);
  }

  // --- what the state says

  #stateReplaced(oldMembership: Membership): void {
    this.#others.replaced(oldMembership);
    // Who was dropped in the entries that were passed over is not known.
    this.#dropCredentials(null);
    const { clusterVersion } = this.membership;
    if (clusterVersion !== null) this.#clusterVersionSet(clusterVersion);
    this.#publisher.replaced(this.membership.member(this.id));
    this.#replay.begin();
  }

  #dropCredentials(user: string | null): void {
    const { tokens, passwords } = this.options;
    if (user === null) tokens.dropAll();
    else {
      tokens.dropUser(user);
      passwords.dropUser(user);
    }
  }

  #clusterVersionSet(version: string): void {
    const { serverVersion } = this.options;
    if (isOlderThanCluster(serverVersion, version)) {
      const text = "invalid downgrade; server version is lower than determined cluster version";
      this.#owner.failed(new Error(`${text}: ${serverVersion}, the cluster runs at ${version}`));
      return;
    }
    // Not in the midst of an entry.
    this.options.timers.nextTurn(() => this.#state.followClusterVersion());
    this.#becomeReady();
  }

  /** Tools ask for the cluster's version at once, so clients come when it is decided. */
  #becomeReady(): void {
    if (this.#isReady || !this.#isPublished || this.membership.clusterVersion === null) return;
    this.#isReady = true;
    this.#space.started();
    this.#owner.ready();
  }

  // --- every so often

  #tick(): void {
    this.#certainty.tick();
    this.#consensus.tick();
    this.leadership.tick();
    this.#appliedWaits.expire();
  }

  #sweep(): void {
    const nowMs = this.options.clock.monotonicMs();
    this.#proposals.expire(nowMs);
    this.#duties.expireLeases();
    this.#space.check();
    if (this.#state.rest(nowMs)) this.#owner.resting();
    this.#owner.flush();
  }
}
