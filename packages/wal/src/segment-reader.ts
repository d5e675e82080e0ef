/**
 * Reads one segment: valid batches in order, then what lies behind them. Called while opening.
 *
 * It tells three things apart, by the rule in `format.ts`: a valid batch, a place where no complete batch is (the end of
 * the log, or a batch torn by a crash), and corruption, which is thrown. Lengths are checked before anything is
 * allocated. Bytes beyond the end of the file read as zeroes.
 */
import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";
import type { DiskFile } from "@quorate/world";
import { diskError, WalCorruptError, WalVersionError } from "./errors.ts";
import {
  BATCH_HEADER_BYTES,
  FORMAT_VERSION,
  IDENTITY_OFFSET,
  LABEL,
  MAGIC_BYTES,
  PAYLOAD_BYTES,
  SECTOR_BYTES,
  sectorsFor,
} from "./format.ts";
import { classify, DAMAGED, mix, UNWRITTEN } from "./sector.ts";

const WINDOW_BYTES = 1_048_576;

/** A valid batch: its records are `bytes[recordsAt, bytes.length)`. The bytes are the caller's. */
export interface Batch {
  readonly bytes: Buffer;
  readonly recordsAt: number;
  readonly sectorCount: number;
  readonly chain: number;
}

/** The part of one segment that is in memory; shared by the readers of a log, of which one is at work at a time. */
export class ReadWindow {
  readonly buffer: Buffer = Buffer.allocUnsafeSlow(WINDOW_BYTES);
  owner: SegmentReader | null = null;
  firstSector = 0;
}

export class SegmentReader {
  readonly path: string;
  readonly sequence: number;
  readonly sectorCount: number;
  /** Stays the caller's to close. */
  readonly file: DiskFile;
  readonly #sizeBytes: number;
  readonly #shared: ReadWindow;
  readonly #window: Buffer;
  #salt = 0;

  constructor(file: DiskFile, sequence: number, window: ReadWindow) {
    this.file = file;
    this.path = file.path;
    this.sequence = sequence;
    this.#sizeBytes = file.sizeBytes();
    this.sectorCount = Math.floor(this.#sizeBytes / SECTOR_BYTES);
    this.#shared = window;
    this.#window = window.buffer;
  }

  /** The identity in the label of the log's first segment, unverified: its batch must still be read. */
  readIdentity(): bigint {
    const at = this.#locate(0);
    this.#checkLabel(at);
    return this.#window.readBigUInt64LE(at + IDENTITY_OFFSET);
  }

  /** Must be called before anything below. */
  setSalt(salt: number): void {
    this.#salt = salt;
  }

  get salt(): number {
    return this.#salt;
  }

  /** The batch that starts at `start`, or null if none is complete there. Throws WalCorruptError. */
  readBatch(start: number, chain: number): Batch | null {
    if (start >= this.sectorCount || !this.#belongs(start, start)) return null;
    let at = this.#locate(start);
    let recordsAt = BATCH_HEADER_BYTES;
    if (start === 0) {
      this.#checkLabel(at);
      recordsAt += LABEL.length;
    }
    const header = recordsAt - BATCH_HEADER_BYTES;
    const checksum = this.#window.readUInt32LE(at + header);
    const byteLength = this.#window.readUInt32LE(at + header + 4);
    const check = this.#window.readUInt32LE(at + header + 8);
    if (check !== mix(this.#salt, this.sequence, start, byteLength))
      throw this.corrupt(start, "batch header is damaged");
    const length = header + byteLength;
    const sectorCount = sectorsFor(length);
    if (byteLength < BATCH_HEADER_BYTES || sectorCount > this.sectorCount - start) {
      throw this.corrupt(start, `batch length ${byteLength} does not fit the segment`);
    }
    for (let i = 1; i < sectorCount; i++) {
      if (!this.#belongs(start + i, start)) return null;
    }
    const bytes = Buffer.allocUnsafeSlow(length);
    for (let i = 0; i < sectorCount; i++) {
      at = this.#locate(start + i);
      const to = i * PAYLOAD_BYTES;
      this.#window.copy(bytes, to, at, at + Math.min(PAYLOAD_BYTES, length - to));
    }
    const actual = crc32(bytes.subarray(header + 4), chain);
    if (actual !== checksum) throw this.corrupt(start, "checksum mismatch in a batch that was written completely");
    return { bytes, recordsAt, sectorCount, chain: actual };
  }

  /**
   * Looks at everything from `start`, where no complete batch is, to the end of the segment. Returns the number of
   * sectors that a torn batch reaches (0: nothing is there). Throws WalCorruptError if a later batch was ever begun,
   * because then the one missing here had been acknowledged.
   */
  tornSectors(start: number): number {
    let reach = 0;
    for (let sector = start; sector < this.sectorCount; sector++) {
      const owner = classify(this.#window, this.#locate(sector), this.#salt, this.sequence, sector);
      if (owner === UNWRITTEN) continue;
      if (owner === DAMAGED) throw this.corrupt(sector, "sector is damaged");
      if (owner !== start)
        throw this.corrupt(start, `batch is missing, but a later one is at offset ${sector * SECTOR_BYTES}`);
      reach = sector - start + 1;
    }
    return reach;
  }

  corrupt(sector: number, reason: string): WalCorruptError {
    return new WalCorruptError(this.path, sector * SECTOR_BYTES, reason);
  }

  /** True if the sector was written as part of the batch at `start`, false if never; anything else is corruption. */
  #belongs(sector: number, start: number): boolean {
    const owner = classify(this.#window, this.#locate(sector), this.#salt, this.sequence, sector);
    if (owner === start) return true;
    if (owner === UNWRITTEN) return false;
    throw this.corrupt(
      sector,
      owner === DAMAGED ? "sector is damaged" : `sector belongs to the batch at sector ${owner}`,
    );
  }

  #checkLabel(at: number): void {
    const label = this.#window.subarray(at, at + LABEL.length);
    if (label.equals(LABEL)) return;
    if (label.subarray(0, MAGIC_BYTES).equals(LABEL.subarray(0, MAGIC_BYTES))) {
      throw new WalVersionError(this.path, label.toString("latin1", MAGIC_BYTES, LABEL.length - 1), FORMAT_VERSION);
    }
    throw this.corrupt(0, "segment label is damaged");
  }

  /** Where in the window the sector is, after reading from it on if it was not there. */
  #locate(sector: number): number {
    const shared = this.#shared;
    const ahead = sector - shared.firstSector;
    if (shared.owner === this && ahead >= 0 && ahead < WINDOW_BYTES / SECTOR_BYTES) return ahead * SECTOR_BYTES;
    const position = sector * SECTOR_BYTES;
    const wanted = Math.max(0, Math.min(WINDOW_BYTES, this.#sizeBytes - position));
    let read = 0;
    try {
      if (wanted > 0) read = this.file.read(this.#window, wanted, position);
    } catch (error) {
      throw diskError("read", this.path, error);
    }
    this.#window.fill(0, read);
    shared.owner = this;
    shared.firstSector = sector;
    return 0;
  }
}
