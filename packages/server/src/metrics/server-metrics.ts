/**
 * The metrics of a member, under etcd's names, types and labels, so that its dashboards and alerts read ours
 * (surface-metrics.md of the reference). Only what is measured here is exposed: a series that could only ever be zero
 * would be a lie to an alert.
 *
 * What is counted per call is a field in an object found by one Map lookup; everything the rooms keep themselves is read
 * at the scrape.
 */
import { readdirSync, readFileSync } from "node:fs";
import { AlarmType, methods, StatusCode } from "@quorate/api";
import { idText } from "@quorate/membership";
import { NO_NODE, type NodeId } from "@quorate/raft";
import type { ObservedCall, RpcObserver, RpcServer } from "@quorate/rpc";
import type { Clock, Log } from "@quorate/world";
import { formatDuration } from "../config/duration.ts";
import type { Member } from "../member/member.ts";
import { remoteOf } from "../remote-address.ts";
import { VERSIONS } from "../versions.ts";
import { type Counter, exponentialBounds, type Histogram, MetricsRegistry } from "./exposition.ts";
import { PeerMetrics } from "./peer-metrics.ts";

const DISK_BOUNDS = exponentialBounds(0.001, 2, 14);
const CALL_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const CODE_NAMES = Object.entries(StatusCode)
  .sort((a, b) => a[1] - b[1])
  .map(([name]) => (name === "Ok" ? "OK" : name));

/** The counters of one method; `handled` by status code. */
interface MethodCounters {
  readonly started: Counter;
  readonly received: Counter;
  readonly sent: Counter;
  readonly handled: readonly Counter[];
  readonly seconds: Histogram | null;
  readonly isUnary: boolean;
}

export class ServerMetrics {
  readonly observer: RpcObserver;
  readonly #registry = new MetricsRegistry();
  readonly #byPath = new Map<string, MethodCounters>();
  readonly #checks = new Map<string, { readonly ok: Counter; readonly failed: Counter }>();
  readonly #clusterVersions = new Set<string>();
  #member: Member | null = null;
  readonly #closed = new Map<string, Counter>();

  /** Calls that take longer than `slowRequestMs` are logged. */
  constructor(isExtensive: boolean, slowRequestMs: number, clock: Clock, log: Log) {
    const registry = this.#registry;
    for (const method of methods) {
      // etcd makes no zero series for these two either; calls of them are counted nowhere.
      if (method.path.startsWith("/v3lockpb.") || method.path.startsWith("/v3electionpb.")) continue;
      this.#byPath.set(method.path, countersOf(registry, method.path, method.kind, isExtensive));
    }
    const receivedBytes = registry.counter(
      "etcd_network_client_grpc_received_bytes_total",
      "The total number of bytes received from grpc clients.",
    );
    const sentBytes = registry.counter(
      "etcd_network_client_grpc_sent_bytes_total",
      "The total number of bytes sent to grpc clients.",
    );
    const byPath = this.#byPath;
    this.observer = {
      callStarted(call) {
        byPath.get(call.path)?.started.add();
      },
      callEnded(call, code) {
        const counters = byPath.get(call.path);
        if (counters === undefined) return;
        counters.handled[code]?.add();
        const tookMs = clock.monotonicMs() - call.openedMs;
        counters.seconds?.observe(tookMs / 1000);
        if (!counters.isUnary) return;
        if (tookMs > slowRequestMs) log.warn("request stats", statsOf(call, code, tookMs, clock));
        else if (log.isEnabled("debug")) log.debug("request stats", statsOf(call, code, tookMs, clock));
      },
      messageReceived(path, bytes) {
        byPath.get(path)?.received.add();
        receivedBytes.add(bytes);
      },
      messageSent(path, bytes) {
        byPath.get(path)?.sent.add();
        sentBytes.add(bytes);
      },
      connectionClosed: (reason) => this.#connectionClosed(reason),
    };
  }

  /** Adds everything read from the member. Once. */
  watch(member: Member, rpc: RpcServer): void {
    this.#member = member;
    this.#watchServer(member);
    this.#watchStorage(member);
    this.#watchStore(member);
    const registry = this.#registry;
    registry.sampled("gauge", "quorate_rpc_connections", "Client connections.", () => rpc.connectionCount);
    registry.sampled("gauge", "quorate_rpc_streams", "Open streams of all clients.", () => rpc.streamCount);
    watchProcess(registry);
  }

  /** A health check has finished. */
  checked(kind: "health" | "livez" | "readyz", name: string, isOk: boolean): void {
    const key = `${kind}/${name}`;
    let counters = this.#checks.get(key);
    if (counters === undefined) {
      counters = this.#checkCounters(kind, name);
      this.#checks.set(key, counters);
    }
    (isOk ? counters.ok : counters.failed).add();
  }

  /** The counter of the calls of one type of clients that tell one version. Once for each. */
  clientRequests(type: "unary" | "stream", clientApiVersion: string): Counter {
    return this.#registry.counter(
      "etcd_server_client_requests_total",
      "The total number of client requests per client version.",
      { type, client_api_version: clientApiVersion },
    );
  }

  /** Where what goes between members is counted. Once. */
  peers(localId: NodeId): PeerMetrics {
    return new PeerMetrics(this.#registry, localId);
  }

  render(): string {
    this.#seeClusterVersion();
    return this.#registry.render();
  }

  /** Every version the cluster was seen at keeps its line; the one it runs at has 1. */
  #seeClusterVersion(): void {
    const member = this.#member;
    const version = member?.membership.clusterVersion ?? null;
    if (member === null || version === null || this.#clusterVersions.has(version)) return;
    this.#clusterVersions.add(version);
    this.#registry.sampled(
      "gauge",
      "etcd_cluster_version",
      "Which version is running. 1 for 'cluster_version' label with current cluster version",
      () => (member.membership.clusterVersion === version ? 1 : 0),
      { cluster_version: version.replace(/\.0$/, "") },
    );
  }

  #checkCounters(kind: "health" | "livez" | "readyz", name: string): { ok: Counter; failed: Counter } {
    const registry = this.#registry;
    if (kind === "health") {
      return {
        ok: registry.counter("etcd_server_health_success", "The total number of successful health checks"),
        failed: registry.counter("etcd_server_health_failures", "The total number of failed health checks"),
      };
    }
    const help = "The total number of health checks.";
    return {
      ok: registry.counter("etcd_server_healthchecks_total", help, { type: kind, name, status: "success" }),
      failed: registry.counter("etcd_server_healthchecks_total", help, { type: kind, name, status: "error" }),
    };
  }

  #connectionClosed(reason: string): void {
    let counter = this.#closed.get(reason);
    if (counter === undefined) {
      counter = this.#registry.counter("quorate_http2_closed_total", "Connections closed, by reason.", { reason });
      this.#closed.set(reason, counter);
    }
    counter.add();
  }

  #watchServer(member: Member): void {
    const registry = this.#registry;
    const gauge = (name: string, help: string, read: () => number): void => registry.sampled("gauge", name, help, read);
    const counter = (name: string, help: string, read: () => number): void =>
      registry.sampled("counter", name, help, read);
    gauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.", () =>
      member.leader === NO_NODE ? 0 : 1,
    );
    gauge("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.", () =>
      member.isLeader ? 1 : 0,
    );
    gauge("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.", () =>
      member.isLearner ? 1 : 0,
    );
    counter(
      "etcd_server_leader_changes_seen_total",
      "The number of leader changes seen.",
      () => member.counters.leaderChanges,
    );
    gauge(
      "etcd_server_proposals_committed_total",
      "The total number of consensus proposals committed.",
      () => member.commitIndex,
    );
    gauge(
      "etcd_server_proposals_applied_total",
      "The total number of consensus proposals applied.",
      () => member.appliedIndex,
    );
    gauge(
      "etcd_server_proposals_pending",
      "The current number of pending proposals to commit.",
      () => member.pendingCount,
    );
    counter(
      "etcd_server_proposals_failed_total",
      "The total number of failed proposals seen.",
      () => member.counters.proposalsFailed,
    );
    counter(
      "etcd_server_slow_apply_total",
      "The total number of slow apply requests.",
      () => member.counters.slowApplies,
    );
    gauge("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.", () => member.quotaBytes);
    registry.sampled(
      "gauge",
      "etcd_server_id",
      "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
      () => 1,
      {
        server_id: idText(member.id),
      },
    );
    registry.sampled(
      "gauge",
      "etcd_server_version",
      "Which version is running. 1 for 'server_version' label with current version.",
      () => 1,
      {
        server_version: VERSIONS.etcd,
      },
    );
    const local = idText(member.id);
    registry.sampledFamily("gauge", "etcd_network_known_peers", "The current number of known peers.", () => [
      ...member.membership.members().map(({ id }) => [{ Local: local, Remote: idText(id) }, 1] as const),
      ...member.membership.removedIds().map((id) => [{ Local: local, Remote: idText(id) }, 0] as const),
    ]);
    for (const [name, type] of Object.entries(AlarmType)) {
      if (type === AlarmType.NONE) continue;
      registry.sampled(
        "gauge",
        "etcd_debugging_server_alarms",
        "Alarms raised.",
        () => (member.alarms.isRaised(type) ? 1 : 0),
        {
          server_id: idText(member.id),
          alarm_type: name,
        },
      );
    }
  }

  #watchStorage(member: Member): void {
    const registry = this.#registry;
    const fsync = registry.histogram(
      "etcd_disk_wal_fsync_duration_seconds",
      "The latency distributions of fsync called by WAL.",
      DISK_BOUNDS,
    );
    const commit = registry.histogram(
      "etcd_disk_backend_commit_duration_seconds",
      "The latency distributions of commit called by backend.",
      DISK_BOUNDS,
    );
    member.counters.onLogSaved = (tookMs) => fsync.observe(tookMs / 1000);
    member.counters.onFlushed = (tookMs) => commit.observe(tookMs / 1000);
    registry.sampled(
      "gauge",
      "etcd_mvcc_db_total_size_in_bytes",
      "Total size of the underlying database physically allocated in bytes.",
      () => member.backend.sizeBytes(),
    );
    registry.sampled(
      "gauge",
      "etcd_mvcc_db_total_size_in_use_in_bytes",
      "Total size of the underlying database logically in use in bytes.",
      () => member.backend.sizeInUseBytes(),
    );
    registry.sampled(
      "gauge",
      "quorate_unflushed_bytes",
      "Applied state that the database does not have yet; the log has it.",
      () => member.backend.unflushedBytes,
    );
  }

  #watchStore(member: Member): void {
    const registry = this.#registry;
    const gauge = (name: string, help: string, read: () => number): void => registry.sampled("gauge", name, help, read);
    gauge("etcd_debugging_mvcc_keys_total", "Total number of keys.", () => member.store.index.liveKeyCount);
    gauge("etcd_debugging_mvcc_current_revision", "The current revision of store.", () => member.store.revision);
    gauge(
      "etcd_debugging_mvcc_compact_revision",
      "The revision of the last compaction in store.",
      () => member.store.compactRevision,
    );
    gauge("etcd_debugging_auth_revision", "The current revision of auth store.", () => member.auth.revision);
    gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", () => member.hub.watcherCount);
    gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams.", () => member.hub.streamCount);
    gauge(
      "etcd_debugging_mvcc_slow_watcher_total",
      "Total number of unsynced slow watchers.",
      () => member.hub.slowWatcherCount,
    );
    registry.sampled(
      "counter",
      "etcd_debugging_mvcc_events_total",
      "Total number of events sent by this member.",
      () => member.counters.watchEvents,
    );
    registry.sampled(
      "counter",
      "etcd_debugging_server_lease_expired_total",
      "The total number of expired leases.",
      () => member.counters.leasesExpired,
    );
    const operations = (name: string, help: string, read: () => number): void =>
      registry.sampled("counter", name, help, read);
    operations("etcd_mvcc_put_total", "Total number of puts seen by this member.", () => member.store.counts.puts);
    operations(
      "etcd_mvcc_delete_total",
      "Total number of deletes seen by this member.",
      () => member.store.counts.deletes,
    );
    operations(
      "etcd_mvcc_range_total",
      "Total number of ranges seen by this member.",
      () => member.store.counts.ranges,
    );
    operations("etcd_mvcc_txn_total", "Total number of txns seen by this member.", () => member.store.counts.txns);
    gauge("quorate_leases", "Leases granted and not revoked.", () => member.lessor.count);
  }
}

/** What etcd tells of a call, but for what was in it: keys and secrets stay out of the log. */
function statsOf(call: ObservedCall, code: number, tookMs: number, clock: Clock): Record<string, unknown> {
  return {
    "start time": new Date(clock.wallMs() - tookMs).toISOString(),
    "time spent": formatDuration(tookMs),
    remote: remoteOf(call.connection),
    "response type": call.path,
    "request size": call.receivedBytes,
    "response size": call.sentBytes,
    code: CODE_NAMES[code],
  };
}

function countersOf(registry: MetricsRegistry, path: string, kind: string, isExtensive: boolean): MethodCounters {
  const [, service, method] = path.split("/");
  const type = kind === "bidi" ? "bidi_stream" : kind === "serverStream" ? "server_stream" : "unary";
  const labels = { grpc_type: type, grpc_service: service!, grpc_method: method! };
  return {
    started: registry.counter("grpc_server_started_total", "Total number of RPCs started on the server.", labels),
    received: registry.counter(
      "grpc_server_msg_received_total",
      "Total number of RPC stream messages received on the server.",
      labels,
    ),
    sent: registry.counter(
      "grpc_server_msg_sent_total",
      "Total number of gRPC stream messages sent by the server.",
      labels,
    ),
    handled: CODE_NAMES.map((grpc_code) =>
      registry.counter(
        "grpc_server_handled_total",
        "Total number of RPCs completed on the server, regardless of success or failure.",
        {
          ...labels,
          grpc_code,
        },
      ),
    ),
    seconds: isExtensive
      ? registry.histogram(
          "grpc_server_handling_seconds",
          "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
          CALL_BOUNDS,
          labels,
        )
      : null,
    isUnary: kind === "unary",
  };
}

/** The process_* series every Prometheus client exposes on Linux. */
function watchProcess(registry: MetricsRegistry): void {
  const startSeconds = Date.now() / 1000 - process.uptime();
  registry.sampled("counter", "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  registry.sampled("gauge", "process_resident_memory_bytes", "Resident memory size in bytes.", () =>
    process.memoryUsage.rss(),
  );
  registry.sampled(
    "gauge",
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
    () => startSeconds,
  );
  registry.sampled("gauge", "process_open_fds", "Number of open file descriptors.", () => count("/proc/self/fd"));
  registry.sampled("gauge", "process_max_fds", "Maximum number of open file descriptors.", maxDescriptors);
}

function count(directory: string): number {
  try {
    return readdirSync(directory).length;
  } catch {
    return Number.NaN;
  }
}

function maxDescriptors(): number {
  try {
    return Number(/Max open files\s+(\d+)/.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? Number.NaN);
  } catch {
    return Number.NaN;
  }
}
