/**
 * etcdserverpb.Cluster: who the members are, and changing it. Headers carry no revision in this service. Waiting for a
 * change ends with the caller's patience, never before (semantics §9.2).
 */
import {
  MemberAddRequest,
  MemberAddResponse,
  MemberListRequest,
  MemberListResponse,
  MemberPromoteRequest,
  MemberPromoteResponse,
  MemberRemoveRequest,
  MemberRemoveResponse,
  MemberUpdateRequest,
  MemberUpdateResponse,
} from "@quorate/api/messages";
import { addedMemberIdOf, type Member as ClusterMember } from "@quorate/membership";
import type { Method, ServerCall } from "@quorate/rpc";
import { failWith } from "../answer.ts";
import { parseUrl } from "../config/urls.ts";
import type { Member } from "../member/member.ts";
import type { PromoteOutcome } from "../peers/peer-requests.ts";
import { presentedToken } from "./callers.ts";
import { LeaderInquiry } from "./leader-inquiry.ts";
import type { LeaderLink } from "./leader-link.ts";
import { type ChangeDone, Reconfiguration } from "./reconfiguration.ts";
import { afterRead, answer, headerOf, unary } from "./simple.ts";

export interface ClusterServiceOptions {
  readonly leaderLink: LeaderLink;
  readonly strictReconfigCheck: boolean;
}

export function clusterMethods(member: Member, options: ClusterServiceOptions): [string, Method][] {
  const reconfiguration = new Reconfiguration(member, options.strictReconfigCheck);
  return [
    unary("/etcdserverpb.Cluster/MemberAdd", MemberAddRequest, (call, { peerURLs, isLearner }) => {
      const peerUrls = peerUrlsOf(peerURLs);
      if (peerUrls === null) return failWith(call, "MemberBadUrls");
      const id = addedMemberIdOf(peerUrls, member.options.clock.wallMs() / 1000);
      const added = { id, peerUrls, isLearner, name: "", clientUrls: [] };
      const answerAdded = changed(call, (members) =>
        answer(call, MemberAddResponse, {
          header: headerOf(member, 0),
          member: messageOf(added),
          members: members.map(messageOf),
        }),
      );
      reconfiguration.add(added, call, answerAdded);
    }),
    unary("/etcdserverpb.Cluster/MemberRemove", MemberRemoveRequest, (call, { ID }) => {
      const answerRemoved = changed(call, (members) =>
        answer(call, MemberRemoveResponse, { header: headerOf(member, 0), members: members.map(messageOf) }),
      );
      reconfiguration.remove(ID, call, answerRemoved);
    }),
    unary("/etcdserverpb.Cluster/MemberUpdate", MemberUpdateRequest, (call, { ID, peerURLs }) => {
      // etcd takes anything here, and every member then ends when it is to talk to such a URL (known failure MB-17).
      if (peerUrlsOf(peerURLs) === null) return failWith(call, "MemberBadUrls");
      const answerUpdated = changed(call, (members) =>
        answer(call, MemberUpdateResponse, { header: headerOf(member, 0), members: members.map(messageOf) }),
      );
      reconfiguration.updatePeerUrls(ID, peerURLs, call, answerUpdated);
    }),
    unary("/etcdserverpb.Cluster/MemberPromote", MemberPromoteRequest, (call, { ID }) => {
      promote(member, reconfiguration, options.leaderLink, call, ID);
    }),
    unary("/etcdserverpb.Cluster/MemberList", MemberListRequest, (call, { linearizable }) => {
      if (linearizable) afterRead(member, call, () => listMembers(member, call));
      else listMembers(member, call);
    }),
  ];
}

/** Here if we lead, else by the leader, asked until it says that it was done or cannot be. */
function promote(
  member: Member,
  reconfiguration: Reconfiguration,
  link: LeaderLink,
  call: ServerCall,
  id: bigint,
): void {
  const answerPromoted = changed(call, (members) =>
    answer(call, MemberPromoteResponse, { header: headerOf(member, 0), members: members.map(messageOf) }),
  );
  const inquire = (): void =>
    new LeaderInquiry<PromoteOutcome>(member, {
      get isWaiting() {
        return call.isOpen;
      },
      ask: (peerUrls, done) => link.promote(peerUrls, id, presentedToken(call), done),
      isAnswer: ({ kind }) => kind !== "failed",
      answered: (outcome) => {
        switch (outcome.kind) {
          case "promoted":
            return answerPromoted(outcome.members, null);
          case "not found":
            return answerPromoted([], "MemberNotFound");
          case "not a learner":
            return answerPromoted([], "MemberNotLearner");
          case "not in sync":
            return answerPromoted([], "LearnerNotReady");
          case "failed":
            return;
          default:
            return outcome satisfies never;
        }
      },
      leads: attempt,
      gaveUp: (reason) => failWith(call, reason),
    }).begin();
  const attempt = (): void =>
    reconfiguration.promote(id, call, (members, error) => {
      if (error === "NotLeader") inquire();
      else answerPromoted(members, error);
    });
  attempt();
}

function listMembers(member: Member, call: ServerCall): void {
  answer(call, MemberListResponse, {
    header: headerOf(member, 0),
    members: member.membership.members().map(messageOf),
  });
}

function changed(call: ServerCall, answerWith: (members: readonly ClusterMember[]) => void): ChangeDone {
  return (members, error) => {
    if (error === null) answerWith(members);
    else failWith(call, error);
  };
}

function messageOf({ id, name, peerUrls, clientUrls, isLearner }: ClusterMember): {
  ID: bigint;
  name: string;
  peerURLs: readonly string[];
  clientURLs: readonly string[];
  isLearner: boolean;
} {
  return { ID: id, name, peerURLs: peerUrls, clientURLs: clientUrls, isLearner };
}

/** Sorted, as etcd keeps them; null if there are none, or one is no URL of a peer. */
function peerUrlsOf(given: readonly string[]): string[] | null {
  try {
    const urls = given.map((each) => parseUrl(each.trim()).text).sort();
    return urls.length === 0 ? null : urls;
  } catch {
    return null;
  }
}
