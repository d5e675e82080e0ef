/**
 * All watchers of one key or one range. A change is matched against groups, not watchers, and what a group's watchers
 * get is put together once per variant, so that ten thousand watchers of one key cost one lookup and ten thousand calls.
 *
 *     variant = filters (2 bits: no puts, no deletes) + 4 if prev_kv is wanted
 *
 * `synced` is ordered by stream, so that a commit visits each stream's watchers together.
 */

import { assert } from "@quorate/world";
import { type ChangeEvent, NO_EVENTS, SharedEvents } from "./shared-events.ts";
import type { WatchSource } from "./source.ts";
import type { Watcher } from "./watcher.ts";

const VARIANT_COUNT = 8;
const PREV_KV_VARIANT = 4;

export function variantOf(filters: number, prevKv: boolean): number {
  return (filters & 3) | (prevKv ? PREV_KV_VARIANT : 0);
}

export class WatchGroup {
  readonly key: Uint8Array;
  /** null: the key alone. */
  readonly rangeEnd: Uint8Array | "open" | null;
  /** Synced watchers by (stream order, watcher order). */
  readonly synced: Watcher[] = [];
  /** Watchers of any state that may still get events. */
  watcherCount = 0;

  /** While a replay looks for them: its watchers of this group, and the least revision any of them needs. */
  readonly replaying: Watcher[] = [];
  replayFrom: number = Number.POSITIVE_INFINITY;

  /** The events at hand, ascending, and per variant what was last composed of them and from which event on. */
  readonly #events: ChangeEvent[] = [];
  readonly #composed: (SharedEvents | null)[] = new Array(VARIANT_COUNT).fill(null);
  readonly #composedFrom: number[] = new Array(VARIANT_COUNT).fill(0);

  constructor(key: Uint8Array, rangeEnd: Uint8Array | "open" | null) {
    this.key = key;
    this.rangeEnd = rangeEnd;
  }

  get hasEvents(): boolean {
    return this.#events.length > 0;
  }

  addEvent(event: ChangeEvent): void {
    this.#events.push(event);
  }

  clearEvents(): void {
    this.#events.length = 0;
    this.#composed.fill(null);
  }

  /** The events at hand from `revision` on as `variant` wants them; length 0 if there are none. Hot when repeated. */
  compose(revision: number, variant: number, source: WatchSource): SharedEvents {
    const events = this.#events;
    let from = 0;
    while (from < events.length && events[from]!.revision < revision) from++;
    const composed = this.#composed[variant]!;
    if (composed !== null && this.#composedFrom[variant] === from) return composed;
    const fresh = composeVariant(events, from, variant, source);
    this.#composed[variant] = fresh;
    this.#composedFrom[variant] = from;
    return fresh;
  }

  addSynced(watcher: Watcher): void {
    this.synced.splice(this.#placeOf(watcher), 0, watcher);
  }

  removeSynced(watcher: Watcher): void {
    const place = this.#placeOf(watcher);
    assert(this.synced[place] === watcher, "a synced watcher is in its group");
    this.synced.splice(place, 1);
  }

  /** Drops, in one pass, those that a delivery has just made something else. */
  dropUnsynced(): void {
    const { synced } = this;
    let kept = 0;
    for (let i = 0; i < synced.length; i++) {
      const watcher = synced[i]!;
      if (watcher.state === "synced") synced[kept++] = watcher;
    }
    synced.length = kept;
  }

  /** Of the first watcher not before this one. */
  #placeOf(watcher: Watcher): number {
    let low = 0;
    let high = this.synced.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isBefore(this.synced[middle]!, watcher)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isBefore(a: Watcher, b: Watcher): boolean {
  return a.stream !== b.stream ? a.stream.order < b.stream.order : a.order < b.order;
}

function composeVariant(
  events: readonly ChangeEvent[],
  from: number,
  variant: number,
  source: WatchSource,
): SharedEvents {
  const hasPrevious = (variant & PREV_KV_VARIANT) !== 0;
  let wanted: ChangeEvent | null = null;
  let parts: Uint8Array[] | null = null;
  let lastRevision = 0;
  for (let i = from; i < events.length; i++) {
    const event = events[i]!;
    // Bit 0 drops puts, bit 1 drops deletes.
    if ((variant & (event.isDelete ? 2 : 1)) !== 0) continue;
    if (wanted === null) {
      wanted = event;
      continue;
    }
    parts ??= [hasPrevious ? wanted.withPrevious(source) : wanted.plain];
    parts.push(hasPrevious ? event.withPrevious(source) : event.plain);
    lastRevision = event.revision;
  }
  if (wanted === null) return NO_EVENTS;
  return parts === null ? wanted.alone(hasPrevious, source) : new SharedEvents(parts, wanted.revision, lastRevision);
}
