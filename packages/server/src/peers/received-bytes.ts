/**
 * What has arrived of a stream of frames: chunks in, whole pieces out, wherever the network cut them. Used by the decoders.
 *
 * Invariant: memory is what has arrived. A length that promises more than ever comes costs nothing.
 */

/** A frame is longer than its reader takes. The text is etcd's. */
export class FrameTooLarge extends Error {
  readonly kind = "FrameTooLarge";
  constructor() {
    super("rafthttp: error limit exceeded");
    this.name = "FrameTooLarge";
  }
}

const TWO_TO_32 = 0x1_0000_0000;

export class ReceivedBytes {
  #chunks: Buffer[] = [];
  /** Of the first chunk, how much has been taken. */
  #at = 0;
  #length = 0;

  /** Bytes not taken yet. */
  get length(): number {
    return this.#length;
  }

  /** The chunk is transferred. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** The byte `offset` after the next one, which must have arrived. */
  peek(offset: number): number {
    let at = this.#at + offset;
    for (const chunk of this.#chunks) {
      if (at < chunk.length) return chunk[at]!;
      at -= chunk.length;
    }
    throw new RangeError("no such byte has arrived");
  }

  /** Eight bytes, big-endian, `offset` after the next; throws FrameTooLarge above 2^53, which nothing counted here reaches. */
  peekUint64(offset: number): number {
    const [first] = this.#chunks;
    const at = this.#at + offset;
    let high = 0;
    let low = 0;
    if (first !== undefined && at + 8 <= first.length) {
      high = first.readUInt32BE(at);
      low = first.readUInt32BE(at + 4);
    } else {
      for (let i = 0; i < 4; i++) high = high * 256 + this.peek(offset + i);
      for (let i = 4; i < 8; i++) low = low * 256 + this.peek(offset + i);
    }
    if (high >= 0x20_0000) throw new FrameTooLarge();
    return high * TWO_TO_32 + low;
  }

  skip(count: number): void {
    this.#length -= count;
    this.#at += count;
    while (this.#chunks.length > 0 && this.#at >= this.#chunks[0]!.length) this.#at -= this.#chunks.shift()!.length;
  }

  /** Takes `count` bytes, all of which have arrived: a view if they came in one piece, else a copy. Transferred. */
  take(count: number): Buffer {
    const [first] = this.#chunks;
    const view = first?.subarray(this.#at, this.#at + count);
    if (view !== undefined && view.length === count) {
      this.skip(count);
      return view;
    }
    // Not from the pool, whose slabs what is kept of a message would hold.
    const whole = Buffer.allocUnsafeSlow(count);
    let filled = 0;
    let at = this.#at;
    for (const chunk of this.#chunks) {
      filled += chunk.copy(whole, filled, at, Math.min(chunk.length, at + count - filled));
      at = 0;
      if (filled === count) break;
    }
    this.skip(count);
    return whole;
  }

  /** All that has arrived, in the pieces it came in. */
  takeRest(): Buffer[] {
    const rest = this.#chunks;
    if (rest.length > 0) rest[0] = rest[0]!.subarray(this.#at);
    this.#chunks = [];
    this.#at = 0;
    this.#length = 0;
    return rest;
  }
}
