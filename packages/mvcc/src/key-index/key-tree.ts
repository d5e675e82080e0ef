/**
 * The order of the keys: a B+tree of slots, its pages in typed arrays. KeyIndex is the only caller.
 *
 *   page    | count | skip | next | previous | heads[LEAF_MAX]: f64 | refs[LEAF_MAX]: u32 |
 *   leaf      refs[i] is the slot of the page's i-th key; next and previous are its neighbours in key order
 *   inner     the first half of refs are separators, the second children: child i holds keys in [separator i−1, separator i)
 *
 * heads[i] is the i-th key's next six bytes after the first `skip` as one number (headOf), so a search reads one number
 * a step and goes to the key's bytes only where heads are equal. A separator is the shortest prefix of the key right of
 * it that is greater than the key left of it, with a block of its own in the slab, so that it outlives both.
 *
 * Invariants
 *   - all keys (leaf) or separators (inner) of a page share their first `skip` bytes; skip is not always the longest
 *     such prefix, because raising it costs a read of every key (#tighten);
 *   - no page is empty, except that an inner page may have a single child and so no separator;
 *   - a tree without keys has no page.
 *
 * A full page that overflows where keys have been arriving in ascending order is split at that point, so that ascending
 * keys leave full pages behind; otherwise in the middle. Pages merge when they fall below a quarter and fit into three
 * quarters of a page together with a neighbour.
 *
 * Benchmark: packages/mvcc/bench/key-index.ts. Test: key-tree.test.ts, key-index.test.ts (both against a sorted array).
 */
import { assert } from "@quorate/world";
import { headOf, type KeySlab } from "./key-slab.ts";
import { NONE } from "./limits.ts";

const LEAF_MAX = 256;
const CHILD_MAX = LEAF_MAX / 2;
const SEPARATOR_MAX = CHILD_MAX - 1;

const COUNT = 0;
const SKIP = 1;
const NEXT = 2;
const PREVIOUS = 3;
const HEADS = 4;
const REFS = HEADS + 2 * LEAF_MAX;
const CHILDREN = REFS + CHILD_MAX;
const PAGE_WORDS = REFS + LEAF_MAX;
/** The same in doubles. */
const PAGE_DOUBLES = PAGE_WORDS / 2;
const HEADS_AT = HEADS / 2;

const PAGE_SHIFT = 5;
const PAGES_PER_CHUNK = 1 << PAGE_SHIFT;
const PAGE_MASK = PAGES_PER_CHUNK - 1;

/** Far more than 2^32 keys need, even in pages a quarter full. */
const HEIGHT_MAX = 32;
/** Reading every key of a page again must pay: only when it frees at least this many of the head's six bytes. */
const TIGHTEN_BYTES_MIN = 3;

export class KeyTree {
  readonly #slab: KeySlab;
  /** Chunks of pages, in two views of the same memory. */
  readonly #words: Uint32Array[] = [];
  readonly #heads: Float64Array[] = [];
  #freshPages = 0;
  #firstFreePage: number = NONE;

  #root: number = NONE;
  /** Levels, the leaves included; 0 in an empty tree. */
  #height = 0;

  /** Where the last search went: by level from the root, the page and the index within it. */
  readonly #pathPages = new Uint32Array(HEIGHT_MAX);
  readonly #pathIndexes = new Uint32Array(HEIGHT_MAX);
  /** Whether #search met the very key. */
  #isMatch = false;
  /** See #search. */
  #known = 0;

  /** Where the last insertion went; the next one right behind it is taken for a run of ascending keys. */
  #lastPage: number = NONE;
  #lastIndex = 0;

  constructor(slab: KeySlab) {
    this.#slab = slab;
  }

  get memoryBytes(): number {
    return this.#words.length * PAGES_PER_CHUNK * PAGE_WORDS * 4;
  }

  /** The slot of the key, or NONE. The place is remembered for insertHere. */
  find(buffer: Uint8Array, start: number, end: number): number {
    this.#descend(buffer, start, end);
    return this.#isMatch ? this.slotAt(this.seekPage, this.seekIndex) : NONE;
  }

  /** Inserts a slot whose key `find` has just looked for in vain; nothing may have changed since. */
  insertHere(slot: number): void {
    if (this.#height === 0) {
      this.#root = this.#allocatePage();
      this.#height = 1;
      this.#pathPages[0] = this.#root;
      this.#pathIndexes[0] = 0;
    }
    this.#insert(this.#height - 1, slot);
  }

  /** Inserts a slot whose key is greater than every key of the tree. */
  append(slot: number): void {
    let page = this.#root;
    for (let level = 0; level < this.#height; level++) {
      const count = this.#read(page, COUNT);
      this.#pathPages[level] = page;
      this.#pathIndexes[level] = count;
      if (level < this.#height - 1) page = this.#read(page, CHILDREN + count);
    }
    this.insertHere(slot);
  }

  /** Removes a slot. Its key must still be in the slab. */
  remove(slot: number): void {
    const start = this.#slab.startOf(slot);
    const found = this.find(this.#slab.bytesOf(slot), start, start + this.#slab.length(slot));
    assert(found === slot, "a key to be removed is in the tree");
    const leaf = this.seekPage;
    this.#removeEntry(leaf, this.seekIndex);
    this.#lastPage = NONE;
    const count = this.#read(leaf, COUNT);
    if (count === 0) {
      this.#unlinkLeaf(leaf);
      this.#removeChild(this.#height - 1);
    } else if (count < LEAF_MAX / 4) {
      this.#mergeLeaf(this.#height - 1);
    }
  }

  /**
   * Goes to the first key >= buffer[start, end): seekPage and seekIndex say where. seekIndex may be one past the page's
   * last key. False if the tree has no page.
   */
  seek(buffer: Uint8Array, start: number, end: number): boolean {
    this.#descend(buffer, start, end);
    return this.#height > 0;
  }

  get seekPage(): number {
    return this.#height === 0 ? NONE : this.#pathPages[this.#height - 1]!;
  }

  get seekIndex(): number {
    return this.#height === 0 ? 0 : this.#pathIndexes[this.#height - 1]!;
  }

  slotAt(leaf: number, index: number): number {
    return this.#words[leaf >>> PAGE_SHIFT]![(leaf & PAGE_MASK) * PAGE_WORDS + REFS + index]!;
  }

  /** How many keys the leaf has. */
  countOf(leaf: number): number {
    return this.#read(leaf, COUNT);
  }

  /** The leaf after this one in key order, or NONE. */
  nextLeaf(leaf: number): number {
    return this.#read(leaf, NEXT);
  }

  /** Levels, the leaves included; 0 without keys. */
  get height(): number {
    return this.#height;
  }

  /** Keys as a share of what the leaves could hold: for tests. */
  get leafFill(): number {
    let keys = 0;
    let leaves = 0;
    let page = this.#root;
    for (let level = 1; level < this.#height; level++) page = this.#read(page, CHILDREN);
    for (; page !== NONE; page = this.#read(page, NEXT)) {
      keys += this.#read(page, COUNT);
      leaves++;
    }
    return leaves === 0 ? 1 : keys / (leaves * LEAF_MAX);
  }

  /** Asserts every invariant of the opening comment; returns the number of keys. Linear: for tests and loading. */
  verify(): number {
    if (this.#height === 0) {
      assert(this.#root === NONE, "a tree without levels has no root");
      return 0;
    }
    return this.#verifyPage(this.#root, 0, NONE, NONE);
  }

  #verifyPage(page: number, level: number, low: number, high: number): number {
    const slab = this.#slab;
    const count = this.#read(page, COUNT);
    const skip = this.#read(page, SKIP);
    const isLeaf = level === this.#height - 1;
    assert(count <= (isLeaf ? LEAF_MAX : SEPARATOR_MAX), "a page is not overfull");
    assert(!isLeaf || count > 0, "a leaf is not empty");
    for (let i = 0; i < count; i++) {
      const ref = this.#read(page, REFS + i);
      assert(slab.length(ref) >= skip, "a page's keys are at least as long as what they share");
      assert(slab.sharedPrefixOf(ref, this.#read(page, REFS)) >= skip, "a page's keys share their prefix");
      assert(this.#headAt(page, i) === slab.head(ref, skip), "a head is that of its key");
      const previous = i === 0 ? low : this.#read(page, REFS + i - 1);
      if (previous !== NONE) {
        const order = this.#compareRefs(previous, ref);
        assert(order < 0 || (order === 0 && i === 0 && isLeaf), "keys ascend");
      }
    }
    if (high !== NONE && count > 0) {
      assert(this.#compareRefs(this.#read(page, REFS + count - 1), high) < 0, "keys stay below their separator");
    }
    if (isLeaf) {
      const next = this.#read(page, NEXT);
      assert((next === NONE) === (high === NONE), "the last leaf alone has no next");
      assert(next === NONE || this.#read(next, PREVIOUS) === page, "leaves are linked both ways");
      assert((this.#read(page, PREVIOUS) === NONE) === (low === NONE), "the first leaf alone has no previous");
      return count;
    }
    let keys = 0;
    for (let i = 0; i <= count; i++) {
      const from = i === 0 ? low : this.#read(page, REFS + i - 1);
      const to = i === count ? high : this.#read(page, REFS + i);
      keys += this.#verifyPage(this.#read(page, CHILDREN + i), level + 1, from, to);
    }
    return keys;
  }

  #compareRefs(left: number, right: number): number {
    const start = this.#slab.startOf(right);
    return this.#slab.compare(left, this.#slab.bytesOf(right), start, start + this.#slab.length(right), 0);
  }

  // Searching.

  /** Fills the path down to the leaf. Sets #isMatch. */
  #descend(buffer: Uint8Array, start: number, end: number): void {
    this.#isMatch = false;
    this.#known = 0;
    const leafLevel = this.#height - 1;
    let page = this.#root;
    for (let level = 0; level <= leafLevel; level++) {
      let index = this.#search(page, buffer, start, end);
      this.#pathPages[level] = page;
      if (level < leafLevel) {
        if (this.#isMatch) index++; // a key equal to its separator is on the right
        page = this.#read(page, CHILDREN + index);
      }
      this.#pathIndexes[level] = index;
    }
  }

  /**
   * The index of the page's first entry >= the key; #isMatch says whether it equals.
   *
   * The heads are searched as if the key shared the page's prefix. If the entry found turns out to be the key itself
   * that is proven, and a hit in a leaf has read the bytes of one key only; otherwise the prefix is checked.
   *
   * #known leading bytes are those the key is known to share with all that is in the page and below it, so that neither
   * check begins at the key's beginning. Below an inner page whose prefix the key shares, it shares that prefix with all
   * keys of the child it goes to, if that lies between two separators.
   */
  #search(page: number, buffer: Uint8Array, start: number, end: number): number {
    const words = this.#words[page >>> PAGE_SHIFT]!;
    const heads = this.#heads[page >>> PAGE_SHIFT]!;
    const wordsAt = (page & PAGE_MASK) * PAGE_WORDS;
    const headsAt = (page & PAGE_MASK) * PAGE_DOUBLES + HEADS_AT;
    const count = words[wordsAt + COUNT]!;
    const skip = words[wordsAt + SKIP]!;
    const known = this.#known;
    this.#isMatch = false;
    if (count === 0) return 0;

    const head = headOf(buffer, start + skip, end);
    let low = headsAt;
    let high = headsAt + count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (heads[middle]! < head) low = middle + 1;
      else high = middle;
    }
    const index = low - headsAt;
    const isTie = index < count && heads[low] === head;
    if (isTie && this.#slab.compare(words[wordsAt + REFS + index]!, buffer, start, end, known) === 0) {
      this.#isMatch = true;
      return index;
    }
    if (skip > known) {
      const first = words[wordsAt + REFS]!;
      const shared = this.#slab.sharedPrefix(first, buffer, start, end, known, skip);
      if (shared < skip) return this.#slab.compare(first, buffer, start, end, shared) > 0 ? 0 : count;
    }
    const place = isTie ? this.#searchTies(page, index, buffer, start, end) : index;
    if (place > 0 && place < count && skip > known) this.#known = skip;
    return place;
  }

  /** Entries from `index` on have the key's head, and the key the page's prefix: decides among them by their bytes. */
  #searchTies(page: number, index: number, buffer: Uint8Array, start: number, end: number): number {
    const skip = this.#read(page, SKIP);
    const head = this.#headAt(page, index);
    let low = index;
    let high = this.#read(page, COUNT);
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order =
        this.#headAt(page, middle) > head
          ? 1
          : this.#slab.compare(this.#read(page, REFS + middle), buffer, start, end, skip);
      if (order === 0) {
        this.#isMatch = true;
        return middle;
      }
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Inserting.

  /** Puts a slot into the leaf where the path points, splitting the leaf if it is full. */
  #insert(level: number, slot: number): void {
    const page = this.#pathPages[level]!;
    const index = this.#pathIndexes[level]!;
    if (this.#read(page, COUNT) < LEAF_MAX) {
      this.#insertEntry(page, index, slot);
      this.#lastPage = page;
      this.#lastIndex = index;
      return;
    }
    const isBehindLast = page === this.#lastPage && index === this.#lastIndex + 1;
    const isAtEnd = index === LEAF_MAX && this.#read(page, NEXT) === NONE;
    const right = this.#splitLeaf(page, isBehindLast || isAtEnd ? index : LEAF_MAX / 2);
    // A key between the halves goes left, unless left is full because a run is leaving it behind.
    const leftCount = this.#read(page, COUNT);
    const goesLeft = index < leftCount || (index === leftCount && leftCount < LEAF_MAX);
    const target = goesLeft ? page : right;
    const targetIndex = goesLeft ? index : index - leftCount;
    this.#insertEntry(target, targetIndex, slot);
    this.#lastPage = target;
    this.#lastIndex = targetIndex;
    this.#tighten(page);
    this.#tighten(right);
    const separator = this.#separatorBetween(
      this.#read(page, REFS + this.#read(page, COUNT) - 1),
      this.#read(right, REFS),
    );
    this.#insertChild(level - 1, page, separator, right);
  }

  /** Moves the entries from `index` on to a new page to the right; `index` may be the count. */
  #splitLeaf(page: number, index: number): number {
    const right = this.#allocatePage();
    this.#moveEntries(page, index, right);
    const next = this.#read(page, NEXT);
    this.#write(right, NEXT, next);
    this.#write(right, PREVIOUS, page);
    this.#write(page, NEXT, right);
    if (next !== NONE) this.#write(next, PREVIOUS, right);
    return right;
  }

  /** `left`, the child the path points at on `level`, has been split: hangs `right` beside it. */
  #insertChild(level: number, left: number, separator: number, right: number): void {
    if (level < 0) {
      const root = this.#allocatePage();
      this.#insertEntry(root, 0, separator);
      this.#write(root, CHILDREN, left);
      this.#write(root, CHILDREN + 1, right);
      this.#root = root;
      this.#height++;
      assert(this.#height <= HEIGHT_MAX, "the tree's height is bounded");
      return;
    }
    const page = this.#pathPages[level]!;
    const index = this.#pathIndexes[level]!;
    const count = this.#read(page, COUNT);
    if (count < SEPARATOR_MAX) {
      this.#placeChild(page, index, separator, right);
      return;
    }
    const sibling = this.#allocatePage();
    let raised = separator;
    if (index === count) {
      // Ascending: the full page stays full, the new one starts with the new child alone.
      this.#write(sibling, CHILDREN, right);
    } else {
      const middle = SEPARATOR_MAX >>> 1;
      raised = this.#read(page, REFS + middle);
      this.#moveChildren(page, middle + 1, sibling);
      this.#write(page, COUNT, middle);
      if (index <= middle) this.#placeChild(page, index, separator, right);
      else this.#placeChild(sibling, index - middle - 1, separator, right);
      this.#tighten(page);
      this.#tighten(sibling);
    }
    this.#insertChild(level - 1, page, raised, sibling);
  }

  #placeChild(page: number, index: number, separator: number, child: number): void {
    const at = (page & PAGE_MASK) * PAGE_WORDS + CHILDREN;
    const count = this.#read(page, COUNT);
    this.#words[page >>> PAGE_SHIFT]!.copyWithin(at + index + 2, at + index + 1, at + count + 1);
    this.#write(page, CHILDREN + index + 1, child);
    this.#insertEntry(page, index, separator);
  }

  /** Moves separators from `index` on, and the children from the same index on, to an empty page. */
  #moveChildren(page: number, index: number, to: number): void {
    const count = this.#read(page, COUNT);
    for (let i = index; i <= count; i++) this.#write(to, CHILDREN + i - index, this.#read(page, CHILDREN + i));
    this.#moveEntries(page, index, to);
  }

  #moveEntries(page: number, index: number, to: number): void {
    const count = this.#read(page, COUNT);
    for (let i = index; i < count; i++) {
      this.#write(to, REFS + i - index, this.#read(page, REFS + i));
      this.#setHead(to, i - index, this.#headAt(page, i));
    }
    this.#write(to, SKIP, this.#read(page, SKIP));
    this.#write(to, COUNT, count - index);
    this.#write(page, COUNT, index);
  }

  #insertEntry(page: number, index: number, ref: number): void {
    const words = this.#words[page >>> PAGE_SHIFT]!;
    const heads = this.#heads[page >>> PAGE_SHIFT]!;
    const wordsAt = (page & PAGE_MASK) * PAGE_WORDS;
    const headsAt = (page & PAGE_MASK) * PAGE_DOUBLES + HEADS_AT;
    const count = words[wordsAt + COUNT]!;
    const skip = words[wordsAt + SKIP]!;
    // A page's first key shares all of itself; the next ones lower that to what they have in common.
    const length = this.#slab.length(ref);
    const shared = count === 0 ? length : this.#sharedWithFirst(words[wordsAt + REFS]!, ref, skip);
    if (count === 0) words[wordsAt + SKIP] = length;
    else if (shared < skip) this.#setSkip(page, shared);
    for (let i = count; i > index; i--) {
      words[wordsAt + REFS + i] = words[wordsAt + REFS + i - 1]!;
      heads[headsAt + i] = heads[headsAt + i - 1]!;
    }
    words[wordsAt + REFS + index] = ref;
    heads[headsAt + index] = this.#slab.head(ref, shared);
    words[wordsAt + COUNT] = count + 1;
  }

  #sharedWithFirst(first: number, ref: number, skip: number): number {
    const start = this.#slab.startOf(ref);
    return this.#slab.sharedPrefix(first, this.#slab.bytesOf(ref), start, start + this.#slab.length(ref), 0, skip);
  }

  #removeEntry(page: number, index: number): void {
    const words = this.#words[page >>> PAGE_SHIFT]!;
    const heads = this.#heads[page >>> PAGE_SHIFT]!;
    const wordsAt = (page & PAGE_MASK) * PAGE_WORDS;
    const headsAt = (page & PAGE_MASK) * PAGE_DOUBLES + HEADS_AT;
    const count = words[wordsAt + COUNT]!;
    words.copyWithin(wordsAt + REFS + index, wordsAt + REFS + index + 1, wordsAt + REFS + count);
    heads.copyWithin(headsAt + index, headsAt + index + 1, headsAt + count);
    words[wordsAt + COUNT] = count - 1;
  }

  /** The shortest key greater than left's and not greater than right's, in a block of its own. */
  #separatorBetween(left: number, right: number): number {
    const length = this.#slab.sharedPrefixOf(left, right) + 1;
    const start = this.#slab.startOf(right);
    return this.#slab.allocate(this.#slab.bytesOf(right), start, start + length, NONE);
  }

  // The shared prefix.

  /** Raises the page's skip to what its first and last key share, if that is worth reading all its keys. */
  #tighten(page: number): void {
    const count = this.#read(page, COUNT);
    if (count < 2) return;
    const shared = this.#slab.sharedPrefixOf(this.#read(page, REFS), this.#read(page, REFS + count - 1));
    if (shared >= this.#read(page, SKIP) + TIGHTEN_BYTES_MIN) this.#setSkip(page, shared);
  }

  #setSkip(page: number, skip: number): void {
    this.#write(page, SKIP, skip);
    const count = this.#read(page, COUNT);
    for (let i = 0; i < count; i++) this.#setHead(page, i, this.#slab.head(this.#read(page, REFS + i), skip));
  }

  // Removing.

  /** The leaf the path points at is nearly empty: joins it with a neighbour under the same parent if both fit well. */
  #mergeLeaf(level: number): void {
    if (level === 0) return;
    const parent = this.#pathPages[level - 1]!;
    const index = this.#pathIndexes[level - 1]!;
    const page = this.#pathPages[level]!;
    const count = this.#read(page, COUNT);
    const limit = (LEAF_MAX * 3) / 4;
    if (index < this.#read(parent, COUNT)) {
      const right = this.#read(parent, CHILDREN + index + 1);
      if (count + this.#read(right, COUNT) <= limit) {
        this.#joinLeaves(page, right);
        this.#pathIndexes[level - 1] = index + 1;
        this.#removeChild(level);
        return;
      }
    }
    if (index > 0) {
      const left = this.#read(parent, CHILDREN + index - 1);
      if (count + this.#read(left, COUNT) <= limit) {
        this.#joinLeaves(left, page);
        this.#removeChild(level);
      }
    }
  }

  /** Moves all of `right` to the end of `left`; right stays in the tree, without keys and unlinked. */
  #joinLeaves(left: number, right: number): void {
    const leftCount = this.#read(left, COUNT);
    const rightCount = this.#read(right, COUNT);
    for (let i = 0; i < rightCount; i++) this.#write(left, REFS + leftCount + i, this.#read(right, REFS + i));
    this.#write(left, COUNT, leftCount + rightCount);
    this.#shareSkip(left);
    this.#unlinkLeaf(right);
  }

  /** Sets skip and all heads anew from the page's first and last entry. */
  #shareSkip(page: number): void {
    const count = this.#read(page, COUNT);
    const last = this.#read(page, REFS + Math.max(0, count - 1));
    this.#setSkip(page, count === 0 ? 0 : this.#slab.sharedPrefixOf(this.#read(page, REFS), last));
  }

  #unlinkLeaf(leaf: number): void {
    const next = this.#read(leaf, NEXT);
    const previous = this.#read(leaf, PREVIOUS);
    if (next !== NONE) this.#write(next, PREVIOUS, previous);
    if (previous !== NONE) this.#write(previous, NEXT, next);
  }

  /** Frees the page at `level` that the parent's path index points at, and takes it out of the parent. */
  #removeChild(level: number): void {
    if (level === 0) {
      this.#freePage(this.#root);
      this.#root = NONE;
      this.#height = 0;
      return;
    }
    const parent = this.#pathPages[level - 1]!;
    const index = this.#pathIndexes[level - 1]!;
    this.#freePage(this.#read(parent, CHILDREN + index));
    const count = this.#read(parent, COUNT);
    if (count === 0) {
      this.#removeChild(level - 1); // it was the only child
      return;
    }
    const at = (parent & PAGE_MASK) * PAGE_WORDS + CHILDREN;
    this.#words[parent >>> PAGE_SHIFT]!.copyWithin(at + index, at + index + 1, at + count + 1);
    // The neighbour takes over the range: the left one up to the next separator, or for the first child the right one.
    const separatorIndex = Math.max(0, index - 1);
    this.#slab.free(this.#read(parent, REFS + separatorIndex));
    this.#removeEntry(parent, separatorIndex);
    if (level === 1) this.#lowerRoot();
    else if (count - 1 < CHILD_MAX / 4) this.#mergeInner(level - 1);
  }

  #mergeInner(level: number): void {
    const parent = this.#pathPages[level - 1]!;
    const index = this.#pathIndexes[level - 1]!;
    const page = this.#pathPages[level]!;
    const count = this.#read(page, COUNT);
    const limit = (CHILD_MAX * 3) / 4;
    if (index < this.#read(parent, COUNT)) {
      const right = this.#read(parent, CHILDREN + index + 1);
      if (count + this.#read(right, COUNT) + 2 <= limit) {
        this.#joinInner(page, right, parent, index);
        this.#pathIndexes[level - 1] = index + 1;
        this.#removeChild(level);
        return;
      }
    }
    if (index > 0) {
      const left = this.#read(parent, CHILDREN + index - 1);
      if (count + this.#read(left, COUNT) + 2 <= limit) {
        this.#joinInner(left, page, parent, index - 1);
        this.#removeChild(level);
      }
    }
  }

  /** Moves right's children to the end of left, a copy of the parent's separator between them. */
  #joinInner(left: number, right: number, parent: number, separatorIndex: number): void {
    const separator = this.#read(parent, REFS + separatorIndex);
    const start = this.#slab.startOf(separator);
    const end = start + this.#slab.length(separator);
    const copy = this.#slab.allocate(this.#slab.bytesOf(separator), start, end, NONE);
    const leftCount = this.#read(left, COUNT);
    const rightCount = this.#read(right, COUNT);
    this.#write(left, REFS + leftCount, copy);
    for (let i = 0; i < rightCount; i++) this.#write(left, REFS + leftCount + 1 + i, this.#read(right, REFS + i));
    for (let i = 0; i <= rightCount; i++) {
      this.#write(left, CHILDREN + leftCount + 1 + i, this.#read(right, CHILDREN + i));
    }
    this.#write(left, COUNT, leftCount + 1 + rightCount);
    this.#shareSkip(left);
  }

  /** A root with one child gives way to it. */
  #lowerRoot(): void {
    while (this.#height > 1 && this.#read(this.#root, COUNT) === 0) {
      const child = this.#read(this.#root, CHILDREN);
      this.#freePage(this.#root);
      this.#root = child;
      this.#height--;
    }
  }

  // Pages.

  #allocatePage(): number {
    let page = this.#firstFreePage;
    if (page !== NONE) {
      this.#firstFreePage = this.#read(page, NEXT);
    } else {
      page = this.#freshPages;
      if ((page & PAGE_MASK) === 0) {
        const memory = new ArrayBuffer(PAGES_PER_CHUNK * PAGE_WORDS * 4);
        this.#words.push(new Uint32Array(memory));
        this.#heads.push(new Float64Array(memory));
      }
      this.#freshPages++;
    }
    this.#write(page, COUNT, 0);
    this.#write(page, SKIP, 0);
    this.#write(page, NEXT, NONE);
    this.#write(page, PREVIOUS, NONE);
    return page;
  }

  #freePage(page: number): void {
    this.#write(page, NEXT, this.#firstFreePage);
    this.#firstFreePage = page;
  }

  #read(page: number, word: number): number {
    return this.#words[page >>> PAGE_SHIFT]![(page & PAGE_MASK) * PAGE_WORDS + word]!;
  }

  #write(page: number, word: number, value: number): void {
    this.#words[page >>> PAGE_SHIFT]![(page & PAGE_MASK) * PAGE_WORDS + word] = value;
  }

  #headAt(page: number, index: number): number {
    return this.#heads[page >>> PAGE_SHIFT]![(page & PAGE_MASK) * PAGE_DOUBLES + HEADS_AT + index]!;
  }

  #setHead(page: number, index: number, head: number): void {
    this.#heads[page >>> PAGE_SHIFT]![(page & PAGE_MASK) * PAGE_DOUBLES + HEADS_AT + index] = head;
  }
}
