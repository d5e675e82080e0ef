/**
 * All watchers of one member: tells each, through its stream's sink, of every change it asked for, in order, once, each
 * revision whole.
 *
 *     commit ──▶ committed() ──▶ groups of the changed keys ──▶ synced watchers ──┐
 *                                                                                ├─▶ sink.deliver ──▶ stream
 *     history ─▶ step() ───────▶ a run of revisions ──────────▶ unsynced ones ───┤
 *                                                                                │
 *     drained() ───────────────▶ what the stream had refused ─▶ victims ─────────┘
 *
 * There are no timers here. The owner calls `step` every 100 ms and, while it returns true, again each turn; and
 * `drained` when a sink that refused has room again. So history is read at the pace at which streams take it.
 *
 * Invariants, asserted on every call:
 *  - every registered watcher is in exactly one of synced, unsynced, victim, compacted (known-failures WT-09);
 *  - what a watcher is offered is newer than all it was given before, and not from before its start (WT-02);
 *  - sinks do not call back into the hub.
 *
 * Who calls: the store, through `committed`; the watch service; the member's loop. One thread. `restored` is for the
 * installation of a snapshot, when the store is another one.
 */

import { assert } from "@quorate/world";
import { RecordSpan } from "../backend/storage.ts";
import { DuplicateWatchIdError, EmptyWatcherRangeError } from "./errors.ts";
import { compareKey, KeyView } from "./key-bytes.ts";
import {
  REPLAY_REVISION_COUNT,
  REPLAY_SIZE_BYTES,
  RETAINED_SIZE_BYTES,
  RETAINED_SIZE_BYTES_PER_WATCHER,
} from "./limits.ts";
import { ReplayScan } from "./replay.ts";
import { ChangeEvent, type SharedEvents } from "./shared-events.ts";
import type { CommittedChanges, WatchSource } from "./source.ts";
import { variantOf, type WatchGroup } from "./watch-group.ts";
import { Watcher, type WatcherOptions, type WatcherState, type WatchSink, WatchStream } from "./watcher.ts";
import { WatcherIndex } from "./watcher-index.ts";

export interface WatchHubOptions {
  readonly source: WatchSource;
  /** Revisions one step reads at most. Default 1000. */
  readonly replayRevisionCount?: number;
  /** Bytes of records one step reads, at least one revision. Default 1 MiB. */
  readonly replaySizeBytes?: number;
  /** Refused events kept for one watcher; more is read again later. Default 512 KiB. */
  readonly retainedSizeBytesPerWatcher?: number;
  /** The same for all watchers. Default 32 MiB. */
  readonly retainedSizeBytes?: number;
}

export class WatchHub {
  #source: WatchSource;
  /** Everything up to here has been offered to synced watchers. */
  #revision: number;
  readonly #replayRevisionCount: number;
  readonly #retainedSizeBytesPerWatcher: number;
  readonly #retainedSizeBytesMax: number;
  readonly #index = new WatcherIndex();
  readonly #replay: ReplayScan;
  readonly #streams = new Set<WatchStream>();
  /** In the order they are served: whoever was served goes to the end. */
  readonly #unsynced = new Set<Watcher>();
  #openedCount = 0;
  #createdCount = 0;
  #watcherCount = 0;
  #syncedCount = 0;
  #victimCount = 0;
  #compactedCount = 0;
  /** Unsynced watchers whose stream takes deliveries. */
  #servableCount = 0;
  #retainedSizeBytes = 0;
  #isBusy = false;
  // Filled and emptied within one call.
  readonly #span = new RecordSpan();
  readonly #key = new KeyView();
  readonly #found: WatchGroup[] = [];
  readonly #touched: WatchGroup[] = [];

  constructor(options: WatchHubOptions) {
    this.#source = options.source;
    this.#revision = options.source.revision;
    this.#replayRevisionCount = options.replayRevisionCount ?? REPLAY_REVISION_COUNT;
    this.#retainedSizeBytesPerWatcher = options.retainedSizeBytesPerWatcher ?? RETAINED_SIZE_BYTES_PER_WATCHER;
    this.#retainedSizeBytesMax = options.retainedSizeBytes ?? RETAINED_SIZE_BYTES;
    assert(this.#replayRevisionCount >= 1, "a replay step reads something");
    this.#replay = new ReplayScan(this.#index, options.replaySizeBytes ?? REPLAY_SIZE_BYTES);
  }

  // ---- counts, for metrics

  /** Watchers not cancelled, compacted ones included. */
  get watcherCount(): number {
    return this.#watcherCount;
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  /** Watchers that are behind: etcd's slow watchers. */
  get slowWatcherCount(): number {
    return this.#unsynced.size + this.#victimCount;
  }

  /** Distinct keys and ranges watched. */
  get groupCount(): number {
    return this.#index.groupCount;
  }

  /** Refused deliveries held, as if they shared nothing. */
  get retainedSizeBytes(): number {
    return this.#retainedSizeBytes;
  }

  /** Whether {@link step} has history to read for somebody who can take it. */
  get needsStep(): boolean {
    return this.#servableCount > 0;
  }

  // ---- streams and watchers

  openStream(sink: WatchSink): WatchStream {
    const stream = new WatchStream(sink, this.#openedCount++);
    this.#streams.add(stream);
    return stream;
  }

  /** Cancels all its watchers. The sink hears nothing more. Closing twice changes nothing. */
  closeStream(stream: WatchStream): void {
    if (stream.isClosed) return;
    this.#enter();
    for (const watcher of stream.watchers.values()) this.#unregister(watcher);
    stream.isClosed = true;
    this.#streams.delete(stream);
    this.#leave();
  }

  /**
   * Adds a watcher; nothing is delivered before this returns. One that starts at a compacted revision is created all the
   * same and hears of it from the next step. Throws EmptyWatcherRangeError, DuplicateWatchIdError, in that order.
   */
  create(stream: WatchStream, options: WatcherOptions): Watcher {
    const { key, rangeEnd, startRevision } = options;
    assert(!stream.isClosed, "watchers are created on open streams");
    assert(key.length > 0, "a watched key is not empty");
    assert(startRevision >= 0, "a start revision is not negative");
    if (rangeEnd instanceof Uint8Array && compareKey(key, 0, key.length, rangeEnd) >= 0) {
      throw new EmptyWatcherRangeError();
    }
    const id = takeId(stream, options.id);
    this.#enter();
    const group = this.#index.groupOf(key, rangeEnd);
    const isSynced = startRevision === 0 || startRevision > this.#revision;
    const watcher = new Watcher(
      stream,
      id,
      startRevision,
      this.#createdCount++,
      variantOf(options.filters, options.prevKv),
      group,
      isSynced ? "synced" : "unsynced",
      startRevision === 0 ? this.#revision + 1 : startRevision,
    );
    stream.watchers.set(id, watcher);
    group.watcherCount++;
    this.#watcherCount++;
    this.#arrive(watcher);
    if (isSynced) group.addSynced(watcher);
    this.#leave();
    return watcher;
  }

  /** Ends a watcher; its sink hears nothing more of it. Its id is free again. Cancelling twice changes nothing. */
  cancel(watcher: Watcher): void {
    if (watcher.state === "cancelled") return;
    this.#enter();
    this.#unregister(watcher);
    this.#leave();
  }

  /** The revision up to which the watcher has been given everything, if it is synced and has begun; else 0. */
  watcherProgress(watcher: Watcher): number {
    return watcher.state === "synced" && watcher.startRevision <= this.#revision ? this.#revision : 0;
  }

  /**
   * The revision up to which *every* watcher of the stream has been given everything; 0 if one of them has not, or if
   * there are none. Send it behind what the sink has taken so far (known-failures WT-05): it counts what was scanned, so
   * watchers that never matched count too (WT-06).
   */
  streamProgress(stream: WatchStream): number {
    if (stream.watchers.size === 0) return 0;
    for (const watcher of stream.watchers.values()) if (this.watcherProgress(watcher) === 0) return 0;
    return this.#revision;
  }

  // ---- what happens

  /**
   * A revision was committed. Each synced watcher it concerns gets one delivery with all its events of it.
   * Hot: bench/watch.ts. Per watcher a few comparisons and the call; per change one lookup and one copy of the record.
   */
  committed(revision: number, changes: CommittedChanges): void {
    assert(revision > this.#revision, "revisions are committed in order");
    this.#revision = revision;
    if (this.#syncedCount === 0) return;
    this.#enter();
    const source = this.#source;
    const span = this.#span;
    const key = this.#key;
    const found = this.#found;
    const touched = this.#touched;
    const { length } = changes;
    for (let i = 0; i < length; i++) {
      source.read(changes.node(i), span);
      key.parse(span.buffer, span.start);
      this.#index.find(span.buffer, key.start, key.end, found);
      let event: ChangeEvent | null = null;
      for (let j = 0; j < found.length; j++) {
        const group = found[j]!;
        if (group.synced.length === 0) continue;
        event ??= new ChangeEvent(revision, changes.isTombstone(i), span.buffer, span.start, span.end);
        if (!group.hasEvents) touched.push(group);
        group.addEvent(event);
      }
      found.length = 0;
    }
    for (let i = 0; i < touched.length; i++) this.#deliverCommitted(touched[i]!, revision);
    touched.length = 0;
    this.#leave();
  }

  /**
   * Reads a run of history for watchers that are behind, tells those whose position is compacted, and syncs those that
   * have caught up. True if there is more to read now; what streams that are full need waits for `drained`.
   */
  step(): boolean {
    this.#enter();
    const { compactRevision } = this.#source;
    let head: Watcher | null = null;
    // Moving a watcher on takes it out of the set, which iteration allows.
    for (const watcher of this.#unsynced) {
      if (watcher.next < compactRevision) {
        this.#change(watcher, "compacted");
        this.#leaveGroup(watcher);
        watcher.stream.sink.compacted(watcher, compactRevision);
      } else if (watcher.next > this.#revision) {
        this.#change(watcher, "synced");
        watcher.group.addSynced(watcher);
      } else if (head === null && !watcher.stream.isBlocked) {
        head = watcher;
      }
    }
    if (head !== null) this.#replayFrom(head.next);
    this.#leave();
    return this.needsStep;
  }

  /** The stream's sink has room again after a refusal. What it refused is delivered first; `needsStep` tells the rest. */
  drained(stream: WatchStream): void {
    if (stream.isClosed || !stream.isBlocked) return;
    this.#enter();
    this.#setBlocked(stream, false);
    const { victims } = stream;
    let served = 0;
    while (served < victims.length) {
      const watcher = victims[served]!;
      const events = watcher.retained!;
      if (!this.#offer(watcher, watcher.next - 1, events)) break;
      served++;
      this.#release(watcher);
      const isSynced = watcher.next > this.#revision;
      this.#change(watcher, isSynced ? "synced" : "unsynced");
      if (isSynced) watcher.group.addSynced(watcher);
    }
    stream.victims = victims.slice(served);
    this.#leave();
  }

  /**
   * The store is another one, installed from a snapshot. Every watcher goes on from where it was: what is new is read
   * from history, nothing is sent again, and what lies in the future stays there (known-failures WT-02, WT-03, WT-04).
   */
  restored(source: WatchSource): void {
    this.#enter();
    for (const stream of this.#streams) {
      for (const watcher of stream.watchers.values()) {
        if (watcher.state !== "synced") continue;
        watcher.group.removeSynced(watcher);
        watcher.next = Math.max(watcher.next, this.#revision + 1);
        this.#change(watcher, "unsynced");
      }
    }
    this.#source = source;
    this.#revision = source.revision;
    this.#leave();
  }

  // ---- delivery

  #deliverCommitted(group: WatchGroup, revision: number): void {
    const { synced } = group;
    const source = this.#source;
    let isAnyRefused = false;
    for (let i = 0; i < synced.length; i++) {
      const watcher = synced[i]!;
      if (watcher.next > revision) continue;
      const events = group.compose(revision, watcher.variant, source);
      if (events.parts.length === 0) continue;
      if (this.#offer(watcher, revision, events)) {
        watcher.next = revision + 1;
      } else {
        isAnyRefused = true;
        watcher.next = revision;
        this.#refused(watcher, revision, events);
      }
    }
    if (isAnyRefused) group.dropUnsynced();
    group.clearEvents();
  }

  /** Reads whole revisions from `from` on and serves everybody who waits for one of them. */
  #replayFrom(from: number): void {
    const touched = this.#touched;
    const last = Math.min(this.#revision, from + this.#replayRevisionCount - 1);
    for (const watcher of this.#unsynced) {
      if (watcher.stream.isBlocked || watcher.next < from || watcher.next > last) continue;
      const { group } = watcher;
      if (group.replaying.length === 0) touched.push(group);
      group.replaying.push(watcher);
      group.replayFrom = Math.min(group.replayFrom, watcher.next);
    }
    this.#replay.begin(last);
    this.#source.changesFrom(from, this.#replay);
    const { reached } = this.#replay;
    for (let i = 0; i < touched.length; i++) this.#deliverReplayed(touched[i]!, reached);
    touched.length = 0;
  }

  #deliverReplayed(group: WatchGroup, reached: number): void {
    const { replaying } = group;
    for (let i = 0; i < replaying.length; i++) {
      const watcher = replaying[i]!;
      if (watcher.next > reached) continue;
      const events = group.compose(watcher.next, watcher.variant, this.#source);
      // The header says the current revision although more may be on its way: so does etcd (semantics §5.4).
      if (events.parts.length > 0 && !this.#offer(watcher, this.#revision, events)) {
        this.#refused(watcher, reached, events);
        continue;
      }
      watcher.next = reached + 1;
      if (watcher.next > this.#revision) {
        this.#change(watcher, "synced");
        group.addSynced(watcher);
      } else {
        this.#toEnd(watcher);
      }
    }
    replaying.length = 0;
    group.replayFrom = Number.POSITIVE_INFINITY;
    group.clearEvents();
  }

  /** False if the stream takes nothing now, which it is then not asked again until it has drained. */
  #offer(watcher: Watcher, revision: number, events: SharedEvents): boolean {
    const { stream } = watcher;
    if (stream.isBlocked) return false;
    assert(events.firstRevision > watcher.deliveredRevision, "a watcher gets nothing twice");
    assert(events.firstRevision >= watcher.startRevision, "a watcher gets nothing from before its start");
    if (!stream.sink.deliver(watcher, revision, events)) {
      this.#setBlocked(stream, true);
      return false;
    }
    watcher.deliveredRevision = events.lastRevision;
    return true;
  }

  /**
   * The events from the watcher's position up to `last` found no room. They are kept if they are few enough; if not, the
   * watcher stays where it was and history is read again once the stream has drained (WT-16).
   */
  #refused(watcher: Watcher, last: number, events: SharedEvents): void {
    const { sizeBytes } = events;
    const isRetained =
      sizeBytes <= this.#retainedSizeBytesPerWatcher &&
      this.#retainedSizeBytes + sizeBytes <= this.#retainedSizeBytesMax;
    if (!isRetained) {
      if (watcher.state === "synced") this.#change(watcher, "unsynced");
      else this.#toEnd(watcher);
      return;
    }
    watcher.retained = events.owned();
    watcher.next = last + 1;
    this.#retainedSizeBytes += sizeBytes;
    this.#change(watcher, "victim");
    watcher.stream.victims.push(watcher);
  }

  #release(watcher: Watcher): void {
    this.#retainedSizeBytes -= watcher.retained!.sizeBytes;
    watcher.retained = null;
  }

  #toEnd(watcher: Watcher): void {
    this.#unsynced.delete(watcher);
    this.#unsynced.add(watcher);
  }

  // ---- states

  #unregister(watcher: Watcher): void {
    const { state, stream } = watcher;
    if (state === "synced") watcher.group.removeSynced(watcher);
    if (state === "victim") {
      this.#release(watcher);
      stream.victims.splice(stream.victims.indexOf(watcher), 1);
    }
    this.#change(watcher, "cancelled");
    if (state !== "compacted") this.#leaveGroup(watcher);
    stream.watchers.delete(watcher.id);
    this.#watcherCount--;
  }

  #leaveGroup(watcher: Watcher): void {
    const { group } = watcher;
    group.watcherCount--;
    if (group.watcherCount === 0) this.#index.remove(group);
  }

  /** The only way from state to state. Being in a group's list of synced watchers is the caller's part. */
  #change(watcher: Watcher, state: WatcherState): void {
    assert(watcher.state !== state, "a change of state changes it");
    switch (watcher.state) {
      case "synced":
        this.#syncedCount--;
        break;
      case "unsynced":
        this.#unsynced.delete(watcher);
        watcher.stream.unsyncedCount--;
        if (!watcher.stream.isBlocked) this.#servableCount--;
        break;
      case "victim":
        this.#victimCount--;
        break;
      case "compacted":
        this.#compactedCount--;
        break;
      case "cancelled":
        assert(false, "a cancelled watcher stays cancelled");
    }
    watcher.state = state;
    this.#arrive(watcher);
  }

  #arrive(watcher: Watcher): void {
    switch (watcher.state) {
      case "synced":
        this.#syncedCount++;
        break;
      case "unsynced":
        this.#unsynced.add(watcher);
        watcher.stream.unsyncedCount++;
        if (!watcher.stream.isBlocked) this.#servableCount++;
        break;
      case "victim":
        this.#victimCount++;
        break;
      case "compacted":
        this.#compactedCount++;
        break;
      case "cancelled":
        break;
    }
  }

  #setBlocked(stream: WatchStream, isBlocked: boolean): void {
    assert(stream.isBlocked !== isBlocked, "a stream blocks and drains by turns");
    stream.isBlocked = isBlocked;
    this.#servableCount += isBlocked ? -stream.unsyncedCount : stream.unsyncedCount;
  }

  #enter(): void {
    assert(!this.#isBusy, "sinks and sources do not call the hub back");
    this.#isBusy = true;
  }

  #leave(): void {
    const placed = this.#syncedCount + this.#unsynced.size + this.#victimCount + this.#compactedCount;
    assert(placed === this.#watcherCount, "every watcher is in exactly one state");
    this.#isBusy = false;
  }
}

/** Throws DuplicateWatchIdError. */
function takeId(stream: WatchStream, wanted: bigint): bigint {
  if (wanted !== 0n) {
    if (stream.watchers.has(wanted)) throw new DuplicateWatchIdError(wanted);
    return wanted;
  }
  while (stream.watchers.has(stream.nextId)) stream.nextId++;
  return stream.nextId++;
}
