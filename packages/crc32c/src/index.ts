/**
 * CRC-32C (Castagnoli, reflected, as in RFC 3720 appendix B.4): the checksum of etcd's HashKV, log and snapshots.
 * Node's `zlib.crc32` is the other polynomial. Eight tables are walked at once ("slicing by 8"), about 0.5 µs for
 * 300 bytes.
 */
const TABLES = buildTables();

/**
 * Continues `crc` over `bytes[start, end)`. Start with 0. The result is an unsigned 32-bit number, and
 * `crc32c(b, crc32c(a, 0))` equals the checksum of a then b.
 */
export function crc32c(bytes: Uint8Array, crc = 0, start = 0, end: number = bytes.length): number {
  const t = TABLES;
  let c = ~crc;
  let i = start;
  for (const stop = end - 7; i < stop; i += 8) {
    c ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    c =
      t[1792 + (c & 255)]! ^
      t[1536 + ((c >>> 8) & 255)]! ^
      t[1280 + ((c >>> 16) & 255)]! ^
      t[1024 + (c >>> 24)]! ^
      t[768 + bytes[i + 4]!]! ^
      t[512 + bytes[i + 5]!]! ^
      t[256 + bytes[i + 6]!]! ^
      t[bytes[i + 7]!]!;
  }
  for (; i < end; i++) c = t[(c ^ bytes[i]!) & 255]! ^ (c >>> 8);
  return ~c >>> 0;
}

/** Table k (at k * 256) advances a byte past k further zero bytes. */
function buildTables(): Int32Array {
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let c = byte;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
    tables[byte] = c;
  }
  for (let k = 1; k < 8; k++) {
    for (let byte = 0; byte < 256; byte++) {
      const previous = tables[(k - 1) * 256 + byte]!;
      tables[k * 256 + byte] = tables[previous & 255]! ^ (previous >>> 8);
    }
  }
  return tables;
}
