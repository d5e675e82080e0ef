/**
 * A directory in the making: beside where it will be, under a name that nobody takes for it, until all of it is durable.
 * Then it is renamed, so whoever looks finds all of it or nothing (known failure WA-07).
 *
 *   <target>.unfinished ── filled, durable ──▶ <target>          what a crash left is removed by the next attempt
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import type { Disk } from "@quorate/world";
import { ExchangeError } from "./errors.ts";

const SUFFIX = ".unfinished";

export class UnfinishedDirectory {
  readonly #target: string;
  readonly #disk: Disk;
  #isInPlace = false;

  /**
   * Makes it, empty and for its owner alone, and what is missing above it. The target must not exist, or be an empty
   * directory.
   * @param noun names the target in the refusal, as etcdutl does: `data-dir`, `wal-dir`.
   * @throws ExchangeError
   */
  constructor(target: string, noun: string, disk: Disk) {
    this.#target = target.replace(/(?<=.)\/+$/, "");
    this.#disk = disk;
    if (!isAbsentOrEmpty(this.#target)) throw new ExchangeError(`${noun} "${target}" not empty or could not be read`);
    rmSync(this.path, { recursive: true, force: true });
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    mkdirSync(this.path, { mode: 0o700 });
  }

  /** Where it is filled. */
  get path(): string {
    return this.#target + SUFFIX;
  }

  /** What is in it must be durable. */
  putInPlace(): void {
    this.#disk.syncDirectory(this.path);
    renameSync(this.path, this.#target);
    this.#isInPlace = true;
    this.#disk.syncDirectory(dirname(this.#target));
  }

  /** Removes it, wherever it is by now. */
  discard(): void {
    rmSync(this.#isInPlace ? this.#target : this.path, { recursive: true, force: true });
  }
}

function isAbsentOrEmpty(path: string): boolean {
  if (!existsSync(path)) return true;
  try {
    return readdirSync(path).length === 0;
  } catch {
    return false; // Not a directory, or not ours to read.
  }
}
