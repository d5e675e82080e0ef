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
 * Group commit needs no timer: while the disk works, proposals gather, and the next write takes all of them.
 *
 * Invariants:
 *  - raft learns that something is stored only after the disk said so, in the order it asked (RA-02, RA-03);
 *  - entries are applied only when committed, and a single voter commits only what is durable (AP-06);
 *  - each read round has an id of its own, never used again (RA-05), and only reads that were waiting when the round
 *    began may use its answer;
 *  - a failed write is reported once to the owner, which ends the process (WA-08).
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
  type MemoryLogStorage,
  type Message,
  NO_NODE,
  type NodeId,
  ProposalDropped,
  type RawNode,
  Role,
} from "@quorate/raft";
import type { Clock, Log, Timers } from "@quorate/world";
import type { RequestIds } from "./request-ids.ts";

export interface Proposal {
  /** The entry's data; immutable from here on. */
  readonly data: Uint8Array;
  /** Nobody wants it any more and it has not been proposed: it will not be. */
  isAbandoned: boolean;
}

/** A linearizable read that waits until it may look at the applied state. */
export interface ReadWaiter {
  readReady(): void;
  readFailed(reason: "LeaderChanged" | "Timeout" | "Stopped"): void;
}

export interface ConsensusOwner {
  /** Committed entries in order, each once. */
  apply(entries: readonly Entry[]): void;
  leaderChanged(leader: NodeId, isLeader: boolean): void;
  /** For other members. */
  send(message: Message): void;
  /** The log could not be written: end the process. */
  logFailed(error: Error): void;
  /** Everything of this turn is done: let answers out. */
  turnEnded(): void;
  /** How long a durable write of the log took. */
  saved(tookMs: number): void;
}

/** What the log on disk must do for us. */
export interface DurableLog {
  save(entries: readonly Entry[], hardState: HardState | null, done: (error: Error | null) => void): void;
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
}

const READ_RETRY_MS = 500;

/** One ReadIndex round and those who wait for it. */
interface ReadRound {
  readonly waiters: readonly ReadWaiter[];
  readonly startedMs: number;
  /** Contexts of its tries, hex; only these answer it. */
  readonly contexts: string[];
  lastTryMs: number;
  /** Applied state at or past this index may answer; null until confirmed. */
  index: number | null;
}

export class Consensus {
  readonly #raft: RawNode;
  readonly #storage: MemoryLogStorage;
  readonly #wal: DurableLog;
  readonly #owner: ConsensusOwner;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #log: Log;
  readonly #ids: RequestIds;
  readonly #requestTimeoutMs: number;

  #proposals: Proposal[] = [];
  #isTurnScheduled = false;
  #isInTurn = false;
  #isStopped = false;

  /** Storage work raft asked for, in order; the first is being written while `#isSaving`. */
  #appends: Message[] = [];
  #isSaving = false;
  #saving: readonly Message[] = [];
  #savingSinceMs = 0;
  /** The newest hard state raft handed out. */
  #hardState: HardState;
  /** The newest one handed to the log: durable, but for the write under way. */
  #loggedHardState: HardState;
  #appliedIndex: number;
  /** Term of the last entry applied here; 0 before the first since the start. */
  #appliedTerm = 0;
  #leader: NodeId = NO_NODE;
  #isLoneVoter: boolean;

  #waitingReads: ReadWaiter[] = [];
  /** When each of them began to wait. */
  #waitingSinceMs: number[] = [];
  #round: ReadRound | null = null;
  readonly #onSaved: (error: Error | null) => void = (error) => this.#saved(error);

  constructor(options: ConsensusOptions, appliedIndex: number) {
    this.#raft = options.raft;
    this.#storage = options.storage;
    this.#wal = options.wal;
    this.#owner = options.owner;
    this.#clock = options.clock;
    this.#timers = options.timers;
    this.#log = options.log;
    this.#ids = options.ids;
    this.#requestTimeoutMs = options.requestTimeoutMs;
    const { hardState, confState } = options.storage.initialState();
    this.#hardState = hardState;
    this.#loggedHardState = hardState;
    this.#isLoneVoter = isLoneVoter(options.raft.id, confState);
    this.#appliedIndex = appliedIndex;
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
    const { term, vote, commit } = this.#loggedHardState;
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
      this.#waitingReads.push(waiter);
      this.#waitingSinceMs.push(this.#clock.monotonicMs());
      this.#schedule();
    }
  }

  /** A message from another member. */
  step(message: Message): void {
    this.#raft.step(message);
    this.#schedule();
  }

  /** Applies what the log already says is committed. Once, before the first tick. */
  begin(): void {
    this.#turn();
  }

  /** One heartbeat interval has passed. */
  tick(): void {
    this.#raft.tick();
    this.#retryReads();
    this.#turn();
  }

  /** Starts an election now: a single voter need not wait to find out that it is alone. */
  campaign(): void {
    this.#raft.campaign();
    this.#turn();
  }

  /** Fails what waits. Nothing is proposed or applied afterwards. */
  stop(): void {
    this.#isStopped = true;
    this.#proposals = [];
    const waiters = [...(this.#round?.waiters ?? []), ...this.#waitingReads];
    this.#round = null;
    this.#waitingReads = [];
    this.#waitingSinceMs = [];
    for (const waiter of waiters) waiter.readFailed("Stopped");
  }

  /** True while a durable write is under way. */
  get isSaving(): boolean {
    return this.#isSaving;
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
      this.#proposeAll();
      this.#beginRound();
      this.#drain();
    } while (this.#hasNews());
    this.#isInTurn = false;
    this.#owner.turnEnded();
  }

  /** Applying may have answered someone who at once asked for more. */
  #hasNews(): boolean {
    return (
      !this.#isStopped &&
      ((this.#proposals.length > 0 && this.#leader !== NO_NODE) ||
        (this.#waitingReads.length > 0 && this.#round === null && this.#leader !== NO_NODE) ||
        this.#raft.hasReady())
    );
  }

  #proposeAll(): void {
    if (this.#proposals.length === 0 || this.#leader === NO_NODE) return;
    const proposals = this.#proposals;
    this.#proposals = [];
    const datas: Uint8Array[] = [];
    for (let i = 0; i < proposals.length; i++) {
      if (!proposals[i]!.isAbandoned) datas.push(proposals[i]!.data);
    }
    if (datas.length === 0) return;
    try {
      this.#raft.proposeBatch(datas);
    } catch (error) {
      // Refused (a leadership transfer, or no leader after all): those who wait learn it by their timeout, as with etcd.
      if (!(error instanceof ProposalDropped)) throw error;
      this.#log.warn("raft dropped proposals", { count: datas.length });
    }
  }

  #drain(): void {
    while (!this.#isStopped && this.#raft.hasReady()) {
      const ready = this.#raft.ready();
      if (ready.softState !== null) this.#leadership(ready.softState.lead, ready.softState.role === Role.Leader);
      if (ready.hardState !== null) this.#hardState = ready.hardState;
      for (const state of ready.readStates) this.#confirmRead(state.index, state.requestContext);
      let applying: Message | null = null;
      for (const message of ready.messages) {
        if (message.to === LOCAL_APPEND_THREAD) this.#appends.push(message);
        else if (isLocalThread(message.to)) applying = message;
        else this.#owner.send(message);
      }
      // The disk starts first and works while the entries that are already committed are applied.
      this.#pumpAppends();
      if (applying !== null) this.#apply(applying);
    }
    // What gathered during a write must go on even if its end is no news to raft.
    this.#pumpAppends();
    this.#releaseReads();
  }

  #apply(message: Message): void {
    const entries = message.entries;
    this.#owner.apply(entries);
    const last = entries[entries.length - 1]!;
    this.#appliedIndex = last.index;
    this.#appliedTerm = last.term;
    for (const response of message.responses) this.#raft.step(response);
  }

  /** Hands the log everything raft asked for since the last write, as one write. */
  #pumpAppends(): void {
    while (!this.#isSaving && this.#appends.length > 0) {
      const messages = this.#appends;
      this.#appends = [];
      const mustSync = messages.some((each) => each.entries.length > 0) || this.#changesTermOrVote();
      if (!mustSync) {
        // Only the commit index moved. It need not be durable; the next write carries it.
        this.#stored(messages);
        continue;
      }
      this.#isSaving = true;
      this.#saving = messages;
      this.#savingSinceMs = this.#clock.monotonicMs();
      this.#loggedHardState = this.#hardState;
      this.#wal.save(joinedEntries(messages), this.#hardState, this.#onSaved);
    }
  }

  /** Compared with what the log was given, not with what raft said last: a vote may have come up during a write. */
  #changesTermOrVote(): boolean {
    const { term, vote } = this.#loggedHardState;
    return this.#hardState.term !== term || this.#hardState.vote !== vote;
  }

  #saved(error: Error | null): void {
    if (error !== null) {
      this.#isStopped = true;
      this.#owner.logFailed(error);
      return;
    }
    this.#owner.saved(this.#clock.monotonicMs() - this.#savingSinceMs);
    this.#isSaving = false;
    const messages = this.#saving;
    this.#saving = [];
    for (const message of messages) this.#storage.append(message.entries);
    this.#stored(messages);
    this.#turn();
  }

  #stored(messages: readonly Message[]): void {
    this.#storage.setHardState(this.#loggedHardState);
    for (const message of messages) {
      for (const response of message.responses) {
        if (response.to === this.#raft.id) this.#raft.step(response);
        else this.#owner.send(response);
      }
    }
  }

  #leadership(leader: NodeId, isLeader: boolean): void {
    if (leader !== this.#leader) {
      this.#leader = leader;
      this.#failRound("LeaderChanged");
    }
    this.#owner.leaderChanged(leader, isLeader);
  }

  #beginRound(): void {
    if (this.#round !== null || this.#waitingReads.length === 0 || this.#leader === NO_NODE) return;
    const nowMs = this.#clock.monotonicMs();
    this.#round = { waiters: this.#waitingReads, startedMs: nowMs, contexts: [], lastTryMs: nowMs, index: null };
    this.#waitingReads = [];
    this.#waitingSinceMs = [];
    this.#askReadIndex(this.#round);
  }

  #askReadIndex(round: ReadRound): void {
    const context = Buffer.allocUnsafe(8);
    context.writeUInt16BE(this.#ids.high, 0);
    context.writeUIntBE(this.#ids.next(), 2, 6);
    round.contexts.push(context.toString("hex"));
    round.lastTryMs = this.#clock.monotonicMs();
    this.#raft.readIndex(context);
  }

  #confirmRead(index: number, context: Uint8Array): void {
    const round = this.#round;
    if (round === null || round.index !== null) return;
    if (round.contexts.includes(Buffer.from(context).toString("hex"))) round.index = index;
  }

  #releaseReads(): void {
    const round = this.#round;
    if (round === null || round.index === null || this.#appliedIndex < round.index) return;
    this.#round = null;
    for (const waiter of round.waiters) waiter.readReady();
  }

  #retryReads(): void {
    const nowMs = this.#clock.monotonicMs();
    const round = this.#round;
    if (round === null) {
      this.#expireReads(nowMs - this.#requestTimeoutMs);
      return;
    }
    if (nowMs - round.startedMs >= this.#requestTimeoutMs) this.#failRound("Timeout");
    else if (round.index === null && nowMs - round.lastTryMs >= READ_RETRY_MS) {
      this.#log.warn("waiting for ReadIndex response took too long, retrying", { "sent-request-ids": round.contexts });
      this.#askReadIndex(round);
    }
  }

  /** Fails those that have waited for a leader since `beforeMs` or longer; the oldest come first. */
  #expireReads(beforeMs: number): void {
    let count = 0;
    while (count < this.#waitingReads.length && this.#waitingSinceMs[count]! <= beforeMs) count++;
    if (count === 0) return;
    this.#waitingSinceMs.splice(0, count);
    for (const waiter of this.#waitingReads.splice(0, count)) waiter.readFailed("Timeout");
  }

  #failRound(reason: "LeaderChanged" | "Timeout"): void {
    const round = this.#round;
    if (round === null) return;
    this.#round = null;
    for (const waiter of round.waiters) waiter.readFailed(reason);
  }
}

/** The entries of several writes as one. A later write may replace the tail of an earlier one, whose entries then go. */
function joinedEntries(messages: readonly Message[]): readonly Entry[] {
  if (messages.length === 1) return messages[0]!.entries;
  const joined: Entry[] = [];
  for (const { entries } of messages) {
    if (entries.length === 0) continue;
    while (joined.length > 0 && joined[joined.length - 1]!.index >= entries[0]!.index) joined.pop();
    for (let i = 0; i < entries.length; i++) joined.push(entries[i]!);
  }
  return joined;
}

function isLoneVoter(id: NodeId, state: ConfState): boolean {
  return state.voters.length === 1 && state.voters[0] === id && state.votersOutgoing.length === 0;
}
