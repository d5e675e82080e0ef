/**
 * Shared memory for the record log, cut into slots and used again and again. The runtime does not count shared memory
 * when it decides whether to collect garbage, so what is let go of may stay for good; therefore nothing ever is. What
 * the log gives back is given out again, and the total is the most that was ever in use at once.
 *
 *     arena of 16 slots   [■■■■■■■■■□□□■■□□]   taken and free
 *     arena of 16 slots   [■□□□□□□□□□□□□□□□]
 *     arena of 40 slots   [■■■■■■■■■■■■■■■■ …]  made for one large record
 *
 * The memory of an arena is not touched before it is written.
 */
import { assert } from "@quorate/world";
import { FrameView } from "./record-frame.ts";

/** A run of slots: `arena.shared[origin, origin + slots × slotBytes)`. */
export interface MemoryRange {
  readonly arena: Arena;
  readonly origin: number;
  readonly slots: number;
}

export class ChunkMemory {
  readonly #slotBytes: number;
  readonly #arenas: Arena[] = [];

  /** @param slotBytes a multiple of 8. */
  constructor(slotBytes: number) {
    assert(slotBytes > 0 && slotBytes % 8 === 0, "slots are multiples of 8 bytes");
    this.#slotBytes = slotBytes;
  }

  /** Everything there is, taken or free. */
  get reservedBytes(): number {
    let slots = 0;
    for (const arena of this.#arenas) slots += arena.isTaken.length;
    return slots * this.#slotBytes;
  }

  take(slots: number): MemoryRange {
    for (const arena of this.#arenas) {
      const first = arena.findFree(slots);
      if (first >= 0) return this.#takeFrom(arena, first, slots);
    }
    const arena = new Arena(Math.max(slots, ARENA_SLOTS), this.#slotBytes);
    this.#arenas.push(arena);
    return this.#takeFrom(arena, 0, slots);
  }

  giveBack(range: MemoryRange): void {
    const first = range.origin / this.#slotBytes;
    range.arena.isTaken.fill(0, first, first + range.slots);
  }

  #takeFrom(arena: Arena, first: number, slots: number): MemoryRange {
    arena.isTaken.fill(1, first, first + slots);
    return { arena, origin: first * this.#slotBytes, slots };
  }
}

const ARENA_SLOTS = 16;

class Arena {
  readonly shared: SharedArrayBuffer;
  readonly frames: FrameView;
  /** 1 for each slot that is taken. */
  readonly isTaken: Uint8Array;

  constructor(slots: number, slotBytes: number) {
    this.shared = new SharedArrayBuffer(slots * slotBytes);
    this.frames = new FrameView(this.shared);
    this.isTaken = new Uint8Array(slots);
  }

  /** Number of the first of `slots` free slots in a row; -1 if there are none. */
  findFree(slots: number): number {
    let free = 0;
    for (let slot = 0; slot < this.isTaken.length; slot++) {
      free = this.isTaken[slot] === 0 ? free + 1 : 0;
      if (free === slots) return slot - slots + 1;
    }
    return -1;
  }
}
