/**
 * The sockets of a member: listens on URLs and hands every connection to the protocol it speaks, decided by its first
 * bytes. One address may carry all of them, as etcd's does:
 *
 *   first byte 0x16 ............ TLS handshake, then the same decision on what it carries
 *   "PRI * HTTP/2.0\r\n" ....... the gRPC server
 *   anything else .............. HTTP/1.1
 *
 * A connection that does not say in time what it is, is cut (known failures H2-23, H2-24, SA-24).
 */

import { rmSync } from "node:fs";
import type { Server as HttpServer, IncomingMessage, ServerResponse } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Log } from "@quorate/world";
import { isTls, type ServiceUrl } from "../config/urls.ts";
import type { TlsAcceptor } from "../tls/acceptor.ts";
import type { HttpRequest, HttpResponse } from "./endpoints.ts";

export type ListenerHandlers =
  | {
      /** An HTTP/2 connection; `received` has its first bytes. Absent: HTTP/2 is refused here. */
      grpc?(socket: Socket, received: Buffer): void;
      /** Questions without a body worth reading, and answers that fit into one piece. */
      http(request: HttpRequest, respond: (response: HttpResponse) => void): void;
    }
  | {
      /**
       * HTTP/1.1 as it comes, for bodies and answers that last. The time they may take is the handler's to limit, except
       * for a request's head; so are answers to what it does not know.
       */
      raw(request: IncomingMessage, response: ServerResponse): void;
    };

export interface ListenerOptions {
  /** Whose port this is; requests of peers may take any time to arrive. Default: clients'. */
  readonly endpoint?: "client" | "peer";
  /** How long a connection may take to say what it is, and an HTTP/1.1 request to send its head. */
  readonly decideMs?: number;
}

// An ES import of node:http evaluates every export it has, WebSocket and fetch among them: 14 MB of memory for nothing.
const { createServer: createHttpServer } = process.getBuiltinModule("node:http");

export const DECIDE_MS = 10_000;
/** Connections kept while the member starts. */
const MAX_WAITING = 10_000;
const PREFACE_START = Buffer.from("PRI * HTTP/2.0\r\n");
const TLS_HANDSHAKE_RECORD = 0x16;
/** A request to these endpoints has no body worth reading. */
const MAX_BODY_BYTES = 64 * 1024;

export class Listener {
  readonly #urls: readonly ServiceUrl[];
  /** Connections that came before {@link open}. */
  #waiting: Socket[] = [];
  /** null until {@link open}. */
  #handlers: ListenerHandlers | null = null;
  readonly #server: Server;
  readonly #http: HttpServer;
  readonly #sockets = new Set<Socket>();
  readonly #tls: TlsAcceptor | null;
  readonly #allowsPlain: boolean;
  readonly #log: Log;
  readonly #decideMs: number;

  /** `urls` all name one address; TLS is offered if one of them asks for it, plain text likewise. */
  constructor(urls: readonly ServiceUrl[], tls: TlsAcceptor | null, log: Log, options: ListenerOptions = {}) {
    const { endpoint = "client", decideMs = DECIDE_MS } = options;
    this.#urls = urls;
    this.#decideMs = decideMs;
    this.#tls = urls.some(isTls) ? tls : null;
    this.#allowsPlain = urls.some((url) => !isTls(url));
    this.#log = log;
    this.#http = createHttpServer(
      {
        headersTimeout: decideMs,
        // A snapshot takes as long as it takes; whoever reads it cuts it off if it stalls.
        requestTimeout: endpoint === "peer" ? 0 : 3 * decideMs,
        connectionsCheckingInterval: decideMs / 2,
        keepAliveTimeout: 60_000,
        maxHeaderSize: 32 * 1024,
      },
      (request, response) => this.#serveHttp(request, response),
    );
    // It gets its connections from us, but without this event it never looks at its time limits.
    this.#http.emit("listening");
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  /** Binds the address; resolves when that is done, or rejects with the reason in one line. Serves after {@link open}. */
  async listen(): Promise<void> {
    const url = this.#urls[0]!;
    if (url.path !== "") await removeDeadSocket(url.path);
    await new Promise<void>((resolve, reject) => {
      const refused = (error: NodeJS.ErrnoException): void => reject(bindError(url, error));
      this.#server.once("error", refused);
      const listening = (): void => {
        this.#server.off("error", refused);
        this.#server.on("error", (error) => this.#log.error("listener failed", { url: url.text, error }));
        resolve();
      };
      if (url.path !== "") {
        this.#server.listen({ path: url.path, backlog: 1024 }, listening);
      } else {
        const host = url.host === "localhost" ? "127.0.0.1" : url.host;
        this.#server.listen({ port: url.port, host: host === "" ? "::" : host, backlog: 1024 }, listening);
      }
    });
  }

  /** Serves the connections that waited, and all that come from now on. */
  open(handlers: ListenerHandlers): void {
    this.#handlers = handlers;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const socket of waiting) if (!socket.destroyed) this.#serve(socket);
  }

  /** Stops accepting. Connections that are open stay until they end or {@link destroyAll}. */
  stop(): void {
    this.#server.close();
    this.#http.close();
  }

  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", ignoreReset);
    if (this.#handlers !== null) this.#serve(socket);
    else if (this.#waiting.push(socket) > MAX_WAITING) socket.destroy();
  }

  #serve(socket: Socket): void {
    this.#decide(socket, this.#tls, this.#allowsPlain);
  }

  /** Waits for enough bytes to tell what the connection speaks. */
  #decide(socket: Socket, tls: TlsAcceptor | null, mayBePlain: boolean): void {
    let received: Buffer = Buffer.alloc(0);
    const handlers = this.#handlers!;
    const grpc = "grpc" in handlers ? handlers.grpc : undefined;
    const onSilence = (): void => {
      socket.destroy();
    };
    socket.setTimeout(this.#decideMs, onSilence);
    const onData = (chunk: Buffer): void => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      const protocol = protocolOf(received);
      if (protocol === null) return;
      socket.off("data", onData);
      socket.setTimeout(0, onSilence);
      if (protocol === "tls") {
        if (tls === null) {
          socket.destroy();
          return;
        }
        socket.pause();
        socket.unshift(received);
        tls.accept(socket, (secure) => this.#decide(secure, null, true));
      } else if (!mayBePlain || !isNegotiated(socket, protocol)) {
        socket.destroy();
      } else if (protocol === "http2" && grpc !== undefined) {
        grpc(socket, received);
      } else {
        socket.pause();
        socket.unshift(received);
        this.#http.emit("connection", socket);
        socket.resume();
      }
    };
    socket.on("data", onData);
  }

  #serveHttp(request: IncomingMessage, response: ServerResponse): void {
    const handlers = this.#handlers!;
    if ("raw" in handlers) {
      handlers.raw(request, response);
      return;
    }
    let bodyBytes = 0;
    request.on("data", (chunk: Buffer) => {
      bodyBytes += chunk.length;
      if (bodyBytes > MAX_BODY_BYTES) request.destroy();
    });
    handlers.http(
      {
        method: request.method ?? "",
        target: request.url ?? "",
        host: request.headers.host ?? "",
        origin: request.headers.origin ?? "",
        isTls: "encrypted" in request.socket,
      },
      (answer) => {
        if (response.headersSent || response.destroyed) return;
        response.writeHead(answer.status, { ...answer.headers, "content-length": Buffer.byteLength(answer.body) });
        response.end(request.method === "HEAD" ? undefined : answer.body);
      },
    );
  }
}

/** null: too few bytes to tell. */
function protocolOf(received: Buffer): "tls" | "http2" | "http1" | null {
  if (received.length === 0) return null;
  if (received[0] === TLS_HANDSHAKE_RECORD) return "tls";
  const compared = Math.min(received.length, PREFACE_START.length);
  if (received.compare(PREFACE_START, 0, compared, 0, compared) !== 0) return "http1";
  return compared === PREFACE_START.length ? "http2" : null;
}

/** What the handshake settled on, if it settled on anything, is what has to follow. */
function isNegotiated(socket: Socket & Partial<Pick<TLSSocket, "alpnProtocol">>, protocol: "http2" | "http1"): boolean {
  const { alpnProtocol } = socket;
  if (typeof alpnProtocol !== "string") return true;
  return alpnProtocol === (protocol === "http2" ? "h2" : "http/1.1");
}

/** A socket file left by a killed process would refuse every later start; one that answers is another's. */
function removeDeadSocket(path: string): Promise<void> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.on("connect", () => {
      probe.destroy();
      resolve();
    });
    probe.on("error", ({ code }: NodeJS.ErrnoException) => {
      if (code === "ECONNREFUSED") rmSync(path, { force: true });
      resolve();
    });
  });
}

const BIND_CAUSES: Readonly<Record<string, string>> = {
  EADDRINUSE: "address already in use",
  EACCES: "permission denied",
  EADDRNOTAVAIL: "cannot assign requested address",
};

/** In Go's words, which is what tools that start an etcd look for. */
function bindError(url: ServiceUrl, error: NodeJS.ErrnoException): Error {
  const host = url.host.includes(":") ? `[${url.host}]` : url.host;
  const address = url.path === "" ? `tcp ${host}:${url.port}` : `unix ${url.path}`;
  return new Error(`listen ${address}: bind: ${BIND_CAUSES[error.code ?? ""] ?? error.message}`, { cause: error });
}

/** A peer that vanishes is normal life; what it leaves behind is handled at "close". */
function ignoreReset(): void {}
