/** Request messages as bytes, written by hand so that the generator depends on no code of the server it measures. */

export const PATHS = {
  range: "/etcdserverpb.KV/Range",
  put: "/etcdserverpb.KV/Put",
  txn: "/etcdserverpb.KV/Txn",
  watch: "/etcdserverpb.Watch/Watch",
  leaseGrant: "/etcdserverpb.Lease/LeaseGrant",
  leaseKeepAlive: "/etcdserverpb.Lease/LeaseKeepAlive",
  compact: "/etcdserverpb.KV/Compact",
  defragment: "/etcdserverpb.Maintenance/Defragment",
  status: "/etcdserverpb.Maintenance/Status",
  snapshot: "/etcdserverpb.Maintenance/Snapshot",
  memberAdd: "/etcdserverpb.Cluster/MemberAdd",
  authEnable: "/etcdserverpb.Auth/AuthEnable",
  authDisable: "/etcdserverpb.Auth/AuthDisable",
  authenticate: "/etcdserverpb.Auth/Authenticate",
  userAdd: "/etcdserverpb.Auth/UserAdd",
  memberRemove: "/etcdserverpb.Cluster/MemberRemove",
} as const;

/** `bench-000000000042`-style keys, 24 bytes: random ones out of `count`. */
export function keyOf(n: number): Buffer {
  return Buffer.from(`bench/key/${String(n).padStart(14, "0")}`);
}

/** Incompressible bytes that differ from call to call. */
const NOISE = Buffer.from(Uint8Array.from({ length: 65536 }, (_, i) => (Math.imul(i + 1, 2654435761) >>> 13) & 0xff));
export function noiseOf(n: number, sizeBytes: number): Buffer {
  const start = (n * 7919) % (NOISE.length - sizeBytes);
  return NOISE.subarray(start, start + sizeBytes);
}

export function putRequest(key: Buffer, value: Buffer): Buffer {
  return Buffer.concat([field(1, key), field(2, value)]);
}

export function rangeRequest(key: Buffer, options: { end?: Buffer; isSerializable?: boolean } = {}): Buffer {
  return Buffer.concat([
    field(1, key),
    options.end === undefined ? NOTHING : field(2, options.end),
    options.isSerializable ? Buffer.from([0x38, 1]) : NOTHING,
  ]);
}

/** If the key was last modified at revision `modRevision` then put, else range: etcd's read-modify-write. */
export function txnRequest(key: Buffer, value: Buffer, modRevisionAbove: number): Buffer {
  const compare = Buffer.concat([
    number(1, 1), // GREATER
    number(2, 2), // MOD
    field(3, key),
    number(6, modRevisionAbove),
  ]);
  return Buffer.concat([
    field(1, compare),
    field(2, field(2, putRequest(key, value))),
    field(3, field(1, rangeRequest(key))),
  ]);
}

/** Answered when the revisions are gone, not only forgotten. */
export function compactRequest(revision: number): Buffer {
  return Buffer.concat([number(1, revision), number(2, 1)]);
}

export function watchCreateRequest(key: Buffer, watchId: number): Buffer {
  return field(1, Buffer.concat([field(1, key), number(7, watchId)]));
}

export function leaseGrantRequest(id: number, ttlSeconds: number): Buffer {
  return Buffer.concat([number(1, ttlSeconds), number(2, id)]);
}

export function leaseKeepAliveRequest(id: number): Buffer {
  return number(1, id);
}

export function memberAddRequest(peerUrl: string): Buffer {
  return field(1, Buffer.from(peerUrl));
}

/** All 64 bits of the id. */
export function memberRemoveRequest(id: bigint): Buffer {
  const bytes: number[] = [1 << 3];
  let rest = id;
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

export interface Permission {
  readonly key: Buffer;
  readonly rangeEnd: Buffer;
}

/** Everything it takes to have `user` with a password read and write in a range, once root switches auth on. */
export function authSetup(user: string, password: string, { key, rangeEnd }: Permission): [path: string, Buffer][] {
  const call = (method: string, ...texts: string[]): [string, Buffer] => [
    `/etcdserverpb.Auth/${method}`,
    Buffer.concat(texts.map((text, i) => field(i + 1, Buffer.from(text)))),
  ];
  const readWrite = Buffer.concat([number(1, 2), field(2, key), field(3, rangeEnd)]);
  const [grant, role] = call("RoleGrantPermission", "bench");
  return [
    call("UserAdd", "root", "root"),
    call("RoleAdd", "root"),
    call("UserGrantRole", "root", "root"),
    call("UserAdd", user, password),
    call("RoleAdd", "bench"),
    [grant, Buffer.concat([role, field(2, readWrite)])],
    call("UserGrantRole", user, "bench"),
  ];
}

export function userAddRequest(name: string, password: string): Buffer {
  return Buffer.concat([field(1, Buffer.from(name)), field(2, Buffer.from(password))]);
}

export function authenticateRequest(name: string, password: string): Buffer {
  return userAddRequest(name, password);
}

/** Of an answer to Authenticate: header and token are its two fields. */
export function tokenOf(answer: Buffer): string {
  const at = 2 + answer[1]!;
  return answer.toString("latin1", at + 2, at + 2 + answer[at + 1]!);
}

const NOTHING = Buffer.alloc(0);

function field(fieldNumber: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(fieldNumber << 3) | 2]), varint(bytes.length), bytes]);
}

function number(fieldNumber: number, value: number): Buffer {
  return value === 0 ? NOTHING : Buffer.concat([Buffer.from([fieldNumber << 3]), varint(value)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}
