/**
 * --force-new-cluster: a member whose cluster has lost its quorum for good goes on alone with what it has. Its log is
 * continued with entries that remove every other member, the learners too (known failure MB-11), and all of it counts as
 * committed. Ids and data stay.
 *
 * etcd drops what it does not know to be committed. The log says so only with the entries that follow, so the newest writes
 * that clients were told of would go with it: we keep them, and with them perhaps some whose clients were told nothing.
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
  const { voterIds, memberIds } = configurationAtEnd(replay.entries, state);
  const at: Term = term(Math.max(saved.term, state.backend.flushedTerm));
  const entries = forcedEntries({ self: memberId, voterIds, memberIds, term: at, lastIndex: replay.lastIndex });
  const last = index(replay.lastIndex + entries.length);
  const hardState: HardState = { term: at, vote: saved.vote, commit: last };
  await new Promise<void>((resolve, reject) => {
    wal.save(entries, hardState, (error) => (error === null ? resolve() : reject(error)));
  });
  log.warn("forcing a new cluster of this member alone", {
    "local-member-id": idText(memberId),
    "removed-member-ids": memberIds.filter((id) => id !== memberId).map(idText),
  });
  return { ...replay, hardState, entries: [...replay.entries, ...entries], lastIndex: last };
}

/** Who is in the configuration once all entries are applied. */
function configurationAtEnd(
  entries: readonly Entry[],
  { confState, membership, backend }: AppliedState,
): { voterIds: bigint[]; memberIds: bigint[] } {
  const voters = new Set(confState.voters);
  const all = new Set([...confState.voters, ...confState.learners, ...membership.members().map(({ id }) => id)]);
  for (const entry of entries) {
    if (entry.index <= backend.flushedIndex || entry.type !== EntryType.ConfChange) continue;
    const { type, nodeId } = decodeConfChange(entry.data);
    if (type === ConfChangeType.RemoveNode) {
      voters.delete(nodeId);
      all.delete(nodeId);
      continue;
    }
    all.add(nodeId);
    if (type === ConfChangeType.AddNode) voters.add(nodeId);
  }
  return { voterIds: [...voters], memberIds: [...all] };
}
