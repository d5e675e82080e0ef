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

/** A put that keeps the old value or lease names an absent key, or a txn's operation is empty. */
export class KeyNotFoundError extends Error {
  readonly kind = "KeyNotFound";
  constructor(operation: "put" | "empty operation") {
    super(operation === "put" ? "put with ignore_value or ignore_lease: no such key" : "txn: an operation is empty");
    this.name = "KeyNotFoundError";
  }
}

export class EmptyKeyError extends Error {
  readonly kind = "EmptyKey";
  constructor(operation: "range" | "put" | "delete range" | "compare") {
    super(`${operation}: the key is empty`);
    this.name = "EmptyKeyError";
  }
}

export class ValueProvidedError extends Error {
  readonly kind = "ValueProvided";
  constructor(valueLength: number) {
    super(`put with ignore_value: also gives a value of ${valueLength} bytes`);
    this.name = "ValueProvidedError";
  }
}

export class LeaseProvidedError extends Error {
  readonly kind = "LeaseProvided";
  constructor(lease: bigint) {
    super(`put with ignore_lease: also gives lease ${lease}`);
    this.name = "LeaseProvidedError";
  }
}

export class InvalidSortOptionError extends Error {
  readonly kind = "InvalidSortOption";
  constructor(sortOrder: number, sortTarget: number) {
    super(`range: sort order ${sortOrder} or target ${sortTarget} is unknown`);
    this.name = "InvalidSortOptionError";
  }
}

export class TooManyOperationsError extends Error {
  readonly kind = "TooManyOperations";
  constructor(count: number, limit: number) {
    super(`txn: ${count} operations at one level, at most ${limit} allowed there`);
    this.name = "TooManyOperationsError";
  }
}

/** Two operations of one txn could write the same key. */
export class DuplicateKeyError extends Error {
  readonly kind = "DuplicateKey";
  constructor() {
    super("txn: a key is written twice");
    this.name = "DuplicateKeyError";
  }
}
