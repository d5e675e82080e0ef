/**
 * The registry of v3 discovery as it is: another etcd or Quorate cluster, reached as any client would. Of several
 * endpoints the first that answers is stayed with until it fails.
 */
import { readFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import type { Duplex } from "node:stream";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import {
  AuthenticateRequest,
  AuthenticateResponse,
  type Init,
  type MessageType,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import { type ClientCall, type Metadata, RpcClient, RpcError, StatusCode } from "@quorate/rpc";
import type { Clock, Timers } from "@quorate/world";
import type { DiscoveryConfig } from "../config/config.ts";
import { BootstrapError } from "./bootstrap.ts";
import type { Registry, RegistryRow, RegistryView, RegistryWatch } from "./discovery-world.ts";

export interface RegistryWorld {
  readonly clock: Clock;
  readonly timers: Timers;
}

/** Throws BootstrapError for an endpoint that is none or a file that cannot be read. Does not connect yet. */
export function openRegistry(discovery: DiscoveryConfig, world: RegistryWorld): Registry {
  return new EtcdRegistry(discovery, world);
}

class EtcdRegistry implements Registry {
  readonly #discovery: DiscoveryConfig;
  readonly #clock: Clock;
  readonly #clients: readonly RpcClient[];
  #current = 0;
  #token: string | null = null;

  constructor(discovery: DiscoveryConfig, { clock, timers }: RegistryWorld) {
    this.#discovery = discovery;
    this.#clock = clock;
    const tls = tlsOptions(discovery);
    this.#clients = discovery.endpoints.map((text) => {
      const endpoint = parseEndpoint(text, discovery);
      return new RpcClient({
        connect: () => dial(endpoint, tls, discovery.dialTimeoutMs),
        authority: endpoint.authority,
        scheme: endpoint.isTls ? "https" : "http",
        clock,
        timers,
        limits: {
          keepaliveIntervalMs: discovery.keepaliveTimeMs || Number.POSITIVE_INFINITY,
          keepaliveTimeoutMs: discovery.keepaliveTimeoutMs,
        },
      });
    });
  }

  async range(key: string, rangeEnd = ""): Promise<RegistryView> {
    const request = { key: Buffer.from(key), rangeEnd: Buffer.from(rangeEnd) };
    const answer = await this.#call("/etcdserverpb.KV/Range", RangeRequest, request, RangeResponse);
    return { revision: answer.header?.revision ?? 0, rows: answer.kvs.map(rowOf) };
  }

  async put(key: string, value: string): Promise<void> {
    const request = { key: Buffer.from(key), value: Buffer.from(value) };
    await this.#call("/etcdserverpb.KV/Put", PutRequest, request, PutResponse);
  }

  watch(key: string, rangeEnd: string, fromRevision: number): RegistryWatch {
    const request = WatchRequest.encode({
      createRequest: { key: Buffer.from(key), rangeEnd: Buffer.from(rangeEnd), startRevision: fromRevision },
    });
    return new EtcdWatch(this.#clients[this.#current]!, this.#metadata(), request);
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }

  async #call<Request extends object, Response extends object>(
    path: string,
    requestType: MessageType<Request>,
    request: Init<Request>,
    responseType: MessageType<Response>,
  ): Promise<Response> {
    if (this.#discovery.user !== null && this.#token === null) this.#token = await this.#authenticate();
    try {
      return responseType.decode(await this.#ask(path, requestType.encode(request)));
    } catch (error) {
      // The token may have expired: the next try asks for a new one.
      this.#token = null;
      throw error;
    }
  }

  async #authenticate(): Promise<string> {
    const request = AuthenticateRequest.encode({ name: this.#discovery.user!, password: this.#discovery.password });
    return AuthenticateResponse.decode(await this.#ask("/etcdserverpb.Auth/Authenticate", request)).token;
  }

  /** Rejects with the last endpoint's RpcError if none could be reached, or with the first answer that is an error. */
  async #ask(path: string, message: Uint8Array): Promise<Uint8Array> {
    const deadlineMs = this.#clock.monotonicMs() + this.#discovery.requestTimeoutMs;
    for (let tries = 1; ; tries++) {
      try {
        return await this.#unary(this.#clients[this.#current]!, path, message, deadlineMs);
      } catch (error) {
        const isDown = error instanceof RpcError && error.code === StatusCode.Unavailable;
        this.#current = (this.#current + 1) % this.#clients.length;
        if (!isDown || tries === this.#clients.length) throw error;
      }
    }
  }

  #unary(client: RpcClient, path: string, message: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      client.unary(path, message, { metadata: this.#metadata(), deadlineMs }, (error, response) => {
        if (error === null) resolve(response!);
        else reject(error);
      });
    });
  }

  #metadata(): Metadata {
    return this.#token === null ? [] : [["token", this.#token]];
  }
}

/** Rows as they come, until somebody asks for them. */
class EtcdWatch implements RegistryWatch {
  readonly #call: ClientCall;
  #rows: RegistryRow[] = [];
  #end: Error | null = null;
  #wake: (() => void) | null = null;

  constructor(client: RpcClient, metadata: Metadata, request: Uint8Array) {
    this.#call = client.stream(
      "/etcdserverpb.Watch/Watch",
      { metadata },
      {
        message: (_call, buffer, start, end) => this.#receive(WatchResponse.decode(buffer, start, end)),
        ended: (_call, error) => this.#break(error ?? new Error("the watch has ended")),
      },
    );
    this.#call.send(request, 0, request.length);
  }

  async next(): Promise<readonly RegistryRow[]> {
    while (this.#rows.length === 0) {
      if (this.#end !== null) throw this.#end;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const rows = this.#rows;
    this.#rows = [];
    return rows;
  }

  cancel(): void {
    this.#call.cancel();
  }

  #receive(response: WatchResponse): void {
    for (const event of response.events) if (event.kv !== undefined) this.#rows.push(rowOf(event.kv));
    if (response.canceled) this.#break(new Error(`the watch was cancelled: ${response.cancelReason}`));
    this.#wake?.();
  }

  #break(error: Error): void {
    this.#end ??= error;
    this.#wake?.();
  }
}

function rowOf(kv: { key: Uint8Array; value: Uint8Array; createRevision: number }): RegistryRow {
  // The decoded message borrows the buffer it came in; text does not.
  return {
    key: Buffer.from(kv.key).toString(),
    value: Buffer.from(kv.value).toString(),
    createRevision: kv.createRevision,
  };
}

interface Endpoint {
  readonly isTls: boolean;
  readonly authority: string;
  readonly to: { readonly host: string; readonly port: number } | { readonly path: string };
}

/** `[scheme://]host[:port]`, or a unix socket. */
function parseEndpoint(text: string, discovery: DiscoveryConfig): Endpoint {
  const [, scheme = "", rest = ""] = /^(?:([a-z]+):(?:\/\/)?(?!\d+$))?(.*)$/.exec(text) ?? [];
  if (scheme === "unix" || scheme === "unixs") {
    return { isTls: scheme === "unixs", authority: "localhost", to: { path: rest } };
  }
  const hostPort = /^(?:\[([^\]]+)\]|([^:/[\]]+))(?::(\d{1,5}))?\/?$/.exec(rest);
  if (hostPort === null || (scheme !== "" && scheme !== "http" && scheme !== "https")) {
    throw new BootstrapError(`--discovery-endpoints has ${JSON.stringify(text)}, which is no endpoint`);
  }
  const host = hostPort[1] ?? hostPort[2]!;
  const port = Number(hostPort[3] ?? "2379");
  const hasTls = !discovery.insecureTransport || discovery.certFile !== null || discovery.caFile !== null;
  return {
    isTls: scheme === "https" || (scheme === "" && hasTls),
    authority: `${host.includes(":") ? `[${host}]` : host}:${port}`,
    to: { host, port },
  };
}

function tlsOptions(discovery: DiscoveryConfig): ConnectionOptions {
  const file = (path: string | null): Buffer | undefined => {
    if (path === null) return undefined;
    try {
      return readFileSync(path);
    } catch (error) {
      throw new BootstrapError(`cannot read a file of v3 discovery: ${(error as Error).message}`, { cause: error });
    }
  };
  return {
    cert: file(discovery.certFile),
    key: file(discovery.keyFile),
    ca: file(discovery.caFile),
    rejectUnauthorized: !discovery.insecureSkipTlsVerify,
    ALPNProtocols: ["h2"],
  };
}

function dial(endpoint: Endpoint, tls: ConnectionOptions, timeoutMs: number): Duplex {
  const socket = endpoint.isTls ? connectTls({ ...tls, ...endpoint.to }) : connectTcp(endpoint.to);
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no connection within ${timeoutMs} ms`)));
  socket.once(endpoint.isTls ? "secureConnect" : "connect", () => socket.setTimeout(0));
  return socket;
}
