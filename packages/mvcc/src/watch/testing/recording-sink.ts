/** A stream's sink for tests: keeps what it is given, decoded, and takes only as many deliveries as it has room for. */

import { Reader } from "@quorate/api/wire";
import type { SharedEvents } from "../shared-events.ts";
import type { WatchHub } from "../watch-hub.ts";
import type { Watcher, WatchSink, WatchStream } from "../watcher.ts";

export interface SeenEvent {
  readonly type: "put" | "delete";
  readonly key: string;
  /** "" for a delete. */
  readonly value: string;
  readonly revision: number;
  /** 0 for a delete. */
  readonly createRevision: number;
  readonly previous: { readonly value: string; readonly revision: number } | null;
}

export interface Delivery {
  readonly watcher: Watcher;
  readonly revision: number;
  readonly events: readonly SeenEvent[];
  /** The very objects, to see what is shared. */
  readonly shared: SharedEvents | null;
  /** Of a compaction; 0 otherwise. */
  readonly compactRevision: number;
}

export class RecordingSink implements WatchSink {
  readonly deliveries: Delivery[] = [];
  /** Deliveries it may hold undrained. */
  room: number;
  undrained = 0;
  refusedCount = 0;

  constructor(room: number = Number.POSITIVE_INFINITY) {
    this.room = room;
  }

  deliver(watcher: Watcher, revision: number, events: SharedEvents): boolean {
    if (this.undrained >= this.room) {
      this.refusedCount++;
      return false;
    }
    this.undrained++;
    this.deliveries.push({
      watcher,
      revision,
      events: events.parts.map(decodeEvent),
      shared: events,
      compactRevision: 0,
    });
    return true;
  }

  compacted(watcher: Watcher, compactRevision: number): void {
    this.deliveries.push({ watcher, revision: 0, events: [], shared: null, compactRevision });
  }

  /** What the connection does when its peer reads on. */
  drain(hub: WatchHub, stream: WatchStream): void {
    this.undrained = 0;
    hub.drained(stream);
  }

  of(watcher: Watcher): Delivery[] {
    return this.deliveries.filter((delivery) => delivery.watcher === watcher);
  }

  /** `revision key=value` and `revision -key` of what a watcher got, one string a delivery. */
  story(watcher: Watcher): string[] {
    return this.of(watcher).map((delivery) =>
      delivery.compactRevision !== 0
        ? `compacted ${delivery.compactRevision}`
        : delivery.events
            .map(
              (event) => `${event.revision} ${event.type === "put" ? `${event.key}=${event.value}` : `-${event.key}`}`,
            )
            .join(", "),
    );
  }
}

/** One `events` field of a WatchResponse, read strictly: fields in order, nothing unknown, nothing left over. */
export function decodeEvent(part: Uint8Array): SeenEvent {
  const reader = new Reader();
  reader.reset(part, 0, part.length);
  expect(reader.tag() === 0x5a, "field events");
  reader.enter();
  expect(reader.end === part.length, "the length ends the part");
  let isDelete = false;
  let tag = reader.tag();
  if (tag === 0x08) {
    expect(reader.int32() === 1, "type DELETE; PUT is left out");
    isDelete = true;
    tag = reader.tag();
  }
  expect(tag === 0x12, "field kv");
  const kv = decodeKeyValue(reader);
  let previous: SeenEvent["previous"] = null;
  if (reader.position < reader.end) {
    expect(reader.tag() === 0x1a, "field prev_kv");
    const before = decodeKeyValue(reader);
    expect(before.key === kv.key, "prev_kv is of the same key");
    previous = { value: before.value, revision: before.modRevision };
  }
  expect(reader.position === reader.end && reader.isCanonical, "nothing else");
  if (isDelete)
    expect(kv.createRevision === 0 && kv.version === 0 && kv.value === "", "a delete has key and mod_revision");
  return {
    type: isDelete ? "delete" : "put",
    key: kv.key,
    value: kv.value,
    revision: kv.modRevision,
    createRevision: kv.createRevision,
    previous,
  };
}

interface KeyValue {
  key: string;
  createRevision: number;
  modRevision: number;
  version: number;
  value: string;
}

function decodeKeyValue(reader: Reader): KeyValue {
  const kv: KeyValue = { key: "", createRevision: 0, modRevision: 0, version: 0, value: "" };
  const outerEnd = reader.enter();
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === 0x0a) kv.key = Buffer.from(reader.bytes()).toString("latin1");
    else if (tag === 0x10) kv.createRevision = reader.int64();
    else if (tag === 0x18) kv.modRevision = reader.int64();
    else if (tag === 0x20) kv.version = reader.int64();
    else if (tag === 0x2a) kv.value = Buffer.from(reader.bytes()).toString();
    else expect(false, "a field of KeyValue");
  }
  reader.leave(outerEnd);
  return kv;
}

function expect(condition: boolean, claim: string): void {
  if (!condition) throw new Error(`encoded event: expected ${claim}`);
}
