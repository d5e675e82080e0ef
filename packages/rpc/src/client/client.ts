/**
 * A gRPC client of one server, on one connection at a time. It connects when there is something to call and connects
 * anew when the connection has gone; it does not retry calls, except unary ones that the server says it never saw.
 *
 * @example
 * const client = new RpcClient({ connect: () => net.connect(2379), authority: "localhost:2379", clock, timers });
 * client.unary("/pkg.Service/Echo", message, {}, (error, response) => { ... });
 */
import type { Duplex } from "node:stream";
import type { Clock, Timers } from "@quorate/world";
import { Deadlines } from "../grpc/deadlines.ts";
import { encodeValue, type Metadata } from "../grpc/metadata.ts";
import { RpcError, StatusCode } from "../grpc/status.ts";
import { formatTimeout } from "../grpc/timeout.ts";
import type { EncodableField } from "../hpack/encoder.ts";
import type { Connection } from "../http2/connection.ts";
import { ConnectionSet } from "../http2/connection-set.ts";
import { type RpcLimits, resolveLimits } from "../limits.ts";
import { ClientCall, type ClientStreamHandler, type UnaryDone } from "./call.ts";
import { ClientConnection, type ClientContext } from "./client-connection.ts";

export interface RpcClientOptions {
  /** A new socket to the server, connected or connecting. Errors are reported by the socket. */
  connect(): Duplex;
  /** What `:authority` says. */
  readonly authority: string;
  /** "http" unless the sockets are TLS. */
  readonly scheme?: "http" | "https";
  readonly clock: Clock;
  readonly timers: Timers;
  /** The defaults are those of a client: any message is taken, pings and windows are generous. */
  readonly limits?: Partial<RpcLimits>;
  readonly userAgent?: string;
}

export interface CallOptions {
  readonly metadata?: Metadata;
  /** The clock's time at which the call ends with DEADLINE_EXCEEDED. Default: none. */
  readonly deadlineMs?: number;
}

/** We chose this server and asked for its answers, so there is less to fear than from a client. */
const clientLimits: Partial<RpcLimits> = {
  maxMessageBytes: 0x7fff_ff00,
  streamWindowBytes: 4 * 1024 * 1024,
  maxHeaderBlockBytes: 64 * 1024,
  glitchBurst: 10_000,
  glitchPerSecond: 1000,
};

export class RpcClient {
  readonly #options: RpcClientOptions;
  readonly #limits: RpcLimits;
  readonly #connections: ConnectionSet<Connection>;
  readonly #context: ClientContext;
  readonly #deadlines: Deadlines;
  readonly #fixedFields: readonly EncodableField[];
  #current: ClientConnection | null = null;
  #waiting: Set<ClientCall> = new Set();
  #isClosed = false;
  #isDispatching = false;

  /** Throws InvalidLimit. */
  constructor(options: RpcClientOptions) {
    this.#options = options;
    this.#limits = resolveLimits({ ...clientLimits, ...options.limits });
    const connections = new ConnectionSet<Connection>(options.clock, options.timers);
    this.#connections = connections;
    this.#deadlines = new Deadlines(options.clock, options.timers);
    this.#context = {
      clock: options.clock,
      scheduleFlush: (connection) => connections.scheduleFlush(connection),
      connectionClosed: (connection) => this.#connectionClosed(connection as ClientConnection),
      capacityChanged: () => {
        if (this.#waiting.size > 0) this.#dispatch();
      },
    };
    this.#fixedFields = [
      { name: ":method", value: "POST" },
      { name: ":scheme", value: options.scheme ?? "http" },
      { name: ":authority", value: options.authority },
      { name: "content-type", value: "application/grpc" },
      { name: "te", value: "trailers" },
      { name: "user-agent", value: options.userAgent ?? "quorate-rpc" },
      { name: "grpc-accept-encoding", value: "identity,gzip" },
    ];
  }

  /** Calls running or waiting. */
  get callCount(): number {
    let count = this.#waiting.size;
    for (const connection of this.#connections.members) count += connection.streamCount;
    return count;
  }

  /**
   * One message each way. `message` must not change before `done`. Throws InvalidMetadata; everything else, also a
   * closed client or too many waiting calls, is reported to `done`.
   */
  unary(path: string, message: Uint8Array, options: CallOptions, done: UnaryDone): ClientCall {
    return this.#begin(path, options, message, done, null);
  }

  /** Any number of messages each way. Throws InvalidMetadata. */
  stream(path: string, options: CallOptions, handler: ClientStreamHandler): ClientCall {
    return this.#begin(path, options, null, null, handler);
  }

  /** Writes out what calls have queued; happens by itself in the next turn. */
  flush(): void {
    this.#connections.flush();
  }

  /** Ends every call with UNAVAILABLE and closes the connection. */
  close(): void {
    this.#isClosed = true;
    for (const connection of [...this.#connections.members]) {
      (connection as ClientConnection).goodbye = "client closed";
      connection.close("local");
    }
    this.#failWaiting("client closed");
    this.#deadlines.stop();
  }

  #begin(
    path: string,
    options: CallOptions,
    message: Uint8Array | null,
    done: UnaryDone | null,
    handler: ClientStreamHandler | null,
  ): ClientCall {
    const fields: EncodableField[] = [...this.#fixedFields, { name: ":path", value: path }];
    // Pseudo-headers come first.
    fields.splice(3, 0, fields.pop()!);
    for (const [name, value] of options.metadata ?? []) {
      const sensitive = name === "token" || name === "authorization";
      fields.push({ name, value: encodeValue(name, value), sensitive });
    }
    const deadlineMs = options.deadlineMs ?? Number.POSITIVE_INFINITY;
    const call = new ClientCall(this.#home, path, fields, deadlineMs, message, done, handler);
    const problem = this.#isClosed
      ? new RpcError(StatusCode.Unavailable, "client closed")
      : this.#waiting.size >= this.#limits.maxPendingCalls
        ? new RpcError(StatusCode.ResourceExhausted, `more than ${this.#limits.maxPendingCalls} calls are waiting`)
        : null;
    if (problem !== null) {
      this.#options.timers.nextTurn(() => call.finish(problem));
      return call;
    }
    if (deadlineMs !== Number.POSITIVE_INFINITY) this.#deadlines.add(call);
    this.#waiting.add(call);
    this.#dispatch();
    return call;
  }

  readonly #home = {
    callEnded: (call: ClientCall): void => {
      this.#waiting.delete(call);
      this.#deadlines.remove(call);
    },
    retry: (call: ClientCall): boolean => {
      if (this.#isClosed) return false;
      this.#waiting.add(call);
      // The stream at hand is still being taken down: not in the middle of that.
      this.#options.timers.nextTurn(() => this.#dispatch());
      return true;
    },
  };

  /** Opens streams for waiting calls, in order, while there is room. */
  #dispatch(): void {
    if (this.#isDispatching || this.#isClosed) return;
    this.#isDispatching = true;
    for (const call of this.#waiting) {
      const connection = this.#connection();
      if (!connection.hasRoom) break;
      this.#waiting.delete(call);
      const leftMs = call.deadlineMs - this.#options.clock.monotonicMs();
      if (leftMs <= 0) {
        this.#options.timers.nextTurn(() => call.deadlinePassed());
        continue;
      }
      const isTimed = leftMs !== Number.POSITIVE_INFINITY;
      connection.open(
        call,
        isTimed ? [...call.fields, { name: "grpc-timeout", value: formatTimeout(leftMs) }] : call.fields,
      );
    }
    this.#isDispatching = false;
  }

  #connection(): ClientConnection {
    if (this.#current === null || this.#current.isDraining) {
      this.#current = new ClientConnection(this.#options.connect(), this.#context, this.#limits);
      this.#connections.add(this.#current);
    }
    return this.#current;
  }

  #connectionClosed(connection: ClientConnection): void {
    this.#connections.remove(connection);
    if (this.#current === connection) this.#current = null;
    if (this.#waiting.size === 0 || this.#isClosed) return;
    // Calls that only waited for a stream try the next connection, unless there is no reaching the server at all.
    if (connection.isEstablished) this.#options.timers.nextTurn(() => this.#dispatch());
    else this.#failWaiting(connection.goodbye);
  }

  #failWaiting(text: string): void {
    const calls = [...this.#waiting];
    this.#waiting = new Set();
    for (const call of calls) call.finish(new RpcError(StatusCode.Unavailable, text));
  }
}
