/** How keys and names are ordered everywhere: by their bytes, as etcd orders them. */

/** The sign of a[aStart, aEnd) against b[bStart, bEnd), bytes unsigned, shorter first. A loop: keys are short. */
export function compareBytes(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): number {
  const length = Math.min(aEnd - aStart, bEnd - bStart);
  for (let i = 0; i < length; i++) {
    const difference = a[aStart + i]! - b[bStart + i]!;
    if (difference !== 0) return difference;
  }
  return aEnd - aStart - (bEnd - bStart);
}
