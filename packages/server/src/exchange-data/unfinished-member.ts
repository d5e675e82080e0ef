/**
 * A member's directories in the making: beside where they will be, under names that nobody takes for them, until all of it
 * is durable. Then they are renamed, so whoever looks finds a whole member or none (known failure WA-07).
 *
 *   <data-dir>.unfinished ── filled, durable ──▶ <data-dir>        what a crash left is removed by the next attempt
 *   <wal-dir>.unfinished  ─────────────────────▶ <wal-dir>         first, if it lies elsewhere
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import type { Disk } from "@quorate/world";
import { ExchangeError } from "./errors.ts";

const SUFFIX = ".unfinished";

export class UnfinishedMember {
  /** The data directory; there is an empty `member` in it. */
  readonly directory: string;
  /** Exists and is empty. */
  readonly walDirectory: string;
  readonly #disk: Disk;
  /** In the order in which they get their names. */
  readonly #moves: { readonly from: string; readonly to: string }[] = [];
  readonly #placed: string[] = [];

  /**
   * The targets must not exist, or be empty directories. What is missing above them is made.
   * @param walTarget undefined: member/wal of the data directory.
   * @throws ExchangeError, what the system throws; nothing is left then.
   */
  constructor(target: string, walTarget: string | undefined, disk: Disk) {
    this.#disk = disk;
    refuseOccupied(target, "data-dir");
    if (walTarget !== undefined) refuseOccupied(walTarget, "wal-dir");
    const data = resolve(target);
    const inside = relative(data, resolve(walTarget ?? join(data, "member/wal")));
    const isElsewhere = inside.startsWith("..") || isAbsolute(inside);
    this.directory = data + SUFFIX;
    this.walDirectory = isElsewhere ? resolve(walTarget!) + SUFFIX : join(this.directory, inside);
    // A member with a directory but without its log is refused at a start; a log alone is nobody's.
    if (isElsewhere) this.#moves.push({ from: this.walDirectory, to: resolve(walTarget!) });
    this.#moves.push({ from: this.directory, to: data });
    try {
      for (const { from } of this.#moves) rmSync(from, { recursive: true, force: true });
      for (const each of [join(this.directory, "member"), this.walDirectory]) {
        mkdirSync(each, { recursive: true, mode: 0o700 });
      }
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  /** What is in the directories must be durable, but for their own names. */
  putInPlace(): void {
    for (const each of [
      this.walDirectory,
      dirname(this.walDirectory),
      join(this.directory, "member"),
      this.directory,
    ]) {
      this.#disk.syncDirectory(each);
    }
    for (const { from, to } of this.#moves) {
      renameSync(from, to);
      this.#placed.push(to);
      this.#disk.syncDirectory(dirname(to));
    }
  }

  /** Removes all of it, wherever it is by now. */
  discard(): void {
    for (const path of [...this.#placed, ...this.#moves.map(({ from }) => from)]) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}

function refuseOccupied(path: string, noun: string): void {
  if (!existsSync(path)) return;
  try {
    if (readdirSync(path).length === 0) return;
  } catch {
    // Not a directory, or not ours to read.
  }
  throw new ExchangeError(`${noun} ${JSON.stringify(path)} not empty or could not be read`);
}
