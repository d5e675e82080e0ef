/**
 * RangeResponses around stored records. The size is known before the first byte, so a small answer is written at once and
 * a large one lazily: gRPC wants the length first, and the pieces then follow as fast as the client takes them, without
 * the answer ever being assembled in memory.
 *
 *   header ─ kv ─ kv ─ kv ─ … ─ kv ─ more, count
 *   └────────── read() by read() ─────────────┘
 */
import { rangeTailSize, writeRangeKvHead, writeRangeTail } from "@quorate/api";
import { Writer } from "@quorate/api/wire";
import type { RangeResult, Store } from "@quorate/mvcc";
import type { BodySource, ServerCall } from "@quorate/rpc";
import { answerWriter, respondWith } from "../answer.ts";
import type { Member } from "../member/member.ts";

/** Above this an answer is sent in pieces. */
const WHOLE_MAX_BYTES = 256 * 1024;
const PIECE_BYTES = 64 * 1024;
/** Tag and length in front of a record. */
const KV_HEAD_MAX_BYTES = 6;

export function respondRange(member: Member, call: ServerCall, result: RangeResult): void {
  const { appliedTerm } = member;
  const totalBytes =
    member.header.sizeBytes(result.revision, appliedTerm) +
    result.records.framedBytes() +
    rangeTailSize(result.more, result.count);
  if (totalBytes <= WHOLE_MAX_BYTES) {
    answerWriter.reset();
    member.header.write(answerWriter, result.revision, appliedTerm);
    writeRange(answerWriter, result, result.more, result.count);
    respondWith(call, answerWriter);
    return;
  }
  call.respondFrom(totalBytes, new RangeBody(member, call, result, appliedTerm));
}

/** Everything after the header. `more` and `count` are the result's own but for the chunks of a stream. */
export function writeRange(writer: Writer, result: RangeResult, more: boolean, count: number): void {
  const { records } = result;
  for (let i = 0; i < records.length; i++) {
    const sizeBytes = records.sizeBytes(i);
    writer.ensure(KV_HEAD_MAX_BYTES + sizeBytes);
    const at = writeRangeKvHead(writer.buffer, writer.position, sizeBytes);
    writer.position = records.copy(i, writer.buffer, at);
  }
  writeRangeTail(writer, more, count);
}

/** The body of one large answer; holds its revision against compaction until it is sent or the call is gone. */
class RangeBody implements BodySource {
  readonly #member: Member;
  /** The one it began with: a snapshot from the leader may bring another. */
  readonly #store: Store;
  readonly #call: ServerCall;
  readonly #result: RangeResult;
  readonly #writer = new Writer(PIECE_BYTES);
  readonly #pinned: number;
  /** How much of what is in the writer was handed out. */
  #sent = 0;
  #next = 0;
  /** Of the answer's beginning: another term may be longer, and the length is promised. */
  readonly #appliedTerm: number;
  #isHeadWritten = false;
  #isPinned = true;

  constructor(member: Member, call: ServerCall, result: RangeResult, appliedTerm: number) {
    this.#member = member;
    this.#store = member.store;
    this.#call = call;
    this.#result = result;
    this.#appliedTerm = appliedTerm;
    this.#pinned = result.readRevision;
    this.#store.pin(this.#pinned);
  }

  /** The next piece, borrowed until the next read. A record may be larger than `maxBytes`: what is left goes first. */
  read(maxBytes: number): Uint8Array | null {
    const writer = this.#writer;
    if (this.#sent === writer.position) {
      if (this.#isReplaced) {
        // What is left was in a database that is closed, and the answer's length is promised: there is no polite end.
        this.#call.cutOff();
        return null;
      }
      this.#fill(Math.min(maxBytes, PIECE_BYTES));
    }
    const start = this.#sent;
    this.#sent = Math.min(writer.position, start + maxBytes);
    return writer.buffer.subarray(start, this.#sent);
  }

  /** Whole records until there are `goalBytes`; after the last one the tail. */
  #fill(goalBytes: number): void {
    const writer = this.#writer;
    const { records, more, count, revision } = this.#result;
    writer.reset();
    this.#sent = 0;
    if (!this.#isHeadWritten) {
      this.#isHeadWritten = true;
      this.#member.header.write(writer, revision, this.#appliedTerm);
    }
    while (this.#next < records.length && writer.position < goalBytes) {
      const sizeBytes = records.sizeBytes(this.#next);
      writer.ensure(KV_HEAD_MAX_BYTES + sizeBytes);
      const at = writeRangeKvHead(writer.buffer, writer.position, sizeBytes);
      writer.position = records.copy(this.#next, writer.buffer, at);
      this.#next++;
    }
    if (this.#next === records.length) {
      writeRangeTail(writer, more, count);
      this.#unpin();
    }
  }

  /** Everything was read, or the client has gone, or did not read for too long. */
  released(): void {
    this.#unpin();
  }

  #unpin(): void {
    if (!this.#isPinned) return;
    this.#isPinned = false;
    if (!this.#isReplaced) this.#member.unpin(this.#pinned);
  }

  get #isReplaced(): boolean {
    return this.#member.store !== this.#store;
  }
}
