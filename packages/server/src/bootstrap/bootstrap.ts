/**
 * What a member knows before it has a log: who it is, which cluster it belongs to, and who else is in it. Found by
 * {@link discoverCluster} in discover-cluster.ts; whoever opens the member makes its first log of it.
 *
 *   new   the log begins with one committed addition per member, the same on all of them
 *   join  the log begins empty: the leader sends it, as entries or as a snapshot
 */
import { ascending, encodeChange, type Member } from "@quorate/membership";
import { Entry, EntryType, encodeConfChange, type HardState, index, NO_NODE, type Term, term } from "@quorate/raft";

export interface Bootstrap {
  readonly kind: "new" | "join";
  readonly memberId: bigint;
  readonly clusterId: bigint;
  /**
   * All members with their ids, ascending, ourselves included. new: as configured; join: as the running cluster lists
   * them, whom a joining member answers before it has a configuration of its own.
   */
  readonly members: readonly Member[];
  readonly token: string;
}

/** The cluster that the configuration describes cannot be begun or joined; the message is one line for the operator. */
export class BootstrapError extends Error {
  readonly kind = "Bootstrap";
}

/** v3 discovery did not let us in. Tokens are for one cluster: a new one has to be made. */
export class DiscoveryError extends Error {
  readonly kind = "Discovery";
}

/** The entries that begin the log of a new cluster: index 1 to n, term 1, all committed. A joining member has none. */
export function bootstrapEntries(bootstrap: Bootstrap): Entry[] {
  if (bootstrap.kind === "join") return [];
  const members = [...bootstrap.members].sort((a, b) => ascending(a.id, b.id));
  return members.map((member, at) => {
    const change = { id: 0n, ...encodeChange({ kind: "add", member }) };
    return new Entry(EntryType.ConfChange, term(1), index(at + 1), encodeConfChange(change));
  });
}

/** The hard state that goes with {@link bootstrapEntries}. */
export function bootstrapHardState(entries: readonly Entry[]): HardState {
  return { term: term(1), vote: NO_NODE, commit: index(entries.length) };
}

export interface ForcedStart {
  readonly self: bigint;
  /** Voters of the configuration as of the last committed entry. */
  readonly voterIds: readonly bigint[];
  /** All its members, learners among them. */
  readonly memberIds: readonly bigint[];
  /** Of the log as it is. */
  readonly term: Term;
  /** Of the last committed entry: uncommitted ones have been dropped. */
  readonly lastIndex: number;
}

/**
 * The entries that --force-new-cluster appends and declares committed: every other member is removed. If we do not vote, we
 * are promoted or added first, because there is never a configuration without voters; with etcd's placeholder for our
 * peer URL, which the operator corrects with `member update`.
 */
export function forcedEntries({ self, voterIds, memberIds, term, lastIndex }: ForcedStart): Entry[] {
  const others = memberIds.filter((id) => id !== self).sort(ascending);
  const changes = others.map((id) => encodeChange({ kind: "remove", id }));
  if (!memberIds.includes(self)) {
    const member = { id: self, peerUrls: ["http://localhost:2380"], isLearner: false, name: "", clientUrls: [] };
    changes.unshift(encodeChange({ kind: "add", member }));
  } else if (!voterIds.includes(self)) {
    changes.unshift(encodeChange({ kind: "promote", id: self }));
  }
  return changes.map((change, at) => {
    const data = encodeConfChange({ id: 0n, ...change });
    return new Entry(EntryType.ConfChange, term, index(lastIndex + 1 + at), data);
  });
}
