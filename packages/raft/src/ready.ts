/** What a node wants done: the batch of effects RawNode hands out. */
import type { Message, Snapshot } from "./message.ts";
import type { ReadState, Role } from "./raft.ts";
import type { Entry, HardState, NodeId } from "./types.ts";

/** What is worth knowing but need not be stored. */
export interface SoftState {
  readonly lead: NodeId;
  readonly role: Role;
}

export class Ready {
  /** Null if unchanged since the last Ready. */
  readonly softState: SoftState | null;
  /** To be stored, together with `entries`, before `messages` leave. Null if unchanged. */
  readonly hardState: HardState | null;
  readonly readStates: readonly ReadState[];
  /** To be stored, replacing any from the first one's index on. The array is the caller's. */
  readonly entries: readonly Entry[];
  /** To be stored and applied before `entries`. Null if there is none. */
  readonly snapshot: Snapshot | null;
  /** To be applied. In synchronous mode they may be among `entries` too: on a quorum, though not yet here. */
  readonly committedEntries: readonly Entry[];
  readonly messages: readonly Message[];
  /** Whether the write must be durable before anything is told; a commit index alone need not be. */
  readonly mustSync: boolean;

  constructor(fields: {
    softState: SoftState | null;
    hardState: HardState | null;
    readStates: readonly ReadState[];
    entries: readonly Entry[];
    snapshot: Snapshot | null;
    committedEntries: readonly Entry[];
    messages: readonly Message[];
    mustSync: boolean;
  }) {
    this.softState = fields.softState;
    this.hardState = fields.hardState;
    this.readStates = fields.readStates;
    this.entries = fields.entries;
    this.snapshot = fields.snapshot;
    this.committedEntries = fields.committedEntries;
    this.messages = fields.messages;
    this.mustSync = fields.mustSync;
  }
}
