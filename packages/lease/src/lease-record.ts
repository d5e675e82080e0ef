/**
 * A lease in the table `lease`, as etcd stores it (semantics §13), so that snapshots travel between the two:
 *
 *     key     id, 8 bytes, big-endian, two's complement: negative ids are legal and sort after the positive ones
 *     value   leasepb.Lease   08 ID   10 TTL   18 RemainingTTL          zero fields are absent
 *
 * Only the lessor calls these.
 */

import { Reader, varintSize, varintSizeBig, writeVarint, writeVarintBig } from "@quorate/api/wire";
import { LeaseRecordCorruptError } from "./errors.ts";

const ID = 0x08;
const TTL = 0x10;
const REMAINING_TTL = 0x18;
const KEY_SIZE_BYTES = 8;

export interface LeaseRecord {
  readonly id: bigint;
  readonly ttlSeconds: number;
  readonly remainingTtlSeconds: number;
}

export function encodeLeaseKey(id: bigint): Uint8Array {
  const key = new Uint8Array(KEY_SIZE_BYTES);
  new DataView(key.buffer).setBigInt64(0, id);
  return key;
}

export function encodeLeaseRecord(lease: LeaseRecord): Uint8Array {
  let sizeBytes = 1 + varintSizeBig(lease.id);
  if (lease.ttlSeconds !== 0) sizeBytes += 1 + varintSize(lease.ttlSeconds);
  if (lease.remainingTtlSeconds !== 0) sizeBytes += 1 + varintSize(lease.remainingTtlSeconds);
  const bytes = new Uint8Array(sizeBytes);
  bytes[0] = ID;
  let at = writeVarintBig(bytes, 1, lease.id);
  if (lease.ttlSeconds !== 0) {
    bytes[at] = TTL;
    at = writeVarint(bytes, at + 1, lease.ttlSeconds);
  }
  if (lease.remainingTtlSeconds !== 0) {
    bytes[at] = REMAINING_TTL;
    writeVarint(bytes, at + 1, lease.remainingTtlSeconds);
  }
  return bytes;
}

/** Copies nothing and keeps nothing. Throws {@link LeaseRecordCorruptError}. */
export function decodeLeaseRecord(key: Uint8Array, value: Uint8Array): LeaseRecord {
  if (key.length !== KEY_SIZE_BYTES) throw new LeaseRecordCorruptError(key, `key of ${key.length} bytes, expected 8`);
  let id = 0n;
  let ttlSeconds = 0;
  let remainingTtlSeconds = 0;
  const reader = new Reader();
  reader.reset(value, 0, value.length);
  try {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === ID) id = reader.int64Big();
      else if (tag === TTL) ttlSeconds = reader.int64();
      else if (tag === REMAINING_TTL) remainingTtlSeconds = reader.int64();
      else reader.skip(tag);
    }
  } catch (error) {
    throw new LeaseRecordCorruptError(key, "not an encoded Lease", error);
  }
  const keyId = new DataView(key.buffer, key.byteOffset, KEY_SIZE_BYTES).getBigInt64(0);
  if (id !== keyId || id === 0n) throw new LeaseRecordCorruptError(key, `holds lease ${id}`);
  return { id, ttlSeconds, remainingTtlSeconds };
}
