/**
 * What goes between members, under etcd's names and labels (surface-metrics.md of the reference, §3). Counted by the parts
 * of peers/, each of which keeps the series it counts in.
 *
 *   of(member) .......... what we send it, whether it is connected, how far away it is
 *   from(sender) ........ what comes from it; senders are whoever says so, members or not
 *
 * A family has at most SERIES_MAX series by sender or receiver, the rest are counted together: ids and addresses are the
 * sender's choice.
 */
import { idText } from "@quorate/membership";
import type { NodeId } from "@quorate/raft";
import { type Counter, exponentialBounds, type Gauge, type Histogram, type MetricsRegistry } from "./exposition.ts";

/** Snapshots to, or from, one member. */
export interface SnapshotSeries {
  readonly successes: Counter;
  readonly failures: Counter;
  readonly inFlight: Gauge;
  readonly seconds: Histogram;
}

/** Of a member that we talk to. */
export interface PeerSeries {
  /** 1 or 0. */
  readonly active: Gauge;
  /** It was active and is no more. */
  readonly disconnections: Counter;
  /** Frames, messages and snapshots that a connection has taken, without HTTP's own bytes. */
  readonly sentBytes: Counter;
  readonly sendFailures: Counter;
  readonly roundTripSeconds: Histogram;
  readonly snapshots: SnapshotSeries;
}

/** The sender of a snapshot that was refused before it could say who it is. */
export const UNKNOWN_SNAPSHOT_SENDER = "UNKNOWN_SNAPSHOT_SENDER";

const SERIES_MAX = 256;
const OTHER = "other";
const ROUND_TRIP_BOUNDS = exponentialBounds(0.0001, 2, 16);
const SNAPSHOT_BOUNDS = exponentialBounds(0.1, 2, 10);

export class PeerMetrics {
  readonly #peers: ByLabel<PeerSeries>;
  readonly #receivedBytes: ByLabel<Counter>;
  readonly #receiveFailures: ByLabel<Counter>;
  readonly #receivedSnapshots: ByLabel<SnapshotSeries>;

  constructor(registry: MetricsRegistry, localId: NodeId) {
    const local = idText(localId);
    this.#peers = new ByLabel((id) => peerSeries(registry, local, id));
    this.#receivedBytes = new ByLabel((from) =>
      registry.counter("etcd_network_peer_received_bytes_total", "The total number of bytes received from peers.", {
        From: from,
      }),
    );
    this.#receiveFailures = new ByLabel((from) =>
      registry.counter(
        "etcd_network_peer_received_failures_total",
        "The total number of receive failures from peers.",
        { From: from },
      ),
    );
    this.#receivedSnapshots = new ByLabel((from) => snapshotSeries(registry, "receive", { From: from }));
  }

  of(id: NodeId): PeerSeries {
    return this.#peers.of(idText(id));
  }

  /** Bytes of what came from this member, or from who says it is. */
  receivedBytes(from: NodeId): Counter {
    return this.#receivedBytes.of(idText(from));
  }

  /** Messages that could not be read, by the address they came from: they did not say from whom. */
  receiveFailures(address: string | undefined): Counter {
    return this.#receiveFailures.of(address ?? OTHER);
  }

  /** `from`: an id as text, or UNKNOWN_SNAPSHOT_SENDER. */
  snapshotsFrom(from: string): SnapshotSeries {
    return this.#receivedSnapshots.of(from);
  }
}

/** Series by the value of one label, each made when first asked for. */
class ByLabel<T> {
  readonly #make: (label: string) => T;
  readonly #made = new Map<string, T>();

  constructor(make: (label: string) => T) {
    this.#make = make;
  }

  of(label: string): T {
    const known = this.#made.get(label);
    if (known !== undefined) return known;
    if (label !== OTHER && this.#made.size >= SERIES_MAX) return this.of(OTHER);
    const made = this.#make(label);
    this.#made.set(label, made);
    return made;
  }
}

function peerSeries(registry: MetricsRegistry, local: string, id: string): PeerSeries {
  const connection = { Local: local, Remote: id };
  const to = { To: id };
  return {
    active: registry.gauge("etcd_network_active_peers", "The current number of active peer connections.", connection),
    disconnections: registry.counter(
      "etcd_network_disconnected_peers_total",
      "The total number of disconnected peers.",
      connection,
    ),
    sentBytes: registry.counter("etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers.", to),
    sendFailures: registry.counter(
      "etcd_network_peer_sent_failures_total",
      "The total number of send failures from peers.",
      to,
    ),
    roundTripSeconds: registry.histogram(
      "etcd_network_peer_round_trip_time_seconds",
      "Round-Trip-Time histogram between peers",
      ROUND_TRIP_BOUNDS,
      to,
    ),
    snapshots: snapshotSeries(registry, "send", to),
  };
}

function snapshotSeries(
  registry: MetricsRegistry,
  direction: "send" | "receive",
  labels: Readonly<Record<string, string>>,
): SnapshotSeries {
  const prefix = `etcd_network_snapshot_${direction}`;
  return {
    successes: registry.counter(`${prefix}_success`, `Total number of successful snapshot ${direction}s`, labels),
    failures: registry.counter(`${prefix}_failures`, `Total number of snapshot ${direction} failures`, labels),
    inFlight: registry.gauge(`${prefix}_inflights_total`, `Total number of inflight snapshot ${direction}s`, labels),
    seconds: registry.histogram(
      `${prefix}_total_duration_seconds`,
      `Total latency distributions of v3 snapshot ${direction}s`,
      SNAPSHOT_BOUNDS,
      labels,
    ),
  };
}
