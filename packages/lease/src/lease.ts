/** One lease. The lessor alone creates and changes it; nobody else ever holds one. */

import { type DueEntry, NOT_IN_HEAP } from "./due-heap.ts";
import { KeySet } from "./key-set.ts";

/** A keep-alive that came after the lease's expiry and waits for its fate (semantics §6.4). Called at most once. */
export interface RevokeWaiter {
  /** The lease is gone: answer TTL 0. */
  revoked(): void;
  /** This member stopped leading before the lease was gone: the next leader decides. */
  demoted(): void;
}

/** Where the lease stands in one heap. Part of the lease so that moving it searches nothing. */
export class LeaseEntry implements DueEntry {
  readonly lease: Lease;
  dueMs = 0;
  place: number = NOT_IN_HEAP;

  constructor(lease: Lease) {
    this.lease = lease;
  }

  get order(): bigint {
    return this.lease.id;
  }
}

export class Lease {
  readonly id: bigint;
  /** As granted, after clamping. */
  readonly ttlSeconds: number;
  /** The last checkpoint, used instead of the TTL at the next promotion; 0 means none. */
  remainingTtlSeconds: number;
  /** On the monotonic clock; Infinity while this member does not lead. */
  expiryMs: number = Number.POSITIVE_INFINITY;
  readonly keys: KeySet = new KeySet();
  readonly expiry: LeaseEntry = new LeaseEntry(this);
  /** Made when first scheduled: most leases are too short-lived to be checkpointed. */
  checkpoint: LeaseEntry | null = null;
  waiters: RevokeWaiter[] | null = null;

  constructor(id: bigint, ttlSeconds: number, remainingTtlSeconds: number) {
    this.id = id;
    this.ttlSeconds = ttlSeconds;
    this.remainingTtlSeconds = remainingTtlSeconds;
  }

  /** What a new leader gives it. */
  get promisedSeconds(): number {
    return this.remainingTtlSeconds > 0 ? this.remainingTtlSeconds : this.ttlSeconds;
  }
}
