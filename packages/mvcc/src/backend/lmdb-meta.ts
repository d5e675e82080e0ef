/**
 * Looks at the head of an LMDB file before LMDB maps it. LMDB trusts what it finds there: where that points outside
 * the file, or the file is cut short, the process dies of a signal, with no message.
 *
 * Decisions:
 *  - Only what holds for every intact file is demanded; refusing a good database would be worse than the crash. The file
 *    may be shorter than its last page number says: free pages at its end may never have been written. What it cannot
 *    be is shorter than its pages in use, which LMDB counts, or than a page it starts reading from.
 *  - So this is no checksum: damage inside a page further on, and a cut through a file that is mostly free pages, pass.
 *  - Fields LMDB never reads with our flags (mm_address, mm_mapsize) are not judged.
 *
 * The layout is that of the binding's fork of LMDB (MDB_page_header, MDB_meta, MDB_db and MDB_node in mdb.c), on
 * little-endian machines of 64 bits:
 *
 *     page   0 number u64 | 8 txnid u64 | 16 pad u16 | 18 flags u16 | 20 lower u16 | 22 upper u16 | 24 node offsets u16;
 *            lower and node offsets are counted from byte 24
 *     meta   24 magic u32 | 28 version u32 | 32 address | 40 mapsize | 48 free tree | 96 main tree | 144 last page u64
 *            | 152 txnid u64; the page size is the pad of the free tree
 *     tree   0 pad u32 | 4 flags u16 | 6 depth u16 | 8 branch u64 | 16 leaf u64 | 24 overflow u64 | 32 entries u64
 *            | 40 root u64
 *     node   0 size u32 | 4 flags u16 | 6 key size u16 | 8 key, then data: for a named database its tree
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { endianness } from "node:os";
import { StorageDamagedError } from "./storage.ts";

const MAGIC = 0xbeefc0de;
const VERSION = 2;
const PAGE_FLAGS = 18;
const HEADER_BYTES = 24;
const META_BYTES = 168;
const META_FLAG = 0x08;
const LEAF_FLAG = 0x02;
const TREE_BYTES = 48;
const NODE_BYTES = 8;
const NAMED_TREE_FLAG = 0x02;
const PAGE_SIZE = 48;
const FREE_TREE = 48;
const MAIN_TREE = 96;
const LAST_PAGE = 144;
const TXNID = 152;
const MAX_PAGE_BYTES = 65536;
/** What a process can address; LMDB maps up to the last page. */
const MAX_MAP_BYTES = 2n ** 47n;
/** MDB_ENCRYPT in the flags of the free tree: we never set it, and the binding dies of the refusal. */
const ENCRYPTED_FLAG = 0x2000;
/** The root of an empty tree. */
const NO_PAGE = 0xffff_ffff_ffff_ffffn;

/**
 * Checks that LMDB can open the file without leaving it. Reads three pages at most and changes nothing.
 * @throws StorageDamagedError if the head of the file is damaged or its end is missing.
 */
export function checkDatabaseFile(path: string): void {
  if (endianness() !== "LE") return;
  const file = openSync(path, "r");
  try {
    new HeadCheck(path, file).run();
  } finally {
    closeSync(file);
  }
}

class HeadCheck {
  readonly #path: string;
  readonly #file: number;
  readonly #fileBytes: number;
  #pageBytes = 0;
  #lastPage = 0n;
  #usedPages = 2n;

  constructor(path: string, file: number) {
    this.#path = path;
    this.#file = file;
    this.#fileBytes = fstatSync(file).size;
  }

  run(): void {
    const first = this.#readMeta(0);
    const second = this.#readMeta(this.#pageBytes);
    const isFirst = first.readBigUInt64LE(TXNID) > second.readBigUInt64LE(TXNID);
    const meta = isFirst ? first : second;
    const at = isFirst ? 0 : this.#pageBytes;
    this.#lastPage = meta.readBigUInt64LE(LAST_PAGE);
    const isMappable = (this.#lastPage + 1n) * BigInt(this.#pageBytes) <= MAX_MAP_BYTES;
    if (this.#lastPage < 1n || !isMappable) this.#fail(at + LAST_PAGE, `the last page is ${this.#lastPage}`);
    this.#checkTree(meta, FREE_TREE, at);
    this.#checkTree(meta, MAIN_TREE, at);
    this.#checkNamedTrees(meta.readBigUInt64LE(MAIN_TREE + 40));
    if (this.#usedPages > this.#lastPage + 1n) {
      this.#fail(at + LAST_PAGE, `the last page is ${this.#lastPage}, but ${this.#usedPages} pages are in use`);
    }
    if (this.#usedPages * BigInt(this.#pageBytes) > BigInt(this.#fileBytes)) {
      const usedBytes = this.#usedPages * BigInt(this.#pageBytes);
      this.#fail(this.#fileBytes, `the file ends here, but at least ${usedBytes} bytes of it are in use`);
    }
  }

  #readMeta(at: number): Buffer {
    const meta = this.#read(at, META_BYTES);
    const magic = meta.readUInt32LE(HEADER_BYTES);
    if (magic !== MAGIC) this.#fail(at + HEADER_BYTES, `0x${magic.toString(16)} is not LMDB's mark`);
    // The upper half is not the format's version.
    const version = meta.readUInt32LE(HEADER_BYTES + 4) & 0xffff;
    if (version !== VERSION) this.#fail(at + HEADER_BYTES + 4, `format ${version} of LMDB instead of ${VERSION}`);
    if ((meta.readUInt16LE(PAGE_FLAGS) & META_FLAG) === 0) this.#fail(at + PAGE_FLAGS, "not marked as a meta page");
    const pageBytes = meta.readUInt32LE(PAGE_SIZE);
    const isPossible = pageBytes >= 512 && pageBytes <= MAX_PAGE_BYTES && (pageBytes & (pageBytes - 1)) === 0;
    if (!isPossible || (at > 0 && pageBytes !== this.#pageBytes)) {
      this.#fail(at + PAGE_SIZE, `pages of ${pageBytes} bytes`);
    }
    if ((meta.readUInt16LE(FREE_TREE + 4) & ENCRYPTED_FLAG) !== 0)
      this.#fail(at + FREE_TREE + 4, "marked as encrypted");
    this.#pageBytes = pageBytes;
    return meta;
  }

  /** @param at of `bytes` in the file. */
  #checkTree(bytes: Buffer, tree: number, at: number): void {
    for (const count of [8, 16, 24]) this.#usedPages += bytes.readBigUInt64LE(tree + count);
    const root = bytes.readBigUInt64LE(tree + 40);
    if (root === NO_PAGE) return;
    if (root < 2n || root > this.#lastPage) {
      this.#fail(at + tree + 40, `a tree starts at page ${root}, and the last page is ${this.#lastPage}`);
    }
    if ((root + 1n) * BigInt(this.#pageBytes) > BigInt(this.#fileBytes)) {
      this.#fail(this.#fileBytes, `the file ends here, before page ${root}, where a tree starts`);
    }
  }

  /** Only where the main tree is one leaf, as it is with our handful of names. */
  #checkNamedTrees(root: bigint): void {
    if (root === NO_PAGE) return;
    const at = Number(root) * this.#pageBytes;
    const page = this.#read(at, this.#pageBytes);
    if (page.readBigUInt64LE(0) !== root) this.#fail(at, `page ${root} is marked as page ${page.readBigUInt64LE(0)}`);
    if ((page.readUInt16LE(PAGE_FLAGS) & LEAF_FLAG) === 0) return;
    const end = HEADER_BYTES + page.readUInt16LE(20);
    if (end > this.#pageBytes) this.#fail(at + 20, `node offsets up to ${end} of the page`);
    for (let slot = HEADER_BYTES; slot + 1 < end; slot += 2) {
      const node = HEADER_BYTES + page.readUInt16LE(slot);
      if (node + NODE_BYTES > this.#pageBytes) this.#fail(at + slot, `a node at ${node} of its page`);
      if ((page.readUInt16LE(node + 4) & NAMED_TREE_FLAG) === 0) continue;
      const tree = node + NODE_BYTES + page.readUInt16LE(node + 6);
      if (tree + TREE_BYTES > this.#pageBytes) this.#fail(at + node, "a node longer than its page");
      this.#checkTree(page, tree, at);
    }
  }

  #read(at: number, sizeBytes: number): Buffer {
    const bytes = Buffer.alloc(sizeBytes);
    const readBytes = readSync(this.#file, bytes, 0, sizeBytes, at);
    if (readBytes < sizeBytes) this.#fail(at + readBytes, "the file ends here, within the pages every database has");
    return bytes;
  }

  #fail(offset: number, detail: string): never {
    throw new StorageDamagedError(this.#path, offset, detail);
  }
}
