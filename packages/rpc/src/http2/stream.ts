/**
 * One HTTP/2 stream, as much of it as both sides share: identity, the two windows, which halves are closed, what is
 * queued. The gRPC layer derives from it (grpc/grpc-stream.ts), so that a call is one object of one shape.
 *
 *            opened                    both halves closed, reset, or connection lost
 *    (idle) ───────▶ open / half closed ───────────────────────────────────────────▶ gone
 *
 * Fields are written by the connection and the scheduler, nobody else; `isGone` never goes back.
 */
import type { SendQueue } from "./send-queue.ts";

/** Why a stream ended without our doing: the peer reset it, or took the connection away. */
export type AbortReason = "cancelled" | "connection";

export abstract class Stream {
  readonly id: number;
  /** What we may still send. Negative after the peer has shrunk its window (RFC 9113 §6.9.2). */
  sendWindow: number;
  /** What the peer may still send. */
  receiveWindow: number;
  isRemoteClosed = false;
  isLocalClosed = false;
  isGone = false;
  /** The declared content-length not yet seen in DATA; -1 if none was declared. */
  contentLeft = -1;
  /** Bytes missing from the message being received, 0 between messages. */
  missingBytes = 0;
  /** Bytes of assembly budget held (see flow control in connection.ts). */
  admittedBytes = 0;
  isAwaitingAdmission = false;
  readonly openedMs: number;

  /** Not null while anything is queued. */
  sending: SendQueue | null = null;
  /** In the scheduler's list of streams that could send. */
  isReady = false;
  nextReady: Stream | null = null;

  constructor(id: number, sendWindow: number, receiveWindow: number, nowMs: number) {
    this.id = id;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
    this.openedMs = nowMs;
  }

  /** Payload of a DATA frame, borrowed until return. `isRemoteClosed` is already true if the frame ends the stream. */
  abstract receive(buffer: Buffer, start: number, end: number): void;
  /** The peer has closed its half; everything it sent has been received. */
  abstract remoteEnded(): void;
  /** The stream is gone; nothing can be sent or received. `code` is the peer's RST_STREAM code. */
  abstract aborted(reason: AbortReason, code: number): void;
  /** The stream has left the connection, however it ended; nothing may be done here but bookkeeping. */
  gone(): void {}
  /** The queue has fallen below half the high-water mark after `send` had answered false. */
  abstract queueDrained(): void;
}
