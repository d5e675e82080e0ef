/**
 * One watcher, and the stream it belongs to. Both are records: the hub alone changes them, everybody may read.
 *
 *              start in the past                      start now or later
 *                    │                                       │
 *               ┌────▼─────┐      caught up             ┌────▼───┐
 *        ┌──────┤ unsynced ├───────────────────────────▶│ synced │
 *        │      └─▲──────┬─┘◀── too much to retain, ────┴─┬──────┘
 *  next  │        │      │      snapshot installed        │
 *  is    │        │      │                                │
 *  com-  │ behind │      │ the stream is full             │ the stream is full
 *  pacted│        │    ┌─▼──────┐◀───────────────────────-┘
 *        │        └────┤ victim ├──── delivered, nothing missed ──▶ synced
 *  ┌─────▼─────┐       └────────┘
 *  │ compacted │                        any ── cancel, close ──▶ cancelled
 *  └───────────┘
 *
 * Position: `next` is the first revision not delivered yet, whoever tries. A synced watcher has everything up to the
 * hub's revision, so its `next` matters only while it lies in the future. Positions never move back, and forward only by
 * delivery or because nothing in between matched (known-failures WT-01, WT-02).
 */

import { varintSizeBig, writeVarintBig } from "@quorate/api/wire";
import type { SharedEvents } from "./shared-events.ts";
import type { WatchGroup } from "./watch-group.ts";

export type WatcherState = "synced" | "unsynced" | "victim" | "compacted" | "cancelled";

/** Bits of {@link WatcherOptions.filters}. */
export const WatchFilter = { NoPut: 1, NoDelete: 2 } as const;

export interface WatcherOptions {
  /** 0n: the stream's next free number, counted from 0. Anything else must be free. */
  readonly id: bigint;
  /** Not empty. Copied. */
  readonly key: Uint8Array;
  /** null: the key alone; "open": every key from it on; else the first key past the range, copied. */
  readonly rangeEnd: Uint8Array | "open" | null;
  /** First revision wanted; 0: the next one. Not negative. */
  readonly startRevision: number;
  readonly filters: number;
  readonly prevKv: boolean;
}

/**
 * Where deliveries go: one per stream, written by the server. It must not call the hub from within these methods.
 */
export interface WatchSink {
  /**
   * Takes all of `events` behind what it took before, to be sent with `revision` in the header; they are shared and
   * never change. False: there is no room, nothing was taken, and the owner will call `WatchHub.drained` when there is.
   * A sink that holds nothing takes anything.
   */
  deliver(watcher: Watcher, revision: number, events: SharedEvents): boolean;
  /** The watcher will get nothing more: what it needed next is compacted. Taken even if there is no room. Once per watcher. */
  compacted(watcher: Watcher, compactRevision: number): void;
}

export class WatchStream {
  readonly sink: WatchSink;
  /** Streams are served in the order they were opened. */
  readonly order: number;
  readonly watchers: Map<bigint, Watcher> = new Map();
  /** The sink refused a delivery and has not drained since. */
  isBlocked = false;
  isClosed = false;
  /** Watchers that hold a refused delivery, in the order of refusal. */
  victims: Watcher[] = [];
  unsyncedCount = 0;
  nextId = 0n;

  constructor(sink: WatchSink, order: number) {
    this.sink = sink;
    this.order = order;
  }
}

export class Watcher {
  readonly stream: WatchStream;
  readonly id: bigint;
  /** The field watch_id = 2 of its responses; empty for 0. */
  readonly idField: Uint8Array;
  /** As asked for. */
  readonly startRevision: number;
  /** Counts watchers of the hub; orders those of one stream. */
  readonly order: number;
  /** Which of a group's variants of events it gets: see {@link WatchGroup}. */
  readonly variant: number;
  readonly group: WatchGroup;
  state: WatcherState;
  next: number;
  /** The newest revision its sink has taken events of; kept apart from `next`, to check one against the other. */
  deliveredRevision = 0;
  /** A victim's refused delivery, all of it before `next`. */
  retained: SharedEvents | null = null;

  constructor(
    stream: WatchStream,
    id: bigint,
    startRevision: number,
    order: number,
    variant: number,
    group: WatchGroup,
    state: WatcherState,
    next: number,
  ) {
    this.stream = stream;
    this.id = id;
    this.idField = encodeIdField(id);
    this.startRevision = startRevision;
    this.order = order;
    this.variant = variant;
    this.group = group;
    this.state = state;
    this.next = next;
  }
}

const NO_ID_FIELD = new Uint8Array(0);

function encodeIdField(id: bigint): Uint8Array {
  if (id === 0n) return NO_ID_FIELD;
  const field = new Uint8Array(1 + varintSizeBig(id));
  field[0] = 0x10;
  writeVarintBig(field, 1, id);
  return field;
}
