/**
 * Who is in the cluster and at which version it runs: replicated state, changed only by applying log entries and kept in
 * the tables `members`, `members_removed` and `cluster` (same keys and values as etcd's buckets). The member's apply
 * loop owns it; services read it.
 *
 * Invariant: what is in memory is what the tables hold; `load` and apply are the only ways in.
 */
import { ascending, idText } from "./identity.ts";
import { decodeMember, encodeMember, type Member } from "./member-json.ts";

/** Where membership is kept; a null value removes. */
export interface MembershipTables {
  put(table: "members" | "members_removed" | "cluster", key: Uint8Array, value: Uint8Array | null): void;
  scan(table: "members" | "members_removed" | "cluster", visit: (key: Uint8Array, value: Uint8Array) => void): void;
}

const CLUSTER_VERSION_KEY = Buffer.from("clusterVersion");

export class Membership {
  readonly clusterId: bigint;
  readonly #tables: MembershipTables;
  readonly #members = new Map<bigint, Member>();
  readonly #removed = new Set<bigint>();
  #clusterVersion: string | null = null;

  constructor(clusterId: bigint, tables: MembershipTables) {
    this.clusterId = clusterId;
    this.#tables = tables;
  }

  /** Reads what the tables hold. Throws MalformedMember. */
  load(): void {
    this.#tables.scan("members", (_key, value) => {
      const member = decodeMember(Buffer.from(value).toString());
      this.#members.set(member.id, member);
    });
    this.#tables.scan("members_removed", (key) => {
      this.#removed.add(BigInt(`0x${Buffer.from(key).toString()}`));
    });
    this.#tables.scan("cluster", (key, value) => {
      if (CLUSTER_VERSION_KEY.equals(key)) this.#clusterVersion = Buffer.from(value).toString();
    });
  }

  /** "major.minor.0" once decided, null before. */
  get clusterVersion(): string | null {
    return this.#clusterVersion;
  }

  member(id: bigint): Member | undefined {
    return this.#members.get(id);
  }

  /** Sorted by id, as every etcd response lists them. */
  members(): Member[] {
    return [...this.#members.values()].sort((a, b) => ascending(a.id, b.id));
  }

  isRemoved(id: bigint): boolean {
    return this.#removed.has(id);
  }

  /** Applies the addition of a member. */
  add(member: Member): void {
    this.#store(member);
  }

  /** Applies a started member's announcement of its name and client URLs. An unknown id changes nothing. */
  setAttributes(id: bigint, name: string, clientUrls: readonly string[]): void {
    const member = this.#members.get(id);
    if (member !== undefined) this.#store({ ...member, name, clientUrls });
  }

  setClusterVersion(version: string): void {
    this.#clusterVersion = version;
    this.#tables.put("cluster", CLUSTER_VERSION_KEY, Buffer.from(version));
  }

  #store(member: Member): void {
    this.#members.set(member.id, member);
    this.#tables.put("members", Buffer.from(idText(member.id)), Buffer.from(encodeMember(member)));
  }
}
