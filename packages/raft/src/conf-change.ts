/**
 * Configuration changes as they stand in the log, in both of raftpb's forms. The node treats everything as the second
 * form: a version 1 change is a version 2 change of one step. Who decides whether a change is legal is changer.ts.
 *
 * A version 2 change enters a joint configuration when it has several steps or asks to, and an empty one with
 * transition Auto leaves it.
 */
import type { NodeId } from "./types.ts";

/** raftpb.ConfChangeType, with its numbers. */
export const ConfChangeType = { AddNode: 0, RemoveNode: 1, UpdateNode: 2, AddLearnerNode: 3 } as const;
export type ConfChangeType = (typeof ConfChangeType)[keyof typeof ConfChangeType];

/** raftpb.ConfChangeTransition, with its numbers. */
export const ConfChangeTransition = { Auto: 0, JointImplicit: 1, JointExplicit: 2 } as const;
export type ConfChangeTransition = (typeof ConfChangeTransition)[keyof typeof ConfChangeTransition];

/** raftpb.ConfChange: one step. `id` and `context` are the proposer's; raft ignores them. */
export interface ConfChange {
  readonly id: bigint;
  readonly type: ConfChangeType;
  readonly nodeId: NodeId;
  readonly context: Uint8Array;
}

export interface ConfChangeSingle {
  readonly type: ConfChangeType;
  readonly nodeId: NodeId;
}

/** raftpb.ConfChangeV2: steps that take effect together. */
export interface ConfChangeV2 {
  readonly transition: ConfChangeTransition;
  readonly changes: readonly ConfChangeSingle[];
  readonly context: Uint8Array;
}

export function isConfChangeV2(change: ConfChange | ConfChangeV2): change is ConfChangeV2 {
  return "changes" in change;
}

export function asV2(change: ConfChange | ConfChangeV2): ConfChangeV2 {
  if (isConfChangeV2(change)) return change;
  return {
    transition: ConfChangeTransition.Auto,
    changes: [{ type: change.type, nodeId: change.nodeId }],
    context: change.context,
  };
}

/** What applying the change does to the shape of the configuration. */
export type Transition = "simple" | "enter joint" | "enter joint, leave by itself" | "leave joint";

export function transitionOf(change: ConfChangeV2): Transition {
  if (change.transition === ConfChangeTransition.Auto) {
    if (change.changes.length === 0) return "leave joint";
    if (change.changes.length === 1) return "simple";
  }
  return change.transition === ConfChangeTransition.JointExplicit ? "enter joint" : "enter joint, leave by itself";
}
