/**
 * How a record lies in memory: the frames the record log writes, the backend scans and the commit worker reads out of
 * shared memory. Frames never reach a disk, so numbers are in the machine's byte order.
 *
 *        0            4            8                     16              16 + size, rounded up to 8
 *        ┌────────────┬────────────┬─────────────────────┬──────────────┬┄┄┄┄┄┄┐
 *        │ size (u32) │ sub·2 + t  │ main (f64)          │ record bytes │ pad  │
 *        └────────────┴────────────┴─────────────────────┴──────────────┴┄┄┄┄┄┄┘
 *
 * t is 1 for a tombstone. Frames start at multiples of 8, which lets typed arrays read the header in place.
 */

export const FRAME_HEADER_BYTES = 16;

/** Changes of one transaction are numbered below this; memory ends long before. */
export const MAX_SUB = 0x7fff_ffff;

/** Views over one piece of memory that holds frames. */
export class FrameView {
  /** A Buffer, because its copy() is several times faster than set() when large records come from shared memory. */
  readonly bytes: Buffer;
  readonly #words: Uint32Array;
  readonly #doubles: Float64Array;

  constructor(memory: ArrayBufferLike) {
    this.bytes = Buffer.from(memory);
    this.#words = new Uint32Array(memory);
    this.#doubles = new Float64Array(memory);
  }

  writeHeader(at: number, main: number, sub: number, isTombstone: boolean, sizeBytes: number): void {
    const word = at >>> 2;
    this.#words[word] = sizeBytes;
    this.#words[word + 1] = sub * 2 + (isTombstone ? 1 : 0);
    this.#doubles[(at >>> 3) + 1] = main;
  }

  sizeBytes(at: number): number {
    return this.#words[at >>> 2]!;
  }

  main(at: number): number {
    return this.#doubles[(at >>> 3) + 1]!;
  }

  sub(at: number): number {
    return this.#words[(at >>> 2) + 1]! >>> 1;
  }

  isTombstone(at: number): boolean {
    return (this.#words[(at >>> 2) + 1]! & 1) === 1;
  }

  /** True if the frame is of exactly this revision. */
  is(at: number, main: number, sub: number, isTombstone: boolean): boolean {
    return this.main(at) === main && this.#words[(at >>> 2) + 1] === sub * 2 + (isTombstone ? 1 : 0);
  }

  /** Where the next frame starts. */
  next(at: number): number {
    return at + frameBytes(this.#words[at >>> 2]!);
  }
}

/** Bytes a frame of this record takes, header and padding included. */
export function frameBytes(sizeBytes: number): number {
  return FRAME_HEADER_BYTES + Math.ceil(sizeBytes / 8) * 8;
}
