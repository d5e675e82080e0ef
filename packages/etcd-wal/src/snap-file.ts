/**
 * etcd's snapshot files: a checksum over raftpb's Snapshot, whose data is the membership as the retired v2 store had it
 * (packages/membership writes it); the keys are in the database. etcd 3.7 starts without them, older ones begin there.
 *
 *   file  {1 crc, CRC-32C of data; 2 data}      data  {1 v2 store, JSON; 2 metadata {1 conf state, 2 index, 3 term}}
 */
import { Buffer } from "node:buffer";
import { InexactInteger, MalformedMessage, Reader, Writer } from "@quorate/api/wire";
import { crc32c } from "@quorate/crc32c";
import { decodeSnapshot, encodeSnapshot, MalformedMessage as MalformedRaft, type Snapshot } from "@quorate/raft";
import type { Disk } from "@quorate/world";
import { EtcdLogDamagedError } from "./errors.ts";
import { join, snapFileName } from "./format.ts";

/** Members' names and addresses: far below what a forged file may want in memory. */
const SNAP_FILE_BYTES_MAX = 64 * 1024 * 1024;

/** Makes the file, durably but for its name. There must be none yet. */
export function writeSnapFile(disk: Disk, directory: string, snapshot: Snapshot): void {
  const data = encodeSnapshot(snapshot);
  const writer = new Writer(data.length + 32);
  writer.byte(0x08);
  writer.varint(crc32c(data));
  writer.bytesField(0x12, data, 0, data.length);
  const file = disk.open(join(directory, snapFileName(snapshot.metadata)), "create");
  try {
    const bytes = writer.bytes();
    file.write(bytes, 0, bytes.length, 0);
    file.sync();
  } finally {
    file.close();
  }
}

/** @throws EtcdLogDamagedError, what the disk throws (ENOENT if there is none). */
export function readSnapFile(disk: Disk, path: string): Snapshot {
  const bytes = readFile(disk, path);
  let crc = 0;
  let data: Uint8Array = new Uint8Array(0);
  try {
    const reader = new Reader();
    reader.reset(bytes, 0, bytes.length);
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x08) crc = reader.uint64();
      else if (tag === 0x12) data = reader.bytes();
      else throw new EtcdLogDamagedError(path, 0, `a snapshot file with a field ${tag >>> 3}`);
    }
    if (data.length === 0) throw new EtcdLogDamagedError(path, 0, "the snapshot is empty");
    const actual = crc32c(data);
    if (actual !== crc) throw new EtcdLogDamagedError(path, 0, `checksum ${actual} instead of ${crc}`);
    return decodeSnapshot(data);
  } catch (error) {
    const isMalformed =
      error instanceof MalformedMessage || error instanceof MalformedRaft || error instanceof InexactInteger;
    if (!isMalformed) throw error;
    throw new EtcdLogDamagedError(path, 0, `no snapshot: ${error.message}`);
  }
}

function readFile(disk: Disk, path: string): Buffer {
  const file = disk.open(path, "read");
  try {
    const sizeBytes = file.sizeBytes();
    if (sizeBytes > SNAP_FILE_BYTES_MAX) {
      throw new EtcdLogDamagedError(path, 0, `${sizeBytes} bytes, a snapshot file has at most ${SNAP_FILE_BYTES_MAX}`);
    }
    const bytes = Buffer.allocUnsafeSlow(sizeBytes);
    return bytes.subarray(0, file.read(bytes, sizeBytes, 0));
  } finally {
    file.close();
  }
}
