/**
 * What a server offers and what its services see of a call. Services are written against this file; the objects behind
 * the interfaces are server/call.ts and server/server-connection.ts.
 */
import type { Duplex } from "node:stream";
import type { BodySource } from "../http2/send-queue.ts";

/**
 * One method. `handle` is called when the client has sent its message and closed its half, so nothing more can arrive.
 * The message handed over is borrowed until return: keep a copy of what you keep.
 * Answers may be given at once or at any time later, from any turn.
 */
export type Method =
  | { readonly kind: "unary"; handle(call: ServerCall, buffer: Uint8Array, start: number, end: number): void }
  | { readonly kind: "serverStream"; handle(call: ServerCall, buffer: Uint8Array, start: number, end: number): void }
  /** Client streaming and bidirectional. */
  | { readonly kind: "stream"; open(call: ServerCall): StreamHandler };

export interface StreamHandler {
  /** One message of the client, borrowed until return. */
  message(call: ServerCall, buffer: Uint8Array, start: number, end: number): void;
  /** The client will send no more. The call stays open until it is ended. */
  halfClosed(call: ServerCall): void;
}

/** Who wants to know what becomes of a call. */
export interface CallOwner {
  /**
   * The call is over without an answer of yours: the client reset it, its deadline passed (and has been answered), or
   * the connection is gone. Called at most once, and not after the call was answered.
   */
  cancelled(call: ServerCall, reason: "cancelled" | "deadline" | "connection"): void;
  /** `send` had answered false, and half of what was queued has left. */
  drained?(call: ServerCall): void;
}

/** One call in progress. Every method that answers does nothing once `isOpen` is false. */
export interface ServerCall {
  readonly path: string;
  readonly connection: ServerPeer;
  /** Who the client's verified certificate says it is; see {@link ServerPeer.peerCommonName}. */
  readonly peerCommonName: string | null;
  /**
   * The clock's time when the deadline passes; Infinity if there is none. When it passes the call is answered
   * DEADLINE_EXCEEDED here (or reset, if the client does not take what was sent before), then `owner.cancelled` is
   * called.
   */
  readonly deadlineMs: number;
  /** False once answered, failed, cancelled, reset, or the connection lost. */
  readonly isOpen: boolean;
  owner: CallOwner | null;
  /** The service's own slot. */
  state: unknown;
  /** First value of a header, by lower-case name; also ":authority". One character per byte: see {@link metadataBytes}. */
  metadata(name: string): string | undefined;
  /** The bytes of a header: base64 undone for names ending in "-bin" (undefined if it is not base64). */
  metadataBytes(name: string): Uint8Array | undefined;

  /** The answer of a unary call: status OK and this message, copied. */
  respond(buffer: Uint8Array, start: number, end: number): void;
  /** The same with a message of `totalBytes` that `source` produces while it is being sent, at the client's pace. */
  respondFrom(totalBytes: number, source: BodySource): void;
  /**
   * The source given to `respondFrom` can never finish what was promised: resets the call in a way that makes clients ask
   * again by themselves, so it is for calls that have changed nothing. The owner is not told; the source is released.
   */
  cutOff(): void;
  /** The source given to `respondFrom` has something again after it returned null. */
  resume(): void;

  /** One message of a stream, copied. False: much is queued, wait for `owner.drained` before sending more. */
  send(buffer: Uint8Array, start: number, end: number): boolean;
  /**
   * One message made of two parts: a private head, copied, and a tail shared by many calls, not copied if it is large.
   * Nobody may change the tail's bytes afterwards. Answers as `send` does.
   */
  sendShared(head: Uint8Array, headStart: number, headEnd: number, tail: Uint8Array): boolean;
  /** Bytes queued for this call, waiting for the client's window or the socket. */
  readonly queuedBytes: number;
  /** Ends a stream with status OK, after what is queued. */
  end(): void;
  /** Ends the call with an error status, after what is queued. `message` may be any text; 2048 characters are sent. */
  fail(code: number, message: string): void;

  /**
   * The work of this call goes on even if the call is cancelled, so it keeps counting against the connection's
   * stream cap until `releaseSlot`: otherwise a client could start work without limit by resetting (H2-01).
   */
  holdSlot(): void;
  releaseSlot(): void;
}

/** The connection a call came by. */
export interface ServerPeer {
  readonly socket: Duplex;
  readonly streamCount: number;
  readonly isClosed: boolean;
  /**
   * The common name in the certificate that the client has proven to be its own; null if it showed none, if nobody asked
   * for one, or if names of certificates stand for nobody. Found out when first asked for.
   */
  readonly peerCommonName: string | null;
  /** The owner's own slot (who the peer is, for instance). */
  state: unknown;
}

/** What who accepted a socket knows of it. */
export interface AcceptedSocket {
  /** A plain TCP or unix socket of Node's, which lets answers be written without garbage. Default false. */
  readonly isTcp?: boolean;
  /** Called at most once, when somebody wants to know; see {@link ServerPeer.peerCommonName}. Default: there is none. */
  readonly commonName?: () => string | null;
}

/** A call as an observer sees it. */
export interface ObservedCall {
  readonly path: string;
  readonly connection: ServerPeer;
  /** The clock's time of its beginning. */
  readonly openedMs: number;
  /** Of its messages, both ways, without what frames and headers add. */
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** First value of a header, "traceparent" for instance. */
  metadata(name: string): string | undefined;
  /** The observer's own slot: a span, for instance. */
  trace: unknown;
}

/** Hears of everything worth counting or tracing. All methods are called synchronously and must be quick. */
export interface RpcObserver {
  /** A call of a known method began. */
  callStarted?(call: ObservedCall): void;
  /** ... and ended, once, with this status; its last message may still wait to be sent. */
  callEnded?(call: ObservedCall, code: number): void;
  messageReceived?(path: string, bytes: number): void;
  messageSent?(path: string, bytes: number): void;
  /** See `CloseReason` in http2/connection.ts. */
  connectionClosed?(reason: string): void;
}
