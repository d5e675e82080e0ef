/** Keys and names by their bytes, as etcd orders them; JavaScript's own order of strings is another. */
import { compareBytes } from "@quorate/world";

export function isSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return compareBytes(a, 0, a.length, b, 0, b.length) === 0;
}

/** For sorting names: by the bytes of their UTF-8. */
export function compareNames(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
