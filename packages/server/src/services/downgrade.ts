/**
 * Maintenance.Downgrade (semantics §9.7): whether the cluster can go down to a version, that it shall, and that it shall not
 * any more. What follows from it is not this call's: the leader lowers the cluster's version (member/version-monitor.ts),
 * every member's database follows, and the operator restarts members with the older server.
 *
 *   VALIDATE   target's form ─▶ cluster version known ─▶ read ─▶ one minor version lower? none under way? ─▶ answer
 *   ENABLE     likewise                                                                   ─▶ log ─▶ answer
 *   CANCEL     read ─▶ one under way? ─▶ log ─▶ answer, whatever came of it: as with etcd
 */
import { DowngradeAction, type ErrorKind, RaftOp } from "@quorate/api";
import { DowngradeInfoSetRequest, DowngradeRequest, DowngradeResponse } from "@quorate/api/messages";
import {
  clusterVersionText,
  isDowngradeOf,
  parseDowngradeTarget,
  parseVersion,
  type Version,
} from "@quorate/membership";
import type { Method, ServerCall } from "@quorate/rpc";
import { failWith } from "../answer.ts";
import type { Member } from "../member/member.ts";
import type { ProposalHandler } from "../member/pending.ts";
import { afterRead, answer, headerOf, unary } from "./simple.ts";

export function downgradeMethod(member: Member): [string, Method] {
  return unary("/etcdserverpb.Maintenance/Downgrade", DowngradeRequest, (call, { action, version }) => {
    switch (action) {
      case DowngradeAction.VALIDATE:
        return validate(member, call, version, () => answerDowngrade(member, call));
      case DowngradeAction.ENABLE:
        return validate(member, call, version, (target) => enable(member, call, target));
      case DowngradeAction.CANCEL:
        return cancel(member, call);
      default:
        failWith(call, "UnknownMethod");
    }
  });
}

function validate(member: Member, call: ServerCall, text: string, valid: (target: Version) => void): void {
  const target = parseDowngradeTarget(text);
  if (target === null) return failWith(call, "WrongDowngradeVersionFormat");
  if (clusterVersionOf(member) === null) return failWith(call, "ClusterVersionUnavailable");
  afterRead(member, call, () => {
    if (!isDowngradeOf(clusterVersionOf(member)!, target)) return failWith(call, "InvalidDowngradeTargetVersion");
    if (member.membership.downgradeTarget !== null) return failWith(call, "DowngradeInProgress");
    valid(target);
  });
}

function enable(member: Member, call: ServerCall, target: Version): void {
  propose(member, call, clusterVersionText(target), {
    applied: (_pending, { error }) => {
      if (error === null) answerDowngrade(member, call);
      else failWith(call, error);
    },
    failed: (_pending, error) => failWith(call, error),
  });
}

function cancel(member: Member, call: ServerCall): void {
  const ended = (error: ErrorKind | null): void => {
    if (error !== null) member.options.log.warn("failed to cancel downgrade", { error });
    answerDowngrade(member, call);
  };
  member.read({
    readReady: () => {
      if (!call.isOpen) return;
      if (member.membership.downgradeTarget === null) return ended("NoInflightDowngrade");
      propose(member, call, null, {
        applied: (_pending, { error }) => ended(error),
        failed: (_pending, error) => ended(error),
      });
    },
    readFailed: ended,
  });
}

function propose(member: Member, call: ServerCall, target: string | null, handler: ProposalHandler): void {
  const bytes = DowngradeInfoSetRequest.encode({ enabled: target !== null, ver: target ?? "" });
  member.propose(RaftOp.DowngradeInfoSet, bytes, 0, bytes.length, handler, call, null);
}

/** Says what the cluster runs at, as "major.minor". */
function answerDowngrade(member: Member, call: ServerCall): void {
  const version = clusterVersionOf(member);
  const text = version === null ? "" : `${version.major}.${version.minor}`;
  answer(call, DowngradeResponse, { header: headerOf(member), version: text });
}

function clusterVersionOf(member: Member): Version | null {
  const { clusterVersion } = member.membership;
  return clusterVersion === null ? null : parseVersion(clusterVersion);
}
