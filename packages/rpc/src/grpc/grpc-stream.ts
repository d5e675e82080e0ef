/**
 * A stream that carries gRPC messages, on either side: cuts DATA into messages, and writes messages as DATA.
 *
 *    │ compressed? (1) │ length (4) │ message ... │ compressed? │ length │ message ...
 *
 * A message that lies whole in one DATA frame is handed on in place; only one torn across frames is gathered in a
 * buffer, which grows with what arrives, never with what the length prefix merely promises (GR-01).
 */
import { gunzipSync } from "node:zlib";
import type { Connection } from "../http2/connection.ts";
import { FrameType, frameHeaderBytes, maxFrameBytes, writeFrameHeader, writeUint32 } from "../http2/frame.ts";
import { copyBytes } from "../http2/output.ts";
import type { BodySource } from "../http2/send-queue.ts";
import { sharedPieceBytes } from "../http2/send-queue.ts";
import { Stream } from "../http2/stream.ts";
import { StatusCode } from "./status.ts";
import { quoted } from "./timeout.ts";

export const messagePrefixBytes = 5;

/** A message whose end has not arrived. */
interface TornMessage {
  /** Prefix and message, as far as arrived. */
  bytes: Buffer;
  filled: number;
  /** Prefix plus length; 0 while the prefix itself is not complete. */
  whole: number;
}

export abstract class GrpcStream extends Stream {
  readonly connection: Connection;
  /** The peer's grpc-encoding; "" and "identity" mean none. */
  protected peerEncoding = "";
  #partial: TornMessage | null = null;

  constructor(connection: Connection, id: number, sendWindow: number, nowMs: number) {
    super(id, sendWindow, connection.limits.streamWindowBytes, nowMs);
    this.connection = connection;
  }

  /** One message, borrowed until return. `isLast`: the peer's half is closed and nothing follows. */
  protected abstract message(buffer: Buffer, start: number, end: number, isLast: boolean): void;
  /** What arrived is not an acceptable message. Ends the call. */
  protected abstract messageRefused(code: StatusCode, text: string): void;

  /** A message has begun and not ended. */
  protected get isMessageTorn(): boolean {
    return this.#partial !== null;
  }
  protected dropPartial(): void {
    this.#partial = null;
    this.missingBytes = 0;
  }

  receive(buffer: Buffer, start: number, end: number): void {
    let at = start;
    if (this.#partial !== null) {
      at = this.#gather(this.#partial, buffer, at, end);
    }
    while (at < end && !this.isGone) {
      const left = end - at;
      if (left < messagePrefixBytes) {
        this.#keep(buffer, at, end, 0);
        return;
      }
      const length = this.#prefix(buffer, at);
      if (length < 0) return;
      const next = at + messagePrefixBytes + length;
      if (next > end) {
        this.#keep(buffer, at, end, messagePrefixBytes + length);
        return;
      }
      this.#deliver(buffer, at, next, next === end);
      at = next;
    }
  }

  /** The length a prefix announces, or -1 if it was refused. */
  #prefix(buffer: Buffer, at: number): number {
    const flag = buffer[at]!;
    const length = buffer[at + 1]! * 0x100_0000 + ((buffer[at + 2]! << 16) | (buffer[at + 3]! << 8) | buffer[at + 4]!);
    if (flag > 1) {
      this.#refuse(StatusCode.Internal, `grpc: received unexpected payload format ${flag}`);
      return -1;
    }
    const limit = this.connection.limits.maxMessageBytes;
    if (length > limit) {
      this.#refuse(StatusCode.ResourceExhausted, `grpc: received message larger than max (${length} vs. ${limit})`);
      return -1;
    }
    return length;
  }

  #refuse(code: StatusCode, text: string): void {
    this.dropPartial();
    this.messageRefused(code, text);
  }

  #deliver(buffer: Buffer, start: number, end: number, endsFrame: boolean): void {
    const isLast = endsFrame && this.isRemoteClosed;
    if (buffer[start] === 0) {
      this.message(buffer, start + messagePrefixBytes, end, isLast);
      return;
    }
    if (this.peerEncoding === "" || this.peerEncoding === "identity") {
      this.#refuse(StatusCode.Internal, "grpc: compressed flag set with identity or empty encoding");
      return;
    }
    if (this.peerEncoding !== "gzip") {
      const encoding = quoted(this.peerEncoding);
      this.#refuse(StatusCode.Unimplemented, `grpc: Decompressor is not installed for grpc-encoding ${encoding}`);
      return;
    }
    const limit = this.connection.limits.maxMessageBytes;
    let inflated: Buffer;
    try {
      inflated = gunzipSync(buffer.subarray(start + messagePrefixBytes, end), { maxOutputLength: Math.max(1, limit) });
    } catch (error) {
      if (error instanceof RangeError) {
        this.#refuse(
          StatusCode.ResourceExhausted,
          `grpc: received message after decompression larger than max ${limit}`,
        );
      } else this.#refuse(StatusCode.Internal, "grpc: failed to decompress the received message");
      return;
    }
    this.message(inflated, 0, inflated.length, isLast);
  }

  /** Begins a torn message with `buffer[start, end)`. */
  #keep(buffer: Buffer, start: number, end: number, whole: number): void {
    const filled = end - start;
    const size = Math.min(Math.max(whole, messagePrefixBytes), Math.max(filled * 2, firstPartialBytes));
    const bytes = Buffer.allocUnsafeSlow(Math.max(size, filled));
    buffer.copy(bytes, 0, start, end);
    this.#partial = { bytes, filled, whole };
    this.missingBytes = Math.max(whole - filled, 0);
  }

  /** Goes on with a torn message; returns where the next begins. */
  #gather(partial: TornMessage, buffer: Buffer, start: number, end: number): number {
    let at = start;
    if (partial.whole === 0) {
      const take = Math.min(messagePrefixBytes - partial.filled, end - at);
      buffer.copy(partial.bytes, partial.filled, at, at + take);
      partial.filled += take;
      at += take;
      if (partial.filled < messagePrefixBytes) return at;
      const length = this.#prefix(partial.bytes, 0);
      if (length < 0) return end;
      partial.whole = messagePrefixBytes + length;
    }
    const take = Math.min(partial.whole - partial.filled, end - at);
    const filled = partial.filled + take;
    if (filled > partial.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.min(partial.whole, Math.max(filled, partial.bytes.length * 2)));
      partial.bytes.copy(grown, 0, 0, partial.filled);
      partial.bytes = grown;
    }
    buffer.copy(partial.bytes, partial.filled, at, at + take);
    partial.filled = filled;
    at += take;
    this.missingBytes = partial.whole - filled;
    if (this.missingBytes > 0) return at;
    this.#partial = null;
    this.#deliver(partial.bytes, 0, partial.whole, at === end);
    return at;
  }

  // ---------------------------------------------------------------- sending

  /** Whether a frame of `bytes` may go straight into the output, before anything else is queued. */
  protected canSendNow(bytes: number): boolean {
    return (
      this.sending === null && bytes <= maxFrameBytes && bytes <= this.sendWindow && this.connection.canSendNow(bytes)
    );
  }

  /** One message; both parts are copied. */
  protected writeMessage(
    head: Uint8Array,
    headStart: number,
    headEnd: number,
    tail: Uint8Array,
    tailStart: number,
    tailEnd: number,
    flags: number,
  ): void {
    const length = headEnd - headStart + tailEnd - tailStart;
    const framed = messagePrefixBytes + length;
    const connection = this.connection;
    if (this.canSendNow(framed)) {
      const output = connection.output;
      output.reserve(frameHeaderBytes + framed);
      const slab = output.slab;
      let at = writeFrameHeader(slab, output.used, framed, FrameType.Data, flags, this.id);
      slab[at] = 0;
      at = writeUint32(slab, at + 1, length);
      copyBytes(head, headStart, headEnd, slab, at);
      at += headEnd - headStart;
      if (tailEnd > tailStart) copyBytes(tail, tailStart, tailEnd, slab, at);
      output.used = at + tailEnd - tailStart;
      this.#sent(framed);
      return;
    }
    const queue = connection.scheduler.queueOf(this, connection.owner.clock.monotonicMs());
    queue.append(writePrefix(length), 0, messagePrefixBytes);
    queue.append(head, headStart, headEnd);
    if (tailEnd > tailStart) queue.append(tail, tailStart, tailEnd);
    this.#queued(framed);
  }

  /** One message whose tail is not copied if it is large. */
  protected writeShared(head: Uint8Array, headStart: number, headEnd: number, tail: Uint8Array): void {
    const headLength = headEnd - headStart;
    const length = headLength + tail.length;
    const framed = messagePrefixBytes + length;
    if (tail.length < sharedPieceBytes) {
      this.writeMessage(head, headStart, headEnd, tail, 0, tail.length, 0);
      return;
    }
    const shared = asBuffer(tail);
    const connection = this.connection;
    if (this.canSendNow(framed)) {
      const output = connection.output;
      output.reserve(frameHeaderBytes + messagePrefixBytes + headLength);
      let at = writeFrameHeader(output.slab, output.used, framed, FrameType.Data, 0, this.id);
      output.slab[at] = 0;
      at = writeUint32(output.slab, at + 1, length);
      copyBytes(head, headStart, headEnd, output.slab, at);
      output.used = at + headLength;
      output.appendShared(shared);
      this.#sent(framed);
      return;
    }
    const queue = connection.scheduler.queueOf(this, connection.owner.clock.monotonicMs());
    queue.append(writePrefix(length), 0, messagePrefixBytes);
    queue.append(head, headStart, headEnd);
    queue.appendShared(shared);
    this.#queued(framed);
  }

  /** One message of known length that `source` produces while it is being sent. */
  protected writeFrom(totalBytes: number, source: BodySource): void {
    const connection = this.connection;
    const queue = connection.scheduler.queueOf(this, connection.owner.clock.monotonicMs());
    queue.append(writePrefix(totalBytes), 0, messagePrefixBytes);
    queue.source = source;
    queue.sourceBytes = totalBytes;
    this.#queued(messagePrefixBytes);
  }

  /** The source has something again. */
  protected sourceReady(): void {
    if (this.sending === null || !this.sending.isSourceWaiting) return;
    this.sending.isSourceWaiting = false;
    this.sending.progressMs = this.connection.owner.clock.monotonicMs();
    this.connection.scheduler.wake(this);
    this.connection.touched();
  }

  #sent(framed: number): void {
    this.sendWindow -= framed;
    const scheduler = this.connection.scheduler;
    scheduler.window -= framed;
    scheduler.framesSent++;
    this.connection.touched();
  }

  #queued(framed: number): void {
    const connection = this.connection;
    connection.scheduler.queuedBytes += framed;
    if (this.sendWindow > 0) connection.scheduler.wake(this);
    connection.touched();
  }
}

/** Into a buffer that lives until the next call; `append` copies it. */
function writePrefix(length: number): Buffer {
  prefix[0] = 0;
  writeUint32(prefix, 1, length);
  return prefix;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const prefix: Buffer = Buffer.alloc(messagePrefixBytes);
const firstPartialBytes = 1024;
