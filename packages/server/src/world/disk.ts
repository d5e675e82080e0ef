/**
 * The machine's disk, by `node:fs`. Made once by the process and handed to every room that keeps files.
 *
 * Errors are the system's, unchanged. Blocking calls are meant for start-up and for rare work in between; the only call
 * on a hot path is `writeDurably`, which occupies a thread of libuv's pool and not the event loop.
 */
import fs from "node:fs";
import type { Disk, DiskFile } from "@quorate/world";

/**
 * How `writeDurably` gets bytes to the disk. "dsync" is one write to a descriptor opened with O_DSYNC, so one hop through
 * the thread pool; "fdatasync" is a write and then fdatasync, two hops, which cost the event loop about a third more
 * (`packages/wal/bench/save.ts`). Outside Linux O_DSYNC need not reach the medium, while libuv's fdatasync does.
 */
export type DurableWriteMethod = "dsync" | "fdatasync";

export interface NodeDiskOptions {
  /** Default: "dsync" on Linux, "fdatasync" elsewhere. */
  readonly durableWriteMethod?: DurableWriteMethod;
}

export class NodeDisk implements Disk {
  readonly #method: DurableWriteMethod;

  constructor(options: NodeDiskOptions = {}) {
    this.#method = options.durableWriteMethod ?? (process.platform === "linux" ? "dsync" : "fdatasync");
  }

  /** The parent must exist, the directory must not. Only the owner may enter it. */
  makeDirectory(path: string): void {
    fs.mkdirSync(path, { mode: 0o700 });
  }

  readDirectory(path: string): string[] {
    return fs.readdirSync(path).sort();
  }

  exists(path: string): boolean {
    return fs.existsSync(path);
  }

  /** Replaces `to` if it exists. */
  rename(from: string, to: string): void {
    fs.renameSync(from, to);
  }

  /** A file or an empty directory. */
  remove(path: string): void {
    if (fs.lstatSync(path).isDirectory()) fs.rmdirSync(path);
    else fs.unlinkSync(path);
  }

  syncDirectory(path: string): void {
    const descriptor = fs.openSync(path, fs.constants.O_RDONLY);
    try {
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  }

  open(path: string, mode: "read" | "write" | "create"): DiskFile {
    const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = fs.constants;
    const flags = mode === "read" ? O_RDONLY : mode === "write" ? O_RDWR : O_RDWR | O_CREAT | O_EXCL;
    return new NodeDiskFile(path, fs.openSync(path, flags, 0o600), this.#method);
  }
}

class NodeDiskFile implements DiskFile {
  readonly path: string;
  readonly #method: DurableWriteMethod;
  readonly #descriptor: number;
  /** For `writeDurably` with "dsync", opened when first needed; -1 until then. */
  #syncedDescriptor = -1;
  #isOpen = true;

  // The durable write under way; `#done` is null when there is none.
  #from: Uint8Array = NOTHING;
  #start = 0;
  #end = 0;
  #position = 0;
  #done: ((error: Error | null) => void) | null = null;
  readonly #onWritten: (error: Error | null, written: number) => void = (error, written) =>
    this.#written(error, written);
  readonly #onSynced: (error: Error | null) => void = (error) => this.#finish(error);

  constructor(path: string, descriptor: number, method: DurableWriteMethod) {
    this.path = path;
    this.#descriptor = descriptor;
    this.#method = method;
  }

  sizeBytes(): number {
    return fs.fstatSync(this.#descriptor).size;
  }

  read(into: Uint8Array, length: number, position: number): number {
    let done = 0;
    while (done < length) {
      const read = fs.readSync(this.#descriptor, into, done, length - done, position + done);
      if (read === 0) break;
      done += read;
    }
    return done;
  }

  write(from: Uint8Array, start: number, end: number, position: number): void {
    for (let at = start; at < end; ) {
      at += fs.writeSync(this.#descriptor, from, at, end - at, position + at - start);
    }
  }

  sync(): void {
    fs.fdatasyncSync(this.#descriptor);
  }

  writeDurably(
    from: Uint8Array,
    start: number,
    end: number,
    position: number,
    done: (error: Error | null) => void,
  ): void {
    if (this.#done !== null) throw new Error(`a durable write to ${this.path} is under way already`);
    if (this.#method === "dsync" && this.#syncedDescriptor < 0) {
      this.#syncedDescriptor = fs.openSync(this.path, fs.constants.O_RDWR | fs.constants.O_DSYNC);
    }
    this.#from = from;
    this.#start = start;
    this.#end = end;
    this.#position = position;
    this.#done = done;
    this.#writeOn();
  }

  truncate(sizeBytes: number): void {
    fs.ftruncateSync(this.#descriptor, sizeBytes);
  }

  /** Closing twice does nothing. */
  close(): void {
    if (!this.#isOpen) return;
    if (this.#done !== null) throw new Error(`a durable write to ${this.path} is under way`);
    this.#isOpen = false;
    fs.closeSync(this.#descriptor);
    if (this.#syncedDescriptor >= 0) fs.closeSync(this.#syncedDescriptor);
  }

  #writeOn(): void {
    const descriptor = this.#method === "dsync" ? this.#syncedDescriptor : this.#descriptor;
    fs.write(descriptor, this.#from, this.#start, this.#end - this.#start, this.#position, this.#onWritten);
  }

  #written(error: Error | null, written: number): void {
    if (error !== null) {
      this.#finish(error);
      return;
    }
    this.#start += written;
    this.#position += written;
    // The system may take less than it was given, when a signal or a full disk interrupts it.
    if (this.#start < this.#end) this.#writeOn();
    else if (this.#method === "dsync") this.#finish(null);
    else fs.fdatasync(this.#descriptor, this.#onSynced);
  }

  /** Forgets the write first, because `done` may begin the next. */
  #finish(error: Error | null): void {
    const done = this.#done!;
    this.#done = null;
    this.#from = NOTHING;
    done(error);
  }
}

const NOTHING = new Uint8Array(0);
