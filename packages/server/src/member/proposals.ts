/**
 * What a member puts into the log, and who waits for it: operations and changes of the membership. Services and the parts
 * of the member propose here; what becomes of it is heard from the applier, from consensus, or from the sweep that ends
 * what has waited too long.
 *
 *   propose ── refused: load, size, stop ──▶ failed
 *      │
 *      └─▶ waits, Consensus has it ─┬─ entryApplied ──▶ applied
 *                                   ├─ dropped, expire, stop ──▶ failed (its entry may be applied nevertheless)
 *
 * Invariants:
 *  - a handler hears once what became of its proposal, except that a change of the membership is given up in silence when
 *    its call has ended;
 *  - what the member proposes for itself is never refused for load (known failure LE-12), and while auth is on it comes
 *    from root (LE-08); what a call asks for comes from whom the call comes from;
 *  - nothing is accepted and nothing waits once it was stopped.
 */
import { type ErrorKind, encodeRaftRequest, type RaftOp, raftRequestSize } from "@quorate/api";
import { type Identity, ROOT } from "@quorate/auth";
import { encodeChange, type MembershipChange } from "@quorate/membership";
import type { ConfChange } from "@quorate/raft";
import type { ServerCall } from "@quorate/rpc";
import type { Clock } from "@quorate/world";
import { callerOf } from "../caller.ts";
import type { Consensus, Proposal } from "./consensus.ts";
import type { MemberCounters } from "./member-counters.ts";
import type { Outcome } from "./outcome.ts";
import { Pending, PendingProposals, type ProposalHandler } from "./pending.ts";
import type { RequestIds } from "./request-ids.ts";
import type { StateMachine } from "./state-machine.ts";

export interface ProposalsParts {
  readonly ids: RequestIds;
  readonly state: Pick<StateMachine, "auth">;
  readonly consensus: Pick<Consensus, "propose" | "proposeConfChange" | "commitIndex" | "appliedIndex">;
  /** Why a proposal that was begun then and handed to raft has not come back in time. */
  readonly timeoutOf: (startedMs: number) => ErrorKind;
  /** What the log can take as one entry. */
  readonly maxEntryBytes: number;
  readonly requestTimeoutMs: number;
  readonly counters: MemberCounters;
}

export interface ProposalsOptions {
  readonly maxRequestBytes: number;
  readonly clock: Clock;
}

/** etcd refuses writes when so many committed entries wait to be applied; here also what waits to be committed. */
const MAX_APPLY_LAG = 5000;
const MAX_PENDING_PROPOSALS = 200_000;
/** Below what raft lets wait for commitment (open-member.ts), so that who is refused hears of it instead of waiting. */
const MAX_PENDING_BYTES = 192 * 1024 * 1024;
const NO_NAME = new Uint8Array(0);
/** Of whatever revision it is asked about. */
const MEMBER_ITSELF: Identity = { user: ROOT, revision: null };
const LOW_48_BITS = 0xffff_ffff_ffffn;

export class Proposals {
  readonly #parts: ProposalsParts;
  readonly #options: ProposalsOptions;
  /** What the log cannot take would end the process, whatever the configuration allows (known failure WA-05). */
  readonly #limitBytes: number;
  readonly #pending = new PendingProposals();
  /** Changes of the membership wait as long as their callers do. */
  readonly #changes = new Map<number, Pending>();
  #isStopped = false;

  constructor(parts: ProposalsParts, options: ProposalsOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#limitBytes = Math.min(options.maxRequestBytes, parts.maxEntryBytes);
  }

  /** How many operations wait for their entry. */
  get count(): number {
    return this.#pending.count;
  }

  /** Bytes of the entries they wait for. */
  get pendingBytes(): number {
    return this.#pending.sizeBytes;
  }

  /**
   * Puts an operation, canonically encoded in `bytes[start, end)` (copied), into the log. The handler hears once what
   * became of it, unless the call is refused here, which the handler's `failed` reports at once. With a `leaderTerm` it is
   * lost if this member does not lead in that term when its turn comes.
   */
  propose(
    op: RaftOp,
    bytes: Uint8Array,
    start: number,
    end: number,
    handler: ProposalHandler,
    call: ServerCall | null,
    detail: unknown,
    leaderTerm: number | null = null,
  ): void {
    const { ids, consensus, state } = this.#parts;
    const idLow = ids.next();
    const pending = new Pending(idLow, handler, call, this.#options.clock.monotonicMs(), detail);
    pending.leaderTerm = leaderTerm;
    let username: Uint8Array = NO_NAME;
    let authRevision = 0;
    const { auth } = state;
    if (auth.isEnabled) {
      const caller = call === null ? MEMBER_ITSELF : callerOf(call);
      if (caller !== null) {
        username = auth.nameBytes(caller.user);
        authRevision = caller.revision ?? auth.revision;
      }
    }
    const entryBytes = raftRequestSize(ids.high, idLow, username.length, authRevision, op, end - start);
    const refused = this.#refusal(entryBytes, call === null);
    if (refused !== null) {
      handler.failed(pending, refused);
      return;
    }
    pending.data = encodeRaftRequest(ids.high, idLow, username, authRevision, op, bytes, start, end);
    this.#pending.add(pending);
    consensus.propose(pending);
  }

  /** An operation of the member itself. */
  proposeOwn(op: RaftOp, bytes: Uint8Array, handler: ProposalHandler, leaderTerm: number | null = null): void {
    this.propose(op, bytes, 0, bytes.length, handler, null, null, leaderTerm);
  }

  /** Puts a change of the membership into the log; the handler hears of it as of any proposal. */
  proposeChange(change: MembershipChange, handler: ProposalHandler, call: ServerCall | null): void {
    const { ids, consensus } = this.#parts;
    const idLow = ids.next();
    const pending = new Pending(idLow, handler, call, this.#options.clock.monotonicMs(), null);
    if (this.#isStopped) {
      handler.failed(pending, "Stopped");
      return;
    }
    this.#changes.set(idLow, pending);
    const id = (BigInt(ids.high) << 48n) | BigInt(idLow);
    const isWanted = (): boolean => this.#changes.has(idLow) && call?.isOpen !== false;
    consensus.proposeConfChange({ id, ...encodeChange(change) }, isWanted);
  }

  /** The entry with this id was applied; not every one is ours. `outcome` is borrowed until return. */
  entryApplied(idHigh: number, idLow: number, outcome: Outcome): void {
    if (idHigh !== this.#parts.ids.high) return;
    const pending = this.#pending.take(idLow) ?? this.#changes.get(idLow);
    if (pending === undefined) return;
    this.#changes.delete(idLow);
    pending.handler.applied(pending, outcome);
  }

  /** The member's own stay pending until they time out: what would make them again at once would not come to an end. */
  dropped(proposals: readonly Proposal[]): void {
    for (const proposal of proposals) {
      const pending = proposal as Pending;
      if (pending.call !== null) this.#pending.take(pending.idLow)?.handler.failed(pending, "ProposalDropped");
    }
  }

  changeDropped(change: ConfChange): void {
    const idLow = Number(change.id & LOW_48_BITS);
    const pending = this.#changes.get(idLow);
    this.#changes.delete(idLow);
    pending?.handler.failed(pending, "ProposalDropped");
  }

  /** Ends what has waited too long; every so often. */
  expire(nowMs: number): void {
    const { requestTimeoutMs, counters } = this.#parts;
    const beforeMs = nowMs - requestTimeoutMs;
    counters.proposalsFailed += this.#pending.expire(beforeMs, this.#timeoutOf);
    this.#endChanges(beforeMs);
  }

  /** Fails everything that waits and, at once, whatever is proposed from here on. */
  stop(): void {
    this.#isStopped = true;
    this.#pending.failAll("Stopped");
    for (const pending of this.#changes.values()) pending.handler.failed(pending, "Stopped");
    this.#changes.clear();
  }

  /**
   * What the member itself proposes is never refused for load: an expired lease must go and a member must get ready however
   * much clients ask for (known failure LE-12), and while entries are applied the lag says nothing.
   */
  #refusal(entryBytes: number, isOwn: boolean): ErrorKind | null {
    if (this.#isStopped) return "Stopped";
    if (isOwn) return null;
    const { consensus } = this.#parts;
    if (consensus.commitIndex - consensus.appliedIndex > MAX_APPLY_LAG) return "TooManyRequests";
    if (this.#pending.count >= MAX_PENDING_PROPOSALS) return "TooManyRequests";
    if (this.#pending.sizeBytes > MAX_PENDING_BYTES) return "TooManyRequests";
    return entryBytes > this.#limitBytes ? "RequestTooLarge" : null;
  }

  /** A change waits as long as its caller does; what another member asked for, as long as that member would. */
  #endChanges(beforeMs: number): void {
    for (const pending of this.#changes.values()) {
      const { idLow, call, handler, startedMs } = pending;
      if (call === null ? startedMs >= beforeMs : call.isOpen) continue;
      this.#changes.delete(idLow);
      if (call === null) handler.failed(pending, "Timeout");
    }
  }

  readonly #timeoutOf = (pending: Pending): ErrorKind => {
    // What could not even be handed to consensus times out as the caller's own wait does (semantics §11.3).
    return pending.isProposed ? this.#parts.timeoutOf(pending.startedMs) : "ContextDeadlineExceeded";
  };
}
