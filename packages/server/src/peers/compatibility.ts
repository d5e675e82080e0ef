/**
 * Who a request between members says it is, and whether the two may talk: etcd's headers and the order in which it looks
 * at them (raft-and-peers.md §4.1, §4.2). A version that is no version ends a Go member; here it is an incompatible one.
 */
import type { IncomingHttpHeaders } from "node:http";
import { idText } from "@quorate/membership";
import type { Log } from "@quorate/world";

export interface LocalIdentity {
  readonly memberId: bigint;
  readonly clusterId: bigint;
  /** `a.b.c`; Go members panic at anything else. */
  readonly serverVersion: string;
  readonly minClusterVersion: string;
  /** As advertised. */
  readonly peerUrls: readonly string[];
}

export type Incompatibility = "incompatible version" | "cluster ID mismatch";

/** A version that is absent is one from before there was the header. */
const OLDEST_VERSION = "2.0.0";

export function requestHeaders(local: LocalIdentity): Record<string, string> {
  return {
    "X-Server-From": idText(local.memberId),
    "X-Server-Version": local.serverVersion,
    "X-Min-Cluster-Version": local.minClusterVersion,
    "X-Etcd-Cluster-ID": idText(local.clusterId),
    "X-PeerURLs": local.peerUrls.join(","),
  };
}

/** null: they may talk. Logs what did not fit. */
export function incompatibilityOf(
  local: LocalIdentity,
  headers: IncomingHttpHeaders,
  log: Log,
): Incompatibility | null {
  const server = headerOf(headers, "x-server-version") || OLDEST_VERSION;
  const minCluster = headerOf(headers, "x-min-cluster-version") || OLDEST_VERSION;
  const clusterId = headerOf(headers, "x-etcd-cluster-id");
  const fields = {
    "local-member-id": idText(local.memberId),
    "local-member-cluster-id": idText(local.clusterId),
    "local-member-server-version": local.serverVersion,
    "local-member-server-minimum-cluster-version": local.minClusterVersion,
    "remote-peer-server-name": headerOf(headers, "x-server-from"),
    "remote-peer-server-version": server,
    "remote-peer-server-minimum-cluster-version": minCluster,
  };
  if (
    !(minorOf(server) >= minorOf(local.minClusterVersion)) ||
    !(minorOf(minCluster) <= minorOf(local.serverVersion))
  ) {
    log.warn("failed version compatibility check", { ...fields, error: "incompatible version" });
    return "incompatible version";
  }
  if (clusterId !== idText(local.clusterId)) {
    log.warn("request cluster ID mismatch", { ...fields, "remote-peer-cluster-id": clusterId });
    return "cluster ID mismatch";
  }
  return null;
}

/** Whether what answers our dial can serve streams, which all but the first etcd can. */
export function servesStreams(headers: IncomingHttpHeaders): boolean {
  return minorOf(headerOf(headers, "x-server-version") || OLDEST_VERSION) >= minorOf("2.1.0");
}

/** The first value of a header, "" if it is absent. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  return (Array.isArray(value) ? value[0] : value) ?? "";
}

/** null: not an id. Go reads hex of either case, padded or not. */
export function idOf(hex: string): bigint | null {
  if (!/^0*[0-9a-fA-F]{1,16}$/.test(hex)) return null;
  return BigInt(`0x${hex}`);
}

/** Major and minor as one number that compares; NaN for what is no version, which compares with nothing. */
function minorOf(version: string): number {
  const parts = /^(\d{1,6})\.(\d{1,6})\.\d{1,6}(?:[-+].*)?$/.exec(version);
  return parts === null ? Number.NaN : Number(parts[1]) * 1_000_000 + Number(parts[2]);
}
