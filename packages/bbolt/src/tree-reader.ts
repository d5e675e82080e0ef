/**
 * Walks one tree of a bbolt file in order of keys, and holds it to the rules of the format on the way:
 *
 *  - a page is a leaf or a branch, is met once, and lies inside the file;
 *  - elements, keys and values lie inside their page, one behind the other;
 *  - keys ascend strictly, and those below a branch's element lie from its key on and before the next element's.
 *
 * Each page is met at most once and the depth has a bound, so a walk ends, whatever the file says. One page per level is
 * held in memory.
 */
import { compareBytes } from "@quorate/world";
import {
  BUCKET_FLAG,
  BUCKET_HEADER_BYTES,
  ELEMENT_BYTES,
  KEY_BYTES_MAX,
  PAGE_HEADER_BYTES,
  PageFlag,
  readUint64,
} from "./page.ts";
import { Page, type PageSource } from "./source.ts";

/** A tree of a million pages is three levels deep; bbolt's own depth has no bound but the file. */
const DEPTH_MAX = 32;

/** Hears every element of a walk. */
export interface ElementVisitor {
  /**
   * An element of the leaf: key and value are `page.bytes[keyStart, keyEnd)` and `[keyEnd, valueEnd)`, borrowed until
   * return. Returns false to end the walk.
   */
  element(page: Page, isBucket: boolean, keyStart: number, keyEnd: number, valueEnd: number): boolean;
}

/** Where a bucket's pairs are: behind `root`, or in the image of a leaf, copied out of the value that holds it. */
export interface BucketPlace {
  /** 0: inline. */
  readonly root: number;
  /** The page the bucket's value was in, for naming the place. */
  readonly page: number;
  readonly image: Uint8Array | null;
}

/** Notes which pages have been met. */
export class PageSet {
  readonly #bits: Uint8Array;

  constructor(pageCount: number) {
    this.#bits = new Uint8Array(Math.ceil(pageCount / 8));
  }

  has(id: number): boolean {
    return (this.#bits[id >>> 3]! & (1 << (id & 7))) !== 0;
  }

  /** False if it was there already. */
  add(id: number): boolean {
    if (this.has(id)) return false;
    this.#bits[id >>> 3]! |= 1 << (id & 7);
    return true;
  }
}

export class TreeReader {
  readonly #source: PageSource;
  readonly #visitor: ElementVisitor;
  readonly #met: PageSet;
  /** The page at hand of each level. */
  readonly #pages: Page[] = [];
  /** Only the path to this key is walked. */
  #target: Uint8Array | null = null;

  /** @param met what the walk meets is noted here and must not have been met before. */
  constructor(source: PageSource, met: PageSet, visitor: ElementVisitor) {
    this.#source = source;
    this.#met = met;
    this.#visitor = visitor;
  }

  /**
   * Visits every element behind `place`, or with a target those of the one leaf it can be in; false if the visitor
   * ended it.
   * @throws BboltDamagedError
   */
  walk(place: BucketPlace, target: Uint8Array | null = null): boolean {
    this.#target = target;
    if (place.image === null) return this.#walkPage(place.root, 0, NO_BOUND);
    const page = new Page();
    page.ensure(place.image.length);
    page.bytes.set(place.image);
    page.end = place.image.length;
    this.#checkInline(page, place.page);
    return this.#walkLeaf(page, NO_BOUND);
  }

  #walkPage(id: number, depth: number, bound: Bound): boolean {
    if (depth > DEPTH_MAX) this.#source.fail(id, 0, `more than ${DEPTH_MAX} levels lie above it`);
    if (depth === this.#pages.length) this.#pages.push(new Page());
    const page = this.#pages[depth]!;
    this.#source.load(id, page);
    for (let i = 0; i <= page.overflow; i++) {
      if (!this.#met.add(id + i)) this.#source.fail(id, 0, `page ${id + i} is referred to twice`);
    }
    if (page.flags === PageFlag.leaf) return this.#walkLeaf(page, bound);
    if (page.flags === PageFlag.branch) return this.#walkBranch(page, depth, bound);
    return this.#source.fail(id, 8, `a page of kind ${page.flags} in a tree`);
  }

  #walkBranch(page: Page, depth: number, bound: Bound): boolean {
    const { view, bytes, count } = page;
    if (count === 0) this.#fail(page, 10, "a branch without children");
    let dataAt = this.#dataStart(page);
    const own: Bound = { bytes, lowStart: 0, lowEnd: 0, highStart: 0, highEnd: 0, highBytes: null };
    for (let i = 0; i < count; i++) {
      const at = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
      const start = at + view.getUint32(at, true);
      const end = start + view.getUint32(at + 4, true);
      this.#checkPlace(page, at, start, end, end, dataAt);
      this.#checkOrder(page, at, start, end, i === 0 ? null : own, bound);
      own.lowStart = start;
      own.lowEnd = end;
      dataAt = end;
    }
    for (let i = 0; i < count; i++) {
      const at = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
      own.lowStart = at + view.getUint32(at, true);
      own.lowEnd = own.lowStart + view.getUint32(at + 4, true);
      if (i < count - 1) {
        const next = at + ELEMENT_BYTES;
        own.highBytes = bytes;
        own.highStart = next + view.getUint32(next, true);
        own.highEnd = own.highStart + view.getUint32(next + 4, true);
      } else {
        own.highBytes = bound.highBytes;
        own.highStart = bound.highStart;
        own.highEnd = bound.highEnd;
      }
      if (!this.#isOnPath(own, i === 0, i === count - 1)) continue;
      if (!this.#walkPage(readUint64(view, at + 8), depth + 1, own)) return false;
    }
    return true;
  }

  /** Whether the target may be below a child with these bounds. */
  #isOnPath(own: Bound, isFirst: boolean, isLast: boolean): boolean {
    const target = this.#target;
    if (target === null) return true;
    const { bytes, lowStart, lowEnd, highStart, highEnd } = own;
    const isBefore = !isFirst && compareBytes(target, 0, target.length, bytes, lowStart, lowEnd) < 0;
    return !isBefore && (isLast || compareBytes(target, 0, target.length, bytes, highStart, highEnd) < 0);
  }

  #walkLeaf(page: Page, bound: Bound): boolean {
    const { view, bytes, count, start: base } = page;
    let dataAt = this.#dataStart(page);
    const previous: Bound = { bytes, lowStart: 0, lowEnd: 0, highStart: 0, highEnd: 0, highBytes: null };
    for (let i = 0; i < count; i++) {
      const at = base + PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
      const flags = view.getUint32(at, true);
      const start = at + view.getUint32(at + 4, true);
      const keyEnd = start + view.getUint32(at + 8, true);
      const valueEnd = keyEnd + view.getUint32(at + 12, true);
      this.#checkPlace(page, at, start, keyEnd, valueEnd, dataAt);
      this.#checkOrder(page, at, start, keyEnd, i === 0 ? null : previous, bound);
      if (flags > BUCKET_FLAG) this.#fail(page, at, `an element with flags ${flags}`);
      previous.lowStart = start;
      previous.lowEnd = keyEnd;
      dataAt = valueEnd;
      if (!this.#visitor.element(page, flags === BUCKET_FLAG, start, keyEnd, valueEnd)) return false;
    }
    return true;
  }

  /** Where keys and values may start. */
  #dataStart(page: Page): number {
    const dataAt = page.start + PAGE_HEADER_BYTES + page.count * ELEMENT_BYTES;
    if (dataAt > page.end) this.#fail(page, 10, `${page.count} elements are more than the page holds`);
    return dataAt;
  }

  /** `dataAt` is where the element before ends. */
  #checkPlace(page: Page, at: number, start: number, keyEnd: number, valueEnd: number, dataAt: number): void {
    const keyBytes = keyEnd - start;
    if (keyBytes === 0 || keyBytes > KEY_BYTES_MAX) this.#fail(page, at, `a key of ${keyBytes} bytes`);
    if (start < dataAt) this.#fail(page, at, "a key inside what lies before it");
    if (valueEnd > page.end) this.#fail(page, at, "an element that ends outside its page");
  }

  /** `previous` holds the key before as its low one; the first key is held against the bound from above. */
  #checkOrder(page: Page, at: number, start: number, end: number, previous: Bound | null, bound: Bound): void {
    const { bytes } = page;
    if (previous !== null) {
      if (compareBytes(previous.bytes, previous.lowStart, previous.lowEnd, bytes, start, end) >= 0) {
        this.#fail(page, at, "a key not greater than the one before");
      }
    } else if (bound.lowEnd > 0 && compareBytes(bound.bytes, bound.lowStart, bound.lowEnd, bytes, start, end) > 0) {
      this.#fail(page, at, "a first key smaller than its branch says");
    }
    if (
      bound.highBytes !== null &&
      compareBytes(bytes, start, end, bound.highBytes, bound.highStart, bound.highEnd) >= 0
    ) {
      this.#fail(page, at, "a key not smaller than the branch behind");
    }
  }

  #checkInline(page: Page, holder: number): void {
    if (page.bytes.length < PAGE_HEADER_BYTES) this.#source.fail(holder, 0, "an inline bucket that is cut short");
    page.readHeader();
    const isLeaf = page.flags === PageFlag.leaf && page.overflow === 0 && page.id === 0;
    page.id = holder;
    if (!isLeaf) this.#fail(page, 0, "an inline bucket that is no leaf");
  }

  /** @param at byte of the page's buffer. An inline page is named by the page it is in. */
  #fail(page: Page, at: number, detail: string): never {
    return this.#source.fail(page.id, at - page.start, detail);
  }
}

/** The keys a subtree may have: from the low one on, before the high one. */
interface Bound {
  /** Of the low key. */
  readonly bytes: Uint8Array;
  lowStart: number;
  /** 0: there is no low key. */
  lowEnd: number;
  /** null: there is no high key. */
  highBytes: Uint8Array | null;
  highStart: number;
  highEnd: number;
}

const NO_BOUND: Bound = {
  bytes: new Uint8Array(0),
  lowStart: 0,
  lowEnd: 0,
  highBytes: null,
  highStart: 0,
  highEnd: 0,
};

/**
 * Reads the value of a bucket's element: `page.bytes[at, end)`.
 * @throws BboltDamagedError
 */
export function readBucketPlace(source: PageSource, page: Page, at: number, end: number): BucketPlace {
  if (end - at < BUCKET_HEADER_BYTES) source.fail(page.id, at - page.start, `a bucket of ${end - at} bytes`);
  const root = readUint64(page.view, at);
  if (root === 0) return { root, page: page.id, image: Uint8Array.from(page.bytes.subarray(at + 16, end)) };
  if (end - at !== BUCKET_HEADER_BYTES) source.fail(page.id, at - page.start, `a bucket of ${end - at} bytes`);
  return { root, page: page.id, image: null };
}
