/**
 * A member's databases in directories beside each other:
 *
 *   db/                 the first one
 *   db.<index, hex>/    made of the leader's snapshot at that index; takes the first one's place when it is installed
 *
 * A start opens all that are complete and lets the log choose (open-member.ts). What a crash left unfinished, an
 * incomplete database or a snapshot file, is removed here before anything is opened (known failure SN-04).
 */
import { close, existsSync, mkdirSync, openSync, read, readdirSync, rmSync } from "node:fs";
import { Backend, LmdbStorage, type Storage } from "@quorate/mvcc";
import { assert, type Log } from "@quorate/world";
import type { Databases, OutgoingFile } from "./databases.ts";

const FIRST = "db";
const NAME = /^db(\.[0-9a-f]{16})?$/;

export class LmdbDatabases implements Databases {
  readonly #directory: string;
  readonly #snapshotDirectory: string;
  readonly #log: Log;
  readonly #names = new Map<Storage, string>();
  #outgoingCount = 0;

  /** Both directories belong to this member alone; the second one is made if it is missing. */
  constructor(directory: string, snapshotDirectory: string, log: Log) {
    this.#directory = directory;
    this.#snapshotDirectory = snapshotDirectory;
    this.#log = log;
    mkdirSync(snapshotDirectory, { recursive: true, mode: 0o700 });
  }

  /** A database is there. */
  holdState(): boolean {
    return this.#found().some((name) => readdirSync(`${this.#directory}/${name}`).length > 0);
  }

  /** Opens all that are complete, the first one made if there is none. */
  open(): Storage[] {
    for (const name of readdirSync(this.#snapshotDirectory)) {
      rmSync(`${this.#snapshotDirectory}/${name}`, { recursive: true, force: true });
    }
    const names = this.#found();
    const storages: Storage[] = [];
    for (const name of names) {
      const storage = this.#open(name);
      const isUnfinished = name !== FIRST && new Backend({ storage }).flushedIndex === 0;
      if (isUnfinished) this.discard(storage);
      else storages.push(storage);
    }
    return storages.length > 0 ? storages : [this.#open(FIRST)];
  }

  receive(path: string, index: number, done: (error: Error | null, storage: Storage | null) => void): void {
    const name = `${FIRST}.${index.toString(16).padStart(16, "0")}`;
    const directory = `${this.#directory}/${name}`;
    if ([...this.#names.values()].includes(name)) {
      // The same snapshot came before, and what was made of it is being closed: raft had no use for it then.
      this.removeFile(path);
      queueMicrotask(() => done(new Error(`${directory} is still in use`), null));
      return;
    }
    // One that was being made when an earlier transfer ended.
    LmdbStorage.remove(directory);
    LmdbStorage.readSnapshot({ path, directory }, (error, storage) => {
      this.removeFile(path);
      if (storage !== null) this.#names.set(storage, name);
      done(error, storage);
    });
  }

  discard(storage: Storage): void {
    const name = this.#names.get(storage);
    assert(name !== undefined, "a discarded database is one of ours");
    storage.close((error) => {
      this.#names.delete(storage);
      if (error !== null) this.#log.warn("failed to close a database that is not used any more", { name, error });
      LmdbStorage.remove(`${this.#directory}/${name}`);
    });
  }

  outgoingPath(): string {
    this.#outgoingCount++;
    return `${this.#snapshotDirectory}/outgoing-${this.#outgoingCount}.db`;
  }

  openOutgoing(path: string): OutgoingFile {
    const descriptor = openSync(path, "r");
    rmSync(path);
    return new DescriptorFile(descriptor);
  }

  removeFile(path: string): void {
    rmSync(path, { force: true });
  }

  #found(): string[] {
    if (!existsSync(this.#directory)) return [];
    return readdirSync(this.#directory)
      .filter((name) => NAME.test(name))
      .sort();
  }

  #open(name: string): Storage {
    const storage = new LmdbStorage({ directory: `${this.#directory}/${name}` });
    this.#names.set(storage, name);
    return storage;
  }
}

class DescriptorFile implements OutgoingFile {
  readonly #descriptor: number;
  #isReading = false;
  #isClosed = false;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  read(into: Uint8Array, position: number, done: (error: Error | null, readBytes: number) => void): void {
    assert(!this.#isReading && !this.#isClosed, "an open file is read once at a time");
    this.#isReading = true;
    let at = 0;
    const next = (): void => {
      read(this.#descriptor, into, at, into.length - at, position + at, (error, readBytes) => {
        at += readBytes ?? 0;
        if (error === null && readBytes > 0 && at < into.length && !this.#isClosed) return next();
        this.#isReading = false;
        if (this.#isClosed) this.#release();
        else done(error, at);
      });
    };
    next();
  }

  /** The descriptor's number may be another file's as soon as it is released: not while a read uses it. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.#isReading) this.#release();
  }

  #release(): void {
    // Read from to its end and nameless: nothing is left that could fail.
    close(this.#descriptor, () => {});
  }
}
