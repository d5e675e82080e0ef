/**
 * A change of who is in the cluster, as this room sees it, and its form in the log: raftpb's ConfChange, whose type and
 * context together say which change it is.
 *
 *   change          type                     context
 *   add             AddNode, AddLearnerNode  {"id":N,"peerURLs":[..],"isLearner":true,"name":..,"clientURLs":[..]}
 *   promote         AddNode                  {"id":N,"peerURLs":null,"isPromote":true}
 *   updatePeerUrls  UpdateNode               {"id":N,"peerURLs":[..]}
 *   remove          RemoveNode               none
 *
 * The member proposes with {@link encodeChange}; its applier reads with {@link decodeChange}, asks
 * `Membership.validate`, and applies what was not refused.
 */
import { decodeChangeContext, encodeMember, encodePromotion, MalformedMember, type Member } from "./member-json.ts";

export type MembershipChange =
  /** A voter, or a learner. */
  | { readonly kind: "add"; readonly member: Member }
  /** A learner becomes a voter. */
  | { readonly kind: "promote"; readonly id: bigint }
  | { readonly kind: "remove"; readonly id: bigint }
  | { readonly kind: "updatePeerUrls"; readonly id: bigint; readonly peerUrls: readonly string[] };

/** raftpb's ConfChangeType. This room may not import raft's, but the numbers are the wire's. */
const WireType = { AddNode: 0, RemoveNode: 1, UpdateNode: 2, AddLearnerNode: 3 } as const;

/** What of raftpb's ConfChange this room writes and reads; raft's own ConfChange has this shape, and a request id. */
export interface WireChange {
  readonly type: (typeof WireType)[keyof typeof WireType];
  readonly nodeId: bigint;
  readonly context: Uint8Array;
}

/** The member that a change is about. */
export function subjectOf(change: MembershipChange): bigint {
  return change.kind === "add" ? change.member.id : change.id;
}

export function encodeChange(change: MembershipChange): WireChange {
  switch (change.kind) {
    case "add": {
      const type = change.member.isLearner ? WireType.AddLearnerNode : WireType.AddNode;
      return { type, nodeId: change.member.id, context: Buffer.from(encodeMember(change.member)) };
    }
    case "promote":
      return { type: WireType.AddNode, nodeId: change.id, context: Buffer.from(encodePromotion(change.id)) };
    case "remove":
      return { type: WireType.RemoveNode, nodeId: change.id, context: new Uint8Array(0) };
    case "updatePeerUrls": {
      const member = { id: change.id, peerUrls: change.peerUrls, isLearner: false, name: "", clientUrls: [] };
      return { type: WireType.UpdateNode, nodeId: change.id, context: Buffer.from(encodeMember(member)) };
    }
    default:
      return change satisfies never;
  }
}

/**
 * Throws {@link MalformedMember} for what no member proposes and no member could apply: a context that is not a member's
 * JSON, that names another member than the change, or that makes a voter of raft's learner.
 */
export function decodeChange({ type, nodeId, context }: WireChange): MembershipChange {
  if (type === WireType.RemoveNode) return { kind: "remove", id: nodeId };
  const { member, isPromote } = decodeChangeContext(Buffer.from(context).toString());
  if (member.id !== nodeId) {
    throw new MalformedMember(`change of member ${nodeId.toString(16)} describes member ${member.id.toString(16)}`);
  }
  switch (type) {
    case WireType.UpdateNode:
      return { kind: "updatePeerUrls", id: nodeId, peerUrls: member.peerUrls };
    case WireType.AddNode:
    case WireType.AddLearnerNode:
      if (member.isLearner !== (type === WireType.AddLearnerNode)) {
        throw new MalformedMember(`raft and the context disagree whether member ${nodeId.toString(16)} is a learner`);
      }
      return isPromote ? { kind: "promote", id: nodeId } : { kind: "add", member };
    default:
      return type satisfies never;
  }
}
