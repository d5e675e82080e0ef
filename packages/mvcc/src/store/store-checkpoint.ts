/**
 * A checkpoint of the index: what spares a start the scan of every record. It is a cache and nothing else; a store opens
 * without it, only slower, and one that does not fit the records beside it is refused.
 *
 *     "QRTINDEX" │ format u32 │ last main f64 │ last sub u32 │ is tombstone u32 │ crc of last record u32 │
 *     compacted f64 │ crc of the header u32 │ the index, as KeyIndex.save writes it
 *
 * Numbers are little-endian. It fits if
 *  - the last record it knows is in storage, byte for byte, so that storage is not behind it or another's;
 *  - storage has carried out every compaction the checkpoint has, so that nothing it forgot is still stored;
 *  - storage was not compacted beyond that last record: a tombstone written and removed since would be missed, and its
 *    key come back to life.
 *
 * The owner writes it aside, puts it in place only when storage has caught up with the moment it was taken (flushed),
 * and removes it when a snapshot replaces the records.
 */

import { crc32c } from "@quorate/crc32c";
import { assert } from "@quorate/world";
import { RecordSpan, type Storage } from "../backend/storage.ts";
import type { CheckpointSave } from "../key-index/checkpoint.ts";
import { KeyIndex } from "../key-index/key-index.ts";
import { type Compactor, storedCompactions } from "./compactor.ts";
import { NEVER_COMPACTED, type StoreState } from "./state.ts";

/** Gives the next `length` bytes, fewer only at the end; borrowed until the next call. */
export type CheckpointReader = (length: number) => Uint8Array;

/** Takes the next bytes, borrowed until return. */
export type CheckpointWriter = (chunk: Uint8Array) => void;

export class CheckpointMismatchError extends Error {
  readonly kind = "CheckpointMismatch";
  constructor(reason: string, cause?: unknown) {
    super(`checkpoint of the key index not used: ${reason}`, cause === undefined ? undefined : { cause });
    this.name = "CheckpointMismatchError";
  }
}

const MAGIC = Buffer.from("QRTINDEX");
const FORMAT = 1;
const HEADER_BYTES = 8 + 4 + 8 + 4 + 4 + 4 + 8 + 4;

/** What a checkpoint says besides the index. */
export interface CheckpointHeader {
  /** The newest record it knows. */
  readonly lastMain: number;
  readonly lastSub: number;
  readonly isTombstone: boolean;
  /** crc32c of that record. */
  readonly recordChecksum: number;
  /** What has been removed from it: Compactor.finishedRevision. */
  readonly compacted: number;
}

/** What a start goes on from. */
export interface Checkpoint {
  readonly index: KeyIndex;
  /** The newest record it has. */
  readonly lastMain: number;
  readonly lastSub: number;
}

/** Finds the newest record and notes it; null if the store has none, which is not worth a checkpoint. */
export function checkpointHeader(state: StoreState, lastMain: number, compacted: number): CheckpointHeader | null {
  let header: CheckpointHeader | null = null;
  state.backend.scanRecords(lastMain, 0, {
    visit: (main, sub, isTombstone, bytes, start, end) => {
      const recordChecksum = crc32c(bytes, 0, start, end);
      header = { lastMain: main, lastSub: sub, isTombstone, recordChecksum, compacted };
      return true;
    },
  });
  return header;
}

/** A checkpoint being written: `step` until it returns false. Holds back compactions meanwhile. */
export class CheckpointTask {
  readonly #save: CheckpointSave;
  readonly #compactor: Compactor;
  readonly #pinned: number;
  #isDone = false;

  constructor(state: StoreState, compactor: Compactor, header: CheckpointHeader, write: CheckpointWriter) {
    this.#compactor = compactor;
    this.#pinned = state.compactRevision;
    compactor.pin(this.#pinned);
    write(encodeHeader(header));
    this.#save = state.index.startSave(header.lastMain, write);
  }

  /** Writes about `budget` keys and revisions; false when the checkpoint is complete. */
  step(budget: number): boolean {
    if (this.#isDone) return false;
    if (this.#save.slice(budget)) this.cancel();
    return !this.#isDone;
  }

  /** Lets go before the end; what was written is useless then. A complete task needs no cancel. */
  cancel(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#compactor.unpin(this.#pinned);
  }
}

function encodeHeader(header: CheckpointHeader): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt32LE(FORMAT, 8);
  bytes.writeDoubleLE(header.lastMain, 12);
  bytes.writeUInt32LE(header.lastSub, 20);
  bytes.writeUInt32LE(header.isTombstone ? 1 : 0, 24);
  bytes.writeUInt32LE(header.recordChecksum, 28);
  bytes.writeDoubleLE(header.compacted, 32);
  bytes.writeUInt32LE(crc32c(bytes, 0, 0, HEADER_BYTES - 4), HEADER_BYTES - 4);
  return bytes;
}

/**
 * Reads a checkpoint that belongs to the records in `storage`. Throws {@link CheckpointMismatchError}, or what
 * KeyIndex.load throws for a damaged one.
 */
export function readCheckpoint(storage: Storage, reader: CheckpointReader): Checkpoint {
  const read = orMismatch(reader);
  const header = readHeader(read);
  const { lastMain, lastSub, isTombstone } = header;
  const span = new RecordSpan();
  if (!storage.readRecord(lastMain, lastSub, isTombstone, span)) {
    throw new CheckpointMismatchError(`storage has no record ${lastMain}_${lastSub}`);
  }
  if (crc32c(span.buffer, 0, span.start, span.end) !== header.recordChecksum) {
    throw new CheckpointMismatchError(`record ${lastMain}_${lastSub} is another one in storage`);
  }
  const { scheduled, finished } = storedCompactions(storage);
  if (header.compacted > finished) {
    throw new CheckpointMismatchError(`it is compacted to ${header.compacted}, storage to ${finished}`);
  }
  if (Math.max(scheduled, finished) > lastMain) {
    throw new CheckpointMismatchError(
      `it ends at ${lastMain}, storage was compacted to ${Math.max(scheduled, finished)}`,
    );
  }
  const index = KeyIndex.load(read);
  removeCompacted(index, finished);
  return { index, lastMain, lastSub };
}

/** A file that cannot be read is as good as none: no disk error in a cache keeps a member from starting. */
function orMismatch(read: CheckpointReader): CheckpointReader {
  return (length) => {
    try {
      return read(length);
    } catch (error) {
      throw new CheckpointMismatchError("it cannot be read", error);
    }
  };
}

/** Takes out what storage removed after the checkpoint was taken. */
function removeCompacted(index: KeyIndex, finished: number): void {
  let cursor = 0;
  while (finished > NEVER_COMPACTED && cursor !== -1) {
    cursor = index.compactSlice(finished, cursor, Number.MAX_SAFE_INTEGER);
  }
}

function readHeader(read: CheckpointReader): CheckpointHeader {
  const bytes = Buffer.from(read(HEADER_BYTES));
  if (bytes.length !== HEADER_BYTES) throw new CheckpointMismatchError("it is cut short");
  if (MAGIC.compare(bytes, 0, 8) !== 0 || bytes.readUInt32LE(8) !== FORMAT) {
    throw new CheckpointMismatchError("it is of another format");
  }
  if (crc32c(bytes, 0, 0, HEADER_BYTES - 4) !== bytes.readUInt32LE(HEADER_BYTES - 4)) {
    throw new CheckpointMismatchError("its header is damaged");
  }
  const compacted = bytes.readDoubleLE(32);
  assert(Number.isSafeInteger(compacted), "a checkpoint's checksum covers only what was written");
  return {
    lastMain: bytes.readDoubleLE(12),
    lastSub: bytes.readUInt32LE(20),
    isTombstone: bytes.readUInt32LE(24) === 1,
    recordChecksum: bytes.readUInt32LE(28),
    compacted,
  };
}
