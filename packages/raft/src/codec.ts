/**
 * raftpb on the wire and in the log (proto2): Entry, HardState, Snapshot, Message, ConfChange, ConfChangeV2.
 *
 * Writing: fields in ascending order, only those that are not zero, as etcd 3.7 does. Reading: absent means zero, so the
 * older writers, who spell zeros out and always attach an empty snapshot, read the same. Terms and indexes beyond 2^53
 * are refused. Callers: the log on disk, the peer transport, and this room for configuration changes.
 *
 *   Entry 1 type 2 term 3 index 4 data            HardState 1 term 2 vote 3 commit
 *   Snapshot 1 data 2 metadata {1 conf_state 2 index 3 term}
 *   ConfState 1 voters 2 learners 3 voters_outgoing 4 learners_next 5 auto_leave
 *   Message 1 type 2 to 3 from 4 term 5 logTerm 6 index 7 entries 8 commit 9 snapshot 10 reject 11 rejectHint
 *           12 context 13 vote 14 responses
 *   ConfChange 1 id 2 type 3 node_id 4 context
 *   ConfChangeV2 1 transition 2 changes {1 type 2 node_id} 3 context
 */
import { Buffer } from "node:buffer";
import { assert } from "@quorate/world";
import {
  type ConfChange,
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfChangeV2,
} from "./conf-change.ts";
import { MalformedMessage } from "./errors.ts";
import { Message, MessageType, messageTypeOf, NO_BYTES, type Snapshot, type SnapshotMetadata } from "./message.ts";
import {
  type ConfState,
  EMPTY_CONF_STATE,
  Entry,
  EntryType,
  type HardState,
  type Index,
  type NodeId,
  type Term,
} from "./types.ts";
import { bigVarintSize, putBigVarint, putVarint, Reader, varintSize } from "./wire.ts";

// Every field number here is below 16, so every tag is one byte.
const VARINT = 0;
const BYTES = 2;

/** Encoded bytes of the entry alone, without the length its container prefixes. The unit of all size limits on entries. */
export function entrySizeBytes(entry: Entry): number {
  let size = 0;
  if (entry.type !== EntryType.Normal) size += 2;
  if (entry.term !== 0) size += 1 + varintSize(entry.term);
  if (entry.index !== 0) size += 1 + varintSize(entry.index);
  const length = entry.data.length;
  if (length !== 0) size += 1 + varintSize(length) + length;
  return size;
}

/** Writes the entry at `at`; `into` has room for `entrySizeBytes`. Returns the end. */
export function writeEntry(entry: Entry, into: Uint8Array, at: number): number {
  if (entry.type !== EntryType.Normal) at = putNumber(into, at, 1, entry.type);
  if (entry.term !== 0) at = putNumber(into, at, 2, entry.term);
  if (entry.index !== 0) at = putNumber(into, at, 3, entry.index);
  if (entry.data.length !== 0) at = putBytes(into, at, 4, entry.data);
  return at;
}

/** The entry in `[start, end)`. Its data is a view: the buffer is transferred, or must outlive it unchanged. */
export function decodeEntry(bytes: Uint8Array, start: number = 0, end: number = bytes.length): Entry {
  return readEntry(new Reader(bytes, start, end));
}

function readEntry(reader: Reader): Entry {
  let type: EntryType = EntryType.Normal;
  let term = 0;
  let index = 0;
  let data = NO_BYTES;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        type = readEnum(reader, EntryType.ConfChangeV2, "entry type");
        break;
      case 2:
        term = reader.exact();
        break;
      case 3:
        index = reader.exact();
        break;
      case 4:
        data = reader.bytes();
        break;
      default:
        reader.skip();
    }
  }
  return new Entry(type, term as Term, index as Index, data);
}

export function encodeHardState(state: HardState): Uint8Array {
  const size = numberSize(state.term) + idSize(state.vote) + numberSize(state.commit);
  const into = Buffer.allocUnsafe(size);
  let at = 0;
  if (state.term !== 0) at = putNumber(into, at, 1, state.term);
  if (state.vote !== 0n) at = putId(into, at, 2, state.vote);
  if (state.commit !== 0) at = putNumber(into, at, 3, state.commit);
  assert(at === size, "a hard state is as long as computed");
  return into;
}

export function decodeHardState(bytes: Uint8Array, start: number = 0, end: number = bytes.length): HardState {
  const reader = new Reader(bytes, start, end);
  let term = 0;
  let vote: NodeId = 0n;
  let commit = 0;
  while (reader.next()) {
    if (reader.field === 1) term = reader.exact();
    else if (reader.field === 2) vote = reader.id();
    else if (reader.field === 3) commit = reader.exact();
    else reader.skip();
  }
  return { term: term as Term, vote, commit: commit as Index };
}

export function encodeConfState(state: ConfState): Uint8Array {
  const into = Buffer.allocUnsafe(confStateSize(state));
  const end = writeConfState(state, into, 0);
  assert(end === into.length, "a configuration is as long as computed");
  return into;
}

export function decodeConfState(bytes: Uint8Array, start: number = 0, end: number = bytes.length): ConfState {
  return readConfState(new Reader(bytes, start, end));
}

export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  const into = Buffer.allocUnsafe(snapshotSize(snapshot));
  const end = writeSnapshot(snapshot, into, 0);
  assert(end === into.length, "a snapshot is as long as computed");
  return into;
}

/** The data of the result is a view: the buffer is transferred, or must outlive it unchanged. */
export function decodeSnapshot(bytes: Uint8Array, start: number = 0, end: number = bytes.length): Snapshot {
  return readSnapshot(new Reader(bytes, start, end));
}

function confStateSize(state: ConfState): number {
  let size = state.autoLeave ? 2 : 0;
  for (const id of state.voters) size += 1 + bigVarintSize(id);
  for (const id of state.learners) size += 1 + bigVarintSize(id);
  for (const id of state.votersOutgoing) size += 1 + bigVarintSize(id);
  for (const id of state.learnersNext) size += 1 + bigVarintSize(id);
  return size;
}

function writeConfState(state: ConfState, into: Uint8Array, at: number): number {
  for (const id of state.voters) at = putId(into, at, 1, id);
  for (const id of state.learners) at = putId(into, at, 2, id);
  for (const id of state.votersOutgoing) at = putId(into, at, 3, id);
  for (const id of state.learnersNext) at = putId(into, at, 4, id);
  if (state.autoLeave) at = putNumber(into, at, 5, 1);
  return at;
}

function readConfState(reader: Reader): ConfState {
  const voters: NodeId[] = [];
  const learners: NodeId[] = [];
  const votersOutgoing: NodeId[] = [];
  const learnersNext: NodeId[] = [];
  let autoLeave = false;
  while (reader.next()) {
    if (reader.field === 1) reader.ids(voters);
    else if (reader.field === 2) reader.ids(learners);
    else if (reader.field === 3) reader.ids(votersOutgoing);
    else if (reader.field === 4) reader.ids(learnersNext);
    else if (reader.field === 5) autoLeave = reader.bool();
    else reader.skip();
  }
  return { voters, learners, votersOutgoing, learnersNext, autoLeave };
}

function metadataSize(metadata: SnapshotMetadata): number {
  return nestedSize(confStateSize(metadata.confState)) + numberSize(metadata.index) + numberSize(metadata.term);
}

function snapshotSize(snapshot: Snapshot): number {
  const data = snapshot.data.length === 0 ? 0 : nestedSize(snapshot.data.length);
  return data + nestedSize(metadataSize(snapshot.metadata));
}

function writeSnapshot(snapshot: Snapshot, into: Uint8Array, at: number): number {
  const { confState, index, term } = snapshot.metadata;
  if (snapshot.data.length !== 0) at = putBytes(into, at, 1, snapshot.data);
  at = putLength(into, at, 2, metadataSize(snapshot.metadata));
  at = putLength(into, at, 1, confStateSize(confState));
  at = writeConfState(confState, into, at);
  if (index !== 0) at = putNumber(into, at, 2, index);
  if (term !== 0) at = putNumber(into, at, 3, term);
  return at;
}

function readSnapshot(reader: Reader): Snapshot {
  let data = NO_BYTES;
  let metadata: SnapshotMetadata = { confState: EMPTY_CONF_STATE, index: 0 as Index, term: 0 as Term };
  while (reader.next()) {
    if (reader.field === 1) {
      data = reader.bytes();
    } else if (reader.field === 2) {
      const outer = reader.enter();
      metadata = readMetadata(reader);
      reader.leave(outer);
    } else {
      reader.skip();
    }
  }
  return { data, metadata };
}

function readMetadata(reader: Reader): SnapshotMetadata {
  let confState = EMPTY_CONF_STATE;
  let index = 0;
  let term = 0;
  while (reader.next()) {
    if (reader.field === 1) {
      const outer = reader.enter();
      confState = readConfState(reader);
      reader.leave(outer);
    } else if (reader.field === 2) {
      index = reader.exact();
    } else if (reader.field === 3) {
      term = reader.exact();
    } else {
      reader.skip();
    }
  }
  return { confState, index: index as Index, term: term as Term };
}

/** Encoded bytes of the message alone. */
export function messageSizeBytes(message: Message): number {
  let size = 0;
  if (message.type !== MessageType.Hup) size += 2;
  size += idSize(message.to) + idSize(message.from);
  size += numberSize(message.term) + numberSize(message.logTerm) + numberSize(message.index);
  const entries = message.entries;
  for (let i = 0; i < entries.length; i++) size += nestedSize(entrySizeBytes(entries[i]!));
  size += numberSize(message.commit);
  if (message.snapshot !== null) size += nestedSize(snapshotSize(message.snapshot));
  if (message.reject) size += 2;
  size += numberSize(message.rejectHint);
  if (message.context.length !== 0) size += nestedSize(message.context.length);
  size += idSize(message.vote);
  for (const response of message.responses) size += nestedSize(messageSizeBytes(response));
  return size;
}

/** Writes the message at `at`; `into` has room for `messageSizeBytes`. Returns the end. */
export function writeMessage(message: Message, into: Uint8Array, at: number): number {
  if (message.type !== MessageType.Hup) at = putNumber(into, at, 1, message.type);
  if (message.to !== 0n) at = putId(into, at, 2, message.to);
  if (message.from !== 0n) at = putId(into, at, 3, message.from);
  if (message.term !== 0) at = putNumber(into, at, 4, message.term);
  if (message.logTerm !== 0) at = putNumber(into, at, 5, message.logTerm);
  if (message.index !== 0) at = putNumber(into, at, 6, message.index);
  const entries = message.entries;
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!;
    at = putLength(into, at, 7, entrySizeBytes(entry));
    at = writeEntry(entry, into, at);
  }
  if (message.commit !== 0) at = putNumber(into, at, 8, message.commit);
  if (message.snapshot !== null) {
    at = putLength(into, at, 9, snapshotSize(message.snapshot));
    at = writeSnapshot(message.snapshot, into, at);
  }
  if (message.reject) at = putNumber(into, at, 10, 1);
  if (message.rejectHint !== 0) at = putNumber(into, at, 11, message.rejectHint);
  if (message.context.length !== 0) at = putBytes(into, at, 12, message.context);
  if (message.vote !== 0n) at = putId(into, at, 13, message.vote);
  for (const response of message.responses) {
    at = putLength(into, at, 14, messageSizeBytes(response));
    at = writeMessage(response, into, at);
  }
  return at;
}

/** The message in a buffer of its own. */
export function encodeMessage(message: Message): Uint8Array {
  const into = Buffer.allocUnsafe(messageSizeBytes(message));
  const end = writeMessage(message, into, 0);
  assert(end === into.length, "a message is as long as computed");
  return into;
}

/**
 * The message in `[start, end)`. Entry data, context and snapshot data are views: the buffer is transferred, or must
 * outlive the message unchanged; pass a copy of what lies in a pool. Throws MalformedMessage.
 */
export function decodeMessage(bytes: Uint8Array, start: number = 0, end: number = bytes.length): Message {
  return readMessage(new Reader(bytes, start, end), 0);
}

function readMessage(reader: Reader, depth: number): Message {
  // Responses are the only recursion, and responses have none of their own.
  if (depth > 1) throw new MalformedMessage("responses are nested");
  const message = new Message(MessageType.Hup, 0n, 0n);
  const entries: Entry[] = [];
  const responses: Message[] = [];
  while (reader.next()) {
    switch (reader.field) {
      case 1: {
        const type = messageTypeOf(reader.exact());
        if (type === undefined) throw new MalformedMessage("the message type is unknown");
        message.type = type;
        break;
      }
      case 2:
        message.to = reader.id();
        break;
      case 3:
        message.from = reader.id();
        break;
      case 4:
        message.term = reader.exact() as Term;
        break;
      case 5:
        message.logTerm = reader.exact() as Term;
        break;
      case 6:
        message.index = reader.exact() as Index;
        break;
      case 7: {
        const outer = reader.enter();
        entries.push(readEntry(reader));
        reader.leave(outer);
        break;
      }
      case 8:
        message.commit = reader.exact() as Index;
        break;
      case 9: {
        const outer = reader.enter();
        message.snapshot = readSnapshot(reader);
        reader.leave(outer);
        break;
      }
      case 10:
        message.reject = reader.bool();
        break;
      case 11:
        message.rejectHint = reader.exact() as Index;
        break;
      case 12:
        message.context = reader.bytes();
        break;
      case 13:
        message.vote = reader.id();
        break;
      case 14: {
        const outer = reader.enter();
        responses.push(readMessage(reader, depth + 1));
        reader.leave(outer);
        break;
      }
      default:
        reader.skip();
    }
  }
  if (entries.length > 0) message.entries = entries;
  if (responses.length > 0) message.responses = responses;
  // etcd 3.4 and 3.5 attach an empty snapshot to everything.
  if (message.type !== MessageType.Snap && message.snapshot !== null && isEmptySnapshot(message.snapshot)) {
    message.snapshot = null;
  }
  return message;
}

/** Index 0 marks the absence of a snapshot. */
export function isEmptySnapshot(snapshot: Snapshot): boolean {
  return snapshot.metadata.index === 0;
}

export function encodeConfChange(change: ConfChange): Uint8Array {
  let size = idSize(change.id) + (change.type === 0 ? 0 : 2) + idSize(change.nodeId);
  if (change.context.length !== 0) size += nestedSize(change.context.length);
  const into = Buffer.allocUnsafe(size);
  let at = 0;
  if (change.id !== 0n) at = putId(into, at, 1, change.id);
  if (change.type !== 0) at = putNumber(into, at, 2, change.type);
  if (change.nodeId !== 0n) at = putId(into, at, 3, change.nodeId);
  if (change.context.length !== 0) at = putBytes(into, at, 4, change.context);
  assert(at === size, "a configuration change is as long as computed");
  return into;
}

export function decodeConfChange(bytes: Uint8Array): ConfChange {
  const reader = new Reader(bytes, 0, bytes.length);
  let id = 0n;
  let type: ConfChangeType = ConfChangeType.AddNode;
  let nodeId: NodeId = 0n;
  let context = NO_BYTES;
  while (reader.next()) {
    if (reader.field === 1) id = reader.id();
    else if (reader.field === 2) type = readEnum(reader, ConfChangeType.AddLearnerNode, "configuration change type");
    else if (reader.field === 3) nodeId = reader.id();
    else if (reader.field === 4) context = reader.bytes();
    else reader.skip();
  }
  return { id, type, nodeId, context };
}

export function encodeConfChangeV2(change: ConfChangeV2): Uint8Array {
  let size = change.transition === 0 ? 0 : 2;
  for (const single of change.changes) size += nestedSize(singleSize(single));
  if (change.context.length !== 0) size += nestedSize(change.context.length);
  const into = Buffer.allocUnsafe(size);
  let at = 0;
  if (change.transition !== 0) at = putNumber(into, at, 1, change.transition);
  for (const single of change.changes) {
    at = putLength(into, at, 2, singleSize(single));
    if (single.type !== 0) at = putNumber(into, at, 1, single.type);
    if (single.nodeId !== 0n) at = putId(into, at, 2, single.nodeId);
  }
  if (change.context.length !== 0) at = putBytes(into, at, 3, change.context);
  assert(at === size, "a configuration change is as long as computed");
  return into;
}

export function decodeConfChangeV2(bytes: Uint8Array): ConfChangeV2 {
  const reader = new Reader(bytes, 0, bytes.length);
  let transition: ConfChangeTransition = ConfChangeTransition.Auto;
  const changes: ConfChangeSingle[] = [];
  let context = NO_BYTES;
  while (reader.next()) {
    if (reader.field === 1) {
      transition = readEnum(reader, ConfChangeTransition.JointExplicit, "configuration change transition");
    } else if (reader.field === 2) {
      const outer = reader.enter();
      changes.push(readSingle(reader));
      reader.leave(outer);
    } else if (reader.field === 3) {
      context = reader.bytes();
    } else {
      reader.skip();
    }
  }
  return { transition, changes, context };
}

function singleSize(single: ConfChangeSingle): number {
  return (single.type === 0 ? 0 : 2) + idSize(single.nodeId);
}

function readSingle(reader: Reader): ConfChangeSingle {
  let type: ConfChangeType = ConfChangeType.AddNode;
  let nodeId: NodeId = 0n;
  while (reader.next()) {
    if (reader.field === 1) type = readEnum(reader, ConfChangeType.AddLearnerNode, "configuration change type");
    else if (reader.field === 2) nodeId = reader.id();
    else reader.skip();
  }
  return { type, nodeId };
}

/** The change an entry of either configuration-change type carries. Throws MalformedMessage. */
export function confChangeOf(entry: Entry): ConfChange | ConfChangeV2 {
  assert(entry.type !== EntryType.Normal, "only configuration entries carry a configuration change");
  return entry.type === EntryType.ConfChange ? decodeConfChange(entry.data) : decodeConfChangeV2(entry.data);
}

function readEnum<T extends number>(reader: Reader, largest: T, what: string): T {
  const value = reader.exact();
  if (value > largest) throw new MalformedMessage(`the ${what} is unknown`);
  return value as T;
}

function numberSize(value: number): number {
  return value === 0 ? 0 : 1 + varintSize(value);
}

function idSize(value: bigint): number {
  return value === 0n ? 0 : 1 + bigVarintSize(value);
}

function nestedSize(length: number): number {
  return 1 + varintSize(length) + length;
}

function putNumber(into: Uint8Array, at: number, field: number, value: number): number {
  into[at] = (field << 3) | VARINT;
  return putVarint(into, at + 1, value);
}

function putId(into: Uint8Array, at: number, field: number, value: bigint): number {
  into[at] = (field << 3) | VARINT;
  return putBigVarint(into, at + 1, value);
}

function putLength(into: Uint8Array, at: number, field: number, length: number): number {
  into[at] = (field << 3) | BYTES;
  return putVarint(into, at + 1, length);
}

function putBytes(into: Uint8Array, at: number, field: number, bytes: Uint8Array): number {
  at = putLength(into, at, field, bytes.length);
  into.set(bytes, at);
  return at + bytes.length;
}
