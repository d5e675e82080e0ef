/**
 * Carries accepted compactions out in slices with pauses between them, so that no turn of the loop is long.
 *
 * A compaction must end before as much has been written as it removes, or the database grows without end. So there is no
 * pause while another compaction waits, nor where more than half a slice was written since the last one: with pauses of
 * 10 ms, as etcd has them, a slice of 1,000 keeps pace with some 50,000 writes a second at best.
 */
import type { Store } from "@quorate/mvcc";
import type { Log, Timers } from "@quorate/world";

export interface CompactionOptions {
  /** Records or keys handled in one slice. */
  readonly batchLimit: number;
  /** Between two slices when there is time. */
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

export class CompactionDriver {
  readonly #store: Store;
  readonly #options: CompactionOptions;
  #isRunning = false;
  #isStopped = false;
  /** The store's when the last slice was done. */
  #steppedAtRevision = 0;

  constructor(store: Store, options: CompactionOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** To be called whenever there may be something to do: an accepted compaction, or a pin let go that held one back. */
  run(): void {
    if (this.#isRunning || this.#isStopped || this.#store.pendingCompactions === 0) return;
    this.#isRunning = true;
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
    const hasMore = this.#store.compactionStep(this.#options.batchLimit);
    this.#options.stepped();
    if (hasMore) {
      this.#options.timers.after(this.#hasTime() ? this.#options.sleepMs : 0, this.#step);
      return;
    }
    this.#isRunning = false;
    // Held back by a reader, whose unpin calls `run` again.
    if (this.#store.pendingCompactions > 0) return;
    this.#options.log.info("finished scheduled compaction", { "compact-revision": this.#store.compactRevision });
  };

  #hasTime(): boolean {
    const { revision, pendingCompactions } = this.#store;
    const written = revision - this.#steppedAtRevision;
    this.#steppedAtRevision = revision;
    return pendingCompactions === 1 && written * 2 <= this.#options.batchLimit;
  }
}
