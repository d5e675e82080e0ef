/**
 * etcdserverpb.Maintenance: status, alarms, hashes, defragmentation and handing over leadership. Hashes run in slices
 * between turns, on a revision held against compaction, so that a million keys do not stop the loop.
 */
import { AlarmType, RaftOp } from "@quorate/api";
import {
  AlarmRequest,
  AlarmResponse,
  DefragmentRequest,
  DefragmentResponse,
  HashKVRequest,
  HashKVResponse,
  HashRequest,
  HashResponse,
  MoveLeaderRequest,
  MoveLeaderResponse,
  StatusRequest,
  StatusResponse,
} from "@quorate/api/messages";
import { idText } from "@quorate/membership";
import { NO_NODE } from "@quorate/raft";
import { type Method, type ServerCall, StatusCode } from "@quorate/rpc";
import { failWith } from "../answer.ts";
import type { Member } from "../member/member.ts";
import { VERSIONS } from "../versions.ts";
import { downgradeMethod } from "./downgrade.ts";
import { HASH_SLICE_RECORDS, hashKv } from "./hash-kv.ts";
import { answer, headerOf, proposeFor, unary } from "./simple.ts";
import { snapshotMethod } from "./snapshot.ts";

const ALARM_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(AlarmType).map(([name, type]) => [type, name]));

export function maintenanceMethods(member: Member): [string, Method][] {
  return [
    unary("/etcdserverpb.Maintenance/Status", StatusRequest, (call) => answerStatus(member, call)),
    unary("/etcdserverpb.Maintenance/Hash", HashRequest, (call) => member.whenFlushed(() => hashTables(member, call))),
    unary("/etcdserverpb.Maintenance/HashKV", HashKVRequest, (call, { revision }) =>
      answerHashKv(member, call, revision),
    ),
    unary("/etcdserverpb.Maintenance/Defragment", DefragmentRequest, (call) => defragment(member, call)),
    snapshotMethod(member),
    unary("/etcdserverpb.Maintenance/MoveLeader", MoveLeaderRequest, (call, { targetID }) => {
      moveLeader(member, call, targetID);
    }),
    downgradeMethod(member),
    unary("/etcdserverpb.Maintenance/Alarm", AlarmRequest, (call, request) => {
      proposeFor(member, call, RaftOp.Alarm, AlarmRequest, request, (outcome) => {
        answer(call, AlarmResponse, {
          header: headerOf(member),
          alarms: outcome.alarms.map((each) => ({ memberID: each.memberId, alarm: each.alarm })),
        });
      });
    }),
  ];
}

function answerStatus(member: Member, call: ServerCall): void {
  const { downgradeTarget } = member.membership;
  const errors: string[] = member.leader === NO_NODE ? ["etcdserver: no leader"] : [];
  for (const { memberId, alarm } of member.alarms.list(AlarmType.NONE)) {
    // Protobuf's text form, which leaves out what is zero.
    const whose = memberId === 0n ? "" : `memberID:${memberId} `;
    errors.push(`${whose}alarm:${ALARM_NAMES.get(alarm) ?? alarm}`);
  }
  answer(call, StatusResponse, {
    header: headerOf(member),
    version: VERSIONS.etcd,
    dbSize: member.backend.sizeBytes(),
    dbSizeInUse: member.backend.sizeInUseBytes(),
    leader: member.leader,
    raftIndex: member.commitIndex,
    raftAppliedIndex: member.appliedIndex,
    raftTerm: member.appliedTerm,
    errors,
    isLearner: member.isLearner,
    storageVersion: member.storageVersion ?? "",
    dbSizeQuota: member.quotaBytes,
    downgradeInfo: { enabled: downgradeTarget !== null, targetVersion: downgradeTarget ?? "" },
  });
}

function answerHashKv(member: Member, call: ServerCall, revision: number): void {
  const isWanted = (): boolean => call.isOpen;
  hashKv(member, revision, isWanted, (hashed) => {
    if (hashed === null) return failWith(call, "LeaderChanged");
    const { hash, compactRevision, hashRevision } = hashed;
    answer(call, HashKVResponse, { header: headerOf(member), hash, compactRevision, hashRevision });
  });
}

function hashTables(member: Member, call: ServerCall): void {
  const { store } = member;
  const task = store.startTablesHash();
  const step = (): void => {
    if (!call.isOpen) return;
    // Replaced by a snapshot from the leader: its database is closed.
    if (member.store !== store) return failWith(call, "LeaderChanged");
    if (task.step(HASH_SLICE_RECORDS)) member.options.timers.nextTurn(step);
    else {
      answer(call, HashResponse, { header: headerOf(member), hash: task.hash });
      member.flush();
    }
  };
  step();
}

/** Only the leader is asked for this. The answer has no header, as etcd's. */
function moveLeader(member: Member, call: ServerCall, targetId: bigint): void {
  if (!member.isLeader) return failWith(call, "NotLeader");
  const target = member.membership.member(targetId);
  if (target === undefined || target.isLearner) return failWith(call, "BadLeaderTransferee");
  const { log, clock } = member.options;
  const fields = {
    "local-member-id": idText(member.id),
    "current-leader-member-id": idText(member.id),
    "transferee-member-id": idText(targetId),
  };
  log.info("leadership transfer starting", fields);
  // etcd would wait for ever for a caller who does.
  const limitMs = Math.min(member.requestTimeoutMs, call.deadlineMs - clock.monotonicMs());
  member.transferLeadership(targetId, limitMs, (error) => {
    if (error === null) {
      log.info("leadership transfer finished", fields);
      answer(call, MoveLeaderResponse, {});
    } else {
      log.warn("leadership transfer failed", { ...fields, error });
      failWith(call, "TimeoutLeaderTransfer");
    }
  });
}

/** Reads and writes go on meanwhile; the answer has no header, as etcd's. */
function defragment(member: Member, call: ServerCall): void {
  member.backend.storage.defragment((error) => {
    if (error === null) answer(call, DefragmentResponse, {});
    else if (call.isOpen) call.fail(StatusCode.Unknown, error.message);
  });
}
