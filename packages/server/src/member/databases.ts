/**
 * Where a member's databases are. There is one, except while a snapshot from the leader is being made into the next.
 * data-directory.ts keeps them in directories beside each other; the simulator keeps them in memory.
 */
import type { Storage } from "@quorate/mvcc";

export interface Databases {
  /**
   * Makes a database of the snapshot file at `path`, durable when `done` is called. It is not the member's yet: a start
   * takes it up only if the log says that the snapshot of `index` was installed. The file is gone afterwards.
   */
  receive(path: string, index: number, done: (error: Error | null, storage: Storage | null) => void): void;
  /** Closes a database, one that was replaced or never came into use, and removes it. */
  discard(storage: Storage): void;
  /** A path for a snapshot file to be sent; nothing is there. */
  outgoingPath(): string;
  removeFile(path: string): void;
}
