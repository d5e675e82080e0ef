/**
 * How requests reach other members: one connection each, plain or TLS by the URL's scheme, bounded in the time it may take
 * to come about. No redirect is ever followed (MB-18). Streams and single requests get a connection of their own;
 * {@link Dialer.keepAlive} makes an agent for those who ask often.
 *
 * node:http is taken when first needed and not imported: an import evaluates all its exports (see http/listener.ts).
 */
import type { Agent, ClientRequest, OutgoingHttpHeaders, RequestOptions } from "node:http";
import { connect, type OnReadOpts, type Socket } from "node:net";
import type { Timer, Timers } from "@quorate/world";
import { isTls, type ServiceUrl } from "../config/urls.ts";
import type { Credentials } from "../tls/credentials.ts";
import { dialOptions } from "../tls/remote-check.ts";
import { AnswerSocket } from "./answer-socket.ts";
import { DIAL_EXTRA_MS, IDLE_CONNECTION_MS, TLS_HANDSHAKE_MS } from "./limits.ts";
import type { FollowedRequests } from "./peer-observer.ts";

export interface DialRequest {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  /** Absent: a connection of its own, closed with the answer. */
  readonly agent?: Agent;
}

export class Dialer {
  readonly #tls: Credentials;
  readonly #dialMs: number;
  readonly #timers: Timers;
  readonly #followed: FollowedRequests | null;

  constructor(tls: Credentials, electionTimeoutMs: number, timers: Timers, followed: FollowedRequests | null = null) {
    this.#followed = followed;
    this.#tls = tls;
    this.#dialMs = DIAL_EXTRA_MS + electionTimeoutMs;
    this.#timers = timers;
  }

  /** The caller ends the request. What goes wrong comes as its "error" event. */
  request(url: ServiceUrl, request: DialRequest): ClientRequest {
    const { agent } = request;
    return this.#request(
      url,
      request,
      agent === undefined ? { createConnection: () => this.#connect(url) } : { agent },
    );
  }

  /** As {@link request}, on a connection of its own, for an answer whose body is read past http. */
  stream(url: ServiceUrl, request: DialRequest): { readonly request: ClientRequest; readonly answer: AnswerSocket } {
    const answer = new AnswerSocket((onread) => this.#connect(url, onread));
    return { request: this.#request(url, request, { createConnection: () => answer }), answer };
  }

  #request(url: ServiceUrl, { method, path, headers }: DialRequest, way: RequestOptions): ClientRequest {
    const http = process.getBuiltinModule("node:http");
    const request = http.request({
      method,
      path,
      headers,
      ...(url.path === "" ? { host: hostOf(url), port: url.port } : { host: "localhost" }),
      ...way,
    });
    this.#followed?.outgoing(request, url.text);
    return request;
  }

  /** For requests to one URL at a time: connections are kept until they have been idle for a while. */
  keepAlive(url: ServiceUrl, maxSockets: number): Agent {
    const { Agent } = process.getBuiltinModule("node:http");
    const agent = new Agent({ keepAlive: true, maxSockets, maxFreeSockets: maxSockets, timeout: IDLE_CONNECTION_MS });
    agent.createConnection = () => this.#connect(url);
    return agent;
  }

  /** `onread` is used by plain connections; by others, what is read comes as "data" events as ever. */
  #connect(url: ServiceUrl, onread?: OnReadOpts): Socket {
    const target = url.path === "" ? { host: hostOf(url), port: url.port } : { path: url.path };
    let socket: Socket;
    if (!isTls(url)) {
      socket = connect({ ...target, noDelay: true, ...(onread === undefined ? {} : { onread }) });
      this.#limit(socket, "connect", this.#dialMs);
      return socket;
    }
    const { connect: connectTls } = process.getBuiltinModule("node:tls");
    const raw = connect({ ...target, noDelay: true });
    socket = connectTls({ ...dialOptions(this.#tls, hostOf(url)), socket: raw });
    this.#limit(socket, "secureConnect", this.#dialMs + TLS_HANDSHAKE_MS);
    return socket;
  }

  #limit(socket: Socket, established: "connect" | "secureConnect", limitMs: number): void {
    const timer: Timer = this.#timers.after(limitMs, () => socket.destroy(new Error("dial tcp: i/o timeout")));
    const cancel = (): void => timer.cancel();
    socket.once(established, cancel);
    socket.once("close", cancel);
  }
}

function hostOf(url: ServiceUrl): string {
  return url.host === "" ? "localhost" : url.host;
}
