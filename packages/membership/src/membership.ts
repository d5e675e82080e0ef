/**
 * Who is in the cluster and at which version it runs: replicated state, changed only by applying log entries and kept in
 * the tables `members`, `members_removed` and `cluster` (same keys and values as etcd's buckets). The member's apply
 * loop owns it; services read it.
 *
 *   log entry ─▶ decodeChange ─▶ validate ──refused──▶ nothing changes, on any member
 *                                   └──null──▶ apply ─▶ memory and tables
 *
 * Invariants:
 *  - what is in memory is what the tables hold; `load` and apply are the only ways in;
 *  - an id that was removed is remembered for ever and never returns: its vote may have been forgotten;
 *  - no peer URL belongs to two members;
 *  - whether a change is refused depends on this state, the change and `maxLearners` alone, never on who asks.
 */
import { assert } from "@quorate/world";
import type { MembershipChange } from "./change.ts";
import { subjectOf } from "./change.ts";
import { decodeDowngrade, encodeDowngrade } from "./downgrade-json.ts";
import { ascending, idText } from "./identity.ts";
import { decodeMember, encodeMember, type Member } from "./member-json.ts";

/** Where membership is kept; a null value removes. */
export interface MembershipTables {
  put(table: "members" | "members_removed" | "cluster", key: Uint8Array, value: Uint8Array | null): void;
  scan(table: "members" | "members_removed" | "cluster", visit: (key: Uint8Array, value: Uint8Array) => void): void;
}

/** Why a change has no effect: kinds of the table of errors in packages/api. */
export type ChangeRefusal =
  | "MemberExists"
  | "PeerUrlExists"
  | "TooManyLearners"
  | "MemberNotFound"
  | "MemberNotLearner"
  | "NotEnoughStartedMembers";

const CLUSTER_VERSION_KEY = Buffer.from("clusterVersion");
const DOWNGRADE_KEY = Buffer.from("downgrade");
const REMOVED = Buffer.from("removed");

export class Membership {
  readonly clusterId: bigint;
  readonly #tables: MembershipTables;
  readonly #members = new Map<bigint, Member>();
  readonly #removed = new Set<bigint>();
  #clusterVersion: string | null = null;
  #downgradeTarget: string | null = null;

  constructor(clusterId: bigint, tables: MembershipTables) {
    this.clusterId = clusterId;
    this.#tables = tables;
  }

  /**
   * Forgets everything and reads what the tables hold: at a start, and again when a snapshot has replaced them.
   * Throws MalformedMember or MalformedDowngrade.
   */
  load(): void {
    this.#members.clear();
    this.#removed.clear();
    this.#clusterVersion = null;
    this.#downgradeTarget = null;
    this.#tables.scan("members", (_key, value) => {
      const member = decodeMember(Buffer.from(value).toString());
      this.#members.set(member.id, member);
    });
    this.#tables.scan("members_removed", (key) => {
      this.#removed.add(BigInt(`0x${Buffer.from(key).toString()}`));
    });
    this.#tables.scan("cluster", (key, value) => {
      if (CLUSTER_VERSION_KEY.equals(key)) this.#clusterVersion = Buffer.from(value).toString();
      if (DOWNGRADE_KEY.equals(key)) this.#downgradeTarget = decodeDowngrade(Buffer.from(value).toString());
    });
  }

  /** "major.minor.0" once decided, null before. */
  get clusterVersion(): string | null {
    return this.#clusterVersion;
  }

  /** What the cluster is to go down to, while an operator wants it to; null: nothing. */
  get downgradeTarget(): string | null {
    return this.#downgradeTarget;
  }

  member(id: bigint): Member | undefined {
    return this.#members.get(id);
  }

  /** Sorted by id, as every etcd response lists them. */
  members(): Member[] {
    return [...this.#members.values()].sort((a, b) => ascending(a.id, b.id));
  }

  /** Sorted by id. */
  voters(): Member[] {
    return this.members().filter((each) => !each.isLearner);
  }

  /** Sorted by id. */
  learners(): Member[] {
    return this.members().filter((each) => each.isLearner);
  }

  isRemoved(id: bigint): boolean {
    return this.#removed.has(id);
  }

  /** Ascending. */
  removedIds(): bigint[] {
    return [...this.#removed].sort(ascending);
  }

  /**
   * Why a committed change must have no effect; null if it may be applied. Every member comes to the same answer, if
   * `maxLearners` is configured the same everywhere.
   */
  validate(change: MembershipChange, maxLearners: number): ChangeRefusal | null {
    const id = subjectOf(change);
    if (this.#removed.has(id)) return "MemberNotFound";
    const present = this.#members.get(id);
    switch (change.kind) {
      case "add":
        if (present !== undefined) return "MemberExists";
        if (this.#isTaken(change.member.peerUrls, id)) return "PeerUrlExists";
        return change.member.isLearner && this.learners().length + 1 > maxLearners ? "TooManyLearners" : null;
      case "promote":
        if (present === undefined) return "MemberNotFound";
        return present.isLearner ? null : "MemberNotLearner";
      case "remove":
        if (present === undefined) return "MemberNotFound";
        // There is no configuration without voters: raft would not take it, at every replay of the log.
        return !present.isLearner && this.voters().length === 1 ? "NotEnoughStartedMembers" : null;
      case "updatePeerUrls":
        if (present === undefined) return "MemberNotFound";
        return this.#isTaken(change.peerUrls, id) ? "PeerUrlExists" : null;
      default:
        return change satisfies never;
    }
  }

  /** Applies a change that {@link validate} did not refuse. */
  apply(change: MembershipChange): void {
    switch (change.kind) {
      case "add":
        return this.add(change.member);
      case "promote":
        return this.promote(change.id);
      case "remove":
        return this.remove(change.id);
      case "updatePeerUrls":
        return this.updatePeerUrls(change.id, change.peerUrls);
      default:
        return change satisfies never;
    }
  }

  add(member: Member): void {
    assert(!this.#members.has(member.id), "a member is added once");
    assert(!this.#removed.has(member.id), "a removed member never returns");
    this.#store(member);
  }

  remove(id: bigint): void {
    assert(this.#members.delete(id), "a member that is removed was there");
    this.#removed.add(id);
    const key = Buffer.from(idText(id));
    this.#tables.put("members", key, null);
    this.#tables.put("members_removed", key, REMOVED);
  }

  /** Everything else about the member, being a learner above all, stays as it is. */
  updatePeerUrls(id: bigint, peerUrls: readonly string[]): void {
    const member = this.#members.get(id);
    assert(member !== undefined, "a member whose URLs are updated is there");
    this.#store({ ...member, peerUrls });
  }

  promote(id: bigint): void {
    const member = this.#members.get(id);
    assert(member?.isLearner === true, "a member that is promoted is a learner");
    this.#store({ ...member, isLearner: false });
  }

  /**
   * Applies a started member's announcement of its name and client URLs. An unknown id changes nothing: the member may
   * have been removed while its announcement was on the way.
   */
  setAttributes(id: bigint, name: string, clientUrls: readonly string[]): void {
    const member = this.#members.get(id);
    if (member !== undefined) this.#store({ ...member, name, clientUrls });
  }

  setClusterVersion(version: string): void {
    this.#clusterVersion = version;
    this.#tables.put("cluster", CLUSTER_VERSION_KEY, Buffer.from(version));
  }

  /** Begins a downgrade, or ends the one under way: null. */
  setDowngradeTarget(target: string | null): void {
    this.#downgradeTarget = target;
    this.#tables.put("cluster", DOWNGRADE_KEY, Buffer.from(encodeDowngrade(target)));
  }

  #isTaken(peerUrls: readonly string[], byOtherThan: bigint): boolean {
    for (const member of this.#members.values()) {
      if (member.id !== byOtherThan && member.peerUrls.some((url) => peerUrls.includes(url))) return true;
    }
    return false;
  }

  #store(member: Member): void {
    this.#members.set(member.id, member);
    this.#tables.put("members", Buffer.from(idText(member.id)), Buffer.from(encodeMember(member)));
  }
}
