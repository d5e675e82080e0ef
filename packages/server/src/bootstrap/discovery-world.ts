/** What finding out about a cluster needs of the world: peers that answer, names that resolve, another cluster to meet in. */
import type { Member } from "@quorate/membership";
import type { Clock, Log, Timers } from "@quorate/world";
import type { DiscoveryConfig } from "../config/config.ts";

export interface DiscoveryWorld {
  readonly peers: PeerQueries;
  readonly names: NameService;
  /** A connection to the cluster that v3 discovery meets in. Throws what a bad configuration makes it throw. */
  openRegistry(discovery: DiscoveryConfig): Registry;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

/**
 * Questions to a peer port, one request each, never following a redirect (known failures MB-18). They reject if no good
 * answer came in time.
 */
export interface PeerQueries {
  /** GET /members, and the cluster's id from the header of the answer. */
  members(url: string, timeoutMs: number): Promise<{ readonly clusterId: bigint; readonly members: readonly Member[] }>;
  /** GET /version: as the server says it, also "not_decided". */
  version(url: string, timeoutMs: number): Promise<{ readonly server: string; readonly cluster: string }>;
  /** GET /downgrade/enabled. */
  downgradeEnabled(url: string, timeoutMs: number): Promise<boolean>;
}

export interface NameService {
  /** SRV records of "_service._tcp.domain". Rejects if there are none. */
  services(name: string): Promise<readonly ServiceRecord[]>;
  /** IP addresses of a host, at least one. Rejects if there are none. */
  addresses(host: string): Promise<readonly string[]>;
}

export interface ServiceRecord {
  /** With or without the dot at its end. */
  readonly target: string;
  readonly port: number;
}

/** The keys of another cluster, as much as discovery uses of them. Calls reject when the cluster does not answer. */
export interface Registry {
  /** The row of a key, or all rows of [key, rangeEnd). */
  range(key: string, rangeEnd?: string): Promise<RegistryView>;
  put(key: string, value: string): Promise<void>;
  /** Puts into [key, rangeEnd) from a revision on. */
  watch(key: string, rangeEnd: string, fromRevision: number): RegistryWatch;
  close(): void;
}

export interface RegistryRow {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
}

export interface RegistryView {
  readonly revision: number;
  readonly rows: readonly RegistryRow[];
}

export interface RegistryWatch {
  /** The next rows put, at least one. Rejects when the watch has broken. */
  next(): Promise<readonly RegistryRow[]>;
  cancel(): void;
}

export function sleep(timers: Timers, delayMs: number): Promise<void> {
  return new Promise((resolve) => timers.after(delayMs, resolve));
}
