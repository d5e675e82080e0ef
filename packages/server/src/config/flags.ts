/**
 * Every flag of etcd v3.7's server, and the few that are ours: name, kind, default, where a configuration file keeps it, and whether this server
 * does what it asks. The table is the only list: the command line, ETCD_* variables, the file reader and `--help` are
 * derived from it.
 */
export type FlagKind = "string" | "boolean" | "integer" | "unsigned" | "duration" | "urls" | "list";

/**
 * - `built`: does what etcd's does, or what its help says if it is ours.
 * - `inert`: accepted for compatibility; nothing here for it to change (a bbolt detail, a deprecated switch).
 * - `later`: refused with a clear message unless it has its default, so that nobody relies on what is not there.
 */
export type FlagSupport = "built" | "inert" | "later";

export interface Flag {
  readonly name: string;
  readonly kind: FlagKind;
  /** In command-line syntax. */
  readonly default: string;
  readonly support: FlagSupport;
  /** Dotted path in a configuration file; null: has no key there. */
  readonly fileKey: string | null;
  readonly help: string;
}

function flag(
  name: string,
  kind: FlagKind,
  defaultText: string,
  support: FlagSupport,
  help: string,
  fileKey: string | null = name,
): Flag {
  return { name, kind, default: defaultText, support, fileKey, help };
}

const clientTls = (key: string): string => `client-transport-security.${key}`;
const peerTls = (key: string): string => `peer-transport-security.${key}`;
const discovery = (key: string): string => `discovery-config.${key}`;

export const FLAGS: readonly Flag[] = [
  // Member
  flag("name", "string", "default", "built", "Human-readable name for this member."),
  flag("data-dir", "string", "", "built", "Path to the data directory; <name>.etcd if empty."),
  flag("wal-dir", "string", "", "built", "Path to a dedicated directory for the log."),
  flag("snapshot-count", "unsigned", "10000", "built", "Applied entries after which the log is cut behind state."),
  flag("snapshot-catchup-entries", "unsigned", "5000", "built", "Entries kept for slow followers after a cut."),
  flag("heartbeat-interval", "unsigned", "100", "built", "Milliseconds between heartbeats."),
  flag("election-timeout", "unsigned", "1000", "built", "Milliseconds without a leader before an election."),
  flag("initial-election-tick-advance", "boolean", "true", "built", "Fast-forward the first election timer."),
  flag("listen-peer-urls", "urls", "http://localhost:2380", "built", "URLs to listen on for peers."),
  flag("listen-client-urls", "urls", "http://localhost:2379", "built", "URLs to listen on for clients."),
  flag("listen-client-http-urls", "urls", "", "built", "URLs to serve plain HTTP on, apart from gRPC."),
  flag("listen-metrics-urls", "urls", "", "built", "Extra URLs for metrics and health."),
  flag("max-snapshots", "unsigned", "5", "inert", "Deprecated: snapshot files to keep."),
  flag("max-wals", "unsigned", "5", "inert", "Log files to keep; ours are recycled."),
  flag("memory-mlock", "boolean", "false", "later", "Lock the database in memory."),
  flag("quota-backend-bytes", "integer", "0", "built", "Database size limit in bytes; 0: 2 GiB, negative: none."),
  // Ours.
  flag("auto-disarm-nospace", "boolean", "true", "built", "End the alarm NOSPACE by itself when space was freed."),
  flag("backend-bbolt-freelist-type", "string", "map", "inert", "A bbolt detail."),
  flag("backend-batch-interval", "duration", "0s", "built", "Longest time before applied state is flushed; 0: 100ms."),
  flag("backend-batch-limit", "integer", "0", "built", "Most operations before applied state is flushed; 0: 10000."),
  flag("max-txn-ops", "unsigned", "128", "built", "Most operations in a transaction."),
  flag("max-request-bytes", "unsigned", "1572864", "built", "Most bytes in a client request."),
  flag("max-concurrent-streams", "unsigned", "4294967295", "built", "Most HTTP/2 streams a connection may have open."),
  flag("grpc-keepalive-min-time", "duration", "5s", "built", "Least time between pings of a client."),
  flag("grpc-keepalive-interval", "duration", "2h0m0s", "built", "Idle time before the server pings; 0: never."),
  flag("grpc-keepalive-timeout", "duration", "20s", "built", "Time for a ping's answer; 0: never ping."),
  flag("socket-reuse-port", "boolean", "false", "later", "SO_REUSEPORT on listeners.", "socket-options.reuse-port"),
  flag(
    "socket-reuse-address",
    "boolean",
    "false",
    "inert",
    "SO_REUSEADDR; Node always sets it.",
    "socket-options.reuse-address",
  ),
  flag("enable-grpc-gateway", "boolean", "true", "inert", "JSON gateway (not served yet either way)."),
  flag("raft-read-timeout", "duration", "5s", "built", "Read timeout of peer connections.", null),
  flag("raft-write-timeout", "duration", "5s", "built", "Write timeout of peer connections.", null),
  flag("feature-gates", "string", "", "built", "Feature gates, A=true,B=false."),
  // Clustering
  flag("initial-advertise-peer-urls", "urls", "http://localhost:2380", "built", "Peer URLs told to the cluster."),
  flag("initial-cluster", "string", "", "built", "Members of a new cluster: name=url,name2=url2."),
  flag("initial-cluster-state", "string", "new", "built", "new or existing."),
  flag("initial-cluster-token", "string", "etcd-cluster", "built", "Mixed into member ids."),
  flag("advertise-client-urls", "urls", "http://localhost:2379", "built", "Client URLs told to the cluster."),
  flag("discovery-token", "string", "", "built", "Names the cluster in v3 discovery.", discovery("token")),
  flag(
    "discovery-endpoints",
    "list",
    "",
    "built",
    "Endpoints of another cluster, for v3 discovery.",
    discovery("client.endpoints"),
  ),
  flag(
    "discovery-dial-timeout",
    "duration",
    "2s",
    "built",
    "Time to connect to a discovery endpoint.",
    discovery("client.dial-timeout"),
  ),
  flag(
    "discovery-request-timeout",
    "duration",
    "5s",
    "built",
    "Time for an answer of v3 discovery.",
    discovery("client.request-timeout"),
  ),
  flag(
    "discovery-keepalive-time",
    "duration",
    "2s",
    "built",
    "Idle time before a discovery endpoint is pinged.",
    discovery("client.keepalive-time"),
  ),
  flag(
    "discovery-keepalive-timeout",
    "duration",
    "6s",
    "built",
    "Time for the answer to such a ping.",
    discovery("client.keepalive-timeout"),
  ),
  flag(
    "discovery-insecure-transport",
    "boolean",
    "true",
    "built",
    "No TLS to endpoints without a scheme.",
    discovery("client.secure.insecure-transport"),
  ),
  flag(
    "discovery-insecure-skip-tls-verify",
    "boolean",
    "false",
    "built",
    "Accept any certificate of an endpoint.",
    discovery("client.secure.insecure-skip-tls-verify"),
  ),
  flag(
    "discovery-cert",
    "string",
    "",
    "built",
    "Certificate shown to discovery endpoints.",
    discovery("client.secure.cert"),
  ),
  flag("discovery-key", "string", "", "built", "Its key.", discovery("client.secure.key")),
  flag("discovery-cacert", "string", "", "built", "CA of discovery endpoints.", discovery("client.secure.cacert")),
  flag("discovery-user", "string", "", "built", "User of the discovery cluster.", discovery("client.auth.username")),
  flag("discovery-password", "string", "", "built", "Its password.", discovery("client.auth.password")),
  flag("discovery-fallback", "string", "exit", "built", "Only exit.", null),
  flag("discovery-srv", "string", "", "built", "DNS domain for SRV bootstrap."),
  flag("discovery-srv-name", "string", "", "built", "Suffix of the SRV service name."),
  flag("strict-reconfig-check", "boolean", "true", "built", "Refuse membership changes that risk quorum."),
  flag("pre-vote", "boolean", "true", "built", "Ask before an election whether it could be won."),
  flag("auto-compaction-retention", "string", "0", "built", "What to keep: 10h, 30m, 5 (hours), 1000; 0: all."),
  flag("auto-compaction-mode", "string", "periodic", "built", "periodic (keep a time) or revision (keep a number)."),
  flag("v2-deprecation", "string", "", "inert", "Ignored since 3.6."),
  // Security
  flag("cert-file", "string", "", "built", "TLS certificate of the client port.", clientTls("cert-file")),
  flag("key-file", "string", "", "built", "TLS key of the client port.", clientTls("key-file")),
  flag(
    "client-cert-file",
    "string",
    "",
    "inert",
    "Certificate used when dialling as a client.",
    clientTls("client-cert-file"),
  ),
  flag("client-key-file", "string", "", "inert", "Key used when dialling as a client.", clientTls("client-key-file")),
  flag("client-cert-auth", "boolean", "false", "built", "Require client certificates.", clientTls("client-cert-auth")),
  flag(
    "trusted-ca-file",
    "string",
    "",
    "built",
    "CA of client certificates; alone it makes them mandatory.",
    clientTls("trusted-ca-file"),
  ),
  flag("client-crl-file", "string", "", "built", "Revocation list.", null),
  flag(
    "client-cert-allowed-hostname",
    "list",
    "",
    "built",
    "Names a client certificate must match.",
    clientTls("allowed-hostname"),
  ),
  flag("auto-tls", "boolean", "false", "built", "Self-signed client-port certificate.", clientTls("auto-tls")),
  flag("peer-cert-file", "string", "", "built", "TLS certificate of the peer port.", peerTls("cert-file")),
  flag("peer-key-file", "string", "", "built", "TLS key of the peer port.", peerTls("key-file")),
  flag(
    "peer-client-cert-file",
    "string",
    "",
    "built",
    "Certificate used when dialling peers.",
    peerTls("client-cert-file"),
  ),
  flag("peer-client-key-file", "string", "", "built", "Key used when dialling peers.", peerTls("client-key-file")),
  flag("peer-client-cert-auth", "boolean", "false", "built", "Require peer certificates.", peerTls("client-cert-auth")),
  flag("peer-trusted-ca-file", "string", "", "built", "CA of peer certificates.", peerTls("trusted-ca-file")),
  flag("peer-auto-tls", "boolean", "false", "built", "Self-signed peer-port certificate.", peerTls("auto-tls")),
  flag("peer-crl-file", "string", "", "built", "Revocation list.", null),
  flag(
    "peer-cert-allowed-cn",
    "list",
    "",
    "built",
    "Common names a peer certificate must have.",
    peerTls("allowed-cn"),
  ),
  flag(
    "peer-cert-allowed-hostname",
    "list",
    "",
    "built",
    "Names a peer certificate must match.",
    peerTls("allowed-hostname"),
  ),
  flag(
    "peer-skip-client-san-verification",
    "boolean",
    "false",
    "built",
    "Accept peer certificates that do not name the address they come from.",
    peerTls("skip-client-san-verification"),
  ),
  flag("self-signed-cert-validity", "unsigned", "1", "built", "Years an auto-tls certificate is valid."),
  flag("cipher-suites", "list", "", "built", "Cipher suites of TLS 1.2, IANA's names."),
  flag("tls-min-version", "string", "TLS1.2", "built", "TLS1.2 or TLS1.3."),
  flag("tls-max-version", "string", "", "built", "TLS1.2, TLS1.3 or empty."),
  flag("cors", "list", "*", "built", "Origins allowed."),
  flag("host-whitelist", "list", "*", "built", "Host names allowed on plain HTTP."),
  // Auth
  flag("auth-token", "string", "simple", "built", "Token kind: simple, jwt,OPTION=VALUE,..., or nothing."),
  flag("bcrypt-cost", "unsigned", "10", "built", "Cost of password hashes, 4 to 31."),
  flag("auth-token-ttl", "unsigned", "300", "built", "Seconds a simple token lives unused."),
  // Profiling, metrics
  flag("enable-pprof", "boolean", "false", "later", "Serve profiles."),
  flag("metrics", "string", "basic", "built", "basic or extensive."),
  flag("enable-distributed-tracing", "boolean", "false", "later", "OTLP tracing."),
  flag("distributed-tracing-address", "string", "localhost:4317", "later", "OTLP tracing."),
  flag("distributed-tracing-service-name", "string", "etcd", "later", "OTLP tracing."),
  flag("distributed-tracing-instance-id", "string", "", "later", "OTLP tracing."),
  flag("distributed-tracing-sampling-rate", "unsigned", "0", "later", "OTLP tracing."),
  // Logging
  flag("logger", "string", "zap", "built", "Only zap's line format."),
  flag("log-outputs", "list", "default", "built", "default, stderr, stdout or file paths."),
  flag("log-level", "string", "info", "built", "debug, info, warn, error, panic or fatal."),
  flag("log-format", "string", "json", "built", "json or console."),
  flag("enable-log-rotation", "boolean", "false", "later", "Rotate the log file."),
  flag(
    "log-rotation-config-json",
    "string",
    '{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}',
    "later",
    "Rotation.",
  ),
  flag("warning-unary-request-duration", "duration", "300ms", "built", "Slower calls are logged."),
  // Features
  flag("corrupt-check-time", "duration", "0s", "built", "Time between corruption checks; 0: off."),
  flag("compact-hash-check-time", "duration", "1m0s", "built", "Time between compaction hash checks."),
  flag(
    "compaction-batch-limit",
    "integer",
    "0",
    "built",
    "Records gone through in one slice of a compaction while little is written; 0: 1000.",
  ),
  flag(
    "compaction-sleep-interval",
    "duration",
    "0s",
    "built",
    "Pause between slices of a compaction while little is written; 0: 10ms.",
  ),
  flag("watch-progress-notify-interval", "duration", "0s", "built", "Time between progress notifications; 0: 10m."),
  flag("warning-apply-duration", "duration", "100ms", "built", "Slower applies are logged."),
  flag(
    "bootstrap-defrag-threshold-megabytes",
    "unsigned",
    "0",
    "built",
    "Defragment at a start that can free so much; 0: never.",
  ),
  flag("max-learners", "integer", "1", "built", "Most learners in the cluster; must be the same everywhere."),
  flag("downgrade-check-time", "duration", "5s", "built", "Time between checks whether a downgrade is done; 0: never."),
  // Unsafe
  flag("force-new-cluster", "boolean", "false", "built", "Keep the data, and make a cluster of this member alone."),
  flag("unsafe-no-fsync", "boolean", "false", "later", "Acknowledge before data is durable."),
  // Meta
  flag("config-file", "string", "", "built", "Read the configuration from this file instead.", null),
  flag("version", "boolean", "false", "built", "Print the version and exit.", null),
];

/** What a configuration file can say and no flag. */
export const FILE_ONLY: readonly Flag[] = [
  flag("client-cert-allowed-cn", "list", "", "built", "Common names of clients.", clientTls("allowed-cn")),
];

export const FLAG_BY_NAME: ReadonlyMap<string, Flag> = new Map(FLAGS.map((each) => [each.name, each]));

/** Flags, and what only a file has. */
export const SETTING_BY_NAME: ReadonlyMap<string, Flag> = new Map(
  [...FLAGS, ...FILE_ONLY].map((each) => [each.name, each]),
);

/** Relics that etcd still swallows without a word, as switches. */
export const IGNORED_FLAGS: ReadonlySet<string> = new Set([
  "cluster-active-size",
  "cluster-remove-delay",
  "cluster-sync-interval",
  "config",
  "force",
  "max-result-buffer",
  "max-retry-attempts",
  "peer-heartbeat-interval",
  "peer-election-timeout",
  "retry-interval",
  "snapshot",
  "v",
  "vv",
  "test.coverprofile",
  "test.outputdir",
]);

/** etcd's name for a flag in the environment. */
export function environmentName(flagName: string): string {
  return `ETCD_${flagName.toUpperCase().replaceAll("-", "_")}`;
}
