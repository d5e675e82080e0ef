/**
 * What a request can be refused for, one class each with a literal `kind`; the server maps kinds to gRPC statuses and
 * etcd's texts. Thrown before the first change, always: an error after it would leave half a transaction
 * (known-failures AP-08) and is an assertion instead.
 */

/** The revision asked for lies below the compacted one. */
export class CompactedError extends Error {
  readonly kind = "Compacted";
  readonly compactRevision: number;
  constructor(revision: number, compactRevision: number) {
    super(`use of revision ${revision}: compacted up to ${compactRevision}`);
    this.name = "CompactedError";
    this.compactRevision = compactRevision;
  }
}

/** The revision asked for does not exist yet. */
export class FutureRevisionError extends Error {
  readonly kind = "FutureRevision";
  constructor(revision: number, currentRevision: number) {
    super(`use of revision ${revision}: the current one is ${currentRevision}`);
    this.name = "FutureRevisionError";
  }
}

/** A put names a lease that was never granted or is revoked. */
export class LeaseNotFoundError extends Error {
  readonly kind = "LeaseNotFound";
  constructor(lease: bigint) {
    super(`put with lease ${lease}: no such lease`);
    this.name = "LeaseNotFoundError";
  }
}

/** A put that keeps the old value or lease names an absent key. */
export class KeyNotFoundError extends Error {
  readonly kind = "KeyNotFound";
  constructor() {
    super("put with ignore_value or ignore_lease: no such key");
    this.name = "KeyNotFoundError";
  }
}
