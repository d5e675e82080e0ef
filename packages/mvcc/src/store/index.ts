/** The replicated key-value state. See store.ts. */
export type { CompactionWaiter } from "./compactor.ts";
export {
  CompactedError,
  FutureRevisionError,
  KeyNotFoundError,
  LeaseNotFoundError,
} from "./errors.ts";
export type { KvHash } from "./hash.ts";
export { isSingleKey, upperBound } from "./key-range.ts";
export { RecordCorruptError, RecordView } from "./key-value.ts";
export { type LeaseBook, noLeases } from "./lease-book.ts";
export type { RangeResult } from "./range.ts";
export type { RecordList } from "./record-list.ts";
export type {
  CompareInput,
  DeleteRangeInput,
  OpInput,
  PutInput,
  RangeInput,
  TxnInput,
} from "./requests.ts";
export { type HashTask, Store, type StoreOpening, type StoreOptions } from "./store.ts";
export type { CheckpointReader, CheckpointTask, CheckpointWriter } from "./store-checkpoint.ts";
export type { TablesHashing } from "./tables-hash.ts";
export type { DeleteRangeResult, OpResult, PutResult, TxnResult } from "./txn.ts";
export {
  checkTxn,
  isReadOnlyTxn,
  isSerializableTxn,
  type OpVisitor,
  putCost,
  txnCost,
  walkOps,
} from "./txn-check.ts";
export type { ChangeList, CommitListener, WriteTxn } from "./write-txn.ts";
