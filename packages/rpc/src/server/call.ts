/**
 * One call on the server: the stream and what the service sees of it, in a single object (see method.ts for the
 * contract). Made per request, so it is kept small, of one shape, and free of closures.
 *
 *   message whole ─▶ handle ─▶ respond ──────────────▶ answered ─▶ (queue empty) ─▶ gone
 *   stream opened ─▶ open ─▶ send* ─▶ end / fail ────▶ answered
 *   deadline passes ────────▶ fail ─▶ owner.cancelled
 *   reset, connection lost ─▶ gone ─▶ owner.cancelled
 */
import { assert } from "@quorate/world";
import type { Timed } from "../grpc/deadlines.ts";
import { GrpcStream, messagePrefixBytes } from "../grpc/grpc-stream.ts";
import { decodeBinaryValue, firstValue } from "../grpc/metadata.ts";
import { StatusCode } from "../grpc/status.ts";
import { ErrorCode, FrameType, frameHeaderBytes, writeFrameHeader, writeUint32 } from "../http2/frame.ts";
import { copyBytes } from "../http2/output.ts";
import type { BodySource } from "../http2/send-queue.ts";
import type { AbortReason } from "../http2/stream.ts";
import {
  failureOnly,
  failureTrailers,
  okTrailers,
  okTrailersFrame,
  putFrame,
  responseHeaders,
  responseHeadersFrame,
  unknownEncoding,
} from "./answers.ts";
import type { CallOwner, Method, ObservedCall, ServerCall, StreamHandler } from "./method.ts";
import type { RequestHead } from "./request-head.ts";
import type { ServerConnection } from "./server-connection.ts";

export class Call extends GrpcStream implements ServerCall, ObservedCall, Timed {
  declare readonly connection: ServerConnection;
  owner: CallOwner | null = null;
  state: unknown = undefined;
  trace: unknown = undefined;
  receivedBytes = 0;
  sentBytes = 0;
  deadlineMs: number;
  deadlineSlot = -1;
  deadlineBefore: Timed | null = null;
  deadlineAfter: Timed | null = null;
  readonly #head: RequestHead;
  readonly #method: Method;
  #handler: StreamHandler | null = null;
  /** The message of a unary call that came before the end of the stream. */
  #held: Buffer | null = null;
  #messages = 0;
  #headersSent = false;
  #isAnswered = false;
  #holdsSlot = false;

  constructor(
    connection: ServerConnection,
    id: number,
    sendWindow: number,
    nowMs: number,
    head: RequestHead,
    method: Method,
  ) {
    super(connection, id, sendWindow, nowMs);
    this.#head = head;
    this.#method = method;
    this.peerEncoding = head.encoding;
    this.contentLeft = head.contentLength;
    this.deadlineMs = nowMs + head.timeoutMs;
  }

  get path(): string {
    return this.#head.route.path;
  }
  get peerCommonName(): string | null {
    return this.connection.peerCommonName;
  }
  get isOpen(): boolean {
    return !this.isGone && !this.#isAnswered;
  }
  get queuedBytes(): number {
    return this.sending === null ? 0 : this.sending.bytes;
  }

  metadata(name: string): string | undefined {
    return firstValue(this.#head.metadata, name);
  }

  metadataBytes(name: string): Uint8Array | undefined {
    const value = firstValue(this.#head.metadata, name);
    if (value === undefined) return undefined;
    return name.endsWith("-bin") ? decodeBinaryValue(value) : Buffer.from(value, "latin1");
  }

  /** The connection has put the call into its map. */
  begin(): void {
    if (this.deadlineMs !== Number.POSITIVE_INFINITY) this.connection.deadlines.add(this);
    this.connection.observer?.callStarted?.(this);
    if (this.#method.kind === "stream") this.#handler = this.#method.open(this);
  }

  // ---------------------------------------------------------------- from the client

  protected override message(buffer: Buffer, start: number, end: number, isLast: boolean): void {
    this.receivedBytes += end - start;
    this.connection.observer?.messageReceived?.(this.path, end - start);
    this.#messages++;
    // An answered stream's remaining messages concern nobody.
    if (this.#isAnswered) return;
    const method = this.#method;
    if (method.kind === "stream") this.#handler!.message(this, buffer, start, end);
    else if (this.#messages > 1) {
      this.fail(
        StatusCode.Internal,
        "cardinality violation: received multiple request messages for non-client-streaming RPC",
      );
    } else if (isLast) method.handle(this, buffer, start, end);
    else this.#held = Buffer.from(buffer.subarray(start, end));
  }

  protected override messageRefused(code: StatusCode, text: string): void {
    if (code === StatusCode.Unimplemented && !this.#headersSent && this.sending === null) {
      this.#answerWith(unknownEncoding(text), code);
    } else this.fail(code, text);
  }

  remoteEnded(): void {
    if (this.#isAnswered) return;
    if (this.isMessageTorn) {
      this.dropPartial();
      this.fail(StatusCode.Internal, "unexpected EOF");
      return;
    }
    const method = this.#method;
    if (method.kind === "stream") this.#handler!.halfClosed(this);
    else if (this.#messages === 0) {
      this.fail(
        StatusCode.Internal,
        "cardinality violation: received no request message from non-client-streaming RPC",
      );
    } else if (this.#held !== null) {
      const held = this.#held;
      this.#held = null;
      method.handle(this, held, 0, held.length);
    }
  }

  aborted(reason: AbortReason): void {
    this.dropPartial();
    this.#held = null;
    if (this.#isAnswered) return;
    this.#answered(StatusCode.Cancelled);
    this.owner?.cancelled(this, reason);
  }

  deadlinePassed(): void {
    if (!this.isOpen) return;
    if (this.sending === null) this.fail(StatusCode.DeadlineExceeded, "context deadline exceeded");
    else {
      // Trailers would wait behind what the client does not take.
      this.#answered(StatusCode.DeadlineExceeded);
      this.connection.resetStream(this, ErrorCode.Cancel);
    }
    this.owner?.cancelled(this, "deadline");
  }

  queueDrained(): void {
    if (!this.#isAnswered) this.owner?.drained?.(this);
  }

  // ---------------------------------------------------------------- to the client

  respond(buffer: Uint8Array, start: number, end: number): void {
    if (!this.isOpen) return;
    const length = end - start;
    const framed = messagePrefixBytes + length;
    const connection = this.connection;
    this.#sent(connection, length);
    if (!this.#headersSent && this.canSendNow(framed)) {
      // The common answer: three frames in one go. bench/echo.ts
      const output = connection.output;
      output.reserve(wholeAnswerBytes + framed);
      const slab = output.slab;
      let at = putFrame(responseHeadersFrame, this.id, slab, output.used);
      at = writeFrameHeader(slab, at, framed, FrameType.Data, 0, this.id);
      slab[at] = 0;
      at = writeUint32(slab, at + 1, length);
      copyBytes(buffer, start, end, slab, at);
      output.used = putFrame(okTrailersFrame, this.id, slab, at + length);
      const scheduler = connection.scheduler;
      scheduler.window -= framed;
      scheduler.framesSent += 3;
      this.#answered(StatusCode.Ok);
      connection.touched();
      this.#localEnded();
      return;
    }
    this.#sendHeaders();
    this.writeMessage(buffer, start, end, buffer, 0, 0, 0);
    this.#answered(StatusCode.Ok);
    this.#finishWith(okTrailers);
  }

  respondFrom(totalBytes: number, source: BodySource): void {
    if (!this.isOpen) {
      source.released?.();
      return;
    }
    this.#sent(this.connection, totalBytes);
    this.#sendHeaders();
    this.#answered(StatusCode.Ok);
    this.writeFrom(totalBytes, source);
    this.#finishWith(okTrailers);
  }

  cutOff(): void {
    // Of all resets this is the one clients take for "unavailable".
    if (!this.isGone) this.connection.resetStream(this, ErrorCode.RefusedStream);
  }

  resume(): void {
    if (!this.isGone) this.sourceReady();
  }

  send(buffer: Uint8Array, start: number, end: number): boolean {
    if (!this.isOpen) return false;
    this.#sent(this.connection, end - start);
    this.#sendHeaders();
    this.writeMessage(buffer, start, end, buffer, 0, 0, 0);
    return this.sending === null || this.#mayQueueMore();
  }

  sendShared(head: Uint8Array, headStart: number, headEnd: number, tail: Uint8Array): boolean {
    if (!this.isOpen) return false;
    this.#sent(this.connection, headEnd - headStart + tail.length);
    this.#sendHeaders();
    this.writeShared(head, headStart, headEnd, tail);
    return this.sending === null || this.#mayQueueMore();
  }

  end(): void {
    if (!this.isOpen) return;
    this.#sendHeaders();
    this.#answered(StatusCode.Ok);
    this.#finishWith(okTrailers);
  }

  fail(code: number, message: string): void {
    if (!this.isOpen) return;
    if (this.#headersSent) {
      this.#answered(code);
      this.#finishWith(failureTrailers(code, message));
    } else this.#answerWith(failureOnly(code, message), code);
  }

  holdSlot(): void {
    if (this.#holdsSlot) return;
    assert(!this.isGone, "only a running call holds its slot");
    this.#holdsSlot = true;
  }

  releaseSlot(): void {
    if (!this.#holdsSlot) return;
    this.#holdsSlot = false;
    if (this.isGone) this.connection.heldSlots--;
  }

  override gone(): void {
    if (this.#holdsSlot) this.connection.heldSlots++;
  }

  #sendHeaders(): void {
    if (this.#headersSent) return;
    this.#headersSent = true;
    this.connection.writeHeaders(this.id, responseHeaders, false);
  }

  /** Trailers only: nothing was sent before. */
  #answerWith(block: Buffer, code: number): void {
    this.#headersSent = true;
    this.#answered(code);
    this.connection.writeHeaders(this.id, block, true);
    this.#localEnded();
  }

  /** The trailers, now or after what is queued. */
  #finishWith(trailers: Buffer): void {
    const queue = this.sending;
    if (queue !== null) {
      queue.endsStream = true;
      queue.trailers = trailers;
      return;
    }
    this.connection.writeHeaders(this.id, trailers, true);
    this.#localEnded();
  }

  #answered(code: number): void {
    this.#isAnswered = true;
    this.#held = null;
    this.connection.deadlines.remove(this);
    this.connection.observer?.callEnded?.(this, code);
  }

  #sent(connection: ServerConnection, bytes: number): void {
    this.sentBytes += bytes;
    connection.observer?.messageSent?.(this.path, bytes);
  }

  #localEnded(): void {
    this.connection.localEnded(this);
  }

  #mayQueueMore(): boolean {
    const queue = this.sending!;
    const { streamHighWaterBytes, unsentHighWaterBytes } = this.connection.limits;
    if (queue.bytes < streamHighWaterBytes && this.connection.scheduler.queuedBytes < unsentHighWaterBytes) return true;
    queue.isOwnerWaiting = true;
    return false;
  }
}

/** Everything around the message in an answer written at once. */
const wholeAnswerBytes = responseHeadersFrame.length + frameHeaderBytes + okTrailersFrame.length;
