/**
 * HPACK encoding (RFC 7541). Two ways: {@link literalBlock} builds header blocks that need no table at all, constant
 * bytes that a server can send on any connection at any time; {@link HpackEncoder} keeps a dynamic table, for a client
 * whose requests repeat themselves.
 */
import { huffmanEncode, huffmanLength } from "./huffman.ts";
import { staticFieldIndex, staticNameIndex, staticTableSize } from "./static-table.ts";

/**
 * A block of fields from the static table and literals "without indexing". Values hold one character per byte.
 * The same bytes mean the same fields on every connection, whatever its tables hold.
 */
export function literalBlock(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  let size = 0;
  for (const [name, value] of fields) size += name.length + value.length + 12;
  const block = Buffer.allocUnsafeSlow(size);
  let at = 0;
  for (const [name, value] of fields) {
    const exact = staticFieldIndex.get(`${name}\0${value}`);
    at =
      exact === undefined
        ? writeLiteral(block, at, name, value, 0x00, 0x0f)
        : writeInteger(block, at, exact, 0x80, 0x7f);
  }
  return block.subarray(0, at);
}

/** Our encoder's table never grows beyond this, whatever the peer allows (H2-05). */
const maxTableBytes = 4096;

export class HpackEncoder {
  #limitBytes = maxTableBytes;
  /** The lowest limit since the last block, if the limit changed: the decoder must hear of it first (§4.2). */
  #lowestBytes = -1;
  #sizeBytes = 0;
  /** Sequence numbers: the newest entry is #inserted - 1, wire index = 62 + (#inserted - 1 - sequence). */
  #inserted = 0;
  #evicted = 0;
  readonly #byField = new Map<string, number>();
  readonly #entries = new Map<number, { key: string; sizeBytes: number }>();

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. Takes effect with the next block. */
  setPeerTableSize(bytes: number): void {
    const limit = Math.min(bytes, maxTableBytes);
    if (limit === this.#limitBytes) return;
    this.#lowestBytes = this.#lowestBytes < 0 ? limit : Math.min(this.#lowestBytes, limit);
    this.#limitBytes = limit;
    this.#evictTo(limit);
  }

  get tableSizeBytes(): number {
    return this.#sizeBytes;
  }

  /**
   * Appends one whole block at `at` and returns the position after it. `into` must have room for 12 bytes plus, for
   * each field, name + value + 12. Fields marked sensitive are "never indexed" (tokens and the like); fields of
   * `passing` names differ every time and would only push others out of the table.
   */
  encode(fields: readonly EncodableField[], into: Buffer, at: number): number {
    let position = at;
    if (this.#lowestBytes >= 0) {
      if (this.#lowestBytes < this.#limitBytes) position = writeInteger(into, position, this.#lowestBytes, 0x20, 0x1f);
      position = writeInteger(into, position, this.#limitBytes, 0x20, 0x1f);
      this.#lowestBytes = -1;
    }
    for (let i = 0; i < fields.length; i++) position = this.#field(fields[i]!, into, position);
    return position;
  }

  #field(field: EncodableField, into: Buffer, at: number): number {
    const key = `${field.name}\0${field.value}`;
    const exact = staticFieldIndex.get(key);
    if (exact !== undefined) return writeInteger(into, at, exact, 0x80, 0x7f);
    const sequence = this.#byField.get(key);
    if (sequence !== undefined) return writeInteger(into, at, this.#wireIndex(sequence), 0x80, 0x7f);
    if (field.sensitive === true) return writeLiteral(into, at, field.name, field.value, 0x10, 0x0f);
    const sizeBytes = field.name.length + field.value.length + 32;
    // A field that takes a large part of the table would only evict what is used more often.
    if (passing.has(field.name) || sizeBytes > this.#limitBytes / 2) {
      return writeLiteral(into, at, field.name, field.value, 0x00, 0x0f);
    }
    const end = writeLiteral(into, at, field.name, field.value, 0x40, 0x3f);
    this.#evictTo(this.#limitBytes - sizeBytes);
    this.#byField.set(key, this.#inserted);
    this.#entries.set(this.#inserted, { key, sizeBytes });
    this.#inserted++;
    this.#sizeBytes += sizeBytes;
    return end;
  }

  #wireIndex(sequence: number): number {
    return staticTableSize + (this.#inserted - sequence);
  }

  #evictTo(bytes: number): void {
    while (this.#sizeBytes > bytes) {
      const entry = this.#entries.get(this.#evicted)!;
      this.#entries.delete(this.#evicted);
      this.#byField.delete(entry.key);
      this.#sizeBytes -= entry.sizeBytes;
      this.#evicted++;
    }
  }
}

export interface EncodableField {
  readonly name: string;
  /** One character per byte. */
  readonly value: string;
  readonly sensitive?: boolean;
}

const passing: ReadonlySet<string> = new Set(["grpc-timeout", "content-length", "grpc-status", "grpc-message"]);

function writeLiteral(
  into: Buffer,
  at: number,
  name: string,
  value: string,
  pattern: number,
  prefixMask: number,
): number {
  const index = staticNameIndex.get(name);
  let position = at;
  if (index === undefined) {
    into[position++] = pattern;
    position = writeString(into, position, name);
  } else position = writeInteger(into, position, index, pattern, prefixMask);
  return writeString(into, position, value);
}

/** RFC 7541 §5.1: `pattern` is what stands above the prefix in the first byte. */
export function writeInteger(into: Uint8Array, at: number, value: number, pattern: number, prefixMask: number): number {
  if (value < prefixMask) {
    into[at] = pattern | value;
    return at + 1;
  }
  into[at] = pattern | prefixMask;
  let rest = value - prefixMask;
  let position = at + 1;
  while (rest >= 0x80) {
    into[position++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  into[position++] = rest;
  return position;
}

/** Huffman where that is shorter, plain otherwise (§5.2). */
function writeString(into: Buffer, at: number, text: string): number {
  const packed = huffmanLength(text);
  if (packed < text.length) return huffmanEncode(text, into, writeInteger(into, at, packed, 0x80, 0x7f));
  const from = writeInteger(into, at, text.length, 0x00, 0x7f);
  return from + into.write(text, from, text.length, "latin1");
}
