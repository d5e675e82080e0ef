/**
 * The pages of a bbolt file as both writer and reader know them. All numbers are little-endian, as in every file there
 * is; page p lies at p × page size.
 *
 *     page     0 id u64 │ 8 flags u16 │ 10 count u16 │ 12 overflow u32 │ 16 elements, then their bytes
 *     leaf     0 flags u32 (1: the value is a bucket) │ 4 pos u32 │ 8 key size u32 │ 12 value size u32
 *     branch   0 pos u32 │ 4 key size u32 │ 8 page of the child u64
 *     bucket   0 root page u64, or 0 and the image of its only leaf follows │ 8 sequence u64
 *     meta     16 magic u32 │ 20 version u32 │ 24 page size u32 │ 28 flags u32 │ 32 root bucket (16 bytes)
 *              │ 48 freelist page u64, or all ones │ 56 pages in use u64 │ 64 txid u64 │ 72 FNV-1a 64 of 16..71
 *
 * An element's pos counts from the element itself; its value follows its key. A page's overflow is the number of pages
 * behind it that continue its bytes.
 */

export const PAGE_HEADER_BYTES = 16;
export const ELEMENT_BYTES = 16;
export const BUCKET_HEADER_BYTES = 16;
/** Of a meta page, header included. */
export const META_END = 80;

/** What the kind of a page is called in its header; exactly one of them. */
export const PageFlag = { branch: 0x01, leaf: 0x02, meta: 0x04, freelist: 0x10 } as const;
export type PageFlag = (typeof PageFlag)[keyof typeof PageFlag];

/** In the flags of a leaf's element. */
export const BUCKET_FLAG = 1;

export const KEY_BYTES_MAX = 32_768;
export const VALUE_BYTES_MAX: number = 2 ** 31 - 2;

/** What a freelist page says in `count` when its first id is the real count. */
export const FREELIST_COUNT_ESCAPE = 0xffff;

const MAGIC = 0xed0cdaed;
const VERSION = 2;
const NO_FREELIST = 0xffff_ffff_ffff_ffffn;

export interface Meta {
  readonly pageBytes: number;
  /** Page where the tree of buckets starts. */
  readonly root: number;
  /** null: the free pages are those that nothing refers to. */
  readonly freelist: number | null;
  /** First page that was never used: the file counts up to it. */
  readonly pageCount: number;
  readonly txid: bigint;
}

export function writePageHeader(
  to: DataView,
  at: number,
  page: { readonly id: number; readonly flag: PageFlag; readonly count: number; readonly overflow: number },
): void {
  writeUint64(to, at, page.id);
  to.setUint16(at + 8, page.flag, true);
  to.setUint16(at + 10, page.count, true);
  to.setUint32(at + 12, page.overflow, true);
}

/** Writes a whole meta page's head, page header included, at `at`. */
export function writeMeta(to: DataView, at: number, id: 0 | 1, meta: Meta): void {
  writePageHeader(to, at, { id, flag: PageFlag.meta, count: 0, overflow: 0 });
  to.setUint32(at + 16, MAGIC, true);
  to.setUint32(at + 20, VERSION, true);
  to.setUint32(at + 24, meta.pageBytes, true);
  to.setUint32(at + 28, 0, true);
  writeUint64(to, at + 32, meta.root);
  writeUint64(to, at + 40, 0);
  if (meta.freelist === null) to.setBigUint64(at + 48, NO_FREELIST, true);
  else writeUint64(to, at + 48, meta.freelist);
  writeUint64(to, at + 56, meta.pageCount);
  to.setBigUint64(at + 64, meta.txid, true);
  to.setBigUint64(at + 72, checksum(to, at), true);
}

/** The meta page at `at`, of which {@link META_END} bytes are there; null if it is none or damaged. */
export function readMeta(from: DataView, at: number): Meta | null {
  if (from.getUint32(at + 16, true) !== MAGIC || from.getUint32(at + 20, true) !== VERSION) return null;
  if (from.getBigUint64(at + 72, true) !== checksum(from, at)) return null;
  return {
    pageBytes: from.getUint32(at + 24, true),
    root: readUint64(from, at + 32),
    freelist: from.getBigUint64(at + 48, true) === NO_FREELIST ? null : readUint64(from, at + 48),
    pageCount: readUint64(from, at + 56),
    txid: from.getBigUint64(at + 64, true),
  };
}

/** FNV-1a over a meta's fields. */
function checksum(of: DataView, at: number): bigint {
  let hash = 0xcbf29ce484222325n;
  for (let i = 16; i < 72; i++) hash = BigInt.asUintN(64, (hash ^ BigInt(of.getUint8(at + i))) * 0x100000001b3n);
  return hash;
}

/** Exact below 2^53; a greater number stays greater than any page or size there can be. */
export function readUint64(from: DataView, at: number): number {
  return from.getUint32(at + 4, true) * 0x1_0000_0000 + from.getUint32(at, true);
}

export function writeUint64(to: DataView, at: number, value: number): void {
  to.setUint32(at, value >>> 0, true);
  to.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}

/** A view of the bytes for numbers. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
