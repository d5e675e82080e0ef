/**
 * Consensus as a function of state and message, for the member (RawNode), the log on disk and the peer transport (the
 * codecs). No I/O, clock or chance of its own: files, sockets, ticks and randomness are its callers'.
 */
export {
  confChangeOf,
  decodeConfChange,
  decodeConfChangeV2,
  decodeConfState,
  decodeEntry,
  decodeHardState,
  decodeMessage,
  decodeSnapshot,
  encodeConfChange,
  encodeConfChangeV2,
  encodeConfState,
  encodeHardState,
  encodeMessage,
  encodeSnapshot,
  entrySizeBytes,
  isEmptySnapshot,
  messageSizeBytes,
  writeEntry,
  writeMessage,
} from "./codec.ts";
export {
  asV2,
  type ConfChange,
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfChangeV2,
  isConfChangeV2,
} from "./conf-change.ts";
export type { RaftConfig } from "./config.ts";
export {
  describeChanges,
  describeConfState,
  describeEntries,
  describeEntry,
  describeMessage,
  describeReady,
  describeSnapshot,
  roleName,
} from "./describe.ts";
export {
  Compacted,
  type DropReason,
  InvalidConfChange,
  InvalidConfig,
  LocalMessageFromPeer,
  MalformedMessage,
  ProposalDropped,
  SnapshotOutOfDate,
  UnknownPeer,
} from "./errors.ts";
export {
  isLocalThread,
  isLocalType,
  isResponseType,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  Message,
  MessageType,
  messageTypeName,
  messageTypeOf,
  NO_BYTES,
  NO_ENTRIES,
  NO_MESSAGES,
  type Snapshot,
  type SnapshotMetadata,
} from "./message.ts";
export { ProgressState } from "./progress.ts";
export { type ReadState, Role } from "./raft.ts";
export { type BasicStatus, type ProgressStatus, RawNode, type Status } from "./raw-node.ts";
export type { ReadOnlyOption } from "./read-only.ts";
export { Ready, type SoftState } from "./ready.ts";
export { EMPTY_HARD_STATE, EMPTY_SNAPSHOT, type LogStorage, MemoryLogStorage } from "./storage.ts";
export {
  type ConfState,
  EMPTY_CONF_STATE,
  Entry,
  type EntryId,
  EntryType,
  type HardState,
  type Index,
  index,
  NO_NODE,
  type NodeId,
  nextIndex,
  type Term,
  term,
} from "./types.ts";
