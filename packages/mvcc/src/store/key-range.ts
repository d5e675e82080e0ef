/**
 * The three-way rule of (key, range_end) that every request shares (semantics §3.1, known-failures MV-09, MV-10), and the
 * order of keys: bytes, unsigned, shorter first.
 *
 * The rule is applied here, once, and after authorisation, which must see what the client sent: folding `\0` into
 * "no bound" earlier is how a range once escaped its permission.
 */

export function isSingleKey(rangeEnd: Uint8Array): boolean {
  return rangeEnd.length === 0;
}

/** The bound a walk takes for a range_end that is not empty: null for `\0`, which has none. */
export function upperBound(rangeEnd: Uint8Array): Uint8Array | null {
  return rangeEnd.length === 1 && rangeEnd[0] === 0 ? null : rangeEnd;
}

export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}
