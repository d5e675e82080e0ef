/**
 * Key bytes outside the JavaScript heap. KeyIndex keeps one block here per key it knows, KeyTree one per separator.
 * The number of a block is the key's *slot*: it stays the same for as long as the key is in the index.
 *
 * Memory comes in chunks of 64 KiB. All blocks of a chunk have the same size (a size class), so a freed block fits the
 * next key of its class, and a chunk whose blocks are all free goes back to be a chunk of any class. A key too long for
 * the classes gets a chunk of its own.
 *
 *   slot = chunk number · 8192 + offset in the chunk / 8
 *
 *   block   | newest: u32 | length: u32 | key bytes … | padding up to the class's size |
 *             newest      the node of the key's newest revision; NONE marks a separator of the tree
 *             length      of the key, at least 1; 0 marks a free block, whose `newest` is then the next free block
 *
 * Invariants: blocks never move; block boundaries within a chunk never change while any of its blocks is in use, so a
 * walk over (chunk, block) pairs that is interrupted and resumed still meets every block that was in use throughout.
 */
import { assert } from "@quorate/world";
import { KEY_BYTES_MAX, KeyIndexLimitError, NONE } from "./limits.ts";

const CHUNK_BYTES = 64 * 1024;
const UNIT_BYTES = 8;
const SLOT_SHIFT = 13; // a chunk is 2^13 units
const UNIT_MASK = (1 << SLOT_SHIFT) - 1;
const CHUNKS_MAX = 2 ** (32 - SLOT_SHIFT);
const HEADER_BYTES = 8;
/** Blocks above this get a chunk of their own: four of them would not share one well. */
const CLASS_BYTES_MAX = 16 * 1024;
const CLASS_COUNT = 105;
/** From this many bytes on, Buffer's native compare and copy are worth their call. */
const NATIVE_BYTES_MIN = 96;

const NO_WORDS = new Uint32Array(0);
const NO_BYTES = Buffer.alloc(0);

export class KeySlab {
  readonly #words: Uint32Array[] = [];
  readonly #bytes: Buffer[] = [];
  readonly #chunks: (Chunk | null)[] = [];
  readonly #freeChunkNumbers: number[] = [];
  /** By size class: a chunk with room, the head of a doubly linked list of such chunks. */
  readonly #room: (Chunk | null)[] = new Array<Chunk | null>(CLASS_COUNT).fill(null);
  #memoryBytes = 0;

  /** Bytes held by chunks, in use or not. */
  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  /** Chunk numbers are below this. */
  get chunkCount(): number {
    return this.#chunks.length;
  }

  /** Copies the key. Throws KeyIndexLimitError. */
  allocate(buffer: Uint8Array, start: number, end: number, newest: number): number {
    const length = end - start;
    assert(length > 0, "a key is not empty");
    if (length > KEY_BYTES_MAX) {
      throw new KeyIndexLimitError(`put: key of ${length} bytes exceeds the key index's limit of ${KEY_BYTES_MAX}`);
    }
    const sizeClass = sizeClassOf(HEADER_BYTES + length);
    const chunk = this.#room[sizeClass] ?? this.#addChunk(sizeClass, HEADER_BYTES + length);
    const words = this.#words[chunk.number]!;
    let unit: number;
    if (chunk.firstFree !== NONE) {
      unit = chunk.firstFree;
      chunk.firstFree = words[unit * 2]!;
    } else {
      unit = chunk.freshCount * chunk.blockUnits;
      chunk.freshCount++;
    }
    chunk.usedCount++;
    if (chunk.usedCount === chunk.blockCount) this.#leaveRoom(chunk);
    words[unit * 2] = newest;
    words[unit * 2 + 1] = length;
    copyBytes(buffer, start, end, this.#bytes[chunk.number]!, unit * UNIT_BYTES + HEADER_BYTES);
    return chunk.number * (UNIT_MASK + 1) + unit;
  }

  free(slot: number): void {
    const chunk = this.#chunks[slot >>> SLOT_SHIFT]!;
    const words = this.#words[chunk.number]!;
    const unit = slot & UNIT_MASK;
    assert(words[unit * 2 + 1] !== 0, "a freed slot was in use");
    words[unit * 2 + 1] = 0;
    words[unit * 2] = chunk.firstFree;
    chunk.firstFree = unit;
    if (chunk.usedCount === chunk.blockCount) this.#enterRoom(chunk);
    chunk.usedCount--;
    if (chunk.usedCount === 0) this.#dropChunk(chunk);
  }

  newest(slot: number): number {
    return this.#words[slot >>> SLOT_SHIFT]![(slot & UNIT_MASK) * 2]!;
  }

  setNewest(slot: number, node: number): void {
    this.#words[slot >>> SLOT_SHIFT]![(slot & UNIT_MASK) * 2] = node;
  }

  length(slot: number): number {
    return this.#words[slot >>> SLOT_SHIFT]![(slot & UNIT_MASK) * 2 + 1]!;
  }

  /** The bytes of the slot's chunk; the key is at [startOf, startOf + length). Borrowed until the next allocate or free. */
  bytesOf(slot: number): Uint8Array {
    return this.#bytes[slot >>> SLOT_SHIFT]!;
  }

  startOf(slot: number): number {
    return (slot & UNIT_MASK) * UNIT_BYTES + HEADER_BYTES;
  }

  /**
   * Negative, zero or positive as the key sorts before, equals or sorts after buffer[start, end). Bytewise. The first
   * `from` bytes are known to be equal in both.
   */
  compare(slot: number, buffer: Uint8Array, start: number, end: number, from: number): number {
    const chunk = slot >>> SLOT_SHIFT;
    const unit = slot & UNIT_MASK;
    const length = this.#words[chunk]![unit * 2 + 1]!;
    const bytes = this.#bytes[chunk]!;
    const at = unit * UNIT_BYTES + HEADER_BYTES;
    const shared = Math.min(length, end - start);
    if (shared - from >= NATIVE_BYTES_MIN) return bytes.compare(buffer, start + from, end, at + from, at + length);
    for (let i = from; i < shared; i++) {
      const difference = bytes[at + i]! - buffer[start + i]!;
      if (difference !== 0) return difference;
    }
    return length - (end - start);
  }

  /**
   * How many leading bytes, at most `limit`, the key shares with buffer[start, end). The first `from` of them are known
   * to be equal in both.
   */
  sharedPrefix(slot: number, buffer: Uint8Array, start: number, end: number, from: number, limit: number): number {
    const bytes = this.#bytes[slot >>> SLOT_SHIFT]!;
    const at = this.startOf(slot);
    const stop = Math.min(limit, this.length(slot), end - start);
    let shared = from;
    while (shared < stop && bytes[at + shared] === buffer[start + shared]) shared++;
    return shared;
  }

  /** How many leading bytes two keys share. */
  sharedPrefixOf(slot: number, other: number): number {
    const start = this.startOf(other);
    const length = this.length(other);
    return this.sharedPrefix(slot, this.bytesOf(other), start, start + length, 0, length);
  }

  /** The key's head after `skip` bytes (see headOf). */
  head(slot: number, skip: number): number {
    const at = this.startOf(slot);
    return headOf(this.#bytes[slot >>> SLOT_SHIFT]!, at + skip, at + this.length(slot));
  }

  /** Copies the key into into[at, at + length); returns its length. */
  copyKey(slot: number, into: Uint8Array, at: number): number {
    const start = this.startOf(slot);
    const length = this.length(slot);
    copyBytes(this.#bytes[slot >>> SLOT_SHIFT]!, start, start + length, into, at);
    return length;
  }

  /** The number of the slot's chunk. */
  chunkOf(slot: number): number {
    return slot >>> SLOT_SHIFT;
  }

  /** The number of the slot's block in its chunk, below the chunk's capacity. */
  blockOf(slot: number): number {
    return (slot & UNIT_MASK) / this.#chunks[slot >>> SLOT_SHIFT]!.blockUnits;
  }

  /** How many blocks fit into the chunk, which must be in use. */
  capacityOf(chunkNumber: number): number {
    return this.#chunks[chunkNumber]!.blockCount;
  }

  /** How many blocks the chunk has, used or not; 0 if it was given back. */
  blockCountOf(chunkNumber: number): number {
    return this.#chunks[chunkNumber]?.freshCount ?? 0;
  }

  /** The slot of a chunk's block if a key is there; NONE if the block is free or a separator's. */
  keyAt(chunkNumber: number, block: number): number {
    const chunk = this.#chunks[chunkNumber]!;
    const words = this.#words[chunkNumber]!;
    const unit = block * chunk.blockUnits;
    if (words[unit * 2 + 1] === 0 || words[unit * 2] === NONE) return NONE;
    return chunkNumber * (UNIT_MASK + 1) + unit;
  }

  #addChunk(sizeClass: number, needBytes: number): Chunk {
    const isShared = sizeClass !== 0;
    const blockBytes = isShared ? classBytes(sizeClass) : Math.ceil(needBytes / UNIT_BYTES) * UNIT_BYTES;
    const blockCount = isShared ? Math.floor(CHUNK_BYTES / blockBytes) : 1;
    const number = this.#freeChunkNumbers.pop() ?? this.#chunks.length;
    if (number >= CHUNKS_MAX - 1) {
      throw new KeyIndexLimitError(`put: key index holds ${number} chunks of keys, its limit`);
    }
    const memory = new ArrayBuffer(isShared ? CHUNK_BYTES : blockBytes);
    const chunk = new Chunk(number, sizeClass, blockBytes / UNIT_BYTES, blockCount);
    this.#words[number] = new Uint32Array(memory);
    this.#bytes[number] = Buffer.from(memory);
    this.#chunks[number] = chunk;
    this.#memoryBytes += memory.byteLength;
    this.#enterRoom(chunk);
    return chunk;
  }

  #dropChunk(chunk: Chunk): void {
    this.#leaveRoom(chunk);
    this.#memoryBytes -= this.#words[chunk.number]!.byteLength;
    this.#words[chunk.number] = NO_WORDS;
    this.#bytes[chunk.number] = NO_BYTES;
    this.#chunks[chunk.number] = null;
    this.#freeChunkNumbers.push(chunk.number);
  }

  #enterRoom(chunk: Chunk): void {
    const head = this.#room[chunk.sizeClass]!;
    chunk.nextWithRoom = head;
    chunk.previousWithRoom = null;
    if (head !== null) head.previousWithRoom = chunk;
    this.#room[chunk.sizeClass] = chunk;
  }

  #leaveRoom(chunk: Chunk): void {
    if (chunk.previousWithRoom === null) this.#room[chunk.sizeClass] = chunk.nextWithRoom;
    else chunk.previousWithRoom.nextWithRoom = chunk.nextWithRoom;
    if (chunk.nextWithRoom !== null) chunk.nextWithRoom.previousWithRoom = chunk.previousWithRoom;
    chunk.nextWithRoom = null;
    chunk.previousWithRoom = null;
  }
}

/**
 * The next six bytes of a key as one number that sorts as the bytes do; past the key's end they count as zero. Six,
 * because 48 bits are exact in a double, so that a binary search compares one number a step. Two keys whose heads are
 * equal need a look at the bytes: zero padding makes "a" and "a\0" alike.
 */
export function headOf(buffer: Uint8Array, at: number, end: number): number {
  if (at + 6 <= end) {
    const high = (buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!;
    return (high >>> 0) * 0x1_0000 + ((buffer[at + 4]! << 8) | buffer[at + 5]!);
  }
  let head = 0;
  for (let i = at; i < at + 6; i++) head = head * 256 + (i < end ? buffer[i]! : 0);
  return head;
}

/** A chunk's allocation state; only allocate and free look at it. */
class Chunk {
  readonly number: number;
  readonly sizeClass: number;
  readonly blockUnits: number;
  readonly blockCount: number;
  usedCount = 0;
  /** Blocks below this have been used at least once. */
  freshCount = 0;
  firstFree: number = NONE;
  nextWithRoom: Chunk | null = null;
  previousWithRoom: Chunk | null = null;

  constructor(number: number, sizeClass: number, blockUnits: number, blockCount: number) {
    this.number = number;
    this.sizeClass = sizeClass;
    this.blockUnits = blockUnits;
    this.blockCount = blockCount;
  }
}

/**
 * Classes 1–64 are the multiples of 8 up to 512 bytes; above, each doubling has eight classes, so at most an eighth of
 * a block is padding. Class 0 is "a chunk of its own".
 */
function sizeClassOf(needBytes: number): number {
  if (needBytes <= 512) return (needBytes + 7) >>> 3;
  if (needBytes > CLASS_BYTES_MAX) return 0;
  const exponent = 31 - Math.clz32(needBytes - 1);
  const step = 1 << (exponent - 3);
  return 64 + (exponent - 9) * 8 + Math.ceil((needBytes - (1 << exponent)) / step);
}

function classBytes(sizeClass: number): number {
  if (sizeClass <= 64) return sizeClass * 8;
  const exponent = 9 + ((sizeClass - 65) >>> 3);
  return (1 << exponent) + (((sizeClass - 65) & 7) + 1) * (1 << (exponent - 3));
}

function copyBytes(from: Uint8Array, start: number, end: number, into: Uint8Array, at: number): void {
  if (end - start >= NATIVE_BYTES_MIN) into.set(from.subarray(start, end), at);
  else for (let i = start; i < end; i++, at++) into[at] = from[i]!;
}
