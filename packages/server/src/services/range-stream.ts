/**
 * KV.RangeStream (etcd 3.7): a range in chunks, each a RangeStreamResponse {range_response=1}. The first has few keys so
 * that something arrives at once; sizes then adapt to the request limit. All are of one pinned revision; header, more and
 * count come with the last, so that merging all messages gives what Range would answer (semantics §3.3).
 */
import { KeyValueView, RANGE_STREAM_FIRST_LIMIT, type RangeRequest, SortTarget } from "@quorate/api";
import type { RangeResult, Store } from "@quorate/mvcc";
import type { CallOwner, ServerCall } from "@quorate/rpc";
import { answerWriter, failStreamThrown, failWith, sendWith } from "../answer.ts";
import type { Member } from "../member/member.ts";
import { writeRange } from "./range-answer.ts";

const RANGE_RESPONSE = 0x0a;

/** Throws what the store's range throws, before anything was sent. Copies what it keeps of the request. */
export function streamRange(member: Member, call: ServerCall, request: RangeRequest): void {
  const stream = new RangeStream(member, call, request);
  call.owner = stream;
  stream.begin();
}

class RangeStream implements CallOwner {
  readonly #member: Member;
  /** The one it began with: a snapshot from the leader may bring another. */
  readonly #store: Store;
  readonly #call: ServerCall;
  #request: RangeRequest;
  /** What the client's own limit leaves; Infinity without one. */
  #left: number;
  #chunkLimit = RANGE_STREAM_FIRST_LIMIT;
  #sent = 0;
  #pinned: number | null = null;
  /** Auth's when the caller was found to may read; null: auth was off. What has changed since might take that back. */
  readonly #authRevision: number | null;
  /** The store's when the stream began, whatever revision was asked for: what the header says. */
  #revision = 0;

  constructor(member: Member, call: ServerCall, request: RangeRequest) {
    this.#member = member;
    this.#store = member.store;
    this.#call = call;
    this.#request = { ...request, key: Buffer.from(request.key), rangeEnd: Buffer.from(request.rangeEnd) };
    this.#authRevision = member.auth.isEnabled ? member.auth.revision : null;
    this.#left = request.limit > 0 ? request.limit : Number.POSITIVE_INFINITY;
  }

  begin(): void {
    if (this.#isWhole()) {
      const result = this.#store.range(this.#request);
      this.#revision = result.revision;
      this.#send(result, true, result.more, result.count);
      this.#call.end();
      return;
    }
    this.#revision = this.#store.revision;
    const revision = this.#request.revision > 0 ? this.#request.revision : this.#revision;
    this.#request = { ...this.#request, revision };
    this.#store.pin(revision);
    this.#pinned = revision;
    this.#pump();
  }

  /**
   * One message says all. Also where the chunk would be ordered by something else than the key (order NONE, another
   * target): etcd goes on after the last key of such a chunk, which loses keys and repeats others; we answer as Range.
   */
  #isWhole(): boolean {
    const { countOnly, rangeEnd, sortTarget } = this.#request;
    return countOnly || rangeEnd.length === 0 || sortTarget !== SortTarget.KEY;
  }

  drained(): void {
    if (this.#isReplaced) {
      this.#unpin();
      failWith(this.#call, "LeaderChanged");
    } else if (this.#authRevision !== null && this.#authRevision !== this.#member.auth.revision) {
      this.#unpin();
      failWith(this.#call, "AuthOldRevision");
    } else this.#pump();
  }

  get #isReplaced(): boolean {
    return this.#member.store !== this.#store;
  }

  cancelled(): void {
    this.#unpin();
  }

  #pump(): void {
    try {
      while (this.#call.isOpen && this.#sendChunk()) {
        // The next chunk.
      }
    } catch (error) {
      this.#unpin();
      failStreamThrown(this.#call, error);
    }
  }

  /** False when the stream has ended or the client must first read. */
  #sendChunk(): boolean {
    const limit = Math.min(this.#chunkLimit, this.#left);
    const result = this.#store.range({ ...this.#request, limit });
    const { length } = result.records;
    this.#sent += length;
    this.#left -= length;
    const isLast = !result.more || this.#left <= 0;
    // The count of the first chunk's range is of everything; later ones begin further on.
    const count = isLast ? this.#sent - length + result.count : 0;
    const mayGoOn = this.#send(result, isLast, isLast && result.more, count);
    if (isLast) {
      this.#unpin();
      this.#call.end();
      return false;
    }
    this.#adapt(answerWriter.position);
    this.#request = { ...this.#request, key: afterLastKey(result) };
    return mayGoOn;
  }

  #adapt(sizeBytes: number): void {
    const { maxRequestBytes } = this.#member.limits;
    if (sizeBytes < maxRequestBytes / 2) this.#chunkLimit *= 2;
    else if (sizeBytes > maxRequestBytes * 2) this.#chunkLimit = Math.max(1, this.#chunkLimit >> 1);
  }

  #send(result: RangeResult, isLast: boolean, more: boolean, count: number): boolean {
    const writer = answerWriter;
    writer.reset();
    const start = writer.begin(RANGE_RESPONSE);
    if (isLast) this.#member.header.write(writer, this.#revision, this.#member.appliedTerm);
    writeRange(writer, result, more, count);
    writer.finish(start);
    return sendWith(this.#call, writer);
  }

  #unpin(): void {
    if (this.#pinned === null) return;
    if (!this.#isReplaced) this.#member.unpin(this.#pinned);
    this.#pinned = null;
  }
}

/** The smallest key after the last one sent: that key and a zero byte. */
function afterLastKey(result: RangeResult): Uint8Array {
  const record = result.records.toBytes(result.records.length - 1);
  const view = new KeyValueView();
  view.decode(record, 0, record.length);
  const key = Buffer.alloc(view.keyEnd - view.keyStart + 1);
  key.set(record.subarray(view.keyStart, view.keyEnd));
  return key;
}
