/**
 * Puts saves and snapshot marks into the log one after the other: the log takes one write at a time, consensus has at most
 * one save under way, and a mark may become due at any moment.
 *
 *   save ──▶ idle? ── yes ─▶ write        a mark waits for the save under way, a save for the mark
 *   replace: the log begins anew behind a snapshot from the leader; no save is under way, a waiting mark is of no use any more
 *
 * A mark says that storage has everything up to an index, durably; only when the mark is durable itself are the segments
 * behind it given up (known failures SN-01, WA-18).
 */
import type { Entry, HardState } from "@quorate/raft";
import type { SnapshotMark, Wal } from "@quorate/wal";
import { assert, BrokenInvariant } from "@quorate/world";
import type { DurableLog } from "./log-appends.ts";

type Done = (error: Error | null) => void;

/** What is used of the log. */
export type LogFile = Pick<Wal, "save" | "saveSnapshotMark" | "replaceWithSnapshot" | "release">;

interface WaitingSave {
  readonly entries: readonly Entry[];
  readonly hardState: HardState | null;
  readonly done: Done;
}

interface WaitingMark {
  readonly mark: SnapshotMark;
  readonly hardState: HardState;
  readonly done: () => void;
}

export class LogWriter implements DurableLog {
  readonly #wal: LogFile;
  readonly #failed: (error: Error) => void;
  #isBusy = false;
  #save: WaitingSave | null = null;
  #mark: WaitingMark | null = null;
  readonly #idleWaiters: (() => void)[] = [];
  #markedIndex: number;
  readonly #onSaved: Done = (error) => this.#saved(error);
  #saveDone: Done | null = null;

  /**
   * `markedIndex`: of the newest mark in the log, 0 if there is none. `failed` hears of a mark that could not be written and
   * of a log that takes nothing any more; nothing is written afterwards.
   */
  constructor(wal: LogFile, markedIndex: number, failed: (error: Error) => void) {
    this.#wal = wal;
    this.#markedIndex = markedIndex;
    this.#failed = failed;
  }

  /** Index of the newest mark, durable or on its way. */
  get markedIndex(): number {
    return this.#markedIndex;
  }

  save(entries: readonly Entry[], hardState: HardState | null, done: Done): void {
    assert(this.#save === null && this.#saveDone === null, "one save at a time");
    if (this.#isBusy) this.#save = { entries, hardState, done };
    else this.#begin(entries, hardState, done);
  }

  /**
   * `done` when the mark is durable and what lies behind it is released. `hardState` says that its index is committed. A
   * mark that waits is replaced by a newer one.
   */
  mark(mark: SnapshotMark, hardState: HardState, done: () => void): void {
    if (mark.index <= this.#markedIndex) {
      this.whenIdle(done);
      return;
    }
    this.#markedIndex = mark.index;
    this.#mark = { mark, hardState, done };
    if (!this.#isBusy) this.#next();
  }

  /** `done` when the log begins behind the snapshot, durably, and what lay before it is released. */
  replace(mark: SnapshotMark, hardState: HardState, done: () => void): void {
    assert(this.#save === null && this.#saveDone === null, "no save is under way when the log is replaced");
    this.whenIdle(() => {
      this.#markedIndex = mark.index;
      this.#isBusy = true;
      this.#attempt(() => this.#wal.replaceWithSnapshot(mark, hardState, (error) => this.#marked(mark, done, error)));
    });
  }

  /** Calls back when nothing is being written or waits to be. */
  whenIdle(done: () => void): void {
    if (!this.#isBusy) done();
    else this.#idleWaiters.push(done);
  }

  #begin(entries: readonly Entry[], hardState: HardState | null, done: Done): void {
    this.#isBusy = true;
    this.#saveDone = done;
    this.#attempt(() => this.#wal.save(entries, hardState, this.#onSaved));
  }

  /** What the log throws is what made it unusable. We stay busy, so that nothing follows. */
  #attempt(write: () => void): void {
    try {
      write();
    } catch (error) {
      if (error instanceof BrokenInvariant || !(error instanceof Error)) throw error;
      this.#isBusy = true;
      this.#failed(error);
    }
  }

  #saved(error: Error | null): void {
    const done = this.#saveDone!;
    this.#saveDone = null;
    if (error !== null) {
      done(error);
      return;
    }
    // A waiting mark goes before the next save, which `done` begins: under load there always is one.
    this.#isBusy = false;
    if (this.#mark !== null) this.#next();
    done(null);
    if (!this.#isBusy) this.#next();
  }

  #marked(mark: SnapshotMark, done: () => void, error: Error | null): void {
    if (error !== null) {
      this.#failed(error);
      return;
    }
    this.#isBusy = false;
    this.#attempt(() => this.#wal.release(mark.index));
    if (this.#isBusy) return;
    done();
    if (!this.#isBusy) this.#next();
  }

  /**
   * A save that waits did so for a mark. If another mark waits as well, it may know of the save's hard state, which speaks
   * of the save's entries: so the save goes first.
   */
  #next(): void {
    if (this.#save !== null) {
      const { entries, hardState, done } = this.#save;
      this.#save = null;
      this.#begin(entries, hardState, done);
    } else if (this.#mark !== null) {
      const { mark, hardState, done } = this.#mark;
      this.#mark = null;
      this.#isBusy = true;
      this.#attempt(() => this.#wal.saveSnapshotMark(mark, hardState, (error) => this.#marked(mark, done, error)));
    } else {
      // One of them may begin a write, which the others wait for as well.
      while (!this.#isBusy && this.#idleWaiters.length > 0) this.#idleWaiters.shift()!();
    }
  }
}
