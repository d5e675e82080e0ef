/**
 * The header of almost every response.
 * What the fields mean: proto/.
 */

import { int64, message, uid, uint64 } from "./fields.ts";
import type { MessageType } from "./message-type.ts";

export interface ResponseHeader {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  readonly revision: number;
  readonly raftTerm: number;
}
export const ResponseHeader: MessageType<ResponseHeader> = message<ResponseHeader>("etcdserverpb.ResponseHeader", {
  clusterId: uid(1, "cluster_id"),
  memberId: uid(2, "member_id"),
  revision: int64(3),
  raftTerm: uint64(4, "raft_term"),
});
