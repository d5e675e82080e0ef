/**
 * One node per revision of a key, outside the JavaScript heap. KeyIndex chains a key's nodes from newest to oldest.
 *
 *   node, ten 32-bit words
 *     0  main revision, low 32 bits
 *     1  main revision, high 21 bits | version, high 11 bits above them
 *     2  create revision, low 32 bits
 *     3  create revision, high 21 bits | flags above them
 *     4  version, low 32 bits
 *     5  position, low 32 bits            position: where the record is held in memory, −1 = only on disk
 *     6  position, high 32 bits
 *     7  sub revision
 *     8  the older node of the same key, or NONE; in a free node, the next free one
 *     9  size of the record in bytes
 *
 * Every node states its own create revision and version (both 0 in a tombstone). That costs 16 bytes a revision beyond
 * the first, and makes the answer for an old revision one read, whatever compaction has removed around it.
 */
import { assert } from "@quorate/world";
import { KeyIndexLimitError, NONE, REVISION_MAX, VERSION_MAX } from "./limits.ts";

const NODE_WORDS = 10;
const NODE_SHIFT = 11;
const NODES_PER_CHUNK = 1 << NODE_SHIFT;
const NODE_MASK = NODES_PER_CHUNK - 1;

const HIGH_BITS = 21;
const HIGH_MASK = (1 << HIGH_BITS) - 1;
const TWO_32 = 2 ** 32;

export const TOMBSTONE = 1;
export const HAS_LEASE = 2;
const FREE = 4;

/** What a checkpoint keeps of a node: all but its position and its place in memory. */
export const SAVED_NODE_BYTES = 28;

export class RevisionNodes {
  readonly #chunks: Uint32Array[] = [];
  #firstFree: number = NONE;
  #freshCount = 0;
  #count = 0;

  /** Nodes in use. */
  get count(): number {
    return this.#count;
  }

  get memoryBytes(): number {
    return this.#chunks.length * NODES_PER_CHUNK * NODE_WORDS * 4;
  }

  /** Throws KeyIndexLimitError. */
  allocate(
    older: number,
    main: number,
    sub: number,
    createRevision: number,
    version: number,
    position: number,
    sizeBytes: number,
    flags: number,
  ): number {
    assert(main <= REVISION_MAX, "a revision is an exact number");
    assert(version <= VERSION_MAX, "a version fits 43 bits");
    assert(sub <= NONE && sizeBytes <= NONE, "a sub revision and a record's size fit 32 bits");
    const node = this.#take();
    const words = this.#chunks[node >>> NODE_SHIFT]!;
    const at = (node & NODE_MASK) * NODE_WORDS;
    words[at] = main;
    words[at + 1] = high(main) | (high(version) << HIGH_BITS);
    words[at + 2] = createRevision;
    words[at + 3] = high(createRevision) | (flags << HIGH_BITS);
    words[at + 4] = version;
    words[at + 5] = position;
    words[at + 6] = position < 0 ? NONE : high(position);
    words[at + 7] = sub;
    words[at + 8] = older;
    words[at + 9] = sizeBytes;
    return node;
  }

  free(node: number): void {
    const words = this.#chunks[node >>> NODE_SHIFT]!;
    const at = (node & NODE_MASK) * NODE_WORDS;
    assert((words[at + 3]! & (FREE << HIGH_BITS)) === 0, "a freed node was in use");
    words[at + 3] = FREE << HIGH_BITS;
    words[at + 8] = this.#firstFree;
    this.#firstFree = node;
    this.#count--;
  }

  main(node: number): number {
    const words = this.#chunks[node >>> NODE_SHIFT]!;
    const at = (node & NODE_MASK) * NODE_WORDS;
    return (words[at + 1]! & HIGH_MASK) * TWO_32 + words[at]!;
  }

  createRevision(node: number): number {
    const words = this.#chunks[node >>> NODE_SHIFT]!;
    const at = (node & NODE_MASK) * NODE_WORDS;
    return (words[at + 3]! & HIGH_MASK) * TWO_32 + words[at + 2]!;
  }

  version(node: number): number {
    const words = this.#chunks[node >>> NODE_SHIFT]!;
    const at = (node & NODE_MASK) * NODE_WORDS;
    return (words[at + 1]! >>> HIGH_BITS) * TWO_32 + words[at + 4]!;
  }

  position(node: number): number {
    const words = this.#chunks[node >>> NODE_SHIFT]!;
    const at = (node & NODE_MASK) * NODE_WORDS;
    const highWord = words[at + 6]!;
    return highWord === NONE ? -1 : highWord * TWO_32 + words[at + 5]!;
  }

  sub(node: number): number {
    return this.#chunks[node >>> NODE_SHIFT]![(node & NODE_MASK) * NODE_WORDS + 7]!;
  }

  older(node: number): number {
    return this.#chunks[node >>> NODE_SHIFT]![(node & NODE_MASK) * NODE_WORDS + 8]!;
  }

  setOlder(node: number, older: number): void {
    this.#chunks[node >>> NODE_SHIFT]![(node & NODE_MASK) * NODE_WORDS + 8] = older;
  }

  sizeBytes(node: number): number {
    return this.#chunks[node >>> NODE_SHIFT]![(node & NODE_MASK) * NODE_WORDS + 9]!;
  }

  isTombstone(node: number): boolean {
    return (this.#flags(node) & TOMBSTONE) !== 0;
  }

  hasLease(node: number): boolean {
    return (this.#flags(node) & HAS_LEASE) !== 0;
  }

  /** Writes SAVED_NODE_BYTES at into[at …], little-endian: words 0–4, 7 and 9. */
  save(node: number, into: Buffer, at: number): void {
    const words = this.#chunks[node >>> NODE_SHIFT]!;
    const from = (node & NODE_MASK) * NODE_WORDS;
    for (let i = 0; i < 5; i++) into.writeUInt32LE(words[from + i]!, at + i * 4);
    into.writeUInt32LE(words[from + 7]!, at + 20);
    into.writeUInt32LE(words[from + 9]!, at + 24);
  }

  /** The inverse of save; the new node's position is −1. Returns NONE if the flags are none that save writes. */
  load(from: Buffer, at: number, older: number): number {
    const flags = from.readUInt32LE(at + 12) >>> HIGH_BITS;
    if (flags > HAS_LEASE) return NONE;
    const node = this.#take();
    const words = this.#chunks[node >>> NODE_SHIFT]!;
    const to = (node & NODE_MASK) * NODE_WORDS;
    for (let i = 0; i < 5; i++) words[to + i] = from.readUInt32LE(at + i * 4);
    words[to + 5] = NONE;
    words[to + 6] = NONE;
    words[to + 7] = from.readUInt32LE(at + 20);
    words[to + 8] = older;
    words[to + 9] = from.readUInt32LE(at + 24);
    return node;
  }

  #flags(node: number): number {
    return this.#chunks[node >>> NODE_SHIFT]![(node & NODE_MASK) * NODE_WORDS + 3]! >>> HIGH_BITS;
  }

  #take(): number {
    let node = this.#firstFree;
    if (node !== NONE) {
      this.#firstFree = this.older(node);
    } else {
      node = this.#freshCount;
      if (node === NONE) throw new KeyIndexLimitError(`put: key index holds ${node} revisions, its limit`);
      if ((node & NODE_MASK) === 0) this.#chunks.push(new Uint32Array(NODES_PER_CHUNK * NODE_WORDS));
      this.#freshCount++;
    }
    this.#count++;
    return node;
  }
}

/** The flags of a put. */
export function leaseFlag(hasLease: boolean): number {
  return hasLease ? HAS_LEASE : 0;
}

/** The bits of a non-negative exact number above the low 32. */
function high(value: number): number {
  return Math.floor(value / TWO_32);
}
