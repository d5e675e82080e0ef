/**
 * Snapshots for clients: a file of everything applied here, one cut, made in a worker and read back piece by piece.
 *
 *   open ──▶ flushed ──▶ written by storage ──▶ without a name, read as the client takes it ──▶ closed: gone
 *
 * A file lives as long as somebody reads it and has no name meanwhile, so whatever ends it leaves nothing behind. Each takes
 * the room of a database on the disk, so few of them exist at once. Nothing is kept for whoever restores from one: it begins
 * a cluster of its own, and needs none of our log.
 */
import type { DatabaseCut, SnapshotTask } from "@quorate/mvcc";
import type { AppliedState } from "./applied-state.ts";
import type { Databases, OutgoingFile } from "./databases.ts";

/** Being made or read, all clients together. */
export const CLIENT_SNAPSHOTS_MAX = 4;

/** As many as there may be are being made or read. */
export class TooManySnapshots extends Error {
  readonly kind = "TooManyRequests";
}

export interface ClientSnapshot {
  readonly cut: DatabaseCut;
  readonly file: OutgoingFile;
}

export interface ClientSnapshotsOwner {
  state(): AppliedState;
  /** Calls back when everything applied so far is durable in storage. */
  whenFlushed(done: () => void): void;
}

export class ClientSnapshots {
  readonly #databases: Databases;
  readonly #owner: ClientSnapshotsOwner;
  readonly #tasks = new Set<Task>();
  #isStopped = false;

  constructor(databases: Databases, owner: ClientSnapshotsOwner) {
    this.#databases = databases;
    this.#owner = owner;
  }

  /**
   * Makes a file. `done` is called later, once, unless the task was released before: with the file, the caller's to read and
   * then to release, or with what storage says of its failure; code "ECANCELED" if the member stops or storage is replaced.
   * @throws TooManySnapshots
   */
  open(done: (error: Error | null, snapshot: ClientSnapshot | null) => void): ClientSnapshotTask {
    if (this.#tasks.size >= CLIENT_SNAPSHOTS_MAX) {
      throw new TooManySnapshots(`${CLIENT_SNAPSHOTS_MAX} snapshots are being made or read already`);
    }
    const task = new Task(this.#tasks);
    this.#owner.whenFlushed(() => {
      if (task.isReleased) return task.made(null);
      const path = this.#databases.outgoingPath();
      const ended = (error: Error | null, cut: DatabaseCut | null): void => {
        const isWanted = !task.isReleased;
        let file: OutgoingFile | null = null;
        let failure = error;
        try {
          if (cut !== null && isWanted) file = this.#databases.openOutgoing(path);
        } catch (cause) {
          failure = cause as Error;
        }
        if (file === null) this.#databases.removeFile(path);
        task.made(file);
        if (isWanted) done(failure, file === null ? null : { cut: cut!, file });
      };
      if (this.#isStopped) ended(Object.assign(new Error("the member stops"), { code: "ECANCELED" }), null);
      else task.writing = this.#owner.state().backend.storage.writeSnapshot(path, ended, "process");
    });
    return task;
  }

  /** Those that are being written are given up, and no more are made. Files being read go with their readers. */
  stop(): void {
    this.#isStopped = true;
    for (const task of this.#tasks) task.writing?.cancel();
  }
}

export interface ClientSnapshotTask {
  /** Nobody wants it, or it has been read: gives up what is under way, and the file. May be called more than once. */
  release(): void;
}

/** Counts from the asking until it is released and nothing of it is under way: giving up makes no room by itself. */
class Task implements ClientSnapshotTask {
  writing: SnapshotTask | null = null;
  isReleased = false;
  #isMade = false;
  #file: OutgoingFile | null = null;
  readonly #counted: Set<Task>;

  constructor(counted: Set<Task>) {
    this.#counted = counted;
    counted.add(this);
  }

  made(file: OutgoingFile | null): void {
    this.#isMade = true;
    this.writing = null;
    this.#file = file;
    if (file === null || this.isReleased) this.#counted.delete(this);
  }

  release(): void {
    if (this.isReleased) return;
    this.isReleased = true;
    this.writing?.cancel();
    this.#file?.close();
    if (this.#isMade) this.#counted.delete(this);
  }
}
