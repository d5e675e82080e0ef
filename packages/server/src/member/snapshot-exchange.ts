/**
 * Snapshots to and from other members: whole databases as bbolt files.
 *
 *   to a follower     raft wants one ─▶ file of what storage has, one cut, written in a worker ─▶ network
 *   from the leader   file ─▶ a database beside ours ─▶ state over it ─▶ raft takes it up ─▶ consensus installs it
 *
 * A file that is there serves every follower whose need it covers. While one is being written or sent, and for a while
 * after, the log keeps the entries behind it: a follower that has just installed a snapshot must find the next entry
 * (known failures SN-05, SN-06). Raft asks again at every heartbeat, so a file that could not be written is held back for a
 * while, longer each time: a full disk is not filled ten times a second. A snapshot is stepped into raft only when the state over it is ready, so installing it is
 * one step of the loop (SN-02) and a file that is of no use changes nothing.
 */
import { ascending, encodeV2Store } from "@quorate/membership";
import type { DatabaseCut } from "@quorate/mvcc";
import {
  EMPTY_CONF_STATE,
  index,
  MalformedMessage,
  Message,
  MessageType,
  type SnapshotMetadata,
  type Term,
} from "@quorate/raft";
import { assert, type Clock, type Log, type Timer, type Timers } from "@quorate/world";
import type { OutgoingSnapshot } from "../peers/peer-network.ts";
import { AppliedState, type AppliedStateOptions } from "./applied-state.ts";
import { parseConfState } from "./conf-state.ts";
import type { Databases } from "./databases.ts";

/** A snapshot from the leader is of no use to this member. */
export class UselessSnapshot extends Error {
  readonly kind = "UselessSnapshot";
}

/** A file for others could not be written. */
export class SnapshotNotWritten extends Error {
  readonly kind = "SnapshotNotWritten";

  constructor(cause: Error, retryMs: number) {
    super(`cannot write a snapshot for another member, the next attempt is in ${retryMs / 1000}s: ${cause.message}`, {
      cause,
    });
  }
}

export interface SnapshotExchangeOptions extends AppliedStateOptions {
  readonly memberId: bigint;
  readonly databases: Databases;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

export interface SnapshotExchangeOwner {
  /** What a snapshot for others is made of. */
  state(): AppliedState;
  /** Up to here nothing from the leader is news. */
  commitIndex(): number;
  /** Hands the message to raft; true if raft has taken the snapshot up and will have it installed. */
  stepSnapshot(message: Message): boolean;
}

type OpenDone = (error: Error | null, snapshot: OutgoingSnapshot | null) => void;

/** How long after the last transfer the log is still kept for who received it: etcd's. */
const HOLD_MS = 30_000;
/** After a file that could not be written: the wait before the next, twice as long each time, up to the last. */
const RETRY_FIRST_MS = 1000;
const RETRY_LAST_MS = 30_000;
/** Records restored in one turn while the state over an arriving database is built: about a millisecond. */
const RESTORE_SLICE_RECORDS = 2000;

interface Waiter {
  readonly message: Message;
  readonly done: OpenDone;
}

/** One file for others. */
interface OutgoingFile {
  readonly path: string;
  /** Entries after this one will be needed by whoever gets it. */
  keepsIndex: number;
  /** null until it is written. */
  cut: DatabaseCut | null;
  users: number;
  waiters: Waiter[];
}

export class SnapshotExchange {
  readonly #options: SnapshotExchangeOptions;
  readonly #owner: SnapshotExchangeOwner;
  /** Being written or sent: one, unless a follower needs more than it has. */
  readonly #files = new Set<OutgoingFile>();
  /** The log keeps what follows the file let go last for a while. */
  #lately = { index: Number.POSITIVE_INFINITY, untilMs: Number.NEGATIVE_INFINITY };
  /** Since the last file that could be written; 0: nothing has failed. One for all followers, for it is our disk. */
  #retryMs = 0;
  /** Until this fires nothing is written, and who asks waits. */
  #retry: Timer | null = null;
  #waiting: Waiter[] = [];
  #isReceiving = false;
  /** Ready to be installed. */
  #received: AppliedState | null = null;
  #isStopped = false;

  constructor(options: SnapshotExchangeOptions, owner: SnapshotExchangeOwner) {
    this.#options = options;
    this.#owner = owner;
  }

  /** The log must keep the entries after this index; Infinity if nobody needs them. */
  get heldIndex(): number {
    const isRecent = this.#options.clock.monotonicMs() < this.#lately.untilMs;
    let held = isRecent ? this.#lately.index : Number.POSITIVE_INFINITY;
    for (const { keepsIndex } of this.#files) held = Math.min(held, keepsIndex);
    return held;
  }

  /**
   * A file to send in place of raft's MsgSnap, at or past its index. `done` hears SnapshotNotWritten if there is none;
   * who asks again soon after that waits here.
   */
  open(message: Message, done: OpenDone): void {
    for (const file of this.#files) {
      if (file.cut === null) {
        file.waiters.push({ message, done });
        return;
      }
      if (reaches(file.cut, message)) {
        this.#give(file, file.cut, message, done);
        return;
      }
    }
    if (this.#retry === null) this.#write({ message, done });
    else this.#waiting.push({ message, done });
  }

  /** What storage has when it begins to write is at or past what raft knew of when it asked. */
  #write(waiter: Waiter): void {
    const { storage, flushedIndex } = this.#owner.state().backend;
    const path = this.#options.databases.outgoingPath();
    const file: OutgoingFile = { path, keepsIndex: flushedIndex, cut: null, users: 0, waiters: [waiter] };
    this.#files.add(file);
    storage.writeSnapshot(path, (error, cut) => {
      const waiters = file.waiters;
      file.waiters = [];
      if (this.#isStopped || error !== null || cut === null) {
        this.#files.delete(file);
        this.#options.databases.removeFile(path);
        const problem = this.#isStopped ? memberStops() : this.#holdBack(error!);
        for (const each of waiters) each.done(problem, null);
        return;
      }
      this.#retryMs = 0;
      file.cut = cut;
      file.keepsIndex = cut.appliedIndex;
      // One of them may let it go at once, but not before all were served.
      file.users++;
      const late: Waiter[] = [];
      for (const each of waiters) {
        if (reaches(cut, each.message)) this.#give(file, cut, each.message, each.done);
        else late.push(each);
      }
      this.#release(file);
      for (const each of late) this.open(each.message, each.done);
    });
  }

  #holdBack(cause: Error): SnapshotNotWritten {
    const retryMs = this.#retryMs === 0 ? RETRY_FIRST_MS : Math.min(2 * this.#retryMs, RETRY_LAST_MS);
    this.#retryMs = retryMs;
    this.#retry = this.#options.timers.after(retryMs, () => {
      this.#retry = null;
      for (const { message, done } of this.#waiting.splice(0)) this.open(message, done);
    });
    return new SnapshotNotWritten(cause, retryMs);
  }

  /**
   * The snapshot in the file at `path`, which is ours from here on, becomes the next state if raft agrees. `done(null)`
   * when raft has heard of it.
   */
  receive(message: Message, path: string, done: (error: Error | null) => void): void {
    const { databases } = this.#options;
    const metadata = message.snapshot?.metadata;
    const isOld = metadata !== undefined && metadata.index <= this.#owner.commitIndex();
    if (isOld && !this.#isStopped) {
      // It arrived twice, or too late. Raft tells the leader how far we are, and that is all.
      databases.removeFile(path);
      try {
        this.#owner.stepSnapshot(message);
      } catch (cause) {
        if (!(cause instanceof MalformedMessage)) throw cause;
        done(cause);
        return;
      }
      done(null);
      return;
    }
    if (this.#isReceiving || this.#isStopped || metadata === undefined) {
      databases.removeFile(path);
      done(new UselessSnapshot(metadata === undefined ? "the message has no snapshot" : "another snapshot is at work"));
      return;
    }
    this.#isReceiving = true;
    databases.receive(path, metadata.index, (error, storage) => {
      if (error !== null || storage === null) return this.#refuse(error!, done);
      let state: AppliedState;
      try {
        state = this.#stateOver(storage, metadata);
      } catch (cause) {
        databases.discard(storage);
        return this.#refuse(cause as Error, done);
      }
      const opening = state.opening;
      const restore = (): void => {
        if (this.#isStopped) return;
        try {
          if (opening.step(RESTORE_SLICE_RECORDS)) return this.#options.timers.nextTurn(restore);
        } catch (cause) {
          databases.discard(storage);
          return this.#refuse(cause as Error, done);
        }
        this.#received = state;
        try {
          if (!this.#owner.stepSnapshot(message)) this.#discard(state);
        } catch (cause) {
          if (!(cause instanceof MalformedMessage)) throw cause;
          this.#discard(state);
          return this.#refuse(cause, done);
        }
        done(null);
      };
      restore();
    });
  }

  /** The state that raft has taken up: the caller's from here on. */
  take(metadata: SnapshotMetadata): AppliedState {
    const state = this.#received;
    assert(state !== null && state.backend.appliedIndex === metadata.index, "raft takes up the snapshot it was shown");
    this.#received = null;
    this.#isReceiving = false;
    state.confState = metadata.confState;
    return state;
  }

  stop(): void {
    this.#isStopped = true;
    this.#retry?.cancel();
    for (const { done } of this.#waiting.splice(0)) done(memberStops(), null);
    if (this.#received !== null) this.#discard(this.#received);
  }

  #stateOver(storage: AppliedState["backend"]["storage"], metadata: SnapshotMetadata): AppliedState {
    const state = new AppliedState(storage, this.#options);
    // Installed, it would be refused by the next start.
    if (!state.storageVersion.isSupported) throw new UselessSnapshot(state.storageVersion.complaint);
    const { appliedIndex, appliedTerm } = state.backend;
    if (appliedIndex !== metadata.index || appliedTerm !== metadata.term) {
      throw new UselessSnapshot(
        `the message speaks of index ${metadata.index} of term ${metadata.term}, its database is at ${appliedIndex} of term ${appliedTerm}`,
      );
    }
    const listed = state.membership.members().map(({ id }) => id);
    const configured = [...metadata.confState.voters, ...metadata.confState.learners].sort(ascending);
    if (listed.length !== configured.length || listed.some((id, i) => id !== configured[i])) {
      throw new UselessSnapshot("the database is of other members than the message: it belongs to another cluster");
    }
    return state;
  }

  #refuse(error: Error, done: (error: Error | null) => void): void {
    this.#isReceiving = false;
    this.#options.log.warn("failed to take up a snapshot from the leader", { error });
    done(error);
  }

  #discard(state: AppliedState): void {
    this.#received = null;
    this.#isReceiving = false;
    this.#options.databases.discard(state.backend.storage);
  }

  #give(file: OutgoingFile, cut: DatabaseCut, message: Message, done: OpenDone): void {
    file.users++;
    let isReleased = false;
    done(null, {
      message: this.#messageFor(message, cut),
      path: file.path,
      sizeBytes: cut.sizeBytes,
      release: () => {
        if (isReleased) return;
        isReleased = true;
        this.#release(file);
      },
    });
  }

  /** Raft's message, speaking of the file instead of what raft knew when it asked. */
  #messageFor(asked: Message, cut: DatabaseCut): Message {
    const message = new Message(MessageType.Snap, asked.to, asked.from);
    message.term = asked.term;
    const metadata = {
      confState: cut.confState === null ? EMPTY_CONF_STATE : parseConfState(Buffer.from(cut.confState).toString()),
      index: index(cut.appliedIndex),
      term: cut.appliedTerm as Term,
    };
    message.snapshot = { data: Buffer.from(encodeV2Store(this.#owner.state().membership)), metadata };
    return message;
  }

  #release(file: OutgoingFile): void {
    file.users--;
    if (file.users === 0) this.#drop(file);
  }

  #drop(file: OutgoingFile): void {
    this.#files.delete(file);
    this.#options.databases.removeFile(file.path);
    this.#lately = { index: file.keepsIndex, untilMs: this.#options.clock.monotonicMs() + HOLD_MS };
  }
}

function memberStops(): UselessSnapshot {
  return new UselessSnapshot("the member stops");
}

function reaches(cut: DatabaseCut, message: Message): boolean {
  return cut.appliedIndex >= message.snapshot!.metadata.index;
}
