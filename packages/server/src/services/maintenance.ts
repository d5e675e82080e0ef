/**
 * etcdserverpb.Maintenance: status, alarms, hashes and defragmentation. Hashes run in slices between turns, on a revision
 * held against compaction, so that a million keys do not stop the loop.
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
  StatusRequest,
  StatusResponse,
} from "@quorate/api/messages";
import { NO_NODE } from "@quorate/raft";
import { type Method, type ServerCall, StatusCode } from "@quorate/rpc";
import type { Member } from "../member/member.ts";
import { VERSIONS } from "../versions.ts";
import { answer, headerOf, proposeFor, unary } from "./simple.ts";

/** Records hashed in one turn: about a millisecond. */
const HASH_SLICE_RECORDS = 1000;

const ALARM_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(AlarmType).map(([name, type]) => [type, name]));

export function maintenanceMethods(member: Member): [string, Method][] {
  return [
    unary("/etcdserverpb.Maintenance/Status", StatusRequest, (call) => answerStatus(member, call)),
    unary("/etcdserverpb.Maintenance/Hash", HashRequest, (call) => member.whenFlushed(() => hashTables(member, call))),
    unary("/etcdserverpb.Maintenance/HashKV", HashKVRequest, (call, { revision }) => hashKv(member, call, revision)),
    unary("/etcdserverpb.Maintenance/Defragment", DefragmentRequest, (call) => defragment(member, call)),
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
    isLearner: false,
    storageVersion: VERSIONS.cluster,
    dbSizeQuota: member.quotaBytes,
    downgradeInfo: { enabled: false, targetVersion: "" },
  });
}

function hashKv(member: Member, call: ServerCall, revision: number): void {
  const task = member.store.startHash(revision);
  const step = (): void => {
    if (!call.isOpen) {
      task.cancel();
      member.resumeCompaction();
    } else if (task.step(HASH_SLICE_RECORDS)) {
      member.options.timers.nextTurn(step);
    } else {
      member.resumeCompaction();
      answer(call, HashKVResponse, {
        header: headerOf(member),
        hash: task.hash,
        compactRevision: task.compactRevision,
        hashRevision: task.revision,
      });
    }
  };
  step();
}

function hashTables(member: Member, call: ServerCall): void {
  const task = member.store.startTablesHash();
  const step = (): void => {
    if (!call.isOpen) return;
    if (task.step(HASH_SLICE_RECORDS)) member.options.timers.nextTurn(step);
    else answer(call, HashResponse, { header: headerOf(member), hash: task.hash });
  };
  step();
}

/** Reads and writes go on meanwhile; the answer has no header, as etcd's. */
function defragment(member: Member, call: ServerCall): void {
  member.backend.storage.defragment((error) => {
    if (error === null) answer(call, DefragmentResponse, {});
    else if (call.isOpen) call.fail(StatusCode.Unknown, error.message);
  });
}
