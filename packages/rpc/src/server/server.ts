/**
 * A gRPC server over connections that others accept: hand it sockets, and methods are called.
 *
 * Everything is answered through {@link ServerCall}. What answers queue is written by `flush`, which the owner calls
 * at the end of its turn; forgetting to costs a turn, not an answer.
 *
 * @example
 * const server = new RpcServer({ methods: new Map([["/pkg.Service/Echo", {
 *   kind: "unary",
 *   handle(call, buffer, start, end) { call.respond(buffer, start, end); },
 * }]]), clock, timers });
 * net.createServer((socket) => server.accept(socket)).listen(2379);
 */
import type { Duplex } from "node:stream";
import { type Clock, type Log, silentLog, type Timer, type Timers } from "@quorate/world";
import { Deadlines } from "../grpc/deadlines.ts";
import type { CloseReason, Connection } from "../http2/connection.ts";
import { ConnectionSet } from "../http2/connection-set.ts";
import { type RpcLimits, resolveLimits } from "../limits.ts";
import type { AcceptedSocket, Method, RpcObserver, ServerPeer } from "./method.ts";
import type { PlainHandler } from "./plain-exchange.ts";
import { Router } from "./router.ts";
import { ServerConnection, type ServerContext } from "./server-connection.ts";

export interface RpcServerOptions {
  /** By path, "/package.Service/Method". */
  readonly methods: ReadonlyMap<string, Method>;
  readonly limits?: Partial<RpcLimits>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log?: Log;
  readonly observer?: RpcObserver;
  /** Answers requests that are not gRPC; without it they are refused with status 415. */
  readonly plainHandler?: PlainHandler;
}

export class RpcServer {
  readonly #limits: RpcLimits;
  readonly #timers: Timers;
  readonly #log: Log;
  readonly #observer: RpcObserver | null;
  readonly #connections: ConnectionSet<Connection>;
  readonly #context: ServerContext;
  #isDraining = false;
  #drained: (() => void) | null = null;
  #graceTimer: Timer | null = null;

  /** Throws InvalidLimit. */
  constructor(options: RpcServerOptions) {
    this.#limits = resolveLimits(options.limits);
    this.#timers = options.timers;
    this.#log = options.log ?? silentLog;
    this.#observer = options.observer ?? null;
    const connections = new ConnectionSet<Connection>(options.clock, options.timers);
    this.#connections = connections;
    this.#context = {
      clock: options.clock,
      router: new Router(options.methods),
      deadlines: new Deadlines(options.clock, options.timers),
      observer: this.#observer,
      plainHandler: options.plainHandler ?? null,
      scheduleFlush: (connection) => connections.scheduleFlush(connection),
      connectionClosed: (connection, reason) => this.#connectionClosed(connection, reason),
    };
  }

  get connectionCount(): number {
    return this.#connections.members.size;
  }

  /** Streams open on all connections. */
  get streamCount(): number {
    let count = 0;
    for (const connection of this.#connections.members) count += connection.streamCount;
    return count;
  }

  /**
   * Takes over a connected socket (TCP, TLS, or any other duplex of bytes) whose peer begins with the HTTP/2 preface.
   * `received`, borrowed until return, is what was already read from it. A server that is draining closes it at once.
   */
  accept(socket: Duplex, received?: Uint8Array, accepted: AcceptedSocket = {}): ServerPeer {
    const connection = new ServerConnection(socket, this.#context, this.#limits, accepted);
    this.#connections.add(connection);
    if (this.#isDraining) {
      connection.close("local");
      return connection;
    }
    if (received !== undefined && received.length > 0) {
      connection.receive(Buffer.from(received.buffer, received.byteOffset, received.byteLength));
    }
    return connection;
  }

  /** Writes out everything queued, one socket write per connection. */
  flush(): void {
    this.#connections.flush();
  }

  /**
   * Ends politely: GOAWAY, running calls finish, then each connection closes; after `graceMs` whatever remains is cut.
   * `done` is called once, never synchronously. New sockets are turned away from now on.
   */
  drain(graceMs: number, done: () => void): void {
    this.#isDraining = true;
    this.#drained = done;
    if (this.connectionCount === 0) {
      this.#timers.nextTurn(() => this.#finishDrain());
      return;
    }
    this.#graceTimer = this.#timers.after(graceMs, () => this.#cut());
    for (const connection of [...this.#connections.members]) connection.drain();
    this.flush();
  }

  /** Ends at once: GOAWAY, running calls are cancelled, sockets closed. */
  close(): void {
    this.#isDraining = true;
    for (const connection of [...this.#connections.members]) connection.close("local");
    this.#context.deadlines.stop();
  }

  #cut(): void {
    this.#graceTimer = null;
    if (this.connectionCount > 0) {
      this.#log.warn("rpc drain cut short", { connections: this.connectionCount, streams: this.streamCount });
    }
    for (const connection of [...this.#connections.members]) connection.destroy("drained");
    this.#finishDrain();
  }

  #connectionClosed(connection: Connection, reason: CloseReason): void {
    this.#connections.remove(connection);
    this.#observer?.connectionClosed?.(reason);
    if (this.#log.isEnabled("debug")) this.#log.debug("rpc connection closed", { reason });
    if (this.#isDraining && this.connectionCount === 0) this.#finishDrain();
  }

  #finishDrain(): void {
    this.#graceTimer?.cancel();
    this.#graceTimer = null;
    const done = this.#drained;
    this.#drained = null;
    if (done === null) return;
    this.#context.deadlines.stop();
    done();
  }
}
