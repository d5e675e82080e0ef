/**
 * What a connection has to write: frames are built straight into a slab, and one flush hands everything to the socket
 * in one write (or one vectored write if large shared parts lie between).
 *
 *    parts: │ sealed slab │ shared bytes │ sealed slab │ ...   then   slab: │ used ▓▓▓▓░░░░░░ free │
 *
 * Ownership: bytes given to `appendShared` are never changed by anyone afterwards. A TCP socket whose `writableLength`
 * is 0 after a write has handed everything to the kernel and keeps nothing, so the slab is filled again: that is every
 * flush to a peer that reads, and it makes no garbage. Any other socket may keep what it is given until later, so small
 * flushes are copied into a buffer of the right size and the slab is kept, and large ones give the slab away: a fresh
 * 64 KiB slab per flush made a thousand connections three times slower (bench/echo.ts -c 1000).
 */
import type { Duplex } from "node:stream";

export class Output {
  /** Writers put frames at `slab[used]` after `reserve`, and advance `used`. */
  slab: Buffer = none;
  used = 0;
  #parts: Buffer[] = [];
  #partBytes = 0;
  /** What the last slab given away had grown to: the next one starts there. */
  #slabBytes: number = smallestSlabBytes;

  /** Bytes waiting to be flushed. */
  get bytes(): number {
    return this.#partBytes + this.used;
  }

  /** Makes room for `bytes` contiguous bytes in the slab. */
  reserve(bytes: number): void {
    if (this.used + bytes > this.slab.length) this.#grow(bytes);
  }

  /** Puts `bytes` next without copying them. */
  appendShared(bytes: Buffer): void {
    this.#seal();
    this.#parts.push(bytes);
    this.#partBytes += bytes.length;
  }

  /** Copies `from[start, end)` next. */
  append(from: Uint8Array, start: number, end: number): void {
    const length = end - start;
    this.reserve(length);
    copyBytes(from, start, end, this.slab, this.used);
    this.used += length;
  }

  /**
   * Hands everything to the socket. Returns false if it asks us to wait for "drain". `keepsNothing`: the socket holds no
   * reference to what it was given once its `writableLength` is 0.
   */
  flush(socket: Duplex, keepsNothing: boolean): boolean {
    const used = this.used;
    if (this.#parts.length === 0) {
      if (used === 0) return true;
      if (keepsNothing && socket.writableLength === 0) {
        const mayContinue = socket.write(this.slab.subarray(0, used));
        if (socket.writableLength === 0) this.used = 0;
        else this.#giveSlab();
        return mayContinue;
      }
      let bytes: Buffer;
      if (used <= copiedFlushBytes) {
        bytes = Buffer.allocUnsafe(used);
        this.slab.copy(bytes, 0, 0, used);
        this.used = 0;
      } else bytes = this.#giveSlab();
      return socket.write(bytes);
    }
    this.#seal();
    const parts = this.#parts;
    this.#parts = [];
    this.#partBytes = 0;
    let mayContinue = true;
    socket.cork();
    for (let i = 0; i < parts.length; i++) mayContinue = socket.write(parts[i]!);
    socket.uncork();
    return mayContinue;
  }

  clear(): void {
    this.slab = none;
    this.used = 0;
    this.#parts = [];
    this.#partBytes = 0;
  }

  #grow(bytes: number): void {
    const needed = this.used + bytes;
    if (needed <= largestSlabBytes || this.used === 0) {
      let size = Math.max(this.#slabBytes, this.slab.length * 2);
      while (size < needed) size *= 2;
      const grown = Buffer.allocUnsafeSlow(size);
      this.slab.copy(grown, 0, 0, this.used);
      this.slab = grown;
      return;
    }
    this.#seal();
    this.#grow(bytes);
  }

  #seal(): void {
    if (this.used === 0) return;
    this.#partBytes += this.used;
    this.#parts.push(this.#giveSlab());
  }

  #giveSlab(): Buffer {
    const bytes = this.slab.subarray(0, this.used);
    let size: number = smallestSlabBytes;
    while (size < this.used && size < largestSlabBytes) size *= 2;
    this.#slabBytes = size;
    this.slab = none;
    this.used = 0;
    return bytes;
  }
}

/** Below ~48 bytes a loop beats the call into the runtime. */
export function copyBytes(from: Uint8Array, start: number, end: number, into: Buffer, at: number): void {
  const length = end - start;
  if (length <= 48) {
    for (let i = 0; i < length; i++) into[at + i] = from[start + i]!;
  } else if (from instanceof Buffer) from.copy(into, at, start, end);
  else into.set(from.subarray(start, end), at);
}

const smallestSlabBytes = 2048;
const largestSlabBytes = 65_536;
const copiedFlushBytes = 8192;
const none: Buffer = Buffer.alloc(0);
