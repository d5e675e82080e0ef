/**
 * The server's configuration: one immutable object, decided once at start from the command line, ETCD_* variables or a
 * configuration file, with etcd's names, defaults, refusals and texts. Everything else is handed this object; nobody
 * reads flags or the environment again.
 */

import { type AuthTokenConfig, parseAuthToken } from "./auth-token.ts";
import { type AutoCompaction, InvalidAutoCompaction, parseAutoCompaction } from "./auto-compaction.ts";
import { type ClusterMember, parseClusterMap } from "./cluster-map.ts";
import { ConfigError, isTrue, type Settings } from "./command-line.ts";
import { parseDurationMs } from "./duration.ts";
import { type FeatureGates, featureGatesProblem, InvalidFeatureGate, parseFeatureGates } from "./feature-gates.ts";
import { FLAG_BY_NAME, FLAGS, SETTING_BY_NAME } from "./flags.ts";
import { peerListenProblem, type TlsConfig, tlsOf } from "./tls.ts";
import { advertiseProblem, isTls, listenProblem, parseUrls, type ServiceUrl } from "./urls.ts";

export interface Config {
  readonly name: string;
  readonly dataDirectory: string;
  readonly walDirectory: string;
  readonly snapshotCount: number;
  readonly snapshotCatchupEntries: number;
  readonly heartbeatMs: number;
  readonly electionTicks: number;
  readonly advanceFirstElection: boolean;
  readonly listenPeerUrls: readonly ServiceUrl[];
  readonly listenClientUrls: readonly ServiceUrl[];
  readonly listenClientHttpUrls: readonly ServiceUrl[];
  readonly listenMetricsUrls: readonly ServiceUrl[];
  readonly advertisePeerUrls: readonly string[];
  readonly advertiseClientUrls: readonly string[];
  /** Empty if the members are to be found by DNS or v3 discovery. */
  readonly initialCluster: readonly ClusterMember[];
  readonly initialClusterState: "new" | "existing";
  readonly initialClusterToken: string;
  /** Domain whose SRV records name the members; null: do not ask. */
  readonly discoverySrv: string | null;
  /** Suffix of the service's name in those records; may be empty. */
  readonly discoverySrvName: string;
  /** v3 discovery: members meet in another cluster. */
  readonly discovery: DiscoveryConfig | null;
  /** Forget the other members and go on alone, with the data there is. */
  readonly forceNewCluster: boolean;
  readonly strictReconfigCheck: boolean;
  readonly maxLearners: number;
  /** The leader keeps every lease's remaining time in the log, so that a change of leader does not begin it anew. */
  readonly leaseCheckpoint: boolean;
  /** A lease that is known is renewed without waiting for what is committed and not applied. */
  readonly fastLeaseKeepAlive: boolean;
  readonly raftReadTimeoutMs: number;
  readonly raftWriteTimeoutMs: number;
  readonly preVote: boolean;
  /** As configured: 0 means the default, negative means none. */
  readonly quotaBytesConfigured: number;
  /** The NOSPACE alarm ends when space is freed. */
  readonly autoDisarmNoSpace: boolean;
  readonly flushIntervalMs: number;
  readonly flushOperations: number;
  readonly maxTxnOps: number;
  readonly maxRequestBytes: number;
  readonly maxConcurrentStreams: number;
  readonly keepaliveMinTimeMs: number;
  readonly keepaliveIntervalMs: number;
  readonly keepaliveTimeoutMs: number;
  /** Of the ports for clients, HTTP and metrics. */
  readonly tls: TlsConfig;
  readonly peerTls: TlsConfig;
  readonly authToken: AuthTokenConfig;
  /** As configured: what bcrypt does not take means its default. */
  readonly bcryptCostConfigured: number;
  readonly cors: readonly string[];
  readonly hostWhitelist: readonly string[];
  readonly extensiveMetrics: boolean;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "panic" | "fatal";
  readonly logFormat: "json" | "console";
  readonly logOutputs: readonly string[];
  readonly slowRequestMs: number;
  readonly slowApplyMs: number;
  readonly compactionBatchLimit: number;
  readonly compactionSleepMs: number;
  readonly progressNotifyMs: number;
  /** 0: never. */
  readonly downgradeCheckMs: number;
  readonly autoCompaction: AutoCompaction;
  /** A member that starts compares its keys with the others' before it serves. */
  readonly initialCorruptCheck: boolean;
  /** The database is defragmented at a start that can free so much; 0: never. */
  readonly bootstrapDefragBytes: number;
  /** Between two comparisons of all keys by the leader; 0: never. */
  readonly corruptCheckMs: number;
  /** Between two comparisons of what compactions have left a hash of; 0: never. */
  readonly compactHashCheckMs: number;
}

export type { ClusterMember };

export interface DiscoveryConfig {
  readonly token: string;
  /** As given: with or without a scheme. */
  readonly endpoints: readonly string[];
  readonly dialTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly keepaliveTimeMs: number;
  readonly keepaliveTimeoutMs: number;
  /** Endpoints without a scheme are reached in plain text, unless a certificate or CA is given. */
  readonly insecureTransport: boolean;
  readonly insecureSkipTlsVerify: boolean;
  readonly certFile: string | null;
  readonly keyFile: string | null;
  readonly caFile: string | null;
  readonly user: string | null;
  readonly password: string;
}

/** Smaller heartbeats or elections than these make no sense; larger ones are a typing error (etcd's rules). */
const MAX_ELECTION_MS = 50_000;
/** Peer connections are not given up sooner than this, whatever was asked for. */
const MIN_RAFT_TIMEOUT_MS = 5_000;

/**
 * Throws {@link ConfigError} with etcd's text. `fromFile`: some rules hold only on the command line. `defaultHost` tells
 * the address to advertise for a member that listens on all of them.
 */
export function configOf(settings: Settings, fromFile: boolean, defaultHost: () => string | null = () => null): Config {
  const text = (name: string): string => settings.get(name) ?? SETTING_BY_NAME.get(name)!.default;
  const number = (name: string): number => Number(text(name));
  const truth = (name: string): boolean => isTrue(text(name));
  const duration = (name: string): number => parseDurationMs(text(name))!;
  const orDefault = (value: number, otherwise: number): number => (value > 0 ? value : otherwise);
  const urls = (name: string): ServiceUrl[] => refusing(() => parseUrls(text(name)));
  refuseWhatIsNotBuilt(settings);

  checkUpkeep(text, duration);

  const gates = gatesOf(text("feature-gates"));
  const name = text("name");
  const dataDirectory = text("data-dir") === "" ? `${name}.etcd` : text("data-dir");
  const heartbeatMs = number("heartbeat-interval");
  const electionMs = number("election-timeout");
  checkTiming(heartbeatMs, electionMs);

  const listenPeerUrls = urls("listen-peer-urls");
  const listenClientUrls = urls("listen-client-urls");
  const listenClientHttpUrls = urls("listen-client-http-urls");
  const listenMetricsUrls = urls("listen-metrics-urls");
  for (const url of [...listenPeerUrls, ...listenClientUrls, ...listenClientHttpUrls, ...listenMetricsUrls]) {
    const problem = listenProblem(url);
    if (problem !== null) throw new ConfigError(problem);
  }
  for (const url of listenClientHttpUrls) {
    if (listenClientUrls.some((each) => each.text === url.text)) {
      throw new ConfigError(`same address ${url.text} is used in both listen-client-urls and listen-client-http-urls`);
    }
  }
  if (!fromFile && settings.has("listen-client-urls") && !settings.has("advertise-client-urls")) {
    throw new ConfigError("--advertise-client-urls is required when --listen-client-urls is set explicitly");
  }

  const advertised = {
    peer: urls("initial-advertise-peer-urls"),
    client: urls("advertise-client-urls"),
  };
  checkAdvertised(advertised.peer, advertised.client);
  const advertisePeerUrls = advertisedBy(listenPeerUrls, advertised.peer, "initial-advertise-peer-urls", defaultHost);
  const advertiseClientUrls = advertisedBy(listenClientUrls, advertised.client, "advertise-client-urls", defaultHost);
  const clusterState = text("initial-cluster-state");
  if (clusterState !== "new" && clusterState !== "existing") {
    throw new ConfigError(`unexpected clusterState ${JSON.stringify(clusterState)}`);
  }
  const discovery = discoveryOf(settings, text, truth, duration);
  const initialCluster = initialClusterOf(settings, { name, peerUrls: advertisePeerUrls }, discovery !== null);

  // Only a file can say 0 and mean the default.
  const tlsText = (name: string): string =>
    fromFile && name === "self-signed-cert-validity" && text(name) === "0" ? "1" : text(name);
  const tls = refusing(() => tlsOf("client", tlsText, [...listenClientUrls, ...listenClientHttpUrls]));
  const flags = "(--cert-file, --key-file) must be provided for";
  for (const url of [...listenClientUrls, ...listenClientHttpUrls]) {
    if (isTls(url) && tls.keyPair === null) {
      throw new ConfigError(`TLS key/cert ${flags} client url ${url.text} with HTTPS scheme`);
    }
  }
  if (tls.keyPair === null && listenMetricsUrls.some(isTls)) {
    throw new ConfigError(`client TLS key/cert ${flags} metrics secure url`);
  }
  const peerTls = refusing(() => tlsOf("peer", tlsText, listenPeerUrls));
  for (const url of listenPeerUrls) {
    const problem = peerListenProblem(url, peerTls);
    if (problem !== null) throw new ConfigError(problem);
  }

  if (text("logger") !== "zap") throw new ConfigError(`unknown logger option "${text("logger")}"`);
  const logOutputs = list(text("log-outputs"));
  if (logOutputs.length > 1 && logOutputs.includes("default")) {
    throw new ConfigError(`multi logoutput for "default" is not supported yet`);
  }
  const logFormat = text("log-format");
  if (logFormat !== "json" && logFormat !== "console") throw new ConfigError(`unknown log format "${logFormat}"`);

  return {
    name,
    dataDirectory,
    walDirectory: text("wal-dir") === "" ? `${dataDirectory}/member/wal` : text("wal-dir"),
    snapshotCount: orDefault(number("snapshot-count"), 10_000),
    snapshotCatchupEntries: orDefault(number("snapshot-catchup-entries"), 5_000),
    heartbeatMs,
    electionTicks: Math.floor(electionMs / heartbeatMs),
    advanceFirstElection: truth("initial-election-tick-advance"),
    listenPeerUrls,
    listenClientUrls,
    listenClientHttpUrls,
    listenMetricsUrls,
    advertisePeerUrls,
    advertiseClientUrls,
    initialCluster,
    initialClusterState: clusterState,
    initialClusterToken: text("initial-cluster-token"),
    discoverySrv: text("discovery-srv") === "" ? null : text("discovery-srv"),
    discoverySrvName: text("discovery-srv-name"),
    discovery,
    forceNewCluster: truth("force-new-cluster"),
    strictReconfigCheck: truth("strict-reconfig-check"),
    maxLearners: number("max-learners"),
    leaseCheckpoint: gates.LeaseCheckpoint,
    fastLeaseKeepAlive: gates.FastLeaseKeepAlive,
    raftReadTimeoutMs: Math.max(MIN_RAFT_TIMEOUT_MS, duration("raft-read-timeout")),
    raftWriteTimeoutMs: Math.max(MIN_RAFT_TIMEOUT_MS, duration("raft-write-timeout")),
    preVote: truth("pre-vote"),
    quotaBytesConfigured: number("quota-backend-bytes"),
    autoDisarmNoSpace: truth("auto-disarm-nospace"),
    flushIntervalMs: orDefault(duration("backend-batch-interval"), 100),
    flushOperations: orDefault(number("backend-batch-limit"), 10_000),
    maxTxnOps: number("max-txn-ops"),
    maxRequestBytes: number("max-request-bytes"),
    // 0 is no limit, as in gRPC-Go.
    maxConcurrentStreams: number("max-concurrent-streams") || 2 ** 32 - 1,
    keepaliveMinTimeMs: duration("grpc-keepalive-min-time"),
    keepaliveIntervalMs: duration("grpc-keepalive-interval"),
    keepaliveTimeoutMs: duration("grpc-keepalive-timeout"),
    tls,
    peerTls,
    authToken: refusing(() => parseAuthToken(text("auth-token"), number("auth-token-ttl"))),
    bcryptCostConfigured: number("bcrypt-cost"),
    cors: list(text("cors")),
    hostWhitelist: list(text("host-whitelist")),
    extensiveMetrics: text("metrics") === "extensive",
    logLevel: levelOf(text("log-level")),
    logFormat,
    logOutputs,
    slowRequestMs: duration("warning-unary-request-duration"),
    slowApplyMs: duration("warning-apply-duration"),
    compactionBatchLimit: orDefault(number("compaction-batch-limit"), 1000),
    compactionSleepMs: orDefault(duration("compaction-sleep-interval"), 10),
    bootstrapDefragBytes: number("bootstrap-defrag-threshold-megabytes") * 1024 * 1024,
    initialCorruptCheck: gates.InitialCorruptCheck,
    corruptCheckMs: duration("corrupt-check-time"),
    compactHashCheckMs: gates.CompactHashCheck ? duration("compact-hash-check-time") : 0,
    autoCompaction: autoCompactionOf(text("auto-compaction-mode"), text("auto-compaction-retention")),
    downgradeCheckMs: duration("downgrade-check-time"),
    progressNotifyMs: Math.max(100, orDefault(duration("watch-progress-notify-interval"), 600_000)),
  };
}

/** A flag whose effect does not exist yet may only be given its default: silence would be a lie. */
function refuseWhatIsNotBuilt(settings: Settings): void {
  for (const flag of FLAGS) {
    if (flag.support !== "later") continue;
    const value = settings.get(flag.name);
    if (value !== undefined && value !== flag.default && !(flag.kind === "boolean" && !isTrue(value))) {
      throw new ConfigError(`--${flag.name} is not supported by this version of quorate`);
    }
  }
}

function autoCompactionOf(mode: string, retention: string): AutoCompaction {
  try {
    return parseAutoCompaction(mode, retention);
  } catch (error) {
    if (error instanceof InvalidAutoCompaction) throw new ConfigError(error.message, { cause: error });
    throw error;
  }
}

function gatesOf(text: string): FeatureGates {
  let gates: FeatureGates;
  try {
    gates = parseFeatureGates(text);
  } catch (error) {
    if (error instanceof InvalidFeatureGate) throw new ConfigError(error.message, { cause: error });
    throw error;
  }
  const problem = featureGatesProblem(gates);
  if (problem !== null) throw new ConfigError(problem);
  return gates;
}

/** What etcd refuses, or ends on. */
function checkUpkeep(text: (name: string) => string, duration: (name: string) => number): void {
  if (duration("compact-hash-check-time") <= 0) {
    throw new ConfigError(`--compact-hash-check-time must be >0 (set to ${text("compact-hash-check-time")})`);
  }
  if (duration("corrupt-check-time") < 0) {
    throw new ConfigError(`--corrupt-check-time must be >=0 (set to ${text("corrupt-check-time")})`);
  }
}

function checkTiming(heartbeatMs: number, electionMs: number): void {
  if (heartbeatMs <= 0) throw new ConfigError(`--heartbeat-interval must be >0 (set to ${heartbeatMs}ms)`);
  if (electionMs <= 0) throw new ConfigError(`--election-timeout must be >0 (set to ${electionMs}ms)`);
  if (5 * heartbeatMs > electionMs) {
    throw new ConfigError(
      `--election-timeout[${electionMs}ms] should be at least as 5 times as --heartbeat-interval[${heartbeatMs}ms]`,
    );
  }
  if (electionMs > MAX_ELECTION_MS) {
    throw new ConfigError(
      `--election-timeout[${electionMs}ms] is too long, and should be set less than ${MAX_ELECTION_MS}ms`,
    );
  }
}

/** What `parse` throws is about the configuration. */
function refusing<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new ConfigError((error as Error).message, { cause: error });
  }
}

function checkAdvertised(peer: readonly ServiceUrl[], client: readonly ServiceUrl[]): void {
  const texts = (all: readonly ServiceUrl[]): string => JSON.stringify(all.map((url) => url.text).join(","));
  for (const url of peer) {
    const problem = advertiseProblem(url);
    if (problem === null) continue;
    throw new ConfigError(`--initial-advertise-peer-urls ${texts(peer)} must be "host:port" (${problem})`);
  }
  for (const url of client) {
    const problem = advertiseProblem(url);
    if (problem === null) continue;
    throw new ConfigError(
      `--advertise-client-urls ${texts(client)} must be in the format "host:port", ` +
        `"unix:/path/to/socket" or "unixs:/path/to/socket" (${problem})`,
    );
  }
}

/** The default says "localhost", which nobody else can reach: listening on all addresses means that others should. */
function advertisedBy(
  listen: readonly ServiceUrl[],
  advertised: readonly ServiceUrl[],
  flagName: string,
  defaultHost: () => string | null,
): string[] {
  const [first] = listen;
  const isDefault = advertised.length === 1 && advertised[0]!.text === FLAG_BY_NAME.get(flagName)!.default;
  if (isDefault && first?.host === "0.0.0.0") {
    const host = defaultHost();
    if (host !== null) return [`http://${host}:${first.port}`];
  }
  return advertised.map((url) => url.text);
}

/** What --initial-cluster says, or this member alone; nothing if the members are found another way. */
function initialClusterOf(settings: Settings, alone: ClusterMember, isDiscovered: boolean): readonly ClusterMember[] {
  const given = settings.get("initial-cluster");
  const hasDomain = (settings.get("discovery-srv") ?? "") !== "";
  if ([(given ?? "") !== "", hasDomain, isDiscovered].filter(Boolean).length > 1) {
    throw new ConfigError(
      "multiple discovery or bootstrap flags are set. " +
        'Choose one of "initial-cluster", "discovery-endpoints" or "discovery-srv"',
    );
  }
  if (given !== undefined) {
    try {
      return parseClusterMap(given);
    } catch (error) {
      throw new ConfigError(`error setting up initial cluster: ${(error as Error).message}`, { cause: error });
    }
  }
  const isFoundElsewhere = hasDomain || isDiscovered || (settings.get("discovery-srv-name") ?? "") !== "";
  return isFoundElsewhere ? [] : [alone];
}

function discoveryOf(
  settings: Settings,
  text: (name: string) => string,
  truth: (name: string) => boolean,
  duration: (name: string) => number,
): DiscoveryConfig | null {
  if (text("discovery-fallback") === "proxy") {
    throw new ConfigError(`v2 proxy is deprecated, and --discovery-fallback can't be configured as "proxy"`);
  }
  const endpoints = [...new Set(list(settings.get("discovery-endpoints") ?? ""))];
  const token = text("discovery-token");
  if ((token !== "") !== endpoints.length > 0) {
    throw new ConfigError("both --discovery-token and --discovery-endpoints must be set");
  }
  if (endpoints.includes("")) throw new ConfigError("--discovery-endpoints must not contain empty endpoints");
  if (endpoints.length === 0) return null;
  const orNull = (value: string): string | null => (value === "" ? null : value);
  return {
    token,
    endpoints,
    dialTimeoutMs: duration("discovery-dial-timeout"),
    requestTimeoutMs: duration("discovery-request-timeout"),
    keepaliveTimeMs: duration("discovery-keepalive-time"),
    keepaliveTimeoutMs: duration("discovery-keepalive-timeout"),
    insecureTransport: truth("discovery-insecure-transport"),
    insecureSkipTlsVerify: truth("discovery-insecure-skip-tls-verify"),
    certFile: orNull(text("discovery-cert")),
    keyFile: orNull(text("discovery-key")),
    caFile: orNull(text("discovery-cacert")),
    user: orNull(text("discovery-user")),
    password: text("discovery-password"),
  };
}

function levelOf(text: string): Config["logLevel"] {
  switch (text) {
    case "debug":
    case "info":
    case "warn":
    case "error":
    case "panic":
    case "fatal":
      return text;
    default:
      throw new ConfigError(`unrecognized level: ${JSON.stringify(text)}`);
  }
}

function list(text: string): string[] {
  return text === "" ? [] : text.split(",").map((each) => each.trim());
}
