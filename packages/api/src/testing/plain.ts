/** Views and objects of ../hot as the plain objects of ../messages, so that one can be compared with the other. */

import {
  type Compare,
  CompareUnion,
  type DeleteRangeRequest,
  type DeleteRangeView,
  type KeyValueView,
  type PutRequest,
  type PutView,
  type RangeRequest,
  type RangeView,
  type RequestOp,
  type TxnRequest,
  type WatchRequest,
} from "../hot/index.ts";

function slice(view: { buffer: Uint8Array }, start: number, end: number): Buffer {
  return Buffer.from(view.buffer.subarray(start, end));
}

export function plainPutView(view: PutView): object {
  return {
    key: slice(view, view.keyStart, view.keyEnd),
    value: slice(view, view.valueStart, view.valueEnd),
    lease: view.lease,
    prevKv: view.prevKv,
    ignoreValue: view.ignoreValue,
    ignoreLease: view.ignoreLease,
  };
}

export function plainRangeView(view: RangeView): object {
  return {
    key: slice(view, view.keyStart, view.keyEnd),
    rangeEnd: slice(view, view.rangeEndStart, view.rangeEndEnd),
    ...rangeOptions(view),
  };
}

export function plainDeleteRangeView(view: DeleteRangeView): object {
  return {
    key: slice(view, view.keyStart, view.keyEnd),
    rangeEnd: slice(view, view.rangeEndStart, view.rangeEndEnd),
    prevKv: view.prevKv,
  };
}

export function plainKeyValueView(view: KeyValueView): object {
  return {
    key: slice(view, view.keyStart, view.keyEnd),
    createRevision: view.createRevision,
    modRevision: view.modRevision,
    version: view.version,
    value: slice(view, view.valueStart, view.valueEnd),
    lease: view.lease,
  };
}

export function plainTxn(txn: TxnRequest): object {
  return {
    compare: txn.compare.map(plainCompare),
    success: txn.success.map(plainOp),
    failure: txn.failure.map(plainOp),
  };
}

/** Filters become the two that have names, in order, as the view keeps no others. */
export function plainWatch(watch: WatchRequest): object {
  return {
    createRequest:
      watch.kind === "create"
        ? {
            key: Buffer.from(watch.request.key),
            rangeEnd: Buffer.from(watch.request.rangeEnd),
            startRevision: watch.request.startRevision,
            progressNotify: watch.request.progressNotify,
            filters: [...(watch.request.noPut ? [0] : []), ...(watch.request.noDelete ? [1] : [])],
            prevKv: watch.request.prevKv,
            watchId: watch.request.watchId,
            fragment: watch.request.fragment,
          }
        : undefined,
    cancelRequest: watch.kind === "cancel" ? { watchId: watch.watchId } : undefined,
    progressRequest: watch.kind === "progress" ? {} : undefined,
  };
}

function plainCompare(compare: Compare): object {
  const given = <T>(union: CompareUnion, value: T): T | undefined => (compare.union === union ? value : undefined);
  return {
    result: compare.result,
    target: compare.target,
    key: Buffer.from(compare.key),
    version: given(CompareUnion.Version, compare.version),
    createRevision: given(CompareUnion.CreateRevision, compare.createRevision),
    modRevision: given(CompareUnion.ModRevision, compare.modRevision),
    value: given(CompareUnion.Value, Buffer.from(compare.value)),
    lease: given(CompareUnion.Lease, compare.lease),
    rangeEnd: Buffer.from(compare.rangeEnd),
  };
}

function plainOp(op: RequestOp): object {
  return {
    requestRange: op.kind === "range" ? plainRange(op.request) : undefined,
    requestPut: op.kind === "put" ? plainPut(op.request) : undefined,
    requestDeleteRange: op.kind === "deleteRange" ? plainDeleteRange(op.request) : undefined,
    requestTxn: op.kind === "txn" ? plainTxn(op.request) : undefined,
  };
}

function plainRange(range: RangeRequest): object {
  return { key: Buffer.from(range.key), rangeEnd: Buffer.from(range.rangeEnd), ...rangeOptions(range) };
}

function plainPut(put: PutRequest): object {
  return { ...put, key: Buffer.from(put.key), value: Buffer.from(put.value) };
}

function plainDeleteRange(request: DeleteRangeRequest): object {
  return { ...request, key: Buffer.from(request.key), rangeEnd: Buffer.from(request.rangeEnd) };
}

function rangeOptions(range: RangeView | RangeRequest): object {
  return {
    limit: range.limit,
    revision: range.revision,
    sortOrder: range.sortOrder,
    sortTarget: range.sortTarget,
    serializable: range.serializable,
    keysOnly: range.keysOnly,
    countOnly: range.countOnly,
    minModRevision: range.minModRevision,
    maxModRevision: range.maxModRevision,
    minCreateRevision: range.minCreateRevision,
    maxCreateRevision: range.maxCreateRevision,
  };
}
