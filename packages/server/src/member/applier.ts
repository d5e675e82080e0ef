/**
 * Applies committed entries to the replicated state, in order, each once: a pure function of (state, entry). Who waits
 * for the answer, the clock, the configuration and the size of the disk have no say here, because every member must come
 * to the same state (known failures AP-07, AP-09, QU-01); the waiter only hears of the outcome afterwards.
 *
 *   entry ─▶ decode ─▶ alarms ─▶ may the caller? ─▶ operation ─▶ backend.applied(index, term) ─▶ outcome to whoever waits
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
  DowngradeInfoSetRequest,
  LeaseCheckpointRequest,
  LeaseGrantRequest,
  LeaseRevokeRequest,
} from "@quorate/api/messages";
import { Access, type Identity } from "@quorate/auth";
import { compareVersions, decodeChange, type MembershipChange, parseVersion } from "@quorate/membership";
import { txnCost } from "@quorate/mvcc";
import { type ConfChange, type ConfState, decodeConfChange, type Entry, EntryType, NO_NODE } from "@quorate/raft";
import { assert } from "@quorate/world";
import { type AppliedState, CONF_STATE_KEY } from "./applied-state.ts";
import { AuthApplier, type AuthApplierOwner } from "./auth-applier.ts";
import { confStateJson } from "./conf-state.ts";
import { refusalOfDelete, refusalOfLease, refusalOfPut, refusalOfTxn } from "./key-permissions.ts";
import { Outcome } from "./outcome.ts";

export interface ApplierOwner extends AuthApplierOwner {
  /** The entry with this request id was applied. `outcome` is borrowed until return. */
  entryApplied(idHigh: number, idLow: number, outcome: Outcome): void;
  /** Makes raft use the configuration after the change; one of node 0 changes nothing there. */
  applyConfChange(change: ConfChange): ConfState;
  /** Who is in the cluster has changed, and so. */
  membershipChanged(change: MembershipChange): void;
  /** The version the cluster runs at was decided. */
  clusterVersionSet(version: string): void;
  /** The first entry of a leader's term was applied. */
  termBegan(term: number): void;
}

/** From here on a lease's remaining time is kept in its record. */
const CHECKPOINTS_PERSIST_FROM = parseVersion("3.6.0")!;

export class Applier {
  readonly #parts: AppliedState;
  /** As configured: must be the same on every member. */
  readonly #maxLearners: number;
  readonly #owner: ApplierOwner;
  readonly #request = new RaftRequestView();
  readonly #put = new PutView();
  readonly #delete = new DeleteRangeView();
  readonly #outcome = new Outcome();
  readonly #auth: AuthApplier;
  #term: number;

  /** `term`: of the last entry applied before, 0 if that is not known. */
  constructor(parts: AppliedState, maxLearners: number, term: number, owner: ApplierOwner) {
    this.#parts = parts;
    this.#maxLearners = maxLearners;
    this.#term = term;
    this.#owner = owner;
    this.#auth = new AuthApplier(parts.auth, owner);
  }

  /** Term of the last entry applied, 0 before the first since the start: what response headers show. */
  get term(): number {
    return this.#term;
  }

  apply(entry: Entry): void {
    this.#term = entry.term;
    if (entry.type === EntryType.ConfChange) {
      this.#applyConfChange(entry);
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
      if (outcome.error === null) this.#operate(entry.index);
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

  #operate(index: number): void {
    const { buffer, start, end, op } = this.#request;
    switch (op) {
      case RaftOp.Put:
        return this.#applyPut(buffer, start, end);
      case RaftOp.DeleteRange:
        return this.#applyDeleteRange(buffer, start, end);
      case RaftOp.Txn: {
        const { txn } = decodeTxnRequest(buffer, start, end);
        if (this.#isGuarded && this.#isRefused(refusalOfTxn(this.#parts, this.#caller, txn))) return;
        this.#outcome.txn = this.#parts.store.txn(txn, true);
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
      case RaftOp.LeaseCheckpoint:
        return this.#applyCheckpoints(buffer, start, end);
      case RaftOp.ClusterVersionSet: {
        const { ver } = ClusterVersionSetRequest.decode(buffer, start, end);
        this.#parts.membership.setClusterVersion(ver);
        return this.#owner.clusterVersionSet(ver);
      }
      case RaftOp.DowngradeInfoSet: {
        const { enabled, ver } = DowngradeInfoSetRequest.decode(buffer, start, end);
        return this.#parts.membership.setDowngradeTarget(enabled ? ver : null);
      }
      case RaftOp.ClusterMemberAttrSet: {
        const { memberID, memberAttributes } = ClusterMemberAttrSetRequest.decode(buffer, start, end);
        const { name = "", clientUrls = [] } = memberAttributes ?? {};
        this.#parts.membership.setAttributes(memberID, name, clientUrls);
        return;
      }
      case RaftOp.Range:
      case RaftOp.DowngradeVersionTest:
        // A read that another member put into the log is for whoever waits there; the test only marks the log.
        return;
      default:
        if (this.#auth.apply(this.#request, index, this.#outcome)) return;
        // Passing over an operation that others may know would make this member's state differ from theirs.
        assert(false, "every operation in the log is known");
    }
  }

  /** Auth is on: it matters whom the entry comes from. */
  get #isGuarded(): boolean {
    return this.#parts.auth.isEnabled;
  }

  get #caller(): Identity {
    return this.#auth.callerOf(this.#request);
  }

  #isRefused(refusal: ErrorKind | null): boolean {
    this.#outcome.error = refusal;
    return refusal !== null;
  }

  /** Hot: the plain put allocates nothing here. */
  #applyPut(buffer: Uint8Array, start: number, end: number): void {
    const { store, lessor } = this.#parts;
    const put = this.#put;
    put.decode(buffer, start, end);
    if (this.#isGuarded && this.#isRefused(refusalOfPut(this.#parts, this.#caller, put))) return;
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
    if (this.#isGuarded && this.#isRefused(refusalOfDelete(this.#parts, this.#caller, view))) return;
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
    if (this.#isGuarded && this.#isRefused(refusalOfLease(this.#parts, this.#caller, id, Access.Write))) return;
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

  #applyCheckpoints(buffer: Uint8Array, start: number, end: number): void {
    const { lessor, membership } = this.#parts;
    const version = parseVersion(membership.clusterVersion ?? "");
    const persist = version !== null && compareVersions(version, CHECKPOINTS_PERSIST_FROM) >= 0;
    for (const { ID, remainingTTL } of LeaseCheckpointRequest.decode(buffer, start, end).checkpoints) {
      lessor.checkpoint(ID, remainingTTL, persist);
    }
  }

  /** A change that does not fit is refused by every member alike, and raft hears of a change that changes nothing (MB-02). */
  #applyConfChange(entry: Entry): void {
    const { membership, backend, store } = this.#parts;
    const wire = decodeConfChange(entry.data);
    const change = decodeChange(wire);
    const refusal = membership.validate(change, this.#maxLearners);
    if (refusal === null) membership.apply(change);
    const confState = this.#owner.applyConfChange(refusal === null ? wire : { ...wire, nodeId: NO_NODE });
    this.#parts.confState = confState;
    backend.put("meta", CONF_STATE_KEY, Buffer.from(confStateJson(confState)));
    backend.applied(entry.index, entry.term);
    if (refusal === null) this.#owner.membershipChanged(change);
    const outcome = this.#outcome;
    outcome.reset();
    outcome.error = refusal;
    outcome.revision = store.revision;
    this.#owner.entryApplied(Number(wire.id >> 48n), Number(wire.id & LOW_48_BITS), outcome);
  }
}

const LOW_48_BITS = 0xffff_ffff_ffffn;

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
