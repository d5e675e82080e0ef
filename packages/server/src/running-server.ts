/**
 * A member on its sockets: binds them, opens the data directory, starts the member, serves, and stops all of it in order.
 *
 *   start   addresses, keys of tokens ─▶ directory, locks ─▶ parts ─▶ member elects itself and publishes ─▶ "ready to serve"
 *   stop    listeners close ─▶ calls drain ─▶ waiters fail ─▶ flush, mark, checkpoint ─▶ locks released
 *
 * Addresses are bound first, so that a port in use is known before anything is written (but for --auto-tls, whose
 * certificates listeners need), but connections wait until the member is ready.
 */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Tokens } from "@quorate/auth";
import { type RpcObserver, RpcServer } from "@quorate/rpc";
import type { Clock, Log } from "@quorate/world";
import { tokensOf } from "./auth/configured-tokens.ts";
import { type Passwords, passwordsOf } from "./auth/passwords.ts";
import type { Config } from "./config/config.ts";
import type { TlsConfig } from "./config/tls.ts";
import { isTls, type ServiceUrl } from "./config/urls.ts";
import { CorruptionMonitor } from "./corruption/corruption-monitor.ts";
import { checkBeforeServing } from "./corruption/initial-check.ts";
import type { AskHash } from "./corruption/peer-hashes.ts";
import { Endpoints, type HttpRequest, type HttpResponse, text } from "./http/endpoints.ts";
import { DECIDE_MS, Listener, type ListenerHandlers } from "./http/listener.ts";
import type { ZapLog } from "./log/zap-log.ts";
import {
  makePrivate,
  type OpenedMember,
  openDataDirectory,
  refuseForeign,
  snapshotDirectoryOf,
} from "./member/data-directory.ts";
import { Member } from "./member/member.ts";
import { memberOptionsOf } from "./member/member-options.ts";
import type { World } from "./member/open-member.ts";
import { conditionOf } from "./member-condition.ts";
import { ServerMetrics } from "./metrics/server-metrics.ts";
import { bothOf, type ServerObservers } from "./observers.ts";
import { askHashOf, askVersionsOf, discover, leaderLinkOf } from "./outward.ts";
import { PeerClient } from "./peers/peer-client.ts";
import type { PeerNetwork, PeerNetworkOwner } from "./peers/peer-network.ts";
import { FollowedRequests } from "./peers/peer-observer.ts";
import { PeerTransport } from "./peers/transport.ts";
import { allMethods } from "./services/all.ts";
import { peerRequestsOf } from "./services/peer-requests.ts";
import { TlsAcceptor } from "./tls/acceptor.ts";
import { ensureSelfSigned } from "./tls/auto-tls.ts";
import { commonNameOf } from "./tls/common-name.ts";
import { Credentials } from "./tls/credentials.ts";
import { logTls } from "./tls/start-log.ts";
import { VERSIONS } from "./versions.ts";
import { MachineClock, MachineTimers } from "./world/clock.ts";
import type { DirectoryLock } from "./world/directory-lock.ts";
import { NodeDisk } from "./world/disk.ts";
import { releaseMemory } from "./world/memory.ts";
import { MachineRandom } from "./world/random.ts";

/** Calls under way when the server stops get this long; watches and keep-alives do not end by themselves. */
const DRAIN_MS = 1000;
/** A leader that stops waits so long for another one. */
const HAND_OVER_MS = 1000;

type Traffic = "client" | "http" | "metrics" | "peer";

interface Bound {
  readonly traffic: Traffic;
  readonly listener: Listener;
}

export class RunningServer {
  /** Called when the member cannot go on; the process must end. */
  onFailure: (error: Error) => void = () => {};
  /** Called when the member was removed from the cluster; the process should end. */
  onRemoved: () => void = () => {};
  /** The member was removed, perhaps before anybody could be called: a start comes to its end then, and serves nobody. */
  isRemoved = false;
  readonly #config: Config;
  readonly #log: ZapLog;
  readonly #locks: readonly DirectoryLock[];
  readonly #member: Member;
  readonly #passwords: Passwords;
  readonly #corruption: CorruptionMonitor;
  readonly #askHash: AskHash;
  /** It was a member before it started. */
  readonly #isInitialized: boolean;
  #transport: PeerTransport = null as never;
  readonly #rpc: RpcServer;
  readonly #bound: readonly Bound[];
  readonly #handlers: Readonly<Record<Traffic, ListenerHandlers>>;

  /** Resolves when clients may come. Rejects with what refused the start. */
  static async start(config: Config, log: ZapLog, observers: ServerObservers = {}): Promise<RunningServer> {
    const world = {
      disk: new NodeDisk(),
      clock: new MachineClock(),
      timers: new MachineTimers(),
      random: new MachineRandom(),
      log: log.for("member"),
      raftLog: log.for("raft/raft.ts", "raft"),
    };
    logStart(config, log);
    logTls(config, log);
    refuseForeign(config);
    const tls = openTls(config, world, log.for("tls"));
    const bound = makeListeners(config, tls, world.clock, log);
    const followed = new FollowedRequests(world.clock, log.for("rafthttp"), observers.peers ?? null);
    const client = new PeerClient({
      tls: tls.peer,
      electionTimeoutMs: electionMs(config),
      timers: world.timers,
      followed,
    });
    let locks: readonly DirectoryLock[] = [];
    try {
      for (const { listener } of bound) await listener.listen();
      const tokens = await tokensOf(config, { ...world, log: log.for("auth/tokens") });
      const opened = await openDataDirectory(config, world, () => discover(config, world, client));
      locks = opened.locks;
      const outside = { client, followed, calls: observers.calls, tokens, tls };
      const server = new RunningServer(config, log, world, opened, bound, outside);
      await server.#serve();
      return server;
    } catch (error) {
      for (const { listener } of bound) {
        listener.stop();
        listener.destroyAll();
      }
      for (const lock of locks) lock.release();
      throw error;
    }
  }

  #becameReady: () => void = () => {};
  /** Of no effect once the start has succeeded. */
  #failedStart: (error: Error) => void = () => {};
  readonly #ready: Promise<void>;

  private constructor(
    config: Config,
    log: ZapLog,
    world: World,
    { parts, locks }: OpenedMember,
    bound: readonly Bound[],
    outside: {
      readonly client: PeerClient;
      readonly followed: FollowedRequests;
      readonly calls: RpcObserver | undefined;
      readonly tokens: Tokens;
      readonly tls: Tls;
    },
  ) {
    const { client, followed, tokens, tls } = outside;
    this.#config = config;
    this.#log = log;
    this.#locks = locks;
    this.#bound = bound;
    this.#ready = new Promise((resolve, reject) => {
      this.#becameReady = resolve;
      this.#failedStart = reject;
    });
    const metrics = new ServerMetrics(config.extensiveMetrics, config.slowRequestMs, world.clock, log.for("rpc"));
    // Not `parts` itself: its state would stay in memory when a snapshot has taken its place.
    const { id: memberId } = parts;
    const { clusterId } = parts.state.membership;
    const network = (owner: PeerNetworkOwner, member: Member): PeerNetwork => {
      this.#transport = new PeerTransport({
        memberId,
        clusterId,
        serverVersion: VERSIONS.etcd,
        minClusterVersion: VERSIONS.minCluster,
        peerUrls: config.advertisePeerUrls,
        owner,
        requests: peerRequestsOf(member, config),
        timers: world.timers,
        clock: world.clock,
        log: log.for("rafthttp/transport"),
        metrics: metrics.peers(memberId),
        electionTimeoutMs: electionMs(config),
        timeouts: { readMs: config.raftReadTimeoutMs, writeMs: config.raftWriteTimeoutMs },
        tls: tls.peer,
        snapshotDirectory: snapshotDirectoryOf(config),
        followed,
      });
      return this.#transport;
    };
    const outward = { network, askVersions: askVersionsOf(client) };
    this.#passwords = passwordsOf(config, {
      timers: world.timers,
      random: world.random,
      log: log.for("auth/passwords"),
    });
    const credentials = { tokens, passwords: this.#passwords };
    this.#member = new Member(parts, memberOptionsOf(config, world, outward, credentials), {
      flush: () => this.#rpc.flush(),
      failed: (error) => {
        this.#failedStart(error);
        this.onFailure(error);
      },
      ready: () => this.#becameReady(),
      removed: () => {
        this.isRemoved = true;
        this.#becameReady();
        this.onRemoved();
      },
      resting: releaseMemory,
    });
    const condition = conditionOf(this.#member, metrics);
    const endpoints = new Endpoints(condition, { cors: config.cors, hostWhitelist: config.hostWhitelist });
    this.#rpc = new RpcServer({
      methods: new Map(
        allMethods(this.#member, {
          ...config,
          leaderLink: leaderLinkOf(client, this.#member.requestTimeoutMs),
          clientRequests: (type, version) => metrics.clientRequests(type, version),
        }),
      ),
      limits: {
        maxMessageBytes: config.maxRequestBytes + 512 * 1024,
        maxConcurrentStreams: config.maxConcurrentStreams,
        keepaliveMinTimeMs: config.keepaliveMinTimeMs,
        keepaliveIntervalMs: orNever(config.keepaliveIntervalMs),
        keepaliveTimeoutMs: orNever(config.keepaliveTimeoutMs),
      },
      clock: world.clock,
      timers: world.timers,
      log: log.for("rpc"),
      observer: bothOf(metrics.observer, outside.calls),
      // A client whose TLS handshake settled on HTTP/2 asks for /health over that.
      plainHandler: ({ method, path, authority, origin, scheme }, answer) =>
        endpoints.handle({ method, target: path, host: authority, origin, isTls: scheme === "https" }, false, answer),
    });
    this.#isInitialized = parts.firstPeers.length === 0;
    this.#askHash = askHashOf(client, this.#member.requestTimeoutMs);
    this.#corruption = new CorruptionMonitor(this.#member, {
      corruptCheckMs: config.corruptCheckMs,
      compactHashCheckMs: config.compactHashCheckMs,
      askHash: this.#askHash,
      log: log.for("corruption"),
    });
    metrics.watch(this.#member, this.#rpc);
    this.#handlers = this.#makeHandlers(endpoints);
  }

  async #serve(): Promise<void> {
    if (this.#config.initialCorruptCheck && this.#isInitialized) await this.#checkBeforeServing();
    // The other members are needed to become ready at all; clients come afterwards.
    this.#open((traffic) => traffic === "peer");
    this.#member.start();
    this.#corruption.start();
    await this.#ready;
    if (this.isRemoved) return;
    this.#open((traffic) => traffic !== "peer");
    this.#log.info("ready to serve client requests");
    for (const url of this.#config.listenClientUrls) {
      const traffic = this.#config.listenClientHttpUrls.length === 0 ? "grpc+http" : "grpc";
      if (isTls(url)) this.#log.info("serving client traffic securely", { traffic, address: url.text });
      else {
        const message = "serving client traffic insecurely; this is strongly discouraged!";
        this.#log.info(message, { traffic, address: url.text });
      }
    }
  }

  /** Rejects if this member's keys are not those of the others. */
  #checkBeforeServing(): Promise<void> {
    return new Promise((resolve, reject) => {
      checkBeforeServing(this.#member, this.#askHash, this.#log.for("corruption"), (problem) => {
        if (problem === null) resolve();
        else reject(problem);
      });
    });
  }

  #open(isMeant: (traffic: Traffic) => boolean): void {
    for (const { traffic, listener } of this.#bound) if (isMeant(traffic)) listener.open(this.#handlers[traffic]);
  }

  /** Resolves when everything acknowledged is where the next start finds it. */
  async stop(): Promise<void> {
    this.#corruption.stop();
    for (const { traffic, listener } of this.#bound) if (traffic !== "peer") listener.stop();
    await Promise.all([
      new Promise<void>((resolve) => this.#rpc.drain(DRAIN_MS, resolve)),
      new Promise<void>((resolve) => this.#member.prepareStop(HAND_OVER_MS, resolve)),
    ]);
    for (const { listener } of this.#bound) listener.destroyAll();
    this.#passwords.stop();
    await new Promise<void>((resolve, reject) => {
      this.#member.stop((error) => (error === null ? resolve() : reject(error)));
    });
    for (const lock of this.#locks) lock.release();
    this.#log.info("closed etcd server", { name: this.#config.name, "data-dir": this.#config.dataDirectory });
  }

  #makeHandlers(endpoints: Endpoints): Record<Traffic, ListenerHandlers> {
    const grpc = (socket: Socket, received: Buffer): void => {
      const isTls = "encrypted" in socket;
      const isNamed = isTls && this.#config.tls.usesCommonNames;
      this.#rpc.accept(socket, received, {
        isTcp: !isTls,
        ...(isNamed ? { commonName: () => nameOfClient(socket as TLSSocket) } : {}),
      });
    };
    const http =
      (metricsOnly: boolean) =>
      (request: HttpRequest, respond: (response: HttpResponse) => void): void =>
        endpoints.handle(request, metricsOnly, respond);
    const refuseHttp = (_request: HttpRequest, respond: (response: HttpResponse) => void): void =>
      respond(text(404, "404 page not found\n"));
    const hasOwnHttp = this.#config.listenClientHttpUrls.length > 0;
    return {
      client: { grpc, http: hasOwnHttp ? refuseHttp : http(false) },
      http: { http: http(false) },
      metrics: { http: http(true) },
      peer: { raw: (request, response) => this.#transport.handle(request, response) },
    };
  }
}

/** Certificates and what they are held to, of the client port and of the peer port. */
interface Tls {
  readonly client: Credentials;
  readonly peer: Credentials;
}

/** Throws what the files are refused for. */
function openTls(config: Config, world: World, log: Log): Tls {
  const { clock } = world;
  const open = (tls: TlsConfig): Credentials => {
    ensureSelfSigned(tls, { makePrivate: (directory) => makePrivate(directory, world), clock, log });
    return new Credentials(tls, clock, log);
  };
  return { client: open(config.tls), peer: open(config.peerTls) };
}

/** URLs of one address share a listener, which tells protocols apart by their first bytes. */
function makeListeners(config: Config, tls: Tls, clock: Clock, log: ZapLog): Bound[] {
  const urls: Record<Traffic, readonly ServiceUrl[]> = {
    client: config.listenClientUrls,
    http: config.listenClientHttpUrls,
    metrics: config.listenMetricsUrls,
    peer: config.listenPeerUrls,
  };
  const listenerLog = log.for("http/listener");
  return (Object.keys(urls) as Traffic[]).flatMap((traffic) => {
    const endpoint = traffic === "peer" ? "peer" : "client";
    const acceptor = new TlsAcceptor(tls[endpoint], {
      endpoint,
      protocols: traffic === "client" ? ["h2", "http/1.1"] : ["http/1.1"],
      handshakeMs: DECIDE_MS,
      clock,
      log: listenerLog,
    });
    return byAddress(urls[traffic]).map((group) => ({
      traffic,
      listener: new Listener(group, acceptor, listenerLog, { endpoint }),
    }));
  });
}

/** Whom the certificate names that a client had to show; null if nobody. */
function nameOfClient(socket: TLSSocket): string | null {
  const leaf = socket.getPeerX509Certificate();
  return leaf === undefined ? null : commonNameOf(leaf.raw) || null;
}

function electionMs(config: Config): number {
  return config.electionTicks * config.heartbeatMs;
}

/** URLs grouped by the address they are bound to, so that http and https may name the same one. */
function byAddress(urls: readonly ServiceUrl[]): ServiceUrl[][] {
  const groups = new Map<string, ServiceUrl[]>();
  for (const url of urls) {
    const address = url.path === "" ? `${url.host}:${url.port}` : url.path;
    const group = groups.get(address);
    if (group === undefined) groups.set(address, [url]);
    else group.push(url);
  }
  return [...groups.values()];
}

/** etcd's flags mean "never" by 0. */
function orNever(durationMs: number): number {
  return durationMs === 0 ? Number.POSITIVE_INFINITY : durationMs;
}

function logStart(config: Config, log: ZapLog): void {
  log.info("starting an etcd server", {
    "etcd-version": VERSIONS.etcd,
    "quorate-version": VERSIONS.own,
    name: config.name,
    "data-dir": config.dataDirectory,
    "wal-dir": config.walDirectory,
    "heartbeat-interval": `${config.heartbeatMs}ms`,
    "election-timeout": `${config.electionTicks * config.heartbeatMs}ms`,
    "snapshot-count": config.snapshotCount,
    "snapshot-catchup-entries": config.snapshotCatchupEntries,
    "listen-peer-urls": config.listenPeerUrls.map((url) => url.text),
    "listen-client-urls": config.listenClientUrls.map((url) => url.text),
    "advertise-client-urls": config.advertiseClientUrls,
    "initial-cluster-token": config.initialClusterToken,
    "quota-backend-bytes": config.quotaBytesConfigured,
    "max-request-bytes": config.maxRequestBytes,
  });
}
