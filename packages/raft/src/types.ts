/**
 * The nouns of the log, shared by consensus, the log on disk and the member.
 *
 * Terms and indexes are numbers below 2^53: at a million entries a second that lasts 285 years, and a number costs a
 * sixth of a bigint. Whoever decodes one from bytes refuses larger values. Node ids are opaque 64-bit values chosen by
 * hashing, so they stay bigint; raft only compares and sorts them.
 */
declare const brand: unique symbol;
export type Term = number & { readonly [brand]: "Term" };
export type Index = number & { readonly [brand]: "Index" };
export type NodeId = bigint;

/** No node: an absent leader, vote or transferee. */
export const NO_NODE: NodeId = 0n;

export function term(value: number): Term {
  return value as Term;
}
export function index(value: number): Index {
  return value as Index;
}
export function nextIndex(of: Index, by = 1): Index {
  return (of + by) as Index;
}

/** raftpb.EntryType, with its numbers. */
export const EntryType = { Normal: 0, ConfChange: 1, ConfChangeV2: 2 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

/** One place in the log. `data` is owned by the entry and never changes after construction. */
export class Entry {
  readonly type: EntryType;
  /** Set when the leader appends it; 0 until then. */
  term: Term;
  index: Index;
  readonly data: Uint8Array;

  constructor(type: EntryType, term: Term, index: Index, data: Uint8Array) {
    this.type = type;
    this.term = term;
    this.index = index;
    this.data = data;
  }
}

/** Which entry, unmistakably: two logs that hold an entry with the same id agree up to it (raft thesis §3.5). */
export interface EntryId {
  readonly term: Term;
  readonly index: Index;
}

/** What must survive a crash besides entries (raft thesis §3.8). */
export interface HardState {
  readonly term: Term;
  readonly vote: NodeId;
  readonly commit: Index;
}

/** raftpb.ConfState. Lists are sorted ascending; an absent half of a joint configuration is an empty list. */
export interface ConfState {
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
  readonly votersOutgoing: readonly NodeId[];
  readonly learnersNext: readonly NodeId[];
  readonly autoLeave: boolean;
}

/** The configuration of a node that is in none. */
export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};
