/**
 * What a snapshot file says of itself, computed as etcd's tools compute it (reference: bbolt-format.md §10):
 *
 *     hash       crc32c( for each bucket by name: its name, then for each pair by key: key, value )
 *     revision   main revision of the last record          keys    those whose last record is no tombstone
 */
import { BboltReader, type BboltSource } from "@quorate/bbolt";
import { crc32c } from "@quorate/crc32c";
import { RecordView } from "../store/key-value.ts";
import { isHistoryKey, type Revision, readHistoryKey } from "./history-key.ts";

export interface SnapshotStatus {
  readonly hash: number;
  readonly revision: number;
  readonly totalKeys: number;
  /** Of the database in the file, without a digest behind it. */
  readonly sizeBytes: number;
  /** "3.7.0"; empty before etcd 3.6. */
  readonly storageVersion: string;
}

/**
 * Checks the whole file, then reads it. Memory grows with the number of keys.
 * @throws BboltDamagedError, RecordCorruptError
 */
export function statusOfSnapshot(source: BboltSource): SnapshotStatus {
  const reader = new BboltReader(source);
  reader.check();
  const counting = new KeyCount();
  let hash = 0;
  for (const name of reader.bucketNames()) {
    hash = crc32c(name, hash);
    const holdsRecords = Buffer.from(name).toString("latin1") === "key";
    reader.visit(name, {
      visit: (bytes, keyStart, keyEnd, valueEnd) => {
        // A value follows its key immediately.
        hash = crc32c(bytes, hash, keyStart, valueEnd);
        if (holdsRecords) counting.take(bytes, keyStart, keyEnd, valueEnd);
        return true;
      },
    });
  }
  const version = reader.get(Buffer.from("meta"), Buffer.from("storageVersion"));
  return {
    hash,
    revision: counting.revision,
    totalKeys: counting.keys.size,
    sizeBytes: reader.sizeBytes,
    storageVersion: version === null ? "" : Buffer.from(version).toString(),
  };
}

class KeyCount {
  readonly keys = new Set<string>();
  revision = 0;
  readonly #at: Revision = { main: 0, sub: 0, isTombstone: false };
  readonly #view = new RecordView();

  take(bytes: Uint8Array, keyStart: number, keyEnd: number, valueEnd: number): void {
    if (!isHistoryKey(bytes, keyStart, keyEnd)) {
      const hex = Buffer.from(bytes.subarray(keyStart, Math.min(keyEnd, keyStart + 64))).toString("hex");
      throw new SnapshotKeyError(hex);
    }
    const { main, sub, isTombstone } = this.#read(bytes, keyStart, keyEnd);
    this.revision = main;
    // A row without contents raises the revision after a restore; etcd counts its empty key.
    let key = "";
    if (valueEnd > keyEnd) {
      const view = this.#view;
      view.parse(bytes, keyEnd, valueEnd, main, sub);
      key = Buffer.from(bytes.buffer, bytes.byteOffset + view.keyStart, view.keyLength).toString("latin1");
    }
    if (isTombstone) this.keys.delete(key);
    else this.keys.add(key);
  }

  #read(bytes: Uint8Array, start: number, end: number): Revision {
    readHistoryKey(bytes, start, end, this.#at);
    return this.#at;
  }
}

/** A key in the bucket of records that is no revision. */
export class SnapshotKeyError extends Error {
  readonly kind = "SnapshotKey";
  constructor(hex: string) {
    super(`cannot parse revision key: 0x${hex}`);
    this.name = "SnapshotKeyError";
  }
}
