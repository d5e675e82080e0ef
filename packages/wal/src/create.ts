/**
 * Creates a log: one segment with a head, built under another name and renamed when it is durable. A crash at any point
 * leaves no log or a whole one (etcd#12578, #16596), also where the directory is a mount point and cannot itself be
 * renamed into place. Called by `Wal.create`.
 */
import { Buffer } from "node:buffer";
import { posix } from "node:path";
import type { Disk, Log, Random } from "@quorate/world";
import { BatchWriter } from "./batch-writer.ts";
import { diskError, WalExistsError, WalTooLargeError } from "./errors.ts";
import {
  BATCH_HEADER_BYTES,
  CREATING_SUFFIX,
  checkSegmentBytes,
  HEAD_FIXED_BYTES,
  LABEL,
  maxMetadataBytes,
  SECTOR_BYTES,
  segmentName,
  segmentSequence,
} from "./format.ts";
import type { OpenedLog } from "./opened-log.ts";
import { chainSeed, saltOf } from "./sector.ts";
import { SpareSegments } from "./spare-segments.ts";

export interface CreateLogOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly metadata: Uint8Array;
  readonly random: Random;
  readonly log: Log;
  readonly segmentBytes: number;
}

const FIRST_SEQUENCE = 1;
const ZEROES_BYTES = 1_048_576;

export function logExists(disk: Disk, directory: string): boolean {
  if (!disk.exists(directory)) return false;
  return disk.readDirectory(directory).some((name) => segmentSequence(name) > 0);
}

export function createLog(options: CreateLogOptions): OpenedLog {
  const { disk, directory, segmentBytes } = options;
  checkSegmentBytes(segmentBytes);
  const limit = maxMetadataBytes(segmentBytes);
  if (options.metadata.length > limit) throw new WalTooLargeError("metadata", options.metadata.length, limit);
  const metadata = Uint8Array.from(options.metadata);
  const identity = (BigInt(options.random.below(2 ** 32)) << 32n) | BigInt(options.random.below(2 ** 32));
  const path = `${directory}/${segmentName(FIRST_SEQUENCE)}`;

  const writer = new BatchWriter();
  writer.begin(true, LABEL.length + BATCH_HEADER_BYTES + HEAD_FIXED_BYTES + metadata.length);
  writer.head({
    previousChain: 0,
    identity,
    sequence: FIRST_SEQUENCE,
    sectorCount: segmentBytes / SECTOR_BYTES,
    previousEndSector: 0,
    lastIndex: 0,
    metadata,
    hardState: null,
    mark: null,
  });
  const salt = saltOf(identity);
  writer.finish(salt, FIRST_SEQUENCE, 0, chainSeed(salt, FIRST_SEQUENCE));

  try {
    if (!disk.exists(directory)) disk.makeDirectory(directory);
    // Also when it exists: whoever made it may have been killed before this.
    disk.syncDirectory(posix.dirname(directory));
    if (logExists(disk, directory)) throw new WalExistsError(directory);
    const creating = path + CREATING_SUFFIX;
    if (disk.exists(creating)) disk.remove(creating);
    const file = disk.open(creating, "create");
    try {
      const zeroes = Buffer.alloc(Math.min(ZEROES_BYTES, segmentBytes));
      for (let at = 0; at < segmentBytes; at += zeroes.length) {
        file.write(zeroes, 0, Math.min(zeroes.length, segmentBytes - at), at);
      }
      file.write(writer.buffer, 0, writer.endByte, 0);
      file.sync();
    } finally {
      file.close();
    }
    disk.rename(creating, path);
    disk.syncDirectory(directory);
    return {
      segmentBytes,
      identity,
      metadata,
      spares: new SpareSegments({ ...options, nextSequence: FIRST_SEQUENCE + 1 }),
      closed: [],
      file: disk.open(path, "write"),
      sequence: FIRST_SEQUENCE,
      sectorCount: segmentBytes / SECTOR_BYTES,
      position: writer.sectorCount,
      chain: writer.chain,
      lastIndex: 0,
      lastTerm: 0,
      hardState: null,
      mark: null,
    };
  } catch (error) {
    if (error instanceof WalExistsError) throw error;
    throw diskError("create", path, error);
  }
}
