/**
 * Reads a whole LMDB database page by page with reads of the file, beside LMDB and not through its map: what is read through
 * the map stays in the process's resident memory until the system takes it away, so a snapshot of gigabytes would look, and
 * in a container count, as if the process had grown by them. This holds a page per level of a tree and a few more.
 *
 * Who calls must hold a read transaction that began before, for as long as it reads: LMDB writes a page anew only when no
 * transaction can still see what was in it. What is read is the newest commit whose meta is in the file, which is that
 * transaction's or a later one, so nothing of it is written either.
 *
 * The layout, beside what lmdb-meta.ts says of metas, trees and nodes; numbers are little-endian:
 *
 *     branch   24 offsets of nodes u16 ... nodes: 0 page of the child, bits 0..31 | 4 bits 32..47 | 6 key size u16 | 8 key
 *     leaf     24 offsets of nodes u16 ... nodes: 0 data size u32 | 4 flags u16 | 6 key size u16 | 8 key, then data
 *     large    the data of a node with flag 1 is a page number u64, ...; the value is in that page from byte 24 on
 */
import { fstatSync, readSync } from "node:fs";
import { StorageDamagedError } from "./storage.ts";

const META_BYTES = 168;
const MAGIC = 0xbeefc0de;
const PAGE_SIZE = 48;
const MAIN_ROOT = 96 + 40;
const TXNID = 152;
const TREE_ROOT = 40;
const TREE_BYTES = 48;

const HEADER_BYTES = 24;
const FLAGS = 18;
const LOWER = 20;
const BRANCH_FLAG = 0x01;
const LEAF_FLAG = 0x02;
const OVERFLOW_FLAG = 0x04;

const NODE_BYTES = 8;
const LARGE_FLAG = 0x01;
const NAMED_TREE_FLAG = 0x02;

const NO_PAGE = 0xffff_ffff_ffff_ffffn;
/** LMDB's own bound. */
const DEPTH_MAX = 32;
/** Neighbours read with a page that follows the one before: leaves written in order lie so. */
const RUN_PAGES = 16;
/** A meta is being written: another look sees it whole. */
const META_TRIES = 100;

/** Key and value are `key[keyStart, keyEnd)` and `value[valueStart, valueEnd)`, borrowed until return. False ends the walk. */
export type PairVisitor = (
  key: Buffer,
  keyStart: number,
  keyEnd: number,
  value: Buffer,
  valueStart: number,
  valueEnd: number,
) => boolean;

export class LmdbPages {
  readonly #path: string;
  readonly #file: number;
  readonly #pageBytes: number;
  readonly #fileBytes: number;
  /** Roots of the named trees. */
  readonly #roots = new Map<string, bigint>();
  /** The page at hand of each level. */
  readonly #levels: Buffer[] = [];
  readonly #run: Buffer;
  #runFirst = -1;
  #runCount = 0;
  #lastPage = -1;
  /** Pages met by the walk under way. */
  #loadCount = 0;
  #large = Buffer.alloc(0);

  /**
   * Takes the newest commit that is in the file.
   * @param file open for reading, the caller's to close.
   * @throws StorageDamagedError
   */
  constructor(path: string, file: number) {
    this.#path = path;
    this.#file = file;
    const meta = this.#newestMeta();
    this.#pageBytes = meta.readUInt32LE(PAGE_SIZE);
    // All that this commit refers to was written before its meta.
    this.#fileBytes = fstatSync(file).size;
    this.#run = Buffer.allocUnsafeSlow(RUN_PAGES * this.#pageBytes);
    this.#walk(meta.readBigUInt64LE(MAIN_ROOT), 0, (page, node, keyEnd) => {
      if ((page.readUInt16LE(node + 4) & NAMED_TREE_FLAG) === 0) return true;
      if (keyEnd + TREE_BYTES > this.#pageBytes) this.#fail(page, node, "a node longer than its page");
      // Names end with a zero in some versions of the binding.
      const name = page.toString("latin1", node + NODE_BYTES, keyEnd).replace(/\0$/, "");
      this.#roots.set(name, page.readBigUInt64LE(keyEnd + TREE_ROOT));
      return true;
    });
  }

  /** All pairs of a named tree in ascending order of keys. A tree that is not there has none. */
  scan(name: string, visit: PairVisitor): void {
    const root = this.#roots.get(name);
    if (root === undefined) return;
    this.#loadCount = 0;
    this.#walk(root, 0, (page, node, keyEnd) => {
      const sizeBytes = page.readUInt32LE(node);
      const keyStart = node + NODE_BYTES;
      if ((page.readUInt16LE(node + 4) & LARGE_FLAG) === 0) {
        const end = keyEnd + sizeBytes;
        if (end > this.#pageBytes) this.#fail(page, node, "a node longer than its page");
        return visit(page, keyStart, keyEnd, page, keyEnd, end);
      }
      if (keyEnd + 8 > this.#pageBytes) this.#fail(page, node, "a node longer than its page");
      const large = this.#readLarge(page.readBigUInt64LE(keyEnd), sizeBytes);
      return visit(page, keyStart, keyEnd, large, HEADER_BYTES, HEADER_BYTES + sizeBytes);
    });
  }

  /** Two of them, written in turn; each is looked at until two looks see the same. */
  #newestMeta(): Buffer {
    let newest: Buffer | null = null;
    const first = this.#settledMeta(0);
    const pageBytes = first.readUInt32LE(PAGE_SIZE);
    for (const meta of [first, this.#settledMeta(pageBytes)]) {
      const isMeta = meta.readUInt32LE(HEADER_BYTES) === MAGIC && meta.readUInt32LE(PAGE_SIZE) === pageBytes;
      if (!isMeta) throw new StorageDamagedError(this.#path, 0, "a page without LMDB's mark where a meta is expected");
      if (newest === null || meta.readBigUInt64LE(TXNID) > newest.readBigUInt64LE(TXNID)) newest = meta;
    }
    return newest!;
  }

  #settledMeta(position: number): Buffer {
    let last = this.#readAt(position, META_BYTES);
    for (let i = 0; i < META_TRIES; i++) {
      const next = this.#readAt(position, META_BYTES);
      if (next.equals(last)) return next;
      last = next;
    }
    throw new StorageDamagedError(this.#path, position, "a meta that changes all the time");
  }

  #readAt(position: number, sizeBytes: number): Buffer {
    const bytes = Buffer.alloc(sizeBytes);
    this.#fill(bytes, sizeBytes, position);
    return bytes;
  }

  /** Visits the nodes of the leaves; false if the visitor ended the walk. */
  #walk(root: bigint, depth: number, visit: (page: Buffer, node: number, keyEnd: number) => boolean): boolean {
    if (root === NO_PAGE) return true;
    const page = this.#load(Number(root), depth);
    const flags = page.readUInt16LE(FLAGS);
    const slotsEnd = HEADER_BYTES + page.readUInt16LE(LOWER);
    if (slotsEnd > this.#pageBytes) this.#fail(page, LOWER, `node offsets up to ${slotsEnd} of the page`);
    for (let slot = HEADER_BYTES; slot + 1 < slotsEnd; slot += 2) {
      const node = HEADER_BYTES + page.readUInt16LE(slot);
      if (node + NODE_BYTES > this.#pageBytes) this.#fail(page, slot, `a node at ${node} of its page`);
      if ((flags & BRANCH_FLAG) !== 0) {
        const child = page.readUIntLE(node, 6);
        if (!this.#walk(BigInt(child), depth + 1, visit)) return false;
      } else if ((flags & LEAF_FLAG) !== 0) {
        const keyEnd = node + NODE_BYTES + page.readUInt16LE(node + 6);
        if (keyEnd > this.#pageBytes) this.#fail(page, node, "a key longer than its page");
        if (!visit(page, node, keyEnd)) return false;
      } else this.#fail(page, FLAGS, `a page of kind ${flags} in a tree`);
    }
    return true;
  }

  #load(id: number, depth: number): Buffer {
    // No page is in two places of one commit's trees, so no walk meets more than there are.
    this.#loadCount++;
    if (depth > DEPTH_MAX || this.#loadCount * this.#pageBytes > this.#fileBytes) {
      throw new StorageDamagedError(this.#path, id * this.#pageBytes, "a tree without an end");
    }
    if ((id + 1) * this.#pageBytes > this.#fileBytes) {
      throw new StorageDamagedError(this.#path, this.#fileBytes, `the file ends here, before page ${id} of a tree`);
    }
    if (depth === this.#levels.length) this.#levels.push(Buffer.allocUnsafeSlow(this.#pageBytes));
    const page = this.#levels[depth]!;
    const isNear = id >= this.#runFirst && id < this.#runFirst + this.#runCount;
    if (!isNear) this.#readRun(id);
    this.#lastPage = id;
    const at = (id - this.#runFirst) * this.#pageBytes;
    this.#run.copy(page, 0, at, at + this.#pageBytes);
    if (page.readBigUInt64LE(0) !== BigInt(id)) this.#fail(page, 0, `page ${id} is marked as another`);
    return page;
  }

  /** All of them were written before the meta was, those that are ours: the others are not looked at. */
  #readRun(id: number): void {
    const position = id * this.#pageBytes;
    const wanted = id === this.#lastPage + 1 ? RUN_PAGES : 1;
    const readBytes = this.#fill(this.#run, this.#pageBytes, position, wanted * this.#pageBytes);
    this.#runFirst = id;
    this.#runCount = Math.floor(readBytes / this.#pageBytes);
  }

  #readLarge(id: bigint, sizeBytes: number): Buffer {
    const position = Number(id) * this.#pageBytes;
    const wholeBytes = HEADER_BYTES + sizeBytes;
    if (position + wholeBytes > this.#fileBytes) {
      throw new StorageDamagedError(this.#path, position, `a value of ${sizeBytes} bytes beyond the end of the file`);
    }
    if (this.#large.length < wholeBytes) this.#large = Buffer.allocUnsafeSlow(wholeBytes);
    this.#fill(this.#large, wholeBytes, position);
    const isRight = this.#large.readBigUInt64LE(0) === id && (this.#large.readUInt16LE(FLAGS) & OVERFLOW_FLAG) !== 0;
    if (!isRight) throw new StorageDamagedError(this.#path, position, `page ${id} holds no large value`);
    return this.#large;
  }

  /** Reads at least `leastBytes` and up to `mostBytes`; returns how many. */
  #fill(into: Buffer, leastBytes: number, position: number, mostBytes: number = leastBytes): number {
    let at = 0;
    while (at < mostBytes) {
      const readBytes = readSync(this.#file, into, at, mostBytes - at, position + at);
      if (readBytes === 0) break;
      at += readBytes;
    }
    if (at < leastBytes) throw new StorageDamagedError(this.#path, position + at, "the file ends here, within a page");
    return at;
  }

  #fail(page: Buffer, at: number, detail: string): never {
    const id = Number(page.readBigUInt64LE(0));
    throw new StorageDamagedError(this.#path, id * this.#pageBytes + at, detail);
  }
}
