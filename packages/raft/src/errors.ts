/**
 * What consensus refuses. Each class has a literal `kind`, so that whoever answers a client can map them one by one.
 * Broken invariants are not here: those are `BrokenInvariant` from the ground floor and end the process.
 */
import type { Index, NodeId } from "./types.ts";

/** Why a proposal never entered the log. */
export type DropReason =
  | "no leader is known"
  | "forwarding is disabled"
  | "this leader was removed"
  | "leadership is being transferred"
  | "too many uncommitted bytes";

/** The proposal was not appended anywhere by this node and never will be; the caller may try again. */
export class ProposalDropped extends Error {
  readonly kind = "ProposalDropped";
  readonly reason: DropReason;
  constructor(reason: DropReason) {
    super("raft proposal dropped");
    this.name = "ProposalDropped";
    this.reason = reason;
  }
}

/** A message of a kind that only a node may send to itself came from elsewhere. */
export class LocalMessageFromPeer extends Error {
  readonly kind = "LocalMessageFromPeer";
  constructor() {
    super("raft: cannot step raft local message");
    this.name = "LocalMessageFromPeer";
  }
}

/** An answer came from a node that is not in the configuration (any more). */
export class UnknownPeer extends Error {
  readonly kind = "UnknownPeer";
  readonly from: NodeId;
  constructor(from: NodeId) {
    super("raft: cannot step as peer not found");
    this.name = "UnknownPeer";
    this.from = from;
  }
}

/** Bytes or a message that no correct peer sends. Nothing was changed by it. */
export class MalformedMessage extends Error {
  readonly kind = "MalformedMessage";
  constructor(detail: string, options?: ErrorOptions) {
    super(`raft: malformed message: ${detail}`, options);
    this.name = "MalformedMessage";
  }
}

/** A configuration value out of its limits, found when a node is constructed. */
export class InvalidConfig extends Error {
  readonly kind = "InvalidConfig";
  constructor(detail: string) {
    super(`raft: invalid config: ${detail}`);
    this.name = "InvalidConfig";
  }
}

/** A configuration change that would lead to an unsafe configuration. The message is etcd's. */
export class InvalidConfChange extends Error {
  readonly kind = "InvalidConfChange";
  constructor(detail: string) {
    super(detail);
    this.name = "InvalidConfChange";
  }
}

/** The log no longer reaches back to the index asked for. */
export class Compacted extends Error {
  readonly kind = "Compacted";
  readonly index: Index;
  constructor(index: Index) {
    super("requested index is unavailable due to compaction");
    this.name = "Compacted";
    this.index = index;
  }
}

/** A snapshot older than the one already held. */
export class SnapshotOutOfDate extends Error {
  readonly kind = "SnapshotOutOfDate";
  readonly index: Index;
  constructor(index: Index) {
    super("requested index is older than the existing snapshot");
    this.name = "SnapshotOutOfDate";
    this.index = index;
  }
}
