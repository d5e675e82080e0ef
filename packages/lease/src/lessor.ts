/**
 * All leases of one member.
 *
 * Two halves that must not be mixed:
 *
 *   applied   grant, revoke, checkpoint, attach, detach, load     the same on every member, from log entries alone
 *   leading   promote, renew, expired, dueCheckpoints, demote     the leader's clock; never changes replicated state
 *
 * The leading half only ever *finds out* that something should happen; it happens when the log says so. A member that
 * does not lead has no clock here: its leases expire never, and its heaps are empty.
 *
 *                      promote                     expired() hands it out
 *   ┌───────────┐   ┌──────────┐   time passes   ┌─────────┐   revoke applied
 *   │ no expiry ├──▶│ counting ├────────────────▶│ overdue ├──────────────────▶ gone
 *   └───────────┘   └──┬────▲──┘                 └────┬────┘
 *         ▲     demote │    │ renew            demote │
 *         └────────────┘    └ (never from overdue) ◀──┘
 *
 * Invariants:
 *  - an expiry is never early: it is measured from the moment of apply, promotion or renewal on a monotonic clock;
 *  - while leading every lease is in the expiry heap, due no later than its expiry or its next hand-out; a lease handed
 *    out and still here is handed out again (known-failures LE-07);
 *  - while not leading both heaps are empty and nothing waits (LE-15);
 *  - the table holds exactly what a restart needs: id, TTL, and the remaining TTL of persisted checkpoints.
 *
 * Who calls: the apply loop and the lease service, on one thread. Nothing is called back synchronously except waiters.
 * A key hangs on one lease at most; the store, which knows the key's lease, detaches before it attaches.
 */

import { assert, type Clock } from "@quorate/world";
import { DueHeap } from "./due-heap.ts";
import { LeaseExistsError, LeaseNotFoundError, LeaseTtlTooLargeError } from "./errors.ts";
import { Lease, LeaseEntry, type RevokeWaiter } from "./lease.ts";
import { decodeLeaseRecord, encodeLeaseKey, encodeLeaseRecord } from "./lease-record.ts";

/** etcd's: a larger TTL in nanoseconds would not fit its int64. */
export const TTL_MAX_SECONDS = 9_000_000_000;

/** Most leases one {@link Lessor.expired} hands out; called twice a second, that is 1000 revokes a second. */
export const LEASE_COUNT_PER_EXPIRY = 500;

/** From this many leases on a promotion spreads their expiries, at three quarters of the rate they can be revoked. */
const SPREAD_LEASE_COUNT_MIN = 1000;
const SPREAD_GAP_MS: number = 1000 / 750;

const CHECKPOINT_COUNT_MAX = 1000;

/** etcd's, for {@link LessorOptions.checkpointIntervalMs}. */
export const CHECKPOINT_INTERVAL_MS: number = 5 * 60 * 1000;

const RETRY_INTERVAL_MS = 3000;

/** Where leases are kept: the table `lease`. Key and value are the callee's to keep; null removes. */
export interface LeaseTable {
  put(key: Uint8Array, value: Uint8Array | null): void;
}

export interface LessorOptions {
  readonly clock: Clock;
  readonly table: LeaseTable;
  /** Smaller TTLs are raised to this; etcd's is ceil(1.5 election timeouts). At least 1. */
  readonly minTtlSeconds: number;
  /** An overdue lease still here is handed out again after this; the request timeout. Default 3000. */
  readonly expiryRetryMs?: number;
  /** How often the leader records the remaining TTL of long leases; null: never. Default null. */
  readonly checkpointIntervalMs?: number | null;
}

/** What {@link Lessor.renew} answers instead of a TTL. 0 is what goes to the client for a lease that is not there. */
export const Renewal = {
  NotFound: 0,
  /** This member does not lead: forward to the one that does. */
  NotPrimary: -1,
  /** Past its expiry: it will be revoked and cannot be saved. {@link Lessor.awaitRevoke} tells when. */
  Overdue: -2,
  /** Propose a checkpoint with remaining TTL 0, then renew again: else a new leader would cut the lease short. */
  CheckpointFirst: -3,
} as const;

export interface LeaseTimeToLive {
  readonly id: bigint;
  readonly grantedTtlSeconds: number;
  /** Truncated toward zero, as etcd does; 0 or negative once overdue; null on a member that does not lead. */
  readonly remainingSeconds: number | null;
}

export interface DueCheckpoint {
  readonly id: bigint;
  readonly remainingTtlSeconds: number;
}

export class Lessor {
  readonly #clock: Clock;
  readonly #table: LeaseTable;
  readonly #minTtlSeconds: number;
  readonly #expiryRetryMs: number;
  readonly #checkpointIntervalMs: number | null;
  readonly #leases = new Map<bigint, Lease>();
  readonly #expiries = new DueHeap<LeaseEntry>();
  readonly #checkpoints = new DueHeap<LeaseEntry>();
  #isPrimary = false;

  constructor(options: LessorOptions) {
    assert(options.minTtlSeconds >= 1 && options.minTtlSeconds <= TTL_MAX_SECONDS, "the least TTL is a legal TTL");
    assert((options.checkpointIntervalMs ?? 1) > 0, "checkpoints are some time apart");
    assert((options.expiryRetryMs ?? 1) > 0, "retries of an expiry are some time apart");
    this.#clock = options.clock;
    this.#table = options.table;
    this.#minTtlSeconds = options.minTtlSeconds;
    this.#expiryRetryMs = options.expiryRetryMs ?? RETRY_INTERVAL_MS;
    this.#checkpointIntervalMs = options.checkpointIntervalMs ?? null;
  }

  // ---- applied: the same on every member

  /** Replaces everything with what the table holds, at boot and after a snapshot; keys are attached afterwards. Throws LeaseRecordCorruptError. */
  load(scan: (visit: (key: Uint8Array, value: Uint8Array) => void) => void): void {
    this.demote();
    this.#leases.clear();
    scan((key, value) => {
      const record = decodeLeaseRecord(key, value);
      const ttlSeconds = Math.max(record.ttlSeconds, this.#minTtlSeconds);
      this.#leases.set(record.id, new Lease(record.id, ttlSeconds, record.remainingTtlSeconds));
    });
  }

  /** Returns the effective TTL. Throws LeaseNotFoundError (id 0), LeaseTtlTooLargeError, LeaseExistsError, in that order. */
  grant(id: bigint, ttlSeconds: number): number {
    if (id === 0n) throw new LeaseNotFoundError("grant", id);
    if (ttlSeconds > TTL_MAX_SECONDS) throw new LeaseTtlTooLargeError(id, ttlSeconds, TTL_MAX_SECONDS);
    if (this.#leases.has(id)) throw new LeaseExistsError(id);
    const lease = new Lease(id, Math.max(ttlSeconds, this.#minTtlSeconds), 0);
    this.#leases.set(id, lease);
    this.#persist(lease);
    if (this.#isPrimary) {
      const nowMs = this.#clock.monotonicMs();
      this.#expireAt(lease, nowMs + lease.ttlSeconds * 1000);
      this.#scheduleCheckpoint(lease, nowMs);
    }
    return lease.ttlSeconds;
  }

  /**
   * Removes the lease and returns its keys ascending bytewise, the caller's own: delete them all in one write
   * transaction, none if there are none. Detaching them meanwhile is harmless. Throws LeaseNotFoundError.
   */
  revoke(id: bigint): Uint8Array[] {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw new LeaseNotFoundError("revoke", id);
    this.#leases.delete(id);
    this.#table.put(encodeLeaseKey(id), null);
    this.#expiries.remove(lease.expiry);
    if (lease.checkpoint !== null) this.#checkpoints.remove(lease.checkpoint);
    const keys = lease.keys.sorted();
    const waiters = lease.waiters;
    lease.waiters = null;
    if (waiters !== null) for (const waiter of waiters) waiter.revoked();
    return keys;
  }

  /** Sets what a promotion will grant instead of the TTL; 0 for the TTL again. An unknown id is ignored. `persist` as the cluster version says. */
  checkpoint(id: bigint, remainingTtlSeconds: number, persist: boolean): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    lease.remainingTtlSeconds = remainingTtlSeconds;
    if (persist) this.#persist(lease);
    if (this.#isPrimary) this.#scheduleCheckpoint(lease, this.#clock.monotonicMs());
  }

  exists(id: bigint): boolean {
    return this.#leases.has(id);
  }

  /** Hangs the key on the lease; copied. Nothing happens for an unknown lease, which only a damaged past can name (semantics §4.6). */
  attach(id: bigint, key: Uint8Array): void {
    this.#leases.get(id)?.keys.add(key);
  }

  /** Nothing happens for an unknown lease or key: the deletions of a revoke come here too. */
  detach(id: bigint, key: Uint8Array): void {
    this.#leases.get(id)?.keys.remove(key);
  }

  // ---- asked on any member

  get isPrimary(): boolean {
    return this.#isPrimary;
  }

  get count(): number {
    return this.#leases.size;
  }

  /** The keys of a lease, copied, ascending; none for an unknown lease. */
  keys(id: bigint): Uint8Array[] {
    return this.#leases.get(id)?.keys.sorted() ?? [];
  }

  /** Whether `holds` says so of every key of a lease, asked in no particular order until it says no; the key is buffer[0, length), lent until it returns; true for an unknown lease. */
  everyKey(id: bigint, holds: (buffer: Uint8Array, length: number) => boolean): boolean {
    return this.#leases.get(id)?.keys.every(holds) ?? true;
  }

  /** null for an unknown lease. */
  timeToLive(id: bigint): LeaseTimeToLive | null {
    const lease = this.#leases.get(id);
    if (lease === undefined) return null;
    const remainingMs = lease.expiryMs - this.#clock.monotonicMs();
    return {
      id,
      grantedTtlSeconds: lease.ttlSeconds,
      // Adding 0 turns the -0 of a lease overdue by less than a second into the 0 it is.
      remainingSeconds: this.#isPrimary ? Math.trunc(remainingMs / 1000) + 0 : null,
    };
  }

  /** All ids: on the leader those that expire first come first, elsewhere in no particular order. */
  leases(): bigint[] {
    const leases = [...this.#leases.values()];
    if (this.#isPrimary) leases.sort(byExpiry);
    return leases.map((lease) => lease.id);
  }

  // ---- leading: the clock

  /**
   * Starts the clock of every lease at its full (or checkpointed) TTL plus `extendMs`, one election timeout: time in
   * which no leader could renew must not count. Call it when the first entry of the own term is applied.
   */
  promote(extendMs: number): void {
    assert(!this.#isPrimary, "a lessor is promoted once per leadership");
    this.#isPrimary = true;
    const nowMs = this.#clock.monotonicMs();
    for (const lease of this.#leases.values()) lease.expiryMs = nowMs + extendMs + lease.promisedSeconds * 1000;
    if (this.#leases.size >= SPREAD_LEASE_COUNT_MIN) this.#spread();
    for (const lease of this.#leases.values()) {
      this.#expiries.schedule(lease.expiry, lease.expiryMs);
      this.#scheduleCheckpoint(lease, nowMs);
    }
  }

  /** Stops every clock and sends every waiter away. Nothing happens if this member was not leading. */
  demote(): void {
    if (!this.#isPrimary) return;
    this.#isPrimary = false;
    this.#expiries.clear();
    this.#checkpoints.clear();
    for (const lease of this.#leases.values()) {
      lease.expiryMs = Number.POSITIVE_INFINITY;
      lease.checkpoint = null;
      const waiters = lease.waiters;
      lease.waiters = null;
      if (waiters !== null) for (const waiter of waiters) waiter.demoted();
    }
  }

  /**
   * Starts the lease's clock over; returns the granted TTL in seconds, or one of {@link Renewal}. The caller has
   * confirmed that this member still leads (known-failures LE-02): all waiting is the caller's, so a lease revoked
   * meanwhile is simply not here any more (LE-03).
   *
   * Hot (keep-alives): a lookup and two stores; see due-heap.ts for why the heap need not hear of it.
   */
  renew(id: bigint): number {
    if (!this.#isPrimary) return Renewal.NotPrimary;
    const lease = this.#leases.get(id);
    if (lease === undefined) return Renewal.NotFound;
    const nowMs = this.#clock.monotonicMs();
    if (lease.expiryMs <= nowMs) return Renewal.Overdue;
    if (lease.remainingTtlSeconds > 0 && this.#checkpointIntervalMs !== null) return Renewal.CheckpointFirst;
    // The answer promises the granted TTL, so that is what the lease gets, even with a checkpoint left behind by a
    // leader that made some; etcd grants only the checkpointed rest then.
    this.#expireAt(lease, nowMs + lease.ttlSeconds * 1000);
    return lease.ttlSeconds;
  }

  /** Calls the waiter when the lease is revoked or this member demoted; false, and never, if neither can happen any more. */
  awaitRevoke(id: bigint, waiter: RevokeWaiter): boolean {
    const lease = this.#leases.get(id);
    if (lease === undefined || !this.#isPrimary) return false;
    if (lease.waiters === null) lease.waiters = [waiter];
    else lease.waiters.push(waiter);
    return true;
  }

  /** The waiter's request has ended. Forgetting one that is not waiting changes nothing. */
  forgetWaiter(id: bigint, waiter: RevokeWaiter): void {
    const lease = this.#leases.get(id);
    if (lease === undefined || lease.waiters === null) return;
    lease.waiters = lease.waiters.filter((each) => each !== waiter);
    if (lease.waiters.length === 0) lease.waiters = null;
  }

  /**
   * Leases past their expiry, earliest first, at most `limit` and never more than {@link LEASE_COUNT_PER_EXPIRY}: propose
   * to revoke each, after confirming that this member still leads and asking {@link isOverdue} again. One handed out and
   * not revoked is handed out again after the retry interval. None if this member does not lead.
   */
  expired(limit: number = LEASE_COUNT_PER_EXPIRY): bigint[] {
    const ids: bigint[] = [];
    const most = Math.min(limit, LEASE_COUNT_PER_EXPIRY);
    const nowMs = this.#clock.monotonicMs();
    while (ids.length < most) {
      const entry = this.#expiries.peek();
      if (entry === null || entry.dueMs > nowMs) break;
      const lease = entry.lease;
      if (lease.expiryMs > nowMs) {
        // Renewed since: this is the correction that the renewal put off.
        this.#expiries.schedule(entry, lease.expiryMs);
        continue;
      }
      ids.push(lease.id);
      this.#expiries.schedule(entry, nowMs + this.#expiryRetryMs);
    }
    return ids;
  }

  /** Whether the lease is here and past its expiry by this leader's clock. */
  isOverdue(id: bigint): boolean {
    const lease = this.#leases.get(id);
    return lease !== undefined && lease.expiryMs <= this.#clock.monotonicMs();
  }

  /** What the leader should propose to record: remaining TTLs of long leases, rounded up, at most 1000 a call. */
  dueCheckpoints(): DueCheckpoint[] {
    const due: DueCheckpoint[] = [];
    const nowMs = this.#clock.monotonicMs();
    while (due.length < CHECKPOINT_COUNT_MAX) {
      const entry = this.#checkpoints.peek();
      if (entry === null || entry.dueMs > nowMs) break;
      const lease = entry.lease;
      const remainingTtlSeconds = Math.ceil((lease.expiryMs - nowMs) / 1000);
      // Scheduled again before anyone knows what becomes of the proposal: a lost one must not be the last (LE-06).
      this.#scheduleCheckpoint(lease, nowMs);
      // Overdue ones are about to be revoked; just renewed ones have nothing to record.
      if (lease.expiryMs <= nowMs || remainingTtlSeconds >= lease.ttlSeconds) continue;
      due.push({ id: lease.id, remainingTtlSeconds });
    }
    return due;
  }

  // ---- helpers

  #persist(lease: Lease): void {
    this.#table.put(encodeLeaseKey(lease.id), encodeLeaseRecord(lease));
  }

  /** A later time is left for `expired` to find; an earlier one, after a promotion's extension, must move the entry. */
  #expireAt(lease: Lease, expiryMs: number): void {
    lease.expiryMs = expiryMs;
    const entry = lease.expiry;
    if (entry.place < 0 || expiryMs < entry.dueMs) this.#expiries.schedule(entry, expiryMs);
  }

  /** A lease longer than the interval is on the schedule for as long as this member leads. */
  #scheduleCheckpoint(lease: Lease, nowMs: number): void {
    const intervalMs = this.#checkpointIntervalMs;
    if (intervalMs === null || lease.ttlSeconds * 1000 <= intervalMs) return;
    lease.checkpoint ??= new LeaseEntry(lease);
    this.#checkpoints.schedule(lease.checkpoint, nowMs + intervalMs);
  }

  /** Moves expiries apart, later only and in their order, so that no second sees more than about 750 (LE-12). */
  #spread(): void {
    const leases = [...this.#leases.values()].sort(byExpiry);
    let earliestMs = Number.NEGATIVE_INFINITY;
    for (const lease of leases) {
      lease.expiryMs = Math.max(lease.expiryMs, earliestMs);
      earliestMs = lease.expiryMs + SPREAD_GAP_MS;
    }
  }
}

function byExpiry(a: Lease, b: Lease): number {
  if (a.expiryMs !== b.expiryMs) return a.expiryMs - b.expiryMs;
  return a.id < b.id ? -1 : 1;
}
