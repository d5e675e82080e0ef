/**
 * The tail of the log in memory, beside the segments on disk. Two things differ from a log that lives in memory alone: the
 * configuration raft starts with is the database's, and the snapshot a follower can be sent is what the database has.
 */
import {
  type ConfState,
  EMPTY_HARD_STATE,
  EMPTY_SNAPSHOT,
  index,
  MemoryLogStorage,
  NO_BYTES,
  type Snapshot,
  type SnapshotMetadata,
} from "@quorate/raft";
import type { Replay } from "@quorate/wal";
import { assert } from "@quorate/world";

export class StoredLog extends MemoryLogStorage {
  readonly #confState: ConfState;
  /** What the database has durably: the leader sends at least that (snapshot-exchange.ts). */
  #newest: Snapshot = EMPTY_SNAPSHOT;

  /** `stored`: what the database has; index 0 if that is nothing. */
  constructor(stored: SnapshotMetadata) {
    super();
    this.#confState = stored.confState;
    this.flushed(stored);
  }

  override initialState(): ReturnType<MemoryLogStorage["initialState"]> {
    return { hardState: super.initialState().hardState, confState: this.#confState };
  }

  override snapshot(): Snapshot {
    return this.#newest;
  }

  /** The database has everything up to here, durably. */
  flushed(metadata: SnapshotMetadata): void {
    this.#newest = { data: NO_BYTES, metadata };
  }

  /** Fills the log with what was read from disk. */
  restore(replay: Replay, appliedIndex: number): void {
    const mark = replay.snapshotMark;
    if (mark !== null) {
      const metadata = { confState: this.#confState, index: mark.index, term: mark.term };
      this.applySnapshot({ data: NO_BYTES, metadata });
    }
    this.append(replay.entries);
    const saved = replay.hardState ?? EMPTY_HARD_STATE;
    // The log saves the commit index with the next entries only; what was applied was committed all the same.
    assert(appliedIndex <= replay.lastIndex, "what was applied is in the log");
    this.setHardState({ ...saved, commit: index(Math.max(saved.commit, appliedIndex)) });
  }
}
