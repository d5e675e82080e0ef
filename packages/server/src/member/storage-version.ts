/**
 * The version of etcd whose form the database has, kept in the table "meta" under etcd's key and so carried by snapshots. It
 * follows the version the cluster runs at (semantics §9.6): up when all members are newer, down during a downgrade, after
 * which the tools of the older version read our snapshots. From 3.5 to 3.7 nothing else in the tables changes, and our log
 * is read by our own servers alone, so there is nothing that could hold a change back.
 *
 *   none (nothing applied yet) ──▶ 3.5.0 (nothing stored) ──▶ what the cluster runs at
 *
 * It is this member's own, not replicated: whoever calls {@link follow} does so between entries.
 */
import { compareVersions, parseVersion, type Version } from "@quorate/membership";
import type { Backend } from "@quorate/mvcc";
import type { Log } from "@quorate/world";
import { VERSIONS } from "../versions.ts";

const STORAGE_VERSION_KEY: Uint8Array = Buffer.from("storageVersion");
/** Of a database that has applied something and does not say. */
const UNSTATED = "3.5.0";
/** Older forms are not known, neither to us nor to etcd 3.7. */
const OLDEST = parseVersion("3.5.0")!;
const NEWEST = parseVersion(VERSIONS.cluster)!;

export class StorageVersion {
  readonly #backend: Backend;
  #stored: string | null;

  constructor(backend: Backend) {
    this.#backend = backend;
    const stored = backend.storage.get("meta", STORAGE_VERSION_KEY);
    this.#stored = stored === undefined || stored.length === 0 ? null : Buffer.from(stored).toString();
  }

  /** "major.minor.0"; null while nothing has been applied. */
  get text(): string | null {
    return this.#stored ?? (this.#backend.appliedTerm > 0 ? UNSTATED : null);
  }

  /** Whether this server can work with the database at all. */
  get isSupported(): boolean {
    return this.#stored === null || isBetween(parseVersion(this.#stored));
  }

  /** For the operator, of a database that is not supported: what form it has, and what is. */
  get complaint(): string {
    return `the database has the form of version ${this.text}, this server knows those up to ${VERSIONS.cluster}`;
  }

  /** Takes on the cluster's version, if the forms of both are known. True if something is to be flushed. */
  follow(clusterVersion: string, log: Log): boolean {
    const { text } = this;
    const wanted = parseVersion(clusterVersion);
    if (text === null || text === clusterVersion || !isBetween(wanted)) return false;
    const backend = this.#backend;
    this.#stored = clusterVersion;
    backend.put("meta", STORAGE_VERSION_KEY, Buffer.from(clusterVersion));
    backend.applied(backend.appliedIndex, backend.appliedTerm);
    log.info("updated storage version", { "new-storage-version": clusterVersion });
    return true;
  }
}

function isBetween(version: Version | null): boolean {
  return version !== null && compareVersions(version, OLDEST) >= 0 && compareVersions(version, NEWEST) <= 0;
}
