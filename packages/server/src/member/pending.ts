/**
 * Proposals whose outcome somebody waits for, by the low half of their request id. The apply loop takes them out when
 * their entry is applied; a sweep fails those that waited too long. What happens to the entry of a proposal that failed
 * here is unknown to the client: it may still be applied.
 */
import type { ErrorKind } from "@quorate/api";
import type { ServerCall } from "@quorate/rpc";
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

  constructor(idLow: number, handler: ProposalHandler, call: ServerCall | null, startedMs: number, detail: unknown) {
    this.idLow = idLow;
    this.handler = handler;
    this.call = call;
    this.startedMs = startedMs;
    this.detail = detail;
  }
}

export class PendingProposals {
  readonly #byId = new Map<number, Pending>();

  get count(): number {
    return this.#byId.size;
  }

  add(pending: Pending): void {
    this.#byId.set(pending.idLow, pending);
  }

  /** Takes the proposal out; undefined if nobody waits for it (any more). */
  take(idLow: number): Pending | undefined {
    const pending = this.#byId.get(idLow);
    if (pending !== undefined) this.#byId.delete(idLow);
    return pending;
  }

  /** Fails every proposal begun before `beforeMs`; returns how many. A Map keeps insertion order: the oldest come first. */
  expire(beforeMs: number, error: ErrorKind): number {
    let count = 0;
    for (const pending of this.#byId.values()) {
      if (pending.startedMs >= beforeMs) break;
      count++;
      this.#byId.delete(pending.idLow);
      pending.isAbandoned = true;
      pending.handler.failed(pending, error);
    }
    return count;
  }

  failAll(error: ErrorKind): void {
    this.expire(Number.POSITIVE_INFINITY, error);
  }
}

const NO_DATA = new Uint8Array(0);
