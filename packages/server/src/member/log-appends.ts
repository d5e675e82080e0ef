/**
 * What raft wants in the log, on its way there. While the disk works more gathers, and the next write takes all of it.
 *
 *   raft ─▶ add ─▶ waiting ── pump ──▶ being saved ── durable ──▶ memory log ──▶ owner.stored: raft, the leader
 *                    │                   or, in the log's place, a snapshot
 *                    └── storage is behind: held, but for a new term or vote, and pre-votes
 *
 * Invariants:
 *  - raft and others learn that something is stored only after the disk said so, in the order raft asked (RA-02, RA-03);
 *  - one write is under way at a time, and a snapshot is a step of its own;
 *  - a failed write is reported once, and nothing is written after it (WA-08).
 *
 * Owned by Consensus, which pumps once a turn. Synchronous but for the log's answer.
 */
import {
  type Entry,
  type HardState,
  type MemoryLogStorage,
  type Message,
  MessageType,
  type Snapshot,
} from "@quorate/raft";
import type { Clock, Log } from "@quorate/world";

/** What the log on disk must do for us. */
export interface DurableLog {
  save(entries: readonly Entry[], hardState: HardState | null, done: (error: Error | null) => void): void;
}

export interface LogAppendsOwner {
  isLeader(): boolean;
  /** What is applied already is more than storage has been able to take. */
  isStorageBehind(): boolean;
  /** The applied state becomes the snapshot's, and the log begins anew behind it. `done` when both are durable. */
  installSnapshot(snapshot: Snapshot, hardState: HardState, done: () => void): void;
  /** It is, in the log on disk and the one in memory. */
  installed(snapshot: Snapshot): void;
  /** What raft has asked to be told, itself or others, once something was stored. */
  stored(response: Message): void;
  /** A write has ended, and all of it was told. */
  saved(tookMs: number): void;
  failed(error: Error): void;
}

export interface LogAppendsOptions {
  readonly storage: MemoryLogStorage;
  readonly wal: DurableLog;
  readonly clock: Clock;
  readonly log: Log;
  /** A leader whose log has not answered for so long gives up its leadership: etcd's election timeout. */
  readonly stallMs: number;
}

export class LogAppends {
  readonly #options: LogAppendsOptions;
  readonly #owner: LogAppendsOwner;
  #waiting: Message[] = [];
  /** Being written while `#isSaving`. */
  #saving: readonly Message[] = [];
  #isSaving = false;
  #savingSinceMs = 0;
  #hardState: HardState;
  #wasStalled = false;
  /** The last answer by which raft learned up to where its own log is durable; see {@link #isSaid}. */
  #saidStable: Message | null = null;
  readonly #onSaved: (error: Error | null) => void = (error) => this.#saved(error);

  constructor(options: LogAppendsOptions, owner: LogAppendsOwner) {
    this.#options = options;
    this.#owner = owner;
    this.#hardState = options.storage.initialState().hardState;
  }

  /** What the log has or is being given: durable in term and vote, but for the write under way. */
  get hardState(): HardState {
    return this.#hardState;
  }

  /** True while a durable write is under way. */
  get isSaving(): boolean {
    return this.#isSaving;
  }

  /**
   * The log has not answered for longer than others would wait for a leader. Whatever clients or followers make us say then
   * would keep the others from electing one, so it goes unsaid as if it were lost on the way.
   */
  isStalled(): boolean {
    const { clock, log, stallMs } = this.#options;
    const isStalled = this.#owner.isLeader() && this.#isSaving && clock.monotonicMs() - this.#savingSinceMs >= stallMs;
    if (isStalled && !this.#wasStalled) log.warn("the log does not answer: this leader sends no more heartbeats");
    this.#wasStalled = isStalled;
    return isStalled;
  }

  /** Goes to the log with the next {@link pump} that may. */
  add(message: Message): void {
    this.#waiting.push(message);
  }

  /** Hands the log everything raft asked for since the last write, as one write. */
  pump(): void {
    while (!this.#isSaving && this.#waiting.length > 0) {
      if (this.#mustHold()) {
        this.#tellPreVotes();
        return;
      }
      const messages = this.#take();
      const hardState = lastHardState(messages) ?? this.#hardState;
      const changesVote = this.#changesVote(hardState);
      const snapshot = messages[0]!.snapshot;
      this.#hardState = hardState;
      if (snapshot === null && !changesVote && messages.every((each) => each.entries.length === 0)) {
        // Only the commit index moved. It need not be durable; the next write carries it.
        this.#tell(messages);
        continue;
      }
      this.#isSaving = true;
      this.#saving = messages;
      this.#savingSinceMs = this.#options.clock.monotonicMs();
      if (snapshot === null) this.#options.wal.save(joinedEntries(messages), hardState, this.#onSaved);
      else this.#owner.installSnapshot(snapshot, hardState, () => this.#installed(snapshot));
    }
  }

  /**
   * What the leader sends is more than storage takes: unsaved it is not acknowledged, and the leader sends no more than may
   * be in flight. A leader's own entries are held back before they are proposed, and a new term or vote is never held.
   */
  #mustHold(): boolean {
    if (this.#owner.isLeader() || !this.#owner.isStorageBehind()) return false;
    if (this.#waiting.every((each) => each.entries.length === 0)) return false;
    const changesVote = this.#changesVote(lastHardState(this.#waiting) ?? this.#hardState);
    return !changesVote && this.#waiting[0]!.snapshot === null;
  }

  /** They promise nothing that must be durable, and without them nobody could be elected while we are behind. */
  #tellPreVotes(): void {
    const told: Message[] = [];
    for (const message of this.#waiting) {
      if (!message.responses.some(isPreVote)) continue;
      told.push(...message.responses.filter(isPreVote));
      message.responses = message.responses.filter((each) => !isPreVote(each));
    }
    for (const response of told) this.#owner.stored(response);
  }

  #changesVote({ term, vote }: HardState): boolean {
    return term !== this.#hardState.term || vote !== this.#hardState.vote;
  }

  /** Everything up to the next snapshot, or that snapshot alone. */
  #take(): readonly Message[] {
    const waiting = this.#waiting;
    const at = waiting.findIndex((each) => each.snapshot !== null);
    if (at < 0) {
      this.#waiting = [];
      return waiting;
    }
    return waiting.splice(0, Math.max(at, 1));
  }

  #installed(snapshot: Snapshot): void {
    const { storage, wal } = this.#options;
    const { entries } = this.#saving[0]!;
    storage.applySnapshot(snapshot);
    this.#owner.installed(snapshot);
    // Entries that followed in the same breath continue the log that begins behind the snapshot.
    if (entries.length === 0) this.#saved(null);
    else wal.save(entries, this.#hardState, this.#onSaved);
  }

  #saved(error: Error | null): void {
    if (error !== null) return this.#owner.failed(error);
    const { storage, clock } = this.#options;
    const tookMs = clock.monotonicMs() - this.#savingSinceMs;
    const messages = this.#saving;
    this.#isSaving = false;
    this.#saving = [];
    for (const message of messages) storage.append(message.entries);
    this.#tell(messages);
    this.#owner.saved(tookMs);
  }

  #tell(messages: readonly Message[]): void {
    this.#options.storage.setHardState(this.#hardState);
    for (const message of messages) {
      for (const response of message.responses) {
        if (this.#isSaid(message, response)) continue;
        if (response.type === MessageType.StorageAppendResp && response.index !== 0) this.#saidStable = response;
        this.#owner.stored(response);
      }
    }
  }

  /**
   * While entries are being written, raft asks again with whatever else it has for the log, mostly a new commit index, to be
   * told that they are durable. In the same term the second answer says nothing, and raft would log that it does not
   * understand it, at every write of a cluster whose followers are faster than its leader's disk.
   */
  #isSaid({ entries, snapshot }: Message, response: Message): boolean {
    const said = this.#saidStable;
    if (said === null || entries.length > 0 || snapshot !== null) return false;
    const { type, term, index, logTerm } = response;
    if (type !== MessageType.StorageAppendResp || response.snapshot !== null) return false;
    return term === said.term && index === said.index && logTerm === said.logTerm;
  }
}

function isPreVote({ type }: Message): boolean {
  return type === MessageType.PreVoteResp;
}

/** What the last of these messages that speaks of the hard state says; null if none does. */
function lastHardState(messages: readonly Message[]): HardState | null {
  for (let i = messages.length - 1; i >= 0; i--) {
    const { term, vote, commit } = messages[i]!;
    if (term !== 0) return { term, vote, commit };
  }
  return null;
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
