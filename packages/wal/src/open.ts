/**
 * Opens a log: finds its segments, reads them in order, and only when all of it makes sense cuts off a torn tail. Called
 * by `Wal.open`.
 *
 * Which segment is the last is not written anywhere: it is the newest one whose first batch is whole. Newer files are
 * spares, or a first batch torn by a crash, by the same rule as any tail. Every earlier segment must end exactly where
 * its successor's head says, with the checksum it says, so nothing can be missing in the middle.
 */
import { Buffer } from "node:buffer";
import type { Index } from "@quorate/raft";
import type { Disk, DiskFile, Log } from "@quorate/world";
import { diskError, isNoSpace, WalMissingError, WalSnapshotMissingError, WalTooLargeError } from "./errors.ts";
import {
  BROKEN_SUFFIX,
  CREATING_SUFFIX,
  checkSegmentBytes,
  maxConfStateBytes,
  maxMetadataBytes,
  PAGE_BYTES,
  SECTOR_BYTES,
  segmentName,
  segmentSequence,
} from "./format.ts";
import type { ClosedSegment, OpenedLog } from "./opened-log.ts";
import { type Head, MalformedRecord, type SnapshotMark, visitRecords } from "./records.ts";
import { type Replay, ReplayBuilder } from "./replay.ts";
import { chainSeed, saltOf } from "./sector.ts";
import { ReadWindow, SegmentReader } from "./segment-reader.ts";
import { SpareSegments } from "./spare-segments.ts";

/** Copies of torn tails kept for whoever wants to look; older ones are removed. */
const BROKEN_MAX = 8;

export interface OpenLogOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly log: Log;
  readonly segmentBytes: number;
  readonly isUsable?: (mark: SnapshotMark) => boolean;
  readonly mustReach?: Index;
}

/** Where reading a segment ended. */
interface SegmentEnd {
  /** The first sector behind the last valid batch. */
  readonly position: number;
  readonly chain: number;
  /** The last valid batch, in sectors from the segment's start. */
  readonly lastBatch: number;
}

interface TornTail {
  readonly reader: SegmentReader;
  readonly start: number;
  readonly sectorCount: number;
}

export function openLog(options: OpenLogOptions): { opened: OpenedLog; replay: Replay } {
  checkSegmentBytes(options.segmentBytes);
  return new Opener(options).open();
}

class Opener {
  readonly #options: OpenLogOptions;
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #log: Log;
  readonly #window: ReadWindow = new ReadWindow();
  /** Every file opened, so that a refusal closes them. */
  readonly #files: DiskFile[] = [];
  #torn: TornTail | null = null;

  constructor(options: OpenLogOptions) {
    this.#options = options;
    this.#disk = options.disk;
    this.#directory = options.directory;
    this.#log = options.log;
  }

  open(): { opened: OpenedLog; replay: Replay } {
    try {
      return this.#open();
    } catch (error) {
      for (const file of this.#files) file.close();
      throw error;
    }
  }

  #open(): { opened: OpenedLog; replay: Replay } {
    const sequences = this.#findSegments();
    if (sequences.length === 0) throw new WalMissingError(this.#directory);
    const readers = sequences.map((sequence) => this.#reader(sequence));
    const identity = readers[0]!.readIdentity();
    for (const reader of readers) reader.setSalt(saltOf(identity));

    const last = this.#findLastStarted(readers);
    const builder = new ReplayBuilder(this.#options.isUsable ?? (() => true));
    const closed: ClosedSegment[] = [];
    let end: SegmentEnd | null = null;
    for (let i = 0; i <= last; i++) {
      const previous: SegmentReader | null = i > 0 ? readers[i - 1]! : null;
      end = this.#readSegment(readers[i]!, identity, previous, end, builder);
      if (previous === null) continue;
      const sizeBytes = previous.sectorCount * SECTOR_BYTES;
      closed.push({ path: previous.path, sizeBytes, lastIndex: builder.head!.lastIndex });
    }
    const reader = readers[last]!;
    const { position, chain, lastBatch } = end!;
    const tornSectors = reader.tornSectors(position);
    if (tornSectors > 0) this.#noteTorn(reader, position, tornSectors);
    this.#checkReach(builder, reader, position);
    this.#checkSizes(builder);

    // From here on the log is accepted, and the disk may be changed.
    this.#settle(reader, lastBatch, position);
    const spares = this.#adoptSpares(readers, last);
    for (let i = 0; i < last; i++) readers[i]!.file.close();
    const replay = builder.build();
    return {
      opened: {
        segmentBytes: this.#options.segmentBytes,
        identity,
        metadata: replay.metadata,
        spares,
        closed,
        file: reader.file,
        sequence: reader.sequence,
        sectorCount: reader.sectorCount,
        position,
        chain,
        lastIndex: replay.lastIndex,
        lastTerm: builder.lastTerm,
        hardState: replay.hardState,
        mark: builder.newestMark,
      },
      replay,
    };
  }

  /** Sequence numbers in ascending order. What an interrupted creation left is ignored; strangers are mentioned. */
  #findSegments(): number[] {
    let names: string[];
    try {
      names = this.#disk.exists(this.#directory) ? this.#disk.readDirectory(this.#directory) : [];
    } catch (error) {
      throw diskError("list", this.#directory, error);
    }
    const sequences: number[] = [];
    for (const name of names) {
      const sequence = segmentSequence(name);
      if (sequence > 0) sequences.push(sequence);
      else if (!name.endsWith(BROKEN_SUFFIX) && !name.endsWith(CREATING_SUFFIX)) {
        this.#log.warn("ignored a file that does not belong to the log", { directory: this.#directory, name });
      }
    }
    return sequences.sort((a, b) => a - b);
  }

  #reader(sequence: number): SegmentReader {
    const path = `${this.#directory}/${segmentName(sequence)}`;
    try {
      const file = this.#disk.open(path, "write");
      this.#files.push(file);
      return new SegmentReader(file, sequence, this.#window);
    } catch (error) {
      throw diskError("open", path, error);
    }
  }

  /** The newest segment whose first batch is whole. The oldest is one in any case, or reading it will fail. */
  #findLastStarted(readers: readonly SegmentReader[]): number {
    for (let i = readers.length - 1; i > 0; i--) {
      const reader = readers[i]!;
      if (reader.readBatch(0, chainSeed(reader.salt, reader.sequence)) !== null) return i;
      const tornSectors = reader.tornSectors(0);
      if (tornSectors > 0) this.#noteTorn(reader, 0, tornSectors);
    }
    return 0;
  }

  #readSegment(
    reader: SegmentReader,
    identity: bigint,
    previous: SegmentReader | null,
    previousEnd: SegmentEnd | null,
    builder: ReplayBuilder,
  ): SegmentEnd {
    if (previous !== null && previous.sequence !== reader.sequence - 1) {
      throw reader.corrupt(0, `segment ${segmentName(reader.sequence - 1)} before it is missing`);
    }
    let position = 0;
    let lastBatch = 0;
    let chain = chainSeed(reader.salt, reader.sequence);
    for (;;) {
      const batch = reader.readBatch(position, chain);
      if (batch === null) break;
      try {
        visitRecords(batch.bytes, batch.recordsAt, batch.bytes.length, builder);
        if (position === 0) this.#checkHead(reader, identity, previous, previousEnd, builder.head);
        builder.onBatchEnd();
      } catch (error) {
        if (error instanceof MalformedRecord) throw reader.corrupt(position, error.message);
        throw error;
      }
      chain = batch.chain;
      lastBatch = position;
      position += batch.sectorCount;
    }
    if (position === 0) throw reader.corrupt(0, "the segment's first batch is missing");
    return { position, chain, lastBatch };
  }

  /** The head says what this segment is and what it follows; both must be so. */
  #checkHead(
    reader: SegmentReader,
    identity: bigint,
    previous: SegmentReader | null,
    previousEnd: SegmentEnd | null,
    head: Head | null,
  ): void {
    if (head === null || head.sequence !== reader.sequence)
      throw new MalformedRecord("the segment has no head of its own");
    if (head.identity !== identity) throw new MalformedRecord("the segment belongs to another log");
    if (head.sectorCount !== reader.sectorCount) {
      throw new MalformedRecord(`the segment has ${reader.sectorCount} sectors and was made with ${head.sectorCount}`);
    }
    if (previous === null || previousEnd === null) return;
    if (head.previousEndSector !== previousEnd.position || head.previousChain !== previousEnd.chain) {
      throw previous.corrupt(
        previousEnd.position,
        `the next segment was begun when this one ended at offset ${head.previousEndSector * SECTOR_BYTES}`,
      );
    }
  }

  #noteTorn(reader: SegmentReader, start: number, sectorCount: number): void {
    // Only one write is ever under way, so two torn batches cannot both be a crash's.
    if (this.#torn !== null) throw reader.corrupt(start, `a batch is incomplete here and in ${this.#torn.reader.path}`);
    this.#torn = { reader, start, sectorCount };
  }

  #checkReach(builder: ReplayBuilder, reader: SegmentReader, position: number): void {
    // First what names the place: a log that lost its end has often lost the newest mark with it.
    const mustReach = this.#options.mustReach ?? 0;
    if (builder.lastIndex < mustReach) {
      const reason = `the log ends at index ${builder.lastIndex}, but index ${mustReach} is known to have been in it`;
      throw reader.corrupt(position, reason);
    }
    const hole = builder.holeBefore();
    if (hole > 0) throw new WalSnapshotMissingError(this.#directory, builder.usableIndex, hole);
  }

  /** What every head repeats was accepted for another segment size, perhaps, and must fit the present one. */
  #checkSizes(builder: ReplayBuilder): void {
    const { segmentBytes } = this.#options;
    const metadataBytes = builder.build().metadata.length;
    const confStateBytes = builder.newestMark?.confState.length ?? 0;
    if (metadataBytes > maxMetadataBytes(segmentBytes)) {
      throw new WalTooLargeError("metadata", metadataBytes, maxMetadataBytes(segmentBytes));
    }
    if (confStateBytes > maxConfStateBytes(segmentBytes)) {
      throw new WalTooLargeError("conf state", confStateBytes, maxConfStateBytes(segmentBytes));
    }
  }

  /**
   * Makes what was read what is on disk. A killed process may have left its last batch, a renamed file or a new one in
   * the system's memory only, and after a failed sync the system may believe that memory to be on disk: so the last
   * batch, the only one that can be in doubt, is written again, and everything is synced.
   */
  #settle(reader: SegmentReader, lastBatch: number, position: number): void {
    if (this.#torn !== null) this.#cutOff(this.#torn);
    const from = Math.floor((lastBatch * SECTOR_BYTES) / PAGE_BYTES) * PAGE_BYTES;
    const until = Math.ceil((position * SECTOR_BYTES) / PAGE_BYTES) * PAGE_BYTES;
    const bytes = Buffer.allocUnsafeSlow(until - from);
    try {
      reader.file.read(bytes, bytes.length, from);
      reader.file.write(bytes, 0, bytes.length, from);
      reader.file.sync();
      this.#disk.syncDirectory(this.#directory);
    } catch (error) {
      throw diskError("settle", reader.path, error);
    }
  }

  /** Copies the torn batch aside, then zeroes it, so that its sectors are never mistaken for the next batch's. */
  #cutOff(torn: TornTail): void {
    const offset = torn.start * SECTOR_BYTES;
    const bytes = Buffer.allocUnsafeSlow(torn.sectorCount * SECTOR_BYTES);
    const { file, path } = torn.reader;
    this.#log.warn("cut off a batch that a crash left incomplete", { file: path, offset, "size-bytes": bytes.length });
    try {
      file.read(bytes, bytes.length, offset);
      this.#keepBroken(`${path}.${torn.start.toString(16).padStart(6, "0")}${BROKEN_SUFFIX}`, bytes);
      bytes.fill(0);
      file.write(bytes, 0, bytes.length, offset);
      file.sync();
    } catch (error) {
      throw diskError("repair", path, error);
    }
  }

  /** A full disk must not keep the member from starting: the copy is a courtesy, the batch was never acknowledged. */
  #keepBroken(path: string, bytes: Uint8Array): void {
    try {
      const names = this.#disk.readDirectory(this.#directory).filter((name) => name.endsWith(BROKEN_SUFFIX));
      for (let i = 0; i <= names.length - BROKEN_MAX; i++) this.#disk.remove(`${this.#directory}/${names[i]!}`);
      if (this.#disk.exists(path)) this.#disk.remove(path);
      const copy = this.#disk.open(path, "create");
      try {
        copy.write(bytes, 0, bytes.length, 0);
        copy.sync();
      } finally {
        copy.close();
      }
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      this.#log.warn("no space for a copy of the incomplete batch", { file: path, error });
    }
  }

  /** Files after the last segment are spares if they continue the sequence and have the right size. */
  #adoptSpares(readers: readonly SegmentReader[], last: number): SpareSegments {
    const spares = new SpareSegments({ ...this.#options, nextSequence: readers[last]!.sequence + 1 });
    try {
      let next = readers[last]!.sequence + 1;
      for (let i = last + 1; i < readers.length; i++) {
        const { file, path, sequence } = readers[i]!;
        if (sequence === next && spares.hasRoom && file.sizeBytes() <= this.#options.segmentBytes) {
          file.sync();
          spares.adopt(sequence, file);
          next++;
        } else {
          file.close();
          this.#disk.remove(path);
        }
      }
      this.#disk.syncDirectory(this.#directory);
    } catch (error) {
      throw diskError("prepare segments in", this.#directory, error);
    }
    return spares;
  }
}
