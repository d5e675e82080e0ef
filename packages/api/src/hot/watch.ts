/**
 * The Watch stream: requests as plain objects, responses as a head per watcher in front of events shared by all.
 *
 *     WatchRequest        create_request=1 | cancel_request=2 | progress_request=3
 *     WatchCreateRequest  key=1, range_end=2, start_revision=3, progress_notify=4, filters=5 (repeated), prev_kv=6,
 *                         watch_id=7, fragment=8
 *     WatchResponse       header=1, watch_id=2, created=3, canceled=4, compact_revision=5, cancel_reason=6, fragment=7,
 *                         events=11 (repeated)
 *     Event               type=1, kv=2, prev_kv=3
 *
 *     │ header, watch_id, fragment │ 5a length event 5a length event ...
 *     └ head, one per watcher ─────┘ └ tail, the same bytes for every watcher of these events
 */

import { FilterType } from "../enums.ts";
import { copyBytes, Reader, varintSize, type Writer, writeVarint } from "../wire/index.ts";
import type { HeaderEncoder } from "./header.ts";

const nothing: Uint8Array = new Uint8Array(0);

const EVENT_TAG = 0x5a;

/** The union that was given; "none" (nothing, or a union of a newer client) is to be ignored. */
export type WatchRequest =
  | { readonly kind: "create"; readonly request: WatchCreateRequest }
  | { readonly kind: "cancel"; readonly watchId: bigint }
  | { readonly kind: "progress" }
  | { readonly kind: "none" };

/** Key and range end are borrowed from the message: whoever keeps the watcher copies them. */
export class WatchCreateRequest {
  key: Uint8Array = nothing;
  rangeEnd: Uint8Array = nothing;
  /** A bound: max-int64, as etcd's proxy sends, reads as 2^53 - 1. */
  startRevision = 0;
  progressNotify = false;
  /** Of filters; numbers without a name are ignored, as etcd does, and so take no memory however many are sent. */
  noPut = false;
  noDelete = false;
  prevKv = false;
  /** 0n: the server chooses. */
  watchId = 0n;
  fragment = false;
}

/** Reads `buffer[start, end)`, borrowed. Throws MalformedMessage. */
export function decodeWatchRequest(buffer: Uint8Array, start: number, end: number): WatchRequest {
  const reader = new Reader();
  reader.reset(buffer, start, end);
  let decoded: WatchRequest = { kind: "none" };
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === 0x0a) {
      const request: WatchCreateRequest = decoded.kind === "create" ? decoded.request : new WatchCreateRequest();
      readCreate(reader, request);
      decoded = { kind: "create", request };
    } else if (tag === 0x12) {
      const watchId: bigint = decoded.kind === "cancel" ? decoded.watchId : 0n;
      decoded = { kind: "cancel", watchId: readCancel(reader, watchId) };
    } else if (tag === 0x1a) {
      const outerEnd = reader.enter();
      while (reader.position < reader.end) reader.skip(reader.tag());
      reader.leave(outerEnd);
      decoded = { kind: "progress" };
    } else {
      reader.skip(tag);
    }
  }
  return decoded;
}

/** Head of a response that carries events. Hot: one per watcher and event. Revision 0 is left out. */
export function writeWatchHead(
  writer: Writer,
  header: HeaderEncoder,
  revision: number,
  raftTerm: number,
  watchId: bigint,
  fragment: boolean,
): void {
  header.write(writer, revision, raftTerm);
  if (watchId !== 0n) {
    writer.byte(0x10);
    writer.varintBig(watchId);
  }
  if (fragment) {
    writer.byte(0x38);
    writer.byte(1);
  }
}

/** What a response without events says besides its header. */
export interface WatchControl {
  readonly watchId: bigint;
  readonly created: boolean;
  readonly canceled: boolean;
  /** 0: not cancelled by compaction. */
  readonly compactRevision: number;
  /** "": none; see watchCancelReasons. */
  readonly cancelReason: string;
}

/** A whole response without events: created, canceled or progress. */
export function writeWatchControl(
  writer: Writer,
  header: HeaderEncoder,
  revision: number,
  raftTerm: number,
  control: WatchControl,
): void {
  writeWatchHead(writer, header, revision, raftTerm, control.watchId, false);
  if (control.created) {
    writer.byte(0x18);
    writer.byte(1);
  }
  if (control.canceled) {
    writer.byte(0x20);
    writer.byte(1);
  }
  if (control.compactRevision !== 0) {
    writer.byte(0x28);
    writer.varint(control.compactRevision);
  }
  if (control.cancelReason !== "") writer.stringField(0x32, control.cancelReason);
}

/** Bytes {@link writeEvent} adds; `prevKvSize` 0 for none (an encoded KeyValue of a stored key is never empty). */
export function eventFieldSize(isDelete: boolean, kvSize: number, prevKvSize: number): number {
  const event = eventSize(isDelete, kvSize, prevKvSize);
  return 1 + varintSize(event) + event;
}

/**
 * Appends one of events around encoded KeyValues, copied: for a put the record as stored, for a delete one with key and
 * mod_revision only. `prevEnd === prevStart` leaves prev_kv out.
 */
export function writeEvent(
  writer: Writer,
  isDelete: boolean,
  kv: Uint8Array,
  kvStart: number,
  kvEnd: number,
  prevKv: Uint8Array,
  prevStart: number,
  prevEnd: number,
): void {
  const event = eventSize(isDelete, kvEnd - kvStart, prevEnd - prevStart);
  writer.ensure(11 + event);
  const buffer = writer.buffer;
  let at = writer.position;
  buffer[at++] = EVENT_TAG;
  at = writeVarint(buffer, at, event);
  if (isDelete) {
    buffer[at++] = 0x08;
    buffer[at++] = 1;
  }
  buffer[at++] = 0x12;
  at = writeVarint(buffer, at, kvEnd - kvStart);
  at = copyBytes(kv, kvStart, kvEnd, buffer, at);
  if (prevEnd > prevStart) {
    buffer[at++] = 0x1a;
    at = writeVarint(buffer, at, prevEnd - prevStart);
    at = copyBytes(prevKv, prevStart, prevEnd, buffer, at);
  }
  writer.position = at;
}

function eventSize(isDelete: boolean, kvSize: number, prevKvSize: number): number {
  return (
    (isDelete ? 2 : 0) +
    1 +
    varintSize(kvSize) +
    kvSize +
    (prevKvSize === 0 ? 0 : 1 + varintSize(prevKvSize) + prevKvSize)
  );
}

function readCreate(reader: Reader, create: WatchCreateRequest): void {
  const outerEnd = reader.enter();
  while (reader.position < reader.end) {
    const tag = reader.tag();
    switch (tag) {
      case 0x0a:
        create.key = reader.bytes();
        break;
      case 0x12:
        create.rangeEnd = reader.bytes();
        break;
      case 0x18:
        create.startRevision = reader.bound();
        break;
      case 0x20:
        create.progressNotify = reader.bool();
        break;
      // Packed, as proto3 writes numbers, or one by one, as it must also be read.
      case 0x2a: {
        const end = reader.enter();
        while (reader.position < reader.end) addFilter(create, reader.int32());
        reader.leave(end);
        break;
      }
      case 0x28:
        addFilter(create, reader.int32());
        break;
      case 0x30:
        create.prevKv = reader.bool();
        break;
      case 0x38:
        create.watchId = reader.int64Big();
        break;
      case 0x40:
        create.fragment = reader.bool();
        break;
      default:
        reader.skip(tag);
    }
  }
  reader.leave(outerEnd);
}

function addFilter(create: WatchCreateRequest, filter: number): void {
  if (filter === FilterType.NOPUT) create.noPut = true;
  else if (filter === FilterType.NODELETE) create.noDelete = true;
}

function readCancel(reader: Reader, watchId: bigint): bigint {
  let id = watchId;
  const outerEnd = reader.enter();
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === 0x08) id = reader.int64Big();
    else reader.skip(tag);
  }
  reader.leave(outerEnd);
  return id;
}
