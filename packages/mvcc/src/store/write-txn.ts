/**
 * The one write transaction. All its changes share a main revision and are numbered by sub revision in the order made;
 * readers see none of them before `commit`, the transaction itself sees each at once (semantics §4.3).
 *
 *     begin ──▶ put / delete … ──▶ commit        no change: the revision stays (known-failures MV-03)
 *
 * There is no rollback. A change goes into the index and the record log as it is made, so whatever could refuse it must
 * have been asked before: callers check, then execute (AP-08).
 *
 * Hot: bench/store.ts. One object per store, reused; a put allocates nothing unless a lease is involved.
 */

import { assert } from "@quorate/world";
import { NONE } from "../key-index/limits.ts";
import { NodeList } from "../key-index/node-list.ts";
import { isSingleKey, upperBound } from "./key-range.ts";
import { recordSize, tombstoneSize, writeRecord, writeTombstone } from "./key-value.ts";
import type { StoreState } from "./state.ts";

/** The changes of one transaction in order; change `i` has sub revision `i`. Reused: valid during the call it is given to. */
export class ChangeList {
  #state: StoreState;
  readonly #nodes = new NodeList();
  readonly #slots = new NodeList();

  constructor(state: StoreState) {
    this.#state = state;
  }

  get length(): number {
    return this.#nodes.length;
  }

  /** The index node of the change; `Store.read` gives its record, which starts with the key. */
  node(i: number): number {
    return this.#nodes.nodes[i]!;
  }

  /** The index slot of the changed key. */
  slot(i: number): number {
    return this.#slots.nodes[i]!;
  }

  isTombstone(i: number): boolean {
    return this.#state.index.isTombstone(this.node(i));
  }

  /** A put of a key that did not exist before, so that there is no previous value. */
  isCreation(i: number): boolean {
    const { index } = this.#state;
    const node = this.node(i);
    return !index.isTombstone(node) && index.createRevisionAt(this.slot(i), node) === index.main(node);
  }

  push(slot: number, node: number): void {
    this.#slots.push(slot);
    this.#nodes.push(node);
  }

  clear(): void {
    this.#slots.clear();
    this.#nodes.clear();
  }
}

/** Hears of every committed transaction that changed something, in order, before anything else happens to the store. */
export interface CommitListener {
  /** `changes` is borrowed until return. Must not write. */
  committed(revision: number, changes: ChangeList): void;
}

export class WriteTxn {
  readonly #state: StoreState;
  readonly #changes: ChangeList;
  readonly #doomed = new NodeList();
  #listener: CommitListener | null = null;
  #isOpen = false;

  constructor(state: StoreState) {
    this.#state = state;
    this.#changes = new ChangeList(state);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get changeCount(): number {
    return this.#changes.length;
  }

  /** The revision a read within the transaction is of, which is what answers state: one more once something changed. */
  get revision(): number {
    return this.#changes.length === 0 ? this.#state.revision : this.#state.revision + 1;
  }

  /** For `Store.begin` and `Store.listen` only. */
  open(): void {
    assert(!this.#isOpen, "one write transaction at a time");
    this.#isOpen = true;
    this.#changes.clear();
  }

  listen(listener: CommitListener): void {
    assert(this.#listener === null, "one listener hears commits");
    this.#listener = listener;
  }

  /**
   * Sets a key, which must not be empty; key and value are copied. `lease` 0n detaches the key from its lease; a lease
   * that no longer exists is recorded but nothing is attached (only a put that keeps an old lease can name one).
   */
  put(
    key: Uint8Array,
    keyStart: number,
    keyEnd: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
    lease: bigint,
  ): void {
    assert(this.#isOpen, "a put is within a transaction");
    assert(keyEnd > keyStart, "a key is not empty");
    const { index, backend } = this.#state;
    this.#state.counts.puts++;
    const main = this.#state.revision + 1;
    const sub = this.#changes.length;
    let slot = index.find(key, keyStart, keyEnd);
    const isUpdate = slot !== NONE && index.isLive(slot);
    const createRevision = isUpdate ? index.createRevision(slot) : main;
    const version = isUpdate ? index.version(slot) + 1 : 1;
    const oldLease = isUpdate && index.hasLease(slot) ? this.#leaseOf(slot) : 0n;

    const size = recordSize(keyEnd - keyStart, createRevision, main, version, valueEnd - valueStart, lease);
    const span = backend.reserve(main, sub, false, size);
    const { position } = span;
    const end = writeRecord(
      span.buffer,
      span.start,
      key,
      keyStart,
      keyEnd,
      createRevision,
      main,
      version,
      value,
      valueStart,
      valueEnd,
      lease,
    );
    assert(end === span.end, "a record fills the room made for it");
    slot = index.put(key, keyStart, keyEnd, main, sub, position, size, lease !== 0n);
    this.#changes.push(slot, index.newest(slot));
    if (oldLease !== lease) this.#moveLease(key.subarray(keyStart, keyEnd), oldLease, lease);
  }

  /** Deletes one key; false, and no change, if it does not exist. */
  delete(key: Uint8Array, keyStart: number, keyEnd: number): boolean {
    assert(this.#isOpen, "a delete is within a transaction");
    const slot = this.#state.index.find(key, keyStart, keyEnd);
    if (slot === NONE || !this.#state.index.isLive(slot)) return false;
    this.#tombstone(slot);
    return true;
  }

  /**
   * Deletes the keys of a range in ascending order; returns how many there were. The nodes they had go to `previous`,
   * if given.
   */
  deleteRange(key: Uint8Array, rangeEnd: Uint8Array, previous: NodeList | null): number {
    assert(this.#isOpen, "a delete is within a transaction");
    const { index } = this.#state;
    const doomed = this.#doomed;
    doomed.clear();
    if (isSingleKey(rangeEnd)) {
      const slot = index.find(key, 0, key.length);
      if (slot !== NONE) this.visit(slot);
    } else {
      index.walk(key, upperBound(rangeEnd), this);
    }
    for (let i = 0; i < doomed.length; i++) {
      const slot = doomed.nodes[i]!;
      previous?.push(index.newest(slot));
      this.#tombstone(slot);
    }
    return doomed.length;
  }

  /** Called by the walk of the index for every key of a range to delete. */
  visit(slot: number): boolean {
    if (this.#state.index.isLive(slot)) this.#doomed.push(slot);
    return true;
  }

  /** Makes the changes visible, tells the listener, and returns the store's revision. */
  commit(): number {
    assert(this.#isOpen, "a commit ends an open transaction");
    this.#isOpen = false;
    if (this.#changes.length === 0) return this.#state.revision;
    const revision = ++this.#state.revision;
    this.#listener?.committed(revision, this.#changes);
    return revision;
  }

  #tombstone(slot: number): void {
    const { index, backend } = this.#state;
    this.#state.counts.deletes++;
    const main = this.#state.revision + 1;
    const sub = this.#changes.length;
    const keyLength = index.keyLength(slot);
    const key = new Uint8Array(keyLength);
    index.copyKey(slot, key, 0);
    const oldLease = index.hasLease(slot) ? this.#leaseOf(slot) : 0n;
    const size = tombstoneSize(keyLength);
    const span = backend.reserve(main, sub, true, size);
    writeTombstone(span.buffer, span.start, key, 0, keyLength);
    index.tombstone(slot, main, sub, span.position, size);
    this.#changes.push(slot, index.newest(slot));
    this.#moveLease(key, oldLease, 0n);
  }

  #leaseOf(slot: number): bigint {
    return this.#state.view(this.#state.index.newest(slot)).lease;
  }

  /** Nothing hangs on a lease that does not exist: it was not attached at the restart that found it missing. */
  #moveLease(key: Uint8Array, from: bigint, to: bigint): void {
    const { leases } = this.#state;
    if (from !== 0n && leases.exists(from)) leases.detach(from, key);
    if (to !== 0n && leases.exists(to)) leases.attach(to, key);
  }
}
