/**
 * HPACK decoding (RFC 7541) for one direction of one connection. The connection feeds it every header block it
 * receives, in order, and a sink takes the fields.
 *
 * The dynamic table holds {@link HeaderField} objects, so a field that is only referred to costs an array read. Two
 * short cuts matter, both measured on blocks of grpc-go and grpc-js: `tableVersion` lets the caller recognise a block
 * it has seen whole (see server/request-head.ts), and `:path` literals, which grpc-js sends Huffman-coded in every
 * request, are looked up by their encoded bytes. Memoising other literals made the deadline case slower.
 *
 * Invariants: the table's size never exceeds the size in force, which never exceeds what we announced. After an
 * HpackError the table is unknown, and so the connection must end with COMPRESSION_ERROR.
 */
import { FieldKind, HeaderField } from "./header-field.ts";
import { huffmanDecode } from "./huffman.ts";
import { staticFields, staticTableSize } from "./static-table.ts";

export interface FieldSink {
  field(field: HeaderField): void;
}

/** A header block that breaks RFC 7541. Always fatal to the connection. */
export class HpackError extends Error {
  readonly kind = "HpackError";
  constructor(problem: string) {
    super(`hpack: ${problem}`);
    this.name = "HpackError";
  }
}

export class HpackDecoder {
  /** What we announced: SETTINGS_HEADER_TABLE_SIZE. */
  readonly #announcedBytes: number;
  #limitBytes: number;
  /** A ring: entry i of the wire (0 = newest) is at (#newest + i) & #mask. */
  readonly #ring: (HeaderField | undefined)[];
  readonly #mask: number;
  #newest = 0;
  #count = 0;
  #sizeBytes = 0;
  /** Rises with every change to the table: equal versions and equal bytes mean equal fields. */
  tableVersion = 0;
  /** Where the integer or string being read ends; the result beside the return value. */
  #at = 0;
  readonly #paths: PathMemo[] = [];
  #nextPath = 0;

  /** Throws a RangeError if `announcedBytes` is not in 0..2^20. */
  constructor(announcedBytes = 4096) {
    if (!(announcedBytes >= 0 && announcedBytes <= 1 << 20)) throw new RangeError("hpack table: 0 to 1048576 bytes");
    this.#announcedBytes = announcedBytes;
    this.#limitBytes = announcedBytes;
    let slots = 1;
    while (slots <= announcedBytes / 32) slots *= 2;
    this.#ring = new Array<HeaderField | undefined>(slots).fill(undefined);
    this.#mask = slots - 1;
  }

  /** Bytes and entries in the dynamic table, as RFC 7541 counts them. */
  get tableSizeBytes(): number {
    return this.#sizeBytes;
  }
  get tableEntries(): number {
    return this.#count;
  }

  /** Decodes one whole block; fields reach the sink in order. Throws {@link HpackError}. The buffer is borrowed. */
  decode(buffer: Buffer, start: number, end: number, sink: FieldSink): void {
    let at = start;
    let updates = 0;
    let fields = 0;
    while (at < end) {
      const first = buffer[at]!;
      if (first >= 0x80) {
        let index = first & 0x7f;
        if (index === 0x7f) {
          index = this.#integer(buffer, at, end, 0x7f);
          at = this.#at;
        } else at++;
        sink.field(this.#lookup(index));
        fields++;
      } else if (first >= 0x40) {
        const field = this.#literal(buffer, at, end, 0x3f);
        at = this.#at;
        this.#insert(field);
        sink.field(field);
        fields++;
      } else if (first >= 0x20) {
        // Updates stand at the beginning of a block, and the encoder needs two at most: lowest and final (§4.2; H2-05).
        if (fields > 0) throw new HpackError("table size update after a field");
        if (++updates > 2) throw new HpackError("more than two table size updates in a block");
        const limit = this.#integer(buffer, at, end, 0x1f);
        at = this.#at;
        if (limit > this.#announcedBytes) throw new HpackError("table size update above the announced size");
        this.#limitBytes = limit;
        this.#evict(limit);
        this.tableVersion++;
      } else {
        sink.field(this.#literal(buffer, at, end, 0x0f));
        at = this.#at;
        fields++;
      }
    }
  }

  #lookup(index: number): HeaderField {
    if (index <= staticTableSize) {
      if (index === 0) throw new HpackError("index 0");
      return staticFields[index]!;
    }
    const position = index - staticTableSize - 1;
    if (position >= this.#count) throw new HpackError("index beyond the table");
    return this.#ring[(this.#newest + position) & this.#mask]!;
  }

  #literal(buffer: Buffer, start: number, end: number, prefixMask: number): HeaderField {
    let index = buffer[start]! & prefixMask;
    if (index === prefixMask) index = this.#integer(buffer, start, end, prefixMask);
    else this.#at = start + 1;
    if (index === 0) {
      const name = this.#string(buffer, this.#at, end);
      const value = this.#string(buffer, this.#at, end);
      return new HeaderField(name, value, null);
    }
    const named = this.#lookup(index);
    if (named.kind === FieldKind.Path) return this.#path(buffer, this.#at, end, named);
    return new HeaderField(named.name, this.#string(buffer, this.#at, end), named);
  }

  /** A `:path` literal, by its encoded bytes if it was seen lately. */
  #path(buffer: Buffer, start: number, end: number, named: HeaderField): HeaderField {
    for (let i = 0; i < this.#paths.length; i++) {
      const memo = this.#paths[i]!;
      const bytes = memo.encoded;
      const length = bytes.length;
      if (end - start < length) continue;
      let same = 0;
      while (same < length && bytes[same] === buffer[start + same]) same++;
      if (same === length) {
        this.#at = start + length;
        return memo.field;
      }
    }
    const field = new HeaderField(named.name, this.#string(buffer, start, end), named);
    if (this.#at - start <= memoPathBytes) {
      const memo: PathMemo = { encoded: Uint8Array.prototype.slice.call(buffer, start, this.#at), field };
      if (this.#paths.length < memoPaths) this.#paths.push(memo);
      else this.#paths[this.#nextPath++ % memoPaths] = memo;
    }
    return field;
  }

  #insert(field: HeaderField): void {
    this.tableVersion++;
    // A field larger than the table empties it and is not kept: not an error (§4.4).
    if (field.sizeBytes > this.#limitBytes) {
      this.#evict(0);
      return;
    }
    this.#evict(this.#limitBytes - field.sizeBytes);
    this.#newest = (this.#newest - 1) & this.#mask;
    this.#ring[this.#newest] = field;
    this.#count++;
    this.#sizeBytes += field.sizeBytes;
  }

  #evict(downToBytes: number): void {
    while (this.#sizeBytes > downToBytes) {
      this.#count--;
      const oldest = (this.#newest + this.#count) & this.#mask;
      this.#sizeBytes -= this.#ring[oldest]!.sizeBytes;
      this.#ring[oldest] = undefined;
    }
  }

  /** §5.1. At most five continuation bytes and 2^31-1 (H2-06). Leaves the end in `#at`. */
  #integer(buffer: Buffer, start: number, end: number, prefixMask: number): number {
    let value = buffer[start]! & prefixMask;
    let at = start + 1;
    if (value === prefixMask) {
      let scale = 1;
      for (let i = 0; ; i++) {
        if (i === 5) throw new HpackError("integer longer than five bytes");
        if (at >= end) throw new HpackError("integer cut short");
        const byte = buffer[at++]!;
        value += (byte & 0x7f) * scale;
        if (byte < 0x80) break;
        scale *= 128;
      }
      if (value > 0x7fff_ffff) throw new HpackError("integer above 2147483647");
    }
    this.#at = at;
    return value;
  }

  /** §5.2. Leaves the end in `#at`. */
  #string(buffer: Buffer, start: number, end: number): string {
    if (start >= end) throw new HpackError("string cut short");
    const first = buffer[start]!;
    let length = first & 0x7f;
    if (length === 0x7f) length = this.#integer(buffer, start, end, 0x7f);
    else this.#at = start + 1;
    const from = this.#at;
    const to = from + length;
    if (to > end) throw new HpackError("string cut short");
    this.#at = to;
    if (first < 0x80) return buffer.toString("latin1", from, to);
    if (scratch.length < length * 2) scratch = Buffer.allocUnsafeSlow(length * 2);
    const decoded = huffmanDecode(buffer, from, to, scratch);
    if (decoded < 0) throw new HpackError("broken Huffman code");
    return scratch.toString("latin1", 0, decoded);
  }
}

interface PathMemo {
  /** The whole string literal: length prefix and bytes. */
  readonly encoded: Uint8Array;
  readonly field: HeaderField;
}

/** A connection uses a handful of methods; with more, the oldest memo goes. */
const memoPaths = 8;
const memoPathBytes = 128;

/** Where Huffman strings unfold before they become a string; only used within one call. */
let scratch: Buffer = Buffer.allocUnsafeSlow(1024);
