/**
 * Permissions of one kind, as what they come to: half-open intervals of keys, merged where they overlap or touch, so that
 * neither the order of grants nor duplicates matter (known failure AU-05).
 *
 *     granted   [a,c)  [b,d)  [d,f)  k            one key is the interval up to the next possible key
 *     merged    [a,f)  [k,k\0)                    `null` as an end: no end
 *
 * Built once per user and change, asked on every request: asking allocates nothing. Only a request's range that holds no
 * key is asked of the grants as they were given, see grant-tree.ts.
 */

import { compareBytes } from "@quorate/world";
import { GrantTree } from "./grant-tree.ts";

/** One permission's range as stored: no range end means the one key, one zero byte every key from `key` on. */
export interface KeyRange {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
}

/** [begin, end) by bytes; null: no end. */
interface Interval {
  readonly begin: Uint8Array;
  end: Uint8Array | null;
}

export class Intervals {
  /** Ascending, apart from each other. */
  readonly #merged: readonly Interval[];
  /** In the order of the user's roles and of each role's permissions. */
  readonly #ranges: readonly KeyRange[];
  #tree: GrantTree | null = null;

  /**
   * Ranges without a key, and those that end before they begin, give nothing: none can be granted (AU-06). Keeps the
   * ranges.
   */
  constructor(ranges: readonly KeyRange[]) {
    this.#ranges = ranges;
    const intervals = ranges.map(intervalOf).filter(isSomething).sort(byBegin);
    const merged: Interval[] = [];
    for (const interval of intervals) {
      const last = merged.at(-1);
      if (last === undefined || isApart(last, interval)) merged.push({ ...interval });
      else last.end = laterEnd(last.end, interval.end);
    }
    this.#merged = merged;
  }

  /**
   * Whether every key of a request is inside: the one key buffer[keyStart, keyEnd) if the range end is empty, every key from
   * it on if that is one zero byte. Of a range that holds no key: what etcd says.
   */
  covers(buffer: Uint8Array, keyStart: number, keyEnd: number, rangeEndStart: number, rangeEndEnd: number): boolean {
    const isOneKey = rangeEndStart === rangeEndEnd;
    const isOpen = isOpenEnd(buffer, rangeEndStart, rangeEndEnd);
    if (!isOneKey && !isOpen && compareBytes(buffer, keyStart, keyEnd, buffer, rangeEndStart, rangeEndEnd) >= 0) {
      return this.#coversNothing(buffer.subarray(keyStart, keyEnd), buffer.subarray(rangeEndStart, rangeEndEnd));
    }
    const interval = this.#holding(buffer, keyStart, keyEnd);
    if (interval === null) return false;
    const { end } = interval;
    if (end === null || isOneKey) return true;
    if (isOpen) return false;
    return compareBytes(buffer, rangeEndStart, rangeEndEnd, end, 0, end.length) <= 0;
  }

  /** Asked about a range that ends where it begins or before. */
  #coversNothing(begin: Uint8Array, end: Uint8Array): boolean {
    this.#tree ??= new GrantTree(
      this.#ranges.map((range) => {
        const interval = intervalOf(range);
        return { begin: interval.begin.length === 0 ? null : interval.begin, end: interval.end };
      }),
    );
    return this.#tree.covers({ begin, end });
  }

  /** The interval with this key in it. */
  #holding(buffer: Uint8Array, start: number, end: number): Interval | null {
    const merged = this.#merged;
    let low = 0;
    let high = merged.length;
    // The first that begins behind the key.
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { begin } = merged[middle]!;
      if (compareBytes(begin, 0, begin.length, buffer, start, end) <= 0) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return null;
    const interval = merged[low - 1]!;
    if (interval.end === null || compareBytes(buffer, start, end, interval.end, 0, interval.end.length) < 0) {
      return interval;
    }
    return null;
  }
}

/** etcd's rule for what may be granted. */
export function isGrantable({ key, rangeEnd }: KeyRange): boolean {
  if (key.length === 0) return false;
  if (rangeEnd.length === 0 || isOpenEnd(rangeEnd, 0, rangeEnd.length)) return true;
  return compareBytes(key, 0, key.length, rangeEnd, 0, rangeEnd.length) < 0;
}

function isOpenEnd(buffer: Uint8Array, start: number, end: number): boolean {
  return end - start === 1 && buffer[start] === 0;
}

function intervalOf({ key, rangeEnd }: KeyRange): Interval {
  const begin = Uint8Array.from(key);
  if (isOpenEnd(rangeEnd, 0, rangeEnd.length)) return { begin, end: null };
  if (rangeEnd.length > 0) return { begin, end: Uint8Array.from(rangeEnd) };
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return { begin, end: next };
}

function isSomething({ begin, end }: Interval): boolean {
  return begin.length > 0 && (end === null || compareBytes(begin, 0, begin.length, end, 0, end.length) < 0);
}

function byBegin(a: Interval, b: Interval): number {
  return compareBytes(a.begin, 0, a.begin.length, b.begin, 0, b.begin.length);
}

/** There is a key between the two that neither holds; `next` begins no earlier. */
function isApart({ end }: Interval, { begin }: Interval): boolean {
  return end !== null && compareBytes(end, 0, end.length, begin, 0, begin.length) < 0;
}

function laterEnd(a: Uint8Array | null, b: Uint8Array | null): Uint8Array | null {
  if (a === null || b === null) return null;
  return compareBytes(a, 0, a.length, b, 0, b.length) >= 0 ? a : b;
}
