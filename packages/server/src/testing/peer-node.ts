/**
 * A member as far as its peers see one: a transport on a port of 127.0.0.1, with an owner that writes down what it is told.
 * For tests of the transport; real sockets, real time.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Message, NodeId } from "@quorate/raft";
import type { Clock, Log, LogFields, LogLevel, Timers } from "@quorate/world";
import { parseUrls } from "../config/urls.ts";
import { Listener } from "../http/listener.ts";
import { MetricsRegistry } from "../metrics/exposition.ts";
import { PeerMetrics } from "../metrics/peer-metrics.ts";
import type { OutgoingSnapshot } from "../peers/peer-network.ts";
import type { PeerRequests } from "../peers/peer-requests.ts";
import { PeerTransport } from "../peers/transport.ts";
import { TlsAcceptor } from "../tls/acceptor.ts";
import type { Credentials } from "../tls/credentials.ts";
import { MachineClock, MachineTimers } from "../world/clock.ts";
import { noCredentials } from "./certificates.ts";

export const CLUSTER_ID = 0x346a7a4867ccef9en;

export interface PeerNodeOptions {
  readonly id: NodeId;
  readonly port: number;
  readonly clusterId?: bigint;
  readonly serverVersion?: string;
  readonly tls?: Credentials;
  readonly requests?: Partial<PeerRequests>;
  /** Both 5 s if not given, as etcd's. */
  readonly readTimeoutMs?: number;
  readonly writeTimeoutMs?: number;
  /** How many of the transport's milliseconds one of ours is, so that nobody has to wait for its limits. Default 1. */
  readonly speed?: number;
}

export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

export class PeerNode {
  readonly id: NodeId;
  readonly url: string;
  readonly transport: PeerTransport;
  readonly directory: string = mkdtempSync(join(tmpdir(), "peer-node-"));
  readonly stepped: Message[] = [];
  readonly unreachable: NodeId[] = [];
  readonly snapshotsEnded: { readonly id: NodeId; readonly status: string }[] = [];
  readonly snapshotsReceived: { readonly message: Message; readonly path: string }[] = [];
  readonly lines: LogLine[] = [];
  readonly removed: Set<NodeId> = new Set();
  removals = 0;
  /** What `step` throws. */
  refusal: Error | null = null;
  /** What a received snapshot is answered with. */
  snapshotProblem: Error | null = null;
  /** Called when a snapshot has arrived, before it is answered. */
  onSnapshot: () => void = () => {};
  snapshot: (message: Message) => OutgoingSnapshot = () => {
    throw new Error("no snapshot was expected");
  };
  /** Its peers' series are in here. */
  readonly metrics: MetricsRegistry = new MetricsRegistry();
  readonly #listener: Listener;
  #wake: () => void = () => {};

  static async start(options: PeerNodeOptions): Promise<PeerNode> {
    const node = new PeerNode(options);
    await node.#listener.listen();
    node.#listener.open({ raw: (request, response) => node.transport.handle(request, response) });
    return node;
  }

  private constructor(options: PeerNodeOptions) {
    const { id, port, tls } = options;
    this.id = id;
    this.url = `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`;
    mkdirSync(join(this.directory, "snap"));
    const log = this.#log();
    this.transport = new PeerTransport({
      memberId: id,
      clusterId: options.clusterId ?? CLUSTER_ID,
      peerUrls: [this.url],
      serverVersion: options.serverVersion ?? "3.7.1",
      minClusterVersion: "3.0.0",
      owner: {
        step: (message) => {
          if (this.refusal !== null) throw this.refusal;
          this.#note(this.stepped, message);
        },
        receiveSnapshot: (message, path, done) => {
          this.#note(this.snapshotsReceived, { message, path });
          this.onSnapshot();
          done(this.snapshotProblem);
        },
        peerGone: () => {},
        reportUnreachable: (peer) => this.#note(this.unreachable, peer),
        reportSnapshot: (peer, status) => this.#note(this.snapshotsEnded, { id: peer, status }),
        openSnapshot: (message, done) => done(null, this.snapshot(message)),
        isRemoved: (peer) => this.removed.has(peer),
        removedFromCluster: () => {
          this.removals++;
          this.#wake();
        },
      },
      requests: { ...NO_REQUESTS, ...options.requests },
      ...hastened(options.speed ?? 1),
      log,
      metrics: new PeerMetrics(this.metrics, id),
      electionTimeoutMs: 1000,
      timeouts: { readMs: options.readTimeoutMs ?? 5000, writeMs: options.writeTimeoutMs ?? 5000 },
      tls: tls ?? noCredentials(),
      snapshotDirectory: join(this.directory, "snap"),
    });
    const acceptor =
      tls === undefined
        ? null
        : new TlsAcceptor(tls, {
            endpoint: "peer",
            protocols: ["http/1.1"],
            handshakeMs: 10_000,
            clock: new MachineClock(),
            log,
            resolver: { reverse: async () => [], lookup: async () => [] },
          });
    this.#listener = new Listener(parseUrls(this.url), acceptor, log, { endpoint: "peer" });
  }

  meet(other: { readonly id: NodeId; readonly url: string }): void {
    this.transport.addPeer(other.id, [other.url]);
  }

  send(...messages: readonly Message[]): void {
    for (const message of messages) this.transport.send(message);
    this.transport.flush();
  }

  /** Messages of the log lines so far. */
  logged(message: string): LogLine[] {
    return this.lines.filter((each) => each.message === message);
  }

  /** Resolves when the condition holds; looks again whenever the owner is told or a line is logged. */
  async until(what: string, condition: () => boolean): Promise<void> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.#wake();
    }, 10_000);
    while (!condition()) {
      if (isLate) {
        const lines = this.lines.map((each) => `${each.level} ${each.message} ${JSON.stringify(each.fields, asText)}`);
        throw new Error(`did not happen: ${what}; log:\n${lines.join("\n")}`);
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    clearTimeout(timer);
  }

  /** Both streams of the other are attached here, and both of ours there. */
  async connected(other: PeerNode): Promise<void> {
    const streams = (node: PeerNode): number => node.logged(ESTABLISHED).length;
    await this.until("four streams here", () => streams(this) >= 4);
    await other.until("four streams there", () => streams(other) >= 4);
  }

  stop(): void {
    this.transport.stop();
    this.#listener.stop();
    this.#listener.destroyAll();
  }

  dispose(): void {
    this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #note<T>(list: T[], item: T): void {
    list.push(item);
    this.#wake();
  }

  #log(): Log {
    const at =
      (level: LogLevel) =>
      (message: string, fields: LogFields = {}): void =>
        this.#note(this.lines, { level, message, fields });
    return {
      isEnabled: (level) => level !== "debug",
      debug: () => {},
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
    };
  }
}

function hastened(speed: number): { readonly clock: Clock; readonly timers: Timers } {
  const clock = new MachineClock();
  const timers = new MachineTimers();
  return {
    clock: { monotonicMs: () => clock.monotonicMs() * speed, wallMs: () => clock.wallMs() },
    timers: {
      after: (delayMs, fire) => timers.after(delayMs / speed, fire),
      nextTurn: (run) => timers.nextTurn(run),
    },
  };
}

export const ESTABLISHED = "established TCP streaming connection with remote peer";

function asText(_name: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value instanceof Error ? value.message : value;
}

function unexpected(): never {
  throw new Error("nobody was expected to ask");
}

const NO_REQUESTS: PeerRequests = {
  versionBody: unexpected,
  members: unexpected,
  promote: unexpected,
  hashKv: unexpected,
  leaseKeepAlive: unexpected,
  leaseTimeToLive: unexpected,
  downgradeEnabled: unexpected,
};
