/** Keys as bytes inside larger buffers: where a record holds its key, how two keys compare, a key as a map's key. */

import { assert } from "@quorate/world";

const KEY_TAG = 0x0a;

/** Where the key of a record lies. Reused. */
export class KeyView {
  start = 0;
  end = 0;

  /** Every record, a put's or a tombstone's, begins with its key. */
  parse(record: Uint8Array, start: number): void {
    assert(record[start] === KEY_TAG, "a record begins with its key");
    let at = start + 1;
    let length = 0;
    let shift = 0;
    let byte = 0x80;
    while (byte >= 0x80) {
      byte = record[at++]!;
      length |= (byte & 0x7f) << shift;
      shift += 7;
    }
    this.start = at;
    this.end = at + length;
  }
}

/** The sign of a[aStart, aEnd) against b, bytes unsigned, shorter first. A loop: keys differ early or are short. */
export function compareKey(a: Uint8Array, aStart: number, aEnd: number, b: Uint8Array): number {
  const length = Math.min(aEnd - aStart, b.length);
  for (let index = 0; index < length; index++) {
    const difference = a[aStart + index]! - b[index]!;
    if (difference !== 0) return difference;
  }
  return aEnd - aStart - b.length;
}

/** One character a byte, so that equal texts are equal keys. */
export function keyText(buffer: Uint8Array, start: number, end: number): string {
  return Buffer.from(buffer.buffer, buffer.byteOffset + start, end - start).toString("latin1");
}
