/**
 * Which groups a changed key concerns: a map for single keys, a tree for ranges (speed §3, 14; known-failures MV-14).
 * Either costs nothing while it is empty.
 */

import { keyText } from "./key-bytes.ts";
import { RangeTree } from "./range-tree.ts";
import { WatchGroup } from "./watch-group.ts";

export class WatcherIndex {
  readonly #keys = new Map<string, WatchGroup>();
  readonly #ranges = new RangeTree<WatchGroup>();

  get groupCount(): number {
    return this.#keys.size + this.#ranges.size;
  }

  /** The group of exactly this key or range, made if there is none. Copies what it keeps. */
  groupOf(key: Uint8Array, rangeEnd: Uint8Array | "open" | null): WatchGroup {
    if (rangeEnd === null) {
      const text = keyText(key, 0, key.length);
      let group = this.#keys.get(text);
      if (group === undefined) {
        group = new WatchGroup(copyOf(key), null);
        this.#keys.set(text, group);
      }
      return group;
    }
    const end = rangeEnd === "open" ? null : copyOf(rangeEnd);
    let group = this.#ranges.get(key, end);
    if (group === undefined) {
      group = new WatchGroup(copyOf(key), rangeEnd === "open" ? "open" : end);
      this.#ranges.set(group.key, end, group);
    }
    return group;
  }

  /** Forgets a group that has no watchers any more. */
  remove(group: WatchGroup): void {
    const { key, rangeEnd } = group;
    if (rangeEnd === null) this.#keys.delete(keyText(key, 0, key.length));
    else this.#ranges.remove(key, rangeEnd === "open" ? null : rangeEnd);
  }

  /** Appends the groups that contain the key, each once. */
  find(buffer: Uint8Array, keyStart: number, keyEnd: number, into: WatchGroup[]): void {
    if (this.#keys.size > 0) {
      const group = this.#keys.get(keyText(buffer, keyStart, keyEnd));
      if (group !== undefined) into.push(group);
    }
    if (this.#ranges.size > 0) this.#ranges.stab(buffer, keyStart, keyEnd, into);
  }
}

function copyOf(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes);
}
