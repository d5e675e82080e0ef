/**
 * Majorities, and pairs of them: pure arithmetic over votes and acknowledged indexes. A configuration is two sorted
 * lists of voters; the second is empty except during a joint change, when both must agree (raft thesis §4.3).
 *
 * An empty half agrees with everything: it has won every vote and committed every index. That makes a joint pair with
 * one empty half behave exactly as the other half alone.
 */
import type { Index, NodeId } from "./types.ts";

export type VoteResult = "pending" | "lost" | "won";

/** What each voter is known to have. */
export interface AckedIndexes {
  /** The highest index `id` has acknowledged; undefined counts as 0. */
  ackedIndex(id: NodeId): number | undefined;
}

/** The highest index both halves have acknowledged by majority; Infinity if both are empty. */
export function jointCommittedIndex(
  incoming: readonly NodeId[],
  outgoing: readonly NodeId[],
  acked: AckedIndexes,
): Index {
  const first = majorityCommittedIndex(incoming, acked);
  if (outgoing.length === 0) return first;
  return Math.min(first, majorityCommittedIndex(outgoing, acked)) as Index;
}

/** The highest index a majority has acknowledged; Infinity if there are no voters. */
export function majorityCommittedIndex(voters: readonly NodeId[], acked: AckedIndexes): Index {
  const count = voters.length;
  if (count === 0) return Number.POSITIVE_INFINITY as Index;
  if (count === 1) return (acked.ackedIndex(voters[0]!) ?? 0) as Index;

  // Insertion sort, ascending: groups are small and this runs for every acknowledgement.
  const sorted: number[] = [];
  for (let i = 0; i < count; i++) {
    const value = acked.ackedIndex(voters[i]!) ?? 0;
    let at = sorted.length;
    sorted.push(value);
    while (at > 0 && sorted[at - 1]! > value) {
      sorted[at] = sorted[at - 1]!;
      at--;
    }
    sorted[at] = value;
  }
  // The value at this place is held by it and everyone after it: floor(count / 2) + 1 voters.
  return sorted[count - (Math.floor(count / 2) + 1)]! as Index;
}

/** The outcome of a vote that both halves must win. Ids that did not answer are absent from `votes`. */
export function jointVoteResult(
  incoming: readonly NodeId[],
  outgoing: readonly NodeId[],
  votes: ReadonlyMap<NodeId, boolean>,
): VoteResult {
  const first = majorityVoteResult(incoming, votes);
  const second = majorityVoteResult(outgoing, votes);
  if (first === second) return first;
  if (first === "lost" || second === "lost") return "lost";
  return "pending";
}

export function majorityVoteResult(voters: readonly NodeId[], votes: ReadonlyMap<NodeId, boolean>): VoteResult {
  if (voters.length === 0) return "won";
  let granted = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = votes.get(id);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  const needed = Math.floor(voters.length / 2) + 1;
  if (granted >= needed) return "won";
  return granted + missing >= needed ? "pending" : "lost";
}
