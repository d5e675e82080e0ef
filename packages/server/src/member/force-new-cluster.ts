/**
 * --force-new-cluster: a member whose cluster has lost its quorum for good goes on alone with what it has. What was not
 * known to be committed is dropped, and the log is continued with committed entries that remove every other member, the
 * learners too (known failure MB-11). Ids and data stay.
 */
import { encodeChange, idText, type MembershipChange } from "@quorate/membership";
import {
  type ConfState,
  ConfChangeType,
  decodeConfChange,
  Entry,
  EntryType,
  encodeConfChange,
  EMPTY_HARD_STATE,
  type HardState,
  index,
  type Term,
  term,
} from "@quorate/raft";
import type { Replay, Wal } from "@quorate/wal";
import type { Log } from "@quorate/world";
import type { Config } from "../config/config.ts";
import type { AppliedState } from "./applied-state.ts";

export interface ForceOptions {
  readonly replay: Replay;
  readonly wal: Wal;
  /** As of what storage has. */
  readonly state: AppliedState;
  readonly memberId: bigint;
  readonly config: Config;
  readonly log: Log;
}

/** What is in the log afterwards, durably. */
export async function forceNewCluster(options: ForceOptions): Promise<Replay> {
  const { replay, wal, state, memberId, config, log } = options;
  const saved = replay.hardState ?? EMPTY_HARD_STATE;
  const commit = Math.max(saved.commit, state.backend.flushedIndex);
  const kept = replay.entries.filter((each) => each.index <= commit);
  if (kept.length < replay.entries.length) {
    log.info("discarding uncommitted entries", { "commit-index": commit, discarded: replay.entries.length - kept.length });
  }
  const { voters, others } = memberIdsAt(commit, state, kept, memberId);
  // Ourselves first: raft keeps no configuration without voters.
  const changes: MembershipChange[] = voters.has(memberId) ? [] : [ourselves(state, config, memberId)];
  for (const id of others) changes.push({ kind: "remove", id });
  if (changes.length === 0) return replay;

  const at: Term = term(Math.max(saved.term, state.backend.flushedTerm));
  const entries = changes.map(
    (change, i) =>
      new Entry(EntryType.ConfChange, at, index(commit + 1 + i), encodeConfChange({ id: 0n, ...encodeChange(change) })),
  );
  const last = index(commit + entries.length);
  const hardState: HardState = { term: at, vote: saved.vote, commit: last };
  await new Promise<void>((resolve, reject) => {
    wal.save(entries, hardState, (error) => (error === null ? resolve() : reject(error)));
  });
  log.warn("forcing a new cluster of this member alone", {
    "local-member-id": idText(memberId),
    "removed-member-ids": others.map(idText),
  });
  return { ...replay, hardState, entries: [...kept, ...entries], lastIndex: last };
}

/** Who is in the configuration once everything committed is applied. */
function memberIdsAt(
  commit: number,
  state: AppliedState,
  entries: readonly Entry[],
  memberId: bigint,
): { voters: Set<bigint>; others: bigint[] } {
  const { confState }: { confState: ConfState } = state;
  const voters = new Set(confState.voters);
  const all = new Set([...confState.voters, ...confState.learners, ...state.membership.members().map(({ id }) => id)]);
  for (const entry of entries) {
    if (entry.type !== EntryType.ConfChange || entry.index <= state.backend.flushedIndex || entry.index > commit) continue;
    const { type, nodeId } = decodeConfChange(entry.data);
    if (type === ConfChangeType.RemoveNode) {
      voters.delete(nodeId);
      all.delete(nodeId);
      continue;
    }
    all.add(nodeId);
    if (type === ConfChangeType.AddNode) voters.add(nodeId);
  }
  all.delete(memberId);
  return { voters, others: [...all].sort((a, b) => (a < b ? -1 : 1)) };
}

/** A learner is promoted; whoever is not in the configuration at all is added as the configuration describes it. */
function ourselves(state: AppliedState, config: Config, memberId: bigint): MembershipChange {
  if (state.membership.member(memberId) !== undefined) return { kind: "promote", id: memberId };
  const member = { id: memberId, peerUrls: config.advertisePeerUrls, isLearner: false, name: config.name, clientUrls: [] };
  return { kind: "add", member };
}
