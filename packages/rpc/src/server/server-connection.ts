/**
 * The server's end of a connection: the preface, requests out of header blocks, and the manners expected of clients.
 */
import type { Duplex } from "node:stream";
import type { Deadlines } from "../grpc/deadlines.ts";
import { StatusCode } from "../grpc/status.ts";
import { Connection, type ConnectionOwner } from "../http2/connection.ts";
import { clientPreface, defaultWindowBytes, ErrorCode, SettingId } from "../http2/frame.ts";
import { TokenBucket } from "../http2/token-bucket.ts";
import type { RpcLimits } from "../limits.ts";
import { failureOnly, headersTooLarge } from "./answers.ts";
import { Call } from "./call.ts";
import type { AcceptedSocket, RpcObserver, ServerPeer } from "./method.ts";
import { PlainExchange, type PlainHandler } from "./plain-exchange.ts";
import { HeadReader, TrailerCheck } from "./request-head.ts";
import type { Router } from "./router.ts";

/** What a server shares with all its connections. */
export interface ServerContext extends ConnectionOwner {
  readonly router: Router;
  readonly deadlines: Deadlines;
  readonly observer: RpcObserver | null;
  readonly plainHandler: PlainHandler | null;
}

/** grpc-go's: without a stream, a ping may come every two hours. */
const idlePingMs = 7_200_000;

export class ServerConnection extends Connection implements ServerPeer {
  state: unknown = undefined;
  readonly deadlines: Deadlines;
  readonly observer: RpcObserver | null;
  /** Calls whose stream is gone while their work goes on. */
  heldSlots = 0;
  protected readonly isServer = true;
  readonly #heads: HeadReader;
  readonly #trailers: TrailerCheck = new TrailerCheck();
  readonly #refused: TokenBucket;
  readonly #plainHandler: PlainHandler | null;
  /** null once asked. */
  #askCommonName: (() => string | null) | null;
  #commonName: string | null = null;
  #prefaceBytes = 0;
  #lastPingMs = Number.NEGATIVE_INFINITY;
  #pingStrikes = 0;
  /** What had been sent when the last ping came. */
  #framesAtPing = 0;

  constructor(socket: Duplex, context: ServerContext, limits: RpcLimits, accepted: AcceptedSocket) {
    super(socket, context, limits);
    this.socketKeepsNothing = accepted.isTcp ?? false;
    this.#askCommonName = accepted.commonName ?? null;
    this.deadlines = context.deadlines;
    this.observer = context.observer;
    this.#plainHandler = context.plainHandler;
    this.#heads = new HeadReader(context.router, this.decoder, limits);
    this.#refused = new TokenBucket(limits.refusedBurst, limits.refusedPerSecond, this.nowMs);
    const settings: [number, number][] = [
      [SettingId.MaxConcurrentStreams, Math.min(limits.maxConcurrentStreams, 0xffff_ffff)],
      [SettingId.MaxHeaderListSize, limits.maxHeaderListBytes],
    ];
    if (limits.streamWindowBytes !== defaultWindowBytes) {
      settings.push([SettingId.InitialWindowSize, limits.streamWindowBytes]);
    }
    this.writeSettings(settings);
  }

  get peerCommonName(): string | null {
    const ask = this.#askCommonName;
    if (ask !== null) {
      this.#askCommonName = null;
      this.#commonName = ask();
    }
    return this.#commonName;
  }

  protected receivePreface(chunk: Buffer): number {
    if (this.#prefaceBytes === clientPreface.length) return 0;
    let at = 0;
    while (at < chunk.length && this.#prefaceBytes < clientPreface.length) {
      if (chunk[at] !== clientPreface[this.#prefaceBytes]) {
        this.fail(ErrorCode.ProtocolError, "preface", "bad connection preface");
        return -1;
      }
      at++;
      this.#prefaceBytes++;
    }
    return at;
  }

  protected isIdle(streamId: number): boolean {
    return streamId > this.lastPeerStreamId || streamId % 2 === 0;
  }

  protected receiveHeaders(streamId: number, endsStream: boolean, block: Buffer, start: number, end: number): void {
    if (streamId % 2 === 0) {
      this.fail(ErrorCode.ProtocolError, "protocol", "a client's stream has an odd id");
      return;
    }
    if (streamId <= this.lastPeerStreamId) {
      this.#receiveTrailers(streamId, endsStream, block, start, end);
      return;
    }
    this.lastPeerStreamId = streamId;
    const head = this.#heads.read(block, start, end);
    if (head.isTooLarge) {
      if (head.listBytes > this.limits.maxHeaderListBytes * 2) {
        this.fail(ErrorCode.EnhanceYourCalm, "header-limit", "header list too large");
      } else this.turnAway(streamId, endsStream, headersTooLarge, ErrorCode.NoError);
      return;
    }
    if (head.isMalformed || (endsStream && head.contentLength > 0)) {
      this.turnAway(streamId, endsStream, null, ErrorCode.ProtocolError);
      return;
    }
    if (this.isDraining || this.streams.size + this.heldSlots >= this.limits.maxConcurrentStreams) {
      this.#refuse(streamId, endsStream);
      return;
    }
    const plainHandler = this.#plainHandler;
    if (head.plain !== null && plainHandler !== null) {
      const exchange = new PlainExchange(this, streamId, this.peerInitialWindow, head.plain, plainHandler);
      exchange.contentLeft = head.contentLength;
      this.addStream(exchange);
      if (endsStream) this.remoteEnded(exchange);
      return;
    }
    if (head.refusal !== null) {
      this.turnAway(streamId, endsStream, head.refusal, ErrorCode.NoError);
      return;
    }
    const method = head.route.method;
    if (method === null) {
      const answer = failureOnly(StatusCode.Unimplemented, head.route.problem);
      this.turnAway(streamId, endsStream, answer, ErrorCode.NoError);
      return;
    }
    const call = new Call(this, streamId, this.peerInitialWindow, this.nowMs, head, method);
    this.addStream(call);
    call.begin();
    if (endsStream && !call.isGone) this.remoteEnded(call);
  }

  #refuse(streamId: number, endsStream: boolean): void {
    if (!this.#refused.take(this.nowMs)) {
      this.fail(ErrorCode.EnhanceYourCalm, "refused-streams", "too many streams above the announced limit");
      return;
    }
    this.lingers(streamId, endsStream);
    this.writeReset(streamId, ErrorCode.RefusedStream);
  }

  /** A second header block on a stream: trailers if the stream runs, a mistake if it does not. */
  #receiveTrailers(streamId: number, endsStream: boolean, block: Buffer, start: number, end: number): void {
    this.#trailers.isMalformed = false;
    this.decoder.decode(block, start, end, this.#trailers);
    const stream = this.streams.get(streamId);
    if (stream === undefined) {
      if (this.isLingering(streamId)) {
        if (endsStream) this.stopLingering(streamId);
      } else if (this.wasClosedLately(streamId)) {
        this.fail(ErrorCode.StreamClosed, "protocol", "HEADERS on a closed stream");
      } else this.fail(ErrorCode.ProtocolError, "protocol", "stream ids must increase");
    } else if (stream.isRemoteClosed) {
      this.fail(ErrorCode.StreamClosed, "protocol", "HEADERS after END_STREAM");
    } else if (!endsStream || this.#trailers.isMalformed || stream.contentLeft > 0) {
      this.resetMalformed(stream);
    } else this.remoteEnded(stream);
  }

  /** grpc-go's rule (H2-10): pings that come too early are strikes, anything sent in between forgives them. */
  protected pingReceived(): void {
    const lastMs = this.#lastPingMs;
    this.#lastPingMs = this.nowMs;
    if (this.scheduler.framesSent !== this.#framesAtPing) {
      this.#framesAtPing = this.scheduler.framesSent;
      this.#pingStrikes = 0;
      return;
    }
    const isIdle = this.streams.size === 0 && !this.limits.keepaliveWithoutStream;
    const leastMs = isIdle ? idlePingMs : this.limits.keepaliveMinTimeMs;
    if (this.nowMs - lastMs < leastMs && ++this.#pingStrikes > this.limits.maxPingStrikes) {
      this.fail(ErrorCode.EnhanceYourCalm, "ping-strikes", "too_many_pings");
    }
  }

  /** A client that says goodbye runs its streams to their end. */
  protected goAwayReceived(): void {
    this.isDraining = true;
    if (this.streams.size === 0) this.close("peer");
  }

  /** A server's answers use no table and open no streams, so nothing more of the client's settings matters. */
  protected peerSettings(): void {}
}
