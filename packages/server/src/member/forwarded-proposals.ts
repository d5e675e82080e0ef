/**
 * What other members pass on to this one as the leader: looked at before it gets into the log. Once there it is decoded by
 * every member, and what none of them can decode or knows ends them all, at every start (known failure RA-20). Asked for
 * every message from a peer.
 */
import { DeleteRangeView, decodeTxnRequest, PutView, RaftOp, RaftRequestView } from "@quorate/api";
import {
  AlarmRequest,
  ClusterMemberAttrSetRequest,
  ClusterVersionSetRequest,
  CompactionRequest,
  DowngradeInfoSetRequest,
  LeaseCheckpointRequest,
  LeaseGrantRequest,
  LeaseRevokeRequest,
} from "@quorate/api/messages";
import { MalformedMessage as MalformedWire } from "@quorate/api/wire";
import { decodeChange, MalformedMember, parseVersion } from "@quorate/membership";
import { decodeConfChange, EntryType, MalformedMessage, type Message, MessageType } from "@quorate/raft";
import { decodeAuthOperation } from "./auth-applier.ts";

const request = new RaftRequestView();
const put = new PutView();
const deleteRange = new DeleteRangeView();

/** Throws MalformedMessage for a proposal that holds an entry nobody could apply. */
export function checkForwarded(message: Message): void {
  if (message.type !== MessageType.Prop) return;
  for (const { type, data } of message.entries) {
    if (type === EntryType.ConfChange) checkChange(data);
    else if (type === EntryType.Normal) checkOperation(data);
    else throw new MalformedMessage("only changes of one member at a time are proposed");
  }
}

function checkChange(data: Uint8Array): void {
  const change = decodeConfChange(data);
  if (change.nodeId === 0n) throw new MalformedMessage("a change of the configuration names no member");
  try {
    decodeChange(change);
  } catch (cause) {
    if (!(cause instanceof MalformedMember)) throw cause;
    throw new MalformedMessage("a change of the configuration that nobody could apply", { cause });
  }
}

function checkOperation(data: Uint8Array): void {
  if (data.length === 0) return;
  try {
    request.decode(data, 0, data.length);
    decodeOperation(request.op, data, request.start, request.end);
  } catch (cause) {
    if (!(cause instanceof MalformedWire)) throw cause;
    throw new MalformedMessage("an operation that nobody could apply", { cause });
  }
}

/** As the applier does, for what may come of it. */
function decodeOperation(op: RaftOp, buffer: Uint8Array, start: number, end: number): void {
  switch (op) {
    case RaftOp.Put:
      return put.decode(buffer, start, end);
    case RaftOp.DeleteRange:
      return deleteRange.decode(buffer, start, end);
    case RaftOp.Txn:
      decodeTxnRequest(buffer, start, end);
      return;
    case RaftOp.Compaction:
      CompactionRequest.decode(buffer, start, end);
      return;
    case RaftOp.LeaseGrant:
      LeaseGrantRequest.decode(buffer, start, end);
      return;
    case RaftOp.LeaseRevoke:
      LeaseRevokeRequest.decode(buffer, start, end);
      return;
    case RaftOp.LeaseCheckpoint:
      LeaseCheckpointRequest.decode(buffer, start, end);
      return;
    case RaftOp.Alarm:
      AlarmRequest.decode(buffer, start, end);
      return;
    case RaftOp.ClusterVersionSet:
      ClusterVersionSetRequest.decode(buffer, start, end);
      return;
    case RaftOp.ClusterMemberAttrSet:
      ClusterMemberAttrSetRequest.decode(buffer, start, end);
      return;
    case RaftOp.DowngradeInfoSet: {
      const { enabled, ver } = DowngradeInfoSetRequest.decode(buffer, start, end);
      // An etcd member would end on it.
      if (enabled && parseVersion(ver) === null)
        throw new MalformedMessage(`a downgrade to ${ver}, which is no version`);
      return;
    }
    case RaftOp.Range:
    case RaftOp.DowngradeVersionTest:
      return;
    default:
      if (decodeAuthOperation(op, buffer, start, end)) return;
      throw new MalformedMessage(`operation ${op}, which this version does not know`);
  }
}
