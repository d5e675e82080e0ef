/**
 * What a compaction keeps (semantics §3.6): of each key the newest change up to the compaction's revision and all after it,
 * except that
 *   - a tombstone older than the revision is not kept, and with it, if it was the newest, goes the key;
 *   - a tombstone *at* the revision is, so that a watch from there still sees the delete (with whatever the same transaction
 *     did to the key after it).
 */

import type { KeySlab } from "./key-slab.ts";
import { NONE } from "./limits.ts";
import type { RevisionNodes } from "./revision-nodes.ts";

/**
 * Answers for one revision and many changes of the same keys, in any order: where a key's chain reaches the revision is
 * looked for once, however much has been written since, and remembered in 4 bytes for each key. Keys may be written
 * meanwhile, at newer revisions only; nothing may be taken out of the index.
 */
export class KeptAt {
  readonly #slab: KeySlab;
  readonly #nodes: RevisionNodes;
  readonly #revision: number;
  /** By chunk and block of the slab: the newest node with main <= revision, plus 1; 0 if it has not been looked for. */
  readonly #found: (Uint32Array | undefined)[] = [];
  /** Nodes gone along so far, for who has only so much time. */
  walked = 0;

  constructor(slab: KeySlab, nodes: RevisionNodes, revision: number) {
    this.#slab = slab;
    this.#nodes = nodes;
    this.#revision = revision;
  }

  /** Whether the key's change (main, sub) is kept; main <= revision. */
  keeps(slot: number, main: number, sub: number): boolean {
    const nodes = this.#nodes;
    const newest = this.#newest(slot);
    if (newest === NONE || main !== nodes.main(newest)) return false;
    if (main < this.#revision) return sub === nodes.sub(newest) && !nodes.isTombstone(newest);
    return sub >= nodes.sub(oldestKept(nodes, newest, this.#revision));
  }

  #newest(slot: number): number {
    const slab = this.#slab;
    const chunk = slab.chunkOf(slot);
    const block = slab.blockOf(slot);
    let found = this.#found[chunk];
    if (found === undefined) {
      found = new Uint32Array(slab.capacityOf(chunk));
      this.#found[chunk] = found;
    }
    if (found[block] !== 0) return found[block]! - 1;
    const nodes = this.#nodes;
    let node = slab.newest(slot);
    while (node !== NONE && nodes.main(node) > this.#revision) {
      node = nodes.older(node);
      this.walked++;
    }
    if (node !== NONE) found[block] = node + 1;
    return node;
  }
}

/** Of a key's newest node with main <= revision: the oldest node that is kept with it, if it is kept. */
export function oldestKept(nodes: RevisionNodes, newest: number, revision: number): number {
  let keep = newest;
  if (nodes.main(newest) < revision) return keep;
  // A transaction may delete a key and put it again: the delete is the oldest thing at this revision to keep.
  for (let node = nodes.older(newest); node !== NONE && nodes.main(node) === revision; node = nodes.older(node)) {
    if (nodes.isTombstone(node)) keep = node;
  }
  return keep;
}
