/**
 * PutRequest, the message this server reads most: key=1, value=2, lease=3, prev_kv=4, ignore_value=5, ignore_lease=6.
 *
 * A view holds offsets into the caller's buffer instead of slices, and is used again for the next request, so decoding
 * allocates nothing (unless a lease is given: then one bigint). What it says is borrowed as long as the buffer is.
 */

import { copyBytes, Reader, varintSize, varintSizeBig, writeVarint, writeVarintBig } from "../wire/index.ts";

const nothing = new Uint8Array(0);

/** Hot: bench/codec.ts, decode PutRequest. */
export class PutView {
  buffer: Uint8Array = nothing;
  keyStart = 0;
  keyEnd = 0;
  valueStart = 0;
  valueEnd = 0;
  /** 0n: none. */
  lease = 0n;
  prevKv = false;
  ignoreValue = false;
  ignoreLease = false;
  /**
   * Whether the bytes are exactly what encoding this view would give. Only such bytes may be copied into the log
   * verbatim; others are written anew by {@link encodePutRequest}, because members of other versions read an explicit
   * zero or an unknown field differently.
   */
  isCanonical = true;
  readonly #reader = new Reader();

  /** Reads `buffer[start, end)`, borrowed. Throws MalformedMessage; the view then holds nothing of use. */
  decode(buffer: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(buffer, start, end);
    this.buffer = buffer;
    this.keyStart = this.keyEnd = this.valueStart = this.valueEnd = start;
    this.lease = 0n;
    this.prevKv = this.ignoreValue = this.ignoreLease = false;
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
          this.valueStart = reader.position;
          this.valueEnd = reader.position += length;
          break;
        }
        case 0x18:
          this.lease = reader.int64Big();
          if (this.lease === 0n) isCanonical = false;
          break;
        case 0x20:
          this.prevKv = reader.bool();
          if (!this.prevKv) isCanonical = false;
          break;
        case 0x28:
          this.ignoreValue = reader.bool();
          if (!this.ignoreValue) isCanonical = false;
          break;
        case 0x30:
          this.ignoreLease = reader.bool();
          if (!this.ignoreLease) isCanonical = false;
          break;
        default:
          reader.skip(tag);
      }
    }
    this.isCanonical = isCanonical && reader.isCanonical;
  }
}

/** The parts of a {@link PutView} that are on the wire; a view is one. */
export type PutFields = Pick<
  PutView,
  "buffer" | "keyStart" | "keyEnd" | "valueStart" | "valueEnd" | "lease" | "prevKv" | "ignoreValue" | "ignoreLease"
>;

/** The canonical encoding, in a buffer of its own. */
export function encodePutRequest(put: PutFields): Uint8Array {
  const keyLength = put.keyEnd - put.keyStart;
  const valueLength = put.valueEnd - put.valueStart;
  let sizeBytes = (put.prevKv ? 2 : 0) + (put.ignoreValue ? 2 : 0) + (put.ignoreLease ? 2 : 0);
  if (keyLength > 0) sizeBytes += 1 + varintSize(keyLength) + keyLength;
  if (valueLength > 0) sizeBytes += 1 + varintSize(valueLength) + valueLength;
  if (put.lease !== 0n) sizeBytes += 1 + varintSizeBig(put.lease);

  const out = Buffer.allocUnsafe(sizeBytes);
  let at = 0;
  if (keyLength > 0) {
    out[at++] = 0x0a;
    at = writeVarint(out, at, keyLength);
    at = copyBytes(put.buffer, put.keyStart, put.keyEnd, out, at);
  }
  if (valueLength > 0) {
    out[at++] = 0x12;
    at = writeVarint(out, at, valueLength);
    at = copyBytes(put.buffer, put.valueStart, put.valueEnd, out, at);
  }
  if (put.lease !== 0n) {
    out[at++] = 0x18;
    at = writeVarintBig(out, at, put.lease);
  }
  if (put.prevKv) at = writeTrue(out, at, 0x20);
  if (put.ignoreValue) at = writeTrue(out, at, 0x28);
  if (put.ignoreLease) writeTrue(out, at, 0x30);
  return out;
}

function writeTrue(out: Uint8Array, at: number, tag: number): number {
  out[at] = tag;
  out[at + 1] = 1;
  return at + 2;
}
