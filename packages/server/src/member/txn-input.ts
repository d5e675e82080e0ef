/** temporary */
import type { RequestOp, TxnRequest } from "@quorate/api";
import type { OpInput, TxnInput } from "@quorate/mvcc";
export function inputOf(txn: TxnRequest): TxnInput {
  return { compare: txn.compare, success: txn.success.map(opOf), failure: txn.failure.map(opOf) };
}
function opOf(op: RequestOp): OpInput {
  return {
    requestRange: op.kind === "range" ? op.request : null,
    requestPut: op.kind === "put" ? op.request : null,
    requestDeleteRange: op.kind === "deleteRange" ? op.request : null,
    requestTxn: op.kind === "txn" ? inputOf(op.request) : null,
  };
}
