/** TxnResponses: the answers of the operations in order, each with a header that names the revision alone. */
import {
  beginResponseOp,
  finishResponseOp,
  ResponseOpTag,
  writeDeletedCount,
  writeDeletedPrevKv,
  writeInnerHeader,
  writePutPrevKv,
  writeSucceeded,
} from "@quorate/api";
import type { Writer } from "@quorate/api/wire";
import type { OpResult, TxnResult } from "@quorate/mvcc";
import type { Member } from "../member/member.ts";
import { writeRange } from "./range-answer.ts";

/** The whole response, from an empty writer. */
export function writeTxnAnswer(writer: Writer, member: Member, result: TxnResult): void {
  writer.reset();
  member.header.write(writer, result.revision, member.appliedTerm);
  writeSucceeded(writer, result.succeeded);
  for (const response of result.responses) writeOp(writer, response);
}

function writeOp(writer: Writer, op: OpResult): void {
  if (op.responseRange !== null) {
    const start = beginResponseOp(writer, ResponseOpTag.Range);
    writeInnerHeader(writer, op.responseRange.revision);
    writeRange(writer, op.responseRange, op.responseRange.more, op.responseRange.count);
    finishResponseOp(writer, start);
  } else if (op.responsePut !== null) {
    const start = beginResponseOp(writer, ResponseOpTag.Put);
    writeInnerHeader(writer, op.responsePut.revision);
    const { prevKv } = op.responsePut;
    if (prevKv !== null && prevKv.length > 0) {
      const bytes = prevKv.toBytes(0);
      writePutPrevKv(writer, bytes, 0, bytes.length);
    }
    finishResponseOp(writer, start);
  } else if (op.responseDeleteRange !== null) {
    const start = beginResponseOp(writer, ResponseOpTag.DeleteRange);
    const { revision, deleted, prevKvs } = op.responseDeleteRange;
    writeInnerHeader(writer, revision);
    writeDeletedCount(writer, deleted);
    for (let i = 0; prevKvs !== null && i < prevKvs.length; i++) {
      const bytes = prevKvs.toBytes(i);
      writeDeletedPrevKv(writer, bytes, 0, bytes.length);
    }
    finishResponseOp(writer, start);
  } else if (op.responseTxn !== null) {
    const start = beginResponseOp(writer, ResponseOpTag.Txn);
    // A nested answer's header is there and empty.
    writeInnerHeader(writer, 0);
    writeSucceeded(writer, op.responseTxn.succeeded);
    for (const response of op.responseTxn.responses) writeOp(writer, response);
    finishResponseOp(writer, start);
  }
}
