/**
 * A member's directories in the making, under a name that nobody takes for them until all of it is durable. Then they are
 * renamed, so whoever looks finds a whole member or none (known failure WA-07). Used by import, export and restore.
 *
 *   <data-dir>.unfinished/data         ─▶ <data-dir>           if there is no data directory yet
 *   <data-dir>/.unfinished/data/member ─▶ <data-dir>/member    if there is an empty one, which may be a mount point
 *   <wal-dir>.unfinished/log           ─▶ <wal-dir>            first, if it is not in the data directory
 *
 * Invariants:
 *  - each `.unfinished` is locked by the process that works in it: a second one is refused, and takes nothing away;
 *  - what a killed process left in it is removed by the next attempt. So is the log, if that had its name already: a
 *    note in the data directory's `.unfinished` says which directory it was, and no other is taken for it;
 *  - a log alone is nobody's, but a member without its log would be refused at a start: the log goes first.
 */
import { existsSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { type Disk, type Log, silentLog } from "@quorate/world";
import { makeDurably } from "../member/data-directory.ts";
import { DirectoryLock, isLockName } from "../world/directory-lock.ts";

const NAME = ".unfinished";
/** The note: where the log was put, and the number that the file system knows it by. */
const NOTE = "log-in-place";

export interface UnfinishedMemberOptions {
  /** The data directory: must not exist, or be empty. */
  readonly target: string;
  /** null: member/wal of the data directory. */
  readonly walTarget: string | null;
  /** Whether the log's directory may exist if it is empty. */
  readonly takesEmptyWal: boolean;
  readonly disk: Disk;
  /** The error to throw if a place is taken. */
  readonly refuse: (place: "data-dir" | "wal-dir", path: string) => Error;
}

interface Move {
  readonly from: string;
  readonly to: string;
}

export class UnfinishedMember {
  /** Becomes the data directory; there is an empty `member` in it. */
  readonly directory: string;
  /** Exists and is empty. */
  readonly walDirectory: string;
  readonly #options: UnfinishedMemberOptions;
  readonly #target: string;
  /** Where the work is done: of the data directory, and of the log if it is elsewhere. */
  readonly #sites: string[];
  /** null: the log goes with the data directory. */
  readonly #walMove: Move | null;
  readonly #move: Move;
  readonly #placed: string[] = [];
  #locks: DirectoryLock[] = [];

  /**
   * Makes empty directories, in place of what a killed process has left. What is missing above them is made.
   * @throws what `refuse` gives, DirectoryLockError, what the system throws; nothing is left then.
   */
  static async prepare(options: UnfinishedMemberOptions): Promise<UnfinishedMember> {
    const made = new UnfinishedMember(options);
    made.#refuseOccupied();
    try {
      await made.#lock();
      // Who held the lock before may have come to its end.
      made.#refuseOccupied();
    } catch (error) {
      made.#removeSites();
      throw error;
    }
    try {
      made.#clear();
    } catch (error) {
      made.discard();
      throw error;
    }
    return made;
  }

  private constructor(options: UnfinishedMemberOptions) {
    const { target, walTarget } = options;
    this.#options = options;
    this.#target = resolve(target);
    const isThere = existsSync(this.#target);
    const site = isThere ? join(this.#target, NAME) : this.#target + NAME;
    this.directory = join(site, "data");
    const wal = resolve(walTarget ?? join(this.#target, "member/wal"));
    if (wal === this.#target) throw options.refuse("wal-dir", wal);
    if (isInside(wal, isThere ? join(this.#target, "member") : this.#target)) {
      this.walDirectory = join(this.directory, relative(this.#target, wal));
      this.#walMove = null;
      this.#sites = [site];
    } else {
      this.walDirectory = join(wal + NAME, "log");
      this.#walMove = { from: this.walDirectory, to: wal };
      this.#sites = [site, wal + NAME];
    }
    this.#move = isThere
      ? { from: join(this.directory, "member"), to: join(this.#target, "member") }
      : { from: this.directory, to: this.#target };
  }

  /** What is in the directories must be durable, but for their own names. */
  putInPlace(): void {
    const { disk } = this.#options;
    const parents = [dirname(this.walDirectory), join(this.directory, "member"), this.directory];
    for (const each of [this.walDirectory, ...parents]) disk.syncDirectory(each);
    if (this.#walMove !== null) {
      const { from, to } = this.#walMove;
      writeFileSync(this.#notePath, noteOf(from, to), { flush: true });
      disk.syncDirectory(this.#sites[0]!);
      this.#rename(this.#walMove);
    }
    this.#rename(this.#move);
    this.#removeSites();
  }

  /** Removes all of it, wherever it is by now. */
  discard(): void {
    for (const path of this.#placed) rmSync(path, { recursive: true, force: true });
    this.#removeSites();
  }

  /** A parent whose names cannot be synced is the operator's, and no news to somebody who restores. */
  get #world(): { disk: Disk; log: Log } {
    return { disk: this.#options.disk, log: silentLog };
  }

  get #notePath(): string {
    return join(this.#sites[0]!, NOTE);
  }

  /** The log that a killed process has put in place without its member; null if what is there is not that. */
  #leftLog(): string | null {
    if (this.#walMove === null || !existsSync(this.#notePath)) return null;
    const { to } = this.#walMove;
    return existsSync(to) && readFileSync(this.#notePath, "utf8") === noteOf(to, to) ? to : null;
  }

  #refuseOccupied(): void {
    const { takesEmptyWal, refuse } = this.#options;
    const wal = this.#walMove?.to ?? null;
    const leftLog = this.#leftLog();
    const ours = leftLog === null ? this.#sites : [...this.#sites, leftLog];
    const isOurs = (path: string): boolean => ours.some((each) => isInside(each, path));
    if (!isFree(this.#target, isOurs)) throw refuse("data-dir", this.#target);
    if (wal === null || wal === leftLog) return;
    if (!(takesEmptyWal ? isFree(wal, isOurs) : !existsSync(wal))) throw refuse("wal-dir", wal);
  }

  async #lock(): Promise<void> {
    for (const site of this.#sites) {
      makeDurably(site, this.#world);
      try {
        this.#locks.push(await DirectoryLock.acquire(site));
      } catch (error) {
        removeIfEmpty(site);
        throw error;
      }
    }
    const leftLog = this.#leftLog();
    if (leftLog !== null) this.#locks.push(await DirectoryLock.acquire(leftLog));
  }

  #clear(): void {
    const leftLog = this.#leftLog();
    if (leftLog !== null) rmSync(leftLog, { recursive: true });
    for (const site of this.#sites) {
      for (const name of readdirSync(site)) if (!isLockName(name)) rmSync(join(site, name), { recursive: true });
    }
    for (const each of [join(this.directory, "member"), this.walDirectory]) makeDurably(each, this.#world);
  }

  #rename({ from, to }: Move): void {
    renameSync(from, to);
    this.#placed.push(to);
    this.#options.disk.syncDirectory(dirname(to));
  }

  /** Those that are locked by this process; the locks last, for until then nobody else comes in. */
  #removeSites(): void {
    for (const site of this.#sites.slice(0, this.#locks.length)) {
      try {
        rmSync(site, { recursive: true, force: true });
      } catch {
        // The next attempt removes it; the member is in place, or is not.
      }
    }
    for (const lock of this.#locks) lock.release();
    this.#locks = [];
  }
}

function isInside(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** Nothing, or an empty directory but for what `isOurs` knows. */
function isFree(directory: string, isOurs: (path: string) => boolean): boolean {
  if (!existsSync(directory)) return true;
  try {
    return readdirSync(directory).every((name) => isOurs(join(directory, name)));
  } catch {
    // Not a directory, or not ours to read.
    return false;
  }
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Somebody works in it.
  }
}

/** A directory keeps its number when it is renamed. */
function noteOf(directory: string, to: string): string {
  return `${statSync(directory).ino} ${to}\n`;
}
