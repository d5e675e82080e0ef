/**
 * Decides which stream sends next on one connection. Streams with something to send and a window to send it in stand in
 * a circle; each gets one frame's worth of bytes and goes to the end, so a watch event waits behind one frame of each
 * large answer and never behind a whole one (WT-15). Streams without a window are not in the circle: WINDOW_UPDATE,
 * SETTINGS, `resume` or the sweep put them back.
 *
 * The windows are obeyed strictly; no arithmetic divides by anything the peer chose (H2-09).
 */
import { assert } from "@quorate/world";
import { FrameFlag, FrameType, frameHeaderBytes, maxFrameBytes, writeFrameHeader } from "./frame.ts";
import { copyBytes, type Output } from "./output.ts";
import { SendQueue } from "./send-queue.ts";
import type { Stream } from "./stream.ts";

/**
 * Below this a frame is hardly worth sending while more is queued and the window may grow. A window's last bytes are
 * often that few, so some are allowed; a peer that only ever opens its window a crack gets one a second (H2-13).
 */
const decentFrameBytes = 1024;
const leastFrameBytes = 64;
const maxSmallFrames = 32;

export interface SchedulerOwner {
  /** All of `queue` is sent, and the stream's `sending` is null again: time to end the stream, if it is to end. */
  queueEmptied(stream: Stream, queue: SendQueue): void;
}

export class SendScheduler {
  /** The connection's send window. */
  window: number;
  /** Bytes in all queues, not counting what sources have yet to produce. */
  queuedBytes = 0;
  /** HEADERS and DATA frames sent: what WINDOW_UPDATEs are measured by, and what forgives early pings. */
  framesSent = 0;
  /** Streams that have a queue. */
  queueCount = 0;
  /** A stream left the line because the connection's window was too small; its growth must wake it. */
  isParkedForWindow = false;
  readonly #output: Output;
  readonly #owner: SchedulerOwner;
  readonly #highWaterBytes: number;
  #head: Stream | null = null;
  #tail: Stream | null = null;
  #decentBytes: number = decentFrameBytes;
  /** Small frames that may still be sent: each costs one, each frame of decent size earns one. */
  #smallFrames: number = maxSmallFrames;

  constructor(output: Output, owner: SchedulerOwner, window: number, highWaterBytes: number) {
    this.#output = output;
    this.#owner = owner;
    this.window = window;
    this.#highWaterBytes = highWaterBytes;
  }

  /** What SETTINGS give a stream: with windows that small by design, smaller frames are decent. */
  initialWindowChanged(bytes: number): void {
    this.#decentBytes = Math.max(leastFrameBytes, Math.min(decentFrameBytes, bytes >>> 1));
  }

  /** Streams stand in line. */
  get isBusy(): boolean {
    return this.#head !== null;
  }

  /** Something of this stream may be sendable (again). Harmless to call too often. */
  wake(stream: Stream): void {
    if (stream.isReady || stream.isGone || stream.sending === null) return;
    stream.isReady = true;
    stream.nextReady = null;
    if (this.#tail === null) this.#head = stream;
    else this.#tail.nextReady = stream;
    this.#tail = stream;
  }

  /** Sends in turn until `budgetBytes`, the connection window or the streams' bytes run out. */
  pump(budgetBytes: number, nowMs: number): void {
    let budget = budgetBytes;
    while (budget > 0 && this.#head !== null) {
      // Sources may be asked, and trailers sent, only while there is a window to speak of.
      if (this.window <= 0) return;
      const stream = this.#head;
      this.#head = stream.nextReady;
      if (this.#head === null) this.#tail = null;
      stream.nextReady = null;
      stream.isReady = false;
      if (stream.isGone || stream.sending === null) continue;
      budget -= this.#sendSome(stream, stream.sending, nowMs);
    }
  }

  /** The stream's queue, made if it has none. Whoever puts bytes into it adds them to `queuedBytes`. */
  queueOf(stream: Stream, nowMs: number): SendQueue {
    if (stream.sending === null) {
      stream.sending = new SendQueue(nowMs);
      this.queueCount++;
    }
    return stream.sending;
  }

  /** What a stream had queued is dropped. */
  forget(stream: Stream): void {
    if (stream.sending === null) return;
    const queue = stream.sending;
    this.queuedBytes -= queue.bytes;
    this.queueCount--;
    stream.sending = null;
    releaseSource(queue);
  }

  /** One frame at most; returns what it cost. Puts the stream back in line if it can go on. */
  #sendSome(stream: Stream, queue: SendQueue, nowMs: number): number {
    const pending = queue.bytes + queue.sourceBytes;
    if (pending === 0) {
      this.#finish(stream, queue);
      return frameHeaderBytes;
    }
    let room = Math.min(maxFrameBytes, stream.sendWindow, this.window, pending);
    if (room <= 0) return 0;
    if (room < this.#decentBytes && room < pending && !queue.isStarved) {
      if (this.#smallFrames === 0) {
        if (room < stream.sendWindow) this.isParkedForWindow = true;
        return 0;
      }
      this.#smallFrames--;
    }
    const queued = Math.min(queue.bytes, room);
    room -= queued;
    let piece: Uint8Array | null = null;
    if (room > 0) {
      const source = queue.source!;
      piece = source.read(room);
      if (stream.isGone || stream.sending !== queue) return 0;
      if (piece === null) {
        queue.isSourceWaiting = true;
        if (queued === 0) return 0;
      } else assert(piece.length > 0 && piece.length <= room, "a body source's piece has 1 to maxBytes bytes");
    }
    const length = queued + (piece === null ? 0 : piece.length);
    const output = this.#output;
    output.reserve(frameHeaderBytes);
    output.used = writeFrameHeader(output.slab, output.used, length, FrameType.Data, 0, stream.id);
    if (queued > 0) {
      queue.moveTo(output, queued);
      this.queuedBytes -= queued;
    }
    if (piece !== null) {
      output.reserve(piece.length);
      copyBytes(piece, 0, piece.length, output.slab, output.used);
      output.used += piece.length;
      queue.sourceBytes -= piece.length;
      if (queue.sourceBytes === 0) releaseSource(queue);
    }
    if (length >= this.#decentBytes && this.#smallFrames < maxSmallFrames) this.#smallFrames++;
    stream.sendWindow -= length;
    this.window -= length;
    this.framesSent++;
    queue.progressMs = nowMs;
    queue.isStarved = false;
    if (queue.bytes + queue.sourceBytes === 0) this.#finish(stream, queue);
    else if (stream.sendWindow > 0 && !(queue.isSourceWaiting && queue.bytes === 0)) this.wake(stream);
    if (queue.isOwnerWaiting && queue.bytes < this.#highWaterBytes / 2) {
      queue.isOwnerWaiting = false;
      if (!stream.isGone) stream.queueDrained();
    }
    return frameHeaderBytes + length;
  }

  #finish(stream: Stream, queue: SendQueue): void {
    stream.sending = null;
    this.queueCount--;
    this.#owner.queueEmptied(stream, queue);
  }
}

function releaseSource(queue: SendQueue): void {
  const source = queue.source;
  queue.source = null;
  if (source?.released !== undefined) source.released();
}

/** The flags of a HEADERS frame that is a whole block. */
export function headersFlags(endStream: boolean): number {
  return endStream ? FrameFlag.EndHeaders | FrameFlag.EndStream : FrameFlag.EndHeaders;
}
