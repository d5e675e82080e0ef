/**
 * The machine's chance, from the system's cryptographic generator, a block at a time. Made once by the process. The
 * simulator's counterpart has a seed and another name, so that the two are never confused.
 */
import { Buffer } from "node:buffer";
import { randomFillSync } from "node:crypto";
import type { Random } from "@quorate/world";

const BLOCK_BYTES = 4096;
const BOUND_MAX = 4_294_967_296;

export class MachineRandom implements Random {
  readonly #block: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #at: number = BLOCK_BYTES;

  below(bound: number): number {
    if (!Number.isInteger(bound) || bound < 1 || bound > BOUND_MAX) {
      throw new RangeError(`random bound ${bound} is not an integer from 1 to 2^32`);
    }
    // Numbers from the incomplete last run of `bound` are thrown away, or small results would come more often.
    const complete = BOUND_MAX - (BOUND_MAX % bound);
    for (;;) {
      const value = this.#next();
      if (value < complete) return value % bound;
    }
  }

  #next(): number {
    if (this.#at === BLOCK_BYTES) {
      randomFillSync(this.#block);
      this.#at = 0;
    }
    const value = this.#block.readUInt32LE(this.#at);
    this.#at += 4;
    return value;
  }
}
