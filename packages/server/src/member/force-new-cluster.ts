/**
 * --force-new-cluster: a member whose cluster has lost its quorum for good goes on alone with what it has. What was not
 * known to be committed is dropped, and the log is continued with committed entries that remove every other member, the
 * learners too (known failure MB-11). Ids and data stay.
 */
import { idText } from "@quorate/membership";
import {
  ConfChangeType,
  decodeConfChange,
  EMPTY_HARD_STATE,
  type Entry,
  EntryType,
  type HardState,
  index,
  type Term,
  term,
} from "@quorate/raft";
import type { Replay, Wal } from "@quorate/wal";
import type { Log } from "@quorate/world";
import { forcedEntries } from "../bootstrap/bootstrap.ts";
import type { AppliedState } from "./applied-state.ts";

export interface ForceOptions {
  readonly replay: Replay;
  readonly wal: Wal;
  /** As of what storage has. */
  readonly state: AppliedState;
  readonly memberId: bigint;
  readonly log: Log;
}

/** What is in the log afterwards, durably. */
export async function forceNewCluster(options: ForceOptions): Promise<Replay> {
  const { replay, wal, state, memberId, log } = options;
  const saved = replay.hardState ?? EMPTY_HARD_STATE;
  const { commit, voterIds, memberIds } = committedIn(replay.entries, saved.commit, state, memberId);
  const kept = replay.entries.filter((each) => each.index <= commit);
  if (kept.length < replay.entries.length) {
    log.info("discarding uncommitted entries", {
      "commit-index": commit,
      discarded: replay.entries.length - kept.length,
    });
  }
  const at: Term = term(Math.max(saved.term, state.backend.flushedTerm));
  const entries = forcedEntries({ self: memberId, voterIds, memberIds, term: at, lastIndex: commit });
  if (entries.length === 0) return replay;
  const last = index(commit + entries.length);
  const hardState: HardState = { term: at, vote: saved.vote, commit: last };
  await new Promise<void>((resolve, reject) => {
    wal.save(entries, hardState, (error) => (error === null ? resolve() : reject(error)));
  });
  log.warn("forcing a new cluster of this member alone", {
    "local-member-id": idText(memberId),
    "removed-member-ids": memberIds.filter((id) => id !== memberId).map(idText),
  });
  return { ...replay, hardState, entries: [...kept, ...entries], lastIndex: last };
}

/**
 * Up to where the entries are committed, and who is in the configuration there. The log's own commit index may be behind:
 * what was applied was committed, and whatever a voter has alone (it may have acknowledged it).
 */
function committedIn(
  entries: readonly Entry[],
  savedCommit: number,
  { confState, membership, backend }: AppliedState,
  self: bigint,
): { commit: number; voterIds: bigint[]; memberIds: bigint[] } {
  const voters = new Set(confState.voters);
  const all = new Set([...confState.voters, ...confState.learners, ...membership.members().map(({ id }) => id)]);
  let commit = Math.max(savedCommit, backend.flushedIndex);
  for (const entry of entries) {
    if (entry.index <= backend.flushedIndex) continue;
    const isCommitted = entry.index <= commit || (voters.size === 1 && voters.has(self));
    if (!isCommitted) break;
    commit = Math.max(commit, entry.index);
    if (entry.type !== EntryType.ConfChange) continue;
    const { type, nodeId } = decodeConfChange(entry.data);
    if (type === ConfChangeType.RemoveNode) {
      voters.delete(nodeId);
      all.delete(nodeId);
      continue;
    }
    all.add(nodeId);
    if (type === ConfChangeType.AddNode) voters.add(nodeId);
  }
  return { commit, voterIds: [...voters], memberIds: [...all] };
}
