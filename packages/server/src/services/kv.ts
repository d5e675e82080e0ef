/**
 * etcdserverpb.KV: decodes, checks, and hands writes to the log and reads to the store.
 *
 *   write   quota ─▶ checks ─▶ Member.propose ··· entry applied ─▶ answer
 *   read    checks ─▶ Member.read (at once, or after a read round) ─▶ may the caller? ─▶ store ─▶ answer
 *
 * Bytes of a request are borrowed until its handler returns: a write copies them into its log entry, a read that must
 * wait keeps a copy. Range answers are written around stored records; one too large for a buffer is sent piece by piece
 * as the client's window allows, against a pinned revision (range-body.ts).
 *
 * Hot: bench/put.ts, bench/range.ts. Nothing is allocated per put but its entry and its Pending.
 */
import {
  checkDeleteRangeView,
  checkPutView,
  checkRangeStreamView,
  checkRangeView,
  DeleteRangeView,
  decodeTxnRequest,
  type ErrorKind,
  encodeDeleteRangeRequest,
  encodePutRequest,
  encodeTxnRequest,
  PutView,
  RaftOp,
  type RangeRequest,
  RangeView,
  type TxnRequest,
  writeDeletedCount,
  writeDeletedPrevKv,
  writePutPrevKv,
  writePutResponse,
  writeRangeKv,
  writeRangeTail,
} from "@quorate/api";
import { CompactionRequest } from "@quorate/api/messages";
import { checkTxn, isReadOnlyTxn, isSerializableTxn, RecordSpan, txnCost } from "@quorate/mvcc";
import type { Method, ServerCall } from "@quorate/rpc";
import { answerWriter, failStreamThrown, failThrown, failWith, respondWith } from "../answer.ts";
import type { Member } from "../member/member.ts";
import type { Outcome } from "../member/outcome.ts";
import type { Pending, ProposalHandler } from "../member/pending.ts";
import type { ReadWaiter } from "../member/read-rounds.ts";
import { Callers } from "./callers.ts";
import { respondRange } from "./range-answer.ts";
import { streamRange } from "./range-stream.ts";
import { refusalOfRead, refusalOfReadTxn } from "./read-permissions.ts";
import { writeTxnAnswer } from "./txn-answer.ts";

/** etcd's estimate of what a put adds to the database besides its key and value. */
const PUT_OVERHEAD_BYTES = 256;

export function kvMethods(member: Member): [string, Method][] {
  const service = new KvService(member);
  return [
    [
      "/etcdserverpb.KV/Range",
      { kind: "unary", handle: (call, buffer, start, end) => service.range(call, buffer, start, end) },
    ],
    [
      "/etcdserverpb.KV/RangeStream",
      { kind: "serverStream", handle: (call, buffer, start, end) => service.rangeStream(call, buffer, start, end) },
    ],
    [
      "/etcdserverpb.KV/Put",
      { kind: "unary", handle: (call, buffer, start, end) => service.put(call, buffer, start, end) },
    ],
    [
      "/etcdserverpb.KV/DeleteRange",
      { kind: "unary", handle: (call, buffer, start, end) => service.deleteRange(call, buffer, start, end) },
    ],
    [
      "/etcdserverpb.KV/Txn",
      { kind: "unary", handle: (call, buffer, start, end) => service.txn(call, buffer, start, end) },
    ],
    [
      "/etcdserverpb.KV/Compact",
      { kind: "unary", handle: (call, buffer, start, end) => service.compact(call, buffer, start, end) },
    ],
  ];
}

class KvService {
  readonly #member: Member;
  readonly #callers: Callers;
  readonly #putView = new PutView();
  readonly #deleteView = new DeleteRangeView();
  readonly #rangeView = new RangeView();
  readonly #span = new RecordSpan();
  readonly #putHandler: ProposalHandler;
  readonly #deleteHandler: ProposalHandler;
  readonly #txnHandler: ProposalHandler;
  readonly #compactHandler: ProposalHandler;

  constructor(member: Member) {
    this.#member = member;
    this.#callers = new Callers(member);
    const failed = (pending: Pending, error: Parameters<ProposalHandler["failed"]>[1]): void =>
      failWith(pending.call!, error);
    this.#putHandler = { applied: (pending, outcome) => this.#putApplied(pending.call!, outcome), failed };
    this.#deleteHandler = { applied: (pending, outcome) => this.#deleteApplied(pending.call!, outcome), failed };
    this.#txnHandler = { applied: (pending, outcome) => this.#txnApplied(pending.call!, outcome), failed };
    this.#compactHandler = { applied: (pending, outcome) => this.#compactApplied(pending, outcome), failed };
  }

  put(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    const view = this.#putView;
    try {
      view.decode(buffer, start, end);
    } catch (error) {
      failThrown(call, error);
      return;
    }
    const costBytes = PUT_OVERHEAD_BYTES + (view.keyEnd - view.keyStart) + (view.valueEnd - view.valueStart);
    if (!this.#member.admitsWrite(call, costBytes)) return;
    const refused = checkPutView(view);
    if (refused !== null) {
      failWith(call, refused);
    } else if (view.isCanonical) {
      this.#member.propose(RaftOp.Put, buffer, start, end, this.#putHandler, call, null);
    } else {
      const canonical = encodePutRequest(view);
      this.#member.propose(RaftOp.Put, canonical, 0, canonical.length, this.#putHandler, call, null);
    }
  }

  deleteRange(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    const view = this.#deleteView;
    try {
      view.decode(buffer, start, end);
    } catch (error) {
      failThrown(call, error);
      return;
    }
    const refused = checkDeleteRangeView(view);
    if (refused !== null) {
      failWith(call, refused);
    } else if (view.isCanonical) {
      this.#member.propose(RaftOp.DeleteRange, buffer, start, end, this.#deleteHandler, call, null);
    } else {
      const canonical = encodeDeleteRangeRequest(view);
      this.#member.propose(RaftOp.DeleteRange, canonical, 0, canonical.length, this.#deleteHandler, call, null);
    }
  }

  txn(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    try {
      const { txn, isCanonical } = decodeTxnRequest(buffer, start, end);
      const costBytes = txnCost(txn);
      if (costBytes > 0 && !this.#member.admitsWrite(call, costBytes)) return;
      checkTxn(txn, this.#member.limits.maxTxnOps);
      if (isReadOnlyTxn(txn)) {
        this.#readOnlyTxn(call, txn, buffer, start, end);
      } else if (isCanonical) {
        this.#member.propose(RaftOp.Txn, buffer, start, end, this.#txnHandler, call, null);
      } else {
        const canonical = encodeTxnRequest(txn);
        this.#member.propose(RaftOp.Txn, canonical, 0, canonical.length, this.#txnHandler, call, null);
      }
    } catch (error) {
      failThrown(call, error);
    }
  }

  compact(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    try {
      const request = CompactionRequest.decode(buffer, start, end);
      const bytes = CompactionRequest.encode(request);
      this.#member.propose(RaftOp.Compaction, bytes, 0, bytes.length, this.#compactHandler, call, request.physical);
    } catch (error) {
      failThrown(call, error);
    }
  }

  range(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    const view = this.#rangeView;
    try {
      view.decode(buffer, start, end);
      const refused = checkRangeView(view);
      if (refused !== null) {
        failWith(call, refused);
      } else if (view.serializable || this.#member.mayReadNow) {
        this.#answerRange(call, view);
      } else {
        this.#readLater(call, buffer, start, end, this.#rangeAgain);
      }
    } catch (error) {
      failThrown(call, error);
    }
  }

  rangeStream(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    const view = this.#rangeView;
    try {
      view.decode(buffer, start, end);
      const refused = checkRangeStreamView(view);
      if (refused !== null) {
        failWith(call, refused);
      } else if (view.serializable || this.#member.mayReadNow) {
        this.#streamRange(call, view);
      } else {
        this.#readLater(call, buffer, start, end, this.#rangeStreamAgain);
      }
    } catch (error) {
      failStreamThrown(call, error);
    }
  }

  readonly #rangeAgain = (call: ServerCall, request: Buffer): void => {
    this.#rangeView.decode(request, 0, request.length);
    this.#answerRange(call, this.#rangeView);
  };

  readonly #rangeStreamAgain = (call: ServerCall, request: Buffer): void => {
    this.#rangeView.decode(request, 0, request.length);
    this.#streamRange(call, this.#rangeView);
  };

  readonly #txnAgain = (call: ServerCall, request: Buffer): void => {
    this.#answerReadOnlyTxn(call, decodeTxnRequest(request, 0, request.length).txn);
  };

  #readLater(
    call: ServerCall,
    buffer: Uint8Array,
    start: number,
    end: number,
    answer: (call: ServerCall, request: Buffer) => void,
  ): void {
    const request = Buffer.from(buffer.subarray(start, end));
    this.#member.read(new WaitingRead(this.#callers, call, request, answer));
  }

  #streamRange(call: ServerCall, view: RangeView): void {
    const refused = refusalOfRead(this.#member.auth, call, view);
    if (refused === null) streamRange(this.#member, call, requestOf(view));
    else failWith(call, refused);
  }

  #answerRange(call: ServerCall, view: RangeView): void {
    const refused = refusalOfRead(this.#member.auth, call, view);
    if (refused !== null) failWith(call, refused);
    else if (isPlainGet(view)) this.#answerGet(call, view);
    else respondRange(this.#member, call, this.#member.store.range(requestOf(view)));
  }

  /** Hot: one key, as it is now or was at a revision. */
  #answerGet(call: ServerCall, view: RangeView): void {
    const { store } = this.#member;
    const span = this.#span;
    const isFound = store.get(view.buffer, view.keyStart, view.keyEnd, view.revision, span);
    const writer = answerWriter;
    writer.reset();
    this.#member.header.write(writer, store.revision, this.#member.appliedTerm);
    if (isFound) {
      writeRangeKv(writer, span.buffer, span.start, span.end);
      writeRangeTail(writer, false, 1);
    }
    respondWith(call, writer);
  }

  #readOnlyTxn(call: ServerCall, txn: TxnRequest, buffer: Uint8Array, start: number, end: number): void {
    if (isSerializableTxn(txn) || this.#member.mayReadNow) this.#answerReadOnlyTxn(call, txn);
    else this.#readLater(call, buffer, start, end, this.#txnAgain);
  }

  #answerReadOnlyTxn(call: ServerCall, txn: TxnRequest): void {
    const refused = refusalOfReadTxn(this.#member, call, txn);
    if (refused !== null) {
      failWith(call, refused);
      return;
    }
    const result = this.#member.store.txn(txn, true);
    writeTxnAnswer(answerWriter, this.#member, result);
    respondWith(call, answerWriter);
  }

  #putApplied(call: ServerCall, outcome: Outcome): void {
    if (!call.isOpen) return;
    if (outcome.error !== null) {
      failWith(call, outcome.error);
      return;
    }
    const writer = answerWriter;
    writer.reset();
    writePutResponse(writer, this.#member.header, outcome.revision, this.#member.appliedTerm);
    const prevKv = outcome.put?.prevKv ?? null;
    if (prevKv !== null && prevKv.length > 0) {
      const bytes = prevKv.toBytes(0);
      writePutPrevKv(writer, bytes, 0, bytes.length);
    }
    respondWith(call, writer);
  }

  #deleteApplied(call: ServerCall, outcome: Outcome): void {
    if (!call.isOpen) return;
    if (outcome.error !== null) {
      failWith(call, outcome.error);
      return;
    }
    const { deleted, prevKvs } = outcome.deleteRange!;
    const writer = answerWriter;
    writer.reset();
    this.#member.header.write(writer, outcome.revision, this.#member.appliedTerm);
    writeDeletedCount(writer, deleted);
    for (let i = 0; prevKvs !== null && i < prevKvs.length; i++) {
      const bytes = prevKvs.toBytes(i);
      writeDeletedPrevKv(writer, bytes, 0, bytes.length);
    }
    respondWith(call, writer);
  }

  #txnApplied(call: ServerCall, outcome: Outcome): void {
    if (!call.isOpen) return;
    if (outcome.error !== null) {
      failWith(call, outcome.error);
      return;
    }
    writeTxnAnswer(answerWriter, this.#member, outcome.txn!);
    respondWith(call, answerWriter);
  }

  /** With `physical` the answer waits until every compaction queued by then is carried out and flushed. */
  #compactApplied(pending: Pending, outcome: Outcome): void {
    const call = pending.call!;
    const answer = (error: ErrorKind | null): void => {
      if (!call.isOpen) return;
      if (error !== null) {
        failWith(call, error);
        return;
      }
      answerWriter.reset();
      this.#member.header.write(answerWriter, this.#member.store.revision, this.#member.appliedTerm);
      respondWith(call, answerWriter);
    };
    // Borrowed: another entry's by the time the compaction has ended.
    const { error } = outcome;
    const isPhysical = pending.detail === true;
    if (isPhysical && (error === null || error === "Compacted")) {
      this.#member.whenCompacted((problem) => answer(problem ?? error));
    } else answer(error);
  }
}

/** A read that waits for its round, with a copy of its request. Its token is looked at again: much may have changed. */
class WaitingRead implements ReadWaiter {
  readonly #callers: Callers;
  readonly #call: ServerCall;
  readonly #request: Buffer;
  readonly #answer: (call: ServerCall, request: Buffer) => void;

  constructor(
    callers: Callers,
    call: ServerCall,
    request: Buffer,
    answer: (call: ServerCall, request: Buffer) => void,
  ) {
    this.#callers = callers;
    this.#call = call;
    this.#request = request;
    this.#answer = answer;
  }

  readReady(): void {
    const call = this.#call;
    if (!call.isOpen) return;
    if (this.#callers.identify(call)) this.#answerNow();
    else {
      this.#callers.resolve(call, (isIdentified) => {
        if (isIdentified) this.#answerNow();
        else failWith(call, "TooManyRequests");
      });
    }
  }

  #answerNow(): void {
    try {
      this.#answer(this.#call, this.#request);
    } catch (error) {
      failThrown(this.#call, error);
    }
  }

  readFailed(reason: "LeaderChanged" | "Timeout" | "Stopped"): void {
    failWith(this.#call, reason);
  }
}

/** One key and nothing that changes what is said of it. */
function isPlainGet(view: RangeView): boolean {
  return (
    view.rangeEndStart === view.rangeEndEnd &&
    !view.keysOnly &&
    !view.countOnly &&
    view.minModRevision === 0 &&
    view.maxModRevision === 0 &&
    view.minCreateRevision === 0 &&
    view.maxCreateRevision === 0
  );
}

/** The view as the store's input; key and range_end stay borrowed. */
function requestOf(view: RangeView): RangeRequest {
  return {
    key: view.buffer.subarray(view.keyStart, view.keyEnd),
    rangeEnd: view.buffer.subarray(view.rangeEndStart, view.rangeEndEnd),
    limit: view.limit,
    revision: view.revision,
    sortOrder: view.sortOrder,
    sortTarget: view.sortTarget,
    serializable: view.serializable,
    keysOnly: view.keysOnly,
    countOnly: view.countOnly,
    minModRevision: view.minModRevision,
    maxModRevision: view.maxModRevision,
    minCreateRevision: view.minCreateRevision,
    maxCreateRevision: view.maxCreateRevision,
  };
}
