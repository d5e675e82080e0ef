/**
 * One call of a client, from the moment it is asked for: waiting for a connection and a free stream, then running on a
 * {@link ClientStream}, then ended, exactly once.
 *
 *   waiting ──▶ running ──▶ ended
 *      ▲           │
 *      └───────────┘  a unary call the server certainly did not see (GOAWAY, REFUSED_STREAM) goes back, once
 */
import { isGrpcContentType } from "../grpc/content-type.ts";
import type { Timed } from "../grpc/deadlines.ts";
import { GrpcStream } from "../grpc/grpc-stream.ts";
import { RpcError, StatusCode, statusOfHttp, statusOfReset } from "../grpc/status.ts";
import type { EncodableField } from "../hpack/encoder.ts";
import { ErrorCode, FrameFlag } from "../http2/frame.ts";
import type { AbortReason } from "../http2/stream.ts";
import type { ClientConnection } from "./client-connection.ts";
import type { ResponseHead } from "./response-head.ts";

/** Called once, not before `unary` has returned (but by `cancel`, at once). The response is the receiver's to keep. */
export type UnaryDone = (error: RpcError | null, response: Uint8Array | null) => void;

export interface ClientStreamHandler {
  /** The head of the answer: metadata by lower-case name, one character per byte. Not called if only trailers come. */
  headers?(call: ClientCall, metadata: ReadonlyMap<string, string>): void;
  /** One message, borrowed until return. */
  message(call: ClientCall, buffer: Uint8Array, start: number, end: number): void;
  /** The call is over; nothing follows. Null means status OK. */
  ended(call: ClientCall, error: RpcError | null): void;
  /** `send` had answered false, and half of what was queued has left. */
  drained?(call: ClientCall): void;
}

/** What a call needs of its client. */
export interface CallHome {
  /** The call is over: it is in no list any more. */
  callEnded(call: ClientCall): void;
  /** The server did not see the call; false if it cannot be repeated now. */
  retry(call: ClientCall): boolean;
}

export class ClientCall implements Timed {
  readonly path: string;
  readonly fields: readonly EncodableField[];
  deadlineMs: number;
  deadlineSlot = -1;
  deadlineBefore: Timed | null = null;
  deadlineAfter: Timed | null = null;
  readonly #home: CallHome;
  readonly #handler: ClientStreamHandler | null;
  readonly #done: UnaryDone | null;
  readonly #message: Uint8Array | null;
  /** Messages sent while there was no stream. */
  #early: Buffer[] = [];
  #stream: ClientStream | null = null;
  #isEnded = false;
  #isHalfClosed = false;
  #hasRetried = false;
  #response: Buffer | null = null;

  constructor(
    home: CallHome,
    path: string,
    fields: readonly EncodableField[],
    deadlineMs: number,
    message: Uint8Array | null,
    done: UnaryDone | null,
    handler: ClientStreamHandler | null,
  ) {
    this.#home = home;
    this.path = path;
    this.fields = fields;
    this.deadlineMs = deadlineMs;
    this.#message = message;
    this.#done = done;
    this.#handler = handler;
  }

  get isOpen(): boolean {
    return !this.#isEnded;
  }
  get queuedBytes(): number {
    let bytes = this.#stream?.sending?.bytes ?? 0;
    for (const message of this.#early) bytes += message.length;
    return bytes;
  }

  /** One message of a stream, copied. False: much is queued, or the call is over. */
  send(buffer: Uint8Array, start: number, end: number): boolean {
    if (this.#isEnded || this.#isHalfClosed) return false;
    if (this.#stream === null) {
      this.#early.push(Buffer.from(buffer.subarray(start, end)));
      return true;
    }
    return this.#stream.send(buffer, start, end);
  }

  /** Nothing more will be sent. */
  halfClose(): void {
    if (this.#isEnded || this.#isHalfClosed) return;
    this.#isHalfClosed = true;
    this.#stream?.halfClose();
  }

  /** Ends the call now, with CANCELLED. Does nothing if it is over. */
  cancel(): void {
    this.#cut(new RpcError(StatusCode.Cancelled, "context canceled"));
  }

  deadlinePassed(): void {
    this.#cut(new RpcError(StatusCode.DeadlineExceeded, "context deadline exceeded"));
  }

  // ---------------------------------------------------------------- for the client and the stream

  /** The connection has opened `stream` for the call: what was asked for meanwhile is sent. */
  started(stream: ClientStream): void {
    this.#stream = stream;
    if (this.#message !== null) {
      stream.sendLast(this.#message);
      return;
    }
    const early = this.#early;
    this.#early = [];
    for (const message of early) stream.send(message, 0, message.length);
    if (this.#isHalfClosed) stream.halfClose();
  }

  headersReceived(metadata: ReadonlyMap<string, string>): void {
    this.#handler?.headers?.(this, metadata);
  }

  /** False if there may be no such message. */
  messageReceived(buffer: Buffer, start: number, end: number): boolean {
    if (this.#handler !== null) this.#handler.message(this, buffer, start, end);
    else {
      if (this.#response !== null) return false;
      this.#response = Buffer.from(buffer.subarray(start, end));
    }
    return true;
  }

  queueDrained(): void {
    this.#handler?.drained?.(this);
  }

  /** The stream has ended without the server having seen it: again, if that is safe and possible. */
  unseen(error: RpcError): void {
    this.#stream = null;
    if (this.#message !== null && !this.#hasRetried && !this.#isEnded) {
      this.#hasRetried = true;
      this.#response = null;
      if (this.#home.retry(this)) return;
    }
    this.finish(error);
  }

  /** The call is over. Later calls do nothing. */
  finish(error: RpcError | null): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#stream = null;
    this.#early = [];
    this.#home.callEnded(this);
    if (this.#handler !== null) this.#handler.ended(this, error);
    else if (error !== null) this.#done!(error, null);
    else if (this.#response !== null) this.#done!(null, this.#response);
    else {
      const text = "cardinality violation: received no response message from non-server-streaming RPC";
      this.#done!(new RpcError(StatusCode.Internal, text), null);
    }
  }

  #cut(error: RpcError): void {
    if (this.#isEnded) return;
    this.#stream?.cancel();
    this.finish(error);
  }
}

/** The HTTP/2 stream of a running call. */
export class ClientStream extends GrpcStream {
  declare readonly connection: ClientConnection;
  readonly #call: ClientCall;
  #hasHead = false;

  constructor(connection: ClientConnection, id: number, sendWindow: number, nowMs: number, call: ClientCall) {
    super(connection, id, sendWindow, nowMs);
    this.#call = call;
  }

  send(buffer: Uint8Array, start: number, end: number): boolean {
    if (this.isGone) return false;
    this.writeMessage(buffer, start, end, buffer, 0, 0, 0);
    if (this.sending === null || this.sending.bytes < this.connection.limits.streamHighWaterBytes) return true;
    this.sending.isOwnerWaiting = true;
    return false;
  }

  /** The only message, ending our half. */
  sendLast(message: Uint8Array): void {
    this.writeMessage(message, 0, message.length, message, 0, 0, FrameFlag.EndStream);
    if (this.sending !== null) this.sending.endsStream = true;
    else this.connection.localEnded(this);
  }

  halfClose(): void {
    if (this.isGone || this.isLocalClosed) return;
    if (this.sending !== null) this.sending.endsStream = true;
    else {
      this.connection.writeEmptyEnd(this);
      this.connection.localEnded(this);
    }
  }

  cancel(): void {
    this.connection.resetStream(this, ErrorCode.Cancel);
  }

  /** A header block of the answer. */
  head(head: ResponseHead, endsStream: boolean): void {
    if (head.isMalformed || head.isTooLarge) {
      const text = head.isTooLarge ? "header list larger than announced" : "malformed header block";
      this.#fail(StatusCode.Internal, text, ErrorCode.ProtocolError);
      return;
    }
    if (this.#hasHead) {
      // Trailers.
      if (!endsStream) this.#fail(StatusCode.Internal, "a header block between messages", ErrorCode.ProtocolError);
      else this.#ended(head);
      return;
    }
    if (!endsStream && head.httpStatus.length === 3 && head.httpStatus[0] === "1") return;
    this.#hasHead = true;
    if (endsStream && head.grpcStatus >= 0) {
      this.#ended(head);
      return;
    }
    if (head.httpStatus !== "200") {
      const text = `unexpected HTTP status code received from server: ${head.httpStatus}`;
      this.#fail(statusOfHttp(head.httpStatus), text, ErrorCode.Cancel);
    } else if (!isGrpcContentType(head.contentType)) {
      const text = `received unexpected content-type "${head.contentType}"`;
      this.#fail(StatusCode.Unknown, text, ErrorCode.Cancel);
    } else if (endsStream) this.#ended(head);
    else {
      this.peerEncoding = head.encoding;
      this.#call.headersReceived(head.metadata);
    }
  }

  protected override message(buffer: Buffer, start: number, end: number): void {
    if (!this.#hasHead) this.#fail(StatusCode.Internal, "a message before the headers", ErrorCode.ProtocolError);
    else if (!this.#call.messageReceived(buffer, start, end)) {
      const text = "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message";
      this.#fail(StatusCode.Internal, text, ErrorCode.Cancel);
    }
  }

  protected override messageRefused(code: StatusCode, text: string): void {
    this.#fail(code, text, ErrorCode.Cancel);
  }

  /** The server's half closed with DATA, which leaves no status. Trailers end the call before this is called. */
  remoteEnded(): void {
    this.#fail(StatusCode.Internal, "server closed the stream without sending trailers", ErrorCode.Cancel);
  }

  aborted(reason: AbortReason, code: number): void {
    this.dropPartial();
    if (reason === "connection") {
      const text = this.connection.goodbye;
      this.#call.finish(new RpcError(StatusCode.Unavailable, text));
    } else {
      const text = `stream terminated by RST_STREAM with error code: ${code}`;
      const error = new RpcError(statusOfReset(code), text);
      if (code === ErrorCode.RefusedStream) this.#call.unseen(error);
      else this.#call.finish(error);
    }
  }

  /** GOAWAY says that the server has not seen this stream. */
  unseen(): void {
    this.connection.forgetStream(this);
    this.#call.unseen(new RpcError(StatusCode.Unavailable, this.connection.goodbye));
  }

  queueDrained(): void {
    this.#call.queueDrained();
  }

  #ended(trailers: ResponseHead): void {
    this.isRemoteClosed = true;
    // What we had still to send interests nobody.
    if (this.isLocalClosed) this.connection.forgetStream(this);
    else this.connection.resetStream(this, ErrorCode.Cancel);
    const code = trailers.grpcStatus;
    if (this.isMessageTorn) {
      this.dropPartial();
      this.#call.finish(new RpcError(StatusCode.Internal, "unexpected EOF"));
    } else if (code === StatusCode.Ok) this.#call.finish(null);
    else if (code < 0) {
      const text = "server closed the stream without a grpc-status";
      this.#call.finish(new RpcError(StatusCode.Internal, text));
    } else this.#call.finish(new RpcError(code, trailers.grpcMessage, trailers.metadata));
  }

  #fail(code: StatusCode, text: string, reset: ErrorCode): void {
    this.dropPartial();
    this.connection.resetStream(this, reset);
    this.#call.finish(new RpcError(code, text));
  }
}
