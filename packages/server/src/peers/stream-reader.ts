/**
 * One of the two streams from a member, seen from us who read: we dial it, and its messages are the body of an answer
 * that never ends.
 *
 *   dialling ──200──▶ reading ── end, error, silence, a malformed frame ──▶ waiting ── 100 ms ──▶ dialling
 *       └── refused, unreachable: next URL of the member ──────────────────────────▶ waiting
 *
 * 410 says for good that we were removed from the cluster; nothing else does.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import { idText } from "@quorate/membership";
import { MalformedMessage, type NodeId } from "@quorate/raft";
import type { Timer } from "@quorate/world";
import type { ServiceUrl } from "../config/urls.ts";
import type { Counter } from "../metrics/exposition.ts";
import type { AnswerSocket } from "./answer-socket.ts";
import { AppendDecoder, MalformedFrame } from "./append-frames.ts";
import { headerOf, requestHeaders, servesStreams } from "./compatibility.ts";
import { DIAL_INTERVAL_MS } from "./limits.ts";
import { type FrameDecoder, isLinkHeartbeat, MessageDecoder } from "./message-frames.ts";
import type { PeerStatus } from "./peer-status.ts";
import type { PeerSurroundings } from "./peer-surroundings.ts";
import { FrameTooLarge } from "./received-bytes.ts";
import { readSmallBody } from "./small-body.ts";
import type { StreamKind } from "./stream-writer.ts";
import type { UrlPicker } from "./url-picker.ts";

const PATHS: Readonly<Record<StreamKind, string>> = {
  "stream MsgApp v2": "/raft/stream/msgapp/",
  "stream Message": "/raft/stream/message/",
};

export class StreamReader {
  readonly #kind: StreamKind;
  readonly #peer: NodeId;
  readonly #around: PeerSurroundings;
  readonly #status: PeerStatus;
  readonly #picker: UrlPicker;
  readonly #receivedBytes: Counter;
  #request: ClientRequest | null = null;
  #retry: Timer | null = null;
  #silence: Timer | null = null;
  #dialledMs = Number.NEGATIVE_INFINITY;
  #heardMs = 0;
  /** What the end of the present request means: a dial that failed, or a stream that was lost. */
  #onEnd: (reason: string) => void = () => {};
  #isStopped = false;

  constructor(kind: StreamKind, peer: NodeId, around: PeerSurroundings, status: PeerStatus, picker: UrlPicker) {
    this.#kind = kind;
    this.#peer = peer;
    this.#around = around;
    this.#status = status;
    this.#picker = picker;
    this.#receivedBytes = around.metrics.receivedBytes(peer);
    this.#retryLater();
  }

  stop(): void {
    this.#isStopped = true;
    this.#retry?.cancel();
    this.#silence?.cancel();
    this.#request?.destroy();
    this.#request = null;
  }

  /** The member has moved: what is read from its old address is of no use. */
  redial(): void {
    const request = this.#request;
    if (request === null) return;
    this.#ended(request);
    request.destroy();
  }

  /** A stream was open since we last said that nobody listens there any more. */
  #wasRead = false;

  #dial(): void {
    const { clock, dialer, local, log } = this.#around;
    const url = this.#picker.pick();
    this.#dialledMs = clock.monotonicMs();
    if (log.isEnabled("debug")) {
      log.debug("dial stream reader", { from: idText(local.memberId), to: idText(this.#peer), address: url.text });
    }
    const { request, answer } = dialer.stream(url, {
      method: "GET",
      path: PATHS[this.#kind] + idText(local.memberId),
      headers: { ...requestHeaders(local), "X-Raft-To": idText(this.#peer) },
    });
    this.#request = request;
    // From the first moment on: a member that takes the connection and says nothing is as silent as one that stops.
    this.#heardMs = this.#dialledMs;
    this.#onEnd = (reason) => this.#failed(request, url, reason);
    request.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" && this.#wasRead) {
        this.#wasRead = false;
        this.#around.news.gone(this.#peer);
      }
      this.#endOf(request, error.message);
    });
    request.on("close", () => this.#endOf(request, "connection closed"));
    request.on("socket", (socket) => {
      const heard = (): void => {
        this.#heardMs = clock.monotonicMs();
      };
      socket.once("connect", heard);
      socket.once("secureConnect", heard);
    });
    request.on("response", (response) => {
      this.#heardMs = clock.monotonicMs();
      if (response.statusCode === 200 && servesStreams(response.headers) && isInChunks(response)) {
        this.#read(request, response, answer);
      } else {
        answer.leaveBody();
        this.#refused(request, url, response);
      }
    });
    request.end();
    this.#watchSilence(request, url, this.#around.timeouts.readMs);
  }

  #watchSilence(request: ClientRequest, url: ServiceUrl, afterMs: number): void {
    const { readMs } = this.#around.timeouts;
    this.#silence?.cancel();
    this.#silence = this.#around.timers.after(afterMs, () => {
      const silentMs = this.#around.clock.monotonicMs() - this.#heardMs;
      const isConnecting = request.socket === null || request.socket.connecting;
      if (isConnecting || silentMs < readMs) {
        // The dialer limits how long a connection may take.
        this.#watchSilence(request, url, isConnecting ? readMs : readMs - silentMs);
      } else {
        request.destroy(new Error("i/o timeout"));
      }
    });
  }

  #read(request: ClientRequest, response: IncomingMessage, answer: AnswerSocket): void {
    const { clock, local, log } = this.#around;
    const decoder: FrameDecoder =
      this.#kind === "stream Message" ? new MessageDecoder() : new AppendDecoder(local.memberId, this.#peer);
    this.#status.activate();
    this.#wasRead = true;
    log.info("established TCP streaming connection with remote peer", this.#fields());
    this.#onEnd = (error) => {
      if (!this.#ended(request)) return;
      log.warn("lost TCP streaming connection with remote peer", { ...this.#fields(), error });
      // Who ends the answer properly is alive.
      if (error !== "EOF") this.#status.deactivate(`read ${this.#kind}`, error);
      request.destroy();
    };
    response.on("error", (error) => this.#endOf(request, error.message));
    answer.takeBody({
      received: (piece) => {
        this.#heardMs = clock.monotonicMs();
        this.#receivedBytes.add(piece.length);
        decoder.push(piece);
        const problem = this.#deliver(decoder, request);
        if (problem !== null) this.#endOf(request, problem);
        return this.#request === request;
      },
      ended: (reason) => this.#endOf(request, reason),
    });
  }

  /** Hands on what has arrived whole; returns why nothing that comes after it can be understood, or null. */
  #deliver(decoder: FrameDecoder, request: ClientRequest): string | null {
    while (this.#request === request) {
      let message: ReturnType<FrameDecoder["next"]>;
      try {
        message = decoder.next();
      } catch (error) {
        if (error instanceof MalformedMessage || error instanceof MalformedFrame || error instanceof FrameTooLarge) {
          return error.message;
        }
        throw error;
      }
      if (message === null) return null;
      if (!isLinkHeartbeat(message)) this.#around.news.received(message, this.#peer);
    }
    return null;
  }

  #refused(request: ClientRequest, url: ServiceUrl, response: IncomingMessage): void {
    const { local, log, news } = this.#around;
    readSmallBody(response, { silenceMs: this.#around.timeouts.readMs }, (body) => {
      const text = body?.toString("utf8").trimEnd() ?? "";
      if (this.#request !== request) return;
      switch (response.statusCode) {
        case 200:
          this.#failed(request, url, "unsupported stream type");
          break;
        case 410:
          this.#failed(request, url, "the member has been permanently removed from the cluster");
          news.removedFromCluster();
          break;
        case 404:
          this.#failed(request, url, `peer ${idText(this.#peer)} failed to find local node ${idText(local.memberId)}`);
          break;
        case 412:
          if (text === "incompatible version") {
            const message = "request sent was ignored by remote peer due to server version incompatibility";
            log.warn(message, { ...this.#fields(), error: text });
          } else if (text === "cluster ID mismatch") {
            log.warn("request sent was ignored by remote peer due to cluster ID mismatch", {
              ...this.#fields(),
              "remote-peer-cluster-id": headerOf(response.headers, "x-etcd-cluster-id"),
              "local-member-cluster-id": idText(local.clusterId),
              error: text,
            });
          }
          this.#failed(request, url, text);
          break;
        default:
          this.#failed(request, url, `unhandled http status ${response.statusCode}`);
      }
      request.destroy();
    });
  }

  #failed(request: ClientRequest, url: ServiceUrl, reason: string): void {
    if (!this.#ended(request)) return;
    this.#picker.unreachable(url);
    this.#status.deactivate(`dial ${this.#kind}`, reason);
  }

  #endOf(request: ClientRequest, reason: string): void {
    if (this.#request === request) this.#onEnd(reason);
  }

  /** False: it had ended before. Otherwise the next dial is set. */
  #ended(request: ClientRequest): boolean {
    if (this.#request !== request) return false;
    this.#request = null;
    this.#silence?.cancel();
    if (!this.#isStopped) this.#retryLater();
    return true;
  }

  #retryLater(): void {
    const { clock, timers } = this.#around;
    const waitMs = Math.max(0, this.#dialledMs + DIAL_INTERVAL_MS - clock.monotonicMs());
    this.#retry = timers.after(waitMs, () => this.#dial());
  }

  #fields(): Record<string, string> {
    return {
      "stream-reader-type": this.#kind,
      "local-member-id": idText(this.#around.local.memberId),
      "remote-peer-id": idText(this.#peer),
    };
  }
}

/** As every answer without an announced length is. */
function isInChunks({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"]?.toLowerCase() === "chunked";
}
