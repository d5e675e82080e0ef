/**
 * Consensus itself: one node's term, role and log, changed only by `tick` and `step`. It behaves as etcd-io/raft v3.7
 * does, message for message and log line for log line. RawNode is its only caller; it collects the effects.
 *
 *                    timeout                   quorum says it could win
 *     FOLLOWER ───────────────▶ PRE-CANDIDATE ───────────────▶ CANDIDATE ───────▶ LEADER
 *        ▲    (without pre-vote straight to CANDIDATE)             │    quorum of    │
 *        └─────────────────────────────────────────────────────────┴──── votes ──────┘
 *                 a message of a higher term, a leader of this term, no active quorum, lost
 *
 * Effects are lists: `messages` may leave at once, `messagesAfterAppend` only when everything unstable at that moment is
 * durable. Votes and acknowledgements are of the second kind, including those a node gives itself, so neither can be
 * forgotten in a crash once it has counted (known failures RA-02, RA-03).
 *
 * Invariants: term never decreases; the vote of a term is given once; at most one leader per term; a leader never
 * replaces entries of its own log; only entries of its own term are committed by counting.
 */
import { assert, type Log, type Random } from "@quorate/world";
import { Changer, type Configuration, restoreConfiguration } from "./changer.ts";
import { checkMessage } from "./check-message.ts";
import { confChangeOf, isEmptySnapshot } from "./codec.ts";
import { asV2, type ConfChange, type ConfChangeV2 } from "./conf-change.ts";
import { checkRaftConfig, type RaftConfig } from "./config.ts";
import { describeConfChange, hex } from "./describe-parts.ts";
import { type DropReason, MalformedMessage } from "./errors.ts";
import { entriesSizeBytes, payloadSizeBytes, RaftLog } from "./log.ts";
import { Message, MessageType, messageTypeName, NO_BYTES, type Snapshot } from "./message.ts";
import { type Progress, ProgressState } from "./progress.ts";
import type { VoteResult } from "./quorum.ts";
import { type ReadOnlyOption, ReadOnlyQueue } from "./read-only.ts";
import { Tracker } from "./tracker.ts";
import {
  type ConfState,
  Entry,
  EntryType,
  type HardState,
  type Index,
  NO_NODE,
  type NodeId,
  type Term,
} from "./types.ts";

/** raft.StateType, with its numbers. */
export const Role = { Follower: 0, Candidate: 1, Leader: 2, PreCandidate: 3 } as const;
export type Role = (typeof Role)[keyof typeof Role];

/** An answered read request: once everything up to `index` is applied, the read may be served. */
export interface ReadState {
  readonly index: Index;
  readonly requestContext: Uint8Array;
}

type Campaign = "pre-election" | "election" | "transfer";

/** Votes asked for with this context are given in spite of a live leader, for it asked for the election itself. */
const CAMPAIGN_TRANSFER = "CampaignTransfer";
const CAMPAIGN_TRANSFER_BYTES: Uint8Array = new TextEncoder().encode(CAMPAIGN_TRANSFER);

export class Raft {
  readonly id: NodeId;
  term: Term = 0 as Term;
  vote: NodeId = NO_NODE;
  lead: NodeId = NO_NODE;
  role: Role = Role.Follower;
  leadTransferee: NodeId = NO_NODE;
  readonly raftLog: RaftLog;
  readonly tracker: Tracker;
  /** May be sent at once. */
  messages: Message[] = [];
  /** May be sent, or stepped if addressed to this node, once everything now unstable is durable. */
  messagesAfterAppend: Message[] = [];
  readStates: ReadState[] = [];

  readonly #electionTicks: number;
  readonly #heartbeatTicks: number;
  readonly #maxSizePerMessageBytes: number;
  readonly #maxApplyingBytes: number;
  readonly #maxUncommittedBytes: number;
  readonly #checkQuorum: boolean;
  readonly #preVote: boolean;
  readonly #readOnlyOption: ReadOnlyOption;
  readonly #disableProposalForwarding: boolean;
  readonly #disableConfChangeValidation: boolean;
  readonly #stepDownOnRemoval: boolean;
  readonly #random: Random;
  readonly #log: Log;

  #electionElapsed = 0;
  #heartbeatElapsed = 0;
  #randomizedElectionTicks = 0;
  /** No configuration change is accepted before everything up to here is applied. */
  #pendingConfIndex: Index = 0 as Index;
  /** Data bytes in the uncommitted tail, as a leader counts them to bound it. */
  #uncommittedBytes = 0;
  readonly #reads: ReadOnlyQueue = new ReadOnlyQueue();
  /** Reads that came before the first entry of the term was committed. */
  #earlyReads: Message[] = [];

  constructor(config: RaftConfig) {
    checkRaftConfig(config);
    this.id = config.id;
    this.#electionTicks = config.electionTicks;
    this.#heartbeatTicks = config.heartbeatTicks;
    this.#maxSizePerMessageBytes = config.maxSizePerMessageBytes;
    this.#maxApplyingBytes =
      config.maxCommittedSizePerReadyBytes === 0 ? config.maxSizePerMessageBytes : config.maxCommittedSizePerReadyBytes;
    this.#maxUncommittedBytes =
      config.maxUncommittedSizeBytes === 0 ? Number.POSITIVE_INFINITY : config.maxUncommittedSizeBytes;
    this.#checkQuorum = config.checkQuorum;
    this.#preVote = config.preVote;
    this.#readOnlyOption = config.readOnly;
    this.#disableProposalForwarding = config.disableProposalForwarding;
    this.#disableConfChangeValidation = config.disableConfChangeValidation;
    this.#stepDownOnRemoval = config.stepDownOnRemoval;
    this.#random = config.random;
    this.#log = config.log;
    this.raftLog = new RaftLog(config.storage, config.log, this.#maxApplyingBytes);
    this.tracker = new Tracker(config.maxInflightMessages, config.maxInflightBytes);

    const { hardState, confState } = config.storage.initialState();
    this.#switchTo(this.#restored(confState));
    this.#load(hardState);
    if (config.applied > 0) this.raftLog.appliedTo(config.applied, 0);
    this.#becomeFollower(this.term, NO_NODE);

    const peers = this.tracker.voterIds().map(hex).join(",");
    const last = this.raftLog.lastEntryId();
    this.#log.info(
      `newRaft ${hex(this.id)} [peers: [${peers}], term: ${this.term}, commit: ${this.raftLog.committed}, ` +
        `applied: ${this.raftLog.applied}, lastindex: ${last.index}, lastterm: ${last.term}]`,
    );
  }

  /** Data bytes proposed here and not yet applied: what maxUncommittedSizeBytes bounds. */
  get uncommittedSizeBytes(): number {
    return this.#uncommittedBytes;
  }

  hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.raftLog.committed };
  }

  tick(): void {
    if (this.role === Role.Leader) this.#tickLeader();
    else this.#tickOther();
  }

  #tickOther(): void {
    this.#electionElapsed++;
    if (this.#isPromotable() && this.#electionElapsed >= this.#randomizedElectionTicks) {
      this.#electionElapsed = 0;
      this.#hup(this.#preVote ? "pre-election" : "election");
    }
  }

  #tickLeader(): void {
    this.#heartbeatElapsed++;
    this.#electionElapsed++;
    if (this.#electionElapsed >= this.#electionTicks) {
      this.#electionElapsed = 0;
      if (this.#checkQuorum) this.#checkQuorumActive();
      // A transfer that did not happen within an election timeout is given up, and proposals are taken again.
      if (this.role === Role.Leader) this.leadTransferee = NO_NODE;
    }
    if (this.role !== Role.Leader) return;
    if (this.#heartbeatElapsed >= this.#heartbeatTicks) {
      this.#heartbeatElapsed = 0;
      this.#broadcastHeartbeat();
    }
  }

  /** For scripted schedules: replaces the timeout that was drawn at random, until the next change of role draws again. */
  setRandomizedElectionTicks(ticks: number): void {
    this.#randomizedElectionTicks = ticks;
  }

  #becomeFollower(term: Term, lead: NodeId): void {
    this.#reset(term);
    this.lead = lead;
    this.role = Role.Follower;
    this.#log.info(`${hex(this.id)} became follower at term ${this.term}`);
  }

  /** Changes nothing that matters if the pre-election leads nowhere: term, vote and timers stay. */
  #becomePreCandidate(): void {
    assert(this.role !== Role.Leader, "a leader does not become pre-candidate");
    this.tracker.clearVotes();
    this.lead = NO_NODE;
    this.role = Role.PreCandidate;
    this.#log.info(`${hex(this.id)} became pre-candidate at term ${this.term}`);
  }

  #becomeCandidate(): void {
    assert(this.role !== Role.Leader, "a leader does not become candidate");
    this.#reset((this.term + 1) as Term);
    this.vote = this.id;
    this.role = Role.Candidate;
    this.#log.info(`${hex(this.id)} became candidate at term ${this.term}`);
  }

  #becomeLeader(): void {
    assert(this.role === Role.Candidate, "only a candidate becomes leader");
    this.#reset(this.term);
    this.lead = this.id;
    this.role = Role.Leader;
    const own = this.tracker.progress(this.id);
    assert(own !== undefined, "a leader is in its own configuration when elected");
    own.becomeReplicate();
    // The quorum check relies on this staying true.
    own.recentActive = true;
    // There may be a change in the tail of the log; rather than look for it, wait until all of it is applied.
    this.#pendingConfIndex = this.raftLog.lastIndex();
    // Entries of earlier terms are committed only by committing one of this term, so there must be one.
    const dropped = this.#appendOwn([new Entry(EntryType.Normal, 0 as Term, 0 as Index, NO_BYTES)]);
    assert(dropped === null, "an empty entry is never too much");
    this.#log.info(`${hex(this.id)} became leader at term ${this.term}`);
  }

  /** What every change of role (but to pre-candidate) starts with. */
  #reset(term: Term): void {
    assert(term >= this.term, "the term never decreases");
    if (this.term !== term) {
      this.term = term;
      this.vote = NO_NODE;
    }
    this.lead = NO_NODE;
    this.#electionElapsed = 0;
    this.#heartbeatElapsed = 0;
    this.#randomizedElectionTicks = this.#electionTicks + this.#random.below(this.#electionTicks);
    this.leadTransferee = NO_NODE;
    this.tracker.clearVotes();
    const last = this.raftLog.lastIndex();
    for (const member of this.tracker.members) {
      member.reset(member.id === this.id ? last : (0 as Index), (last + 1) as Index);
    }
    this.#pendingConfIndex = 0 as Index;
    this.#uncommittedBytes = 0;
    // Reads belong to the leader they were asked of (known failure RA-06).
    this.#reads.reset();
    this.#earlyReads = [];
  }

  #load(state: HardState): void {
    if (state.term === 0 && state.vote === NO_NODE && state.commit === 0) return;
    assert(
      state.commit >= this.raftLog.committed && state.commit <= this.raftLog.lastIndex(),
      "the stored commit index lies within the stored log",
    );
    this.raftLog.commitTo(state.commit);
    this.term = state.term;
    this.vote = state.vote;
  }

  /** Whether this node may stand for election: a voter with nothing but its log to go by. */
  #isPromotable(): boolean {
    const own = this.tracker.progress(this.id);
    return own !== undefined && !own.isLearner && !this.raftLog.hasUnstableSnapshot();
  }

  /** Starts an election unless this node cannot or need not. */
  campaign(): void {
    this.#hup(this.#preVote ? "pre-election" : "election");
  }

  #hup(kind: Campaign): void {
    if (this.role === Role.Leader) {
      this.#debug("ignoring MsgHup because already leader");
      return;
    }
    if (!this.#isPromotable()) {
      this.#log.warn(`${hex(this.id)} is unpromotable and can not campaign`);
      return;
    }
    // It could be the change that removes this node, or one it would need to win.
    if (this.#hasUnappliedConfChange()) {
      this.#log.warn(
        `${hex(this.id)} cannot campaign at term ${this.term} since there are still pending configuration changes to apply`,
      );
      return;
    }
    this.#log.info(`${hex(this.id)} is starting a new election at term ${this.term}`);
    this.#campaign(kind);
  }

  #hasUnappliedConfChange(): boolean {
    const end = (this.raftLog.committed + 1) as Index;
    let at = (this.raftLog.applied + 1) as Index;
    // In pages, so that a long unapplied tail is not read at once.
    while (at < end) {
      const page = this.raftLog.slice(at, end, this.#maxApplyingBytes);
      assert(page !== undefined && page.length > 0, "committed entries that are not applied are not compacted");
      for (let i = 0; i < page.length; i++) {
        if (page[i]!.type !== EntryType.Normal) return true;
      }
      at = (at + page.length) as Index;
    }
    return false;
  }

  #campaign(kind: Campaign): void {
    let type: MessageType;
    let term: Term;
    if (kind === "pre-election") {
      this.#becomePreCandidate();
      type = MessageType.PreVote;
      // The term it would have; it is not raised before the election itself.
      term = (this.term + 1) as Term;
    } else {
      this.#becomeCandidate();
      type = MessageType.Vote;
      term = this.term;
    }
    const last = this.raftLog.lastEntryId();
    for (const id of this.tracker.voterIds()) {
      if (id === this.id) {
        // One's own vote counts like another's: when it is durable.
        const own = new Message(responseTo(type), id, NO_NODE);
        own.term = term;
        this.#send(own);
        continue;
      }
      this.#log.info(
        `${hex(this.id)} [logterm: ${last.term}, index: ${last.index}] sent ${messageTypeName(type)} request to ` +
          `${hex(id)} at term ${this.term}`,
      );
      const request = new Message(type, id, NO_NODE);
      request.term = term;
      request.index = last.index;
      request.logTerm = last.term;
      if (kind === "transfer") request.context = CAMPAIGN_TRANSFER_BYTES;
      this.#send(request);
    }
  }

  /** Answers MsgVote and MsgPreVote, in any role. Learners vote too: they may be voters without knowing it yet. */
  #handleVoteRequest(m: Message): void {
    const canVote =
      // Repeating a vote,
      this.vote === m.from ||
      // or giving the first one of a term that has no leader yet,
      (this.vote === NO_NODE && this.lead === NO_NODE) ||
      // or saying that one would be given in a term to come.
      (m.type === MessageType.PreVote && m.term > this.term);
    const granted = canVote && this.raftLog.isUpToDate({ term: m.logTerm, index: m.index });
    this.#logVote(m, granted ? "cast" : "rejected", "");
    const answer = new Message(responseTo(m.type), m.from, NO_NODE);
    if (granted) {
      // The request's term, not ours: for a pre-vote it is the one the candidate asks about.
      answer.term = m.term;
      if (m.type === MessageType.Vote) {
        this.#electionElapsed = 0;
        this.vote = m.from;
      }
    } else {
      answer.term = this.term;
      answer.reject = true;
    }
    this.#send(answer);
  }

  #logVote(m: Message, verdict: "cast" | "rejected" | "ignored", because: string): void {
    const last = this.raftLog.lastEntryId();
    this.#log.info(
      `${hex(this.id)} [logterm: ${last.term}, index: ${last.index}, vote: ${hex(this.vote)}] ${verdict} ` +
        `${messageTypeName(m.type)} ${verdict === "cast" ? "for" : "from"} ${hex(m.from)} ` +
        `[logterm: ${m.logTerm}, index: ${m.index}] at term ${this.term}${because}`,
    );
  }

  #handleVoteResponse(m: Message): void {
    const name = messageTypeName(m.type);
    this.#log.info(
      `${hex(this.id)} received ${name}${m.reject ? " rejection" : ""} from ${hex(m.from)} at term ${this.term}`,
    );
    this.tracker.recordVote(m.from, !m.reject);
    const { granted, rejected, result } = this.tracker.tally();
    this.#log.info(`${hex(this.id)} has received ${granted} ${name} votes and ${rejected} vote rejections`);
    this.#concludeElection(result);
  }

  #concludeElection(result: VoteResult): void {
    switch (result) {
      case "won":
        if (this.role === Role.PreCandidate) {
          this.#campaign("election");
        } else {
          this.#becomeLeader();
          this.#broadcastAppend();
        }
        return;
      case "lost":
        // A pre-vote's answers carry a term to come, so our own is the one to stay in.
        this.#becomeFollower(this.term, NO_NODE);
        return;
      case "pending":
        return;
    }
  }

  #checkQuorumActive(): void {
    if (!this.tracker.isQuorumActive()) {
      this.#log.warn(`${hex(this.id)} stepped down to follower since quorum is not active`);
      this.#becomeFollower(this.term, NO_NODE);
    }
    for (const member of this.tracker.members) {
      if (member.id !== this.id) member.recentActive = false;
    }
  }

  /**
   * Takes one message, from a peer or from this process. Returns why a proposal was dropped, null otherwise. Throws
   * MalformedMessage, having changed nothing, for what no correct peer sends.
   */
  step(m: Message): DropReason | null {
    checkMessage(m);
    if (m.term > this.term) {
      if (!this.#enterHigherTerm(m)) return null;
    } else if (m.term < this.term && m.term !== 0) {
      this.#answerLowerTerm(m);
      return null;
    }

    switch (m.type) {
      case MessageType.Hup:
        this.campaign();
        return null;
      case MessageType.StorageAppendResp:
        if (m.index !== 0) this.raftLog.stableTo({ term: m.logTerm, index: m.index });
        if (m.snapshot !== null) this.#appliedSnapshot(m.snapshot);
        return null;
      case MessageType.StorageApplyResp:
        this.#applied(m.entries);
        return null;
      case MessageType.Vote:
      case MessageType.PreVote:
        this.#handleVoteRequest(m);
        return null;
      default:
        switch (this.role) {
          case Role.Follower:
            return this.#stepFollower(m);
          case Role.Leader:
            return this.#stepLeader(m);
          case Role.Candidate:
          case Role.PreCandidate:
            return this.#stepCandidate(m);
        }
    }
  }

  /** A message of a later term: usually that term is ours from now on. False if the message goes no further. */
  #enterHigherTerm(m: Message): boolean {
    if (m.type === MessageType.Vote || m.type === MessageType.PreVote) {
      const isTransfer = isCampaignTransfer(m.context);
      const isLeaderAlive = this.#checkQuorum && this.lead !== NO_NODE && this.#electionElapsed < this.#electionTicks;
      if (!isTransfer && isLeaderAlive) {
        // A node that cannot hear the leader must not depose it (known failure RA-09).
        const remaining = this.#electionTicks - this.#electionElapsed;
        this.#logVote(m, "ignored", `: lease is not expired (remaining ticks: ${remaining})`);
        return false;
      }
    }
    // A pre-vote, and a yes to one, speak of a term that need not come to be. A no carries a term that is.
    const isHypothetical = m.type === MessageType.PreVote || (m.type === MessageType.PreVoteResp && !m.reject);
    if (isHypothetical) return true;
    this.#log.info(
      `${hex(this.id)} [term: ${this.term}] received a ${messageTypeName(m.type)} message with higher term from ` +
        `${hex(m.from)} [term: ${m.term}]`,
    );
    const isFromLeader = m.type === MessageType.App || m.type === MessageType.Heartbeat || m.type === MessageType.Snap;
    this.#becomeFollower(m.term, isFromLeader ? m.from : NO_NODE);
    return true;
  }

  #answerLowerTerm(m: Message): void {
    if ((this.#checkQuorum || this.#preVote) && (m.type === MessageType.Heartbeat || m.type === MessageType.App)) {
      // A leader of an earlier term must learn of ours or this node stays cut off: in both modes a higher term alone no
      // longer gets its votes through. The index is left out, since nothing was appended.
      this.#send(new Message(MessageType.AppResp, m.from, NO_NODE));
      return;
    }
    if (m.type === MessageType.PreVote) {
      // Silence could deadlock a group where some nodes do not use pre-vote (known failure RA-10).
      this.#logVote(m, "rejected", "");
      const answer = new Message(MessageType.PreVoteResp, m.from, NO_NODE);
      answer.term = this.term;
      answer.reject = true;
      this.#send(answer);
      return;
    }
    if (m.type === MessageType.StorageAppendResp) {
      // Entries written for an earlier term may have been replaced since by others of the same index; a snapshot cannot.
      if (m.index !== 0) {
        this.#log.info(
          `${hex(this.id)} [term: ${this.term}] ignored entry appends from a ${messageTypeName(m.type)} message with ` +
            `lower term [term: ${m.term}]`,
        );
      }
      if (m.snapshot !== null) this.#appliedSnapshot(m.snapshot);
      return;
    }
    this.#log.info(
      `${hex(this.id)} [term: ${this.term}] ignored a ${messageTypeName(m.type)} message with lower term from ` +
        `${hex(m.from)} [term: ${m.term}]`,
    );
  }

  #stepFollower(m: Message): DropReason | null {
    switch (m.type) {
      case MessageType.Prop:
        if (this.lead === NO_NODE) {
          this.#log.info(`${hex(this.id)} no leader at term ${this.term}; dropping proposal`);
          return "no leader is known";
        }
        if (this.#disableProposalForwarding) {
          this.#log.info(
            `${hex(this.id)} not forwarding to leader ${hex(this.lead)} at term ${this.term}; dropping proposal`,
          );
          return "forwarding is disabled";
        }
        this.#forward(m);
        return null;
      case MessageType.App:
        this.#electionElapsed = 0;
        this.lead = m.from;
        this.#handleAppend(m);
        return null;
      case MessageType.Heartbeat:
        this.#electionElapsed = 0;
        this.lead = m.from;
        this.#handleHeartbeat(m);
        return null;
      case MessageType.Snap:
        this.#electionElapsed = 0;
        this.lead = m.from;
        this.#handleSnapshot(m);
        return null;
      case MessageType.TransferLeader:
        if (this.lead === NO_NODE) {
          this.#log.info(`${hex(this.id)} no leader at term ${this.term}; dropping leader transfer msg`);
          return null;
        }
        this.#forward(m);
        return null;
      case MessageType.ForgetLeader:
        if (this.#readOnlyOption === "lease") {
          // The leader's lease rests on followers refusing votes while they have it.
          this.#log.error("ignoring MsgForgetLeader due to ReadOnlyLeaseBased");
          return null;
        }
        if (this.lead !== NO_NODE) {
          this.#log.info(`${hex(this.id)} forgetting leader ${hex(this.lead)} at term ${this.term}`);
          this.lead = NO_NODE;
        }
        return null;
      case MessageType.TimeoutNow:
        this.#log.info(
          `${hex(this.id)} [term ${this.term}] received MsgTimeoutNow from ${hex(m.from)} and starts an election to get leadership.`,
        );
        // Never with pre-vote: the leader itself asks for this.
        this.#hup("transfer");
        return null;
      case MessageType.ReadIndex:
        if (this.lead === NO_NODE) {
          this.#log.info(`${hex(this.id)} no leader at term ${this.term}; dropping index reading msg`);
          return null;
        }
        this.#forward(m);
        return null;
      case MessageType.ReadIndexResp: {
        const request = m.entries[0];
        if (request === undefined || m.entries.length !== 1) {
          this.#log.error(
            `${hex(this.id)} invalid format of MsgReadIndexResp from ${hex(m.from)}, entries count: ${m.entries.length}`,
          );
          return null;
        }
        this.readStates.push({ index: m.index, requestContext: request.data });
        return null;
      }
      default:
        return null;
    }
  }

  /** A copy to the leader, for the original belongs to whoever sent it. */
  #forward(m: Message): void {
    const copy = new Message(m.type, this.lead, m.from);
    copy.entries = m.entries;
    copy.context = m.context;
    this.#send(copy);
  }

  #handleAppend(m: Message): void {
    const answer = new Message(MessageType.AppResp, m.from, NO_NODE);
    if (m.index < this.raftLog.committed) {
      // Everything up to our commit index agrees with the leader's log already.
      answer.index = this.raftLog.committed;
      this.#send(answer);
      return;
    }
    const last = this.raftLog.maybeAppend({ term: m.logTerm, index: m.index }, m.entries, m.commit);
    if (last !== undefined) {
      answer.index = last;
      this.#send(answer);
      return;
    }
    if (this.#log.isEnabled("debug")) {
      this.#log.debug(
        `${hex(this.id)} [logterm: ${this.raftLog.term(m.index) ?? 0}, index: ${m.index}] rejected MsgApp ` +
          `[logterm: ${m.logTerm}, index: ${m.index}] from ${hex(m.from)}`,
      );
    }
    // The hint spares the leader probing entries that cannot agree: ours above it have later terms than its own there.
    const highest = Math.min(m.index, this.raftLog.lastIndex()) as Index;
    const hint = this.raftLog.findConflictByTerm(highest, m.logTerm);
    answer.index = m.index;
    answer.reject = true;
    answer.rejectHint = hint.index;
    answer.logTerm = hint.term;
    this.#send(answer);
  }

  #handleHeartbeat(m: Message): void {
    this.raftLog.commitTo(m.commit);
    const answer = new Message(MessageType.HeartbeatResp, m.from, NO_NODE);
    // Byte for byte, whatever it means: leaders of other versions put other things there.
    answer.context = m.context;
    this.#send(answer);
  }

  #handleSnapshot(m: Message): void {
    const answer = new Message(MessageType.AppResp, m.from, NO_NODE);
    const snapshot = m.snapshot;
    const index = snapshot === null ? 0 : snapshot.metadata.index;
    const term = snapshot === null ? 0 : snapshot.metadata.term;
    const isRestored = snapshot !== null && this.#restore(snapshot);
    this.#log.info(
      `${hex(this.id)} [commit: ${this.raftLog.committed}] ${isRestored ? "restored" : "ignored"} snapshot ` +
        `[index: ${index}, term: ${term}]`,
    );
    answer.index = isRestored ? this.raftLog.lastIndex() : this.raftLog.committed;
    this.#send(answer);
  }

  /** Replaces log and configuration by a snapshot's. False if that would not move this node forward. */
  #restore(snapshot: Snapshot): boolean {
    const { index, term, confState } = snapshot.metadata;
    if (index <= this.raftLog.committed) return false;
    if (this.role !== Role.Follower) {
      // Cannot happen, for a leader's message made it a follower; but a leader must never replace its own log.
      this.#log.warn(`${hex(this.id)} attempted to restore snapshot as leader; should never happen`);
      this.#becomeFollower((this.term + 1) as Term, NO_NODE);
      return false;
    }
    // Whoever is in learnersNext is in votersOutgoing too.
    const isMember =
      confState.voters.includes(this.id) ||
      confState.learners.includes(this.id) ||
      confState.votersOutgoing.includes(this.id);
    if (!isMember) {
      this.#log.warn(
        `${hex(this.id)} attempted to restore snapshot but it is not in the ConfState ` +
          `voters:[${confState.voters.map(hex).join(" ")}]; should never happen`,
      );
      return false;
    }
    if (this.raftLog.matches({ term, index })) {
      const last = this.raftLog.lastEntryId();
      this.#log.info(
        `${hex(this.id)} [commit: ${this.raftLog.committed}, lastindex: ${last.index}, lastterm: ${last.term}] ` +
          `fast-forwarded commit to snapshot [index: ${index}, term: ${term}]`,
      );
      this.raftLog.commitTo(index);
      return false;
    }
    this.raftLog.restore(snapshot);
    this.#switchTo(this.#restored(confState));
    const last = this.raftLog.lastEntryId();
    this.#log.info(
      `${hex(this.id)} [commit: ${this.raftLog.committed}, lastindex: ${last.index}, lastterm: ${last.term}] ` +
        `restored snapshot [index: ${index}, term: ${term}]`,
    );
    return true;
  }

  #stepCandidate(m: Message): DropReason | null {
    switch (m.type) {
      case MessageType.Prop:
        this.#log.info(`${hex(this.id)} no leader at term ${this.term}; dropping proposal`);
        return "no leader is known";
      case MessageType.App:
        this.#becomeFollower(m.term, m.from);
        this.#handleAppend(m);
        return null;
      case MessageType.Heartbeat:
        this.#becomeFollower(m.term, m.from);
        this.#handleHeartbeat(m);
        return null;
      case MessageType.Snap:
        this.#becomeFollower(m.term, m.from);
        this.#handleSnapshot(m);
        return null;
      case MessageType.VoteResp:
        if (this.role === Role.Candidate) this.#handleVoteResponse(m);
        return null;
      case MessageType.PreVoteResp:
        if (this.role === Role.PreCandidate) this.#handleVoteResponse(m);
        return null;
      case MessageType.TimeoutNow:
        if (this.#log.isEnabled("debug")) {
          const role = this.role === Role.Candidate ? "StateCandidate" : "StatePreCandidate";
          this.#log.debug(
            `${hex(this.id)} [term ${this.term} state ${role}] ignored MsgTimeoutNow from ${hex(m.from)}`,
          );
        }
        return null;
      default:
        return null;
    }
  }

  #stepLeader(m: Message): DropReason | null {
    switch (m.type) {
      case MessageType.Beat:
        this.#broadcastHeartbeat();
        return null;
      case MessageType.CheckQuorum:
        this.#checkQuorumActive();
        return null;
      case MessageType.Prop:
        return this.#handleProposal(m.entries);
      case MessageType.ReadIndex:
        this.#handleReadIndex(m);
        return null;
      case MessageType.ForgetLeader:
        return null;
    }

    const from = this.tracker.progress(m.from);
    if (from === undefined) {
      if (this.#log.isEnabled("debug")) this.#log.debug(`${hex(this.id)} no progress available for ${hex(m.from)}`);
      return null;
    }
    switch (m.type) {
      case MessageType.AppResp:
        this.#handleAppendResponse(m, from);
        return null;
      case MessageType.HeartbeatResp:
        this.#handleHeartbeatResponse(m, from);
        return null;
      case MessageType.SnapStatus:
        this.#handleSnapshotStatus(m, from);
        return null;
      case MessageType.Unreachable:
        // Messages under way are probably lost, so stop streaming.
        if (from.state === ProgressState.Replicate) from.becomeProbe();
        if (this.#log.isEnabled("debug")) {
          this.#log.debug(
            `${hex(this.id)} failed to send message to ${hex(m.from)} because it is unreachable [${from}]`,
          );
        }
        return null;
      case MessageType.TransferLeader:
        this.#handleTransfer(from);
        return null;
      default:
        return null;
    }
  }

  /** Appends proposed entries and sends them on. The entries are this node's from now on. */
  #handleProposal(proposed: readonly Entry[]): DropReason | null {
    assert(proposed.length > 0, "a proposal has entries");
    // Removed while leading; it leads until others know, but takes nothing new.
    if (this.tracker.progress(this.id) === undefined) return "this leader was removed";
    if (this.leadTransferee !== NO_NODE) {
      if (this.#log.isEnabled("debug")) {
        this.#log.debug(
          `${hex(this.id)} [term ${this.term}] transfer leadership to ${hex(this.leadTransferee)} is in progress; dropping proposal`,
        );
      }
      return "leadership is being transferred";
    }
    let entries = proposed;
    for (let i = 0; i < proposed.length; i++) {
      if (proposed[i]!.type === EntryType.Normal) continue;
      if (this.#acceptConfChange(proposed[i]!, (this.raftLog.lastIndex() + 1 + i) as Index)) continue;
      // Refused: its place is taken by an entry that does nothing, so that the rest of the batch keeps its places.
      const copy = entries.slice();
      copy[i] = new Entry(EntryType.Normal, 0 as Term, 0 as Index, NO_BYTES);
      entries = copy;
    }
    const dropped = this.#appendOwn(entries);
    if (dropped !== null) return dropped;
    this.#broadcastAppend();
    return null;
  }

  /** Whether a configuration change may enter the log at `index`. */
  #acceptConfChange(entry: Entry, index: Index): boolean {
    const change = asV2(confChangeOf(entry));
    const wantsLeave = change.changes.length === 0;
    const isJoint = this.tracker.isJoint();
    let refusal = "";
    if (this.#pendingConfIndex > this.raftLog.applied) {
      refusal = `possible unapplied conf change at index ${this.#pendingConfIndex} (applied to ${this.raftLog.applied})`;
    } else if (isJoint && !wantsLeave) {
      refusal = "must transition out of joint config first";
    } else if (!isJoint && wantsLeave) {
      refusal = "not in joint state; refusing empty conf change";
    }
    if (refusal !== "" && !this.#disableConfChangeValidation) {
      this.#log.info(
        `${hex(this.id)} ignoring conf change ${describeConfChange(change)} at config ` +
          `${this.tracker.describeConfig()}: ${refusal}`,
      );
      return false;
    }
    this.#pendingConfIndex = index;
    return true;
  }

  /** Stamps entries with term and index and appends them; not yet sent. Returns why not, or null. */
  #appendOwn(entries: readonly Entry[]): DropReason | null {
    const bytes = payloadSizeBytes(entries);
    // If nothing is outstanding, one proposal of any size is let through; empty entries always are.
    if (this.#uncommittedBytes > 0 && bytes > 0 && this.#uncommittedBytes + bytes > this.#maxUncommittedBytes) {
      this.#log.warn(
        `${hex(this.id)} appending new entries to log would exceed uncommitted entry size limit; dropping proposal`,
      );
      return "too many uncommitted bytes";
    }
    this.#uncommittedBytes += bytes;

    let index = this.raftLog.lastIndex();
    let stamped = entries;
    for (let i = 0; i < entries.length; i++) {
      index = (index + 1) as Index;
      const entry = entries[i]!;
      if (entry.index === 0) {
        entry.term = this.term;
        entry.index = index;
        continue;
      }
      // Already in some log: the same message delivered twice within one process. That log's entry must not change.
      if (stamped === entries) stamped = entries.slice();
      (stamped as Entry[])[i] = new Entry(entry.type, this.term, index, entry.data);
    }
    this.raftLog.append(stamped, 0);
    // The leader acknowledges to itself, like any follower, once the entries are durable.
    const own = new Message(MessageType.AppResp, this.id, NO_NODE);
    own.index = index;
    this.#send(own);
    return null;
  }

  #handleAppendResponse(m: Message, from: Progress): void {
    if (!m.reject && m.index > this.raftLog.lastIndex()) {
      throw new MalformedMessage("a MsgAppResp acknowledges entries that were never sent");
    }
    from.recentActive = true;
    if (m.reject) {
      this.#handleAppendRejection(m, from);
      return;
    }
    // A repeated acknowledgement matters to a probe: it shows that the logs agree up to match.
    const isNews = from.maybeUpdate(m.index) || (from.match === m.index && from.state === ProgressState.Probe);
    if (!isNews) return;
    if (from.state === ProgressState.Probe) {
      from.becomeReplicate();
    } else if (from.state === ProgressState.Replicate) {
      from.inflights.freeUpTo(m.index);
    } else if (from.match + 1 >= this.raftLog.firstIndex()) {
      // It has what our log still continues, whether from this snapshot or another. By way of the probe, which takes
      // the snapshot's index into account.
      if (this.#log.isEnabled("debug")) {
        this.#log.debug(
          `${hex(this.id)} recovered from needing snapshot, resumed sending replication messages to ${hex(m.from)} [${from}]`,
        );
      }
      from.becomeProbe();
      from.becomeReplicate();
    }

    const isSelf = m.from === this.id;
    if (this.#maybeCommit()) this.#broadcastAppend();
    else if (!isSelf && from.canBumpCommit(this.raftLog.committed)) this.#maybeSendAppend(from, true);
    if (isSelf) return;
    // The acknowledgement made room: fill it, but not with empty messages.
    while (this.#maybeSendAppend(from, false)) {}
    if (m.from === this.leadTransferee && from.match === this.raftLog.lastIndex()) {
      this.#log.info(`${hex(this.id)} sent MsgTimeoutNow to ${hex(m.from)} after received MsgAppResp`);
      this.#send(new Message(MessageType.TimeoutNow, m.from, NO_NODE));
    }
  }

  #handleAppendRejection(m: Message, from: Progress): void {
    if (this.#log.isEnabled("debug")) {
      this.#log.debug(
        `${hex(this.id)} received MsgAppResp(rejected, hint: (index ${m.rejectHint}, term ${m.logTerm})) from ` +
          `${hex(m.from)} for index ${m.index}`,
      );
    }
    // The follower's entries above the hint cannot agree with ours, and neither can ours that have a later term than
    // the follower's at the hint: skip both at once instead of probing entry by entry.
    const hint = m.logTerm > 0 ? this.raftLog.findConflictByTerm(m.rejectHint, m.logTerm).index : m.rejectHint;
    if (!from.maybeDecrease(m.index, hint)) return;
    if (this.#log.isEnabled("debug")) {
      this.#log.debug(`${hex(this.id)} decreased progress of ${hex(m.from)} to [${from}]`);
    }
    if (from.state === ProgressState.Replicate) from.becomeProbe();
    this.#maybeSendAppend(from, true);
  }

  #handleHeartbeatResponse(m: Message, from: Progress): void {
    from.recentActive = true;
    from.appendPaused = false;
    // Even to a follower whose window is full: all that filled it may be lost, and an empty append finds out. A probe
    // that is caught up needs one too, to return to replicating.
    if (from.match < this.raftLog.lastIndex() || from.state === ProgressState.Probe) this.#maybeSendAppend(from, true);
    if (this.#readOnlyOption !== "safe" || m.context.length === 0) return;
    for (const read of this.#reads.acknowledge(m.from, m.context, this.tracker.config)) {
      this.#answerRead(read.request, read.index);
    }
  }

  #handleSnapshotStatus(m: Message, from: Progress): void {
    if (from.state !== ProgressState.Snapshot) return;
    // Of a snapshot that failed, nothing arrived that probing could start from.
    if (m.reject) from.pendingSnapshot = 0 as Index;
    from.becomeProbe();
    if (this.#log.isEnabled("debug")) {
      this.#log.debug(
        `${hex(this.id)} snapshot ${m.reject ? "failed" : "succeeded"}, resumed sending replication messages to ` +
          `${hex(m.from)} [${from}]`,
      );
    }
    // After success its acknowledgement is near; after failure, a heartbeat interval is soon enough.
    from.appendPaused = true;
  }

  #handleTransfer(to: Progress): void {
    const id = hex(this.id);
    if (to.isLearner) {
      this.#debug("is learner. Ignored transferring leadership");
      return;
    }
    const previous = this.leadTransferee;
    if (previous !== NO_NODE) {
      if (previous === to.id) {
        this.#log.info(
          `${id} [term ${this.term}] transfer leadership to ${hex(to.id)} is in progress, ignores request to same node ${hex(to.id)}`,
        );
        return;
      }
      this.leadTransferee = NO_NODE;
      this.#log.info(`${id} [term ${this.term}] abort previous transferring leadership to ${hex(previous)}`);
    }
    if (to.id === this.id) {
      this.#debug("is already leader. Ignored transferring leadership to self");
      return;
    }
    this.#log.info(`${id} [term ${this.term}] starts to transfer leadership to ${hex(to.id)}`);
    // It has one election timeout to happen.
    this.#electionElapsed = 0;
    this.leadTransferee = to.id;
    if (to.match === this.raftLog.lastIndex()) {
      this.#send(new Message(MessageType.TimeoutNow, to.id, NO_NODE));
      this.#log.info(
        `${id} sends MsgTimeoutNow to ${hex(to.id)} immediately as ${hex(to.id)} already has up-to-date log`,
      );
    } else {
      this.#maybeSendAppend(to, true);
    }
  }

  #handleReadIndex(m: Message): void {
    // Until an entry of this term is committed, a leader does not know how far its predecessors committed (RA-04). That
    // holds for a group of one as well: its stored commit index may lag behind what it acknowledged before a crash.
    if (this.raftLog.term(this.raftLog.committed) !== this.term) {
      this.#earlyReads.push(m);
      return;
    }
    this.#serveRead(m);
  }

  #serveRead(m: Message): void {
    if (this.tracker.isOnlyVoter(this.id) || this.#readOnlyOption === "lease") {
      this.#answerRead(m, this.raftLog.committed);
      return;
    }
    this.#reads.add(this.raftLog.committed, m, this.id);
    this.#broadcastHeartbeat();
  }

  #answerRead(request: Message, index: Index): void {
    if (request.from === NO_NODE || request.from === this.id) {
      this.readStates.push({ index, requestContext: request.entries[0]!.data });
      return;
    }
    const answer = new Message(MessageType.ReadIndexResp, request.from, NO_NODE);
    answer.index = index;
    answer.entries = request.entries;
    this.#send(answer);
  }

  #broadcastAppend(): void {
    const members = this.tracker.members;
    for (let i = 0; i < members.length; i++) {
      if (members[i]!.id !== this.id) this.#maybeSendAppend(members[i]!, true);
    }
  }

  #broadcastHeartbeat(): void {
    const context = this.#reads.heartbeatContext();
    const members = this.tracker.members;
    for (let i = 0; i < members.length; i++) {
      if (members[i]!.id !== this.id) this.#sendHeartbeat(members[i]!, context);
    }
  }

  #sendHeartbeat(to: Progress, context: Uint8Array): void {
    // Not beyond what it is known to have: above that its log may still differ from ours.
    const message = new Message(MessageType.Heartbeat, to.id, NO_NODE);
    message.commit = Math.min(to.match, this.raftLog.committed) as Index;
    message.context = context;
    this.#send(message);
    to.sentCommit = message.commit;
  }

  /** Sends the next entries, or a snapshot if they are compacted; nothing if the member must wait. False: not sent. */
  #maybeSendAppend(to: Progress, evenIfEmpty: boolean): boolean {
    if (to.isPaused()) return false;
    const previous = (to.next - 1) as Index;
    const previousTerm = this.raftLog.term(previous);
    if (previousTerm === undefined) return this.#maybeSendSnapshot(to);

    let entries: readonly Entry[] | undefined = [];
    if (to.state !== ProgressState.Replicate || !to.inflights.isFull()) {
      entries = this.raftLog.entriesFrom(to.next, this.#maxSizePerMessageBytes);
      if (entries === undefined) return this.#maybeSendSnapshot(to);
    }
    if (entries.length === 0 && !evenIfEmpty) return false;

    const message = new Message(MessageType.App, to.id, NO_NODE);
    message.index = previous;
    message.logTerm = previousTerm;
    message.entries = entries;
    message.commit = this.raftLog.committed;
    this.#send(message);
    to.sentEntries(entries.length, payloadSizeBytes(entries));
    to.sentCommit = this.raftLog.committed;
    return true;
  }

  #maybeSendSnapshot(to: Progress): boolean {
    if (!to.recentActive) {
      if (this.#log.isEnabled("debug")) {
        this.#log.debug(`ignore sending snapshot to ${hex(to.id)} since it is not recently active`);
      }
      return false;
    }
    const snapshot = this.raftLog.snapshot();
    if (snapshot === undefined) {
      if (this.#log.isEnabled("debug")) {
        this.#log.debug(
          `${hex(this.id)} failed to send snapshot to ${hex(to.id)} because snapshot is temporarily unavailable`,
        );
      }
      return false;
    }
    assert(!isEmptySnapshot(snapshot), "a compacted log has a snapshot");
    const { index, term } = snapshot.metadata;
    if (this.#log.isEnabled("debug")) {
      this.#log.debug(
        `${hex(this.id)} [firstindex: ${this.raftLog.firstIndex()}, commit: ${this.raftLog.committed}] sent ` +
          `snapshot[index: ${index}, term: ${term}] to ${hex(to.id)} [${to}]`,
      );
    }
    to.becomeSnapshot(index);
    if (this.#log.isEnabled("debug")) {
      this.#log.debug(`${hex(this.id)} paused sending replication messages to ${hex(to.id)} [${to}]`);
    }
    const message = new Message(MessageType.Snap, to.id, NO_NODE);
    message.snapshot = snapshot;
    this.#send(message);
    return true;
  }

  /** Commits what a quorum has; then the first reads of the term can be served. */
  #maybeCommit(): boolean {
    const index = this.tracker.committedIndex();
    if (!this.raftLog.maybeCommit({ term: this.term, index })) return false;
    if (this.#earlyReads.length > 0) {
      const reads = this.#earlyReads;
      this.#earlyReads = [];
      for (const read of reads) this.#serveRead(read);
    }
    return true;
  }

  #send(m: Message): void {
    if (m.from === NO_NODE) m.from = this.id;
    switch (m.type) {
      case MessageType.VoteResp:
      case MessageType.PreVoteResp:
        assert(m.term !== 0, "a vote carries the term it is for");
        this.messagesAfterAppend.push(m);
        return;
      case MessageType.AppResp:
        m.term = this.term;
        this.messagesAfterAppend.push(m);
        return;
      case MessageType.Vote:
      case MessageType.PreVote:
        assert(m.term !== 0, "a vote request carries the term it is for");
        break;
      case MessageType.Prop:
      case MessageType.ReadIndex:
        // Requests, not statements of a term: whoever leads when they arrive takes them.
        break;
      default:
        m.term = this.term;
    }
    assert(m.to !== this.id, "only what waits for durability is sent to oneself");
    this.messages.push(m);
  }

  #debug(text: string): void {
    if (this.#log.isEnabled("debug")) this.#log.debug(`${hex(this.id)} ${text}`);
  }

  #applied(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    this.#appliedTo(entries[entries.length - 1]!.index, entriesSizeBytes(entries));
    // A follower that led before counts from 0 again, hence the floor.
    this.#uncommittedBytes = Math.max(0, this.#uncommittedBytes - payloadSizeBytes(entries));
  }

  #appliedSnapshot(snapshot: Snapshot): void {
    this.raftLog.stableSnapshotTo(snapshot.metadata.index);
    this.#appliedTo(snapshot.metadata.index, 0);
  }

  #appliedTo(index: Index, sizeBytes: number): void {
    const applied = Math.max(index, this.raftLog.applied) as Index;
    this.raftLog.appliedTo(applied, sizeBytes);
    if (!this.tracker.config.autoLeave || applied < this.#pendingConfIndex || this.role !== Role.Leader) return;
    // The joint configuration is in force here, so it can be left. Accepting the proposal raises pendingConfIndex above
    // applied, which is why it is not proposed twice.
    const dropped = this.#handleProposal([new Entry(EntryType.ConfChangeV2, 0 as Term, 0 as Index, NO_BYTES)]);
    if (dropped === null) {
      this.#log.info(`initiating automatic transition out of joint configuration ${this.tracker.describeConfig()}`);
    } else if (this.#log.isEnabled("debug")) {
      this.#log.debug(
        `not initiating automatic transition out of joint configuration ${this.tracker.describeConfig()}: raft proposal dropped`,
      );
    }
  }

  /** Puts a committed change in force. Throws InvalidConfChange if it is not legal, having changed nothing. */
  applyConfChange(change: ConfChange | ConfChangeV2): ConfState {
    // No entry is handed out while a snapshot waits to be stored, so this one was handed out before the snapshot came,
    // lies below it, and its change is part of the snapshot's configuration, which is in force already.
    if (this.raftLog.hasUnstableSnapshot()) return this.tracker.config;
    const progress = new Map<NodeId, Progress>();
    for (const member of this.tracker.members) progress.set(member.id, member);
    const changer = new Changer({ config: this.tracker.config, progress }, this.raftLog.lastIndex(), () =>
      this.tracker.newInflights(),
    );
    return this.#switchTo(changer.change(asV2(change)));
  }

  #restored(state: ConfState): Configuration {
    const restored = restoreConfiguration(state, this.raftLog.lastIndex(), () => this.tracker.newInflights());
    assert(isSameConfig(restored.config, state), "a restored configuration is the one that was stored");
    return restored;
  }

  #switchTo(next: Configuration): ConfState {
    this.tracker.install(next.config, next.progress);
    this.#log.info(`${hex(this.id)} switched to configuration ${this.tracker.describeConfig()}`);

    const own = this.tracker.progress(this.id);
    if ((own === undefined || own.isLearner) && this.role === Role.Leader) {
      // It may lead on until the others know of its removal, not counting itself; proposals are refused meanwhile.
      if (this.#stepDownOnRemoval) this.#becomeFollower(this.term, NO_NODE);
      return next.config;
    }
    if (this.role !== Role.Leader || next.config.voters.length === 0) return next.config;

    if (this.#maybeCommit()) {
      // Fewer voters may need fewer acknowledgements.
      this.#broadcastAppend();
    } else {
      // New members need not wait for a heartbeat to be probed.
      for (const member of this.tracker.members) {
        if (member.id !== this.id) this.#maybeSendAppend(member, false);
      }
    }
    if (this.leadTransferee !== NO_NODE && !this.tracker.isVoter(this.leadTransferee)) this.leadTransferee = NO_NODE;
    return next.config;
  }
}

function responseTo(type: MessageType): MessageType {
  return type === MessageType.PreVote ? MessageType.PreVoteResp : MessageType.VoteResp;
}

function isCampaignTransfer(context: Uint8Array): boolean {
  if (context.length !== CAMPAIGN_TRANSFER_BYTES.length) return false;
  return CAMPAIGN_TRANSFER_BYTES.every((byte, at) => byte === context[at]);
}

function isSameConfig(a: ConfState, b: ConfState): boolean {
  const same = (x: readonly NodeId[], y: readonly NodeId[]): boolean =>
    x.length === y.length && x.every((id) => y.includes(id));
  return (
    same(a.voters, b.voters) &&
    same(a.learners, b.learners) &&
    same(a.votersOutgoing, b.votersOutgoing) &&
    same(a.learnersNext, b.learnersNext) &&
    a.autoLeave === b.autoLeave
  );
}
