/**
 * mvccpb.KeyValue: key=1, create_revision=2, mod_revision=3, version=4, value=5, lease=6.
 *
 * This is also the stored form of a record (semantics §4.2), so it must be canonical: fields ascending, zero values left
 * out. The store encodes a record once, straight into its log, and every later answer copies those bytes.
 */

import { copyBytes, Reader, varintSize, varintSizeBig, writeVarint, writeVarintBig } from "../wire/index.ts";

const nothing = new Uint8Array(0);

/** Bytes {@link writeKeyValue} will write. */
export function keyValueSize(
  keyLength: number,
  createRevision: number,
  modRevision: number,
  version: number,
  valueLength: number,
  lease: bigint,
): number {
  let sizeBytes = 0;
  if (keyLength > 0) sizeBytes += 1 + varintSize(keyLength) + keyLength;
  if (createRevision !== 0) sizeBytes += 1 + varintSize(createRevision);
  if (modRevision !== 0) sizeBytes += 1 + varintSize(modRevision);
  if (version !== 0) sizeBytes += 1 + varintSize(version);
  if (valueLength > 0) sizeBytes += 1 + varintSize(valueLength) + valueLength;
  if (lease !== 0n) sizeBytes += 1 + varintSizeBig(lease);
  return sizeBytes;
}

/**
 * Writes the canonical KeyValue to `into[at, ...)`, where the caller has made {@link keyValueSize} bytes of room;
 * returns the position after it. A tombstone's record is the key alone: zeroes, an empty value and 0n for the rest.
 * Throws InexactInteger for a revision or version beyond 2^53 - 1.
 */
export function writeKeyValue(
  into: Uint8Array,
  at: number,
  key: Uint8Array,
  keyStart: number,
  keyEnd: number,
  createRevision: number,
  modRevision: number,
  version: number,
  value: Uint8Array,
  valueStart: number,
  valueEnd: number,
  lease: bigint,
): number {
  let position = at;
  if (keyEnd > keyStart) {
    into[position++] = 0x0a;
    position = writeVarint(into, position, keyEnd - keyStart);
    position = copyBytes(key, keyStart, keyEnd, into, position);
  }
  if (createRevision !== 0) {
    into[position++] = 0x10;
    position = writeVarint(into, position, createRevision);
  }
  if (modRevision !== 0) {
    into[position++] = 0x18;
    position = writeVarint(into, position, modRevision);
  }
  if (version !== 0) {
    into[position++] = 0x20;
    position = writeVarint(into, position, version);
  }
  if (valueEnd > valueStart) {
    into[position++] = 0x2a;
    position = writeVarint(into, position, valueEnd - valueStart);
    position = copyBytes(value, valueStart, valueEnd, into, position);
  }
  if (lease !== 0n) {
    into[position++] = 0x30;
    position = writeVarintBig(into, position, lease);
  }
  return position;
}

/** A KeyValue as offsets into the caller's buffer; reused, borrowed as long as the buffer is. */
export class KeyValueView {
  buffer: Uint8Array = nothing;
  keyStart = 0;
  keyEnd = 0;
  createRevision = 0;
  modRevision = 0;
  version = 0;
  valueStart = 0;
  valueEnd = 0;
  lease = 0n;
  readonly #reader = new Reader();

  /** Reads `buffer[start, end)`, borrowed. Throws MalformedMessage, or InexactInteger for a revision beyond 2^53 - 1. */
  decode(buffer: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(buffer, start, end);
    this.buffer = buffer;
    this.keyStart = this.keyEnd = this.valueStart = this.valueEnd = start;
    this.createRevision = this.modRevision = this.version = 0;
    this.lease = 0n;
    while (reader.position < reader.end) {
      const tag = reader.tag();
      switch (tag) {
        case 0x0a: {
          const length = reader.length();
          this.keyStart = reader.position;
          this.keyEnd = reader.position += length;
          break;
        }
        case 0x10:
          this.createRevision = reader.int64();
          break;
        case 0x18:
          this.modRevision = reader.int64();
          break;
        case 0x20:
          this.version = reader.int64();
          break;
        case 0x2a: {
          const length = reader.length();
          this.valueStart = reader.position;
          this.valueEnd = reader.position += length;
          break;
        }
        case 0x30:
          this.lease = reader.int64Big();
          break;
        default:
          reader.skip(tag);
      }
    }
  }
}
