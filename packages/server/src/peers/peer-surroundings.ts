/**
 * What the parts of one transport share: the machine, who we are, how long we wait, what is counted, and where news from other members goes. News never
 * comes while the member calls us, so that it is not interrupted in the middle of its own turn.
 */
import type { Message, NodeId } from "@quorate/raft";
import type { Clock, Log, Timers } from "@quorate/world";
import type { PeerMetrics } from "../metrics/peer-metrics.ts";
import type { LocalIdentity } from "./compatibility.ts";
import type { Dialer } from "./dialer.ts";
import type { LinkTimeouts } from "./limits.ts";
import type { OutgoingSnapshot } from "./peer-network.ts";

export interface PeerSurroundings {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  readonly local: LocalIdentity;
  readonly dialer: Dialer;
  readonly timeouts: LinkTimeouts;
  readonly metrics: PeerMetrics;
  readonly news: PeerNews;
}

/** What became of a message that came in. `mismatched`: it was for another member. */
export type Received = "stepped" | "removed sender" | "mismatched" | "refused";

/** Says nothing any more once the transport has stopped. */
export interface PeerNews {
  /** Checks the message and hands it to raft. `via`: the member at the other end of the stream, null if not known. */
  received(message: Message, via: NodeId | null): Received;
  unreachable(id: NodeId): void;
  /** It was there, and now nobody listens at its address. */
  gone(id: NodeId): void;
  snapshotEnded(id: NodeId, status: "finished" | "failed"): void;
  openSnapshot(message: Message, done: (error: Error | null, snapshot: OutgoingSnapshot | null) => void): void;
  removedFromCluster(): void;
}
