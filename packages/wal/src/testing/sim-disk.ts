/**
 * A disk that forgets. Everything written goes to the system's memory; `sync` and `syncDirectory` move it to the medium;
 * `crash` loses what is only in memory, except for an arbitrary part of it that happened to be written already. Used by
 * the tests of this room and by the simulator.
 *
 *   file        memory ──sync, writeDurably──▶ medium         at a crash each sector (512 bytes) that differs is old or
 *   directory   memory ──syncDirectory──────▶ medium          new, each on its own; so is each creation, renaming and
 *                                                             removal (a renaming is never half done)
 *
 * Faults: `onCall` sees every call before it happens and may return an error for it to fail with. A failed write or sync
 * leaves the bytes in memory and marks them clean, as Linux does: later reads see them, a later sync does not write
 * them, a crash loses them.
 *
 * Nothing here is asynchronous by itself: the ends of `writeDurably` are handed to `defer`, which the caller runs as its
 * scheduler pleases, or kept for `runPending`.
 */
import { posix } from "node:path";
import type { Disk, DiskFile, Random } from "@quorate/world";
import { SparseBytes } from "./sparse-bytes.ts";

export const SECTOR_BYTES = 512;

export type SimDiskCall =
  | "makeDirectory"
  | "readDirectory"
  | "rename"
  | "remove"
  | "syncDirectory"
  | "open"
  | "read"
  | "write"
  | "sync"
  | "writeDurably"
  | "truncate";

export interface SimDiskOptions {
  readonly random: Random;
  /** Takes the end of each `writeDurably`. Default: kept until `runPending`. */
  readonly defer?: (run: () => void) => void;
}

interface Inode {
  readonly memory: SparseBytes;
  readonly medium: SparseBytes;
  sizeBytes: number;
  mediumSizeBytes: number;
  /** Sectors whose bytes in memory are to be written to the medium. */
  readonly dirty: Set<number>;
  /** Sectors that a failed write or sync has marked clean although the medium lacks them. */
  readonly abandoned: Set<number>;
}

type DirectoryChange =
  | { readonly kind: "create"; readonly name: string; readonly inode: Inode }
  | { readonly kind: "remove"; readonly name: string }
  | { readonly kind: "rename"; readonly from: string; readonly to: string };

interface Directory {
  readonly memory: Map<string, Inode>;
  readonly medium: Map<string, Inode>;
  /** What was done in memory since the last sync, in order. */
  changes: DirectoryChange[];
  /** False while the directory's own creation may still be lost. */
  isDurable: boolean;
}

export class SimDisk implements Disk {
  /** Set to inject faults; return null to let the call happen. */
  onCall: ((call: SimDiskCall, path: string) => Error | null) | null = null;
  /** Bytes of all files together; what would grow a file beyond it fails with ENOSPC. Holes count as bytes. */
  capacityBytes: number = Number.POSITIVE_INFINITY;

  readonly #random: Random;
  readonly #defer: (run: () => void) => void;
  readonly #directories: Map<string, Directory> = new Map();
  #pending: (() => void)[] = [];
  /** Handles of an earlier boot are dead. */
  #boot = 0;

  constructor(options: SimDiskOptions) {
    this.#random = options.random;
    this.#defer = options.defer ?? ((run) => this.#pending.push(run));
    this.#directories.set("/", { memory: new Map(), medium: new Map(), changes: [], isDurable: true });
  }

  /** Ends the writes that are pending, and those they lead to, in order, `count` at most. */
  runPending(count: number = Number.POSITIVE_INFINITY): void {
    for (let i = 0; i < count; i++) {
      const run = this.#pending.shift();
      if (run === undefined) return;
      run();
    }
  }

  get pendingCount(): number {
    return this.#pending.length;
  }

  /** Power fails and comes back: memory is lost, open files are dead, pending ends never come. */
  crash(): void {
    this.#boot++;
    this.#pending = [];
    for (const directory of this.#directories.values()) this.#crashDirectory(directory);
    for (const [path, directory] of [...this.#directories]) {
      if (!directory.isDurable && this.#flip()) this.#directories.delete(path);
      else directory.isDurable = true;
    }
    const seen = new Set<Inode>();
    for (const directory of this.#directories.values()) {
      for (const inode of directory.memory.values()) {
        if (!seen.has(inode)) this.#crashInode(inode);
        seen.add(inode);
      }
    }
  }

  /** The process is killed, the system stays: memory survives, open files are dead, pending ends never come. */
  kill(): void {
    this.#boot++;
    this.#pending = [];
  }

  makeDirectory(path: string): void {
    this.#fault("makeDirectory", path);
    if (this.#directories.has(path)) throw systemError("EEXIST", "mkdir", path);
    const parent = posix.dirname(path);
    if (!this.#directories.has(parent)) throw systemError("ENOENT", "mkdir", path);
    this.#directories.set(path, { memory: new Map(), medium: new Map(), changes: [], isDurable: false });
  }

  readDirectory(path: string): string[] {
    this.#fault("readDirectory", path);
    const names = [...this.#directory(path, "scandir").memory.keys()];
    for (const other of this.#directories.keys()) {
      if (other !== "/" && posix.dirname(other) === path) names.push(posix.basename(other));
    }
    return names.sort();
  }

  exists(path: string): boolean {
    if (this.#directories.has(path)) return true;
    return this.#directories.get(posix.dirname(path))?.memory.has(posix.basename(path)) ?? false;
  }

  rename(from: string, to: string): void {
    this.#fault("rename", from);
    const directory = this.#directory(posix.dirname(from), "rename");
    if (posix.dirname(to) !== posix.dirname(from)) throw systemError("EXDEV", "rename", from);
    const inode = directory.memory.get(posix.basename(from));
    if (inode === undefined) throw systemError("ENOENT", "rename", from);
    directory.memory.delete(posix.basename(from));
    directory.memory.set(posix.basename(to), inode);
    directory.changes.push({ kind: "rename", from: posix.basename(from), to: posix.basename(to) });
  }

  remove(path: string): void {
    this.#fault("remove", path);
    if (this.#directories.has(path)) {
      if (this.readDirectory(path).length > 0) throw systemError("ENOTEMPTY", "rmdir", path);
      this.#directories.delete(path);
      return;
    }
    const directory = this.#directory(posix.dirname(path), "unlink");
    if (!directory.memory.delete(posix.basename(path))) throw systemError("ENOENT", "unlink", path);
    directory.changes.push({ kind: "remove", name: posix.basename(path) });
  }

  syncDirectory(path: string): void {
    this.#fault("syncDirectory", path);
    const directory = this.#directory(path, "fsync");
    for (const change of directory.changes) applyChange(directory.medium, change);
    directory.changes = [];
    for (const [other, child] of this.#directories) {
      if (posix.dirname(other) === path) child.isDurable = true;
    }
  }

  open(path: string, mode: "read" | "write" | "create"): DiskFile {
    this.#fault("open", path);
    const directory = this.#directory(posix.dirname(path), "open");
    const name = posix.basename(path);
    let inode = directory.memory.get(name);
    if (mode === "create") {
      if (inode !== undefined || this.#directories.has(path)) throw systemError("EEXIST", "open", path);
      inode = {
        memory: new SparseBytes(),
        medium: new SparseBytes(),
        sizeBytes: 0,
        mediumSizeBytes: 0,
        dirty: new Set(),
        abandoned: new Set(),
      };
      directory.memory.set(name, inode);
      directory.changes.push({ kind: "create", name, inode });
    }
    if (inode === undefined) throw systemError("ENOENT", "open", path);
    return this.#file(path, inode, mode !== "read");
  }

  /** For tests: changes bytes on the medium and in memory alike, as rot does. */
  damage(path: string, position: number, bytes: Uint8Array): void {
    const inode = this.#directory(posix.dirname(path), "damage").memory.get(posix.basename(path));
    if (inode === undefined) throw systemError("ENOENT", "damage", path);
    inode.memory.write(bytes, 0, bytes.length, position);
    inode.medium.write(bytes, 0, bytes.length, position);
  }

  /** For tests: all of a file's bytes as a reader would see them. */
  contents(path: string): Uint8Array {
    const file = this.open(path, "read");
    const bytes = new Uint8Array(file.sizeBytes());
    file.read(bytes, bytes.length, 0);
    file.close();
    return bytes;
  }

  #file(path: string, inode: Inode, isWritable: boolean): DiskFile {
    const boot = this.#boot;
    let isOpen = true;
    const check = (call: SimDiskCall, isWrite: boolean): void => {
      if (!isOpen || boot !== this.#boot || (isWrite && !isWritable)) throw systemError("EBADF", call, path);
      this.#fault(call, path);
    };
    return {
      path,
      sizeBytes: () => inode.sizeBytes,
      read: (into, length, position) => {
        check("read", false);
        const read = Math.max(0, Math.min(length, inode.sizeBytes - position));
        inode.memory.read(into, 0, read, position);
        return read;
      },
      write: (from, start, end, position) => {
        check("write", true);
        this.#write(inode, from, start, end, position, path);
      },
      sync: () => {
        try {
          check("sync", true);
        } catch (error) {
          abandon(inode);
          throw error;
        }
        flush(inode);
      },
      writeDurably: (from, start, end, position, done) => {
        let failure: Error | null = null;
        try {
          if (!isOpen || boot !== this.#boot || !isWritable) throw systemError("EBADF", "write", path);
          this.#write(inode, from, start, end, position, path);
          this.#fault("writeDurably", path);
        } catch (error) {
          failure = error as Error;
        }
        this.#defer(() => {
          // A deferred end that outlives its boot is dropped, whoever schedules it.
          if (boot !== this.#boot) return;
          if (failure === null) flushRange(inode, position, position + end - start);
          else abandon(inode);
          done(failure);
        });
      },
      truncate: (sizeBytes) => {
        check("truncate", true);
        if (this.#usedBytes() + sizeBytes - inode.sizeBytes > this.capacityBytes) {
          throw systemError("ENOSPC", "ftruncate", path);
        }
        for (let sector = Math.floor(sizeBytes / SECTOR_BYTES); sector * SECTOR_BYTES < inode.sizeBytes; sector++) {
          inode.dirty.add(sector);
        }
        if (sizeBytes < inode.sizeBytes) inode.memory.clearFrom(sizeBytes);
        inode.sizeBytes = sizeBytes;
      },
      close: () => {
        isOpen = false;
      },
    };
  }

  #write(inode: Inode, from: Uint8Array, start: number, end: number, position: number, path: string): void {
    const last = position + end - start;
    if (last > inode.sizeBytes) {
      if (this.#usedBytes() + last - inode.sizeBytes > this.capacityBytes) throw systemError("ENOSPC", "write", path);
      inode.sizeBytes = last;
    }
    inode.memory.write(from, start, end, position);
    for (let sector = Math.floor(position / SECTOR_BYTES); sector * SECTOR_BYTES < last; sector++) {
      inode.dirty.add(sector);
      inode.abandoned.delete(sector);
    }
  }

  #usedBytes(): number {
    let total = 0;
    for (const directory of this.#directories.values()) {
      for (const inode of directory.memory.values()) total += inode.sizeBytes;
    }
    return total;
  }

  #crashDirectory(directory: Directory): void {
    for (const change of directory.changes) {
      if (this.#flip()) applyChange(directory.medium, change);
    }
    directory.changes = [];
    directory.memory.clear();
    for (const [name, inode] of directory.medium) directory.memory.set(name, inode);
  }

  #crashInode(inode: Inode): void {
    for (const sector of inode.dirty) {
      if (this.#flip()) copySector(inode.memory, inode.medium, sector);
    }
    if (this.#flip()) inode.mediumSizeBytes = inode.sizeBytes;
    inode.medium.clearFrom(inode.mediumSizeBytes);
    for (const sector of inode.dirty) copySector(inode.medium, inode.memory, sector);
    for (const sector of inode.abandoned) copySector(inode.medium, inode.memory, sector);
    inode.memory.clearFrom(inode.mediumSizeBytes);
    inode.sizeBytes = inode.mediumSizeBytes;
    inode.dirty.clear();
    inode.abandoned.clear();
  }

  #directory(path: string, call: string): Directory {
    const directory = this.#directories.get(path);
    if (directory === undefined) throw systemError("ENOENT", call, path);
    return directory;
  }

  #fault(call: SimDiskCall, path: string): void {
    const error = this.onCall?.(call, path) ?? null;
    if (error !== null) throw error;
  }

  #flip(): boolean {
    return this.#random.below(2) === 1;
  }
}

/** An error as the operating system's calls throw it. */
export function systemError(code: string, call: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${call} '${path}'`), { code, syscall: call, path });
}

function applyChange(names: Map<string, Inode>, change: DirectoryChange): void {
  switch (change.kind) {
    case "create":
      names.set(change.name, change.inode);
      break;
    case "remove":
      names.delete(change.name);
      break;
    case "rename": {
      // Its source may be missing because the change that made it was lost.
      const inode = names.get(change.from);
      if (inode === undefined) break;
      names.delete(change.from);
      names.set(change.to, inode);
      break;
    }
    default:
      change satisfies never;
  }
}

function flush(inode: Inode): void {
  for (const sector of inode.dirty) copySector(inode.memory, inode.medium, sector);
  if (inode.sizeBytes < inode.mediumSizeBytes) inode.medium.clearFrom(inode.sizeBytes);
  inode.mediumSizeBytes = inode.sizeBytes;
  inode.dirty.clear();
}

/** A durable write vouches for its own bytes only, not for what was written to the file before. */
function flushRange(inode: Inode, from: number, until: number): void {
  for (let sector = Math.floor(from / SECTOR_BYTES); sector * SECTOR_BYTES < until; sector++) {
    if (inode.dirty.delete(sector)) copySector(inode.memory, inode.medium, sector);
  }
  inode.mediumSizeBytes = Math.max(inode.mediumSizeBytes, Math.min(until, inode.sizeBytes));
}

function abandon(inode: Inode): void {
  for (const sector of inode.dirty) inode.abandoned.add(sector);
  inode.dirty.clear();
}

const scratch = new Uint8Array(SECTOR_BYTES);

function copySector(from: SparseBytes, to: SparseBytes, sector: number): void {
  from.read(scratch, 0, SECTOR_BYTES, sector * SECTOR_BYTES);
  to.write(scratch, 0, SECTOR_BYTES, sector * SECTOR_BYTES);
}
