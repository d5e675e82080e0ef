/**
 * One HTTP/2 connection (RFC 9113), as much as a server and a client share: frames in, frames out, SETTINGS, PING,
 * GOAWAY, flow control both ways, header blocks put together, and the bounds on everything a peer can make us do.
 * server/server-connection.ts and client/client-connection.ts derive from it and deal with header blocks.
 *
 *                      ┌────────── draining: GOAWAY sent, streams run on ─────────┐
 *   open ──────────────┤                                                          ├─▶ closing ─▶ closed
 *                      └─ error, or told to close: GOAWAY, streams aborted ───────┘   (last bytes   (socket
 *                                                                                      leave)        gone)
 *
 * Writing: frames go into `output`; `touched` makes sure that a flush follows: at the end of the chunk being read, or
 * when the owner flushes. One flush is one socket write. While the socket asks us to wait (`isBlocked`), DATA stays
 * in the streams' queues.
 *
 * Receiving: the connection's window is given back as soon as bytes arrive, half a window at a time; what bounds memory
 * is the streams' windows. A message larger than a stream's window must be admitted: the window is raised by what is
 * missing, for as many streams at once as `assemblyBudgetBytes` allows, the others wait. So every admitted message can
 * finish, whatever the rest do.
 *
 * Invariants: after `closing` no stream is in the map and nothing is read; every stream leaves the map exactly once,
 * with `isGone` set; windows never exceed 2^31-1.
 */
import type { Duplex } from "node:stream";
import type { Clock } from "@quorate/world";
import { HpackDecoder, HpackError } from "../hpack/decoder.ts";
import { maxWindowBytes, type RpcLimits } from "../limits.ts";
import {
  defaultWindowBytes,
  ErrorCode,
  FrameFlag,
  FrameType,
  frameHeaderBytes,
  maxFrameBytes,
  maxStreamId,
  readUint31,
  readUint32,
  SettingId,
  writeFrameHeader,
  writeUint32,
} from "./frame.ts";
import { FrameReader, type FrameSink } from "./frame-reader.ts";
import { Output } from "./output.ts";
import type { SendQueue } from "./send-queue.ts";
import { headersFlags, type SchedulerOwner, SendScheduler } from "./send-scheduler.ts";
import type { Stream } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";
import { TokenBucket } from "./token-bucket.ts";

/** Why a connection ended; the label of the owner's metric. */
export type CloseReason =
  | "peer"
  | "local"
  | "socket-error"
  | "drained"
  | "idle"
  | "keepalive"
  | "preface"
  | "protocol"
  | "frame-size"
  | "flow-control"
  | "compression"
  | "header-limit"
  | "header-timeout"
  | "resets"
  | "refused-streams"
  | "glitches"
  | "settings-flood"
  | "ping-strikes"
  | "ack-flood"
  | "empty-data"
  | "window-updates"
  | "stalled"
  | "unsent";

/** What a connection needs of the server or client that holds it. */
export interface ConnectionOwner {
  readonly clock: Clock;
  scheduleFlush(connection: Connection): void;
  /** The connection takes no part in anything any more. Called once. */
  connectionClosed(connection: Connection, reason: CloseReason): void;
}

/** What the next frame must be. */
const Expect = { Anything: 0, Settings: 1, Continuation: 2 } as const;

/** How long a closing connection may take to hand over its last bytes. */
const closingTimeoutMs = 1000;
/** Between the two GOAWAYs of a graceful end, if the peer does not answer the ping. */
const drainPingTimeoutMs = 1000;
/** Ids remembered of streams we ended before the peer did. */
const maxLingering = 1000;

export abstract class Connection implements FrameSink, SchedulerOwner {
  readonly socket: Duplex;
  readonly limits: RpcLimits;
  readonly output: Output = new Output();
  readonly scheduler: SendScheduler;
  /** The clock when the chunk at hand arrived. For anything that may happen outside a chunk ask `owner.clock`. */
  nowMs: number;
  /** The socket has asked us to wait for "drain". */
  isBlocked = false;
  /** No new frames are read, no streams are left; the socket is being closed. */
  isClosing = false;
  /** New streams are not taken; set by either side's GOAWAY or by `drain`. */
  isDraining = false;
  /** Why the socket broke, if it did. */
  socketError: Error | null = null;
  readonly owner: ConnectionOwner;
  protected readonly streams: StreamTable = new StreamTable();
  protected readonly decoder: HpackDecoder = new HpackDecoder();
  /** The highest stream id the peer has opened (server). */
  protected lastPeerStreamId = 0;
  /** What SETTINGS gives new streams. */
  protected peerInitialWindow: number = defaultWindowBytes;
  protected lastReceivedMs: number;
  /** When the last stream left, for the idle timeout. */
  protected idleSinceMs: number;

  readonly #reader: FrameReader;
  readonly #openedMs: number;
  #expect: number = Expect.Settings;
  #isReceiving = false;
  #isDirty = false;
  #isFlushing = false;
  #isClosed = false;
  #closeReason: CloseReason = "peer";
  #closeAtMs = Number.POSITIVE_INFINITY;
  #blockedSinceMs = 0;
  /** Counts how often the peer has made room for answers. */
  #progress = 0;
  /** What `#progress` was when more than `unreadBytes` were seen waiting, and when that was; -1: no more than that. */
  #progressSeen = 0;
  #unreadSinceMs = -1;
  #pendingAcks = 0;
  /** Looked up last: DATA usually follows its HEADERS. */
  #latest: Stream | null = null;

  #receiveWindow: number;
  #receiveUsed = 0;
  #assemblyLeft: number;
  #awaitingAdmission: Stream[] = [];

  #headerStreamId = 0;
  #headerEndsStream = false;
  #headerBytes = 0;
  #headerFrames = 0;
  #headerSinceMs = 0;
  #headerBlock: Buffer | null = null;

  /** Streams we ended while the peer could still be sending: what arrives for them is dropped, not an error. */
  readonly #lingering: Set<number> = new Set();
  readonly #closedLately: Int32Array = new Int32Array(64);
  #closedCount = 0;

  readonly #resets: TokenBucket;
  readonly #glitches: TokenBucket;
  readonly #settingsFrames: TokenBucket;
  readonly #emptyData: TokenBucket;
  #windowUpdates = 0;
  #streamsOpened = 0;

  #pingSentMs = -1;
  /** 0 not draining; 1 first GOAWAY sent, ping under way; 2 final GOAWAY sent. */
  #drainStep = 0;
  #drainSinceMs = 0;
  /** See `Output.flush`. Set by whoever knows the socket. */
  socketKeepsNothing = false;

  protected constructor(socket: Duplex, owner: ConnectionOwner, limits: RpcLimits) {
    this.socket = socket;
    this.owner = owner;
    this.limits = limits;
    const nowMs = owner.clock.monotonicMs();
    this.nowMs = nowMs;
    this.#openedMs = nowMs;
    this.lastReceivedMs = nowMs;
    this.idleSinceMs = nowMs;
    this.#reader = new FrameReader(this);
    this.scheduler = new SendScheduler(this.output, this, defaultWindowBytes, limits.streamHighWaterBytes);
    this.#receiveWindow = limits.connectionWindowBytes;
    this.#assemblyLeft = limits.assemblyBudgetBytes;
    this.#resets = new TokenBucket(limits.resetBurst, limits.resetPerSecond, nowMs);
    this.#glitches = new TokenBucket(limits.glitchBurst, limits.glitchPerSecond, nowMs);
    this.#settingsFrames = new TokenBucket(limits.settingsBurst, limits.settingsPerSecond, nowMs);
    this.#emptyData = new TokenBucket(limits.emptyDataBurst, limits.emptyDataPerSecond, nowMs);
    socket.on("data", this.#onData);
    socket.on("drain", this.#onDrain);
    socket.on("error", this.#onError);
    socket.on("end", this.#onEnd);
    socket.on("close", this.#onClose);
  }

  get streamCount(): number {
    return this.streams.size;
  }
  get isClosed(): boolean {
    return this.#isClosed;
  }
  /** Bytes held for messages or frames that are not complete, and for answers not yet with the socket. For tests. */
  get heldBytes(): number {
    return this.#reader.heldBytes + this.scheduler.queuedBytes + this.output.bytes + this.#headerBytes;
  }
  /** Assembly budget in use. For tests. */
  get admittedBytes(): number {
    return this.limits.assemblyBudgetBytes - this.#assemblyLeft;
  }

  // ---------------------------------------------------------------- what the two sides do differently

  /** A whole header block. Must be decoded even if it is of no use, to keep the table right. May throw HpackError. */
  protected abstract receiveHeaders(
    streamId: number,
    endsStream: boolean,
    block: Buffer,
    start: number,
    end: number,
  ): void;
  /** No frame but HEADERS (server) or none at all (client) may come on this stream yet. */
  protected abstract isIdle(streamId: number): boolean;
  /** Consumes the part of the chunk that comes before frames; returns where they begin, or -1 if all is consumed. */
  protected abstract receivePreface(chunk: Buffer): number;
  protected abstract pingReceived(): void;
  protected abstract goAwayReceived(lastStreamId: number, code: number, debugText: string): void;
  protected abstract peerSettings(id: number, value: number): void;
  /** A server's client may be told that DATA on a closed stream is its error; a client cannot tell a server so. */
  protected abstract readonly isServer: boolean;

  // ---------------------------------------------------------------- writing

  /** Something was put into the output or a queue. */
  touched(): void {
    if (this.#isDirty) return;
    this.#isDirty = true;
    if (!this.#isReceiving) this.owner.scheduleFlush(this);
  }

  /** `bytes` of DATA may be put straight into the output: windows of the connection, order and memory allow it. */
  canSendNow(bytes: number): boolean {
    return (
      bytes <= this.scheduler.window &&
      !this.isBlocked &&
      !this.scheduler.isBusy &&
      this.output.bytes < this.limits.turnBytes
    );
  }

  /** Moves what may be sent from the queues, and writes everything to the socket in one go. */
  flush(): void {
    this.#isDirty = false;
    // `close` has written what was to be written.
    if (this.#isFlushing || this.isClosing) return;
    this.#isFlushing = true;
    if (!this.isBlocked) {
      if (this.scheduler.isBusy) {
        const { queuedBytes } = this.scheduler;
        this.scheduler.pump(this.limits.turnBytes, this.owner.clock.monotonicMs());
        if (this.scheduler.queuedBytes < queuedBytes) this.#progress++;
      }
      if (this.output.bytes > 0 && !this.output.flush(this.socket, this.socketKeepsNothing)) {
        this.isBlocked = true;
        this.#blockedSinceMs = this.owner.clock.monotonicMs();
      }
    }
    this.#isFlushing = false;
    if (this.#unsentBytes() > this.limits.maxUnsentBytes) {
      this.fail(ErrorCode.EnhanceYourCalm, "unsent", "more answers are waiting than are kept");
      return;
    }
    // More in this turn would keep others waiting; a synchronous peer may have made us write meanwhile.
    if (!this.isBlocked && (this.output.bytes > 0 || (this.scheduler.isBusy && this.scheduler.window > 0))) {
      this.touched();
    }
  }

  #unsentBytes(): number {
    const withUs = this.output.bytes + this.scheduler.queuedBytes;
    return this.isBlocked ? withUs + this.socket.writableLength : withUs;
  }

  /** Writes a header block as HEADERS and, if need be, CONTINUATION. */
  writeHeaders(streamId: number, block: Buffer, endsStream: boolean): void {
    const output = this.output;
    const first = Math.min(block.length, maxFrameBytes);
    let flags = headersFlags(endsStream);
    if (first < block.length) flags &= ~FrameFlag.EndHeaders;
    output.reserve(frameHeaderBytes);
    output.used = writeFrameHeader(output.slab, output.used, first, FrameType.Headers, flags, streamId);
    output.append(block, 0, first);
    for (let at = first; at < block.length; ) {
      const end = Math.min(at + maxFrameBytes, block.length);
      output.reserve(frameHeaderBytes);
      const more = end === block.length ? FrameFlag.EndHeaders : 0;
      output.used = writeFrameHeader(output.slab, output.used, end - at, FrameType.Continuation, more, streamId);
      output.append(block, at, end);
      at = end;
    }
    this.scheduler.framesSent++;
    this.touched();
  }

  writeReset(streamId: number, code: ErrorCode): void {
    const output = this.output;
    output.reserve(frameHeaderBytes + 4);
    const at = writeFrameHeader(output.slab, output.used, 4, FrameType.RstStream, 0, streamId);
    output.used = writeUint32(output.slab, at, code);
    this.touched();
  }

  /** Ends our half of the stream with an empty DATA frame. */
  writeEmptyEnd(stream: Stream): void {
    const output = this.output;
    output.reserve(frameHeaderBytes);
    output.used = writeFrameHeader(output.slab, output.used, 0, FrameType.Data, FrameFlag.EndStream, stream.id);
    this.scheduler.framesSent++;
    this.touched();
  }

  queueEmptied(stream: Stream, queue: SendQueue): void {
    if (!queue.endsStream) return;
    if (queue.trailers === null) this.writeEmptyEnd(stream);
    else this.writeHeaders(stream.id, queue.trailers, true);
    this.localEnded(stream);
  }

  /** END_STREAM has been written for `stream`. */
  localEnded(stream: Stream): void {
    stream.isLocalClosed = true;
    if (stream.isRemoteClosed) this.forgetStream(stream);
    else if (this.isServer) {
      // The answer is complete: nobody needs the rest of the request (RFC 9113 §8.1).
      this.#lingers(stream.id);
      this.writeReset(stream.id, ErrorCode.NoError);
      this.forgetStream(stream);
      this.#spendReset(stream);
    }
  }

  /** Resets a stream on our own account. The stream's owner is not told: it is the caller. */
  resetStream(stream: Stream, code: ErrorCode): void {
    if (stream.isGone) return;
    this.writeReset(stream.id, code);
    if (!stream.isRemoteClosed) this.#lingers(stream.id);
    this.forgetStream(stream);
    this.#spendReset(stream);
  }

  /** Answers a stream that never became a {@link Stream}: with `block` alone, or with a reset if it is null. */
  protected turnAway(streamId: number, endsStream: boolean, block: Buffer | null, code: ErrorCode): void {
    if (block !== null) this.writeHeaders(streamId, block, true);
    if (!endsStream) this.#lingers(streamId);
    else this.#closedLately[this.#closedCount++ & 63] = streamId;
    if (block !== null && endsStream) return;
    this.writeReset(streamId, code);
    this.#spendResetToken(this.nowMs);
  }

  // ---------------------------------------------------------------- streams

  protected addStream(stream: Stream): void {
    this.streams.add(stream);
    this.#latest = stream;
    this.#streamsOpened++;
  }

  /** Takes the stream out of everything. */
  forgetStream(stream: Stream): void {
    if (stream.isGone) return;
    stream.isGone = true;
    stream.gone();
    this.streams.remove(stream.id);
    if (this.#latest === stream) this.#latest = null;
    if (stream.sending !== null) this.scheduler.forget(stream);
    if (stream.admittedBytes > 0) this.#releaseAdmission(stream);
    this.#closedLately[this.#closedCount++ & 63] = stream.id;
    if (this.streams.size === 0) {
      this.idleSinceMs = this.nowMs;
      if (this.#drainStep === 2) this.close("drained");
    }
  }

  /**
   * RST_STREAM of either side on a young stream costs a token (H2-01, H2-02). A server ends streams this way as a
   * matter of course, so a client does not count.
   */
  #spendReset(stream: Stream): void {
    if (!this.isServer) return;
    const nowMs = this.owner.clock.monotonicMs();
    if (nowMs - stream.openedMs >= this.limits.resetYoungMs) return;
    this.#spendResetToken(nowMs);
  }

  #spendResetToken(nowMs: number): void {
    if (!this.#resets.take(nowMs)) this.fail(ErrorCode.EnhanceYourCalm, "resets", "too many stream resets");
  }

  /** Something useless but legal happened. */
  protected glitch(): void {
    if (!this.#glitches.take(this.nowMs)) this.fail(ErrorCode.EnhanceYourCalm, "glitches", "too many useless frames");
  }

  /** Frames of a stream that was never taken up are dropped, not punished. */
  protected lingers(streamId: number, endsStream: boolean): void {
    if (!endsStream) this.#lingers(streamId);
  }

  #lingers(streamId: number): void {
    if (this.#lingering.size >= maxLingering) {
      for (const oldest of this.#lingering) {
        this.#lingering.delete(oldest);
        break;
      }
    }
    this.#lingering.add(streamId);
  }

  protected isLingering(streamId: number): boolean {
    return this.#lingering.has(streamId);
  }
  protected stopLingering(streamId: number): void {
    this.#lingering.delete(streamId);
  }

  protected wasClosedLately(streamId: number): boolean {
    return this.#closedLately.indexOf(streamId) >= 0;
  }

  // ---------------------------------------------------------------- ending

  /** Connection error: GOAWAY, every stream aborted, the socket closed once the bytes have left. */
  fail(code: ErrorCode, reason: CloseReason, debugText: string): void {
    if (this.isClosing) return;
    this.#writeGoAway(this.lastPeerStreamId, code, debugText);
    this.close(reason);
  }

  /** Aborts what runs, writes out what is queued for the wire, and closes the socket. */
  close(reason: CloseReason): void {
    if (this.isClosing) return;
    if (reason === "local" || reason === "idle") this.#writeGoAway(this.lastPeerStreamId, ErrorCode.NoError, "");
    this.isClosing = true;
    this.isDraining = true;
    this.#closeReason = reason;
    this.#closeAtMs = this.owner.clock.monotonicMs() + closingTimeoutMs;
    this.#reader.stop();
    this.#headerBlock = null;
    this.#headerBytes = 0;
    this.abortStreams();
    // The last bytes go even to a socket that asked us to wait; the sweep ends what does not end by itself.
    if (this.output.bytes > 0 && !this.socket.destroyed) this.output.flush(this.socket, this.socketKeepsNothing);
    this.socket.end();
  }

  /** Like `close`, at once and without a word. */
  destroy(reason: CloseReason): void {
    if (!this.isClosing) {
      this.isClosing = true;
      this.isDraining = true;
      this.#closeReason = reason;
      this.#reader.stop();
      this.abortStreams();
    }
    this.socket.destroy();
    this.#finish();
  }

  /** Announces the end, lets streams finish, then closes (RFC 9113 §6.8, two steps; H2-26). */
  drain(): void {
    if (this.isClosing || this.#drainStep > 0) return;
    this.#drainStep = 1;
    this.#drainSinceMs = this.owner.clock.monotonicMs();
    this.#writeGoAway(maxStreamId, ErrorCode.NoError, "graceful_stop");
    this.#writePing(drainPing);
  }

  #drainFinally(): void {
    this.#drainStep = 2;
    this.isDraining = true;
    this.#writeGoAway(this.lastPeerStreamId, ErrorCode.NoError, "graceful_stop");
    if (this.streams.size === 0) this.close("drained");
  }

  protected abortStreams(): void {
    for (const stream of this.streams.all()) {
      this.forgetStream(stream);
      stream.aborted("connection", ErrorCode.NoError);
    }
    this.#lingering.clear();
    this.#awaitingAdmission = [];
  }

  #finish(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.output.clear();
    this.owner.connectionClosed(this, this.#closeReason);
  }

  // ---------------------------------------------------------------- the socket

  readonly #onData = (chunk: Buffer): void => {
    this.receive(chunk);
  };

  /** Reads what the peer sent. Borrowed until return. */
  receive(chunk: Buffer): void {
    if (this.isClosing) return;
    this.nowMs = this.owner.clock.monotonicMs();
    this.lastReceivedMs = this.nowMs;
    const isOutermost = !this.#isReceiving;
    this.#isReceiving = true;
    const start = this.receivePreface(chunk);
    if (start >= 0 && start < chunk.length) this.#reader.read(chunk, start, chunk.length);
    if (!isOutermost) return;
    this.#isReceiving = false;
    if (this.#isDirty && !this.isClosing) this.flush();
  }

  readonly #onDrain = (): void => {
    this.isBlocked = false;
    this.#progress++;
    this.#pendingAcks = 0;
    if (this.output.bytes > 0 || this.scheduler.isBusy) this.touched();
  };

  readonly #onError = (error: Error): void => {
    this.socketError = error;
    this.destroy("socket-error");
  };
  readonly #onEnd = (): void => {
    // A closing connection still has its last bytes to hand over.
    if (!this.isClosing) this.destroy("peer");
  };
  readonly #onClose = (): void => {
    this.destroy("peer");
  };

  // ---------------------------------------------------------------- frames

  frameRefused(code: ErrorCode, reason: string): void {
    this.fail(code, code === ErrorCode.FrameSizeError ? "frame-size" : "protocol", reason);
  }

  frame(type: number, flags: number, streamId: number, buffer: Buffer, start: number, end: number): boolean {
    if (this.#expect !== Expect.Anything && !this.#isExpected(type, flags, streamId)) return false;
    switch (type) {
      case FrameType.Data:
        this.#data(flags, streamId, buffer, start, end);
        break;
      case FrameType.Headers:
        this.#headers(flags, streamId, buffer, start, end);
        break;
      case FrameType.Priority:
        if (readUint31(buffer, start) === streamId) this.#protocolError("a stream depends on itself");
        else this.glitch();
        break;
      case FrameType.RstStream:
        this.#reset(streamId, readUint32(buffer, start));
        break;
      case FrameType.Settings:
        this.#settings(flags, buffer, start, end);
        break;
      case FrameType.Ping:
        this.#ping(flags, buffer, start);
        break;
      case FrameType.GoAway:
        this.glitch();
        if (!this.isClosing) {
          const text = buffer.toString("latin1", start + 8, Math.min(end, start + 8 + 256));
          this.goAwayReceived(readUint31(buffer, start), readUint32(buffer, start + 4), text);
        }
        break;
      case FrameType.WindowUpdate:
        this.#windowUpdate(streamId, readUint31(buffer, start));
        break;
      case FrameType.Continuation:
        this.#continuation(flags, streamId, buffer, start, end);
        break;
      default:
        // Unknown types are ignored (RFC 9113 §5.5), except inside a header block; H2-20.
        this.glitch();
    }
    return !this.isClosing;
  }

  #isExpected(type: number, flags: number, streamId: number): boolean {
    if (this.#expect === Expect.Settings) {
      if (type === FrameType.Settings && (flags & FrameFlag.Ack) === 0) {
        this.#expect = Expect.Anything;
        return true;
      }
      this.fail(ErrorCode.ProtocolError, "preface", "the first frame must be SETTINGS");
      return false;
    }
    if (type === FrameType.Continuation && streamId === this.#headerStreamId) return true;
    this.#protocolError("a header block was interrupted");
    return false;
  }

  #protocolError(text: string): void {
    this.fail(ErrorCode.ProtocolError, "protocol", text);
  }

  #find(streamId: number): Stream | undefined {
    const latest = this.#latest;
    if (latest !== null && latest.id === streamId) return latest;
    const stream = this.streams.get(streamId);
    if (stream !== undefined) this.#latest = stream;
    return stream;
  }

  #data(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    const frameBytes = end - start;
    // The connection's window counts everything, even what is dropped.
    if (frameBytes > this.#receiveWindow) {
      this.fail(ErrorCode.FlowControlError, "flow-control", "connection window exceeded");
      return;
    }
    this.#receiveWindow -= frameBytes;
    this.#receiveUsed += frameBytes;
    if (this.#receiveUsed * 2 >= this.limits.connectionWindowBytes) {
      this.#writeWindowUpdate(0, this.#receiveUsed);
      this.#receiveWindow += this.#receiveUsed;
      this.#receiveUsed = 0;
    }
    let from = start;
    let to = end;
    if ((flags & FrameFlag.Padded) !== 0) {
      if (frameBytes === 0 || buffer[start]! >= frameBytes) {
        this.#protocolError("padding longer than the frame");
        return;
      }
      to = end - buffer[start]!;
      from = start + 1;
    }
    const endsStream = (flags & FrameFlag.EndStream) !== 0;
    const stream = this.#find(streamId);
    if (stream === undefined) {
      this.#dataOfNoStream(streamId, endsStream);
      return;
    }
    if (stream.isRemoteClosed) {
      this.fail(ErrorCode.StreamClosed, "protocol", "DATA after END_STREAM");
      return;
    }
    if (frameBytes > stream.receiveWindow) {
      this.fail(ErrorCode.FlowControlError, "flow-control", "stream window exceeded");
      return;
    }
    stream.receiveWindow -= frameBytes;
    if (to === from && !endsStream && !this.#emptyData.take(this.nowMs)) {
      this.fail(ErrorCode.EnhanceYourCalm, "empty-data", "too many empty DATA frames");
      return;
    }
    if (stream.contentLeft >= 0) {
      stream.contentLeft -= to - from;
      if (stream.contentLeft < 0 || (endsStream && stream.contentLeft > 0)) {
        this.resetMalformed(stream);
        return;
      }
    }
    if (endsStream) stream.isRemoteClosed = true;
    if (to > from) stream.receive(buffer, from, to);
    if (stream.isGone) return;
    if (endsStream) this.remoteEnded(stream);
    else this.#topUp(stream);
  }

  /** The peer's half has closed. */
  protected remoteEnded(stream: Stream): void {
    stream.isRemoteClosed = true;
    stream.remoteEnded();
    if (!stream.isGone && stream.isLocalClosed) this.forgetStream(stream);
  }

  /** RFC 9113 §8.1.1: a malformed message is a stream error. */
  protected resetMalformed(stream: Stream): void {
    this.resetStream(stream, ErrorCode.ProtocolError);
    stream.aborted("cancelled", ErrorCode.ProtocolError);
  }

  #dataOfNoStream(streamId: number, endsStream: boolean): void {
    if (this.isIdle(streamId)) {
      this.#protocolError("DATA on an idle stream");
    } else if (this.#lingering.has(streamId)) {
      if (endsStream) this.#lingering.delete(streamId);
    } else if (this.isServer && this.wasClosedLately(streamId)) {
      this.fail(ErrorCode.StreamClosed, "protocol", "DATA on a closed stream");
    } else this.glitch();
  }

  #headers(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    let from = start;
    let to = end;
    if ((flags & FrameFlag.Padded) !== 0) {
      if (to === from) {
        this.#protocolError("padding longer than the frame");
        return;
      }
      to -= buffer[from]!;
      from++;
    }
    if ((flags & FrameFlag.Priority) !== 0) {
      if (to - from >= 5 && readUint31(buffer, from) === streamId) {
        this.#protocolError("a stream depends on itself");
        return;
      }
      from += 5;
    }
    if (to < from) {
      this.#protocolError("padding or priority longer than the frame");
      return;
    }
    const endsStream = (flags & FrameFlag.EndStream) !== 0;
    if ((flags & FrameFlag.EndHeaders) !== 0) {
      this.#block(streamId, endsStream, buffer, from, to);
      return;
    }
    this.#expect = Expect.Continuation;
    this.#headerStreamId = streamId;
    this.#headerEndsStream = endsStream;
    this.#headerFrames = 0;
    this.#headerSinceMs = this.nowMs;
    this.#headerBytes = 0;
    this.#collect(buffer, from, to);
  }

  #continuation(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (this.#expect !== Expect.Continuation) {
      this.#protocolError("CONTINUATION without HEADERS");
      return;
    }
    if (++this.#headerFrames > this.limits.maxContinuations) {
      this.fail(ErrorCode.EnhanceYourCalm, "header-limit", "too many CONTINUATION frames");
      return;
    }
    if (!this.#collect(buffer, start, end) || (flags & FrameFlag.EndHeaders) === 0) return;
    const block = this.#headerBlock!;
    const length = this.#headerBytes;
    this.#expect = Expect.Anything;
    this.#headerStreamId = 0;
    this.#headerBlock = null;
    this.#headerBytes = 0;
    this.#block(streamId, this.#headerEndsStream, block, 0, length);
  }

  #collect(buffer: Buffer, start: number, end: number): boolean {
    const needed = this.#headerBytes + end - start;
    if (needed > this.limits.maxHeaderBlockBytes) {
      this.fail(ErrorCode.EnhanceYourCalm, "header-limit", "header block too large");
      return false;
    }
    if (this.#headerBlock === null || this.#headerBlock.length < needed) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, 1024));
      if (this.#headerBlock !== null) this.#headerBlock.copy(grown, 0, 0, this.#headerBytes);
      this.#headerBlock = grown;
    }
    buffer.copy(this.#headerBlock, this.#headerBytes, start, end);
    this.#headerBytes = needed;
    return true;
  }

  #block(streamId: number, endsStream: boolean, buffer: Buffer, start: number, end: number): void {
    try {
      this.receiveHeaders(streamId, endsStream, buffer, start, end);
    } catch (error) {
      if (!(error instanceof HpackError)) throw error;
      this.fail(ErrorCode.CompressionError, "compression", error.message);
    }
  }

  #reset(streamId: number, code: number): void {
    const stream = this.#find(streamId);
    if (stream === undefined) {
      if (this.isIdle(streamId)) this.#protocolError("RST_STREAM on an idle stream");
      else {
        this.#lingering.delete(streamId);
        this.glitch();
      }
      return;
    }
    this.forgetStream(stream);
    stream.aborted("cancelled", code);
    this.#spendReset(stream);
  }

  #settings(flags: number, buffer: Buffer, start: number, end: number): void {
    if ((flags & FrameFlag.Ack) !== 0) return;
    if (!this.#settingsFrames.take(this.nowMs) || end - start > this.limits.maxSettingsEntries * 6) {
      this.fail(ErrorCode.EnhanceYourCalm, "settings-flood", "too many settings");
      return;
    }
    for (let at = start; at < end; at += 6) {
      const id = (buffer[at]! << 8) | buffer[at + 1]!;
      const value = readUint32(buffer, at + 2);
      switch (id) {
        case SettingId.EnablePush:
          if (value > (this.isServer ? 1 : 0)) return this.#protocolError("SETTINGS_ENABLE_PUSH out of range");
          break;
        case SettingId.InitialWindowSize:
          if (!this.#setInitialWindow(value)) return;
          break;
        case SettingId.MaxFrameSize:
          if (value < maxFrameBytes || value > 0xff_ffff) {
            return this.#protocolError("SETTINGS_MAX_FRAME_SIZE out of range");
          }
          break;
        default:
          this.peerSettings(id, value);
      }
    }
    const output = this.output;
    output.reserve(frameHeaderBytes);
    output.used = writeFrameHeader(output.slab, output.used, 0, FrameType.Settings, FrameFlag.Ack, 0);
    this.#acknowledged();
    if (!this.isClosing) this.settingsApplied();
  }

  /** All of a SETTINGS frame has been taken in. */
  protected settingsApplied(): void {}

  /** RFC 9113 §6.9.2: a change applies to every open stream and may make windows negative. */
  #setInitialWindow(value: number): boolean {
    if (value > maxWindowBytes) {
      this.fail(ErrorCode.FlowControlError, "flow-control", "SETTINGS_INITIAL_WINDOW_SIZE out of range");
      return false;
    }
    const change = value - this.peerInitialWindow;
    this.peerInitialWindow = value;
    this.scheduler.initialWindowChanged(value);
    for (const stream of this.streams.all()) {
      stream.sendWindow += change;
      if (stream.sendWindow > maxWindowBytes) {
        this.fail(ErrorCode.FlowControlError, "flow-control", "SETTINGS_INITIAL_WINDOW_SIZE overflows a window");
        return false;
      }
      if (stream.sending !== null) this.#wake(stream);
    }
    return true;
  }

  #ping(flags: number, buffer: Buffer, start: number): void {
    if ((flags & FrameFlag.Ack) !== 0) {
      if (this.#drainStep === 1 && buffer.compare(drainPing, 0, 8, start, start + 8) === 0) this.#drainFinally();
      return;
    }
    const output = this.output;
    output.reserve(frameHeaderBytes + 8);
    output.used = writeFrameHeader(output.slab, output.used, 8, FrameType.Ping, FrameFlag.Ack, 0);
    output.append(buffer, start, start + 8);
    this.#acknowledged();
    if (!this.isClosing) this.pingReceived();
  }

  #acknowledged(): void {
    this.touched();
    if (!this.isBlocked) return;
    if (++this.#pendingAcks > this.limits.maxPendingAcks) {
      this.fail(ErrorCode.EnhanceYourCalm, "ack-flood", "acknowledgements are not being read");
    }
  }

  #windowUpdate(streamId: number, increment: number): void {
    const allowed =
      this.limits.windowUpdateBase +
      this.limits.windowUpdatePerStream *
        (this.#streamsOpened + this.limits.windowUpdatePerData * this.scheduler.framesSent);
    if (++this.#windowUpdates > allowed) {
      this.fail(ErrorCode.EnhanceYourCalm, "window-updates", "too many WINDOW_UPDATE frames");
      return;
    }
    if (streamId === 0) {
      if (increment === 0) this.#protocolError("WINDOW_UPDATE of 0");
      else if (this.scheduler.window + increment > maxWindowBytes) {
        this.fail(ErrorCode.FlowControlError, "flow-control", "connection window overflows");
      } else {
        this.scheduler.window += increment;
        if (this.scheduler.isParkedForWindow) this.#wakeParked();
        if (this.scheduler.isBusy) this.touched();
      }
      return;
    }
    const stream = this.#find(streamId);
    if (stream === undefined) {
      // Crosses our END_STREAM all the time; only an idle stream is an error.
      if (this.isIdle(streamId)) this.#protocolError("WINDOW_UPDATE on an idle stream");
      return;
    }
    if (increment === 0) {
      this.resetMalformed(stream);
      return;
    }
    if (stream.sendWindow + increment > maxWindowBytes) {
      this.resetStream(stream, ErrorCode.FlowControlError);
      stream.aborted("cancelled", ErrorCode.FlowControlError);
      return;
    }
    stream.sendWindow += increment;
    if (stream.sending !== null) this.#wake(stream);
  }

  #wakeParked(): void {
    this.scheduler.isParkedForWindow = false;
    for (const stream of this.streams.all()) this.scheduler.wake(stream);
  }

  #wake(stream: Stream): void {
    if (stream.sendWindow <= 0) return;
    this.scheduler.wake(stream);
    this.touched();
  }

  // ---------------------------------------------------------------- receive windows

  /** After DATA on a stream that goes on: gives its window back, or asks for admission of a large message. */
  #topUp(stream: Stream): void {
    const initial = this.limits.streamWindowBytes;
    const missing = stream.missingBytes;
    if (stream.admittedBytes > 0 && missing === 0) this.#releaseAdmission(stream);
    let target = initial;
    if (missing > initial) {
      if (stream.isAwaitingAdmission) return;
      if (stream.admittedBytes === 0) {
        if (missing > this.#assemblyLeft) {
          stream.isAwaitingAdmission = true;
          this.#awaitingAdmission.push(stream);
          return;
        }
        this.#assemblyLeft -= missing;
        stream.admittedBytes = missing;
      }
      target = missing;
    }
    const grant = target - stream.receiveWindow;
    if (grant * 2 < initial && missing <= stream.receiveWindow) return;
    if (grant <= 0) return;
    stream.receiveWindow += grant;
    this.#writeWindowUpdate(stream.id, grant);
  }

  #releaseAdmission(stream: Stream): void {
    this.#assemblyLeft += stream.admittedBytes;
    stream.admittedBytes = 0;
    let next = 0;
    while (next < this.#awaitingAdmission.length) {
      const waiting = this.#awaitingAdmission[next]!;
      if (!waiting.isGone && waiting.missingBytes > this.#assemblyLeft) break;
      next++;
      waiting.isAwaitingAdmission = false;
      if (!waiting.isGone && !waiting.isRemoteClosed) this.#topUp(waiting);
    }
    if (next > 0) this.#awaitingAdmission.splice(0, next);
  }

  // ---------------------------------------------------------------- control frames of ours

  /** Our SETTINGS, and the connection window beyond the default. */
  protected writeSettings(entries: readonly (readonly [id: number, value: number])[]): void {
    const output = this.output;
    output.reserve(frameHeaderBytes + entries.length * 6);
    let at = writeFrameHeader(output.slab, output.used, entries.length * 6, FrameType.Settings, 0, 0);
    for (const [id, value] of entries) {
      output.slab[at] = id >>> 8;
      output.slab[at + 1] = id;
      at = writeUint32(output.slab, at + 2, value);
    }
    output.used = at;
    if (this.limits.connectionWindowBytes > defaultWindowBytes) {
      this.#writeWindowUpdate(0, this.limits.connectionWindowBytes - defaultWindowBytes);
    }
    this.touched();
  }

  #writeWindowUpdate(streamId: number, increment: number): void {
    const output = this.output;
    output.reserve(frameHeaderBytes + 4);
    const at = writeFrameHeader(output.slab, output.used, 4, FrameType.WindowUpdate, 0, streamId);
    output.used = writeUint32(output.slab, at, increment);
    this.touched();
  }

  #writePing(payload: Buffer): void {
    const output = this.output;
    output.reserve(frameHeaderBytes + 8);
    output.used = writeFrameHeader(output.slab, output.used, 8, FrameType.Ping, 0, 0);
    output.append(payload, 0, 8);
    this.touched();
  }

  #writeGoAway(lastStreamId: number, code: ErrorCode, debugText: string): void {
    const output = this.output;
    const length = 8 + debugText.length;
    output.reserve(frameHeaderBytes + length);
    let at = writeFrameHeader(output.slab, output.used, length, FrameType.GoAway, 0, 0);
    at = writeUint32(output.slab, at, lastStreamId);
    at = writeUint32(output.slab, at, code);
    output.used = at + output.slab.write(debugText, at, debugText.length, "latin1");
    this.touched();
  }

  // ---------------------------------------------------------------- once a second

  sweep(nowMs: number): void {
    if (nowMs >= this.#closeAtMs) {
      this.destroy(this.#closeReason);
      return;
    }
    if (this.isClosing) return;
    if (this.#expect === Expect.Settings && nowMs - this.#openedMs >= this.limits.prefaceTimeoutMs) {
      this.fail(ErrorCode.ProtocolError, "preface", "no preface in time");
    } else if (this.#expect === Expect.Continuation && nowMs - this.#headerSinceMs >= this.limits.headerTimeoutMs) {
      this.fail(ErrorCode.EnhanceYourCalm, "header-timeout", "header block not finished in time");
    } else if (this.isBlocked && nowMs - this.#blockedSinceMs >= this.limits.stallTimeoutMs * 2) {
      this.destroy("stalled");
    } else if (this.#drainStep === 1 && nowMs - this.#drainSinceMs >= drainPingTimeoutMs) {
      this.#drainFinally();
    } else if (this.isServer && this.streams.size === 0 && nowMs - this.idleSinceMs >= this.limits.idleTimeoutMs) {
      this.drain();
    } else this.#keepAlive(nowMs);
    if (this.scheduler.queueCount > 0) this.#sweepQueues(nowMs);
    if (!this.isClosing) this.#sweepUnread(nowMs);
  }

  /** Many answers at once are no crime, if they are being read (H2-12). */
  #sweepUnread(nowMs: number): void {
    if (this.#unsentBytes() <= this.limits.unreadBytes) {
      this.#unreadSinceMs = -1;
    } else if (this.#unreadSinceMs < 0 || this.#progress !== this.#progressSeen) {
      this.#unreadSinceMs = nowMs;
      this.#progressSeen = this.#progress;
    } else if (nowMs - this.#unreadSinceMs >= this.limits.unreadTimeoutMs) {
      this.fail(ErrorCode.EnhanceYourCalm, "unsent", "answers are not being read");
    }
  }

  #keepAlive(nowMs: number): void {
    if (this.#pingSentMs >= 0) {
      if (this.lastReceivedMs >= this.#pingSentMs) this.#pingSentMs = -1;
      else if (nowMs - this.#pingSentMs >= this.limits.keepaliveTimeoutMs) {
        this.destroy("keepalive");
        return;
      }
    }
    if (this.#pingSentMs < 0 && nowMs - this.lastReceivedMs >= this.limits.keepaliveIntervalMs) {
      this.#pingSentMs = nowMs;
      this.#writePing(keepalivePing);
    }
  }

  /** Streams that make no progress: small frames after a second, an end after `stallTimeoutMs` (H2-12, H2-13). */
  #sweepQueues(nowMs: number): void {
    for (const stream of this.streams.all()) {
      const queue = stream.sending;
      if (queue === null || (queue.isSourceWaiting && queue.bytes === 0)) continue;
      const waitedMs = nowMs - queue.progressMs;
      if (waitedMs >= this.limits.stallTimeoutMs) {
        this.resetStream(stream, ErrorCode.Cancel);
        stream.aborted("cancelled", ErrorCode.Cancel);
      } else if (waitedMs >= 1000 && !queue.isStarved) {
        queue.isStarved = true;
        if (stream.sendWindow > 0) this.#wake(stream);
      }
    }
  }
}

/** The payload of our keepalive pings, and of the ping between the two GOAWAYs. */
const keepalivePing: Buffer = Buffer.from("keep\0\0\0\0", "latin1");
const drainPing: Buffer = Buffer.from("drain\0\0\0", "latin1");
