/**
 * From records back to the index: the one way every boot and every snapshot install goes (known-failures AP-11), after
 * an empty index or after one that a checkpoint gave.
 *
 * Records come ascending. Each states its own create revision and version, so it does not matter where a compaction cut
 * the history; a tombstone that is all that is left of its key is kept (ST-03). The work is cut into slices, so that a
 * member that receives a snapshot hears its peers meanwhile, and the result does not depend on where (ST-13).
 */

import type { RecordVisitor } from "../backend/storage.ts";
import type { SlotVisitor } from "../key-index/key-index.ts";
import { NONE } from "../key-index/limits.ts";
import { RecordView } from "./key-value.ts";
import type { StoreState } from "./state.ts";

/** As many as etcd takes at a time. */
export const RESTORE_CHUNK_RECORDS = 10_000;

const ON_DISK = -1;

/** Adds the records behind (afterMain, afterSub) to the index, in slices; what comes of it is in the fields. */
export class IndexRestore implements RecordVisitor {
  /** The last record seen; the ones given if there were none. */
  lastMain: number;
  lastSub: number;
  readonly #state: StoreState;
  readonly #view = new RecordView();
  #left = 0;

  constructor(state: StoreState, afterMain: number, afterSub: number) {
    this.#state = state;
    this.lastMain = afterMain;
    this.lastSub = afterSub;
  }

  /** Takes `budget` records; false when there are no more. */
  step(budget: number): boolean {
    this.#left = budget;
    this.#state.backend.scanRecords(this.lastMain, this.lastSub + 1, this);
    return this.#left === 0;
  }

  /** Called by the scan. */
  visit(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    const size = end - start;
    if (size === 0 && !isTombstone) this.#state.bumps.add(main);
    else this.#add(main, sub, isTombstone, bytes, start, size);
    this.lastMain = main;
    this.lastSub = sub;
    return --this.#left > 0;
  }

  #add(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, size: number): void {
    const view = this.#view;
    view.parse(bytes, start, start + size, main, sub);
    const { index } = this.#state;
    if (isTombstone) {
      index.restoreTombstone(bytes, view.keyStart, view.keyEnd, main, sub, ON_DISK, size);
    } else {
      const { createRevision, version } = view;
      const hasLease = view.lease !== 0n;
      index.restorePut(bytes, view.keyStart, view.keyEnd, main, sub, createRevision, version, ON_DISK, size, hasLease);
    }
  }
}

/**
 * Hangs keys on their leases again, by their newest records, in slices. Leases must have been restored before. A lease
 * that no longer exists is ignored: its revocation deleted the key, or it will be logged here for whoever wonders.
 */
export class LeaseAttachment implements SlotVisitor {
  readonly #state: StoreState;
  /** The first key not looked at. */
  #next: Uint8Array = new Uint8Array(0);
  #left = 0;
  #isMore = false;

  constructor(state: StoreState) {
    this.#state = state;
  }

  /** Looks at `budget` keys; false when there are no more. */
  step(budget: number): boolean {
    this.#left = budget;
    this.#isMore = false;
    this.#state.index.walk(this.#next, null, this);
    return this.#isMore;
  }

  /** Called by the walk of the index. */
  visit(slot: number): boolean {
    const { index } = this.#state;
    if (this.#left-- === 0) {
      this.#isMore = true;
      this.#next = new Uint8Array(index.keyLength(slot));
      index.copyKey(slot, this.#next, 0);
      return false;
    }
    if (index.hasLease(slot)) this.#attach(slot);
    return true;
  }

  #attach(slot: number): void {
    const { index, leases, log } = this.#state;
    const node = index.newest(slot);
    if (node === NONE) return;
    const view = this.#state.view(node);
    if (leases.exists(view.lease)) {
      leases.attach(view.lease, view.buffer.subarray(view.keyStart, view.keyEnd));
    } else {
      log.error("failed to attach a lease", { "lease-id": view.lease.toString(16), error: "lease not found" });
    }
  }
}
