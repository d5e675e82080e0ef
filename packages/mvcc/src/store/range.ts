/**
 * Ranges: which records answer a request, at which revision, in which order (semantics §3.2).
 *
 *     key order, no filters, whole records     KeyIndex.find or .collect: no look at any record
 *     anything else                            one walk that keeps (slot, node), then sort, then cut
 *
 * The order of steps is etcd's: fetch limit, revision filters, sort, limit; `count` is of the whole range whatever they
 * leave (known-failures MV-05). Filters and all sort targets but VALUE are answered from the index.
 */

import { SortOrder, SortTarget } from "@quorate/api";
import { NONE } from "../key-index/limits.ts";
import { NodeList } from "../key-index/node-list.ts";
import { CompactedError, FutureRevisionError } from "./errors.ts";
import { compareKeys, isSingleKey, upperBound } from "./key-range.ts";
import { RecordList } from "./record-list.ts";
import type { RangeInput } from "./requests.ts";
import type { StoreState } from "./state.ts";

export class RangeResult {
  /** What the answer's header says: the newest revision this read could see. */
  readonly revision: number;
  /** The revision the records are of; `Store.pin` takes it. */
  readonly readRevision: number;
  readonly records: RecordList;
  readonly more: boolean;
  /** Keys in the range at that revision, whatever limit and filters left of them. */
  readonly count: number;

  constructor(revision: number, readRevision: number, records: RecordList, more: boolean, count: number) {
    this.revision = revision;
    this.readRevision = readRevision;
    this.records = records;
    this.more = more;
    this.count = count;
  }
}

/**
 * Answers a range on the state as of `current`: the store's revision, or that of the open write transaction, whose own
 * changes are then seen. Throws {@link FutureRevisionError} or {@link CompactedError}.
 */
export function evaluateRange(state: StoreState, current: number, range: RangeInput): RangeResult {
  state.counts.ranges++;
  const revision = readRevision(state, current, range.revision);
  if (range.countOnly) {
    const none = new RecordList(state, new NodeList(1), null, null);
    return new RangeResult(current, revision, none, false, countKeys(state, range, revision));
  }
  if (isInKeyOrder(range) && !isFiltered(range) && !range.keysOnly) return collect(state, current, revision, range);
  return new Selection(state, revision, range).result(current);
}

/** The revision a read at `asked` is of: anything not above 0 means now. */
export function readRevision(state: StoreState, current: number, asked: number): number {
  const revision = asked <= 0 ? current : asked;
  if (revision > current) throw new FutureRevisionError(revision, current);
  if (revision < state.compactRevision) throw new CompactedError(revision, state.compactRevision);
  return revision;
}

function countKeys(state: StoreState, range: RangeInput, revision: number): number {
  const { index } = state;
  if (!isSingleKey(range.rangeEnd)) return index.countAt(range.key, upperBound(range.rangeEnd), revision);
  return nodeOfKey(state, range.key, revision) === NONE ? 0 : 1;
}

function nodeOfKey(state: StoreState, key: Uint8Array, revision: number): number {
  const slot = state.index.find(key, 0, key.length);
  return slot === NONE ? NONE : state.index.nodeAt(slot, revision);
}

/** Ascending bytes are the order of the index: nothing to sort. An order of NONE asks nothing of any target's order. */
function isInKeyOrder(range: RangeInput): boolean {
  if (range.sortTarget === SortTarget.KEY) return range.sortOrder !== SortOrder.DESCEND;
  return false;
}

function isFiltered(range: RangeInput): boolean {
  return (
    range.minModRevision !== 0 ||
    range.maxModRevision !== 0 ||
    range.minCreateRevision !== 0 ||
    range.maxCreateRevision !== 0
  );
}

/**
 * How many keys to fetch before sorting and cutting; 0 is all. QUIRK: an order of NONE counts as key order here even
 * with another target, so a limited range is cut in key order first and what is left is then sorted.
 */
function fetchLimit(range: RangeInput): number {
  const isCutFirst = range.sortOrder === SortOrder.NONE || isInKeyOrder(range);
  if (!isCutFirst || isFiltered(range) || range.limit <= 0 || range.limit >= NONE) return 0;
  return range.limit + 1;
}

function collect(state: StoreState, current: number, revision: number, range: RangeInput): RangeResult {
  if (isSingleKey(range.rangeEnd)) {
    const nodes = new NodeList(1);
    const node = nodeOfKey(state, range.key, revision);
    if (node !== NONE) nodes.push(node);
    return new RangeResult(current, revision, new RecordList(state, nodes, null, null), false, nodes.length);
  }
  const limit = fetchLimit(range);
  const end = upperBound(range.rangeEnd);
  const nodes = new NodeList(limit > 0 && limit < 64 ? limit : 64);
  state.index.collect(range.key, end, revision, limit, nodes);
  const more = limit > 0 && nodes.length === limit;
  if (more) nodes.length = range.limit;
  const count = more ? state.index.countAt(range.key, end, revision) : nodes.length;
  return new RangeResult(current, revision, new RecordList(state, nodes, null, null), more, count);
}

/** A range that needs more than the index's own order: gathered as (slot, node) pairs. */
class Selection {
  readonly #state: StoreState;
  readonly #revision: number;
  readonly #range: RangeInput;
  readonly #fetchLimit: number;
  #slots = new NodeList();
  #nodes = new NodeList();
  /** Visible keys met, filtered ones included. */
  #seen = 0;

  constructor(state: StoreState, revision: number, range: RangeInput) {
    this.#state = state;
    this.#revision = revision;
    this.#range = range;
    this.#fetchLimit = fetchLimit(range);
  }

  result(current: number): RangeResult {
    const range = this.#range;
    this.#gather();
    const isCut = this.#fetchLimit > 0 && this.#seen === this.#fetchLimit;
    const leases = this.#sort();
    const more = range.limit > 0 && this.#nodes.length > range.limit;
    if (more) this.#nodes.length = this.#slots.length = range.limit;
    const count = isCut ? countKeys(this.#state, range, this.#revision) : this.#seen;
    const records = new RecordList(this.#state, this.#nodes, range.keysOnly ? this.#slots : null, leases);
    return new RangeResult(current, this.#revision, records, more, count);
  }

  /** Called by the walk of the index. */
  visit(slot: number): boolean {
    const node = this.#state.index.nodeAt(slot, this.#revision);
    if (node === NONE) return true;
    this.#seen++;
    if (this.#isKept(slot, node)) {
      this.#slots.push(slot);
      this.#nodes.push(node);
    }
    return this.#seen !== this.#fetchLimit;
  }

  #gather(): void {
    const { key, rangeEnd } = this.#range;
    if (!isSingleKey(rangeEnd)) {
      this.#state.index.walk(key, upperBound(rangeEnd), this);
      return;
    }
    const slot = this.#state.index.find(key, 0, key.length);
    if (slot !== NONE) this.visit(slot);
  }

  #isKept(slot: number, node: number): boolean {
    const range = this.#range;
    if (!isFiltered(range)) return true;
    const mod = this.#state.index.main(node);
    const create = this.#state.index.createRevisionAt(slot, node);
    return (
      (range.maxModRevision === 0 || mod <= range.maxModRevision) &&
      (range.minModRevision === 0 || mod >= range.minModRevision) &&
      (range.maxCreateRevision === 0 || create <= range.maxCreateRevision) &&
      (range.minCreateRevision === 0 || create >= range.minCreateRevision)
    );
  }

  /** Puts the pairs in answer order. Returns the leases if it had to look at the records and the answer shows them. */
  #sort(): bigint[] | null {
    const range = this.#range;
    const places = Array.from({ length: this.#nodes.length }, (_, i) => i);
    // Ties stay in the order of their keys both ways, as etcd has them for results of ordinary size.
    const direction = range.sortOrder === SortOrder.DESCEND ? -1 : 1;
    let leases: bigint[] | null = null;
    if (range.sortTarget === SortTarget.VALUE) {
      leases = this.#sortByValue(places, direction);
    } else if (range.sortTarget !== SortTarget.KEY) {
      const keys = places.map((i) => this.#sortKey(i));
      places.sort((a, b) => direction * (keys[a]! - keys[b]!));
    } else if (range.sortOrder !== SortOrder.DESCEND) {
      return null;
    } else {
      places.reverse();
    }
    this.#slots = reordered(this.#slots, places);
    this.#nodes = reordered(this.#nodes, places);
    if (leases === null || !range.keysOnly) return null;
    return places.map((i) => leases[i]!);
  }

  #sortByValue(places: number[], direction: number): bigint[] {
    const values: Uint8Array[] = [];
    const leases: bigint[] = [];
    for (let i = 0; i < places.length; i++) {
      const view = this.#state.view(this.#nodes.nodes[i]!);
      values.push(view.copyValue());
      leases.push(view.lease);
    }
    places.sort((a, b) => direction * compareKeys(values[a]!, values[b]!));
    return leases;
  }

  #sortKey(i: number): number {
    const { index } = this.#state;
    const slot = this.#slots.nodes[i]!;
    const node = this.#nodes.nodes[i]!;
    switch (this.#range.sortTarget) {
      case SortTarget.VERSION:
        return index.versionAt(slot, node);
      case SortTarget.CREATE:
        return index.createRevisionAt(slot, node);
      default:
        return index.main(node);
    }
  }
}

function reordered(list: NodeList, places: readonly number[]): NodeList {
  const result = new NodeList(places.length);
  for (const place of places) result.push(list.nodes[place]!);
  return result;
}
