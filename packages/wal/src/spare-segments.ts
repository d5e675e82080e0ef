/**
 * Keeps the next segment ready, so that a cut costs nothing and appends never meet a full disk by surprise. Called by
 * `Wal`: `advance` after each save, `take` at a cut, `offer` when a segment is released.
 *
 * A spare bears its final name from the start; it becomes part of the log by the write of its first batch and by nothing
 * else. There are two sources. A released segment is renamed and ready at once, its blocks being written already. Without
 * one, a new file is filled with zeroes, a slice at a time between saves, at twice the pace at which the current segment
 * fills: that needs no timer and idles when the log idles.
 *
 *   absent ──advance──▶ filling ──last slice──▶ ready ──take──▶ (in the log)
 *                          └────take: the rest is left a hole, slower to write but as safe────▶ (in the log)
 *
 * A full disk is no failure here: filling is put off until the log has grown a little more. Any other error is.
 */
import { Buffer } from "node:buffer";
import { assert, type Disk, type DiskFile, type Log } from "@quorate/world";
import { diskError, isNoSpace, WalIoError, WalNoSpaceError } from "./errors.ts";
import { PAGE_BYTES, segmentName } from "./format.ts";

const SLICE_BYTES = 262_144;
/** More than this are removed instead of recycled. */
const SPARES_MAX = 2;
/** After a full disk, the part of a segment that is written before filling is tried again. */
const RETRY_SHARE = 16;

export interface SpareSegment {
  readonly sequence: number;
  readonly file: DiskFile;
  /** Up to here the blocks have been written. */
  filledBytes: number;
}

export interface SpareSegmentsOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly segmentBytes: number;
  readonly log: Log;
  /** The sequence number of the first spare. */
  readonly nextSequence: number;
}

export class SpareSegments {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #log: Log;
  readonly #zeroes: Buffer;
  readonly #spares: SpareSegment[] = [];
  #nextSequence: number;
  #usedBytes = 0;
  /** Filling waits until the current segment holds this many bytes. */
  #notBeforeBytes = 0;
  #isFilling = false;
  #isClosed = false;
  #failure: Error | null = null;
  #waiting: (() => void) | null = null;
  readonly #onSlice: (error: Error | null) => void = (error) => this.#sliceDone(error);

  constructor(options: SpareSegmentsOptions) {
    this.#disk = options.disk;
    this.#directory = options.directory;
    this.#segmentBytes = options.segmentBytes;
    this.#log = options.log;
    this.#nextSequence = options.nextSequence;
    this.#zeroes = Buffer.alloc(Math.min(SLICE_BYTES, options.segmentBytes));
  }

  get sizeBytes(): number {
    let total = 0;
    for (const spare of this.#spares) total += spare.filledBytes;
    return total;
  }

  /** A spare found while opening; its sequence number must be the next free one. The file is transferred. */
  adopt(sequence: number, file: DiskFile): void {
    assert(sequence === this.#nextSequence + this.#spares.length, "spare segments continue the sequence");
    const filledBytes = Math.min(file.sizeBytes(), this.#segmentBytes);
    this.#spares.push({ sequence, file, filledBytes: filledBytes - (filledBytes % PAGE_BYTES) });
  }

  /** What filling met, if it was more than a full disk; null otherwise. */
  get failure(): Error | null {
    return this.#failure;
  }

  /** True if another segment can be adopted or offered. */
  get hasRoom(): boolean {
    return this.#spares.length < SPARES_MAX;
  }

  /** `usedBytes` of the current segment are written. Throws what an earlier slice met, or what the disk throws. */
  advance(usedBytes: number): void {
    if (this.#failure !== null) throw this.#failure;
    this.#usedBytes = usedBytes;
    if (this.#isFilling || this.#isClosed || usedBytes < this.#notBeforeBytes) return;
    if (this.#spares.length === 0) {
      try {
        this.#create();
      } catch (error) {
        if (!(error instanceof WalNoSpaceError)) throw error;
        this.#putOff(error);
        return;
      }
    }
    const spare = this.#unfilled();
    if (spare === undefined) return;
    const goal = Math.min(this.#segmentBytes, 2 * usedBytes + SLICE_BYTES);
    if (spare.filledBytes >= goal) return;
    this.#isFilling = true;
    const end = Math.min(this.#zeroes.length, this.#segmentBytes - spare.filledBytes);
    spare.file.writeDurably(this.#zeroes, 0, end, spare.filledBytes, this.#onSlice);
  }

  /**
   * The next segment, of full size and durable in its directory, transferred to the caller. Null if a slice is on its
   * way to it: then `again` is called when it has arrived. Throws the disk's error.
   */
  take(again: () => void): SpareSegment | null {
    if (this.#failure !== null) throw this.#failure;
    if (this.#isFilling && this.#spares[0] === this.#unfilled()) {
      this.#waiting = again;
      return null;
    }
    if (this.#spares.length === 0) {
      this.#notBeforeBytes = 0;
      this.#create();
    }
    const spare = this.#spares[0]!;
    if (spare.file.sizeBytes() !== this.#segmentBytes) {
      try {
        spare.file.truncate(this.#segmentBytes);
        spare.file.sync();
      } catch (error) {
        throw diskError("grow", spare.file.path, error);
      }
    }
    this.#spares.shift();
    this.#nextSequence++;
    this.#usedBytes = 0;
    this.#notBeforeBytes = 0;
    return spare;
  }

  /** Recycles or removes the file of a released segment. Returns after that is durable. Throws the disk's error. */
  offer(path: string, sizeBytes: number): void {
    try {
      if (this.hasRoom && sizeBytes === this.#segmentBytes) {
        const sequence = this.#nextSequence + this.#spares.length;
        const to = `${this.#directory}/${segmentName(sequence)}`;
        this.#disk.rename(path, to);
        this.#disk.syncDirectory(this.#directory);
        this.#spares.push({ sequence, file: this.#disk.open(to, "write"), filledBytes: sizeBytes });
      } else {
        this.#disk.remove(path);
        this.#disk.syncDirectory(this.#directory);
      }
    } catch (error) {
      throw diskError("recycle", path, error);
    }
  }

  /** Closes the files; one with a slice on its way, when that has arrived. */
  close(): void {
    this.#isClosed = true;
    this.#waiting = null;
    if (this.#isFilling) return;
    for (const spare of this.#spares) spare.file.close();
    this.#spares.length = 0;
  }

  #unfilled(): SpareSegment | undefined {
    for (const spare of this.#spares) if (spare.filledBytes < this.#segmentBytes) return spare;
    return undefined;
  }

  #create(): void {
    const path = `${this.#directory}/${segmentName(this.#nextSequence)}`;
    let file: DiskFile;
    try {
      file = this.#disk.open(path, "create");
    } catch (error) {
      throw diskError("create", path, error);
    }
    this.#spares.push({ sequence: this.#nextSequence, file, filledBytes: 0 });
    try {
      this.#disk.syncDirectory(this.#directory);
    } catch (error) {
      throw new WalIoError("sync the directory of", path, error);
    }
  }

  #sliceDone(error: Error | null): void {
    this.#isFilling = false;
    const spare = this.#unfilled();
    assert(spare !== undefined, "a spare stays unfilled while its slice is written");
    if (error === null) {
      spare.filledBytes = Math.min(spare.filledBytes + this.#zeroes.length, this.#segmentBytes);
    } else if (isNoSpace(error)) {
      this.#putOff(error);
    } else {
      this.#failure = diskError("fill", spare.file.path, error);
    }
    if (this.#isClosed) {
      this.close();
      return;
    }
    const waiting = this.#waiting;
    if (waiting !== null) {
      this.#waiting = null;
      waiting();
    } else if (this.#failure === null) {
      try {
        this.advance(this.#usedBytes);
      } catch (failure) {
        this.#failure = failure as Error;
      }
    }
  }

  #putOff(error: Error): void {
    this.#notBeforeBytes = this.#usedBytes + this.#segmentBytes / RETRY_SHARE;
    this.#log.warn("no space to prepare the next log segment, trying again later", {
      directory: this.#directory,
      error,
    });
  }
}
