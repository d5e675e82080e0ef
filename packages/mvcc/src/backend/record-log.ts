/**
 * The newest records, in memory: everything storage does not have yet, and behind it as many flushed records as fit the
 * cache. The backend appends and reads; the commit worker reads the same memory, because chunks are shared.
 *
 *     evicted            flushed: a cache            not flushed            free
 *   ┄┄┄┄┄┄┄┄┄┄┄┄┬──────────────────────────┬───────────────────────────┬┄┄┄┄┄┄┄┄
 *               first                      flushed                     end        positions, growing for ever
 *   chunks:     [──────────][──────────][──────────][──────────][────────┄┄]
 *
 * A position is a place in an endless sequence of bytes, in frames of record-frame.ts. It is cut into slots of
 * `chunkBytes`; a chunk covers one slot, or as many as one large record needs. What does not fit the rest of a chunk
 * starts the next one.
 *
 * Invariants:
 *  - revisions ascend strictly with positions;
 *  - a position is never used twice, so a stale one is recognised by being before `first`;
 *  - only chunks that lie wholly before `flushed` are evicted, oldest first, and their memory is used for new ones.
 */
import { assert } from "@quorate/world";
import { ChunkMemory, type MemoryRange } from "./chunk-memory.ts";
import { FRAME_HEADER_BYTES, type FrameView, frameBytes, MAX_SUB } from "./record-frame.ts";
import type { RecordRegion, RecordSpan, RecordVisitor } from "./storage.ts";

/** The largest record: etcd's largest configurable request is far below. */
export const MAX_RECORD_BYTES: number = 512 * 1024 * 1024;

export class RecordLog {
  readonly #chunkBytes: number;
  readonly #cacheBytes: number;
  readonly #memory: ChunkMemory;
  /** The chunk of each slot from #firstSlot on; a large chunk is in several entries. */
  #slots: Chunk[] = [];
  #firstSlot = 0;
  /** The chunk being filled; null before the first record. */
  #active: Chunk | null = null;
  #end = 0;
  #flushed = 0;
  #heldBytes = 0;
  #lastMain = -1;
  #lastSub = 0;

  /**
   * @param chunkBytes a multiple of 8.
   * @param cacheBytes memory to keep in chunks when all is flushed; what is not flushed is kept whatever it takes.
   */
  constructor(chunkBytes: number, cacheBytes: number) {
    this.#chunkBytes = chunkBytes;
    this.#cacheBytes = cacheBytes;
    this.#memory = new ChunkMemory(chunkBytes);
  }

  /** Where the next frame would start if it fits the chunk. */
  get endPosition(): number {
    return this.#end;
  }

  /** Everything before is in storage. */
  get flushedPosition(): number {
    return this.#flushed;
  }

  /** Positions before are no longer held. */
  get firstPosition(): number {
    return this.#firstSlot * this.#chunkBytes;
  }

  /** Memory in chunks, whether filled or not. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Memory taken from the system: the most that was ever held. */
  get reservedBytes(): number {
    return this.#memory.reservedBytes;
  }

  /** Makes room for a record and points `span` at it. The caller fills it before anything else is asked of the log. */
  reserve(main: number, sub: number, isTombstone: boolean, sizeBytes: number, span: RecordSpan): void {
    assert(main > this.#lastMain || (main === this.#lastMain && sub > this.#lastSub), "revisions ascend");
    assert(sub >= 0 && sub <= MAX_SUB, "a sub revision is below 2^31");
    assert(sizeBytes <= MAX_RECORD_BYTES, "a record is at most 512 MiB");
    const frame = frameBytes(sizeBytes);
    let chunk = this.#active;
    if (chunk === null || chunk.used + frame > chunk.capacity) chunk = this.#startChunk(frame, main, sub);
    const at = chunk.origin + chunk.used;
    chunk.frames.writeHeader(at, main, sub, isTombstone, sizeBytes);
    span.buffer = chunk.frames.bytes;
    span.start = at + FRAME_HEADER_BYTES;
    span.end = span.start + sizeBytes;
    span.position = chunk.base + chunk.used;
    chunk.used += frame;
    this.#end = chunk.base + chunk.used;
    this.#lastMain = main;
    this.#lastSub = sub;
  }

  /** Points `span` at the record; false if it has been evicted. The position must be one that `reserve` gave. */
  read(position: number, main: number, sub: number, isTombstone: boolean, span: RecordSpan): boolean {
    const slot = Math.floor(position / this.#chunkBytes) - this.#firstSlot;
    if (slot < 0) return false;
    const chunk = this.#slots[slot];
    assert(chunk !== undefined, "a position is before the end of the log");
    const at = chunk.origin + (position - chunk.base);
    assert(chunk.frames.is(at, main, sub, isTombstone), "the frame at a position is of the revision asked for");
    span.buffer = chunk.frames.bytes;
    span.start = at + FRAME_HEADER_BYTES;
    span.end = span.start + chunk.frames.sizeBytes(at);
    span.position = position;
    return true;
  }

  /** The records not yet flushed before position `to`, as regions for a batch; borrowed until {@link flushedTo}. */
  regionsBefore(to: number): RecordRegion[] {
    const regions: RecordRegion[] = [];
    let position = this.#flushed;
    while (position < to) {
      const chunk = this.#chunkAt(position);
      const start = position - chunk.base;
      const end = Math.min(chunk.used, to - chunk.base);
      if (start < end) {
        regions.push({ shared: chunk.range.arena.shared, start: chunk.origin + start, end: chunk.origin + end });
      }
      position = chunk.base + chunk.capacity;
    }
    return regions;
  }

  /** Storage has everything before `position`, and readers see it there. Evicts what the cache has no room for. */
  flushedTo(position: number): void {
    assert(position <= this.#end, "the flushed position is at most the end");
    if (position > this.#flushed) this.#flushed = position;
    while (this.#heldBytes > this.#cacheBytes && this.#evictFirst());
  }

  /** The revision of the first record that is not flushed goes to `into`; false if there is none. */
  firstUnflushed(into: { main: number; sub: number }): boolean {
    const place = this.#firstFrameFrom(this.#flushed);
    if (place === null) return false;
    const { chunk, at } = place;
    into.main = chunk.frames.main(at);
    into.sub = chunk.frames.sub(at);
    return true;
  }

  /** Visits records that are not flushed, from (main, sub) on; false if the visitor ended it. */
  scanUnflushed(main: number, sub: number, visitor: RecordVisitor): boolean {
    const place = this.#firstFrameFrom(this.#flushed);
    if (place === null) return true;
    let { chunk, at } = place;
    // Whole chunks are skipped by the first revision of the one behind them.
    for (let next = this.#chunkAfter(chunk); next !== null; next = this.#chunkAfter(chunk)) {
      if (next.firstMain > main || (next.firstMain === main && next.firstSub > sub)) break;
      chunk = next;
      at = next.origin;
    }
    for (;;) {
      const frames = chunk.frames;
      for (const end = chunk.origin + chunk.used; at < end; at = frames.next(at)) {
        const frameMain = frames.main(at);
        const frameSub = frames.sub(at);
        if (frameMain < main || (frameMain === main && frameSub < sub)) continue;
        const start = at + FRAME_HEADER_BYTES;
        const stop = start + frames.sizeBytes(at);
        if (!visitor.visit(frameMain, frameSub, frames.isTombstone(at), frames.bytes, start, stop)) return false;
      }
      const next = this.#chunkAfter(chunk);
      if (next === null) return true;
      chunk = next;
      at = next.origin;
    }
  }

  #startChunk(frame: number, main: number, sub: number): Chunk {
    const slots = Math.ceil(frame / this.#chunkBytes);
    this.#active = null;
    while (this.#heldBytes + slots * this.#chunkBytes > this.#cacheBytes && this.#evictFirst());
    const base = (this.#firstSlot + this.#slots.length) * this.#chunkBytes;
    const chunk = new Chunk(this.#memory.take(slots), slots * this.#chunkBytes, base, main, sub);
    for (let i = 0; i < slots; i++) this.#slots.push(chunk);
    this.#heldBytes += chunk.capacity;
    this.#active = chunk;
    return chunk;
  }

  /** Lets go of the oldest chunk if it is wholly flushed and not the one being filled. */
  #evictFirst(): boolean {
    const chunk = this.#slots[0];
    if (chunk === undefined || chunk === this.#active || chunk.base + chunk.used > this.#flushed) return false;
    this.#slots.splice(0, chunk.range.slots);
    this.#firstSlot += chunk.range.slots;
    this.#heldBytes -= chunk.capacity;
    this.#memory.giveBack(chunk.range);
    // The end of a chunk's frames and the start of the next slot are the same place in the sequence.
    if (this.#flushed < this.firstPosition) this.#flushed = this.firstPosition;
    return true;
  }

  #chunkAt(position: number): Chunk {
    const chunk = this.#slots[Math.floor(position / this.#chunkBytes) - this.#firstSlot];
    assert(chunk !== undefined, "the position is held");
    return chunk;
  }

  #chunkAfter(chunk: Chunk): Chunk | null {
    if (chunk === this.#active) return null;
    return this.#chunkAt(chunk.base + chunk.capacity);
  }

  /** The first frame at or after a position between frames, as a place in its memory; null at the end of the log. */
  #firstFrameFrom(position: number): { chunk: Chunk; at: number } | null {
    if (position === this.#end) return null;
    const chunk = this.#chunkAt(position);
    const offset = position - chunk.base;
    if (offset < chunk.used) return { chunk, at: chunk.origin + offset };
    const next = this.#chunkAfter(chunk);
    assert(next !== null, "a chunk follows while the end is not reached");
    return { chunk: next, at: next.origin };
  }
}

/** Frames in `range`, from its origin on; `base` is the position of the first. */
class Chunk {
  readonly range: MemoryRange;
  readonly frames: FrameView;
  readonly origin: number;
  readonly capacity: number;
  readonly base: number;
  readonly firstMain: number;
  readonly firstSub: number;
  used = 0;

  constructor(range: MemoryRange, capacity: number, base: number, firstMain: number, firstSub: number) {
    this.range = range;
    this.frames = range.arena.frames;
    this.origin = range.origin;
    this.capacity = capacity;
    this.base = base;
    this.firstMain = firstMain;
    this.firstSub = firstSub;
  }
}
