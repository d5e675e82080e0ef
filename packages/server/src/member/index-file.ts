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
}

/** New revisions after which a running member writes the file again: what a start after a crash has to read besides it. */
const DUE_REVISIONS = 500_000;
/** Keys and revisions written in one turn: about 2 ms. */
const SLICE = 20_000;
const BUFFER_BYTES = 1024 * 1024;

export class IndexFile {
  readonly #options: IndexFileOptions;
  #store: Store | null = null;
  #whenFlushed: (done: () => void) => void = () => {};
  /** Revision of the file in place, or of the one being written. */
  #savedRevision = 0;
  #isSaving = false;

  constructor(options: IndexFileOptions) {
    this.#options = options;
  }

  /** Reads the file in place; undefined if there is none. */
  reader(): CheckpointReader | undefined {
    const { disk, path, log } = this.#options;
    if (!disk.exists(path)) return undefined;
    try {
      return readerOf(disk.open(path, "read"));
    } catch (error) {
      log.warn("cannot read the checkpoint of the key index", { path, error });
      return undefined;
    }
  }

  /** The store was opened, from the file or without it. */
  attach(store: Store, whenFlushed: (done: () => void) => void): void {
    this.#store = store;
    this.#whenFlushed = whenFlushed;
    this.#savedRevision = store.revision;
  }

  /** Begins to write the file, a slice a turn, if enough has changed since it was last written. */
  saveIfDue(): void {
    if (this.#isSaving || this.#store!.revision - this.#savedRevision < DUE_REVISIONS) return;
    const writing = this.#begin();
    if (writing === null) return;
    this.#isSaving = true;
    const slice = (): void => {
      if (writing.step(SLICE)) {
        this.#options.timers.nextTurn(slice);
      } else {
        this.#whenFlushed(() => {
          this.#isSaving = false;
          writing.putInPlace();
        });
      }
    };
    slice();
  }

  /** Writes the whole file at once. Everything applied must be flushed. For a member that stops. */
  saveNow(): void {
    if (this.#isSaving || this.#store!.revision === this.#savedRevision) return;
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
    this.#file.close();
    this.#disk.rename(this.#temporary, this.#path);
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
    this.#file.close();
    this.#disk.remove(this.#temporary);
  }
}

/** Serves small reads from a large buffer. The file is closed at its end or with the process. */
function readerOf(file: DiskFile): CheckpointReader {
  const sizeBytes = file.sizeBytes();
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
      const read = wanted === 0 ? 0 : file.read(into, wanted, position);
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
