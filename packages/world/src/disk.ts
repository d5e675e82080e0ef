/**
 * The disk as the log and the checkpoint see it. The server's implementation is `node:fs`; the simulator's forgets
 * whatever was not synced. Paths are absolute or relative to the process, joined with `/`.
 *
 * Every failure throws (or reports) the operating system's error unchanged, with `code` ("ENOSPC", "EIO", ...): what a
 * failure means is the caller's decision, and for a failed sync the only decision is to end the process.
 */
export interface Disk {
  makeDirectory(path: string): void;
  /** Names in the directory, sorted. */
  readDirectory(path: string): string[];
  exists(path: string): boolean;
  rename(from: string, to: string): void;
  remove(path: string): void;
  /** Makes creations, renames and removals in the directory durable. */
  syncDirectory(path: string): void;
  /** "read" fails if absent; "create" fails if present; "write" opens an existing file for reading and writing. */
  open(path: string, mode: "read" | "write" | "create"): DiskFile;
}

export interface DiskFile {
  readonly path: string;
  sizeBytes(): number;
  /** Reads into `into[0, length)`; returns the bytes read, short only at the end of the file. */
  read(into: Uint8Array, length: number, position: number): number;
  /** Writes all of `from[start, end)`. Not durable before `sync`. */
  write(from: Uint8Array, start: number, end: number, position: number): void;
  sync(): void;
  /**
   * Writes all of `from[start, end)` and calls `done` when it is durable (O_DSYNC or fdatasync). The buffer is borrowed
   * until `done`. Never calls `done` synchronously. Writes to one file are not queued here: one at a time.
   */
  writeDurably(
    from: Uint8Array,
    start: number,
    end: number,
    position: number,
    done: (error: Error | null) => void,
  ): void;
  /** Sets the length; growing fills with zeroes that need not be allocated. */
  truncate(sizeBytes: number): void;
  close(): void;
}
