/**
 * Requests between members, as whoever traces them sees them: those at the peer port and those we make, a stream of raft's
 * messages being one request for as long as it is open.
 *
 *   PeerHandler ◀─ incoming ── a member      Dialer ── outgoing ─▶ a member
 *        └──────────── requestStarted … requestEnded ────┘
 */
import type { ClientRequest, IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Clock, Log } from "@quorate/world";
import { formatDuration } from "../config/duration.ts";
import { remoteOf } from "../remote-address.ts";

export interface PeerRequest {
  readonly direction: "incoming" | "outgoing";
  readonly method: string;
  /** Without a query. */
  readonly path: string;
  /** Where it came from, or the URL of the member that is asked. */
  readonly remote: string;
  /** The clock's time of its beginning. */
  readonly startedMs: number;
  /** Of the answer; 0 while, or if, there is none. */
  readonly status: number;
  /** On the connection while the request went on, heads included. */
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** The observer's own slot: a span, for instance. */
  trace: unknown;
}

/** Called synchronously; must be quick and must not throw. */
export interface PeerObserver {
  requestStarted?(request: PeerRequest): void;
  /** Once, however it ended; `status` 0 if without an answer. */
  requestEnded?(request: PeerRequest, endedMs: number): void;
}

/** Follows requests for an observer, and for the log if that wants to know everything. */
export class FollowedRequests {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #observer: PeerObserver | null;

  constructor(clock: Clock, log: Log, observer: PeerObserver | null) {
    this.#clock = clock;
    this.#log = log;
    this.#observer = observer;
  }

  get isFollowing(): boolean {
    return this.#observer !== null || this.#log.isEnabled("debug");
  }

  incoming(request: IncomingMessage, response: ServerResponse): void {
    if (!this.isFollowing) return;
    const { socket, method = "", url = "" } = request;
    const followed = this.#begin("incoming", method, url, remoteOf({ socket }));
    // The head has been read already.
    followed.over(socket);
    response.once("close", () => {
      followed.status = response.headersSent ? response.statusCode : 0;
      this.#end(followed);
    });
  }

  outgoing(request: ClientRequest, remote: string): void {
    if (!this.isFollowing) return;
    const followed = this.#begin("outgoing", request.method, request.path, remote);
    request.once("socket", (socket) => followed.over(socket));
    request.once("response", (response) => {
      followed.status = response.statusCode ?? 0;
    });
    request.once("close", () => this.#end(followed));
  }

  #begin(direction: PeerRequest["direction"], method: string, target: string, remote: string): FollowedRequest {
    const path = target.replace(/\?.*$/s, "");
    const request = new FollowedRequest(direction, method, path, remote, this.#clock.monotonicMs());
    this.#observer?.requestStarted?.(request);
    return request;
  }

  #end(request: FollowedRequest): void {
    const endedMs = this.#clock.monotonicMs();
    this.#observer?.requestEnded?.(request, endedMs);
    if (!this.#log.isEnabled("debug")) return;
    const { direction, method, path, remote, status, receivedBytes, sentBytes, startedMs } = request;
    const took = formatDuration(endedMs - startedMs);
    this.#log.debug("peer request", { direction, method, path, remote, status, receivedBytes, sentBytes, took });
  }
}

class FollowedRequest implements PeerRequest {
  readonly direction: PeerRequest["direction"];
  readonly method: string;
  readonly path: string;
  readonly remote: string;
  readonly startedMs: number;
  status = 0;
  trace: unknown = undefined;
  #socket: Socket | null = null;
  /** What the connection had carried for others before. */
  #readBefore = 0;
  #writtenBefore = 0;

  constructor(direction: PeerRequest["direction"], method: string, path: string, remote: string, startedMs: number) {
    this.direction = direction;
    this.method = method;
    this.path = path;
    this.remote = remote;
    this.startedMs = startedMs;
  }

  get receivedBytes(): number {
    return this.#socket === null ? 0 : this.#socket.bytesRead - this.#readBefore;
  }

  get sentBytes(): number {
    return this.#socket === null ? 0 : this.#socket.bytesWritten - this.#writtenBefore;
  }

  over(socket: Socket): void {
    this.#socket = socket;
    this.#readBefore = socket.bytesRead;
    this.#writtenBefore = socket.bytesWritten;
  }
}
