/**
 * The messages nodes exchange, and the snapshot one of them may carry. One class with every field set, because
 * messages are made on the hot path and V8 likes one shape; which fields mean something depends on `type`:
 *
 *   MsgApp            term, index/logTerm = the entry just before `entries`, entries, commit
 *   MsgAppResp        term, index; refused: reject, index = the refused one, rejectHint, logTerm = term at the hint
 *   Msg(Pre)Vote      term, index/logTerm = the candidate's last entry, context ("CampaignTransfer" or empty)
 *   MsgHeartbeat      term, commit, context;   MsgHeartbeatResp echoes the context byte for byte
 *   MsgSnap           term, snapshot
 *   MsgProp           entries, term 0;         MsgReadIndex: entries[0].data = request context, term 0
 *   MsgReadIndexResp  term, index, entries as asked
 *   MsgStorage...     see raw-node.ts: work for, and answers from, the local append and apply threads
 *
 * A message is immutable once it has left the node that made it.
 */
import type { ConfState, Entry, Index, NodeId, Term } from "./types.ts";

/** raftpb.MessageType, with its numbers. */
export const MessageType = {
  Hup: 0,
  Beat: 1,
  Prop: 2,
  App: 3,
  AppResp: 4,
  Vote: 5,
  VoteResp: 6,
  Snap: 7,
  Heartbeat: 8,
  HeartbeatResp: 9,
  Unreachable: 10,
  SnapStatus: 11,
  CheckQuorum: 12,
  TransferLeader: 13,
  TimeoutNow: 14,
  ReadIndex: 15,
  ReadIndexResp: 16,
  PreVote: 17,
  PreVoteResp: 18,
  StorageAppend: 19,
  StorageAppendResp: 20,
  StorageApply: 21,
  StorageApplyResp: 22,
  ForgetLeader: 23,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

const TYPE_NAMES: readonly string[] = Object.keys(MessageType).map((name) => `Msg${name}`);

/** "MsgApp" and so on, as raftpb spells them. */
export function messageTypeName(type: MessageType): string {
  return TYPE_NAMES[type] ?? String(type);
}

/** The type with that number, or undefined if raftpb has none. */
export function messageTypeOf(number: number): MessageType | undefined {
  return number < TYPE_NAMES.length ? (number as MessageType) : undefined;
}

/** Where MsgStorageAppend goes and its answers come from: whoever writes this node's log. */
export const LOCAL_APPEND_THREAD: NodeId = 0xffff_ffff_ffff_ffffn;
/** Where MsgStorageApply goes and its answers come from: whoever applies this node's committed entries. */
export const LOCAL_APPLY_THREAD: NodeId = 0xffff_ffff_ffff_fffen;

/** True for the two pseudo nodes that are parts of this process. */
export function isLocalThread(id: NodeId): boolean {
  return id === LOCAL_APPEND_THREAD || id === LOCAL_APPLY_THREAD;
}

/** True for types that never cross the network; one that does is to be dropped. */
export function isLocalType(type: MessageType): boolean {
  switch (type) {
    case MessageType.Hup:
    case MessageType.Beat:
    case MessageType.Unreachable:
    case MessageType.SnapStatus:
    case MessageType.CheckQuorum:
    case MessageType.StorageAppend:
    case MessageType.StorageAppendResp:
    case MessageType.StorageApply:
    case MessageType.StorageApplyResp:
      return true;
    default:
      return false;
  }
}

/** True for answers, which mean nothing when they come from a node outside the configuration. */
export function isResponseType(type: MessageType): boolean {
  switch (type) {
    case MessageType.AppResp:
    case MessageType.VoteResp:
    case MessageType.HeartbeatResp:
    case MessageType.Unreachable:
    case MessageType.ReadIndexResp:
    case MessageType.PreVoteResp:
    case MessageType.StorageAppendResp:
    case MessageType.StorageApplyResp:
      return true;
    default:
      return false;
  }
}

/** raftpb.SnapshotMetadata: the last entry the snapshot covers and the configuration in force there. */
export interface SnapshotMetadata {
  readonly confState: ConfState;
  readonly index: Index;
  readonly term: Term;
}

/** raftpb.Snapshot. `data` is opaque to raft. Index 0 means no snapshot at all. */
export interface Snapshot {
  readonly data: Uint8Array;
  readonly metadata: SnapshotMetadata;
}

/** Shared empties, so that a message without entries or context allocates nothing for them. Never written to. */
export const NO_ENTRIES: readonly Entry[] = [];
export const NO_MESSAGES: readonly Message[] = [];
export const NO_BYTES: Uint8Array = new Uint8Array(0);

export class Message {
  type: MessageType;
  to: NodeId;
  from: NodeId;
  term: Term = 0 as Term;
  logTerm: Term = 0 as Term;
  index: Index = 0 as Index;
  entries: readonly Entry[] = NO_ENTRIES;
  commit: Index = 0 as Index;
  snapshot: Snapshot | null = null;
  reject = false;
  rejectHint: Index = 0 as Index;
  context: Uint8Array = NO_BYTES;
  /** Only in MsgStorageAppend. */
  vote: NodeId = 0n;
  /** Only in MsgStorageAppend and MsgStorageApply: what to deliver once the work is done. */
  responses: readonly Message[] = NO_MESSAGES;

  /** `from` 0 is filled in by the node that sends it. */
  constructor(type: MessageType, to: NodeId, from: NodeId) {
    this.type = type;
    this.to = to;
    this.from = from;
  }
}
