/**
 * One node of a group, as the member drives it: feed it ticks, proposals and messages, take a Ready, do what it says,
 * and report back. Nothing here waits, and nothing happens between calls.
 *
 * Synchronous mode:                          Asynchronous mode (asyncStorageWrites):
 *
 *   ready = node.ready()                       ready = node.ready()
 *   store ready.snapshot, .hardState,          send ready.messages: those to peers at once,
 *         .entries; sync if .mustSync               MsgStorageAppend to whoever writes the log,
 *   send ready.messages                             MsgStorageApply to whoever applies
 *   apply ready.committedEntries               ... later, for each of these, when done:
 *   node.advance(ready)                        deliver its `responses`: step those to this node, send the others
 *                                              (a node that removed itself refuses its own answers: UnknownPeer)
 *
 * In asynchronous mode several Readies may be under way. Each thread must do its work in the order it was given and
 * lose none; the writer must put a MsgStorageAppend's snapshot, hard state (if its term is not 0) and entries to disk
 * durably before its responses are delivered. In both modes a leader's other messages may leave before its own write
 * is durable, but in synchronous mode they are not told apart, so all wait.
 *
 * A committed configuration entry is put in force by `applyConfChange` when it is applied, or left alone to reject it.
 */
import { assert } from "@quorate/world";
import { encodeConfChange, encodeConfChangeV2 } from "./codec.ts";
import { type ConfChange, type ConfChangeV2, isConfChangeV2 } from "./conf-change.ts";
import type { RaftConfig } from "./config.ts";
import { LocalMessageFromPeer, ProposalDropped, UnknownPeer } from "./errors.ts";
import { entriesSizeBytes } from "./log.ts";
import {
  isLocalThread,
  isLocalType,
  isResponseType,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  Message,
  MessageType,
  NO_MESSAGES,
} from "./message.ts";
import type { ProgressState } from "./progress.ts";
import { Raft, type ReadState, Role } from "./raft.ts";
import { Ready, type SoftState } from "./ready.ts";
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

export interface BasicStatus {
  readonly id: NodeId;
  readonly term: Term;
  readonly vote: NodeId;
  readonly commit: Index;
  readonly applied: Index;
  readonly lead: NodeId;
  readonly role: Role;
  readonly leadTransferee: NodeId;
  /** Data bytes proposed to this leader and not yet applied. */
  readonly uncommittedSizeBytes: number;
}

/** A leader's view of one member; `text` is etcd's rendering of it. */
export interface ProgressStatus {
  readonly id: NodeId;
  readonly match: Index;
  readonly next: Index;
  readonly state: ProgressState;
  readonly isLearner: boolean;
  readonly recentActive: boolean;
  readonly isPaused: boolean;
  readonly pendingSnapshot: Index;
  readonly text: string;
}

export interface Status extends BasicStatus {
  readonly config: ConfState;
  /** Ascending by id; empty unless this node leads. */
  readonly progress: readonly ProgressStatus[];
}

export class RawNode {
  readonly #raft: Raft;
  readonly #isAsync: boolean;
  #toldSoftState: SoftState;
  #toldHardState: HardState;
  /** In synchronous mode: what to step once the last Ready is done. */
  #stepsOnAdvance: Message[] = [];
  /** The Ready that is to be advanced before the next one is taken. */
  #outstanding: Ready | null = null;

  /** Reads the stored state and starts as a follower. Throws InvalidConfig. */
  constructor(config: RaftConfig) {
    this.#raft = new Raft(config);
    this.#isAsync = config.asyncStorageWrites;
    this.#toldSoftState = { lead: this.#raft.lead, role: this.#raft.role };
    this.#toldHardState = this.#raft.hardState();
  }

  get id(): NodeId {
    return this.#raft.id;
  }

  get term(): Term {
    return this.#raft.term;
  }

  /** 0 if unknown. */
  get lead(): NodeId {
    return this.#raft.lead;
  }

  get role(): Role {
    return this.#raft.role;
  }

  get committed(): Index {
    return this.#raft.raftLog.committed;
  }

  get applied(): Index {
    return this.#raft.raftLog.applied;
  }

  get lastIndex(): Index {
    return this.#raft.raftLog.lastIndex();
  }

  /** Index of a snapshot from the leader that was taken up and is not known to be durable yet; 0: none. */
  get pendingSnapshotIndex(): Index {
    return this.#raft.raftLog.unstableSnapshotIndex();
  }

  /** 0 unless this node leads and a transfer is under way. */
  get leadTransferee(): NodeId {
    return this.#raft.leadTransferee;
  }

  /** The passing of one unit of time. */
  tick(): void {
    this.#raft.tick();
  }

  /** Stands for election now, as when a timeout expires. */
  campaign(): void {
    this.#raft.campaign();
  }

  /** Proposes one normal entry. `data` is transferred. Throws ProposalDropped. */
  propose(data: Uint8Array): void {
    this.#proposeEntries([newEntry(EntryType.Normal, data)]);
  }

  /**
   * Proposes one normal entry per element, in order and next to each other: all of them or none. The array is borrowed
   * until return, its elements are transferred. Throws ProposalDropped. Does nothing for an empty array.
   */
  proposeBatch(datas: readonly Uint8Array[]): void {
    if (datas.length === 0) return;
    const entries: Entry[] = [];
    for (let i = 0; i < datas.length; i++) entries.push(newEntry(EntryType.Normal, datas[i]!));
    this.#proposeEntries(entries);
  }

  /**
   * Proposes a configuration change, in the form it is given. A leader that finds it ill-timed puts an empty entry in its
   * place. Throws ProposalDropped.
   */
  proposeConfChange(change: ConfChange | ConfChangeV2): void {
    this.#proposeEntries([
      isConfChangeV2(change)
        ? newEntry(EntryType.ConfChangeV2, encodeConfChangeV2(change))
        : newEntry(EntryType.ConfChange, encodeConfChange(change)),
    ]);
  }

  /**
   * Takes a message from a peer, or a response from a local thread. Everything in it is transferred. Throws
   * LocalMessageFromPeer, UnknownPeer, MalformedMessage, or ProposalDropped for a forwarded proposal; in each case
   * nothing was changed.
   */
  step(message: Message): void {
    const isFromHere = isLocalThread(message.from);
    if (isLocalType(message.type) && !isFromHere) throw new LocalMessageFromPeer();
    if (isResponseType(message.type) && !isFromHere && this.#raft.tracker.progress(message.from) === undefined) {
      throw new UnknownPeer(message.from);
    }
    const dropped = this.#raft.step(message);
    if (dropped !== null) throw new ProposalDropped(dropped);
  }

  /**
   * Asks for an index from which a read is linearizable. The answer is a ReadState with the same context, in some later
   * Ready, or none if leadership changes or a message is lost: ask again then, with a context never used before.
   */
  readIndex(context: Uint8Array): void {
    const message = new Message(MessageType.ReadIndex, NO_NODE, NO_NODE);
    message.entries = [newEntry(EntryType.Normal, context)];
    this.#raft.step(message);
  }

  /** Asks the leader, this node or another, to hand over to `to`. Given up after an election timeout. */
  transferLeadership(to: NodeId): void {
    this.#raft.step(new Message(MessageType.TransferLeader, NO_NODE, to));
  }

  /** A message to `id` could not be sent. */
  reportUnreachable(id: NodeId): void {
    this.#raft.step(new Message(MessageType.Unreachable, NO_NODE, id));
  }

  /** A snapshot to `id` was delivered, or not. Must be told, or nothing is sent to it until it speaks. */
  reportSnapshot(id: NodeId, status: "finished" | "failed"): void {
    const message = new Message(MessageType.SnapStatus, NO_NODE, id);
    message.reject = status === "failed";
    this.#raft.step(message);
  }

  /** A follower stops believing in its leader, and so may vote for another within the term. Leaders ignore it. */
  forgetLeader(): void {
    this.#raft.step(new Message(MessageType.ForgetLeader, NO_NODE, NO_NODE));
  }

  /** Puts a committed change in force. Throws InvalidConfChange if it is not legal, having changed nothing. */
  applyConfChange(change: ConfChange | ConfChangeV2): ConfState {
    return this.#raft.applyConfChange(change);
  }

  hasReady(): boolean {
    const raft = this.#raft;
    return (
      raft.messages.length > 0 ||
      raft.messagesAfterAppend.length > 0 ||
      raft.raftLog.hasNextUnstableEntries() ||
      raft.raftLog.hasNextCommittedEntries(!this.#isAsync) ||
      this.#isSoftStateNews() ||
      this.#isHardStateNews() ||
      raft.readStates.length > 0 ||
      raft.raftLog.nextUnstableSnapshot() !== null
    );
  }

  /** Everything to be done now. It counts as handed out: do it all. */
  ready(): Ready {
    assert(this.#outstanding === null, "a Ready is advanced before the next one is taken");
    const raft = this.#raft;
    const entries = raft.raftLog.nextUnstableEntries();
    const committedEntries = raft.raftLog.nextCommittedEntries(!this.#isAsync);
    const snapshot = raft.raftLog.nextUnstableSnapshot();
    const softState: SoftState | null = this.#isSoftStateNews() ? { lead: raft.lead, role: raft.role } : null;
    const hardState = this.#isHardStateNews() ? raft.hardState() : null;
    const mustSync =
      entries.length > 0 || raft.term !== this.#toldHardState.term || raft.vote !== this.#toldHardState.vote;
    const messages = raft.messages;
    const appendResponse = this.#appendResponse(snapshot);

    if (this.#isAsync) {
      const append = this.#storageAppend(entries, hardState, snapshot, appendResponse);
      if (append !== null) messages.push(append);
      if (committedEntries.length > 0) messages.push(this.#storageApply(committedEntries));
    } else {
      const steps: Message[] = [];
      for (const message of raft.messagesAfterAppend) {
        if (message.to === raft.id) steps.push(message);
        else messages.push(message);
      }
      if (appendResponse !== null) steps.push(appendResponse);
      if (committedEntries.length > 0) steps.push(this.#applyResponse(committedEntries));
      this.#stepsOnAdvance = steps;
    }

    const ready = new Ready({
      softState,
      hardState,
      // Never the node's own arrays while they are empty: it goes on filling those.
      readStates: raft.readStates.length === 0 ? NO_READ_STATES : raft.readStates,
      entries,
      snapshot,
      committedEntries,
      messages: messages.length === 0 ? NO_MESSAGES : messages,
      mustSync,
    });

    if (!this.#isAsync) this.#outstanding = ready;
    if (softState !== null) this.#toldSoftState = softState;
    if (hardState !== null) this.#toldHardState = hardState;
    if (raft.readStates.length > 0) raft.readStates = [];
    if (messages.length > 0) raft.messages = [];
    if (raft.messagesAfterAppend.length > 0) raft.messagesAfterAppend = [];
    raft.raftLog.acceptUnstable();
    if (committedEntries.length > 0) {
      const last = committedEntries[committedEntries.length - 1]!;
      raft.raftLog.acceptApplying(last.index, entriesSizeBytes(committedEntries), !this.#isAsync);
    }
    return ready;
  }

  /** Synchronous mode only: everything the last Ready asked for is done. */
  advance(ready: Ready): void {
    assert(!this.#isAsync, "advance is for synchronous mode");
    assert(ready === this.#outstanding, "each Ready is advanced once, after it was handed out");
    this.#outstanding = null;
    const steps = this.#stepsOnAdvance;
    this.#stepsOnAdvance = [];
    for (let i = 0; i < steps.length; i++) this.#raft.step(steps[i]!);
  }

  basicStatus(): BasicStatus {
    const raft = this.#raft;
    return {
      id: raft.id,
      term: raft.term,
      vote: raft.vote,
      commit: raft.raftLog.committed,
      applied: raft.raftLog.applied,
      lead: raft.lead,
      role: raft.role,
      leadTransferee: raft.leadTransferee,
      uncommittedSizeBytes: raft.uncommittedSizeBytes,
    };
  }

  status(): Status {
    const raft = this.#raft;
    const progress: ProgressStatus[] = [];
    for (const member of this.#isLeader() ? raft.tracker.members : []) {
      progress.push({
        id: member.id,
        match: member.match,
        next: member.next,
        state: member.state,
        isLearner: member.isLearner,
        recentActive: member.recentActive,
        isPaused: member.isPaused(),
        pendingSnapshot: member.pendingSnapshot,
        text: member.toString(),
      });
    }
    return { ...this.basicStatus(), config: raft.tracker.config, progress };
  }

  /** For scripted schedules: replaces the randomly drawn election timeout until the next change of role. */
  setRandomizedElectionTicks(ticks: number): void {
    this.#raft.setRandomizedElectionTicks(ticks);
  }

  #isLeader(): boolean {
    return this.#raft.role === Role.Leader;
  }

  #proposeEntries(entries: readonly Entry[]): void {
    const message = new Message(MessageType.Prop, NO_NODE, this.#raft.id);
    message.entries = entries;
    const dropped = this.#raft.step(message);
    if (dropped !== null) throw new ProposalDropped(dropped);
  }

  #isSoftStateNews(): boolean {
    return this.#raft.lead !== this.#toldSoftState.lead || this.#raft.role !== this.#toldSoftState.role;
  }

  #isHardStateNews(): boolean {
    const raft = this.#raft;
    const told = this.#toldHardState;
    return raft.raftLog.committed !== told.commit || raft.term !== told.term || raft.vote !== told.vote;
  }

  #storageAppend(
    entries: readonly Entry[],
    hardState: HardState | null,
    snapshot: Ready["snapshot"],
    appendResponse: Message | null,
  ): Message | null {
    const after = this.#raft.messagesAfterAppend;
    if (entries.length === 0 && hardState === null && snapshot === null && after.length === 0) return null;
    const message = new Message(MessageType.StorageAppend, LOCAL_APPEND_THREAD, this.#raft.id);
    message.entries = entries;
    message.snapshot = snapshot;
    if (hardState !== null) {
      message.term = hardState.term;
      message.vote = hardState.vote;
      message.commit = hardState.commit;
    }
    if (appendResponse !== null) after.push(appendResponse);
    message.responses = after.length === 0 ? NO_MESSAGES : after;
    return message;
  }

  /**
   * Tells this node that its log is durable to the present end. Sent whenever anything is unstable, even if nothing of it
   * is in this write: the answer to an earlier write is ignored if the term has changed since, and then the next write,
   * which is done after it, makes good for it.
   */
  #appendResponse(snapshot: Ready["snapshot"]): Message | null {
    const raft = this.#raft;
    const hasUnstable = raft.raftLog.hasUnstableEntries();
    if (!hasUnstable && snapshot === null) return null;
    const message = new Message(MessageType.StorageAppendResp, raft.id, LOCAL_APPEND_THREAD);
    message.term = raft.term;
    if (hasUnstable) {
      const last = raft.raftLog.lastEntryId();
      message.index = last.index;
      message.logTerm = last.term;
    }
    message.snapshot = snapshot;
    return message;
  }

  #storageApply(entries: readonly Entry[]): Message {
    const message = new Message(MessageType.StorageApply, LOCAL_APPLY_THREAD, this.#raft.id);
    message.entries = entries;
    message.responses = [this.#applyResponse(entries)];
    return message;
  }

  #applyResponse(entries: readonly Entry[]): Message {
    const message = new Message(MessageType.StorageApplyResp, this.#raft.id, LOCAL_APPLY_THREAD);
    message.entries = entries;
    return message;
  }
}

const NO_READ_STATES: readonly ReadState[] = [];

/** Term and index are stamped by the leader that appends it. */
function newEntry(type: EntryType, data: Uint8Array): Entry {
  return new Entry(type, 0 as Term, 0 as Index, data);
}
