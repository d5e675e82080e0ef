/**
 * The way to the other members, as a member sees it. `transport.ts` is the one over sockets (etcd's rafthttp); the
 * simulator has one of its own. A member calls PeerNetwork; what comes from others is told to its PeerNetworkOwner.
 *
 *   Member ── send, flush, addPeer … ──▶ PeerNetwork ~~~ other members
 *          ◀── step, receiveSnapshot, report … ──
 *
 * Invariants:
 *  - the owner is never called while it calls: what is known at once is told in the next turn;
 *  - nothing here waits: what a peer cannot take is dropped and reported as unreachable, and raft sends it again;
 *  - messages to one peer keep their order as long as nothing is dropped;
 *  - a slow or dead peer costs the others nothing (bounded queues, known failures SN-06, RA-07).
 */
import type { Message, NodeId } from "@quorate/raft";

export interface PeerNetwork {
  /**
   * For another member; leaves with the next {@link flush} at the latest. The message is the network's from here on and
   * immutable. A MsgSnap is not sent as it is: the network asks its owner for the snapshot.
   */
  send(message: Message): void;
  /** The turn ends: everything given since the last flush goes out, one write per connection. */
  flush(): void;
  /** Begins to talk to a member. Calling it again with other URLs moves it there. */
  addPeer(id: NodeId, urls: readonly string[]): void;
  /** Somebody to answer but not (yet) a member of our configuration: messages go by single requests, no streams. */
  addRemote(id: NodeId, urls: readonly string[]): void;
  removePeer(id: NodeId): void;
  /** On the monotonic clock: since when the connection with this peer has been alive without a break; null if it is not. */
  activeSinceMs(id: NodeId): number | null;
  /** Closes everything. Nothing is told to the owner afterwards. */
  stop(): void;
}

export interface PeerNetworkOwner {
  /**
   * A message from another member of this cluster, addressed to us. Never a MsgSnap. May throw raft's MalformedMessage,
   * LocalMessageFromPeer, UnknownPeer or ProposalDropped, which is logged; anything else ends the process.
   */
  step(message: Message): void;
  /**
   * A snapshot has arrived whole and is durable at `path`; the file is the owner's. `done(null)` when the message has been
   * stepped, an error if the snapshot is of no use.
   */
  receiveSnapshot(message: Message, path: string, done: (error: Error | null) => void): void;
  /** Its connections have broken and nobody listens at its address: its process has ended. Told once, until it is back. */
  peerGone(id: NodeId): void;
  /** What was sent to this member lately may be lost. */
  reportUnreachable(id: NodeId): void;
  /** The transfer that a MsgSnap asked for has ended. */
  reportSnapshot(id: NodeId, status: "finished" | "failed"): void;
  /** A file to send in place of this MsgSnap; as of now, at or past the message's index. */
  openSnapshot(message: Message, done: (error: Error | null, snapshot: OutgoingSnapshot | null) => void): void;
  isRemoved(id: NodeId): boolean;
  /** Other members say that we were removed from the cluster: the process has to end. */
  removedFromCluster(): void;
}

export interface OutgoingSnapshot {
  /** The MsgSnap to send: index, term and configuration are those of the file. */
  readonly message: Message;
  /** The bbolt file. */
  readonly path: string;
  readonly sizeBytes: number;
  /** The file is not needed any more; call once, whatever became of the transfer. */
  release(): void;
}
