/**
 * Holds back messages that say no more than "the commit index has moved", because the next entries say it as well: under
 * load they follow at once, and an empty message per write would double the messages of a cluster.
 *
 *   MsgApp without entries ──▶ held ──┬─ anything else that raft appends for the same member: dropped, it says the same and more
 *                                     └─ 2 ms: sent
 *
 * Whoever waits for its follower to apply must not wait longer for this: a follower that passed a request on lately gets its
 * news at once. Dropping or delaying a message is always allowed in raft; the order of what one member is sent stays.
 */
import { type Message, MessageType, type NodeId } from "@quorate/raft";
import type { Clock, Timers } from "@quorate/world";

/** Less than anybody notices, more than a client at work takes to write again. */
const HOLD_MS = 2;
/** How long a member that passed on a request counts as one where somebody waits. */
const ASKED_LATELY_MS = 100;

export interface CommitNewsOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** What was held long enough; called in a turn of its own. */
  readonly send: (message: Message) => void;
}

export class CommitNews {
  readonly #options: CommitNewsOptions;
  readonly #held = new Map<NodeId, Message>();
  readonly #askedMs = new Map<NodeId, number>();
  #isTimerSet = false;

  constructor(options: CommitNewsOptions) {
    this.#options = options;
  }

  /** A message from another member has come. */
  received({ type, from }: Message): void {
    if (type === MessageType.Prop || type === MessageType.ReadIndex) {
      this.#askedMs.set(from, this.#options.clock.monotonicMs());
    }
  }

  /** True if the message is held; otherwise it is to be sent, and what was held before it is forgotten. */
  holds(message: Message): boolean {
    if (message.type !== MessageType.App) return false;
    if (message.entries.length > 0 || this.#isAwaited(message.to)) {
      if (this.#held.size > 0) this.#held.delete(message.to);
      return false;
    }
    this.#held.set(message.to, message);
    if (!this.#isTimerSet) {
      this.#isTimerSet = true;
      this.#options.timers.after(HOLD_MS, this.#release);
    }
    return true;
  }

  /** The leadership has changed: what was held is of no use any more. */
  clear(): void {
    this.#held.clear();
  }

  readonly #release = (): void => {
    this.#isTimerSet = false;
    for (const message of this.#held.values()) this.#options.send(message);
    this.#held.clear();
  };

  #isAwaited(id: NodeId): boolean {
    const askedMs = this.#askedMs.get(id);
    return askedMs !== undefined && this.#options.clock.monotonicMs() - askedMs < ASKED_LATELY_MS;
  }
}
