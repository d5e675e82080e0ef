/**
 * A socket made of two arrays. Writes succeed at once, or pile up while `isStalled`, as with a peer that does not read;
 * nothing happens in between events, so a test sees exactly what was written when.
 */
import { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";

export class FakeSocket extends EventEmitter {
  isStalled = false;
  destroyed = false;
  isEnded = false;
  writableLength = 0;
  /** Calls of `write`. */
  writes = 0;
  #written: Buffer[] = [];
  #piled: Buffer[] = [];
  /** Hands each write on at once instead of keeping it. */
  peer: ((bytes: Buffer) => void) | null = null;

  asDuplex(): Duplex {
    return this as unknown as Duplex;
  }

  write(bytes: Buffer): boolean {
    this.writes++;
    // The real socket may keep the buffer: a copy here would hide a slab that is written again too soon.
    if (this.isStalled) {
      this.#piled.push(bytes);
      this.writableLength += bytes.length;
      return false;
    }
    if (this.peer !== null) this.peer(Buffer.from(bytes));
    else this.#written.push(bytes);
    return true;
  }
  cork(): void {}
  uncork(): void {}
  end(): void {
    this.isEnded = true;
  }
  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit("close");
  }

  /** The peer reads again. */
  release(): void {
    this.isStalled = false;
    this.#written.push(...this.#piled);
    this.#piled = [];
    this.writableLength = 0;
    this.emit("drain");
  }

  /** Everything written since the last call. */
  take(): Buffer {
    const bytes = Buffer.concat(this.#written);
    this.#written = [];
    return bytes;
  }
}
