/**
 * Executes requests: check everything, then change (known-failures AP-08). A put, a delete and a txn are applied by the
 * same steps on every member; `respond` says only whether someone here waits for the answer, and never changes what is
 * accepted or written (AP-07).
 *
 *     compares of the whole chosen tree ──▶ checks of every chosen operation ──▶ execution in order
 *     (on the state before)                 (nothing written yet)               (each sees the earlier ones)
 *
 * Whoever calls has validated the shape of the request (txn-check.ts).
 */

import { CompareResult, CompareTarget } from "@quorate/api";
import { assert } from "@quorate/world";
import { NONE } from "../key-index/limits.ts";
import { NodeList } from "../key-index/node-list.ts";
import { KeyNotFoundError, LeaseNotFoundError } from "./errors.ts";
import { compareKeys, isSingleKey, upperBound } from "./key-range.ts";
import { evaluateRange, type RangeResult } from "./range.ts";
import { RecordList } from "./record-list.ts";
import type { CompareInput, DeleteRangeInput, OpInput, PutInput, TxnInput } from "./requests.ts";
import type { StoreState } from "./state.ts";
import type { WriteTxn } from "./write-txn.ts";

export interface PutResult {
  /** For the answer's header. */
  readonly revision: number;
  /** At most one record; null if not asked for. */
  readonly prevKv: RecordList | null;
}

export interface DeleteRangeResult {
  readonly revision: number;
  readonly deleted: number;
  /** null if not asked for. */
  readonly prevKvs: RecordList | null;
}

/** Like OpInput: the field of the operation's kind is set; none is for an empty operation. */
export interface OpResult {
  readonly responseRange: RangeResult | null;
  readonly responsePut: PutResult | null;
  readonly responseDeleteRange: DeleteRangeResult | null;
  readonly responseTxn: TxnResult | null;
}

export interface TxnResult {
  /** For the header of the outermost answer; those of nested ones stay empty. */
  readonly revision: number;
  readonly succeeded: boolean;
  /** One per operation of the chosen branch; empty when nobody waits. */
  readonly responses: readonly OpResult[];
}

export class Executor {
  readonly #state: StoreState;
  readonly #write: WriteTxn;

  constructor(state: StoreState, write: WriteTxn) {
    this.#state = state;
    this.#write = write;
  }

  /** Throws {@link LeaseNotFoundError} or {@link KeyNotFoundError}, having changed nothing. */
  put(put: PutInput, respond: boolean): PutResult {
    this.#checkPut(put);
    this.#write.open();
    const result = this.#executePut(put, respond);
    this.#write.commit();
    return result;
  }

  deleteRange(deleteRange: DeleteRangeInput, respond: boolean): DeleteRangeResult {
    this.#write.open();
    const result = this.#executeDeleteRange(deleteRange, respond);
    this.#write.commit();
    return result;
  }

  /**
   * Throws what the chosen operations' checks throw, having changed nothing: LeaseNotFoundError, KeyNotFoundError,
   * CompactedError, FutureRevisionError.
   */
  txn(txn: TxnInput, respond: boolean): TxnResult {
    this.#state.counts.txns++;
    const plan = this.#plan(txn);
    this.#checkPlan(plan, { deletedFrom: null });
    this.#write.open();
    const responses = this.#executePlan(plan, respond);
    return { revision: this.#write.commit(), succeeded: plan.succeeded, responses };
  }

  /** Evaluates compares along the branches taken, nested ones included, before anything is written. */
  #plan(txn: TxnInput): Plan {
    const succeeded = txn.compare.every((compare) => this.#holds(compare));
    const ops = succeeded ? txn.success : txn.failure;
    const nested = ops.map((op) => (op.kind !== "txn" ? null : this.#plan(op.request)));
    return { succeeded, ops, nested };
  }

  #holds(compare: CompareInput): boolean {
    const { index } = this.#state;
    if (isSingleKey(compare.rangeEnd)) {
      const slot = index.find(compare.key, 0, compare.key.length);
      const isLive = slot !== NONE && index.isLive(slot);
      return isLive ? this.#slotHolds(compare, slot) : absentHolds(compare);
    }
    let seen = 0;
    let holds = true;
    index.walk(compare.key, upperBound(compare.rangeEnd), {
      visit: (slot) => {
        if (!index.isLive(slot)) return true;
        seen++;
        holds = this.#slotHolds(compare, slot);
        return holds;
      },
    });
    return seen === 0 ? absentHolds(compare) : holds;
  }

  #slotHolds(compare: CompareInput, slot: number): boolean {
    const { index } = this.#state;
    const node = index.newest(slot);
    switch (compare.target) {
      case CompareTarget.VERSION:
        return orderMatches(compare.result, index.version(slot) - compare.version);
      case CompareTarget.CREATE:
        return orderMatches(compare.result, index.createRevision(slot) - compare.createRevision);
      case CompareTarget.MOD:
        return orderMatches(compare.result, index.main(node) - compare.modRevision);
      case CompareTarget.VALUE: {
        const view = this.#state.view(node);
        const stored = view.buffer.subarray(view.valueStart, view.valueEnd);
        return orderMatches(compare.result, compareKeys(stored, compare.value));
      }
      case CompareTarget.LEASE: {
        const lease = index.hasLease(slot) ? this.#state.view(node).lease : 0n;
        return orderMatches(compare.result, orderOfLeases(lease, compare.lease));
      }
      default:
        return orderMatches(compare.result, 0);
    }
  }

  #checkPlan(plan: Plan, earlier: EarlierWrites): void {
    for (const [i, op] of plan.ops.entries()) {
      if (op.kind === "range") {
        // Only 0 means now here: what is below 0 is a number below any compacted revision (QUIRK, as etcd).
        if (op.request.revision !== 0) this.#state.checkReadable(op.request.revision);
      } else if (op.kind === "put") {
        this.#checkPut(op.request);
        if (keepsOld(op.request) && isDeletedBy(earlier, op.request.key)) throw new KeyNotFoundError();
      } else if (op.kind === "deleteRange") {
        noteDelete(earlier, op.request);
      } else if (op.kind === "txn") {
        this.#checkPlan(plan.nested[i]!, earlier);
      }
    }
  }

  #checkPut(put: PutInput): void {
    if (put.lease !== 0n && !this.#state.leases.exists(put.lease)) throw new LeaseNotFoundError(put.lease);
    if (keepsOld(put) && this.#liveNode(put.key) === NONE) throw new KeyNotFoundError();
  }

  #liveNode(key: Uint8Array): number {
    const { index } = this.#state;
    const slot = index.find(key, 0, key.length);
    return slot === NONE || !index.isLive(slot) ? NONE : index.newest(slot);
  }

  #executePlan(plan: Plan, respond: boolean): OpResult[] {
    const responses: OpResult[] = [];
    for (const [i, op] of plan.ops.entries()) {
      const response = this.#executeOp(op, plan.nested[i]!, respond);
      if (respond) responses.push(response);
    }
    return responses;
  }

  #executeOp(op: OpInput, nested: Plan | null, respond: boolean): OpResult {
    let responseRange: RangeResult | null = null;
    let responsePut: PutResult | null = null;
    let responseDeleteRange: DeleteRangeResult | null = null;
    let responseTxn: TxnResult | null = null;
    if (op.kind === "range") {
      if (respond) responseRange = evaluateRange(this.#state, this.#write.revision, op.request);
    } else if (op.kind === "put") {
      responsePut = this.#executePut(op.request, respond);
    } else if (op.kind === "deleteRange") {
      responseDeleteRange = this.#executeDeleteRange(op.request, respond);
    } else if (nested !== null) {
      const responses = this.#executePlan(nested, respond);
      responseTxn = { revision: this.#write.revision, succeeded: nested.succeeded, responses };
    }
    return { responseRange, responsePut, responseDeleteRange, responseTxn };
  }

  #executePut(put: PutInput, respond: boolean): PutResult {
    const node = keepsOld(put) || put.prevKv ? this.#liveNode(put.key) : NONE;
    let value = put.value;
    let lease = put.lease;
    if (keepsOld(put)) {
      assert(node !== NONE, "a put that keeps the old value or lease was checked to have one");
      const old = this.#state.view(node);
      if (put.ignoreValue) value = old.copyValue();
      if (put.ignoreLease) lease = old.lease;
    }
    this.#write.put(put.key, 0, put.key.length, value, 0, value.length, lease);
    return { revision: this.#write.revision, prevKv: put.prevKv && respond ? this.#listOf(node) : null };
  }

  #listOf(node: number): RecordList {
    const nodes = new NodeList(1);
    if (node !== NONE) nodes.push(node);
    return new RecordList(this.#state, nodes, null, null);
  }

  #executeDeleteRange(deleteRange: DeleteRangeInput, respond: boolean): DeleteRangeResult {
    const previous = deleteRange.prevKv && respond ? new NodeList() : null;
    const deleted = this.#write.deleteRange(deleteRange.key, deleteRange.rangeEnd, previous);
    const prevKvs = previous === null ? null : new RecordList(this.#state, previous, null, null);
    return { revision: this.#write.revision, deleted, prevKvs };
  }
}

/** A txn with its branches chosen. */
interface Plan {
  readonly succeeded: boolean;
  readonly ops: readonly OpInput[];
  /** The plan of each operation that is a txn, null for the others. */
  readonly nested: readonly (Plan | null)[];
}

function keepsOld(put: PutInput): boolean {
  return put.ignoreValue || put.ignoreLease;
}

/**
 * What operations checked so far will have deleted. Validation refuses a put after a delete of its key, except where the
 * delete's range_end is `\0`; such a put may want to keep a value that is gone by then. etcd's process panics on that in
 * the middle of the txn; we refuse the txn before it starts. (test: "a put that keeps the value of a key deleted ...")
 */
interface EarlierWrites {
  /** Every key from here on; null is none. */
  deletedFrom: Uint8Array | null;
}

function noteDelete(earlier: EarlierWrites, { key, rangeEnd }: DeleteRangeInput): void {
  const isUnbounded = !isSingleKey(rangeEnd) && upperBound(rangeEnd) === null;
  if (!isUnbounded) return;
  if (earlier.deletedFrom === null || compareKeys(key, earlier.deletedFrom) < 0) earlier.deletedFrom = key;
}

function isDeletedBy(earlier: EarlierWrites, key: Uint8Array): boolean {
  return earlier.deletedFrom !== null && compareKeys(key, earlier.deletedFrom) >= 0;
}

/** An absent key has no value to compare; everything else of it is 0, so `create_revision = 0` asks for absence. */
function absentHolds(compare: CompareInput): boolean {
  switch (compare.target) {
    case CompareTarget.VERSION:
      return orderMatches(compare.result, -compare.version);
    case CompareTarget.CREATE:
      return orderMatches(compare.result, -compare.createRevision);
    case CompareTarget.MOD:
      return orderMatches(compare.result, -compare.modRevision);
    case CompareTarget.VALUE:
      return false;
    case CompareTarget.LEASE:
      return orderMatches(compare.result, orderOfLeases(0n, compare.lease));
    default:
      return orderMatches(compare.result, 0);
  }
}

function orderOfLeases(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function orderMatches(result: number, order: number): boolean {
  switch (result) {
    case CompareResult.EQUAL:
      return order === 0;
    case CompareResult.GREATER:
      return order > 0;
    case CompareResult.LESS:
      return order < 0;
    case CompareResult.NOT_EQUAL:
      return order !== 0;
    default:
      return true;
  }
}
