/**
 * Frames of the msgapp stream (etcd's msgappv2), which spares most MsgApps their header:
 *
 *   00                                               heartbeat of the link
 *   01 | u64be n | n x (u64be length | Entry) | u64be commit     a MsgApp that continues the one before
 *   02 | u64be length | raftpb.Message               any other
 *
 * Both ends keep the term and index the stream has come to. A MsgApp continues if it begins at that index, and its own
 * term and the term of the entry before it are that term (entries carry terms of their own). After 02 the state is the
 * message's term and its last entry's index; after 01 the index has moved on by n. (raft-and-peers.md §4.5)
 */
import {
  decodeEntry,
  decodeMessage,
  type Entry,
  entrySizeBytes,
  type Index,
  Message,
  MessageType,
  NO_ENTRIES,
  type NodeId,
  type Term,
  writeEntry,
  writeMessage,
} from "@quorate/raft";
import { MESSAGE_BYTES } from "./limits.ts";
import { type FrameDecoder, type FrameEncoder, LINK_HEARTBEAT, writeUint64 } from "./message-frames.ts";
import { FrameTooLarge, ReceivedBytes } from "./received-bytes.ts";

const FrameType = { LinkHeartbeat: 0, Entries: 1, Message: 2 } as const;

/** The first byte of a frame is none that etcd writes. */
export class MalformedFrame extends Error {
  readonly kind = "MalformedFrame";
  constructor(type: number) {
    super(`failed to parse type ${type} in msgappv2 stream`);
    this.name = "MalformedFrame";
  }
}

/**
 * The encoded entries of the last MsgApp, for the next follower that gets the same ones in the same turn. A log is
 * contiguous and its entries are shared, so equal ends and equal count are equal entries.
 */
export class EncodedEntries {
  #first: Entry | null = null;
  #last: Entry | null = null;
  #count = 0;
  #bytes: Buffer = Buffer.alloc(0);

  /** `bytes` must not change any more. */
  keep(entries: readonly Entry[], bytes: Buffer): void {
    this.#first = entries[0]!;
    this.#last = entries[entries.length - 1]!;
    this.#count = entries.length;
    this.#bytes = bytes;
  }

  /** null: others. */
  of(entries: readonly Entry[]): Buffer | null {
    const isSame =
      entries.length === this.#count && entries[0] === this.#first && entries[entries.length - 1] === this.#last;
    return isSame ? this.#bytes : null;
  }

  /** At the end of a turn, so that nothing is held for nobody. */
  forget(): void {
    this.#first = null;
    this.#count = 0;
    this.#bytes = Buffer.alloc(0);
  }
}

export class AppendEncoder implements FrameEncoder {
  readonly linkHeartbeat: Buffer = Buffer.from([FrameType.LinkHeartbeat]);
  readonly #encoded: EncodedEntries;
  #term = 0;
  #index = 0;

  constructor(encoded: EncodedEntries) {
    this.#encoded = encoded;
  }

  /** An entry costs at least two bytes besides its own in a message, and eight in a frame of entries. */
  mostBytes(message: Message, messageBytes: number): number {
    return 17 + messageBytes + 6 * message.entries.length;
  }

  write(message: Message, into: Buffer, at: number): number {
    const { entries } = message;
    if (message.index === this.#index && message.logTerm === this.#term && message.term === this.#term) {
      into[at] = FrameType.Entries;
      at = writeUint64(into, at + 1, entries.length);
      if (entries.length > 0) at = this.#writeEntries(entries, into, at);
      this.#index += entries.length;
      return writeUint64(into, at, message.commit);
    }
    into[at] = FrameType.Message;
    const end = writeMessage(message, into, at + 9);
    writeUint64(into, at + 1, end - at - 9);
    this.#term = message.term;
    this.#index = entries.length === 0 ? message.index : entries[entries.length - 1]!.index;
    return end;
  }

  #writeEntries(entries: readonly Entry[], into: Buffer, at: number): number {
    const encoded = this.#encoded.of(entries);
    if (encoded !== null) return at + encoded.copy(into, at);
    const start = at;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      at = writeEntry(entry, into, writeUint64(into, at, entrySizeBytes(entry)));
    }
    this.#encoded.keep(entries, into.subarray(start, at));
    return at;
  }
}

export class AppendDecoder implements FrameDecoder {
  readonly #received = new ReceivedBytes();
  readonly #local: NodeId;
  readonly #remote: NodeId;
  #term = 0;
  #index = 0;
  /** Of a frame of entries that is arriving: how many are missing, -1 between frames. */
  #missing = -1;
  #entries: Entry[] = [];
  #frameBytes = 0;

  constructor(local: NodeId, remote: NodeId) {
    this.#local = local;
    this.#remote = remote;
  }

  push(chunk: Buffer): void {
    this.#received.push(chunk);
  }

  next(): Message | null {
    if (this.#missing >= 0) return this.#nextEntries();
    const received = this.#received;
    if (received.length === 0) return null;
    const type = received.peek(0);
    switch (type) {
      case FrameType.LinkHeartbeat:
        received.skip(1);
        return LINK_HEARTBEAT;
      case FrameType.Entries:
        if (received.length < 9) return null;
        // An entry is eight bytes at least.
        if (received.peekUint64(1) > MESSAGE_BYTES / 8) throw new FrameTooLarge();
        this.#missing = received.peekUint64(1);
        this.#frameBytes = 0;
        received.skip(9);
        return this.#nextEntries();
      case FrameType.Message:
        return this.#nextMessage();
      default:
        throw new MalformedFrame(type);
    }
  }

  #nextMessage(): Message | null {
    const received = this.#received;
    if (received.length < 9) return null;
    const length = received.peekUint64(1);
    if (length > MESSAGE_BYTES) throw new FrameTooLarge();
    if (received.length < 9 + length) return null;
    received.skip(9);
    const message = decodeMessage(received.take(length));
    const { entries } = message;
    this.#term = message.term;
    this.#index = entries.length === 0 ? message.index : entries[entries.length - 1]!.index;
    return message;
  }

  #nextEntries(): Message | null {
    const received = this.#received;
    while (this.#missing > 0) {
      if (received.length < 8) return null;
      const length = received.peekUint64(0);
      if (this.#frameBytes + length > MESSAGE_BYTES) throw new FrameTooLarge();
      if (received.length < 8 + length) return null;
      received.skip(8);
      this.#entries.push(decodeEntry(received.take(length)));
      this.#frameBytes += 8 + length;
      this.#missing--;
    }
    if (received.length < 8) return null;
    const commit = received.peekUint64(0);
    received.skip(8);
    const message = new Message(MessageType.App, this.#local, this.#remote);
    message.term = this.#term as Term;
    message.logTerm = this.#term as Term;
    message.index = this.#index as Index;
    message.commit = commit as Index;
    if (this.#entries.length > 0) {
      message.entries = this.#entries;
      this.#index += this.#entries.length;
      this.#entries = [];
    } else {
      message.entries = NO_ENTRIES;
    }
    this.#missing = -1;
    return message;
  }
}
