/**
 * etcdserverpb.Lease. Grants and revokes go through the log; keep-alives are answered from the leader's clock.
 *
 * Hot: bench/lease.ts. A keep-alive stream handles its requests strictly in order; one whose lease is past its expiry
 * waits for the revoke that is on its way, and what comes after it on the stream waits behind.
 */
import { LeaseKeepAliveView, RaftOp, writeLeaseKeepAliveResponse } from "@quorate/api";
import {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseLeasesRequest,
  LeaseLeasesResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
} from "@quorate/api/messages";
import { Renewal, type RevokeWaiter } from "@quorate/lease";
import type { CallOwner, Method, ServerCall, StreamHandler } from "@quorate/rpc";
import { answerWriter, failStreamThrown, failWith, sendWith } from "../answer.ts";
import type { Member } from "../member/member.ts";
import { answer, headerOf, proposeFor, unary } from "./simple.ts";

/** etcd's estimate of what a lease adds to the database. */
const LEASE_OVERHEAD_BYTES = 64;
/** Requests that may wait behind an expired lease on one stream. */
const MAX_QUEUED_RENEWALS = 10_000;

export function leaseMethods(member: Member): [string, Method][] {
  return [
    unary("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, (call, request) => {
      if (!member.admitsWrite(call, LEASE_OVERHEAD_BYTES)) return;
      const ID = request.ID === 0n ? member.ids.nextLeaseId() : request.ID;
      proposeFor(member, call, RaftOp.LeaseGrant, LeaseGrantRequest, { ID, TTL: request.TTL }, (outcome) => {
        answer(call, LeaseGrantResponse, {
          header: headerOf(member),
          ID: outcome.leaseId,
          TTL: outcome.leaseTtlSeconds,
        });
      });
    }),
    unary("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, (call, request) => {
      proposeFor(member, call, RaftOp.LeaseRevoke, LeaseRevokeRequest, request, () => {
        answer(call, LeaseRevokeResponse, { header: headerOf(member) });
      });
    }),
    unary("/etcdserverpb.Lease/LeaseTimeToLive", LeaseTimeToLiveRequest, (call, { ID, keys }) => {
      const lease = member.lessor.timeToLive(ID);
      if (lease !== null && lease.remainingSeconds === null) {
        failWith(call, "LeaderChanged");
        return;
      }
      answer(call, LeaseTimeToLiveResponse, {
        header: headerOf(member),
        ID,
        TTL: lease === null ? -1 : lease.remainingSeconds!,
        grantedTTL: lease === null ? 0 : lease.grantedTtlSeconds,
        keys: keys ? member.lessor.keys(ID) : [],
      });
    }),
    unary("/etcdserverpb.Lease/LeaseLeases", LeaseLeasesRequest, (call) => {
      const leases = member.lessor.leases().map((ID) => ({ ID }));
      answer(call, LeaseLeasesResponse, { header: headerOf(member), leases });
    }),
    ["/etcdserverpb.Lease/LeaseKeepAlive", { kind: "stream", open: (call) => new KeepAliveStream(member, call) }],
  ];
}

class KeepAliveStream implements StreamHandler, CallOwner, RevokeWaiter {
  readonly #member: Member;
  readonly #call: ServerCall;
  readonly #view = new LeaseKeepAliveView();
  /** The lease whose revoke the stream waits for, and the requests behind it; null while nothing waits. */
  #awaited: { readonly id: bigint; readonly revision: number } | null = null;
  #queue: bigint[] = [];
  #isHalfClosed = false;

  constructor(member: Member, call: ServerCall) {
    this.#member = member;
    this.#call = call;
    call.owner = this;
  }

  message(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    try {
      this.#view.decode(buffer, start, end);
    } catch (error) {
      this.cancelled();
      failStreamThrown(call, error);
      return;
    }
    if (this.#awaited === null) {
      this.#renew(this.#view.id);
    } else if (this.#queue.push(this.#view.id) > MAX_QUEUED_RENEWALS) {
      this.cancelled();
      failWith(call, "TooManyRequests");
    }
  }

  halfClosed(call: ServerCall): void {
    this.#isHalfClosed = true;
    if (this.#awaited === null) call.end();
  }

  /** Nothing waits for the stream any more: the client has gone, or it was failed here. */
  cancelled(): void {
    if (this.#awaited !== null) this.#member.lessor.forgetWaiter(this.#awaited.id, this);
    this.#awaited = null;
    this.#queue = [];
  }

  /** The lease waited for is gone. */
  revoked(): void {
    const { id, revision } = this.#awaited!;
    this.#awaited = null;
    this.#answer(id, Renewal.NotFound, revision);
    const queue = this.#queue;
    this.#queue = [];
    for (const next of queue) {
      if (!this.#call.isOpen) return;
      if (this.#awaited === null) this.#renew(next);
      else this.#queue.push(next);
    }
    if (this.#isHalfClosed && this.#awaited === null && this.#call.isOpen) this.#call.end();
  }

  demoted(): void {
    this.#awaited = null;
    this.#queue = [];
    failWith(this.#call, "NotPrimaryLessor");
  }

  #renew(id: bigint): void {
    // The revision in the answer is the one before the renewal was tried.
    const { revision } = this.#member.store;
    const ttlSeconds = this.#member.lessor.renew(id);
    switch (ttlSeconds) {
      case Renewal.NotPrimary:
        failWith(this.#call, "NoLeader");
        return;
      case Renewal.Overdue:
        if (this.#member.lessor.awaitRevoke(id, this)) this.#awaited = { id, revision };
        else this.#answer(id, Renewal.NotFound, revision);
        return;
      default:
        this.#answer(id, ttlSeconds, revision);
    }
  }

  #answer(id: bigint, ttlSeconds: number, revision: number): void {
    if (!this.#call.isOpen) return;
    const writer = answerWriter;
    writer.reset();
    writeLeaseKeepAliveResponse(writer, this.#member.header, revision, this.#member.appliedTerm, id, ttlSeconds);
    sendWith(this.#call, writer);
  }
}
