/**
 * Applies committed entries to the replicated state, in order, each once: a pure function of (state, entry). Who waits
 * for the answer, the clock, the configuration and the size of the disk have no say here, because every member must come
 * to the same state (known failures AP-07, AP-09, QU-01); the waiter only hears of the outcome afterwards.
 *
 *   entry ─▶ decode ─▶ alarms ─▶ operation ─▶ backend.applied(index, term) ─▶ outcome to whoever waits
 *
 * Invariants:
 *  - `backend.applied` follows every entry, whatever came of it, so the applied index is saved with its effects
 *    (AP-01, AP-04);
 *  - an operation either changes nothing and reports an error of the table, or happens whole (AP-08); anything else that
 *    is thrown is a bug and ends the process.
 */
import {
  AlarmAction,
  AlarmType,
  DeleteRangeView,
  decodeTxnRequest,
  type ErrorKind,
  errors,
  PutView,
  RaftOp,
  RaftRequestView,
} from "@quorate/api";
import {
  AlarmRequest,
  ClusterMemberAttrSetRequest,
  ClusterVersionSetRequest,
  CompactionRequest,
  LeaseGrantRequest,
  LeaseRevokeRequest,
} from "@quorate/api/messages";
import type { Lessor } from "@quorate/lease";
import type { Membership } from "@quorate/membership";
import { decodeMember } from "@quorate/membership";
import { type Backend, type Store, txnCost } from "@quorate/mvcc";
import { type ConfChange, type ConfState, decodeConfChange, type Entry, EntryType } from "@quorate/raft";
import { assert } from "@quorate/world";
import type { Alarms } from "./alarms.ts";
import { Outcome } from "./outcome.ts";

export interface ApplierParts {
  readonly store: Store;
  readonly backend: Backend;
  readonly lessor: Lessor;
  readonly membership: Membership;
  readonly alarms: Alarms;
}

export interface ApplierOwner {
  /** The entry with this request id was applied. `outcome` is borrowed until return. */
  entryApplied(idHigh: number, idLow: number, outcome: Outcome): void;
  /** Makes raft use the configuration after the change; null refuses the change (raft hears of it all the same). */
  applyConfChange(change: ConfChange): ConfState;
  /** The first entry of a leader's term was applied. */
  termBegan(term: number): void;
}

const CONF_STATE_KEY = Buffer.from("confState");

export class Applier {
  readonly #parts: ApplierParts;
  readonly #owner: ApplierOwner;
  readonly #request = new RaftRequestView();
  readonly #put = new PutView();
  readonly #delete = new DeleteRangeView();
  readonly #outcome = new Outcome();
  #term = 0;

  constructor(parts: ApplierParts, owner: ApplierOwner) {
    this.#parts = parts;
    this.#owner = owner;
  }

  /** Term of the last entry applied, 0 before the first since the start: what response headers show. */
  get term(): number {
    return this.#term;
  }

  apply(entry: Entry): void {
    this.#term = entry.term;
    if (entry.type === EntryType.ConfChange) {
      this.#applyConfChange(entry);
      this.#parts.backend.applied(entry.index, entry.term);
      return;
    }
    assert(entry.type === EntryType.Normal, "only changes of one member at a time are ever proposed");
    if (entry.data.length === 0) {
      this.#parts.backend.applied(entry.index, entry.term);
      this.#owner.termBegan(entry.term);
      return;
    }
    const request = this.#request;
    request.decode(entry.data, 0, entry.data.length);
    const outcome = this.#outcome;
    outcome.reset();
    try {
      outcome.error = this.#refusal();
      if (outcome.error === null) this.#operate();
    } catch (error) {
      outcome.error = errorKindOf(error);
    }
    outcome.revision = this.#parts.store.revision;
    this.#parts.backend.applied(entry.index, entry.term);
    this.#owner.entryApplied(request.idHigh, request.idLow, outcome);
  }

  /** What the alarms in force refuse (semantics §3.7, §9.8 of the reference); null if nothing does. */
  #refusal(): ErrorKind | null {
    const { alarms } = this.#parts;
    const { op } = this.#request;
    if (alarms.isRaised(AlarmType.CORRUPT) && isRefusedWhenCorrupt(op)) return "Corrupt";
    if (!alarms.isRaised(AlarmType.NOSPACE)) return null;
    if (op === RaftOp.Put || op === RaftOp.LeaseGrant) return "NoSpace";
    if (op !== RaftOp.Txn) return null;
    const { txn } = decodeTxnRequest(this.#request.buffer, this.#request.start, this.#request.end);
    return txnCost(txn) > 0 ? "NoSpace" : null;
  }

  #operate(): void {
    const { buffer, start, end, op } = this.#request;
    switch (op) {
      case RaftOp.Put:
        return this.#applyPut(buffer, start, end);
      case RaftOp.DeleteRange:
        return this.#applyDeleteRange(buffer, start, end);
      case RaftOp.Txn: {
        this.#outcome.txn = this.#parts.store.txn(decodeTxnRequest(buffer, start, end).txn, true);
        return;
      }
      case RaftOp.Compaction:
        return this.#parts.store.compact(CompactionRequest.decode(buffer, start, end).revision);
      case RaftOp.LeaseGrant:
        return this.#applyGrant(buffer, start, end);
      case RaftOp.LeaseRevoke:
        return this.#applyRevoke(LeaseRevokeRequest.decode(buffer, start, end).ID);
      case RaftOp.Alarm:
        return this.#applyAlarm(buffer, start, end);
      case RaftOp.ClusterVersionSet:
        return this.#parts.membership.setClusterVersion(ClusterVersionSetRequest.decode(buffer, start, end).ver);
      case RaftOp.ClusterMemberAttrSet: {
        const { memberID, memberAttributes } = ClusterMemberAttrSetRequest.decode(buffer, start, end);
        const { name = "", clientUrls = [] } = memberAttributes ?? {};
        this.#parts.membership.setAttributes(memberID, name, clientUrls);
        return;
      }
      default:
        // Passing over an operation that others may know would make this member's state differ from theirs.
        assert(false, "every operation in the log is known");
    }
  }

  /** Hot: the plain put allocates nothing here. */
  #applyPut(buffer: Uint8Array, start: number, end: number): void {
    const { store, lessor } = this.#parts;
    const put = this.#put;
    put.decode(buffer, start, end);
    if (put.prevKv || put.ignoreValue || put.ignoreLease) {
      this.#outcome.put = store.put(
        {
          key: buffer.subarray(put.keyStart, put.keyEnd),
          value: buffer.subarray(put.valueStart, put.valueEnd),
          lease: put.lease,
          prevKv: put.prevKv,
          ignoreValue: put.ignoreValue,
          ignoreLease: put.ignoreLease,
        },
        true,
      );
      return;
    }
    if (put.lease !== 0n && !lessor.exists(put.lease)) {
      this.#outcome.error = "LeaseNotFound";
      return;
    }
    const write = store.begin();
    write.put(buffer, put.keyStart, put.keyEnd, buffer, put.valueStart, put.valueEnd, put.lease);
    write.commit();
  }

  #applyDeleteRange(buffer: Uint8Array, start: number, end: number): void {
    const view = this.#delete;
    view.decode(buffer, start, end);
    this.#outcome.deleteRange = this.#parts.store.deleteRange(
      {
        key: buffer.subarray(view.keyStart, view.keyEnd),
        rangeEnd: buffer.subarray(view.rangeEndStart, view.rangeEndEnd),
        prevKv: view.prevKv,
      },
      true,
    );
  }

  #applyGrant(buffer: Uint8Array, start: number, end: number): void {
    const { ID, TTL } = LeaseGrantRequest.decode(buffer, start, end);
    this.#outcome.leaseId = ID;
    this.#outcome.leaseTtlSeconds = this.#parts.lessor.grant(ID, TTL);
  }

  /** The lease and its keys go in one revision; without keys no revision is used. */
  #applyRevoke(id: bigint): void {
    const keys = this.#parts.lessor.revoke(id);
    if (keys.length === 0) return;
    const write = this.#parts.store.begin();
    for (const key of keys) write.delete(key, 0, key.length);
    write.commit();
  }

  #applyAlarm(buffer: Uint8Array, start: number, end: number): void {
    const { action, memberID, alarm } = AlarmRequest.decode(buffer, start, end);
    const { alarms } = this.#parts;
    switch (action) {
      case AlarmAction.GET:
        this.#outcome.alarms = alarms.list(alarm);
        return;
      case AlarmAction.ACTIVATE:
        if (alarm !== AlarmType.NONE) this.#outcome.alarms = [alarms.activate({ memberId: memberID, alarm })];
        return;
      case AlarmAction.DEACTIVATE: {
        const cleared = alarms.deactivate({ memberId: memberID, alarm });
        if (cleared !== null) this.#outcome.alarms = [cleared];
        return;
      }
      default:
    }
  }

  /** The spine's only change of configuration is the bootstrap's: adding a voter. */
  #applyConfChange(entry: Entry): void {
    const change = decodeConfChange(entry.data);
    this.#parts.membership.add(decodeMember(Buffer.from(change.context).toString()));
    const confState = this.#owner.applyConfChange(change);
    this.#parts.backend.put("meta", CONF_STATE_KEY, Buffer.from(confStateJson(confState)));
  }
}

/** The kind a client may be told; anything that is not in the table of errors is a bug and goes on up. */
function errorKindOf(error: unknown): ErrorKind {
  const kind = (error as { kind?: unknown } | null)?.kind;
  if (typeof kind === "string" && Object.hasOwn(errors, kind)) return kind as ErrorKind;
  throw error;
}

function isRefusedWhenCorrupt(op: RaftOp): boolean {
  switch (op) {
    case RaftOp.Put:
    case RaftOp.DeleteRange:
    case RaftOp.Txn:
    case RaftOp.Compaction:
    case RaftOp.LeaseGrant:
    case RaftOp.LeaseRevoke:
      return true;
    default:
      return false;
  }
}

/** etcd's JSON of a ConfState in table meta: ids are bare decimals, empty lists are left out, auto_leave is not. */
export function confStateJson(state: ConfState): string {
  const list = (name: string, ids: readonly bigint[]): string =>
    ids.length === 0 ? "" : `"${name}":[${ids.join(",")}],`;
  return (
    `{${list("voters", state.voters)}${list("learners", state.learners)}` +
    `${list("voters_outgoing", state.votersOutgoing)}${list("learners_next", state.learnersNext)}"auto_leave":${state.autoLeave}}`
  );
}

/** Throws SyntaxError for what confStateJson did not write. */
export function parseConfState(text: string): ConfState {
  // Every number in it is an id, and an id may be above 2^53: quote them all, then read them exactly.
  const parsed = JSON.parse(text.replace(/\d+/g, '"$&"')) as Partial<Record<string, string[]>> & {
    auto_leave?: boolean;
  };
  const ids = (name: string): bigint[] => (parsed[name] ?? []).map(BigInt);
  return {
    voters: ids("voters"),
    learners: ids("learners"),
    votersOutgoing: ids("voters_outgoing"),
    learnersNext: ids("learners_next"),
    autoLeave: parsed.auto_leave === true,
  };
}
