/**
 * The keys of locks and elections (semantics §8): a session's key is `<name>/<its lease in hex>`, and among the keys under
 * a name the one with the smallest create revision belongs to the owner.
 */
import { CompareResult, CompareTarget, SortOrder, SortTarget } from "@quorate/api";
import { type Compare, type Init, RangeRequest, RangeResponse, TxnRequest, TxnResponse } from "@quorate/api/messages";
import type { LocalMethod } from "./local-call.ts";

export const TXN: LocalMethod<TxnRequest, TxnResponse> = {
  path: "/etcdserverpb.KV/Txn",
  request: TxnRequest,
  response: TxnResponse,
};

export const RANGE: LocalMethod<RangeRequest, RangeResponse> = {
  path: "/etcdserverpb.KV/Range",
  request: RangeRequest,
  response: RangeResponse,
};

/** Negative leases as Go prints them: a sign and the digits of the absolute value. */
export function keyOf(name: Uint8Array, lease: bigint): Buffer {
  return Buffer.concat([name, Buffer.from(`/${lease.toString(16)}`)]);
}

/** Everything that begins with the name and a slash. */
export function rangeUnder(name: Uint8Array): { readonly key: Buffer; readonly rangeEnd: Buffer } {
  return { key: Buffer.concat([name, SLASH]), rangeEnd: Buffer.concat([name, AFTER_SLASH]) };
}

/** The owner's key. */
export function firstUnder(name: Uint8Array): Init<RangeRequest> {
  return { ...rangeUnder(name), sortOrder: SortOrder.ASCEND, sortTarget: SortTarget.CREATE, limit: 1 };
}

/** The last key that was created before a revision. */
export function lastUnderBefore(name: Uint8Array, createRevision: number): Init<RangeRequest> {
  return {
    ...rangeUnder(name),
    sortOrder: SortOrder.DESCEND,
    sortTarget: SortTarget.CREATE,
    limit: 1,
    maxCreateRevision: createRevision - 1,
    keysOnly: true,
  };
}

/** Holds if the key was created at this revision; at 0: if it is not there. */
export function isCreatedAt(key: Uint8Array, createRevision: number): Init<Compare> {
  return { result: CompareResult.EQUAL, target: CompareTarget.CREATE, key, createRevision };
}

const SLASH = Buffer.from("/");
const AFTER_SLASH = Buffer.from([SLASH[0]! + 1]);
