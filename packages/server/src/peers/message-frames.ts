/**
 * Frames of the message stream, and of the message before a snapshot's file:
 *
 *   u64be length | raftpb.Message      repeated
 *
 * A heartbeat of the link is a MsgHeartbeat from 0 to 0; older members spell its zeros out. (raft-and-peers.md §4.4)
 */
import { decodeMessage, Message, MessageType, messageSizeBytes, writeMessage } from "@quorate/raft";
import { MESSAGE_BYTES } from "./limits.ts";
import { FrameTooLarge, ReceivedBytes } from "./received-bytes.ts";

/** What turns messages into the bytes of one connection. May keep state: one per connection, in the order of sending. */
export interface FrameEncoder {
  /** The most bytes `write` takes for a message of `messageSizeBytes`. */
  mostBytes(message: Message, messageBytes: number): number;
  /** Returns the end. */
  write(message: Message, into: Buffer, at: number): number;
  readonly linkHeartbeat: Buffer;
}

/** The other way. Throws FrameTooLarge, MalformedMessage or MalformedFrame; the stream is of no use afterwards. */
export interface FrameDecoder {
  /** The chunk is transferred: messages are views of it. */
  push(chunk: Buffer): void;
  /** The next whole message; null until more arrives. */
  next(): Message | null;
}

/** Of the link, not of raft: says only that somebody is there. */
export function isLinkHeartbeat(message: Message): boolean {
  return message.type === MessageType.Heartbeat && message.from === 0n && message.to === 0n;
}

export const LINK_HEARTBEAT: Message = new Message(MessageType.Heartbeat, 0n, 0n);

export class MessageEncoder implements FrameEncoder {
  readonly linkHeartbeat: Buffer = encodeFrame(LINK_HEARTBEAT);

  mostBytes(_message: Message, messageBytes: number): number {
    return 8 + messageBytes;
  }

  write(message: Message, into: Buffer, at: number): number {
    const end = writeMessage(message, into, at + 8);
    writeUint64(into, at, end - at - 8);
    return end;
  }
}

export class MessageDecoder implements FrameDecoder {
  readonly #received = new ReceivedBytes();
  readonly #limitBytes: number;

  constructor(limitBytes: number = MESSAGE_BYTES) {
    this.#limitBytes = limitBytes;
  }

  push(chunk: Buffer): void {
    this.#received.push(chunk);
  }

  next(): Message | null {
    const received = this.#received;
    if (received.length < 8) return null;
    const length = received.peekUint64(0);
    if (length > this.#limitBytes) throw new FrameTooLarge();
    if (received.length < 8 + length) return null;
    received.skip(8);
    return decodeMessage(received.take(length));
  }

  /** What came after the messages taken so far. */
  takeRest(): Buffer[] {
    return this.#received.takeRest();
  }

  /** Whether nothing at all, or nothing since the last message, has arrived. */
  get isEmpty(): boolean {
    return this.#received.length === 0;
  }
}

/** One message with its length, in a buffer of its own. */
export function encodeFrame(message: Message): Buffer {
  const length = messageSizeBytes(message);
  const into = Buffer.allocUnsafe(8 + length);
  writeUint64(into, 0, length);
  writeMessage(message, into, 8);
  return into;
}

/** A count, length or index, all below 2^53. */
export function writeUint64(into: Buffer, at: number, value: number): number {
  into.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at);
  return into.writeUInt32BE(value % 0x1_0000_0000, at + 4);
}
