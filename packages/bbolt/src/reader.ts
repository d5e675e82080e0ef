/**
 * Reads a bbolt file that nobody writes: a snapshot, or the database of a member that is stopped. Called by storage's
 * import and by tools.
 *
 * No file makes it loop, read outside the file, or take more memory than a page per level and a bit per page of the file;
 * what breaks a rule of the format is refused with a BboltDamagedError that names the place. The format has no
 * checksums but the metas', so altered bytes inside a key or value are for others to notice.
 */
import { FREELIST_COUNT_ESCAPE, PAGE_HEADER_BYTES, PageFlag, readUint64 } from "./page.ts";
import { type BboltSource, Page, PageSource } from "./source.ts";
import { type BucketPlace, type ElementVisitor, PageSet, readBucketPlace, TreeReader } from "./tree-reader.ts";

/** Hears the pairs of a bucket. */
export interface BboltVisitor {
  /**
   * Key and value are `bytes[keyStart, keyEnd)` and `bytes[keyEnd, valueEnd)`, borrowed until return. Returns false to
   * end the visit.
   */
  visit(bytes: Uint8Array, keyStart: number, keyEnd: number, valueEnd: number): boolean;
}

/** Buckets within buckets; etcd has none. */
const NESTING_MAX = 16;

/** More buckets than any file of etcd's, few enough to hold in memory. */
const BUCKETS_MAX = 10_000;

export class BboltReader {
  readonly #pages: PageSource;
  /** By the lower-case hex of their names, in order. */
  readonly #buckets = new Map<string, BucketPlace>();

  /**
   * Reads the metas and the tree of buckets.
   * @throws BboltDamagedError if the file is none or its head is damaged; what the source throws.
   */
  constructor(source: BboltSource) {
    this.#pages = new PageSource(source);
    this.#walk(this.#root, (page, isBucket, keyStart, keyEnd, valueEnd) => {
      if (!isBucket) this.#pages.fail(page.id, keyStart - page.start, "a pair where a bucket is expected");
      if (this.#buckets.size === BUCKETS_MAX) this.#pages.fail(page.id, 0, `more than ${BUCKETS_MAX} buckets`);
      this.#buckets.set(hex(page.bytes, keyStart, keyEnd), readBucketPlace(this.#pages, page, keyEnd, valueEnd));
    });
  }

  get pageBytes(): number {
    return this.#pages.pageBytes;
  }

  /** Bytes of the file that belong to the database; a digest, or space kept ready, may follow. */
  get sizeBytes(): number {
    return this.#pages.sizeBytes;
  }

  /** Names in ascending order. */
  bucketNames(): Uint8Array[] {
    return [...this.#buckets.keys()].map((name) => Uint8Array.from(Buffer.from(name, "hex")));
  }

  hasBucket(name: Uint8Array): boolean {
    return this.#buckets.has(hex(name, 0, name.length));
  }

  /**
   * Visits a bucket's pairs in ascending order of keys until the visitor returns false. A bucket that is not there has
   * none.
   * @throws BboltDamagedError, also for a bucket inside the bucket; what the source and the visitor throw.
   */
  visit(bucket: Uint8Array, visitor: BboltVisitor): void {
    const place = this.#buckets.get(hex(bucket, 0, bucket.length));
    if (place === undefined) return;
    new TreeReader(this.#pages, new PageSet(this.#pages.pageCount), {
      element: (page, isBucket, keyStart, keyEnd, valueEnd) => {
        if (isBucket) this.#pages.fail(page.id, keyStart - page.start, "a bucket where a pair is expected");
        return visitor.visit(page.bytes, keyStart, keyEnd, valueEnd);
      },
    }).walk(place);
  }

  /**
   * The value of a key of a bucket, copied; null if either is not there. Goes down one path of the tree.
   * @throws BboltDamagedError for damage on that path.
   */
  get(bucket: Uint8Array, key: Uint8Array): Uint8Array | null {
    const place = this.#buckets.get(hex(bucket, 0, bucket.length));
    if (place === undefined) return null;
    let found: Uint8Array | null = null;
    new TreeReader(this.#pages, new PageSet(this.#pages.pageCount), {
      element: (page, isBucket, keyStart, keyEnd, valueEnd) => {
        const isFound = !isBucket && Buffer.compare(page.bytes.subarray(keyStart, keyEnd), key) === 0;
        if (isFound) found = Uint8Array.from(page.bytes.subarray(keyEnd, valueEnd));
        return !isFound;
      },
    }).walk(place, key);
    return found;
  }

  /**
   * Holds the whole file to the format's rules, as bbolt's own check does: every tree, buckets in buckets too, no page
   * used twice, and each page below the end either used or free, if the file lists its free pages.
   * @throws BboltDamagedError
   */
  check(): void {
    const { meta, pageCount } = this.#pages;
    const met = new PageSet(pageCount);
    met.add(0);
    met.add(1);
    const free = meta.freelist === null ? null : this.#readFreelist(meta.freelist, met);
    this.#checkTree(this.#root, met, 0);
    if (free === null) return;
    for (let id = 0; id < pageCount; id++) {
      if (met.has(id) && free.has(id)) this.#pages.fail(id, 0, "it is in use and listed as free");
      if (!met.has(id) && !free.has(id)) this.#pages.fail(id, 0, "it is neither in use nor listed as free");
    }
  }

  get #root(): BucketPlace {
    return { root: this.#pages.meta.root, page: 0, image: null };
  }

  #walk(place: BucketPlace, visit: (...element: Parameters<ElementVisitor["element"]>) => void): void {
    new TreeReader(this.#pages, new PageSet(this.#pages.pageCount), {
      element: (...element) => {
        visit(...element);
        return true;
      },
    }).walk(place);
  }

  #checkTree(place: BucketPlace, met: PageSet, nesting: number): void {
    if (nesting > NESTING_MAX) this.#pages.fail(place.page, 0, `more than ${NESTING_MAX} buckets inside each other`);
    const isRoot = nesting === 0;
    new TreeReader(this.#pages, met, {
      element: (page, isBucket, _keyStart, keyEnd, valueEnd) => {
        if (isBucket) this.#checkTree(readBucketPlace(this.#pages, page, keyEnd, valueEnd), met, nesting + 1);
        else if (isRoot) this.#pages.fail(page.id, keyEnd - page.start, "a pair where a bucket is expected");
        return true;
      },
    }).walk(place);
  }

  /** Ids ascend, so the set needs no room beyond the file's own number of pages. */
  #readFreelist(id: number, met: PageSet): PageSet {
    const page = new Page();
    this.#pages.load(id, page);
    if (page.flags !== PageFlag.freelist) this.#pages.fail(id, 8, `a page of kind ${page.flags} as list of free pages`);
    for (let i = 0; i <= page.overflow; i++) met.add(id + i);
    const isEscaped = page.count === FREELIST_COUNT_ESCAPE;
    let at = PAGE_HEADER_BYTES;
    let count = page.count;
    if (isEscaped) {
      count = readUint64(page.view, at);
      at += 8;
    }
    if (at + count * 8 > page.end) this.#pages.fail(id, 10, `${count} free pages are more than the list holds`);
    const free = new PageSet(this.#pages.pageCount);
    let last = 1;
    for (const end = at + count * 8; at < end; at += 8) {
      const next = readUint64(page.view, at);
      if (next <= last || next >= this.#pages.pageCount) this.#pages.fail(id, at, `free page ${next} after ${last}`);
      free.add(next);
      last = next;
    }
    return free;
  }
}

function hex(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("hex");
}
