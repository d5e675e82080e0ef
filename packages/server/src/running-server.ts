/**
 * A member on its sockets: binds them, opens the data directory, starts the member, serves, and stops all of it in order.
 *
 *   start   addresses, keys of tokens ─▶ directory, locks ─▶ parts ─▶ member elects itself and publishes ─▶ "ready to serve"
 *   stop    listeners close ─▶ calls drain ─▶ waiters fail ─▶ flush, mark, checkpoint ─▶ locks released
 *
 * Addresses are bound first, so that a port in use is known before anything is written, but connections wait until the
 * member is ready.
 */
import type { Socket } from "node:net";
import type { Tokens } from "@quorate/auth";
import { RpcServer } from "@quorate/rpc";
import { tokensOf } from "./auth/configured-tokens.ts";
import { type Passwords, passwordsOf } from "./auth/passwords.ts";
import type { Config } from "./config/config.ts";
import { isTls, type ServiceUrl } from "./config/urls.ts";
import { Endpoints, type HttpRequest, type HttpResponse, text } from "./http/endpoints.ts";
import { Listener, type ListenerHandlers } from "./http/listener.ts";
import type { ZapLog } from "./log/zap-log.ts";
import { type OpenedMember, openDataDirectory, snapshotDirectoryOf } from "./member/data-directory.ts";
import { Member } from "./member/member.ts";
import { memberOptionsOf } from "./member/member-options.ts";
import { conditionOf } from "./member-condition.ts";
import { ServerMetrics } from "./metrics/server-metrics.ts";
import { askVersionsOf, discover, leaderLinkOf } from "./outward.ts";
import { checkDialler } from "./peers/peer-certificates.ts";
import { PeerClient } from "./peers/peer-client.ts";
import type { PeerNetwork, PeerNetworkOwner } from "./peers/peer-network.ts";
import { PeerTransport } from "./peers/transport.ts";
import { allMethods } from "./services/all.ts";
import { peerRequestsOf } from "./services/peer-requests.ts";
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
  #transport: PeerTransport = null as never;
  readonly #rpc: RpcServer;
  readonly #bound: readonly Bound[];
  readonly #handlers: Readonly<Record<Traffic, ListenerHandlers>>;

  /** Resolves when clients may come. Rejects with what refused the start. */
  static async start(config: Config, log: ZapLog): Promise<RunningServer> {
    const world = {
      disk: new NodeDisk(),
      clock: new MachineClock(),
      timers: new MachineTimers(),
      random: new MachineRandom(),
      log: log.for("member"),
      raftLog: log.for("raft/raft.ts", "raft"),
    };
    logStart(config, log);
    const bound = makeListeners(config, log);
    const client = new PeerClient({ tls: config.peerTls, electionTimeoutMs: electionMs(config), timers: world.timers });
    let locks: readonly DirectoryLock[] = [];
    try {
      for (const { listener } of bound) await listener.listen();
      const tokens = await tokensOf(config, { ...world, log: log.for("auth/tokens") });
      const opened = await openDataDirectory(config, world, () => discover(config, world, client));
      locks = opened.locks;
      const server = new RunningServer(config, log, world, opened, bound, client, tokens);
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
    world: Parameters<typeof openDataDirectory>[1],
    { parts, locks }: OpenedMember,
    bound: readonly Bound[],
    client: PeerClient,
    tokens: Tokens,
  ) {
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
        tls: config.peerTls,
        snapshotDirectory: snapshotDirectoryOf(config),
      });
      return this.#transport;
    };
    const outward = { network, askVersions: askVersionsOf(client) };
    this.#passwords = passwordsOf(config, { timers: world.timers, log: log.for("auth/passwords") });
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
      observer: metrics.observer,
      // A client whose TLS handshake settled on HTTP/2 asks for /health over that.
      plainHandler: ({ method, path, authority, origin, scheme }, answer) =>
        endpoints.handle({ method, target: path, host: authority, origin, isTls: scheme === "https" }, false, answer),
    });
    metrics.watch(this.#member, this.#rpc);
    this.#handlers = this.#makeHandlers(endpoints);
  }

  async #serve(): Promise<void> {
    // The other members are needed to become ready at all; clients come afterwards.
    this.#open((traffic) => traffic === "peer");
    this.#member.start();
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

  #open(isMeant: (traffic: Traffic) => boolean): void {
    for (const { traffic, listener } of this.#bound) if (isMeant(traffic)) listener.open(this.#handlers[traffic]);
  }

  /** Resolves when everything acknowledged is where the next start finds it. */
  async stop(): Promise<void> {
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
      this.#rpc.accept(socket, received, { isTcp: !("encrypted" in socket) });
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

/** URLs of one address share a listener, which tells protocols apart by their first bytes. */
function makeListeners(config: Config, log: ZapLog): Bound[] {
  const urls: Record<Traffic, readonly ServiceUrl[]> = {
    client: config.listenClientUrls,
    http: config.listenClientHttpUrls,
    metrics: config.listenMetricsUrls,
    peer: config.listenPeerUrls,
  };
  return (Object.keys(urls) as Traffic[]).flatMap((traffic) =>
    byAddress(urls[traffic]).map((group) => ({
      traffic,
      listener:
        traffic === "peer"
          ? peerListener(group, config, log)
          : new Listener(group, config.tls, log.for("http/listener")),
    })),
  );
}

function peerListener(urls: readonly ServiceUrl[], config: Config, log: ZapLog): Listener {
  const { peerTls } = config;
  return new Listener(urls, peerTls, log.for("http/listener"), {
    endpoint: "peer",
    ...(peerTls === null
      ? {}
      : {
          checkDialler: (secure, done) => {
            const resolver = process.getBuiltinModule("node:dns/promises");
            checkDialler(peerTls, secure, resolver, done);
          },
        }),
  });
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
