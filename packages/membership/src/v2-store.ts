/**
 * Membership in the form of etcd's retired v2 store, which raft snapshots still carry as their data: etcd 3.6 panics on
 * one that it cannot parse, 3.7 writes it and reads it no more. So do we: written, never read.
 *
 *   /0/members/<hex>/raftAttributes  {"peerURLs":[..],"isLearner":true}
 *   /0/members/<hex>/attributes      {"name":"..","clientURLs":[..]}       of started members only
 *   /0/removed_members/<hex>         empty
 *   /0/version                       3.7.0                                 once decided
 *   /1                               where users' keys once were; always empty
 */
import { ascending, idText } from "./identity.ts";
import { encodeOwnAttributes, encodeRaftAttributes, type Member } from "./member-json.ts";

export interface MembershipView {
  members(): readonly Member[];
  removedIds(): readonly bigint[];
  readonly clusterVersion: string | null;
}

interface Node {
  readonly Path: string;
  readonly CreatedIndex: number;
  readonly ModifiedIndex: number;
  /** Go's zero time: for ever. */
  readonly ExpireTime: "0001-01-01T00:00:00Z";
  readonly Value: string;
  /** Null: a file. */
  readonly Children: Record<string, Node> | null;
}

/** Equal memberships give equal bytes. */
export function encodeV2Store(membership: MembershipView): Uint8Array {
  // The store counted its changes; a fresh one filled in this order would have come to these numbers.
  let lastIndex = 0;
  const file = (path: string, value: string): Node => {
    lastIndex++;
    return node(path, lastIndex, value, null);
  };
  const members: Record<string, Node> = {};
  for (const member of [...membership.members()].sort((a, b) => ascending(a.id, b.id))) {
    const path = `/0/members/${idText(member.id)}`;
    const children: Record<string, Node> = {};
    const raftAttributes = file(`${path}/raftAttributes`, encodeRaftAttributes(member));
    if (member.clientUrls.length > 0) children.attributes = file(`${path}/attributes`, encodeOwnAttributes(member));
    children.raftAttributes = raftAttributes;
    members[idText(member.id)] = node(path, raftAttributes.CreatedIndex, "", children);
  }
  const removed: Record<string, Node> = {};
  for (const id of membership.removedIds()) {
    removed[idText(id)] = file(`/0/removed_members/${idText(id)}`, "");
  }
  const cluster: Record<string, Node> = {};
  if (Object.keys(members).length > 0) cluster.members = node("/0/members", 1, "", members);
  const firstRemoved = Object.values(removed)[0];
  if (firstRemoved !== undefined) {
    cluster.removed_members = node("/0/removed_members", firstRemoved.CreatedIndex, "", removed);
  }
  if (membership.clusterVersion !== null) cluster.version = file("/0/version", membership.clusterVersion);
  const root = node("/", 0, "", { "0": node("/0", 0, "", cluster), "1": node("/1", 0, "", {}) });
  return Buffer.from(JSON.stringify({ Root: root, CurrentIndex: lastIndex, CurrentVersion: 2 }));
}

function node(path: string, index: number, value: string, children: Record<string, Node> | null): Node {
  return {
    Path: path,
    CreatedIndex: index,
    ModifiedIndex: index,
    ExpireTime: "0001-01-01T00:00:00Z",
    Value: value,
    Children: children,
  };
}
