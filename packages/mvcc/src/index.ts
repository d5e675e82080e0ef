/** Revisions, key index, compaction and watchers over LMDB: the replicated key-value state of one member. */
export * from "./backend/index.ts";
export * from "./key-index/index.ts";
export type { LeaseBook } from "./store/lease-book.ts";
export type { RangeResult } from "./store/range.ts";
export type { RecordList } from "./store/record-list.ts";
export type * from "./store/requests.ts";
export { type HashTask, Store, type StoreOptions } from "./store/store.ts";
export type { CheckpointReader, CheckpointWriter } from "./store/store-checkpoint.ts";
export type { DeleteRangeResult, OpResult, PutResult, TxnResult } from "./store/txn.ts";
export { checkTxn, isReadOnlyTxn, isSerializableTxn, txnCost } from "./store/txn-check.ts";
export type { CommitListener } from "./store/write-txn.ts";
export * from "./watch/index.ts";
