/**
 * One keep-alive on the member that leads (semantics §6.4).
 *
 *   leads beyond doubt? ─▶ lease known, or everything committed applied ─▶ renew ─┬─ granted TTL, or 0: not there
 *        │ no: a round                                                ▲           ├─ past its time: wait for its revoke
 *        └─▶ "not a primary lessor"                                   └ checkpoint ┘
 *
 * Invariants:
 *  - nobody is told that his lease lives by a leader that may have been replaced (known failure LE-02);
 *  - after every wait the lease is looked for again, so one revoked meanwhile is not there (LE-03);
 *  - a lease is called unknown only when everything committed before is applied (LE-04);
 *  - whether the caller may renew it is asked then too, after every wait.
 *
 * Nearly all renewals wait for nothing: {@link renewNow} is the hot path (bench/lease.ts) and allocates nothing.
 */
import { type ErrorKind, RaftOp } from "@quorate/api";
import { LeaseCheckpointRequest } from "@quorate/api/messages";
import { type Lessor, Renewal, type RevokeWaiter } from "@quorate/lease";
import { assert } from "@quorate/world";
import type { Member } from "../member/member.ts";
import type { Pending, ProposalHandler } from "../member/pending.ts";

/** The TTL, 0 for an unknown lease; null if something has to be waited for: then make a {@link LeaseRenewal}. */
export function renewNow(member: Member, id: bigint, waitsForApplied: boolean): number | null {
  if (!member.leadsBeyondDoubt) return null;
  const isApplied = member.appliedIndex >= member.commitIndex;
  if (waitsForApplied && !isApplied) return null;
  const ttlSeconds = member.lessor.renew(id);
  if (ttlSeconds > 0) return ttlSeconds;
  return ttlSeconds === Renewal.NotFound && isApplied ? 0 : null;
}

/** Hears once how the renewal ended. */
export interface RenewalOwner {
  /** Why the caller may not renew the lease, as it is now; null: it may. */
  refusal(): ErrorKind | null;
  /** 0: there is no such lease. */
  renewed(ttlSeconds: number): void;
  /** Another member leads, or will. */
  notPrimary(): void;
  failed(error: ErrorKind): void;
}

export class LeaseRenewal implements RevokeWaiter, ProposalHandler {
  readonly #member: Member;
  readonly #id: bigint;
  /** Also when the lease is known. */
  readonly #waitsForApplied: boolean;
  readonly #owner: RenewalOwner;
  /** Whose revoke is waited for. */
  #awaiting: Lessor | null = null;
  #isOver = false;

  constructor(member: Member, id: bigint, waitsForApplied: boolean, owner: RenewalOwner) {
    this.#member = member;
    this.#id = id;
    this.#waitsForApplied = waitsForApplied;
    this.#owner = owner;
  }

  /** The owner may hear of the end before this returns. */
  begin(): void {
    const member = this.#member;
    if (!member.isLeader) return this.#end(() => this.#owner.notPrimary());
    member.confirmLeadership((isLeader) => {
      if (this.#isOver) return;
      if (!isLeader) return this.#fail("NotPrimaryLessor");
      if (!this.#waitsForApplied && member.lessor.exists(this.#id)) return this.#renew();
      member.whenApplied((error) => {
        if (this.#isOver) return;
        if (error === null) this.#renew();
        else this.#fail(error);
      });
    });
  }

  /** Nobody waits any more; the owner hears nothing. */
  abandon(): void {
    this.#isOver = true;
    this.#awaiting?.forgetWaiter(this.#id, this);
  }

  // --- RevokeWaiter

  revoked(): void {
    this.#end(() => this.#owner.renewed(0));
  }

  demoted(): void {
    this.#end(() => this.#owner.notPrimary());
  }

  // --- ProposalHandler, of a checkpoint

  applied(): void {
    if (!this.#isOver) this.#renew();
  }

  /** The promise of the full time could not be made good for a next leader. etcd answers as if it had been. */
  failed(_pending: Pending, error: ErrorKind): void {
    this.#fail(error);
  }

  #renew(): void {
    const refused = this.#owner.refusal();
    if (refused !== null) return this.#fail(refused);
    const { lessor } = this.#member;
    const ttlSeconds = lessor.renew(this.#id);
    switch (ttlSeconds) {
      case Renewal.NotPrimary:
        return this.demoted();
      case Renewal.Overdue:
        this.#awaiting = lessor;
        assert(lessor.awaitRevoke(this.#id, this), "a lease past its time waits for its revoke");
        return;
      case Renewal.CheckpointFirst: {
        const bytes = LeaseCheckpointRequest.encode({ checkpoints: [{ ID: this.#id, remainingTTL: 0 }] });
        this.#member.propose(RaftOp.LeaseCheckpoint, bytes, 0, bytes.length, this, null, null);
        return;
      }
      default:
        this.#end(() => this.#owner.renewed(ttlSeconds));
    }
  }

  #fail(error: ErrorKind): void {
    this.#end(() => this.#owner.failed(error));
  }

  #end(tell: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    tell();
  }
}
