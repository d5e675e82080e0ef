/**
 * The head of a WatchResponse: everything but its events, which follow it as they are (shared-events.ts).
 *
 *     0a header   10 watch_id   18 created   20 canceled   28 compact_revision   32 cancel_reason   38 fragment │ 5a events …
 *     └ HeaderEncoder           └────────────────── zero fields are absent ──────────────────────────────────┘
 *
 * Who calls: the watch service, which writes the header first and appends events after.
 */

import type { Writer } from "@quorate/api/wire";

const CREATED = 0x18;
const CANCELED = 0x20;
const COMPACT_REVISION = 0x28;
const CANCEL_REASON = 0x32;
const FRAGMENT = 0x38;

/** Bytes of the field that marks all fragments but the last. */
export const FRAGMENT_FIELD_SIZE_BYTES = 2;

/** watch_id of an answer that concerns no watcher: a refused create, or progress of the whole stream. */
export const NO_WATCH_ID: bigint = -1n;

/** Appends watch_id from `Watcher.idField`, then the fragment mark: all that a response with events has. Hot. */
export function writeEventsHead(writer: Writer, idField: Uint8Array, isFragment: boolean): void {
  writer.raw(idField, 0, idField.length);
  if (isFragment) {
    writer.byte(FRAGMENT);
    writer.byte(1);
  }
}

export interface ControlFields {
  readonly watchId: bigint;
  readonly created: boolean;
  readonly canceled: boolean;
  /** 0: not compacted. */
  readonly compactRevision: number;
  readonly cancelReason: string;
}

/** Appends the fields of an answer to a create or cancel request, of a compaction, or of progress. */
export function writeControl(writer: Writer, fields: ControlFields): void {
  if (fields.watchId !== 0n) {
    writer.byte(0x10);
    writer.varintBig(fields.watchId);
  }
  if (fields.created) {
    writer.byte(CREATED);
    writer.byte(1);
  }
  if (fields.canceled) {
    writer.byte(CANCELED);
    writer.byte(1);
  }
  if (fields.compactRevision !== 0) {
    writer.byte(COMPACT_REVISION);
    writer.varint(fields.compactRevision);
  }
  if (fields.cancelReason !== "") writer.stringField(CANCEL_REASON, fields.cancelReason);
}
