/**
 * Keeps the checkpoint of the key index in a file beside the database, so that a start reads one file instead of every
 * record. A cache: whoever reads it verifies it (checksums, and against the database), and a start without it, or with a
 * damaged one, is only slower. So nothing here is synced, and no failure matters beyond a log line.
 *
 *   index.tmp ── written in slices ──▶ whole ── database flushed past it ──▶ index
 */
import type { CheckpointReader, Store } from "@quorate/mvcc";
import type { Disk, DiskFile, Log, Timers } from "@quorate/world";

export interface IndexFileOptions {
  readonly disk: Disk;
  readonly path: string;
  readonly timers: Timers;
  readonly log: Log;
  /** New revisions after which a running member writes the file again. Default 500000. */
  readonly dueRevisions?: number;
  /** Keys and revisions written in one turn. Default 20000, about 2 ms. */
  readonly slice?: number;
}

/** What a start after a crash has to read besides the file, at most. */
const DUE_REVISIONS = 500_000;
const SLICE = 20_000;
const BUFFER_BYTES = 1024 * 1024;

export interface IndexFileOwner {
  /** Calls back when everything applied so far is durable in storage. */
  whenFlushed(done: () => void): void;
  /** A file being written no longer holds compaction back. */
  released(): void;
}

export class IndexFile {
  readonly #options: IndexFileOptions;
  #store: Store | null = null;
  #owner: IndexFileOwner | null = null;
  /** Revision of the file in place, or of the one being written. */
  #savedRevision = 0;
  /** The file that is being written in slices. */
  #writing: Writing | null = null;

  constructor(options: IndexFileOptions) {
    this.#options = options;
  }

  /** Reads the file in place; undefined if there is none. */
  reader(): CheckpointReader | undefined {
    const { disk, path, log } = this.#options;
    if (!disk.exists(path)) return undefined;
    try {
      return readerOf(disk.open(path, "read"), log);
    } catch (error) {
      log.warn("cannot read the checkpoint of the key index", { path, error });
      return undefined;
    }
  }

  /** The store was opened, from the file or without it. */
  attach(store: Store, owner: IndexFileOwner): void {
    this.#store = store;
    this.#owner = owner;
    this.#savedRevision = this.#options.disk.exists(this.#options.path) ? store.revision : 0;
  }

  /** Begins to write the file, a slice a turn, if enough has changed since it was last written. */
  saveIfDue(): void {
    const { dueRevisions = DUE_REVISIONS, slice: budget = SLICE } = this.#options;
    if (this.#writing !== null || this.#store!.revision - this.#savedRevision < dueRevisions) return;
    const writing = this.#begin();
    if (writing === null) return;
    this.#writing = writing;
    const slice = (): void => {
      if (this.#writing !== writing) return; // The member stops and has given it up.
      if (writing.step(budget)) {
        this.#options.timers.nextTurn(slice);
        return;
      }
      this.#owner!.released();
      this.#owner!.whenFlushed(() => {
        if (this.#writing !== writing) return;
        this.#writing = null;
        writing.putInPlace();
      });
    };
    slice();
  }

  /** Writes the whole file at once. Everything applied must be flushed. For a member that stops. */
  saveNow(): void {
    const unfinished = this.#writing;
    this.#writing = null;
    unfinished?.abandon();
    if (unfinished === null && this.#store!.revision === this.#savedRevision) return;
    const writing = this.#begin();
    if (writing === null) return;
    while (writing.step(Number.MAX_SAFE_INTEGER)) {
      // All of it.
    }
    writing.putInPlace();
  }

  #begin(): Writing | null {
    const { disk, path, log } = this.#options;
    try {
      const writing = new Writing(disk, path, log);
      if (!writing.begin(this.#store!)) return null;
      this.#savedRevision = this.#store!.revision;
      return writing;
    } catch (error) {
      log.warn("cannot write the checkpoint of the key index", { path, error });
      return null;
    }
  }
}

/** One file being written. */
class Writing {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #log: Log;
  readonly #file: DiskFile;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  #buffered = 0;
  #position = 0;
  #task: ReturnType<Store["startCheckpoint"]> = null;
  #failure: unknown = null;

  constructor(disk: Disk, path: string, log: Log) {
    this.#disk = disk;
    this.#path = path;
    this.#log = log;
    if (disk.exists(this.#temporary)) disk.remove(this.#temporary);
    this.#file = disk.open(this.#temporary, "create");
  }

  get #temporary(): string {
    return `${this.#path}.tmp`;
  }

  /** False if the store has nothing to write now. */
  begin(store: Store): boolean {
    this.#task = store.startCheckpoint((chunk) => this.#write(chunk));
    if (this.#task === null) this.#discard();
    return this.#task !== null;
  }

  /** False when there is nothing more to do. */
  step(budget: number): boolean {
    try {
      if (this.#failure === null && this.#task!.step(budget)) return true;
      if (this.#failure === null) this.#drain();
    } catch (error) {
      this.#failure ??= error;
    }
    this.#task!.cancel();
    return false;
  }

  putInPlace(): void {
    if (this.#failure !== null) {
      this.#log.warn("cannot write the checkpoint of the key index", { path: this.#path, error: this.#failure });
      this.#discard();
      return;
    }
    try {
      this.#file.close();
      this.#disk.rename(this.#temporary, this.#path);
    } catch (error) {
      this.#log.warn("cannot put the checkpoint of the key index in place", { path: this.#path, error });
    }
  }

  /** Gives the file up at any point before it is put in place. */
  abandon(): void {
    this.#task!.cancel();
    this.#discard();
  }

  #write(chunk: Uint8Array): void {
    if (this.#failure !== null) return;
    try {
      if (this.#buffered + chunk.length > BUFFER_BYTES) this.#drain();
      if (chunk.length > BUFFER_BYTES) {
        this.#file.write(chunk, 0, chunk.length, this.#position);
        this.#position += chunk.length;
      } else {
        this.#buffer.set(chunk, this.#buffered);
        this.#buffered += chunk.length;
      }
    } catch (error) {
      this.#failure = error;
    }
  }

  #drain(): void {
    this.#file.write(this.#buffer, 0, this.#buffered, this.#position);
    this.#position += this.#buffered;
    this.#buffered = 0;
  }

  #discard(): void {
    try {
      this.#file.close();
      this.#disk.remove(this.#temporary);
    } catch (error) {
      this.#log.warn("cannot remove an unfinished checkpoint", { path: this.#temporary, error });
    }
  }
}

/**
 * Serves small reads from a large buffer. The file is closed at its end or with the process. What the disk cannot read is
 * as good as the file's end: the reader of a file cut short does without it.
 */
function readerOf(file: DiskFile, log: Log): CheckpointReader {
  let sizeBytes = file.sizeBytes();
  let buffer = Buffer.alloc(0);
  let at = 0;
  let position = 0;
  return (length) => {
    if (buffer.length - at < length) {
      const rest = buffer.length - at;
      const next = Buffer.allocUnsafe(Math.max(BUFFER_BYTES, length));
      buffer.copy(next, 0, at);
      const wanted = Math.min(next.length - rest, sizeBytes - position);
      const into = next.subarray(rest, rest + wanted);
      let read = 0;
      try {
        read = wanted === 0 ? 0 : file.read(into, wanted, position);
      } catch (error) {
        log.warn("cannot read the checkpoint of the key index", { path: file.path, error });
        sizeBytes = position;
      }
      position += read;
      buffer = next.subarray(0, rest + read);
      at = 0;
      if (position === sizeBytes && read > 0) file.close();
    }
    const end = Math.min(at + length, buffer.length);
    const piece = buffer.subarray(at, end);
    at = end;
    return piece;
  };
}
