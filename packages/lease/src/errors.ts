/** What a lease operation can be refused for; the server maps kinds to etcd's statuses and texts. */

/** No such lease; also a grant of id 0, which no lease can have (semantics §6.2). */
export class LeaseNotFoundError extends Error {
  readonly kind = "LeaseNotFound";
  constructor(operation: "grant" | "revoke", id: bigint) {
    super(`lease ${operation}: lease ${id} not found`);
    this.name = "LeaseNotFoundError";
  }
}

export class LeaseExistsError extends Error {
  readonly kind = "LeaseExists";
  constructor(id: bigint) {
    super(`lease grant: lease ${id} already exists`);
    this.name = "LeaseExistsError";
  }
}

export class LeaseTtlTooLargeError extends Error {
  readonly kind = "LeaseTtlTooLarge";
  constructor(id: bigint, ttlSeconds: number, limitSeconds: number) {
    super(`lease grant: lease ${id} asks for ${ttlSeconds} s, at most ${limitSeconds} s allowed`);
    this.name = "LeaseTtlTooLargeError";
  }
}

/** A record of the lease table that this program did not write: the database is damaged. Nothing recovers it. */
export class LeaseRecordCorruptError extends Error {
  readonly kind = "LeaseRecordCorrupt";
  constructor(key: Uint8Array, reason: string, cause?: unknown) {
    super(`read of lease record ${Buffer.from(key).toString("hex")}: ${reason}`, { cause });
    this.name = "LeaseRecordCorruptError";
  }
}
