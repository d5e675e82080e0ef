/**
 * The chains of keys that change all the time, as sorted arrays. A chain is linked from newest to oldest, so looking far
 * back costs a step per revision since; whoever does that again and again, such as a watcher that asks for previous
 * values of a counter from its beginning, would hold up the turn for seconds. KeyIndex comes here when a walk gets long.
 *
 *   slot 7 ─▶ nodes, oldest to newest: [ 4, 9, 12, 13, … ]      made at the first long walk, extended at later ones
 *
 * Invariants: an array holds the whole chain as it was when last asked, because chains only grow at their newest end,
 * but for compaction, which calls `forget` before it takes a node away.
 */

import { NONE } from "./limits.ts";
import { NodeList } from "./node-list.ts";
import type { RevisionNodes } from "./revision-nodes.ts";

/** Nodes in arrays, 4 bytes each, before others are given up for a new one. A single chain may be longer. */
const NODES_MAX = 1024 * 1024;

export class LongChains {
  readonly #nodes: RevisionNodes;
  readonly #chains: Map<number, NodeList> = new Map();
  #nodeCount = 0;

  constructor(nodes: RevisionNodes) {
    this.#nodes = nodes;
  }

  get memoryBytes(): number {
    let total = 0;
    for (const chain of this.#chains.values()) total += chain.nodes.byteLength;
    return total;
  }

  /** The newest node with main <= revision of the slot's chain, which begins with `newest`; NONE if there is none. */
  newestAtOrBefore(slot: number, newest: number, revision: number): number {
    const chain = this.#chainOf(slot, newest);
    const nodes = this.#nodes;
    let low = 0;
    let high = chain.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (nodes.main(chain.nodes[middle]!) <= revision) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? NONE : chain.nodes[low - 1]!;
  }

  /** The slot's chain is about to lose nodes. */
  forget(slot: number): void {
    const chain = this.#chains.get(slot);
    if (chain === undefined) return;
    this.#nodeCount -= chain.length;
    this.#chains.delete(slot);
  }

  #chainOf(slot: number, newest: number): NodeList {
    const nodes = this.#nodes;
    let chain = this.#chains.get(slot);
    const last = chain === undefined ? NONE : chain.nodes[chain.length - 1]!;
    let added = 0;
    for (let node = newest; node !== last; node = nodes.older(node)) added++;
    if (chain === undefined) {
      if (this.#nodeCount + added > NODES_MAX) {
        this.#chains.clear();
        this.#nodeCount = 0;
      }
      chain = new NodeList(added);
      this.#chains.set(slot, chain);
    }
    const before = chain.length;
    for (let i = 0; i < added; i++) chain.push(NONE);
    let at = before + added;
    for (let node = newest; at > before; node = nodes.older(node)) chain.nodes[--at] = node;
    this.#nodeCount += added;
    return chain;
  }
}
