/**
 * The turn: joins consensus (a function of messages), the log on disk and the apply loop, doing everything once per turn
 * of the event loop instead of once per request.
 *
 *   proposals of the turn ─▶ raft ─▶ ready ─┬─▶ log: one durable write, more gather meanwhile ─┐
 *                                           ├─▶ peers                                          │ durable
 *                                           └─▶ committed entries ─▶ owner.apply               ▼
 *                                                     ▲                                   raft: commit
 *                                                     └────────────────────────────────────────┘
 *
 * Group commit needs no timer: while the disk works, proposals gather, and the next write takes all of them
 * (log-appends.ts).
 *
 * Invariants:
 *  - entries are applied only when committed, and a single voter commits only what is durable (AP-06);
 *  - each read round has an id of its own, never used again (RA-05), and only reads that were waiting when the round
 *    began may use its answer;
 *  - votes are asked for only when the term and the own vote are durable: whoever forgot in a crash that it stood could be
 *    elected twice in one term, and write its entries twice, differently;
 *  - a failed write is reported once to the owner, which ends the process (WA-08);
 *  - while storage is too far behind what was applied, nothing more is taken into the log, from clients or from the leader:
 *    they wait, so that memory has a bound and nobody is refused for the disk's being slow. Votes are saved regardless.
 *
 * Synchronous but for the log's answer; knows nothing of what entries mean.
 */
import {
  type ConfChange,
  type ConfState,
  type Entry,
  type HardState,
  index,
  isLocalThread,
  LOCAL_APPEND_THREAD,
  LocalMessageFromPeer,
  type MemoryLogStorage,
  type Message,
  MessageType,
  messageSizeBytes,
  NO_NODE,
  type NodeId,
  type ProgressStatus,
  ProposalDropped,
  type RawNode,
  Role,
  type Snapshot,
  UnknownPeer,
} from "@quorate/raft";
import { assert, type Clock, type Log, type Timers } from "@quorate/world";
import { CommitNews } from "./commit-news.ts";
import { type DurableLog, LogAppends, type LogAppendsOwner } from "./log-appends.ts";
import { ReadRounds, type ReadWaiter } from "./read-rounds.ts";
import type { RequestIds } from "./request-ids.ts";

export interface Proposal {
  /** The entry's data; immutable from here on. */
  readonly data: Uint8Array;
  /** Nobody wants it any more and it has not been proposed: it will not be. */
  isAbandoned: boolean;
  /**
   * Only the leader of this term may propose it, and nobody passes it on: what it says was true of that leader's clock, and
   * the next leader may know better (known failure LE-01). null: whoever leads.
   */
  readonly leaderTerm: number | null;
  /** Consensus has been given it: whether it takes effect is for the log to say. Set here. */
  isProposed: boolean;
}

export interface ConsensusOwner {
  /** Committed entries in order, each once. */
  apply(entries: readonly Entry[]): void;
  leaderChanged(leader: NodeId, role: Role): void;
  /** Raft would not take them: leadership is being handed over, or there is no leader after all. They will not be proposed. */
  proposalsDropped(proposals: readonly Proposal[]): void;
  changeDropped(change: ConfChange): void;
  /** For other members: given to the network, which sends it with the next flushPeers at the latest. */
  send(message: Message): void;
  /** What was given to `send` goes out now: the disk has been set to work, and applying may take a while. */
  flushPeers(): void;
  /**
   * The applied state becomes the snapshot's, which the owner has at hand, and the log begins anew behind it. `done` when
   * both are durable; nothing is saved or applied in between.
   */
  installSnapshot(snapshot: Snapshot, hardState: HardState, done: () => void): void;
  /** What is applied already is more than storage has been able to take; when it has, {@link Consensus.resume} is called. */
  readonly isStorageBehind: boolean;
  /** The log could not be written: end the process. */
  logFailed(error: Error): void;
  /** Everything of this turn is done: let answers out. */
  turnEnded(): void;
  /** How long a durable write of the log took. */
  saved(tookMs: number): void;
}

export interface ConsensusOptions {
  readonly raft: RawNode;
  readonly storage: MemoryLogStorage;
  readonly wal: DurableLog;
  readonly owner: ConsensusOwner;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  readonly ids: RequestIds;
  /** etcd's: 5 s + 2 election timeouts. */
  readonly requestTimeoutMs: number;
  /** A leader whose log has not answered for so long gives up its leadership: etcd's election timeout. */
  readonly stallMs: number;
}

/** Of what other members passed on while storage is behind; well below what raft lets wait for commitment. */
const FORWARDED_BYTES_MAX = 64 * 1024 * 1024;

export class Consensus {
  readonly #raft: RawNode;
  readonly #owner: ConsensusOwner;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #log: Log;
  readonly #reads: ReadRounds;
  readonly #commitNews: CommitNews;
  readonly #appends: LogAppends;
  /** Something was given to the network since it was flushed. */
  #hasSent = false;

  #proposals: Proposal[] = [];
  /** Proposals of other members that wait for storage. */
  #forwarded: Message[] = [];
  #forwardedBytes = 0;
  /** Changes of the configuration that wait for a leader to be known. */
  #confChanges: { readonly change: ConfChange; readonly isWanted: () => boolean }[] = [];
  #isTurnScheduled = false;
  #isInTurn = false;
  #isStopped = false;

  #appliedIndex: number;
  /** Term of the last entry applied here; 0 before the first since the start. */
  #appliedTerm = 0;
  #lastTickMs: number;
  #leader: NodeId = NO_NODE;
  #role: Role = Role.Follower;
  #isLoneVoter: boolean;

  constructor(options: ConsensusOptions, appliedIndex: number) {
    this.#raft = options.raft;
    this.#owner = options.owner;
    this.#clock = options.clock;
    this.#timers = options.timers;
    this.#log = options.log;
    this.#reads = new ReadRounds({ ...options, ask: (context) => this.#raft.readIndex(context) });
    this.#commitNews = new CommitNews({
      clock: options.clock,
      timers: options.timers,
      send: (message) => this.#sendHeld(message),
    });
    this.#appends = new LogAppends(options, this.#appendsOwner());
    this.#lastTickMs = options.clock.monotonicMs();
    this.#isLoneVoter = isLoneVoter(options.raft.id, options.storage.initialState().confState);
    this.#appliedIndex = appliedIndex;
  }

  #appendsOwner(): LogAppendsOwner {
    const owner = this.#owner;
    return {
      isLeader: () => this.#role === Role.Leader,
      isStorageBehind: () => owner.isStorageBehind,
      installSnapshot: (snapshot, hardState, done) => owner.installSnapshot(snapshot, hardState, done),
      installed: ({ metadata }) => {
        this.#appliedIndex = metadata.index;
        this.#isLoneVoter = isLoneVoter(this.#raft.id, metadata.confState);
        // Of the new state nothing waits for storage.
        this.resume();
      },
      stored: (response) => {
        if (response.to === this.#raft.id) this.#stepOwn(response);
        else this.#send(response);
      },
      saved: (tookMs) => {
        owner.saved(tookMs);
        this.#turn();
      },
      failed: (error) => {
        this.#isStopped = true;
        owner.logFailed(error);
      },
    };
  }

  get leader(): NodeId {
    return this.#leader;
  }

  get commitIndex(): number {
    return this.#raft.committed;
  }

  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  /**
   * For a mark in the log: never behind what the log has or is being given, and its commit covers everything applied, but
   * nothing that is not in the log yet.
   */
  get hardStateForMark(): HardState {
    const { term, vote, commit } = this.#appends.hardState;
    return { term, vote, commit: index(Math.max(commit, this.#appliedIndex)) };
  }

  get term(): number {
    return this.#raft.term;
  }

  get isLeader(): boolean {
    return this.#raft.role === Role.Leader;
  }

  /**
   * A lone voter that leads and has applied everything committed, its own term's first entry included, answers reads
   * without a round: whatever any client was told of is applied here, and nobody else could have told it.
   */
  get mayReadNow(): boolean {
    const raft = this.#raft;
    return (
      this.#isLoneVoter &&
      raft.role === Role.Leader &&
      this.#appliedTerm === raft.term &&
      this.#appliedIndex === raft.committed &&
      !this.#isStopped
    );
  }

  /** Puts a committed change in force; while entries are applied. Throws InvalidConfChange. */
  applyConfChange(change: ConfChange): ConfState {
    const confState = this.#raft.applyConfChange(change);
    this.#isLoneVoter = isLoneVoter(this.#raft.id, confState);
    return confState;
  }

  /** Proposed with everything else of this turn; while no leader is known, as soon as one is. */
  propose(proposal: Proposal): void {
    this.#proposals.push(proposal);
    this.#schedule();
  }

  /** The waiter is called at once if that is safe, else when a round that began after this call is confirmed. */
  read(waiter: ReadWaiter): void {
    if (this.#isStopped) {
      waiter.readFailed("Stopped");
    } else if (this.mayReadNow) {
      waiter.readReady();
    } else {
      this.#reads.wait(waiter);
      this.#schedule();
    }
  }

  /**
   * Proposed with everything else of this turn; while no leader is known, as soon as one is, unless nobody wants it by then:
   * who gave up may have done something else about his cluster since.
   */
  proposeConfChange(change: ConfChange, isWanted: () => boolean): void {
    this.#confChanges = this.#confChanges.filter((each) => each.isWanted());
    this.#confChanges.push({ change, isWanted });
    this.#schedule();
  }

  /** A message from another member. What raft refuses (an answer from somebody it does not know) is dropped. */
  step(message: Message): void {
    if (this.#isStopped) return;
    this.#commitNews.received(message);
    if (message.type === MessageType.Prop && this.#owner.isStorageBehind) {
      this.#hold(message);
      return;
    }
    this.#stepPeer(message);
    this.#schedule();
  }

  #hold(message: Message): void {
    const sizeBytes = messageSizeBytes(message);
    if (this.#forwardedBytes + sizeBytes > FORWARDED_BYTES_MAX) {
      this.#log.debug("storage is behind, dropped a proposal of a peer", { from: message.from.toString(16) });
      return;
    }
    this.#forwarded.push(message);
    this.#forwardedBytes += sizeBytes;
  }

  /** Raft may refuse it by now: there is no leader, or leadership is being handed over. Who asked hears of it by waiting. */
  #stepHeld(message: Message): void {
    try {
      this.#stepPeer(message);
    } catch (error) {
      if (!(error instanceof ProposalDropped)) throw error;
      this.#log.debug("dropped a proposal of a peer", { from: message.from.toString(16), error });
    }
  }

  #stepPeer(message: Message): void {
    try {
      this.#raft.step(message);
    } catch (error) {
      if (!(error instanceof UnknownPeer || error instanceof LocalMessageFromPeer)) throw error;
      this.#log.debug("dropped a message from a peer", { from: message.from.toString(16), error });
    }
  }

  /** True if raft has taken up the snapshot at this index and is about to hand it to the owner. */
  isInstalling(snapshotIndex: number): boolean {
    return this.#raft.pendingSnapshotIndex === snapshotIndex;
  }

  reportUnreachable(id: NodeId): void {
    if (this.#isStopped) return;
    this.#raft.reportUnreachable(id);
    this.#schedule();
  }

  reportSnapshot(id: NodeId, status: "finished" | "failed"): void {
    if (this.#isStopped) return;
    this.#raft.reportSnapshot(id, status);
    this.#schedule();
  }

  /** Asks the leader to hand over to `to`; proposals are dropped until it has, or until an election timeout has passed. */
  transferLeadership(to: NodeId): void {
    this.#raft.transferLeadership(to);
    this.#schedule();
  }

  /** On the clock: when {@link tick} was last called and raft's time went on. */
  get lastTickMs(): number {
    return this.#lastTickMs;
  }

  get role(): Role {
    return this.#role;
  }

  /** The leader's view of the members; empty elsewhere. */
  get progress(): readonly ProgressStatus[] {
    return this.#raft.status().progress;
  }

  /** The configuration as raft has it. */
  get confState(): ConfState {
    return this.#raft.status().config;
  }

  /** Applies what the log already says is committed. Once, before the first tick. */
  begin(): void {
    this.#turn();
  }

  /** One heartbeat interval has passed. */
  tick(): void {
    // A leader that cannot write falls silent, so that the others elect one that can (known failure WA-11). It does not
    // hear then that it has lost its quorum, so its clock stands still for whoever asks whether it still leads (LE-01).
    if (!this.#appends.isStalled()) {
      this.#lastTickMs = this.#clock.monotonicMs();
      this.#raft.tick();
    }
    this.#reads.tick(this.#leader !== NO_NODE);
    this.#turn();
  }

  /** Lets so many ticks of the first election timeout pass at once: somebody who just started need not wait them out. */
  advanceElection(ticks: number): void {
    for (let i = 0; i < ticks; i++) this.#raft.tick();
  }

  /**
   * The leader's process has ended, as far as can be seen from here: there is none for us any more, so that we may vote at
   * once instead of waiting the election timeout out.
   */
  forgetLeader(): void {
    if (this.#isStopped) return;
    this.#raft.forgetLeader();
    this.#schedule();
  }

  /** Starts an election now: a single voter need not wait to find out that it is alone. */
  campaign(): void {
    if (this.#isStopped) return;
    this.#raft.campaign();
    this.#turn();
  }

  /** Storage has taken something: what was held back goes on unless there is still too much. */
  resume(): void {
    if (this.#isStopped || this.#owner.isStorageBehind) return;
    this.#forwardedBytes = 0;
    for (const message of this.#forwarded.splice(0)) this.#stepHeld(message);
    this.#schedule();
  }

  /** Fails what waits. Nothing is proposed or applied afterwards. */
  stop(): void {
    this.#isStopped = true;
    this.#proposals = [];
    this.#forwarded = [];
    this.#confChanges = [];
    this.#reads.failAll("Stopped");
  }

  /** True while a durable write is under way. */
  get isSaving(): boolean {
    return this.#appends.isSaving;
  }

  #schedule(): void {
    if (this.#isTurnScheduled || this.#isInTurn) return;
    this.#isTurnScheduled = true;
    this.#timers.nextTurn(this.#scheduledTurn);
  }

  readonly #scheduledTurn = (): void => {
    this.#isTurnScheduled = false;
    this.#turn();
  };

  #turn(): void {
    if (this.#isStopped || this.#isInTurn) return;
    this.#isInTurn = true;
    do {
      if (this.#leader !== NO_NODE) {
        this.#proposeAll();
        this.#reads.begin();
      }
      this.#drain();
    } while (this.#hasNews());
    this.#isInTurn = false;
    this.#owner.turnEnded();
  }

  /** Applying may have answered someone who at once asked for more. */
  #hasNews(): boolean {
    if (this.#isStopped) return false;
    const mayPropose = this.#proposals.length > 0 && !this.#owner.isStorageBehind;
    const isWaiting = mayPropose || this.#confChanges.length > 0 || this.#reads.mayBegin;
    return (isWaiting && this.#leader !== NO_NODE) || this.#raft.hasReady();
  }

  #proposeAll(): void {
    for (const { change, isWanted } of this.#confChanges.splice(0)) {
      if (!isWanted()) continue;
      if (!isTaken(() => this.#raft.proposeConfChange(change))) this.#owner.changeDropped(change);
    }
    if (this.#proposals.length === 0 || this.#owner.isStorageBehind) return;
    const proposals = this.#proposals;
    this.#proposals = [];
    const datas: Uint8Array[] = [];
    for (let i = 0; i < proposals.length; i++) {
      const proposal = proposals[i]!;
      if (proposal.isAbandoned || !this.#mayPropose(proposal)) continue;
      proposal.isProposed = true;
      datas.push(proposal.data);
    }
    if (datas.length === 0 || isTaken(() => this.#raft.proposeBatch(datas))) return;
    this.#log.warn(`raft dropped ${datas.length} proposals`);
    this.#owner.proposalsDropped(proposals.filter((each) => each.isProposed));
  }

  /** Raft may have stepped down since the proposal was made, before anybody heard of it. */
  #mayPropose({ leaderTerm }: Proposal): boolean {
    return leaderTerm === null || (this.#raft.role === Role.Leader && this.#raft.term === leaderTerm);
  }

  #drain(): void {
    while (!this.#isStopped && this.#raft.hasReady()) {
      const ready = this.#raft.ready();
      if (ready.softState !== null) this.#leadership(ready.softState.lead, ready.softState.role);
      for (const state of ready.readStates) this.#reads.confirm(state.index, state.requestContext);
      let applying: Message | null = null;
      const asking: Message[] = [];
      for (const message of ready.messages) {
        if (message.type === MessageType.Vote) {
          asking.push(message);
        } else if (message.to === LOCAL_APPEND_THREAD) {
          if (asking.length > 0) message.responses = [...message.responses, ...asking.splice(0)];
          this.#appends.add(message);
        } else if (isLocalThread(message.to)) {
          applying = message;
        } else if (!keepsFollowers(message) || !this.#appends.isStalled()) {
          this.#send(message);
        }
      }
      assert(asking.length === 0, "a term that votes are asked for goes to the log");
      // The other members start first, because their answers take longest, and then the disk; both work while the entries
      // that are already committed are applied.
      this.#flushPeers();
      this.#appends.pump();
      this.#flushPeers();
      if (applying !== null) this.#apply(applying);
    }
    // What gathered during a write must go on even if its end is no news to raft.
    this.#appends.pump();
    this.#flushPeers();
    this.#reads.release(this.#appliedIndex);
  }

  /** For another member, with the next flush; or later, if it is news that can wait. */
  #send(message: Message): void {
    if (this.#commitNews.holds(message)) return;
    this.#owner.send(message);
    this.#hasSent = true;
  }

  #sendHeld(message: Message): void {
    if (this.#isStopped || this.#appends.isStalled()) return;
    this.#owner.send(message);
    this.#owner.flushPeers();
  }

  #flushPeers(): void {
    if (!this.#hasSent) return;
    this.#hasSent = false;
    this.#owner.flushPeers();
  }

  #apply(message: Message): void {
    const entries = message.entries;
    this.#owner.apply(entries);
    const last = entries[entries.length - 1]!;
    this.#appliedIndex = last.index;
    if (last.term !== this.#appliedTerm) {
      this.#appliedTerm = last.term;
      this.#reads.termBegan();
    }
    for (const response of message.responses) this.#raft.step(response);
  }

  /** A member that has removed itself meanwhile refuses its own answers (raw-node.ts). */
  #stepOwn(response: Message): void {
    try {
      this.#raft.step(response);
    } catch (error) {
      if (!(error instanceof UnknownPeer)) throw error;
    }
  }

  #leadership(leader: NodeId, role: Role): void {
    this.#role = role;
    this.#commitNews.clear();
    if (leader !== this.#leader) {
      this.#leader = leader;
      this.#reads.failRound("LeaderChanged");
    }
    this.#owner.leaderChanged(leader, role);
  }
}

/** False: raft refused the proposal, which has no effect. */
function isTaken(propose: () => void): boolean {
  try {
    propose();
    return true;
  } catch (error) {
    if (error instanceof ProposalDropped) return false;
    throw error;
  }
}

/** Whoever gets it takes it as a sign of the leader's life, and gets another one soon. */
function keepsFollowers({ type }: Message): boolean {
  return type === MessageType.App || type === MessageType.Heartbeat;
}

function isLoneVoter(id: NodeId, state: ConfState): boolean {
  return state.voters.length === 1 && state.voters[0] === id && state.votersOutgoing.length === 0;
}
