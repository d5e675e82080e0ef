/**
 * Proposals whose outcome somebody waits for, by the low half of their request id. The apply loop takes them out when
 * their entry is applied; a sweep fails those that waited too long. What happens to the entry of a proposal that failed
 * here is unknown to the client: it may still be applied.
 */
import type { ErrorKind } from "@quorate/api";
import type { ServerCall } from "@quorate/rpc";
import { assert } from "@quorate/world";
import type { Proposal } from "./consensus.ts";
import type { Outcome } from "./outcome.ts";

/** What to do with a proposal's end. One per method, shared by all its proposals. */
export interface ProposalHandler {
  /** The entry was applied. `outcome` is reused: borrowed until return. */
  applied(pending: Pending, outcome: Outcome): void;
  /** The wait ended without an answer from the log. */
  failed(pending: Pending, error: ErrorKind): void;
}

export class Pending implements Proposal {
  readonly idLow: number;
  readonly handler: ProposalHandler;
  /** The client's call; null for a proposal of the member itself. */
  readonly call: ServerCall | null;
  readonly startedMs: number;
  /** Whatever the handler needs to remember. */
  readonly detail: unknown;
  /** Empty until the entry is encoded. */
  data: Uint8Array = NO_DATA;
  isAbandoned = false;
  isProposed = false;
  leaderTerm: number | null = null;

  constructor(idLow: number, handler: ProposalHandler, call: ServerCall | null, startedMs: number, detail: unknown) {
    this.idLow = idLow;
    this.handler = handler;
    this.call = call;
    this.startedMs = startedMs;
    this.detail = detail;
  }
}

/**
 * A ring of slots, the id's low bits naming the slot: ids are handed out one after the other, so those in use lie close
 * together. A Map with an entry coming and going per request would rebuild itself over and over, and its old tables,
 * once promoted, keep dead proposals alive for the garbage collector to find.
 */
export class PendingProposals {
  #slots: (Pending | null)[] = new Array<Pending | null>(FIRST_SLOTS).fill(null);
  #count = 0;
  /** No proposal in the ring is older than this id; the sweep begins here. */
  #oldest = 0;
  #newest = 0;
  #sizeBytes = 0;

  /** Bytes of all their entries. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get count(): number {
    return this.#count;
  }

  /** Ids ascend from call to call; the entry's data is there. */
  add(pending: Pending): void {
    assert(pending.idLow > this.#newest, "request ids ascend");
    if (this.#count === 0) this.#oldest = pending.idLow;
    this.#newest = pending.idLow;
    while (this.#newest - this.#oldest >= this.#slots.length) {
      if (this.#slots[this.#oldest % this.#slots.length] === null) this.#oldest++;
      else this.#grow();
    }
    this.#slots[pending.idLow % this.#slots.length] = pending;
    this.#count++;
    this.#sizeBytes += pending.data.length;
  }

  /** Takes the proposal out; undefined if nobody waits for it (any more). */
  take(idLow: number): Pending | undefined {
    const slot = idLow % this.#slots.length;
    const pending = this.#slots[slot];
    if (pending === null || pending === undefined || pending.idLow !== idLow) return undefined;
    this.#slots[slot] = null;
    this.#count--;
    this.#sizeBytes -= pending.data.length;
    return pending;
  }

  /** Fails every proposal begun before `beforeMs`, each for its reason; returns how many. Older ids began earlier. */
  expire(beforeMs: number, reasonOf: (pending: Pending) => ErrorKind): number {
    let expired = 0;
    for (let id = this.#oldest; id <= this.#newest && this.#count > 0; id++) {
      const pending = this.#slots[id % this.#slots.length];
      if (pending === null || pending === undefined || pending.idLow !== id) continue;
      if (pending.startedMs >= beforeMs) break;
      this.take(id);
      expired++;
      pending.isAbandoned = true;
      pending.handler.failed(pending, reasonOf(pending));
    }
    return expired;
  }

  failAll(error: ErrorKind): void {
    this.expire(Number.POSITIVE_INFINITY, () => error);
  }

  #grow(): void {
    const old = this.#slots;
    const slots = new Array<Pending | null>(old.length * 2).fill(null);
    for (const pending of old) if (pending !== null) slots[pending.idLow % slots.length] = pending;
    this.#slots = slots;
  }
}

const FIRST_SLOTS = 1024;
const NO_DATA = new Uint8Array(0);
