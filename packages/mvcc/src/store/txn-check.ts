/**
 * What can be said of a request by looking at it alone: whether it is well formed, whether a txn only reads, what it
 * costs. Pure functions, called before a request is proposed and by every member's quota and authorisation checks.
 *
 * All of them see a txn through one recursive walker, {@link walkOps}, so that none can forget a nested operation
 * (known-failures MV-01). Rules and their quirks: semantics §3.2, §3.4, §3.5.
 */

import { ApiError, checkPut, checkRange, type ErrorKind } from "@quorate/api";
import { compareKeys, isSingleKey } from "./key-range.ts";
import type { CompareInput, DeleteRangeInput, OpInput, PutInput, RangeInput, TxnInput } from "./requests.ts";

/**
 * Everything a txn can be refused for before it is proposed. Throws ApiError: TooManyOperations, what its operations are
 * refused for by themselves, KeyNotFound for an operation without content, or DuplicateKey.
 */
export function checkTxn(txn: TxnInput, maxOperations: number): void {
  checkShape(txn, maxOperations);
  claimsOf(txn.success);
  claimsOf(txn.failure);
}

/**
 * Called once per operation of both branches, parents before children, in order. A nested txn is visited itself before
 * what it holds. Returning false ends the walk.
 */
export interface OpVisitor {
  range?(range: RangeInput): boolean;
  put?(put: PutInput): boolean;
  deleteRange?(deleteRange: DeleteRangeInput): boolean;
  txn?(txn: TxnInput): boolean;
  compare?(compare: CompareInput): boolean;
}

/** Visits every compare and operation of a txn, nested ones included; false if the visitor ended it. */
export function walkOps(txn: TxnInput, visitor: OpVisitor): boolean {
  for (const compare of txn.compare) if (visitor.compare?.(compare) === false) return false;
  return walkBranch(txn.success, visitor) && walkBranch(txn.failure, visitor);
}

/**
 * Whether a txn is answered as a read instead of being proposed: every operation of both branches is a range. A nested
 * txn makes it a write even if it only reads; no operations at all make it a read (both as etcd).
 */
export function isReadOnlyTxn(txn: TxnInput): boolean {
  return walkOps(txn, { put: () => false, deleteRange: () => false, txn: () => false });
}

/** Whether a read-only txn may be answered without asking the leader: all its ranges say so, or there are none. */
export function isSerializableTxn(txn: TxnInput): boolean {
  return walkOps(txn, {
    range: (range) => range.serializable,
    put: () => false,
    deleteRange: () => false,
    txn: () => false,
  });
}

/** Bytes a put is taken to add, for the quota: its key and value and a flat 256. */
export function putCost(keyLength: number, valueLength: number): number {
  return 256 + keyLength + valueLength;
}

/** Bytes a txn may add: those of its dearer branch, nested txns included. 0 passes a full quota. */
export function txnCost(txn: TxnInput): number {
  return Math.max(branchCost(txn.success), branchCost(txn.failure));
}

function branchCost(branch: readonly OpInput[]): number {
  let cost = 0;
  for (const op of branch) {
    if (op.kind === "put") cost += putCost(op.request.key.length, op.request.value.length);
    else if (op.kind === "txn") cost += txnCost(op.request);
  }
  return cost;
}

function walkBranch(branch: readonly OpInput[], visitor: OpVisitor): boolean {
  for (const op of branch) {
    if (op.kind === "range") {
      if (visitor.range?.(op.request) === false) return false;
    } else if (op.kind === "put") {
      if (visitor.put?.(op.request) === false) return false;
    } else if (op.kind === "deleteRange") {
      if (visitor.deleteRange?.(op.request) === false) return false;
    } else if (op.kind === "txn") {
      if (visitor.txn?.(op.request) === false) return false;
      if (!walkOps(op.request, visitor)) return false;
    }
  }
  return true;
}

/** The budget shrinks by each level's longest list, which also bounds the depth. */
function checkShape(txn: TxnInput, maxOperations: number): void {
  const count = Math.max(txn.compare.length, txn.success.length, txn.failure.length);
  if (count > maxOperations) throw new ApiError("TooManyOperations");
  for (const compare of txn.compare) if (compare.key.length === 0) throw new ApiError("EmptyKey");
  for (const op of txn.success) checkOp(op, maxOperations - count);
  for (const op of txn.failure) checkOp(op, maxOperations - count);
}

function checkOp(op: OpInput, maxOperations: number): void {
  if (op.kind === "txn") {
    checkShape(op.request, maxOperations);
    return;
  }
  const refused = refusalOf(op);
  if (refused !== null) throw new ApiError(refused);
}

/** What the operation would be refused for as a request of its own. */
function refusalOf(op: Exclude<OpInput, { kind: "txn" }>): ErrorKind | null {
  switch (op.kind) {
    case "range":
      return checkRange(op.request.key.length, op.request);
    case "put": {
      const { key, value, lease, ignoreValue, ignoreLease } = op.request;
      return checkPut(key.length, value.length, lease, ignoreValue, ignoreLease);
    }
    case "deleteRange":
      return op.request.key.length === 0 ? "EmptyKey" : null;
    case "none":
      return "KeyNotFound";
    default:
      return op satisfies never;
  }
}

/** What one list of operations may write: keys it puts, and the keys and intervals it deletes. */
class Claims {
  readonly puts = new Set<string>();
  readonly deletes = new KeyIntervals();
}

/**
 * The duplicate check of one list, in etcd's order, which decides two cases a stricter rule would refuse: a put in one
 * nested txn and a delete of that key in a *later* one pass, and so do puts of one key in the two branches of one nested
 * txn. Deletes never conflict with each other.
 */
function claimsOf(branch: readonly OpInput[]): Claims {
  const claims = new Claims();
  for (const op of branch) if (op.kind === "deleteRange") claims.deletes.add(op.request);
  for (const op of branch) if (op.kind === "txn") addNested(claims, op.request);
  for (const op of branch) if (op.kind === "put") addPut(claims, textOf(op.request.key), false);
  return claims;
}

function addNested(claims: Claims, txn: TxnInput): void {
  const success = claimsOf(txn.success);
  const failure = claimsOf(txn.failure);
  for (const key of success.puts) addPut(claims, key, false);
  for (const key of failure.puts) addPut(claims, key, success.puts.has(key));
  claims.deletes.addAll(success.deletes);
  claims.deletes.addAll(failure.deletes);
}

function addPut(claims: Claims, key: string, mayRepeat: boolean): void {
  if (claims.puts.has(key) && !mayRepeat) throw new ApiError("DuplicateKey");
  if (claims.deletes.covers(key)) throw new ApiError("DuplicateKey");
  claims.puts.add(key);
}

/** Keys as strings of one character a byte, which order and compare as the bytes do. */
function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

/**
 * Deleted keys. Single keys are a set; intervals are sorted and merged when first asked after a change, so that a txn of
 * many thousand nested operations costs no more than sorting them a few times.
 */
class KeyIntervals {
  readonly #keys = new Set<string>();
  #intervals: { start: string; end: string }[] = [];
  #isSorted = true;

  /** A range_end of `\0` counts as an empty interval here, as it does in etcd: such a delete conflicts with nothing. */
  add(deleteRange: DeleteRangeInput): void {
    if (isSingleKey(deleteRange.rangeEnd)) {
      this.#keys.add(textOf(deleteRange.key));
    } else if (compareKeys(deleteRange.key, deleteRange.rangeEnd) < 0) {
      this.#intervals.push({ start: textOf(deleteRange.key), end: textOf(deleteRange.rangeEnd) });
      this.#isSorted = false;
    }
  }

  addAll(other: KeyIntervals): void {
    for (const key of other.#keys) this.#keys.add(key);
    for (const interval of other.#intervals) this.#intervals.push(interval);
    if (other.#intervals.length > 0) this.#isSorted = false;
  }

  covers(key: string): boolean {
    if (this.#keys.has(key)) return true;
    if (!this.#isSorted) this.#sort();
    const intervals = this.#intervals;
    let low = 0;
    let high = intervals.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (intervals[middle]!.start <= key) low = middle + 1;
      else high = middle;
    }
    return low > 0 && key < intervals[low - 1]!.end;
  }

  /** Ascending and disjoint. */
  #sort(): void {
    const sorted = this.#intervals.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
    const merged: { start: string; end: string }[] = [];
    for (const interval of sorted) {
      const last = merged.at(-1);
      if (last === undefined || interval.start > last.end) merged.push({ start: interval.start, end: interval.end });
      else if (interval.end > last.end) last.end = interval.end;
    }
    this.#intervals = merged;
    this.#isSorted = true;
  }
}
