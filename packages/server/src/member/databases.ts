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
  /** Opens a snapshot file and takes its name away: it is gone when it is closed, or when the process ends in whatever way. */
  openOutgoing(path: string): OutgoingFile;
  removeFile(path: string): void;
}

/** A snapshot file without a name, read once. */
export interface OutgoingFile {
  /**
   * Fills `into` from `position`, off this thread; one read at a time. `done`, never called synchronously nor after
   * {@link close}, hears of the bytes read: fewer than asked for only at the end of the file.
   */
  read(into: Uint8Array, position: number, done: (error: Error | null, readBytes: number) => void): void;
  close(): void;
}
