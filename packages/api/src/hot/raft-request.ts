/**
 * InternalRaftRequest, the payload of every normal log entry: one operation and who asked for it.
 *
 *     ID=1 (legacy) · one operation = its number in RaftOp · header=100 { ID=1, username=2, auth_revision=3 }
 *
 * Fields ascend, so operations numbered below 100 stand before the header and the others after it. The operation's bytes
 * are copied verbatim: the caller vouches that they are canonical (a view's isCanonical, or one of our encoders).
 *
 * A request id is 64 bits, (member & 0xffff) << 48 | 48-bit counter (raft-and-peers §5.2). As every write makes one and
 * looks one up, it travels as two numbers, `idHigh` (16 bits) and `idLow` (48 bits), and never becomes a bigint here.
 */

import { assert } from "@quorate/world";
import {
  copyBytes,
  MalformedMessage,
  Reader,
  varintSize,
  varintSizeHalves,
  writeVarint,
  writeVarintHalves,
} from "../wire/index.ts";

/** Field numbers of InternalRaftRequest's operations. */
export const RaftOp = {
  None: 0,
  Range: 3,
  Put: 4,
  DeleteRange: 5,
  Txn: 6,
  Compaction: 7,
  LeaseGrant: 8,
  LeaseRevoke: 9,
  Alarm: 10,
  LeaseCheckpoint: 11,
  AuthEnable: 1000,
  AuthDisable: 1011,
  Authenticate: 1012,
  AuthStatus: 1013,
  AuthUserAdd: 1100,
  AuthUserDelete: 1101,
  AuthUserGet: 1102,
  AuthUserChangePassword: 1103,
  AuthUserGrantRole: 1104,
  AuthUserRevokeRole: 1105,
  AuthUserList: 1106,
  AuthRoleList: 1107,
  AuthRoleAdd: 1200,
  AuthRoleDelete: 1201,
  AuthRoleGet: 1202,
  AuthRoleGrantPermission: 1203,
  AuthRoleRevokePermission: 1204,
  ClusterVersionSet: 1300,
  ClusterMemberAttrSet: 1301,
  DowngradeInfoSet: 1302,
  DowngradeVersionTest: 9900,
} as const;
export type RaftOp = (typeof RaftOp)[keyof typeof RaftOp];

/** Tags of the fields that are not operations. */
const LEGACY_ID = 0x08;
const HEADER_NUMBER = 100;
const HEADER = (HEADER_NUMBER << 3) | 2;
const HEADER_ID = 0x08;
const HEADER_USERNAME = 0x12;
const HEADER_AUTH_REVISION = 0x18;

const TWO_16 = 0x1_0000;
const TWO_32 = 0x1_0000_0000;

const nothing = new Uint8Array(0);

const operations: ReadonlySet<number> = new Set(Object.values(RaftOp).filter((op) => op !== RaftOp.None));

/**
 * Bytes the entry will take: compare with the limit maxRequestBytes before proposing. `usernameLength` in UTF-8 bytes.
 */
export function raftRequestSize(
  idHigh: number,
  idLow: number,
  usernameLength: number,
  authRevision: number,
  op: RaftOp,
  operationLength: number,
): number {
  const header = headerSize(idHigh, idLow, usernameLength, authRevision);
  return (
    varintSize(HEADER) +
    varintSize(header) +
    header +
    varintSize(op << 3) +
    varintSize(operationLength) +
    operationLength
  );
}

/**
 * The entry's data, in a buffer of exactly its size that is the caller's own; `operation[start, end)` is copied.
 * `username` is UTF-8 bytes, empty when no user is known. Hot: bench/codec.ts, encode InternalRaftRequest.
 */
export function encodeRaftRequest(
  idHigh: number,
  idLow: number,
  username: Uint8Array,
  authRevision: number,
  op: RaftOp,
  operation: Uint8Array,
  start: number,
  end: number,
): Uint8Array {
  assert(idHigh > 0 || idLow > 0, "a request has an id");
  const header = headerSize(idHigh, idLow, username.length, authRevision);
  const length = end - start;
  const out = Buffer.allocUnsafe(
    varintSize(HEADER) + varintSize(header) + header + varintSize(op << 3) + varintSize(length) + length,
  );
  let at = 0;
  if (op < HEADER_NUMBER) at = writeOperation(out, at, op, operation, start, end);
  at = writeVarint(out, at, HEADER);
  at = writeVarint(out, at, header);
  at = writeRequestId(out, at, idHigh, idLow);
  if (username.length > 0) {
    out[at++] = HEADER_USERNAME;
    at = writeVarint(out, at, username.length);
    at = copyBytes(username, 0, username.length, out, at);
  }
  if (authRevision !== 0) {
    out[at++] = HEADER_AUTH_REVISION;
    at = writeVarint(out, at, authRevision);
  }
  if (op > HEADER_NUMBER) at = writeOperation(out, at, op, operation, start, end);
  assert(at === out.length, "an entry is as long as it was reckoned");
  return out;
}

/** A log entry's data as offsets; reused from entry to entry, borrowed as long as the buffer is. */
export class RaftRequestView {
  buffer: Uint8Array = nothing;
  /** RaftOp.None: no operation this build knows, which a member must not pass over silently. */
  op: RaftOp = RaftOp.None;
  /** The operation's bytes. */
  start = 0;
  end = 0;
  /** The legacy field ID, or header.ID where that is 0, as etcd tells requests apart. Both 0: none was given. */
  idHigh = 0;
  idLow = 0;
  /** UTF-8 bytes of header.username. */
  usernameStart = 0;
  usernameEnd = 0;
  authRevision = 0;
  readonly #reader = new Reader();

  /** Reads `buffer[start, end)`, borrowed. Throws MalformedMessage, also where two operations are given. */
  decode(buffer: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(buffer, start, end);
    this.buffer = buffer;
    this.op = RaftOp.None;
    this.start = this.end = this.usernameStart = this.usernameEnd = start;
    this.idHigh = this.idLow = this.authRevision = 0;
    let legacyHigh = 0;
    let legacyLow = 0;
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === HEADER) {
        this.#header(reader);
      } else if (tag === LEGACY_ID) {
        legacyLow = reader.lowerHalf();
        legacyHigh = reader.upperHalf();
      } else if ((tag & 7) === 2 && operations.has(tag >>> 3)) {
        if (this.op !== RaftOp.None) throw new MalformedMessage("more than one operation in an entry", reader.position);
        const length = reader.length();
        this.op = (tag >>> 3) as RaftOp;
        this.start = reader.position;
        this.end = reader.position += length;
      } else {
        reader.skip(tag);
      }
    }
    if (legacyHigh !== 0 || legacyLow !== 0) this.#setId(legacyHigh, legacyLow);
  }

  /** The user's name, made anew at each call; "" when none was known. */
  username(): string {
    if (this.usernameStart === this.usernameEnd) return "";
    return Buffer.from(this.buffer.buffer, this.buffer.byteOffset, this.buffer.length).toString(
      "utf8",
      this.usernameStart,
      this.usernameEnd,
    );
  }

  #header(reader: Reader): void {
    const outerEnd = reader.enter();
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === HEADER_ID) {
        const low = reader.lowerHalf();
        this.#setId(reader.upperHalf(), low);
      } else if (tag === HEADER_USERNAME) {
        const length = reader.length();
        this.usernameStart = reader.position;
        this.usernameEnd = reader.position += length;
      } else if (tag === HEADER_AUTH_REVISION) {
        this.authRevision = reader.uint64();
      } else {
        reader.skip(tag);
      }
    }
    reader.leave(outerEnd);
  }

  #setId(high: number, low: number): void {
    this.idHigh = high >>> 16;
    this.idLow = (high & 0xffff) * TWO_32 + low;
  }
}

function headerSize(idHigh: number, idLow: number, usernameLength: number, authRevision: number): number {
  return (
    1 +
    varintSizeHalves(upperHalf(idHigh, idLow), idLow >>> 0) +
    (usernameLength === 0 ? 0 : 1 + varintSize(usernameLength) + usernameLength) +
    (authRevision === 0 ? 0 : 1 + varintSize(authRevision))
  );
}

function writeRequestId(out: Uint8Array, at: number, idHigh: number, idLow: number): number {
  out[at] = HEADER_ID;
  return writeVarintHalves(out, at + 1, upperHalf(idHigh, idLow), idLow >>> 0);
}

/** Bits 32 to 63 of the id. */
function upperHalf(idHigh: number, idLow: number): number {
  return idHigh * TWO_16 + Math.floor(idLow / TWO_32);
}

function writeOperation(
  out: Uint8Array,
  at: number,
  op: RaftOp,
  operation: Uint8Array,
  start: number,
  end: number,
): number {
  let position = writeVarint(out, at, op * 8 + 2);
  position = writeVarint(out, position, end - start);
  return copyBytes(operation, start, end, out, position);
}
