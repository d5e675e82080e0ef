/**
 * How members and clusters get their 64-bit ids: etcd's hashes, so that a member keeps its id when the program behind it
 * changes (semantics.md §9.1 of the reference; vectors in the test). The member's name takes no part.
 */
import { createHash } from "node:crypto";

/**
 * The id of a member that bootstraps a cluster: first eight bytes, big-endian, of SHA-1 over its peer URLs sorted and
 * joined without a separator, then the cluster token.
 */
export function memberIdOf(peerUrls: readonly string[], token: string): bigint {
  const hash = createHash("sha1");
  for (const url of [...peerUrls].sort()) hash.update(url);
  return hash.update(token).digest().readBigUInt64BE(0);
}

/**
 * The id of a member that is added to a running cluster: no token, but the time of the request, so that URLs which come
 * back after their member was removed get an id that was never used.
 */
export function addedMemberIdOf(peerUrls: readonly string[], unixSeconds: number): bigint {
  return memberIdOf(peerUrls, String(Math.floor(unixSeconds)));
}

/** The same hash over the ids of the bootstrap members, ascending, eight bytes each. */
export function clusterIdOf(memberIds: readonly bigint[]): bigint {
  const hash = createHash("sha1");
  const eight = Buffer.alloc(8);
  for (const id of [...memberIds].sort(ascending)) {
    eight.writeBigUInt64BE(id);
    hash.update(eight);
  }
  return hash.digest().readBigUInt64BE(0);
}

/** The way ids are shown everywhere: lower-case hex without padding. */
export function idText(id: bigint): string {
  return id.toString(16);
}

export function ascending(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
