/** Asking all other members for the hash of their keys at one revision, for the checks in this folder. */
import type { Member as ClusterMember } from "@quorate/membership";
import type { Member } from "../member/member.ts";
import type { HashAnswer, PeerHash } from "./findings.ts";

/** `done` is called once, never at once. */
export type AskHash = (
  member: ClusterMember,
  clusterId: bigint,
  revision: number,
  done: (answer: HashAnswer) => void,
) => void;

/** `done` is called once, when all have answered or are given up; at once if there are no others. */
export function askPeers(
  member: Member,
  askHash: AskHash,
  revision: number,
  done: (peers: readonly PeerHash[]) => void,
): void {
  const { membership } = member;
  const others = membership.members().filter(({ id, peerUrls }) => id !== member.id && peerUrls.length > 0);
  const peers: PeerHash[] = [];
  if (others.length === 0) return done(peers);
  for (const other of others) {
    askHash(other, membership.clusterId, revision, (answer) => {
      peers.push({ memberId: other.id, answer });
      if (peers.length === others.length) done(peers);
    });
  }
}
