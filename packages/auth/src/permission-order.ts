/**
 * In which order etcd keeps a role's permissions: by key, and those of one key as Go's sort happens to leave them. It shows:
 * a grant changes the first permission of its key if that has the same range, and adds another if not. Members that order
 * otherwise come to hold other permissions, and of ranges that hold no key decide otherwise (grant-tree.ts).
 *
 * A list is in order but for its last, the one just granted. To that Go's sort.Sort (since 1.19; pattern-defeating
 * quicksort) does this, by number of elements:
 *
 *     1 to 12        insertion: the order of grants
 *     13 to 49       nothing if the last is in place, else quicksort; see {@link Quicksort}
 *     50 and more    found nearly sorted, the last shifted to its place: the order of grants
 */
import { compareBytes } from "@quorate/world";

interface Keyed {
  readonly key: Uint8Array;
}

const INSERTION_COUNT_MAX = 12;
const SHIFTING_COUNT_MIN = 50;

/** Sorts a list that is in order but for its last element, as etcd does. */
export function sortAfterGrant(permissions: Keyed[]): void {
  const count = permissions.length;
  if (count > INSERTION_COUNT_MAX && count < SHIFTING_COUNT_MIN) new Quicksort(permissions).run();
  else permissions.sort((a, b) => compareBytes(a.key, 0, a.key.length, b.key, 0, b.key.length));
}

/**
 * Of less than 50 elements, hence without what Go keeps for longer lists: medians of medians, shifting, reversing.
 * Uneven splits make it stir the next part, with numbers drawn from the part's length, and in the end use a heap.
 */
class Quicksort {
  readonly #list: Keyed[];

  constructor(list: Keyed[]) {
    this.#list = list;
  }

  run(): void {
    const count = this.#list.length;
    this.#sort(0, count, bitLength(count));
  }

  /** [start, end); `luck` is how many more uneven splits are put up with. */
  #sort(from: number, to: number, mostLuck: number): void {
    let [start, end, luck] = [from, to, mostLuck];
    let wasEven = true;
    let wasSplit = true;
    while (end - start > INSERTION_COUNT_MAX) {
      if (luck === 0) {
        this.#heap(start, end);
        return;
      }
      if (!wasEven) {
        this.#stir(start, end);
        luck--;
      }
      const { pivot, isAscending } = this.#choosePivot(start, end);
      if (wasEven && wasSplit && isAscending && this.#isSorted(start, end)) return;
      if (start > 0 && !this.#isLess(start - 1, pivot)) {
        start = this.#skipEquals(start, end, pivot);
        continue;
      }
      const leastEven = Math.floor((end - start) / 8);
      const split = this.#split(start, end, pivot);
      wasSplit = split.wasSplit;
      const { middle } = split;
      if (middle - start < end - middle) {
        wasEven = middle - start >= leastEven;
        this.#sort(start, middle, luck);
        start = middle + 1;
      } else {
        wasEven = end - middle >= leastEven;
        this.#sort(middle + 1, end, luck);
        end = middle;
      }
    }
    this.#insert(start, end);
  }

  #insert(start: number, end: number): void {
    for (let i = start + 1; i < end; i++)
      for (let j = i; j > start && this.#isLess(j, j - 1); j--) this.#swap(j, j - 1);
  }

  /** The middle one of three, a quarter apart; ascending if they were. */
  #choosePivot(start: number, end: number): { readonly pivot: number; readonly isAscending: boolean } {
    const quarter = Math.floor((end - start) / 4);
    let [low, middle, high] = [start + quarter, start + 2 * quarter, start + 3 * quarter];
    let isAscending = true;
    if (this.#isLess(middle, low)) {
      [low, middle] = [middle, low];
      isAscending = false;
    }
    if (this.#isLess(high, middle)) {
      [middle, high] = [high, middle];
      isAscending = false;
    }
    if (this.#isLess(middle, low)) {
      [low, middle] = [middle, low];
      isAscending = false;
    }
    return { pivot: middle, isAscending };
  }

  /** Smaller ones before the pivot, others behind; whether that was so already. */
  #split(start: number, end: number, pivot: number): { readonly middle: number; readonly wasSplit: boolean } {
    this.#swap(start, pivot);
    let low = start + 1;
    let high = end - 1;
    for (let swaps = 0; ; swaps++) {
      while (low <= high && this.#isLess(low, start)) low++;
      while (low <= high && !this.#isLess(high, start)) high--;
      if (low > high) {
        this.#swap(high, start);
        return { middle: high, wasSplit: swaps === 0 };
      }
      this.#swap(low++, high--);
    }
  }

  /** Where what is greater than the pivot, the least of all, begins once equals are in front. */
  #skipEquals(start: number, end: number, pivot: number): number {
    this.#swap(start, pivot);
    let low = start + 1;
    let high = end - 1;
    for (;;) {
      while (low <= high && !this.#isLess(start, low)) low++;
      while (low <= high && this.#isLess(start, high)) high--;
      if (low > high) return low;
      this.#swap(low++, high--);
    }
  }

  /** Swaps three around the middle with three drawn by xorshift. */
  #stir(start: number, end: number): void {
    const count = end - start;
    const mask = (1n << BigInt(bitLength(count))) - 1n;
    const middle = start + Math.floor(count / 4) * 2;
    let random = BigInt(count);
    for (let i = 0; i < 3; i++) {
      random = BigInt.asUintN(64, random ^ (random << 13n));
      random ^= random >> 7n;
      random = BigInt.asUintN(64, random ^ (random << 17n));
      const drawn = Number(random & mask);
      this.#swap(middle - 1 + i, start + (drawn >= count ? drawn - count : drawn));
    }
  }

  #heap(start: number, end: number): void {
    const count = end - start;
    for (let i = Math.floor((count - 1) / 2); i >= 0; i--) this.#sink(start, i, count);
    for (let i = count - 1; i >= 0; i--) {
      this.#swap(start, start + i);
      this.#sink(start, 0, i);
    }
  }

  #sink(start: number, top: number, count: number): void {
    let at = top;
    for (let child = 2 * at + 1; child < count; child = 2 * at + 1) {
      if (child + 1 < count && this.#isLess(start + child, start + child + 1)) child++;
      if (!this.#isLess(start + at, start + child)) return;
      this.#swap(start + at, start + child);
      at = child;
    }
  }

  #isSorted(start: number, end: number): boolean {
    for (let i = start + 1; i < end; i++) if (this.#isLess(i, i - 1)) return false;
    return true;
  }

  #isLess(i: number, j: number): boolean {
    const [a, b] = [this.#list[i]!.key, this.#list[j]!.key];
    return compareBytes(a, 0, a.length, b, 0, b.length) < 0;
  }

  #swap(i: number, j: number): void {
    const list = this.#list;
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
}

/** Of 13 it is 4. */
function bitLength(number: number): number {
  return 32 - Math.clz32(number);
}
