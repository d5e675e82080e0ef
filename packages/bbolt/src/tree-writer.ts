/**
 * One bucket's tree, written from its pairs in ascending order while they come: leaves go out as they fill, and each hands
 * its first key and page to the branch level above, which fills the same way.
 *
 *     pairs ──▶ leaf ──full──▶ page ──(first key, id)──▶ branch level 1 ──full──▶ page ──▶ level 2 ...
 *
 * Invariants: memory is a page per level (and the keys of three children, if those are longer); a branch has two children
 * at least; every page lies behind the pages it refers to.
 */
import { assert, compareBytes } from "@quorate/world";
import {
  BUCKET_FLAG,
  BUCKET_HEADER_BYTES,
  ELEMENT_BYTES,
  KEY_BYTES_MAX,
  PAGE_HEADER_BYTES,
  PageFlag,
  VALUE_BYTES_MAX,
  viewOf,
  writePageHeader,
  writeUint64,
} from "./page.ts";
import { copyInto, type PageOutput } from "./page-output.ts";

export class TreeWriter {
  readonly #output: PageOutput;
  /** A page with more than this takes no further element. */
  readonly #fillBytes: number;
  /** 0, or what every element of this tree is marked with. */
  readonly #elementFlags: number;

  /** Keys and values of the leaf at hand, end to end. */
  readonly #data: Uint8Array;
  readonly #keySizes: Uint32Array;
  readonly #valueSizes: Uint32Array;
  #dataBytes = 0;
  #count = 0;

  readonly #levels: BranchLevel[] = [];
  readonly #lastKey = Buffer.allocUnsafeSlow(KEY_BYTES_MAX);
  #lastKeyBytes = 0;

  constructor(output: PageOutput, options: { readonly fill: number; readonly holdsBuckets: boolean }) {
    const { pageBytes } = output;
    this.#output = output;
    this.#fillBytes = Math.floor(pageBytes * options.fill);
    this.#elementFlags = options.holdsBuckets ? BUCKET_FLAG : 0;
    this.#data = Buffer.allocUnsafeSlow(pageBytes);
    this.#keySizes = new Uint32Array(pageBytes / ELEMENT_BYTES);
    this.#valueSizes = new Uint32Array(pageBytes / ELEMENT_BYTES);
  }

  /** Adds a pair. Copied or put out before it returns. */
  put(
    key: Uint8Array,
    keyStart: number,
    keyEnd: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): void {
    const keyBytes = keyEnd - keyStart;
    const valueBytes = valueEnd - valueStart;
    assert(keyBytes > 0 && keyBytes <= KEY_BYTES_MAX, "a key has 1 to 32768 bytes");
    assert(valueBytes <= VALUE_BYTES_MAX, "a value has less than 2 GiB");
    assert(
      compareBytes(key, keyStart, keyEnd, this.#lastKey, 0, this.#lastKeyBytes) > 0,
      "keys come in strictly ascending order",
    );
    copyInto(this.#lastKey, 0, key, keyStart, keyEnd);
    this.#lastKeyBytes = keyBytes;

    const elementBytes = ELEMENT_BYTES + keyBytes + valueBytes;
    if (this.#count > 0 && this.#leafBytes + elementBytes > this.#fillBytes) this.#writeLeaf();
    if (PAGE_HEADER_BYTES + elementBytes > this.#output.pageBytes) {
      this.#writeLargePair(key, keyStart, keyEnd, value, valueStart, valueEnd);
      return;
    }
    this.#keySizes[this.#count] = keyBytes;
    this.#valueSizes[this.#count] = valueBytes;
    copyInto(this.#data, this.#dataBytes, key, keyStart, keyEnd);
    copyInto(this.#data, this.#dataBytes + keyBytes, value, valueStart, valueEnd);
    this.#dataBytes += keyBytes + valueBytes;
    this.#count++;
  }

  /** Ends a tree on pages of its own; returns its root. The writer is ready for the next tree then. */
  end(): number {
    if (this.#count > 0 || this.#levels.length === 0) this.#writeLeaf();
    let root = -1;
    for (let level = 0; level < this.#levels.length; level++) {
      const branch = this.#levels[level]!;
      if (level === this.#levels.length - 1 && branch.count === 1) root = branch.firstChild;
      else this.#hand(level + 1, branch, branch.write(this.#output, branch.count));
    }
    assert(root >= 0, "the highest level has one child");
    this.#reset();
    return root;
  }

  /** Ends the tree of a bucket: its value in the tree of buckets, which for a small one is all of it. */
  endBucket(): Uint8Array {
    const isInline = this.#levels.length === 0 && this.#leafBytes <= this.#output.pageBytes / 4;
    if (!isInline) {
      const value = new Uint8Array(BUCKET_HEADER_BYTES);
      writeUint64(viewOf(value), 0, this.end());
      return value;
    }
    const value = new Uint8Array(BUCKET_HEADER_BYTES + this.#leafBytes);
    const view = viewOf(value);
    writePageHeader(view, BUCKET_HEADER_BYTES, { id: 0, flag: PageFlag.leaf, count: this.#count, overflow: 0 });
    this.#writeElements(view, BUCKET_HEADER_BYTES + PAGE_HEADER_BYTES);
    copyInto(value, value.length - this.#dataBytes, this.#data, 0, this.#dataBytes);
    this.#reset();
    return value;
  }

  get #leafBytes(): number {
    return PAGE_HEADER_BYTES + this.#count * ELEMENT_BYTES + this.#dataBytes;
  }

  #reset(): void {
    this.#levels.length = 0;
    this.#lastKeyBytes = 0;
    this.#dataBytes = 0;
    this.#count = 0;
  }

  #writeLeaf(): void {
    const output = this.#output;
    const id = output.beginPage(PageFlag.leaf, this.#count, this.#leafBytes);
    this.#writeElements(output.view, output.claim(this.#count * ELEMENT_BYTES));
    output.append(this.#data, 0, this.#dataBytes);
    output.endPage();
    this.#addChild(0, this.#data, 0, this.#keySizes[0]!, id);
    this.#dataBytes = 0;
    this.#count = 0;
  }

  #writeElements(to: DataView, at: number): void {
    let dataAt = at + this.#count * ELEMENT_BYTES;
    for (let i = 0; i < this.#count; i++) {
      const element = at + i * ELEMENT_BYTES;
      const keyBytes = this.#keySizes[i]!;
      const valueBytes = this.#valueSizes[i]!;
      writeLeafElement(to, element, this.#elementFlags, dataAt - element, keyBytes, valueBytes);
      dataAt += keyBytes + valueBytes;
    }
  }

  /** A pair longer than a page: a leaf for itself, whose value does not pass through our buffers. */
  #writeLargePair(
    key: Uint8Array,
    keyStart: number,
    keyEnd: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): void {
    const output = this.#output;
    const keyBytes = keyEnd - keyStart;
    const valueBytes = valueEnd - valueStart;
    const sizeBytes = PAGE_HEADER_BYTES + ELEMENT_BYTES + keyBytes + valueBytes;
    const id = output.beginPage(PageFlag.leaf, 1, sizeBytes);
    const element = output.claim(ELEMENT_BYTES);
    writeLeafElement(output.view, element, this.#elementFlags, ELEMENT_BYTES, keyBytes, valueBytes);
    output.append(key, keyStart, keyEnd);
    output.append(value, valueStart, valueEnd);
    output.endPage();
    this.#addChild(0, key, keyStart, keyEnd, id);
  }

  /** Tells the level above of a branch that was put out, and has the branch go on without it. */
  #hand(level: number, branch: BranchLevel, written: { readonly id: number; readonly count: number }): void {
    this.#addChild(level, branch.keys, 0, branch.keyBytes(0), written.id);
    branch.removeFirst(written.count);
  }

  #addChild(level: number, key: Uint8Array, keyStart: number, keyEnd: number, child: number): void {
    let branch = this.#levels[level];
    if (branch === undefined) {
      branch = new BranchLevel(this.#output.pageBytes);
      this.#levels.push(branch);
    }
    const isFull = branch.pageBytes + ELEMENT_BYTES + (keyEnd - keyStart) > this.#fillBytes;
    // One child stays, so that the next page begins with two.
    if (isFull && branch.count > 2) this.#hand(level + 1, branch, branch.write(this.#output, branch.count - 1));
    branch.add(key, keyStart, keyEnd, child);
  }
}

/** The branch at hand of one level. */
class BranchLevel {
  /** Keys end to end. */
  readonly keys: Uint8Array;
  readonly #keySizes: number[] = [];
  readonly #children: number[] = [];
  #dataBytes = 0;

  constructor(pageBytes: number) {
    // Three keys may be there before a page is put out, however long they are.
    this.keys = Buffer.allocUnsafeSlow(pageBytes + 3 * KEY_BYTES_MAX);
  }

  get count(): number {
    return this.#children.length;
  }

  get firstChild(): number {
    return this.#children[0]!;
  }

  get pageBytes(): number {
    return PAGE_HEADER_BYTES + this.count * ELEMENT_BYTES + this.#dataBytes;
  }

  keyBytes(i: number): number {
    return this.#keySizes[i]!;
  }

  add(key: Uint8Array, keyStart: number, keyEnd: number, child: number): void {
    copyInto(this.keys, this.#dataBytes, key, keyStart, keyEnd);
    this.#dataBytes += keyEnd - keyStart;
    this.#keySizes.push(keyEnd - keyStart);
    this.#children.push(child);
  }

  /** Puts out a page of the first `count` children. They stay here until they are removed. */
  write(output: PageOutput, count: number): { readonly id: number; readonly count: number } {
    const dataBytes = this.#dataBytesOf(count);
    const id = output.beginPage(PageFlag.branch, count, PAGE_HEADER_BYTES + count * ELEMENT_BYTES + dataBytes);
    const elements = output.claim(count * ELEMENT_BYTES);
    let dataAt = elements + count * ELEMENT_BYTES;
    for (let i = 0; i < count; i++) {
      const element = elements + i * ELEMENT_BYTES;
      output.view.setUint32(element, dataAt - element, true);
      output.view.setUint32(element + 4, this.#keySizes[i]!, true);
      writeUint64(output.view, element + 8, this.#children[i]!);
      dataAt += this.#keySizes[i]!;
    }
    output.append(this.keys, 0, dataBytes);
    output.endPage();
    return { id, count };
  }

  removeFirst(count: number): void {
    const dataBytes = this.#dataBytesOf(count);
    this.keys.copyWithin(0, dataBytes, this.#dataBytes);
    this.#dataBytes -= dataBytes;
    this.#keySizes.splice(0, count);
    this.#children.splice(0, count);
  }

  #dataBytesOf(count: number): number {
    let sizeBytes = 0;
    for (let i = 0; i < count; i++) sizeBytes += this.#keySizes[i]!;
    return sizeBytes;
  }
}

function writeLeafElement(
  to: DataView,
  at: number,
  flags: number,
  pos: number,
  keyBytes: number,
  valueBytes: number,
): void {
  to.setUint32(at, flags, true);
  to.setUint32(at + 4, pos, true);
  to.setUint32(at + 8, keyBytes, true);
  to.setUint32(at + 12, valueBytes, true);
}
