/**
 * A long run of bytes of which most are zero, as files on a simulated disk are. Pages of zeroes take no memory, so that
 * a simulation of several members with full-sized segments stays small.
 */
import { Buffer } from "node:buffer";

const PAGE_BYTES = 4096;
const ZERO_PAGE: Buffer = Buffer.alloc(PAGE_BYTES);

export class SparseBytes {
  readonly #pages: Map<number, Buffer> = new Map();

  /** Copies `[position, position + length)` into `into[at, ...)`. */
  read(into: Uint8Array, at: number, length: number, position: number): void {
    let done = 0;
    while (done < length) {
      const place = position + done;
      const offset = place % PAGE_BYTES;
      const part = Math.min(length - done, PAGE_BYTES - offset);
      const page = this.#pages.get((place - offset) / PAGE_BYTES) ?? ZERO_PAGE;
      into.set(page.subarray(offset, offset + part), at + done);
      done += part;
    }
  }

  /** Copies `from[start, end)` to `position`. */
  write(from: Uint8Array, start: number, end: number, position: number): void {
    let at = start;
    while (at < end) {
      const place = position + at - start;
      const offset = place % PAGE_BYTES;
      const part = Math.min(end - at, PAGE_BYTES - offset);
      const bytes = from.subarray(at, at + part);
      const number = (place - offset) / PAGE_BYTES;
      const page = this.#pages.get(number);
      if (page !== undefined) page.set(bytes, offset);
      else if (Buffer.compare(bytes, ZERO_PAGE.subarray(0, part)) !== 0) {
        const fresh = Buffer.alloc(PAGE_BYTES);
        fresh.set(bytes, offset);
        this.#pages.set(number, fresh);
      }
      at += part;
    }
  }

  /** Zeroes everything from `position` on. */
  clearFrom(position: number): void {
    const last = Math.floor(position / PAGE_BYTES);
    for (const number of [...this.#pages.keys()]) if (number > last) this.#pages.delete(number);
    this.#pages.get(last)?.fill(0, position % PAGE_BYTES);
  }
}
