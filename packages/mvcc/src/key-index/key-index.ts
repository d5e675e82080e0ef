/**
 * Which keys there are and at which revisions: etcd's tree index, in packed memory outside the JavaScript heap. The
 * store asks it for every read and tells it of every write; the records themselves are the backend's.
 *
 *   KeyTree  key order → slot          KeySlab  slot → key bytes, newest node          RevisionNodes  node → revision
 *
 *   "a" ─▶ slot 7 ─▶ node (9,0) tombstone ─▶ node (4,1) version 2 ─▶ node (3,0) version 1, created 3
 *          newest ───────────────────────────────────────────────▶ oldest not compacted
 *
 * A *slot* names a key for as long as the key is in the index, a *node* one revision of a key for as long as it is not
 * compacted; both are numbers below 2^32 that are reused afterwards. Etcd's generations need no structure here: a
 * generation begins with a put behind a tombstone or behind nothing, and every put node states its own version and
 * create revision.
 *
 * Invariants
 *   - every key has at least one node; a key leaves the index only in compaction;
 *   - along a key's chain (main, sub) falls strictly;
 *   - a tombstone follows a put; only a chain's oldest node may be a tombstone with nothing before it (see
 *     restoreTombstone and compactSlice).
 *
 * All methods are synchronous; buffers passed in are borrowed until return and keys are copied. Nodes and slots passed
 * in must be in the index.
 */
import { assert } from "@quorate/world";
import { CheckpointReader, CheckpointSave } from "./checkpoint.ts";
import { KeptAt, oldestKept } from "./kept-at.ts";
import { KeySlab } from "./key-slab.ts";
import { KeyTree } from "./key-tree.ts";
import { NONE } from "./limits.ts";
import { LongChains } from "./long-chains.ts";
import type { NodeList } from "./node-list.ts";
import { leaseFlag, RevisionNodes, TOMBSTONE } from "./revision-nodes.ts";

/** Is shown keys in order; false ends the walk. Must not modify the index. */
export interface SlotVisitor {
  visit(slot: number): boolean;
}

/**
 * A cursor of compactSlice is chunk · CURSOR_STRIDE + block + 1, where to go on; a chunk has fewer blocks than the stride.
 * The 1 tells going on at the very first block, perhaps in the middle of a chain, from starting.
 */
const CURSOR_STRIDE = 8192;

/** Steps back along a chain before looking further is left to LongChains. */
const WALK_MAX = 64;

export class KeyIndex {
  readonly #slab: KeySlab;
  readonly #tree: KeyTree;
  readonly #nodes: RevisionNodes;
  readonly #longChains: LongChains;
  #keyCount = 0;
  #liveKeyCount = 0;

  /** A slice of compaction that ran out of budget inside a long chain goes on from this node; NONE: from the newest. */
  #compactionNode: number = NONE;

  constructor() {
    this.#slab = new KeySlab();
    this.#tree = new KeyTree(this.#slab);
    this.#nodes = new RevisionNodes();
    this.#longChains = new LongChains(this.#nodes);
  }

  /** Keys known, including those whose newest revision is a tombstone. */
  get keyCount(): number {
    return this.#keyCount;
  }

  /** Keys whose newest revision is a put. */
  get liveKeyCount(): number {
    return this.#liveKeyCount;
  }

  /** Revisions known. */
  get revisionCount(): number {
    return this.#nodes.count;
  }

  /** Bytes of memory held outside the JavaScript heap, free blocks included. */
  memoryBytes(): number {
    return this.#slab.memoryBytes + this.#tree.memoryBytes + this.#nodes.memoryBytes + this.#longChains.memoryBytes;
  }

  // Writing.

  /**
   * Adds the newest revision of a key, and the key if it is new. Version and create revision continue if the newest
   * revision is a put, else the key begins anew: version 1, created at `main`. (main, sub) is greater than any before.
   * Throws KeyIndexLimitError for a key longer than KEY_BYTES_MAX.
   */
  put(
    buffer: Uint8Array,
    start: number,
    end: number,
    main: number,
    sub: number,
    position: number,
    sizeBytes: number,
    hasLease: boolean,
  ): number {
    const nodes = this.#nodes;
    const slot = this.#tree.find(buffer, start, end);
    if (slot === NONE)
      return this.#add(buffer, start, end, main, sub, main, 1, position, sizeBytes, leaseFlag(hasLease));
    const newest = this.#slab.newest(slot);
    if (nodes.isTombstone(newest)) {
      this.#push(slot, main, sub, main, 1, position, sizeBytes, leaseFlag(hasLease));
      this.#liveKeyCount++;
    } else {
      const version = nodes.version(newest) + 1;
      this.#push(slot, main, sub, nodes.createRevision(newest), version, position, sizeBytes, leaseFlag(hasLease));
    }
    return slot;
  }

  /** Adds a tombstone as the newest revision of a live key. */
  tombstone(slot: number, main: number, sub: number, position: number, sizeBytes: number): void {
    assert(this.isLive(slot), "only a live key is deleted");
    this.#push(slot, main, sub, 0, 0, position, sizeBytes, TOMBSTONE);
    this.#liveKeyCount--;
  }

  /** put for a record read back, which states its own create revision and version. Records come in ascending order. */
  restorePut(
    buffer: Uint8Array,
    start: number,
    end: number,
    main: number,
    sub: number,
    createRevision: number,
    version: number,
    position: number,
    sizeBytes: number,
    hasLease: boolean,
  ): number {
    const flags = leaseFlag(hasLease);
    const slot = this.#tree.find(buffer, start, end);
    if (slot === NONE) {
      return this.#add(buffer, start, end, main, sub, createRevision, version, position, sizeBytes, flags);
    }
    if (!this.isLive(slot)) this.#liveKeyCount++;
    this.#push(slot, main, sub, createRevision, version, position, sizeBytes, flags);
    return slot;
  }

  /**
   * tombstone for a record read back. The key may be new: after a compaction at the very revision of a delete, the
   * tombstone is all that is left of the key, and a watch from that revision must still see it.
   */
  restoreTombstone(
    buffer: Uint8Array,
    start: number,
    end: number,
    main: number,
    sub: number,
    position: number,
    sizeBytes: number,
  ): number {
    const slot = this.#tree.find(buffer, start, end);
    if (slot === NONE) return this.#add(buffer, start, end, main, sub, 0, 0, position, sizeBytes, TOMBSTONE);
    if (this.isLive(slot)) this.#liveKeyCount--;
    this.#push(slot, main, sub, 0, 0, position, sizeBytes, TOMBSTONE);
    return slot;
  }

  #add(
    buffer: Uint8Array,
    start: number,
    end: number,
    main: number,
    sub: number,
    createRevision: number,
    version: number,
    position: number,
    sizeBytes: number,
    flags: number,
  ): number {
    // The node comes second: a key too long is refused by the slab, with nothing changed.
    const slot = this.#slab.allocate(buffer, start, end, 0);
    this.#slab.setNewest(
      slot,
      this.#nodes.allocate(NONE, main, sub, createRevision, version, position, sizeBytes, flags),
    );
    this.#tree.insertHere(slot);
    this.#keyCount++;
    if ((flags & TOMBSTONE) === 0) this.#liveKeyCount++;
    return slot;
  }

  #push(
    slot: number,
    main: number,
    sub: number,
    createRevision: number,
    version: number,
    position: number,
    sizeBytes: number,
    flags: number,
  ): void {
    const nodes = this.#nodes;
    const newest = this.#slab.newest(slot);
    const newestMain = nodes.main(newest);
    assert(main > newestMain || (main === newestMain && sub > nodes.sub(newest)), "a key's revisions ascend");
    this.#slab.setNewest(slot, nodes.allocate(newest, main, sub, createRevision, version, position, sizeBytes, flags));
  }

  // Reading one key.

  /** The key's slot, or NONE. A key whose newest revision is a tombstone is found too. */
  find(buffer: Uint8Array, start: number, end: number): number {
    return this.#tree.find(buffer, start, end);
  }

  isLive(slot: number): boolean {
    return !this.#nodes.isTombstone(this.#slab.newest(slot));
  }

  /** Of the newest revision; 0 for a tombstone. */
  createRevision(slot: number): number {
    return this.#nodes.createRevision(this.#slab.newest(slot));
  }

  /** Of the newest revision; 0 for a tombstone. */
  version(slot: number): number {
    return this.#nodes.version(this.#slab.newest(slot));
  }

  /** Of the newest revision; false for a tombstone. */
  hasLease(slot: number): boolean {
    return this.#nodes.hasLease(this.#slab.newest(slot));
  }

  /** The newest node, a put's or a tombstone's. */
  newest(slot: number): number {
    return this.#slab.newest(slot);
  }

  /**
   * The node visible at `revision`: the newest with main <= revision, or NONE if there is none or it is a tombstone.
   * It is also the one node of the key that HashKV at `revision` counts as retained by a compaction there.
   */
  nodeAt(slot: number, revision: number): number {
    const node = this.newestAtOrBefore(slot, revision);
    return node === NONE || this.#nodes.isTombstone(node) ? NONE : node;
  }

  /** The newest node with main <= revision, a put's or a tombstone's, or NONE. */
  newestAtOrBefore(slot: number, revision: number): number {
    const nodes = this.#nodes;
    const newest = this.#slab.newest(slot);
    let node = newest;
    for (let steps = 0; node !== NONE && nodes.main(node) > revision; steps++) {
      if (steps === WALK_MAX) return this.#longChains.newestAtOrBefore(slot, newest, revision);
      node = nodes.older(node);
    }
    return node;
  }

  main(node: number): number {
    return this.#nodes.main(node);
  }

  sub(node: number): number {
    return this.#nodes.sub(node);
  }

  isTombstone(node: number): boolean {
    return this.#nodes.isTombstone(node);
  }

  sizeBytes(node: number): number {
    return this.#nodes.sizeBytes(node);
  }

  position(node: number): number {
    return this.#nodes.position(node);
  }

  /** The previous revision of the same key, or NONE if there is none or it has been compacted. */
  older(node: number): number {
    return this.#nodes.older(node);
  }

  /** Of one of the slot's nodes; 0 for a tombstone. */
  versionAt(_slot: number, node: number): number {
    return this.#nodes.version(node);
  }

  /** Of one of the slot's nodes; 0 for a tombstone. */
  createRevisionAt(_slot: number, node: number): number {
    return this.#nodes.createRevision(node);
  }

  /** Of one node; false for a tombstone. */
  hasLeaseAt(node: number): boolean {
    return this.#nodes.hasLease(node);
  }

  keyLength(slot: number): number {
    return this.#slab.length(slot);
  }

  /** Copies the key into into[at, at + keyLength); returns its length. */
  copyKey(slot: number, into: Uint8Array, at: number): number {
    return this.#slab.copyKey(slot, into, at);
  }

  /** Negative, zero or positive as the slot's key sorts before, equals or sorts after buffer[start, end). */
  compareKey(slot: number, buffer: Uint8Array, start: number, end: number): number {
    return this.#slab.compare(slot, buffer, start, end, 0);
  }

  // Reading ranges.

  /** Shows every key >= start and < end (null: no bound) in ascending order until the visitor returns false. */
  walk(start: Uint8Array, end: Uint8Array | null, visitor: SlotVisitor): void {
    const tree = this.#tree;
    if (end !== null && Buffer.compare(start, end) >= 0) return;
    let lastLeaf = NONE;
    let lastEnd = 0;
    if (end !== null) {
      if (!tree.seek(end, 0, end.length)) return;
      lastLeaf = tree.seekPage;
      lastEnd = tree.seekIndex;
    }
    if (!tree.seek(start, 0, start.length)) return;
    let index = tree.seekIndex;
    for (let leaf = tree.seekPage; leaf !== NONE; leaf = tree.nextLeaf(leaf)) {
      const stop = leaf === lastLeaf ? lastEnd : tree.countOf(leaf);
      for (; index < stop; index++) if (!visitor.visit(tree.slotAt(leaf, index))) return;
      if (leaf === lastLeaf) return;
      index = 0;
    }
  }

  /** How many keys of the range are visible at `revision`. */
  countAt(start: Uint8Array, end: Uint8Array | null, revision: number): number {
    const counter = new VisibleCounter(this, revision);
    this.walk(start, end, counter);
    return counter.count;
  }

  /**
   * Empties `into` and fills it with the nodes visible at `revision` in key order, at most `limit` of them (0: no
   * limit). Returns the sum of their sizeBytes.
   */
  collect(start: Uint8Array, end: Uint8Array | null, revision: number, limit: number, into: NodeList): number {
    into.clear();
    const collector = new VisibleCollector(this, revision, limit === 0 ? Number.POSITIVE_INFINITY : limit, into);
    this.walk(start, end, collector);
    return collector.sizeBytes;
  }

  // Compaction.

  /** To be asked before the first slice of a compaction at this revision; worthless after it. */
  keptAt(revision: number): KeptAt {
    return new KeptAt(this.#slab, this.#nodes, revision);
  }

  /**
   * One slice of the compaction at `revision`, which forgets what it does not keep ({@link KeptAt}). The first slice's
   * cursor is 0, each next one's what the previous one returned, until that is −1. Handles about `budget` (at least 1) keys
   * and nodes. Keys may be written between slices, at newer revisions only. A slice at another revision than the one before
   * it starts at 0.
   */
  compactSlice(revision: number, cursor: number, budget: number): number {
    const slab = this.#slab;
    if (cursor === 0) this.#compactionNode = NONE;
    const resumeAt = Math.max(0, cursor - 1);
    let chunk = Math.floor(resumeAt / CURSOR_STRIDE);
    let block = resumeAt % CURSOR_STRIDE;
    let left = budget;
    while (chunk < slab.chunkCount) {
      // The count is asked for every time: the chunk is gone once its last key is.
      while (block < slab.blockCountOf(chunk)) {
        if (left <= 0) return chunk * CURSOR_STRIDE + block + 1;
        left--;
        const slot = slab.keyAt(chunk, block);
        if (slot !== NONE) {
          left = this.#compactKey(slot, revision, left);
          if (left < 0) return chunk * CURSOR_STRIDE + block + 1;
        }
        block++;
      }
      left--; // a chunk given back is a step too
      chunk++;
      block = 0;
    }
    return -1;
  }

  /** Returns what is left of the budget; below zero if the key needs another slice, in which #compactionNode resumes. */
  #compactKey(slot: number, revision: number, budget: number): number {
    const nodes = this.#nodes;
    let left = budget;
    let after = this.#compactionNode; // a node newer than the revision, or NONE: its older node is the one in question
    let node = after === NONE ? this.#slab.newest(slot) : nodes.older(after);
    this.#compactionNode = NONE;
    while (node !== NONE && nodes.main(node) > revision) {
      after = node;
      node = nodes.older(node);
      left--;
      if (left < 0) {
        this.#compactionNode = after;
        return left;
      }
    }
    if (node === NONE) return left;
    this.#longChains.forget(slot);

    const keep = oldestKept(nodes, node, revision);
    // A tombstone that goes too goes last, or a slice that ends here would bring the deleted put back to light.
    let doomed = nodes.older(keep);
    while (doomed !== NONE && left >= 0) {
      const older = nodes.older(doomed);
      nodes.free(doomed);
      doomed = older;
      left--;
    }
    nodes.setOlder(keep, doomed);
    if (doomed !== NONE) {
      this.#compactionNode = after;
      return left;
    }
    if (nodes.isTombstone(keep) && nodes.main(keep) < revision) {
      if (after === NONE) this.#removeKey(slot);
      else nodes.setOlder(after, NONE);
      nodes.free(keep);
    }
    return Math.max(0, left);
  }

  #removeKey(slot: number): void {
    this.#tree.remove(slot);
    this.#slab.free(slot);
    this.#keyCount--;
  }

  // Checkpoint.

  /** Writes the whole index as chunks, each borrowed until `write` returns. Positions are not kept. */
  save(write: (chunk: Uint8Array) => void): void {
    const saving = this.startSave(Number.POSITIVE_INFINITY, write);
    while (!saving.slice(Number.POSITIVE_INFINITY)) {
      // One slice without bound is all there is.
    }
  }

  /**
   * save in slices, so that a large index does not hold up the turn: what is written is the index as of `revision`
   * (at least every revision so far), whatever is put meanwhile. If slices of a compaction run meanwhile, some keys are
   * saved as before it and some as after it; compacting the loaded index at the same revision again makes them equal.
   */
  startSave(revision: number, write: (chunk: Uint8Array) => void): CheckpointSave {
    return new CheckpointSave(this.#slab, this.#tree, this.#nodes, revision, write);
  }

  /**
   * Reads exactly the bytes that save wrote, in pieces: `read` returns the next `length` bytes (fewer only at the end),
   * borrowed until the next read. Throws KeyIndexCheckpointError for anything else. All positions are −1.
   */
  static load(read: (length: number) => Uint8Array): KeyIndex {
    const index = new KeyIndex();
    const reader = new CheckpointReader(index.#slab, index.#tree, index.#nodes, read);
    reader.run();
    index.#keyCount = reader.keyCount;
    index.#liveKeyCount = reader.liveKeyCount;
    return index;
  }
}

/** Counts the keys it is shown that are visible at a revision. */
class VisibleCounter {
  readonly #index: KeyIndex;
  readonly #revision: number;
  count = 0;

  constructor(index: KeyIndex, revision: number) {
    this.#index = index;
    this.#revision = revision;
  }

  visit(slot: number): boolean {
    if (this.#index.nodeAt(slot, this.#revision) !== NONE) this.count++;
    return true;
  }
}

/** Collects the visible nodes of the keys it is shown, up to a limit. */
class VisibleCollector {
  readonly #index: KeyIndex;
  readonly #revision: number;
  readonly #limit: number;
  readonly #into: NodeList;
  sizeBytes = 0;

  constructor(index: KeyIndex, revision: number, limit: number, into: NodeList) {
    this.#index = index;
    this.#revision = revision;
    this.#limit = limit;
    this.#into = into;
  }

  visit(slot: number): boolean {
    const node = this.#index.nodeAt(slot, this.#revision);
    if (node === NONE) return true;
    this.#into.push(node);
    this.sizeBytes += this.#index.sizeBytes(node);
    return this.#into.length < this.#limit;
  }
}
