/**
 * A bbolt file as numbered pages: which meta counts, how far the file goes, and the bytes of a page. Everything that is
 * read from the file is looked at here before it is used as a place or a length, so that no file, whatever is in it,
 * leads outside of itself.
 */
import { BboltDamagedError } from "./errors.ts";
import { META_END, type Meta, readMeta, readUint64, viewOf } from "./page.ts";

/** Where the file is read from; a DiskFile of world's is one. */
export interface BboltSource {
  sizeBytes(): number;
  /** Reads into `into[0, length)` from `position`; returns the bytes read, short only at the end of the file. */
  read(into: Uint8Array, length: number, position: number): number;
}

/** 8 TiB of the usual pages. */
const PAGES_MAX = 2 ** 31;
/** The least a file can be. */
const FILE_BYTES_MIN = 4096;
const PAGE_BYTES_MIN = 1024;
const PAGE_BYTES_MAX = 1024 << 14;

/**
 * The longest page with the pages that continue it: a value of this size, less its key. Far above what a request may
 * carry, far below what a forged length may ask for.
 */
export const PAGE_RUN_BYTES_MAX: number = 256 * 1024 * 1024;

/** A page held in memory, with what its header says. Reused from page to page. */
export class Page {
  id = 0;
  flags = 0;
  count = 0;
  /** Pages behind it that continue it. */
  overflow = 0;
  /** All of its bytes are `bytes[start, end)`. */
  bytes: Uint8Array = Buffer.alloc(0);
  view: DataView = viewOf(this.bytes);
  start = 0;
  end = 0;

  /** Reads the header at `start`. */
  readHeader(): void {
    this.id = readUint64(this.view, this.start);
    this.flags = this.view.getUint16(this.start + 8, true);
    this.count = this.view.getUint16(this.start + 10, true);
    this.overflow = this.view.getUint32(this.start + 12, true);
  }

  ensure(sizeBytes: number): void {
    if (this.bytes.length >= sizeBytes) return;
    const larger = Buffer.allocUnsafeSlow(sizeBytes);
    larger.set(this.bytes);
    this.bytes = larger;
    this.view = viewOf(larger);
  }
}

export class PageSource {
  readonly meta: Meta;
  readonly pageBytes: number;
  /** Pages in use; ids are below. */
  readonly pageCount: number;
  readonly #source: BboltSource;

  /** @throws BboltDamagedError */
  constructor(source: BboltSource) {
    this.#source = source;
    const sizeBytes = source.sizeBytes();
    if (sizeBytes < FILE_BYTES_MIN) this.#failMeta(sizeBytes, `${sizeBytes} bytes are too short for a file`);
    this.meta = this.#chooseMeta(sizeBytes);
    this.pageBytes = this.meta.pageBytes;
    this.pageCount = this.meta.pageCount;
    this.#checkMeta(sizeBytes);
  }

  /** Bytes of the file that count; there may be more behind. */
  get sizeBytes(): number {
    return this.pageCount * this.pageBytes;
  }

  /**
   * Reads page `id` with its overflow into `page`.
   * @throws BboltDamagedError if there is no such page, or not all of it.
   */
  load(id: number, page: Page): void {
    const { pageBytes, pageCount } = this;
    if (id < 2 || id >= pageCount) this.fail(id, 0, `no such page: there are pages 2 to ${pageCount - 1}`);
    page.ensure(pageBytes);
    page.start = 0;
    page.end = pageBytes;
    this.#read(page.bytes, pageBytes, id);
    page.readHeader();
    if (page.id !== id) this.fail(id, 0, `it is marked as page ${page.id}`);
    if (page.overflow === 0) return;
    if (id + page.overflow >= pageCount) this.fail(id, 12, `${page.overflow} pages continue it, beyond the last page`);
    const runBytes = (page.overflow + 1) * pageBytes;
    if (runBytes > PAGE_RUN_BYTES_MAX) this.fail(id, 12, `${runBytes} bytes of it, allowed are ${PAGE_RUN_BYTES_MAX}`);
    page.ensure(runBytes);
    page.end = runBytes;
    this.#read(page.bytes, runBytes, id);
  }

  /** @param at byte of the page. */
  fail(id: number, at: number, detail: string): never {
    throw new BboltDamagedError(id, id * this.pageBytes + at, detail);
  }

  #read(into: Uint8Array, length: number, id: number): void {
    const position = id * this.pageBytes;
    const readBytes = this.#source.read(into, length, position);
    if (readBytes < length) this.fail(id, readBytes, "the file ends here");
  }

  #chooseMeta(sizeBytes: number): Meta {
    const head = Buffer.alloc(META_END);
    const metaAt = (position: number): Meta | null => {
      if (position + META_END > sizeBytes || this.#source.read(head, META_END, position) < META_END) return null;
      return readMeta(viewOf(head), 0);
    };
    const first = metaAt(0);
    if (first !== null) {
      const second = metaAt(first.pageBytes);
      const isSecond = second !== null && second.pageBytes === first.pageBytes && second.txid > first.txid;
      return isSecond ? second : first;
    }
    for (let pageBytes = PAGE_BYTES_MIN; pageBytes <= PAGE_BYTES_MAX; pageBytes *= 2) {
      const second = metaAt(pageBytes);
      if (second?.pageBytes === pageBytes) return second;
    }
    this.#failMeta(0, "neither meta page is intact");
  }

  #checkMeta(sizeBytes: number): void {
    const { pageBytes, pageCount, root, freelist } = this.meta;
    const isPowerOfTwo = (pageBytes & (pageBytes - 1)) === 0;
    if (!isPowerOfTwo || pageBytes < PAGE_BYTES_MIN || pageBytes > PAGE_BYTES_MAX) {
      this.#failMeta(24, `pages of ${pageBytes} bytes`);
    }
    if (pageCount * pageBytes > sizeBytes) {
      this.#failMeta(sizeBytes, `the file ends here, and ${pageCount} pages of ${pageBytes} bytes are in use`);
    }
    if (pageCount > PAGES_MAX) this.#failMeta(56, `${pageCount} pages, allowed are ${PAGES_MAX}`);
    if (root < 2 || root >= pageCount) this.#failMeta(32, `the buckets start at page ${root} of ${pageCount}`);
    if (freelist !== null && (freelist < 2 || freelist >= pageCount)) {
      this.#failMeta(48, `the free pages are listed in page ${freelist} of ${pageCount}`);
    }
  }

  #failMeta(offset: number, detail: string): never {
    throw new BboltDamagedError(0, offset, detail);
  }
}
