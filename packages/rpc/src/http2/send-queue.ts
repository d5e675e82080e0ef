/**
 * Bytes of one stream that could not be sent at once, in order: copied or shared chunks, then perhaps a source that
 * produces the rest piece by piece, then perhaps the trailers. Made only for streams that need it.
 *
 *    chunks │ open block being filled │ source ─ ─ ─ ─ │ trailers
 */
import type { Output } from "./output.ts";
import { copyBytes } from "./output.ts";

/** A body of known length, produced while it is being sent. */
export interface BodySource {
  /**
   * The next piece, 1 to `maxBytes` long, borrowed until the next `read`; null to be asked again after `resume`.
   * May end its own call instead (fail), but must not flush.
   */
  read(maxBytes: number): Uint8Array | null;
  /** Called once, when no more reads will come: everything was read, or the call ended before. */
  released?(): void;
}

export class SendQueue {
  /** Bytes in chunks, not counting what the source has still to produce. */
  bytes = 0;
  source: BodySource | null = null;
  sourceBytes = 0;
  /** The source has nothing for now. */
  isSourceWaiting = false;
  /** The stream ends when all is sent: with these trailers, or with an empty DATA frame if there are none. */
  endsStream = false;
  trailers: Buffer | null = null;
  /** `send` has answered false, so the owner waits to hear that the queue is short again. */
  isOwnerWaiting = false;
  /** When a byte last left, or the queue began. */
  progressMs: number;
  /** Set by the sweep after a second of too small a window: now small frames are better than none (H2-13). */
  isStarved = false;
  #chunks: Buffer[] = [];
  #head = 0;
  #headStart = 0;
  #open: Buffer | null = null;
  #openStart = 0;
  #openEnd = 0;

  constructor(nowMs: number) {
    this.progressMs = nowMs;
  }

  /** Copies `from[start, end)`. */
  append(from: Uint8Array, start: number, end: number): void {
    const length = end - start;
    this.bytes += length;
    if (length > openBlockBytes / 2) {
      this.#seal();
      const copy = Buffer.allocUnsafeSlow(length);
      copyBytes(from, start, end, copy, 0);
      this.#chunks.push(copy);
      return;
    }
    if (this.#open === null || this.#openEnd + length > this.#open.length) {
      this.#seal();
      this.#open = Buffer.allocUnsafeSlow(openBlockBytes);
      this.#openStart = 0;
      this.#openEnd = 0;
    }
    copyBytes(from, start, end, this.#open, this.#openEnd);
    this.#openEnd += length;
  }

  /** Keeps a reference: nobody may change the bytes afterwards. */
  appendShared(bytes: Buffer): void {
    this.#seal();
    this.#chunks.push(bytes);
    this.bytes += bytes.length;
  }

  /** Moves `count` of the chunk bytes into the output; large pieces go by reference. */
  moveTo(output: Output, count: number): void {
    let left = count;
    this.bytes -= count;
    while (left > 0) {
      if (this.#head === this.#chunks.length) {
        this.#chunks.length = 0;
        this.#head = 0;
        this.#seal();
      }
      const chunk = this.#chunks[this.#head]!;
      const take = Math.min(left, chunk.length - this.#headStart);
      const end = this.#headStart + take;
      if (take >= sharedPieceBytes) output.appendShared(chunk.subarray(this.#headStart, end));
      else output.append(chunk, this.#headStart, end);
      left -= take;
      if (end < chunk.length) this.#headStart = end;
      else {
        this.#chunks[this.#head++] = none;
        this.#headStart = 0;
      }
    }
    if (this.#head > 64 && this.#head * 2 > this.#chunks.length) {
      this.#chunks.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** Makes what is in the open block a chunk; the block's rest may be filled later. */
  #seal(): void {
    if (this.#open === null || this.#openStart === this.#openEnd) return;
    this.#chunks.push(this.#open.subarray(this.#openStart, this.#openEnd));
    this.#openStart = this.#openEnd;
  }
}

const openBlockBytes = 4096;
/** From here on a part of a vectored write is cheaper than a copy. */
export const sharedPieceBytes = 4096;
const none: Buffer = Buffer.alloc(0);
