/**
 * Events in the bytes that go out, made once and shared by everybody who gets them (speed §3, 12).
 *
 * An encoded event is its whole field of a WatchResponse, so that a response is a head and these bytes behind it:
 *
 *     5a length │ 08 01   12 length KeyValue   1a length KeyValue         mvccpb.Event: type, kv, prev_kv
 *               └ deletes only                 └ if asked for, known and readable
 *
 * The kv of a put is the stored record; that of a delete is the tombstone's record, the key, and the mod_revision.
 *
 * Invariant: the bytes never change once a sink has seen them. Whoever holds them must not write, and keeps `owned`.
 */

import { copyBytes, Reader, varintSize, writeVarint } from "@quorate/api/wire";
import { RecordSpan } from "../backend/storage.ts";
import { KeyView } from "./key-bytes.ts";
import type { WatchSource } from "./source.ts";

const EVENTS = 0x5a;
const TYPE = 0x08;
const TYPE_DELETE = 1;
const KV = 0x12;
const PREV_KV = 0x1a;
const CREATE_REVISION = 0x10;
const MOD_REVISION = 0x18;

/** What one delivery brings: the events of one revision or, in a replay, of several. Never empty when delivered. */
export class SharedEvents {
  /** Encoded events in order, each a whole `events` field of a WatchResponse. */
  readonly parts: readonly Uint8Array[];
  /** Of all parts together. */
  readonly sizeBytes: number;
  /** Of the first and the last event. */
  readonly firstRevision: number;
  readonly lastRevision: number;
  #owned: SharedEvents | null = null;

  constructor(parts: readonly Uint8Array[], firstRevision: number, lastRevision: number) {
    let sizeBytes = 0;
    for (let i = 0; i < parts.length; i++) sizeBytes += parts[i]!.length;
    this.parts = parts;
    this.sizeBytes = sizeBytes;
    this.firstRevision = firstRevision;
    this.lastRevision = lastRevision;
  }

  /**
   * The same events in memory of their own, made once and shared like these. Keep this one, not the original, for longer
   * than a turn: a small event lies in a pooled slab of 64 KiB, all of which it would hold.
   */
  owned(): SharedEvents {
    if (this.#owned !== null) return this.#owned;
    const bytes = Buffer.allocUnsafeSlow(this.sizeBytes);
    const copies: Uint8Array[] = [];
    let at = 0;
    for (let i = 0; i < this.parts.length; i++) {
      const part = this.parts[i]!;
      bytes.set(part, at);
      copies.push(bytes.subarray(at, at + part.length));
      at += part.length;
    }
    const owned = new SharedEvents(copies, this.firstRevision, this.lastRevision);
    owned.#owned = owned;
    this.#owned = owned;
    return owned;
  }
}

export const NO_EVENTS: SharedEvents = new SharedEvents([], 0, 0);

// Used within one call, never across.
const scratchKey = new KeyView();
const scratchSpan = new RecordSpan();
const scratchReader = new Reader();

/** One change that at least one watcher wants, with the variants of its event as they are asked for. */
export class ChangeEvent {
  readonly revision: number;
  readonly isDelete: boolean;
  /** Without prev_kv. */
  readonly plain: Uint8Array;
  #withPrevious: Uint8Array | null = null;
  #plainAlone: SharedEvents | null = null;
  #withPreviousAlone: SharedEvents | null = null;

  /** Copies the record. */
  constructor(revision: number, isDelete: boolean, record: Uint8Array, start: number, end: number) {
    this.revision = revision;
    this.isDelete = isDelete;
    this.plain = encodePlain(revision, isDelete, record, start, end);
  }

  /**
   * With the key's value before this revision; the plain event if the change created the key or the value cannot be read
   * any more (known-failures WT-19).
   */
  withPrevious(source: WatchSource): Uint8Array {
    this.#withPrevious ??= encodeWithPrevious(this.revision, this.isDelete, this.plain, source);
    return this.#withPrevious;
  }

  /** The event as the only one of its delivery, which is the common case: shared by all ranges that match it. */
  alone(hasPrevious: boolean, source: WatchSource): SharedEvents {
    if (hasPrevious) {
      this.#withPreviousAlone ??= new SharedEvents([this.withPrevious(source)], this.revision, this.revision);
      return this.#withPreviousAlone;
    }
    this.#plainAlone ??= new SharedEvents([this.plain], this.revision, this.revision);
    return this.#plainAlone;
  }
}

function encodePlain(revision: number, isDelete: boolean, record: Uint8Array, start: number, end: number): Uint8Array {
  const kvSize = end - start + (isDelete ? 1 + varintSize(revision) : 0);
  const size = (isDelete ? 2 : 0) + 1 + varintSize(kvSize) + kvSize;
  const bytes = Buffer.allocUnsafe(1 + varintSize(size) + size);
  bytes[0] = EVENTS;
  let at = writeVarint(bytes, 1, size);
  if (isDelete) {
    bytes[at++] = TYPE;
    bytes[at++] = TYPE_DELETE;
  }
  bytes[at] = KV;
  at = writeVarint(bytes, at + 1, kvSize);
  at = copyBytes(record, start, end, bytes, at);
  if (isDelete) {
    bytes[at] = MOD_REVISION;
    writeVarint(bytes, at + 1, revision);
  }
  return bytes;
}

function encodeWithPrevious(revision: number, isDelete: boolean, plain: Uint8Array, source: WatchSource): Uint8Array {
  const reader = scratchReader;
  reader.reset(plain, 0, plain.length);
  reader.tag();
  const plainSize = reader.length();
  const plainStart = reader.position;
  reader.position += isDelete ? 3 : 1;
  reader.length();
  const key = scratchKey;
  key.parse(plain, reader.position);
  if (!isDelete) {
    reader.position = key.end;
    const isCreation = reader.tag() === CREATE_REVISION && reader.int64() === revision;
    if (isCreation) return plain;
  }
  const previous = scratchSpan;
  if (!source.previous(plain, key.start, key.end, revision, previous)) return plain;

  const previousSize = previous.end - previous.start;
  const size = plainSize + 1 + varintSize(previousSize) + previousSize;
  const bytes = Buffer.allocUnsafe(1 + varintSize(size) + size);
  bytes[0] = EVENTS;
  let at = writeVarint(bytes, 1, size);
  at = copyBytes(plain, plainStart, plainStart + plainSize, bytes, at);
  bytes[at] = PREV_KV;
  at = writeVarint(bytes, at + 1, previousSize);
  copyBytes(previous.buffer, previous.start, previous.end, bytes, at);
  return bytes;
}
