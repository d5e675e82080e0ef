/**
 * The pages of a file in the making, put out one after the other in large writes. What is claimed or appended goes
 * behind what came before, from page 2 on; pages 0 and 1 are written at the end, by whoever knows what they say.
 */
import { assert } from "@quorate/world";
import { PAGE_HEADER_BYTES, type PageFlag, viewOf, writePageHeader } from "./page.ts";

/** Where the file goes; a DiskFile of world's is one. */
export interface BboltSink {
  /** Writes all of `from[start, end)` at `position`, which only grows until the last write of a file. Borrowed until return. */
  write(from: Uint8Array, start: number, end: number, position: number): void;
}

/** One write's worth; no page but that of a large value is longer. */
const OUTPUT_BYTES = 256 * 1024;

/** Pages in front of the first one put out: the two metas. */
const FIRST_PAGE = 2;

export class PageOutput {
  readonly pageBytes: number;
  readonly buffer: Uint8Array = Buffer.allocUnsafeSlow(OUTPUT_BYTES);
  readonly view: DataView = viewOf(this.buffer);
  readonly #sink: BboltSink;
  #used = 0;
  /** Of the file, where the buffer goes. */
  #position: number;

  constructor(sink: BboltSink, pageBytes: number) {
    this.#sink = sink;
    this.pageBytes = pageBytes;
    this.#position = FIRST_PAGE * pageBytes;
  }

  /** The page the next byte belongs to. */
  get nextPage(): number {
    return (this.#position + this.#used) / this.pageBytes;
  }

  /**
   * Begins a page of `contentBytes` with its header. The caller writes or appends all that follows the header and then
   * calls {@link endPage}. Returns the page's id.
   */
  beginPage(flag: PageFlag, count: number, contentBytes: number): number {
    const id = this.nextPage;
    assert(Number.isInteger(id), "a page begins where the one before has ended");
    const overflow = Math.ceil(contentBytes / this.pageBytes) - 1;
    writePageHeader(this.view, this.claim(PAGE_HEADER_BYTES), { id, flag, count, overflow });
    return id;
  }

  /** Fills the page up with zeroes. */
  endPage(): void {
    const rest = (this.#position + this.#used) % this.pageBytes;
    if (rest === 0) return;
    const zeroes = this.pageBytes - rest;
    const at = this.claim(zeroes);
    this.buffer.fill(0, at, at + zeroes);
  }

  /** The next `sizeBytes`, for the caller to write into `buffer` at the place returned before anything else is claimed. */
  claim(sizeBytes: number): number {
    assert(sizeBytes <= OUTPUT_BYTES, "what is claimed is smaller than the output's buffer");
    if (this.#used + sizeBytes > OUTPUT_BYTES) this.flush();
    const at = this.#used;
    this.#used += sizeBytes;
    return at;
  }

  /** Puts out `from[start, end)`, of any length. */
  append(from: Uint8Array, start: number, end: number): void {
    const sizeBytes = end - start;
    if (sizeBytes < OUTPUT_BYTES) {
      copyInto(this.buffer, this.claim(sizeBytes), from, start, end);
      return;
    }
    this.flush();
    this.#sink.write(from, start, end, this.#position);
    this.#position += sizeBytes;
  }

  flush(): void {
    if (this.#used === 0) return;
    this.#sink.write(this.buffer, 0, this.#used, this.#position);
    this.#position += this.#used;
    this.#used = 0;
  }
}

/** Keys are mostly shorter than what a view for the copy costs. */
export function copyInto(into: Uint8Array, at: number, from: Uint8Array, start: number, end: number): void {
  if (end - start > 40) into.set(from.subarray(start, end), at);
  else for (let i = start; i < end; i++) into[at + i - start] = from[i]!;
}
