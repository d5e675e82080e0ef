/**
 * What follows from the members' hashes of their keys (semantics §9.8): for the checks in this folder, which ask for them.
 * Three outcomes, never two: the same, different, or not known, and what is not known is no pass (known failure ST-06).
 * Hashes are compared only if both were taken with the same compacted revision (ST-05); who answers for another cluster, or
 * not at all, says nothing (ST-08).
 */
import type { Unreachable } from "../peers/peer-client.ts";
import type { HashKv, HashKvOutcome } from "../peers/peer-requests.ts";

export type HashAnswer = HashKvOutcome | { readonly kind: "cluster mismatch" } | Unreachable;

/** What another member says of its keys at the revision asked for. */
export interface PeerHash {
  readonly memberId: bigint;
  readonly answer: HashAnswer;
}

/** Whether a member that starts may join the others: true if any of them has other keys at the same point. */
export function differsFromPeers(own: HashKv, peers: readonly PeerHash[]): boolean {
  return peers.some(
    ({ answer }) =>
      answer.kind === "hashed" &&
      answer.hashed.compactRevision === own.compactRevision &&
      answer.hashed.hash !== own.hash,
  );
}

/**
 * The periodic check: who is to be alarmed, perhaps nobody. `first`: the leader's hash, at whose revision the others were
 * asked; `second`: its hash after a linearizable read that followed their answers. Without a majority for one hash the
 * leader's counts, as with etcd, and of all that differ the first is alarmed.
 */
export function periodicFindings(
  leaderId: bigint,
  first: HashKv,
  second: HashKv,
  peers: readonly PeerHash[],
): readonly bigint[] {
  const isSamePoint = first.hashRevision === second.hashRevision && first.compactRevision === second.compactRevision;
  if (isSamePoint && first.hash !== second.hash) return [leaderId];
  const byMajority = outvoted(groupsOf(leaderId, first, peers), peers.length + 1);
  if (byMajority !== null && byMajority.length > 0) return byMajority;
  for (const { memberId, answer } of peers) {
    if (answer.kind !== "hashed") continue;
    const { revision, compactRevision, hash } = answer.hashed;
    const isAhead = revision > second.revision || compactRevision > second.compactRevision;
    if (isAhead || (compactRevision === first.compactRevision && hash !== first.hash)) return [memberId];
  }
  return [];
}

export type CompactHashVerdict =
  /** On all members. */
  | { readonly kind: "same" }
  /** On those that answered from the same point, but not all did. */
  | { readonly kind: "unknown" }
  /** The members outside the majority; without a majority nobody knows who, which member id 0 stands for. */
  | { readonly kind: "different"; readonly corrupt: readonly bigint[] };

/** The check of hashes that compactions left behind. `peers`: all other members. */
export function compactHashVerdict(
  leaderId: bigint,
  leader: Pick<HashKv, "hash" | "compactRevision">,
  peers: readonly PeerHash[],
): CompactHashVerdict {
  const groups = groupsOf(leaderId, leader, peers);
  if (groups.size > 1) return { kind: "different", corrupt: outvoted(groups, peers.length + 1) ?? [NOBODY_KNOWS] };
  return { kind: groups.get(leader.hash)!.length === peers.length + 1 ? "same" : "unknown" };
}

const NOBODY_KNOWS = 0n;

/** Members by hash: those that answered from the leader's point. */
function groupsOf(
  leaderId: bigint,
  leader: Pick<HashKv, "hash" | "compactRevision">,
  peers: readonly PeerHash[],
): Map<number, bigint[]> {
  const groups = new Map([[leader.hash, [leaderId]]]);
  for (const { memberId, answer } of peers) {
    if (answer.kind !== "hashed" || answer.hashed.compactRevision !== leader.compactRevision) continue;
    const group = groups.get(answer.hashed.hash);
    if (group === undefined) groups.set(answer.hashed.hash, [memberId]);
    else group.push(memberId);
  }
  return groups;
}

/** Those outside the group that most of the members are in; null if there is none (known failure ST-07). */
function outvoted(groups: ReadonlyMap<number, readonly bigint[]>, memberCount: number): bigint[] | null {
  const quorum = Math.floor(memberCount / 2) + 1;
  const all = [...groups.values()];
  const majority = all.find((each) => each.length >= quorum);
  return majority === undefined ? null : all.filter((each) => each !== majority).flat();
}
