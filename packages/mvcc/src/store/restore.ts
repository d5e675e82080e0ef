/**
 * From records back to the index: the one way every boot and every snapshot install goes (known-failures AP-11), after
 * an empty index or after one that a checkpoint gave.
 *
 * Records come ascending. Each states its own create revision and version, so it does not matter where a compaction cut
 * the history; a tombstone that is all that is left of its key is kept (ST-03). The scan is cut into chunks, which frees
 * the storage's read transaction now and then, and the result does not depend on where (ST-13).
 */

import type { RecordVisitor } from "../backend/storage.ts";
import { NONE } from "../key-index/limits.ts";
import { RecordView } from "./key-value.ts";
import type { StoreState } from "./state.ts";

/** As many as etcd takes at a time. */
export const RESTORE_CHUNK_RECORDS = 10_000;

const ON_DISK = -1;

/** Adds the records behind (afterMain, afterSub) to the index; what comes of it is in the fields. */
export class IndexRestore implements RecordVisitor {
  /** The last record seen; the ones given if there were none. */
  lastMain: number;
  lastSub: number;
  readonly #state: StoreState;
  readonly #view = new RecordView();
  readonly #chunkRecords: number;
  #left = 0;

  constructor(state: StoreState, afterMain: number, afterSub: number, chunkRecords: number) {
    this.#state = state;
    this.#chunkRecords = chunkRecords;
    this.lastMain = afterMain;
    this.lastSub = afterSub;
  }

  run(): void {
    do {
      this.#left = this.#chunkRecords;
      this.#state.backend.scanRecords(this.lastMain, this.lastSub + 1, this);
    } while (this.#left === 0);
  }

  /** Called by the scan. */
  visit(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    const view = this.#view;
    view.parse(bytes, start, end, main, sub);
    const { index } = this.#state;
    const size = end - start;
    if (isTombstone) {
      index.restoreTombstone(bytes, view.keyStart, view.keyEnd, main, sub, ON_DISK, size);
    } else {
      const { createRevision, version } = view;
      const hasLease = view.lease !== 0n;
      index.restorePut(bytes, view.keyStart, view.keyEnd, main, sub, createRevision, version, ON_DISK, size, hasLease);
    }
    this.lastMain = main;
    this.lastSub = sub;
    return --this.#left > 0;
  }
}

/**
 * Hangs keys on their leases again, by their newest records. Leases must have been restored before. A lease that no
 * longer exists is ignored: its revocation deleted the key, or it will be logged here for whoever wonders.
 */
export function attachLeases(state: StoreState): void {
  const { index, leases, log } = state;
  index.walk(new Uint8Array(0), null, {
    visit: (slot) => {
      if (!index.hasLease(slot)) return true;
      const node = index.newest(slot);
      if (node === NONE) return true;
      const view = state.view(node);
      if (leases.exists(view.lease)) {
        leases.attach(view.lease, view.buffer.subarray(view.keyStart, view.keyEnd));
      } else {
        log.error("failed to attach a lease", { "lease-id": view.lease.toString(16), error: "lease not found" });
      }
      return true;
    },
  });
}
