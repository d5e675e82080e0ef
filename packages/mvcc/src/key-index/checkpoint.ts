/**
 * The key index on disk: what lets a member start by reading one file instead of every revision. KeyIndex.save,
 * startSave and load are the callers; where the bytes go is the store's business.
 *
 *   checkpoint | "qkindex1" | block … | footer |                                        integers little-endian
 *   block      | length: u32, at least 1 | crc: u32 | payload: length bytes |
 *   footer     | 0: u32 | crc: u32 | keys: f64 | revisions: f64 |
 *   payload    units, none of them across two blocks; for every key in ascending order
 *                key   | key length: u32 | revision count: u32, at least 1 | key bytes |
 *                node  | as RevisionNodes.save |, newest first, revision count times
 *
 * A crc is CRC-32 of the length field and the payload (in the footer: of the zero and the counts), begun with the crc
 * before it and the first with that of the magic, so that no block can be altered, left out, repeated or moved unnoticed.
 * What passes the checksums but breaks the index's own invariants is refused too.
 */
import { crc32 } from "node:zlib";
import type { KeySlab } from "./key-slab.ts";
import type { KeyTree } from "./key-tree.ts";
import { KEY_BYTES_MAX, NONE } from "./limits.ts";
import { type RevisionNodes, SAVED_NODE_BYTES } from "./revision-nodes.ts";

const MAGIC = Buffer.from("qkindex1", "latin1");
const BLOCK_BYTES = 256 * 1024;
const BLOCK_HEADER_BYTES = 8;
const KEY_HEADER_BYTES = 8;
const FOOTER_COUNTS_BYTES = 16;
const BLOCK_BYTES_MAX = KEY_HEADER_BYTES + KEY_BYTES_MAX;

/** The bytes given to KeyIndex.load are not what save wrote: cut short, altered, or something else altogether. */
export class KeyIndexCheckpointError extends Error {
  readonly kind = "KeyIndexCheckpoint";
  constructor(reason: string, offset: number) {
    super(`load key index checkpoint: ${reason} at offset ${offset}`);
    this.name = "KeyIndexCheckpointError";
  }
}

/** A checkpoint being written, slice by slice. Between slices revisions may be added, newer than the one saved. */
export class CheckpointSave {
  readonly #slab: KeySlab;
  readonly #tree: KeyTree;
  readonly #nodes: RevisionNodes;
  readonly #revision: number;
  readonly #write: (chunk: Uint8Array) => void;

  #block: Buffer = Buffer.allocUnsafe(BLOCK_HEADER_BYTES + BLOCK_BYTES);
  #blockEnd = BLOCK_HEADER_BYTES;
  #crc = 0;
  #keyCount = 0;
  #revisionCount = 0;
  /** The last key looked at; empty before the first. Its successor is sought anew in each slice: pages change. */
  #lastKey: Buffer = Buffer.allocUnsafe(256);
  #lastKeyLength = 0;
  #isDone = false;

  constructor(
    slab: KeySlab,
    tree: KeyTree,
    nodes: RevisionNodes,
    revision: number,
    write: (chunk: Uint8Array) => void,
  ) {
    this.#slab = slab;
    this.#tree = tree;
    this.#nodes = nodes;
    this.#revision = revision;
    this.#write = write;
  }

  /** Saves about `budget` (at least 1) keys and revisions more. True when the checkpoint is complete. */
  slice(budget: number): boolean {
    if (this.#isDone) return true;
    const tree = this.#tree;
    if (this.#lastKeyLength === 0) {
      this.#crc = crc32(MAGIC);
      this.#write(MAGIC);
    }
    let left = budget;
    let leaf = tree.seek(this.#lastKey, 0, this.#lastKeyLength) ? tree.seekPage : NONE;
    let index = tree.seekIndex;
    for (; leaf !== NONE; leaf = tree.nextLeaf(leaf)) {
      for (const count = tree.countOf(leaf); index < count; index++) {
        const slot = tree.slotAt(leaf, index);
        const isLast = this.#slab.compare(slot, this.#lastKey, 0, this.#lastKeyLength, 0) === 0;
        if (isLast) continue;
        left -= 1 + this.#saveKey(slot);
        if (left <= 0) {
          this.#remember(slot);
          return false;
        }
      }
      index = 0;
    }
    this.#flush();
    this.#finish();
    this.#isDone = true;
    return true;
  }

  #remember(slot: number): void {
    const length = this.#slab.length(slot);
    if (length > this.#lastKey.length) this.#lastKey = Buffer.allocUnsafe(length * 2);
    this.#lastKeyLength = this.#slab.copyKey(slot, this.#lastKey, 0);
  }

  /** Returns the number of revisions saved; a key all of whose revisions are too new is left out. */
  #saveKey(slot: number): number {
    const nodes = this.#nodes;
    let first = this.#slab.newest(slot);
    while (first !== NONE && nodes.main(first) > this.#revision) first = nodes.older(first);
    let count = 0;
    for (let node = first; node !== NONE; node = nodes.older(node)) count++;
    if (count === 0) return 0;

    const length = this.#slab.length(slot);
    const at = this.#reserve(KEY_HEADER_BYTES + length);
    this.#block.writeUInt32LE(length, at);
    this.#block.writeUInt32LE(count, at + 4);
    this.#slab.copyKey(slot, this.#block, at + KEY_HEADER_BYTES);
    for (let node = first; node !== NONE; node = nodes.older(node)) {
      const nodeAt = this.#reserve(SAVED_NODE_BYTES);
      nodes.save(node, this.#block, nodeAt);
    }
    this.#keyCount++;
    this.#revisionCount += count;
    return count;
  }

  /** Room for one unit in the block, which is written out before if full; returns where. */
  #reserve(sizeBytes: number): number {
    if (this.#blockEnd + sizeBytes > this.#block.length) {
      this.#flush();
      if (BLOCK_HEADER_BYTES + sizeBytes > this.#block.length) {
        this.#block = Buffer.allocUnsafe(BLOCK_HEADER_BYTES + sizeBytes);
      }
    }
    const at = this.#blockEnd;
    this.#blockEnd += sizeBytes;
    return at;
  }

  #flush(): void {
    const length = this.#blockEnd - BLOCK_HEADER_BYTES;
    if (length === 0) return;
    this.#writeBlock(this.#block.subarray(0, this.#blockEnd), length);
    this.#blockEnd = BLOCK_HEADER_BYTES;
  }

  #finish(): void {
    const footer = Buffer.allocUnsafe(BLOCK_HEADER_BYTES + FOOTER_COUNTS_BYTES);
    footer.writeDoubleLE(this.#keyCount, BLOCK_HEADER_BYTES);
    footer.writeDoubleLE(this.#revisionCount, BLOCK_HEADER_BYTES + 8);
    this.#writeBlock(footer, 0);
  }

  #writeBlock(block: Buffer, length: number): void {
    block.writeUInt32LE(length, 0);
    this.#crc = crc32(block.subarray(BLOCK_HEADER_BYTES), crc32(block.subarray(0, 4), this.#crc));
    block.writeUInt32LE(this.#crc, 4);
    this.#write(block);
  }
}

/** Reads a checkpoint into an empty slab, tree and nodes, which are worthless if `run` throws. */
export class CheckpointReader {
  readonly #slab: KeySlab;
  readonly #tree: KeyTree;
  readonly #nodes: RevisionNodes;
  readonly #read: (length: number) => Uint8Array;

  #block: Buffer = Buffer.alloc(0);
  #at = 0;
  #crc = 0;
  /** Bytes read so far, for the message of a refusal. */
  #offset = 0;
  #footer: Buffer | null = null;
  keyCount = 0;
  liveKeyCount = 0;

  constructor(slab: KeySlab, tree: KeyTree, nodes: RevisionNodes, read: (length: number) => Uint8Array) {
    this.#slab = slab;
    this.#tree = tree;
    this.#nodes = nodes;
    this.#read = read;
  }

  /** Throws KeyIndexCheckpointError. */
  run(): void {
    const magic = this.#take(MAGIC.length);
    if (!MAGIC.equals(magic)) this.#refuse("not a key index checkpoint");
    this.#crc = crc32(MAGIC);
    let previous = NONE;
    while (this.#nextUnit()) {
      const slot = this.#loadKey();
      if (previous !== NONE && this.#compare(previous, slot) >= 0) this.#refuse("keys do not ascend");
      previous = slot;
    }
    const footer = this.#footer!;
    if (footer.readDoubleLE(0) !== this.keyCount || footer.readDoubleLE(8) !== this.#nodes.count) {
      this.#refuse("the counts differ from what was read");
    }
  }

  #loadKey(): number {
    const length = this.#keyLength();
    const count = this.#block.readUInt32LE(this.#at + 4);
    const start = this.#at + KEY_HEADER_BYTES;
    const slot = this.#slab.allocate(this.#block, start, start + length, 0);
    this.#at = start + length;
    const newest = this.#loadNodes(count);
    this.#slab.setNewest(slot, newest);
    this.#tree.append(slot);
    this.keyCount++;
    if (!this.#nodes.isTombstone(newest)) this.liveKeyCount++;
    return slot;
  }

  #keyLength(): number {
    const room = this.#block.length - this.#at - KEY_HEADER_BYTES;
    if (room < 0) this.#refuse("a key is cut short");
    const length = this.#block.readUInt32LE(this.#at);
    if (length === 0 || length > room) this.#refuse("a key's length is impossible");
    return length;
  }

  /** Loads `count` nodes, newest first; returns the newest. */
  #loadNodes(count: number): number {
    const nodes = this.#nodes;
    let newest = NONE;
    let newer = NONE;
    for (let i = 0; i < count; i++) {
      if (!this.#nextUnit() || this.#block.length - this.#at < SAVED_NODE_BYTES)
        this.#refuse("a revision is cut short");
      const node = nodes.load(this.#block, this.#at, NONE);
      if (node === NONE) this.#refuse("a revision's flags are impossible");
      this.#at += SAVED_NODE_BYTES;
      if (newer === NONE) {
        newest = node;
      } else {
        const order = nodes.main(newer) - nodes.main(node) || nodes.sub(newer) - nodes.sub(node);
        if (order <= 0) this.#refuse("a key's revisions do not descend");
        nodes.setOlder(newer, node);
      }
      newer = node;
    }
    if (newest === NONE) this.#refuse("a key has no revision");
    return newest;
  }

  /** Makes #block[#at …] begin with a unit; false at the footer. */
  #nextUnit(): boolean {
    if (this.#at < this.#block.length) return true;
    if (this.#footer !== null) return false;
    const header = this.#take(BLOCK_HEADER_BYTES);
    const length = header.readUInt32LE(0);
    const expected = header.readUInt32LE(4);
    const crc = crc32(header.subarray(0, 4), this.#crc);
    if (length > BLOCK_BYTES_MAX) this.#refuse("a block's length is impossible");
    const payload = this.#take(length === 0 ? FOOTER_COUNTS_BYTES : length);
    this.#crc = crc32(payload, crc);
    if (this.#crc !== expected) this.#refuse("checksum mismatch");
    if (length === 0) {
      this.#footer = payload;
      return false;
    }
    this.#block = payload;
    this.#at = 0;
    return true;
  }

  #take(length: number): Buffer {
    const bytes = this.#read(length);
    if (bytes.length !== length) this.#refuse(`${length} bytes expected, ${bytes.length} there`);
    this.#offset += length;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #compare(slot: number, other: number): number {
    const start = this.#slab.startOf(other);
    return this.#slab.compare(slot, this.#slab.bytesOf(other), start, start + this.#slab.length(other), 0);
  }

  #refuse(reason: string): never {
    throw new KeyIndexCheckpointError(reason, this.#offset);
  }
}
