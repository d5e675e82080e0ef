/**
 * What this room throws. What an operation is refused for is not thrown: it is a kind of the API's table of errors, returned,
 * because refusals are ordinary results of applying an entry.
 */

/** A row of the auth tables that neither this program nor etcd wrote: the database is damaged. Nothing recovers it. */
export class AuthRecordCorruptError extends Error {
  readonly kind = "AuthRecordCorrupt";
  constructor(table: string, key: Uint8Array, cause: unknown) {
    super(`read of table ${table}, row ${Buffer.from(key).toString("hex")}: not a record`, { cause });
    this.name = "AuthRecordCorruptError";
  }
}
