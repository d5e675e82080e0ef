/** What a node is told when it is made, the limits of each value, and etcd's defaults in words. */
import type { Log, Random } from "@quorate/world";
import { InvalidConfig } from "./errors.ts";
import { isLocalThread } from "./message.ts";
import type { ReadOnlyOption } from "./read-only.ts";
import type { LogStorage } from "./storage.ts";
import type { Index, NodeId } from "./types.ts";

export interface RaftConfig {
  /** Not 0, and neither of the two ids that stand for local threads. */
  readonly id: NodeId;
  /** Ticks without a leader before campaigning, at least; the actual number is random in [this, 2 × this). etcd: 10. */
  readonly electionTicks: number;
  /** Ticks between a leader's heartbeats; less than electionTicks. etcd: 1. */
  readonly heartbeatTicks: number;
  readonly storage: LogStorage;
  /**
   * Entries up to here were applied before the restart and are not handed out again; 0 for none. At most the stored
   * commit index: whoever stored the state machine more eagerly than the hard state raises the latter first.
   */
  readonly applied: Index;
  /** Encoded entry bytes per MsgApp, at least 1; one entry is always allowed. Infinity: no limit. etcd: 1 MiB. */
  readonly maxSizePerMessageBytes: number;
  /** Encoded bytes of committed entries handed out and not yet applied; 0 means as maxSizePerMessageBytes. */
  readonly maxCommittedSizePerReadyBytes: number;
  /** Data bytes a leader lets wait for commitment before it drops proposals; 0: no limit. */
  readonly maxUncommittedSizeBytes: number;
  /** Unanswered MsgApps per follower; at least 1. etcd: 512. */
  readonly maxInflightMessages: number;
  /** Data bytes in unanswered MsgApps per follower; 0: no limit; otherwise at least maxSizePerMessageBytes. */
  readonly maxInflightBytes: number;
  /** A leader that hears from no quorum for electionTicks steps down; followers of a live leader refuse to vote. */
  readonly checkQuorum: boolean;
  /** Ask whether an election could be won before starting one. */
  readonly preVote: boolean;
  /** "lease" requires checkQuorum. */
  readonly readOnly: ReadOnlyOption;
  /** Drop proposals made to a follower instead of passing them to its leader. */
  readonly disableProposalForwarding: boolean;
  /** Let configuration changes into the log that look wrong now; whoever applies them must check. */
  readonly disableConfChangeValidation: boolean;
  /** A leader that applies its own removal or demotion steps down. */
  readonly stepDownOnRemoval: boolean;
  /** Storage and application are driven by messages (see raw-node.ts) instead of `advance`. */
  readonly asyncStorageWrites: boolean;
  readonly random: Random;
  /** Gets etcd's own texts, as one string without fields. */
  readonly log: Log;
}

/** Throws InvalidConfig if the values contradict the limits above. */
export function checkRaftConfig(config: RaftConfig): void {
  if (config.id === 0n || isLocalThread(config.id)) throw new InvalidConfig(`id ${config.id} is reserved`);
  if (!(config.heartbeatTicks > 0)) {
    throw new InvalidConfig(`heartbeatTicks is ${config.heartbeatTicks}, must be greater than 0`);
  }
  if (!(config.electionTicks > config.heartbeatTicks)) {
    throw new InvalidConfig(`electionTicks is ${config.electionTicks}, must be greater than heartbeatTicks`);
  }
  if (!(config.maxSizePerMessageBytes > 0)) {
    throw new InvalidConfig(`maxSizePerMessageBytes is ${config.maxSizePerMessageBytes}, must be greater than 0`);
  }
  if (!(config.maxInflightMessages > 0)) {
    throw new InvalidConfig(`maxInflightMessages is ${config.maxInflightMessages}, must be greater than 0`);
  }
  if (config.maxInflightBytes !== 0 && config.maxInflightBytes < config.maxSizePerMessageBytes) {
    throw new InvalidConfig(`maxInflightBytes is ${config.maxInflightBytes}, must be at least maxSizePerMessageBytes`);
  }
  if (config.readOnly === "lease" && !config.checkQuorum) {
    throw new InvalidConfig("readOnly is lease, which requires checkQuorum");
  }
}
