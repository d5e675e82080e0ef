/**
 * Rows of the tables authUsers and authRoles whose key, a name, is longer than a table takes. Our own services take no such
 * name, but etcd's do, and what is in the log of a common cluster must be applied. Here the row has a stand-in for a key;
 * in a bbolt file, where it travels, the name itself.
 *
 *     stand-in   0xff  SHA-256 of the name      33 bytes; no name begins so, because names are UTF-8
 *
 * Nothing is lost: the row's value, etcd's record of a user or role, says the name too.
 */
import { createHash } from "node:crypto";
import { Role, User } from "@quorate/api/messages";
import { MAX_TABLE_KEY_BYTES, type Table } from "./storage.ts";

const MARK = 0xff;
const STAND_IN_BYTES = 33;

/** Under which key the row of a user or role is kept. Returns short names themselves. */
export function rowKeyOfName(name: Uint8Array): Uint8Array {
  if (name.length <= MAX_TABLE_KEY_BYTES) return name;
  return Buffer.concat([Buffer.of(MARK), createHash("sha256").update(name).digest()]);
}

/** Whether a row's key stands for a name that is not it. */
export function isStandIn(table: Table, key: Uint8Array): boolean {
  return isNamed(table) && key.length === STAND_IN_BYTES && key[0] === MARK;
}

/** Whether the rows of the table are users or roles. */
export function isNamed(table: Table): boolean {
  return table === "authUsers" || table === "authRoles";
}

/** The name that a record of authUsers or authRoles is of, borrowed from it. Throws what decoding throws. */
export function nameInRecord(table: Table, record: Uint8Array): Uint8Array {
  return (table === "authUsers" ? User : Role).decode(record).name;
}
