/**
 * Users, roles and the state of auth as etcd stores them, so that snapshots travel between the two (bbolt-format.md §9):
 *
 *     table       key             value
 *     auth        authEnabled     one byte, 0 or 1
 *                 authRevision    8 bytes, big-endian
 *     authUsers   name            authpb.User { name, bcrypt hash, roles in byte order, options }
 *     authRoles   name            authpb.Role { name, permissions by key }
 *
 * Only the store calls these.
 */
import { Role, User } from "@quorate/api/messages";
import { AuthRecordCorruptError } from "./errors.ts";

/**
 * The longest name of a user or role that is proposed, in bytes. Etcd proposes longer ones too: the store takes any that is
 * in the log.
 */
export const MAX_NAME_BYTES = 1024;

export type AuthTable = "auth" | "authUsers" | "authRoles";

/** Where the store keeps its rows. */
export interface AuthTables {
  /** null removes the row. A name that is the key may be of any length. Key and value are the callee's from here on. */
  put(table: AuthTable, key: Uint8Array, value: Uint8Array | null): void;
  /** Key and value are borrowed until `visit` returns. */
  scan(table: AuthTable, visit: (key: Uint8Array, value: Uint8Array) => void): void;
}

export const ENABLED_KEY: Uint8Array = Buffer.from("authEnabled");
export const REVISION_KEY: Uint8Array = Buffer.from("authRevision");

export function encodeEnabled(isEnabled: boolean): Uint8Array {
  return Uint8Array.of(isEnabled ? 1 : 0);
}

/** As etcd: anything but a 1 is off. */
export function decodeEnabled(value: Uint8Array): boolean {
  return value.length === 1 && value[0] === 1;
}

export function encodeRevision(revision: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(revision));
  return bytes;
}

/** Throws {@link AuthRecordCorruptError}, also for a revision beyond 2^53. */
export function decodeRevision(value: Uint8Array): number {
  if (value.length !== 8) throw new AuthRecordCorruptError("auth", REVISION_KEY, `${value.length} bytes`);
  const revision = Number(Buffer.from(value).readBigUInt64BE(0));
  if (!Number.isSafeInteger(revision)) throw new AuthRecordCorruptError("auth", REVISION_KEY, `revision ${revision}`);
  return revision;
}

/** Throws {@link AuthRecordCorruptError}. */
export function decodeUser(key: Uint8Array, value: Uint8Array): User {
  try {
    return User.decode(value);
  } catch (error) {
    throw new AuthRecordCorruptError("authUsers", key, error);
  }
}

/** Throws {@link AuthRecordCorruptError}. */
export function decodeRole(key: Uint8Array, value: Uint8Array): Role {
  try {
    return Role.decode(value);
  } catch (error) {
    throw new AuthRecordCorruptError("authRoles", key, error);
  }
}
