/**
 * A simulated machine's databases, as lmdb-databases.ts keeps them in directories: images survive the process, storages
 * over them do not. What is discarded stays on "disk" until its storage has closed, so that a crash may leave it behind.
 */
import { Backend, MemoryImage, MemoryStorage, type Storage } from "@quorate/mvcc";
import type { SimDisk } from "@quorate/wal/testing";
import type { Databases, OutgoingFile } from "../member/databases.ts";

type Schedule = (complete: () => void) => void;

export class SimulatedDatabases implements Databases {
  readonly #disk: SimDisk;
  readonly #directory: string;
  readonly #images: MemoryImage[] = [];
  #storages: MemoryStorage[] = [];
  #schedule: Schedule | undefined;
  #outgoingCount = 0;
  /** Snapshots that are becoming databases. */
  #readings: ReturnType<typeof MemoryStorage.readSnapshot>[] = [];
  /** Of snapshot files, under way. */
  readonly #reads: (() => void)[] = [];

  constructor(disk: SimDisk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  /** Of the database that has been there for longest. */
  get image(): MemoryImage {
    return this.#images[0]!;
  }

  /** On "disk", the discarded ones included that have not closed yet. */
  get count(): number {
    return this.#images.length;
  }

  /** The process starts: one storage over each image that is complete. */
  open(schedule?: Schedule): Storage[] {
    this.#schedule = schedule;
    if (this.#images.length === 0) this.#images.push(new MemoryImage());
    this.#storages = this.#images.map((image) => this.#over(image));
    const unfinished = this.#storages.slice(1).filter((storage) => new Backend({ storage }).flushedIndex === 0);
    for (const storage of unfinished) this.#forget(storage);
    return [...this.#storages];
  }

  receive(path: string, _index: number, done: (error: Error | null, storage: Storage | null) => void): void {
    const schedule = this.#schedule === undefined ? {} : { schedule: this.#schedule };
    const reading = MemoryStorage.readSnapshot({ path, disk: this.#disk, ...schedule }, (error, storage) => {
      this.#readings = this.#readings.filter((each) => each !== reading);
      this.removeFile(path);
      if (storage !== null) {
        this.#images.push(storage.image);
        this.#storages.push(storage);
      }
      done(error, storage);
    });
    this.#readings.push(reading);
  }

  discard(storage: Storage): void {
    storage.close(() => this.#forget(storage as MemoryStorage));
  }

  outgoingPath(): string {
    this.#outgoingCount++;
    return `${this.#directory}/outgoing-${this.#outgoingCount}.db`;
  }

  openOutgoing(path: string): OutgoingFile {
    const file = this.#disk.open(path, "read");
    const bytes = Buffer.alloc(file.sizeBytes());
    file.read(bytes, bytes.length, 0);
    file.close();
    this.removeFile(path);
    let isClosed = false;
    return {
      read: (into, position, done) => {
        const complete = (): void => {
          if (!isClosed) done(null, bytes.copy(into, 0, position));
        };
        if (this.#schedule === undefined) this.#reads.push(complete);
        else this.#schedule(complete);
      },
      close: () => {
        isClosed = true;
      },
    };
  }

  removeFile(path: string): void {
    if (this.#disk.exists(path)) this.#disk.remove(path);
  }

  /** Completes the oldest thing under way in one of them; false if there is none. */
  step(): boolean {
    const read = this.#reads.shift();
    read?.();
    return (
      read !== undefined || this.#storages.some((each) => each.step()) || this.#readings.some((each) => each.step())
    );
  }

  /** The process is gone. */
  crash(): void {
    for (const storage of this.#storages) storage.crash();
    for (const reading of this.#readings) reading.cancel();
    this.#storages = [];
    this.#readings = [];
    this.#reads.length = 0;
  }

  #over(image: MemoryImage): MemoryStorage {
    return new MemoryStorage({
      image,
      disk: this.#disk,
      ...(this.#schedule === undefined ? {} : { schedule: this.#schedule }),
    });
  }

  #forget(storage: MemoryStorage): void {
    this.#storages = this.#storages.filter((each) => each !== storage);
    this.#images.splice(this.#images.indexOf(storage.image), 1);
  }
}
