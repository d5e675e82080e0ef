/**
 * Encodes one batch into a reused buffer. Called by `Wal`, once per durable write.
 *
 *   begin → head? → entries? → mark? → hardState? → finish
 *
 * The buffer belongs to the writer and is lent to the disk between `finish` and the write's completion; there is never a
 * second batch before that, so one buffer is enough. Nothing is allocated per entry.
 */
import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";
import type { Entry, HardState } from "@quorate/raft";
import {
  BATCH_HEADER_BYTES,
  ENTRY_FIXED_BYTES,
  LABEL,
  PAGE_BYTES,
  RecordKind,
  SECTOR_BYTES,
  sectorsFor,
} from "./format.ts";
import type { Head, SnapshotMark } from "./records.ts";
import { mix, spread } from "./sector.ts";

/** A buffer that one large batch made grow beyond this is not kept. */
const KEEP_BYTES = 4_194_304;
const INITIAL_BYTES = 262_144;
const HIGH = 4_294_967_296;

export class BatchWriter {
  /** After `finish`: the bytes to write, `[0, endByte)`. Borrowed by the disk until its write is done. */
  buffer: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  endByte = 0;
  sectorCount = 0;
  /** After `finish`: the checksum, which seeds the next batch's. */
  chain = 0;

  #at = 0;
  #headerAt = 0;

  /** `logicalBytes` is an upper bound of what the records will take, headers included. */
  begin(startsSegment: boolean, logicalBytes: number): void {
    const needed = sectorsFor(logicalBytes) * SECTOR_BYTES + 2 * PAGE_BYTES;
    if (needed > this.buffer.length || (this.buffer.length > KEEP_BYTES && needed <= KEEP_BYTES)) {
      let capacity = INITIAL_BYTES;
      while (capacity < needed) capacity *= 2;
      this.buffer = Buffer.allocUnsafeSlow(capacity);
    }
    this.#headerAt = 0;
    if (startsSegment) {
      LABEL.copy(this.buffer, 0);
      this.#headerAt = LABEL.length;
    }
    this.#at = this.#headerAt + BATCH_HEADER_BYTES;
  }

  head(head: Head): void {
    this.#u32(RecordKind.Head);
    this.#u32(head.previousChain);
    this.#bigint(head.identity);
    this.#u32(head.sequence);
    this.#u32(head.sectorCount);
    this.#u32(head.previousEndSector);
    this.#u64(head.lastIndex);
    this.#u32(head.metadata.length);
    this.#u32(head.hardState === null ? 0 : 1);
    this.#u64(head.hardState?.term ?? 0);
    this.#bigint(head.hardState?.vote ?? 0n);
    this.#u64(head.hardState?.commit ?? 0);
    this.#u32(head.mark === null ? 0 : 1);
    this.#u64(head.mark?.index ?? 0);
    this.#u64(head.mark?.term ?? 0);
    this.#u32(head.mark?.confState.length ?? 0);
    this.#bytes(head.metadata);
    if (head.mark !== null) this.#bytes(head.mark.confState);
  }

  /** Entries `[from, until)`, at least one, with consecutive indexes. Their data is copied. */
  entries(entries: readonly Entry[], from: number, until: number): void {
    this.#u32(RecordKind.Entries);
    this.#u32(until - from);
    this.#u64(entries[from]!.index);
    const buffer = this.buffer;
    let at = this.#at;
    for (let i = from; i < until; i++) {
      const entry = entries[i]!;
      const data = entry.data;
      buffer.writeUInt32LE(entry.term >>> 0, at);
      buffer.writeUInt32LE((entry.term / HIGH) >>> 0, at + 4);
      buffer.writeUInt32LE(data.length, at + 8);
      buffer.writeUInt32LE(entry.type, at + 12);
      buffer.set(data, at + ENTRY_FIXED_BYTES);
      at += ENTRY_FIXED_BYTES + data.length;
    }
    this.#at = at;
  }

  /** `commit` is apart because a batch that is only part of a save must not promise entries still to come. */
  hardState(state: HardState, commit: number): void {
    this.#u32(RecordKind.HardState);
    this.#u64(state.term);
    this.#bigint(state.vote);
    this.#u64(commit);
  }

  mark(mark: SnapshotMark, replacesLog: boolean): void {
    this.#u32(RecordKind.Mark);
    this.#u32(replacesLog ? 1 : 0);
    this.#u64(mark.index);
    this.#u64(mark.term);
    this.#u32(mark.confState.length);
    this.#bytes(mark.confState);
  }

  /** Seals the batch: checksum, stamps, and zeroes up to the end of the last page of the file it touches. */
  finish(salt: number, sequence: number, startSector: number, chain: number): void {
    const buffer = this.buffer;
    const length = this.#at;
    const header = this.#headerAt;
    const byteLength = length - header;
    buffer.writeUInt32LE(byteLength, header + 4);
    buffer.writeUInt32LE(mix(salt, sequence, startSector, byteLength), header + 8);
    this.chain = crc32(buffer.subarray(header + 4, length), chain);
    buffer.writeUInt32LE(this.chain, header);
    this.sectorCount = sectorsFor(length);
    spread(buffer, length, this.sectorCount, salt, sequence, startSector);
    const end = this.sectorCount * SECTOR_BYTES;
    const overhang = (startSector * SECTOR_BYTES + end) % PAGE_BYTES;
    this.endByte = overhang === 0 ? end : end + PAGE_BYTES - overhang;
    if (this.endByte > end) buffer.fill(0, end, this.endByte);
  }

  #u32(value: number): void {
    this.#at = this.buffer.writeUInt32LE(value, this.#at);
  }

  #u64(value: number): void {
    this.buffer.writeUInt32LE(value >>> 0, this.#at);
    this.#at = this.buffer.writeUInt32LE((value / HIGH) >>> 0, this.#at + 4);
  }

  #bigint(value: bigint): void {
    this.#at = this.buffer.writeBigUInt64LE(value, this.#at);
  }

  #bytes(value: Uint8Array): void {
    this.buffer.set(value, this.#at);
    this.#at += value.length;
  }
}
