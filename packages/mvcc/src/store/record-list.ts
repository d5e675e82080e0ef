/**
 * Records that answer a request, named but not copied: the nodes of the index, in answer order. Whoever encodes the
 * answer learns every size first and then copies record by record, so that a range of a hundred thousand keys is
 * written in pieces, and its bytes are never assembled.
 *
 * A list stays good until the next compaction step that goes beyond the revision it was read at. An answer encoded in
 * the same turn needs nothing; one that takes longer pins the revision (`Store.pin`).
 *
 * Three forms, because keys_only answers are not stored anywhere:
 *
 *     whole records        nodes                    copied as they are
 *     keys only            nodes, slots             {key, create, mod, version} written from the index
 *     keys only, by value  nodes, slots, leases     the same with the lease (semantics §3.2, rule 8)
 */

import { varintSize } from "@quorate/api/wire";
import type { NodeList } from "../key-index/node-list.ts";
import { recordSize, writeRecord } from "./key-value.ts";
import type { StoreState } from "./state.ts";

const NO_VALUE = new Uint8Array(0);

export class RecordList {
  readonly #state: StoreState;
  readonly #nodes: NodeList;
  readonly #slots: NodeList | null;
  readonly #leases: readonly bigint[] | null;

  constructor(state: StoreState, nodes: NodeList, slots: NodeList | null, leases: readonly bigint[] | null) {
    this.#state = state;
    this.#nodes = nodes;
    this.#slots = slots;
    this.#leases = leases;
  }

  get length(): number {
    return this.#nodes.length;
  }

  /** Bytes {@link copy} will write for record `i`. */
  sizeBytes(i: number): number {
    const node = this.#nodes.nodes[i]!;
    const index = this.#state.index;
    if (this.#slots === null) return index.sizeBytes(node);
    const slot = this.#slots.nodes[i]!;
    const lease = this.#leases === null ? 0n : this.#leases[i]!;
    return recordSize(
      index.keyLength(slot),
      index.createRevisionAt(slot, node),
      index.main(node),
      index.versionAt(slot, node),
      0,
      lease,
    );
  }

  /** Copies record `i`, an encoded KeyValue, to `into` at `at`, where there is room; returns the position after it. */
  copy(i: number, into: Uint8Array, at: number): number {
    if (this.#slots !== null) return this.#writeKeyOnly(i, into, at);
    return this.#state.copyRecord(this.#nodes.nodes[i]!, into, at);
  }

  /** Bytes of all records, each preceded by a one-byte tag and its length: their part of the answer's size. */
  framedBytes(): number {
    let total = 0;
    for (let i = 0; i < this.length; i++) {
      const size = this.sizeBytes(i);
      total += 1 + varintSize(size) + size;
    }
    return total;
  }

  /** Record `i` in a buffer of its own: for tests and for callers in no hurry. */
  toBytes(i: number): Uint8Array {
    const bytes = new Uint8Array(this.sizeBytes(i));
    this.copy(i, bytes, 0);
    return bytes;
  }

  #writeKeyOnly(i: number, into: Uint8Array, at: number): number {
    const index = this.#state.index;
    const node = this.#nodes.nodes[i]!;
    const slot = this.#slots!.nodes[i]!;
    const key = new Uint8Array(index.keyLength(slot));
    index.copyKey(slot, key, 0);
    const lease = this.#leases === null ? 0n : this.#leases[i]!;
    const create = index.createRevisionAt(slot, node);
    const version = index.versionAt(slot, node);
    return writeRecord(into, at, key, 0, key.length, create, index.main(node), version, NO_VALUE, 0, 0, lease);
  }
}
