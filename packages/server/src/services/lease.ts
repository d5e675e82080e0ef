/**
 * etcdserverpb.Lease. Grants and revokes go through the log; keep-alives and times to live are the leader's to answer, of
 * whom a follower asks them for its clients.
 *
 * Hot: bench/lease.ts. A keep-alive stream handles its requests strictly in order; while one waits, for the revoke of a
 * lease past its time or for the leader, what comes after it on the stream waits behind.
 */
import { type ErrorKind, LeaseKeepAliveView, RaftOp, writeLeaseKeepAliveResponse } from "@quorate/api";
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
import { Access } from "@quorate/auth";
import type { CallOwner, Method, ServerCall, StreamHandler } from "@quorate/rpc";
import { answerWriter, failStreamThrown, failWith, sendWith } from "../answer.ts";
import { callerOf, isStranger } from "../caller.ts";
import { refusalOfKeys, refusalOfLease } from "../member/key-permissions.ts";
import type { Member } from "../member/member.ts";
import type { KeepAliveOutcome, TimeToLiveOutcome } from "../peers/peer-requests.ts";
import { LeaderInquiry } from "./leader-inquiry.ts";
import type { LeaderLink } from "./leader-link.ts";
import { LeaseRenewal, type RenewalOwner, renewNow } from "./lease-renewal.ts";
import { leaseTimeOf } from "./lease-time.ts";
import { answer, headerOf, proposeFor, unary } from "./simple.ts";

export interface LeaseServiceOptions {
  readonly leaderLink: LeaderLink;
  /** A known lease is renewed without waiting for what is committed and not applied: the gate FastLeaseKeepAlive. */
  readonly fastLeaseKeepAlive: boolean;
}

/** etcd's estimate of what a lease adds to the database. */
const LEASE_OVERHEAD_BYTES = 64;
/** Requests that may wait behind another on one stream. */
const MAX_QUEUED_RENEWALS = 10_000;

export function leaseMethods(member: Member, options: LeaseServiceOptions): [string, Method][] {
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
      answerTimeToLive(member, options.leaderLink, call, ID, keys);
    }),
    unary("/etcdserverpb.Lease/LeaseLeases", LeaseLeasesRequest, (call) => {
      const ids = member.lessor.leases();
      for (const id of ids) {
        const refused = refusalOfLease(member, callerOf(call), id, Access.Read);
        if (refused !== null) return failWith(call, refused);
      }
      answer(call, LeaseLeasesResponse, { header: headerOf(member), leases: ids.map((ID) => ({ ID })) });
    }),
    [
      "/etcdserverpb.Lease/LeaseKeepAlive",
      { kind: "stream", open: (call) => new KeepAliveStream(member, options, call) },
    ],
  ];
}

function answerTimeToLive(member: Member, link: LeaderLink, call: ServerCall, ID: bigint, withKeys: boolean): void {
  const caller = callerOf(call);
  const { revision: authRevision } = member.auth;
  const refused = withKeys ? refusalOfLease(member, caller, ID, Access.Read) : null;
  if (refused !== null) return failWith(call, refused);
  const tell = (TTL: number, grantedTTL: number, keys: readonly Uint8Array[]): void => {
    const { auth } = member;
    if (withKeys && auth.isEnabled) {
      if (auth.revision !== authRevision) return failWith(call, "AuthOldRevision");
      // The lease may have got keys since, which etcd would show.
      const hidden = refusalOfKeys(auth, caller, keys, Access.Read);
      if (hidden !== null) return failWith(call, hidden);
    }
    answer(call, LeaseTimeToLiveResponse, { header: headerOf(member), ID, TTL, grantedTTL, keys });
  };
  const answerHere = (): void =>
    leaseTimeOf(member, ID, (time, error) => {
      if (error !== null) failWith(call, error);
      else if (time === null) tell(-1, 0, []);
      else tell(time.remainingSeconds, time.grantedTtlSeconds, withKeys ? member.lessor.keys(ID) : []);
    });
  if (member.isLeader && member.lessor.isPrimary) return answerHere();
  new LeaderInquiry<TimeToLiveOutcome>(member, {
    get isWaiting() {
      return call.isOpen;
    },
    ask: (peerUrls, done) => link.leaseTimeToLive(peerUrls, ID, withKeys, done),
    isAnswer: ({ kind }) => kind === "found" || kind === "not found",
    answered: (outcome) => {
      if (outcome.kind === "found") tell(outcome.ttlSeconds, outcome.grantedTtlSeconds, outcome.keys);
      else tell(-1, 0, []);
    },
    leads: answerHere,
    gaveUp: (reason) => failWith(call, reason),
  }).begin();
}

class KeepAliveStream implements StreamHandler, CallOwner, RenewalOwner {
  readonly #member: Member;
  readonly #options: LeaseServiceOptions;
  readonly #call: ServerCall;
  readonly #view = new LeaseKeepAliveView();
  /** A request waits, for what `#work` does; those behind it wait in the queue. */
  #isBusy = false;
  #work: { abandon(): void } | null = null;
  #id = 0n;
  /** The store's before the renewal was tried: what the answer says. */
  #revision = 0;
  #queue: bigint[] = [];
  #isWorkingOff = false;
  #isHalfClosed = false;

  constructor(member: Member, options: LeaseServiceOptions, call: ServerCall) {
    this.#member = member;
    this.#options = options;
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
    if (!this.#isBusy) {
      this.#renew(this.#view.id);
    } else if (this.#queue.push(this.#view.id) > MAX_QUEUED_RENEWALS) {
      this.cancelled();
      failWith(call, "TooManyRequests");
    }
  }

  halfClosed(call: ServerCall): void {
    this.#isHalfClosed = true;
    if (!this.#isBusy) call.end();
  }

  /** Nothing waits for the stream any more: the client has gone, or it was failed here. */
  cancelled(): void {
    this.#work?.abandon();
    this.#work = null;
    this.#queue = [];
  }

  // --- RenewalOwner

  renewed(ttlSeconds: number): void {
    this.#isBusy = false;
    this.#work = null;
    this.#answer(this.#id, ttlSeconds, this.#revision);
    this.#workOff();
  }

  refusal(): ErrorKind | null {
    return this.#refusalOf(this.#id);
  }

  /** The leader is asked; if we are it by then, the renewal begins anew. */
  notPrimary(): void {
    const refused = this.refusal();
    if (refused !== null) return this.failed(refused);
    const inquiry = new LeaderInquiry<KeepAliveOutcome>(this.#member, {
      isWaiting: true,
      ask: (peerUrls, done) => this.#options.leaderLink.leaseKeepAlive(peerUrls, this.#id, done),
      isAnswer: ({ kind }) => kind === "renewed" || kind === "not found",
      answered: (outcome) => this.renewed(outcome.kind === "renewed" ? outcome.ttlSeconds : 0),
      leads: () => this.#beginRenewal(),
      gaveUp: (reason) => this.failed(reason),
    });
    this.#work = inquiry;
    inquiry.begin();
  }

  failed(error: ErrorKind): void {
    this.#work = null;
    this.#queue = [];
    failWith(this.#call, error);
  }

  #renew(id: bigint): void {
    const { revision } = this.#member.store;
    // Who is refused for what is applied so far is asked again when all of it is.
    const isRefused = this.#refusalOf(id) !== null;
    const ttlSeconds = isRefused ? null : renewNow(this.#member, id, !this.#options.fastLeaseKeepAlive);
    if (ttlSeconds !== null) {
      this.#answer(id, ttlSeconds, revision);
      return;
    }
    this.#isBusy = true;
    this.#id = id;
    this.#revision = revision;
    this.#beginRenewal();
  }

  #refusalOf(id: bigint): ErrorKind | null {
    if (!this.#member.auth.isEnabled) return null;
    if (isStranger(this.#call)) return "InvalidAuthToken";
    const caller = callerOf(this.#call);
    return caller === null ? "UserEmpty" : refusalOfLease(this.#member, caller, id, Access.Write);
  }

  #beginRenewal(): void {
    const renewal = new LeaseRenewal(this.#member, this.#id, !this.#options.fastLeaseKeepAlive, this);
    this.#work = renewal;
    renewal.begin();
  }

  /** What waited behind the request that is done. A renewal that ends at once comes back here, hence the mark. */
  #workOff(): void {
    if (this.#isWorkingOff) return;
    this.#isWorkingOff = true;
    const queue = this.#queue;
    let next = 0;
    while (next < queue.length && !this.#isBusy && this.#call.isOpen) this.#renew(queue[next++]!);
    this.#queue = this.#call.isOpen ? queue.slice(next) : [];
    this.#isWorkingOff = false;
    if (this.#isHalfClosed && !this.#isBusy && this.#call.isOpen) this.#call.end();
  }

  #answer(id: bigint, ttlSeconds: number, revision: number): void {
    if (!this.#call.isOpen) return;
    const writer = answerWriter;
    writer.reset();
    writeLeaseKeepAliveResponse(writer, this.#member.header, revision, this.#member.appliedTerm, id, ttlSeconds);
    sendWith(this.#call, writer);
  }
}
