/**
 * RangeRequest and DeleteRangeRequest as views: offsets into the caller's buffer, reused from request to request.
 *
 * RangeRequest: key=1, range_end=2, limit=3, revision=4, sort_order=5, sort_target=6, serializable=7, keys_only=8,
 * count_only=9, min_mod_revision=10, max_mod_revision=11, min_create_revision=12, max_create_revision=13.
 * DeleteRangeRequest: key=1, range_end=2, prev_kv=3.
 */

import { copyBytes, Reader, varintSize, writeVarint } from "../wire/index.ts";

const nothing = new Uint8Array(0);

/** Hot: bench/codec.ts, decode RangeRequest. Integers are bounds: beyond ±(2^53 - 1) they read as that. */
export class RangeView {
  buffer: Uint8Array = nothing;
  keyStart = 0;
  keyEnd = 0;
  rangeEndStart = 0;
  rangeEndEnd = 0;
  limit = 0;
  revision = 0;
  sortOrder = 0;
  sortTarget = 0;
  serializable = false;
  keysOnly = false;
  countOnly = false;
  minModRevision = 0;
  maxModRevision = 0;
  minCreateRevision = 0;
  maxCreateRevision = 0;
  readonly #reader = new Reader();

  /** Reads `buffer[start, end)`, borrowed. Throws MalformedMessage; the view then holds nothing of use. */
  decode(buffer: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(buffer, start, end);
    this.buffer = buffer;
    this.keyStart = this.keyEnd = this.rangeEndStart = this.rangeEndEnd = start;
    this.limit = this.revision = this.sortOrder = this.sortTarget = 0;
    this.serializable = this.keysOnly = this.countOnly = false;
    this.minModRevision = this.maxModRevision = this.minCreateRevision = this.maxCreateRevision = 0;
    while (reader.position < reader.end) {
      const tag = reader.tag();
      switch (tag) {
        case 0x0a: {
          const length = reader.length();
          this.keyStart = reader.position;
          this.keyEnd = reader.position += length;
          break;
        }
        case 0x12: {
          const length = reader.length();
          this.rangeEndStart = reader.position;
          this.rangeEndEnd = reader.position += length;
          break;
        }
        case 0x18:
          this.limit = reader.bound();
          break;
        case 0x20:
          this.revision = reader.bound();
          break;
        case 0x28:
          this.sortOrder = reader.int32();
          break;
        case 0x30:
          this.sortTarget = reader.int32();
          break;
        case 0x38:
          this.serializable = reader.bool();
          break;
        case 0x40:
          this.keysOnly = reader.bool();
          break;
        case 0x48:
          this.countOnly = reader.bool();
          break;
        case 0x50:
          this.minModRevision = reader.bound();
          break;
        case 0x58:
          this.maxModRevision = reader.bound();
          break;
        case 0x60:
          this.minCreateRevision = reader.bound();
          break;
        case 0x68:
          this.maxCreateRevision = reader.bound();
          break;
        default:
          reader.skip(tag);
      }
    }
  }
}

export class DeleteRangeView {
  buffer: Uint8Array = nothing;
  keyStart = 0;
  keyEnd = 0;
  rangeEndStart = 0;
  rangeEndEnd = 0;
  prevKv = false;
  /** As {@link PutView.isCanonical}. */
  isCanonical = true;
  readonly #reader = new Reader();

  /** Reads `buffer[start, end)`, borrowed. Throws MalformedMessage; the view then holds nothing of use. */
  decode(buffer: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(buffer, start, end);
    this.buffer = buffer;
    this.keyStart = this.keyEnd = this.rangeEndStart = this.rangeEndEnd = start;
    this.prevKv = false;
    let isCanonical = true;
    let lastTag = 0;
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag <= lastTag) isCanonical = false;
      lastTag = tag;
      switch (tag) {
        case 0x0a: {
          const length = reader.length();
          if (length === 0) isCanonical = false;
          this.keyStart = reader.position;
          this.keyEnd = reader.position += length;
          break;
        }
        case 0x12: {
          const length = reader.length();
          if (length === 0) isCanonical = false;
          this.rangeEndStart = reader.position;
          this.rangeEndEnd = reader.position += length;
          break;
        }
        case 0x18:
          this.prevKv = reader.bool();
          if (!this.prevKv) isCanonical = false;
          break;
        default:
          reader.skip(tag);
      }
    }
    this.isCanonical = isCanonical && reader.isCanonical;
  }
}

/** The parts of a {@link DeleteRangeView} that are on the wire; a view is one. */
export type DeleteRangeFields = Pick<
  DeleteRangeView,
  "buffer" | "keyStart" | "keyEnd" | "rangeEndStart" | "rangeEndEnd" | "prevKv"
>;

/** The canonical encoding, in a buffer of its own. */
export function encodeDeleteRangeRequest(request: DeleteRangeFields): Uint8Array {
  const keyLength = request.keyEnd - request.keyStart;
  const rangeEndLength = request.rangeEndEnd - request.rangeEndStart;
  let sizeBytes = request.prevKv ? 2 : 0;
  if (keyLength > 0) sizeBytes += 1 + varintSize(keyLength) + keyLength;
  if (rangeEndLength > 0) sizeBytes += 1 + varintSize(rangeEndLength) + rangeEndLength;

  const out = Buffer.allocUnsafe(sizeBytes);
  let at = 0;
  if (keyLength > 0) {
    out[at++] = 0x0a;
    at = writeVarint(out, at, keyLength);
    at = copyBytes(request.buffer, request.keyStart, request.keyEnd, out, at);
  }
  if (rangeEndLength > 0) {
    out[at++] = 0x12;
    at = writeVarint(out, at, rangeEndLength);
    at = copyBytes(request.buffer, request.rangeEndStart, request.rangeEndEnd, out, at);
  }
  if (request.prevKv) {
    out[at] = 0x18;
    out[at + 1] = 1;
  }
  return out;
}
