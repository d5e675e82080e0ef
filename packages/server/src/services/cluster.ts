/** etcdserverpb.Cluster: who the members are. Headers carry no revision in this service. Changing them comes later. */
import { MemberListRequest, MemberListResponse } from "@quorate/api/messages";
import type { Method, ServerCall } from "@quorate/rpc";
import type { Member } from "../member/member.ts";
import { afterRead, answer, headerOf, unary } from "./simple.ts";

export function clusterMethods(member: Member): [string, Method][] {
  return [
    unary("/etcdserverpb.Cluster/MemberList", MemberListRequest, (call, { linearizable }) => {
      if (linearizable) afterRead(member, call, () => listMembers(member, call));
      else listMembers(member, call);
    }),
  ];
}

function listMembers(member: Member, call: ServerCall): void {
  answer(call, MemberListResponse, {
    header: headerOf(member, 0),
    members: member.membership.members().map((each) => ({
      ID: each.id,
      name: each.name,
      peerURLs: each.peerUrls,
      clientURLs: each.clientUrls,
      isLearner: each.isLearner,
    })),
  });
}
