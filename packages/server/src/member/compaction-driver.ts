/**
 * Carries accepted compactions out in slices with pauses between them, so that no turn of the loop is long.
 *
 * A compaction must end before as much has been written as it removes, or the database grows without end. etcd's slices of
 * 1,000 and pauses of 10 ms would keep pace with some 50,000 writes a second at best, and with less the busier the loop is.
 * So the pauses end and the slices grow with what is written: three records are gone through for each that is written, where
 * one and a half and a share of the keys would keep pace.
 */
import type { Store } from "@quorate/mvcc";
import type { Log, Timers } from "@quorate/world";

export interface CompactionOptions {
  /** Records gone through in one slice, while little is written. */
  readonly batchLimit: number;
  /** Between two such slices, while no other compaction waits. */
  readonly sleepMs: number;
  readonly timers: Timers;
  readonly log: Log;
  /** False while storage has not taken what earlier slices removed. */
  readonly hasRoom: () => boolean;
  /** A slice was done: what it removed is to be flushed. */
  readonly stepped: () => void;
}

/** How soon storage is asked again whether it has room. */
const ROOM_MS = 20;

const RECORDS_PER_WRITE = 3;
/** So many times the configured limit, and no slice is larger. */
const LIMITS_MAX = 5;

export class CompactionDriver {
  readonly #store: Store;
  readonly #options: CompactionOptions;
  #isRunning = false;
  #isStopped = false;
  /** Records that the store had written when the last slice began. */
  #lastWritten = 0;

  constructor(store: Store, options: CompactionOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** To be called whenever there may be something to do: an accepted compaction, or a pin let go that held one back. */
  run(): void {
    if (this.#isRunning || this.#isStopped || this.#store.pendingCompactions === 0) return;
    this.#isRunning = true;
    this.#lastWritten = this.#store.writtenRecords;
    this.#options.timers.after(0, this.#step);
  }

  stop(): void {
    this.#isStopped = true;
  }

  readonly #step = (): void => {
    if (this.#isStopped) return;
    if (!this.#options.hasRoom()) {
      this.#options.timers.after(ROOM_MS, this.#step);
      return;
    }
    const { batchLimit, sleepMs } = this.#options;
    const { writtenRecords } = this.#store;
    const wanted = (writtenRecords - this.#lastWritten) * RECORDS_PER_WRITE;
    this.#lastWritten = writtenRecords;
    const hasMore = this.#store.compactionStep(Math.min(Math.max(wanted, batchLimit), batchLimit * LIMITS_MAX));
    this.#options.stepped();
    if (hasMore) {
      const hasTime = wanted <= batchLimit && this.#store.pendingCompactions === 1;
      this.#options.timers.after(hasTime ? sleepMs : 0, this.#step);
      return;
    }
    this.#isRunning = false;
    // Held back by a reader, whose unpin calls `run` again.
    if (this.#store.pendingCompactions > 0) return;
    this.#options.log.info("finished scheduled compaction", { "compact-revision": this.#store.compactRevision });
  };
}
