/** Hand-made codecs of the messages that pass by the hundred thousand a second; the rest are in ../messages. */
export { HeaderEncoder, innerHeaderSize, writeInnerHeader } from "./header.ts";
export { KeyValueView, keyValueSize, writeKeyValue } from "./key-value.ts";
export { LeaseKeepAliveView, writeLeaseKeepAliveResponse } from "./lease.ts";
export { encodePutRequest, type PutFields, PutView } from "./put.ts";
export { encodeRaftRequest, RaftOp, RaftRequestView, raftRequestSize } from "./raft-request.ts";
export {
  type DeleteRangeFields,
  DeleteRangeView,
  encodeDeleteRangeRequest,
  RangeView,
} from "./range.ts";
export {
  beginResponseOp,
  finishResponseOp,
  ResponseOpTag,
  rangeKvSize,
  rangeTailSize,
  writeDeletedCount,
  writeDeletedPrevKv,
  writePutPrevKv,
  writePutResponse,
  writeRangeKv,
  writeRangeKvHead,
  writeRangeTail,
  writeSucceeded,
  writeTxnResponse,
} from "./responses.ts";
export {
  Compare,
  CompareUnion,
  type DecodedTxn,
  DeleteRangeRequest,
  decodeTxnRequest,
  encodeTxnRequest,
  PutRequest,
  RangeRequest,
  type RequestOp,
  TxnRequest,
} from "./txn.ts";
export {
  decodeWatchRequest,
  eventFieldSize,
  type WatchControl,
  WatchCreateRequest,
  type WatchRequest,
  writeEvent,
  writeWatchControl,
  writeWatchHead,
} from "./watch.ts";
