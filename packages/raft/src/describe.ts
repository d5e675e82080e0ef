/**
 * Renderings of entries, messages and Readies for people and for scenario files; the texts are etcd's. Not used on any
 * hot path.
 */
import { confChangeOf } from "./codec.ts";
import { asV2, type ConfChangeSingle, ConfChangeType } from "./conf-change.ts";
import { hex, quote } from "./describe-parts.ts";
import { MalformedMessage } from "./errors.ts";
import { LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, type Message, messageTypeName, type Snapshot } from "./message.ts";
import { Role } from "./raft.ts";
import type { Ready } from "./ready.ts";
import { type ConfState, type Entry, EntryType, NO_NODE, type NodeId } from "./types.ts";

const ROLE_NAMES = {
  [Role.Follower]: "StateFollower",
  [Role.Candidate]: "StateCandidate",
  [Role.Leader]: "StateLeader",
  [Role.PreCandidate]: "StatePreCandidate",
} as const;

export function roleName(role: Role): string {
  return ROLE_NAMES[role];
}

const ENTRY_TYPE_NAMES = {
  [EntryType.Normal]: "EntryNormal",
  [EntryType.ConfChange]: "EntryConfChange",
  [EntryType.ConfChangeV2]: "EntryConfChangeV2",
} as const;

/** `1/4 EntryNormal "data"`, `1/5 EntryConfChangeV2 v2 l3`. */
export function describeEntry(entry: Entry): string {
  const content = describeContent(entry);
  const text = `${entry.term}/${entry.index} ${ENTRY_TYPE_NAMES[entry.type]}`;
  return content === "" ? text : `${text} ${content}`;
}

function describeContent(entry: Entry): string {
  if (entry.type === EntryType.Normal) return quote(entry.data);
  try {
    return describeChanges(asV2(confChangeOf(entry)).changes);
  } catch (error) {
    if (error instanceof MalformedMessage) return error.message;
    throw error;
  }
}

const CHANGE_LETTERS = {
  [ConfChangeType.AddNode]: "v",
  [ConfChangeType.AddLearnerNode]: "l",
  [ConfChangeType.RemoveNode]: "r",
  [ConfChangeType.UpdateNode]: "u",
} as const;

/** `v1 l2 r3 u4`: add a voter, add a learner, remove, update. */
export function describeChanges(changes: readonly ConfChangeSingle[]): string {
  return changes.map(({ type, nodeId }) => `${CHANGE_LETTERS[type]}${nodeId}`).join(" ");
}

/** One entry per line, each ended by a newline. */
export function describeEntries(entries: readonly Entry[]): string {
  return entries.map((entry) => `${describeEntry(entry)}\n`).join("");
}

export function describeConfState(state: ConfState): string {
  const list = (ids: readonly NodeId[]): string => `[${ids.join(" ")}]`;
  return (
    `Voters:${list(state.voters)} VotersOutgoing:${list(state.votersOutgoing)} Learners:${list(state.learners)} ` +
    `LearnersNext:${list(state.learnersNext)} AutoLeave:${state.autoLeave}`
  );
}

export function describeSnapshot(snapshot: Snapshot): string {
  const { index, term, confState } = snapshot.metadata;
  return `Index:${index} Term:${term} ConfState:${describeConfState(confState)}`;
}

export function describeMessage(message: Message): string {
  return describeIndented("", message);
}

function describeIndented(indent: string, m: Message): string {
  let text =
    `${indent}${describeNode(m.from)}->${describeNode(m.to)} ${messageTypeName(m.type)} ` +
    `Term:${m.term} Log:${m.logTerm}/${m.index}`;
  if (m.reject) text += ` Rejected (Hint: ${m.rejectHint})`;
  if (m.commit !== 0) text += ` Commit:${m.commit}`;
  if (m.vote !== 0n) text += ` Vote:${m.vote}`;
  if (m.entries.length === 1) {
    text += ` Entries:[${describeEntry(m.entries[0]!)}]`;
  } else if (m.entries.length > 1) {
    text += " Entries:[";
    for (const entry of m.entries) text += `\n${indent}  ${describeEntry(entry)}`;
    text += `\n${indent}]`;
  }
  if (m.snapshot !== null && m.snapshot.metadata.index !== 0) {
    text += `\n${indent}  Snapshot: ${describeSnapshot(m.snapshot)}`;
  }
  if (m.responses.length > 0) {
    text += " Responses:[";
    for (const response of m.responses) text += `\n${describeIndented(`${indent}  `, response)}`;
    text += `\n${indent}]`;
  }
  return text;
}

function describeNode(id: NodeId): string {
  if (id === NO_NODE) return "None";
  if (id === LOCAL_APPEND_THREAD) return "AppendThread";
  if (id === LOCAL_APPLY_THREAD) return "ApplyThread";
  return hex(id);
}

export function describeReady(ready: Ready): string {
  let text = "";
  const { softState, hardState, readStates } = ready;
  if (softState !== null) text += `Lead:${softState.lead} State:${roleName(softState.role)}\n`;
  if (hardState !== null) {
    const vote = hardState.vote === NO_NODE ? "" : ` Vote:${hardState.vote}`;
    text += `HardState Term:${hardState.term}${vote} Commit:${hardState.commit}\n`;
  }
  if (readStates.length > 0) {
    const states = readStates.map(({ index, requestContext }) => `{${index} [${requestContext.join(" ")}]}`);
    text += `ReadStates [${states.join(" ")}]\n`;
  }
  if (ready.entries.length > 0) text += `Entries:\n${describeEntries(ready.entries)}`;
  if (ready.snapshot !== null) text += `Snapshot ${describeSnapshot(ready.snapshot)}\n`;
  if (ready.committedEntries.length > 0) text += `CommittedEntries:\n${describeEntries(ready.committedEntries)}`;
  if (ready.messages.length > 0) {
    text += `Messages:\n${ready.messages.map((message) => `${describeMessage(message)}\n`).join("")}`;
  }
  return text === "" ? "<empty Ready>" : `Ready MustSync=${ready.mustSync}:\n${text}`;
}
