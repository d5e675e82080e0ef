/**
 * Random histories, watchers, compactions, snapshots and slow streams, held against what each watcher should have got
 * according to a list of everything that ever happened.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type NaiveChange, NaiveStore } from "./testing/naive-store.ts";
import { RecordingSink } from "./testing/recording-sink.ts";
import { WatchHub } from "./watch-hub.ts";
import { type Watcher, WatchFilter, type WatchStream } from "./watcher.ts";

const KEYS = ["a", "aa", "b", "c", "\xff"];
const key = fc.constantFrom(...KEYS);
const write = fc.oneof(
  { weight: 3, arbitrary: fc.record({ key, value: fc.constantFrom("x", "yy", "z".repeat(60)) }) },
  { weight: 1, arbitrary: fc.record({ key }) },
);
/**
 * Each key once: what a transaction does to a key before its last change of it is compacted at its own revision already
 * (semantics §4.4), so a watch from exactly there would not see it.
 */
const writes = fc.uniqueArray(write, { minLength: 1, maxLength: 4, selector: (each) => each.key });
const index = fc.nat({ max: 30 });
const command = fc.oneof(
  {
    weight: 24,
    arbitrary: fc.record({
      do: fc.constant("commit" as const),
      writes,
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("watch" as const),
      stream: index,
      key,
      end: fc.option(fc.oneof(key, fc.constant("open")), { nil: null }),
      /** Relative to the current revision; null: 0. */
      start: fc.option(fc.integer({ min: -25, max: 6 }), { nil: null }),
      filters: fc.constantFrom(0, 0, WatchFilter.NoPut, WatchFilter.NoDelete),
      prevKv: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("cancel" as const), watcher: index }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("open" as const), room: fc.constantFrom(0, 1, 2, 5, 1000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("close" as const), stream: index }) },
  { weight: 14, arbitrary: fc.record({ do: fc.constant("step" as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("drain" as const), stream: index, room: fc.constantFrom(1, 2, 5, 1000) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("compact" as const), back: fc.nat({ max: 12 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("snapshot" as const),
      ahead: fc.array(writes, { maxLength: 6 }),
      compactBack: fc.option(fc.nat({ max: 8 }), { nil: null }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("progress" as const), stream: index }) },
);

interface Watched {
  readonly watcher: Watcher;
  readonly sink: RecordingSink;
  readonly stream: WatchStream;
  readonly key: string;
  readonly end: string | null;
  readonly filters: number;
  readonly prevKv: boolean;
  /** First revision it should get. */
  readonly from: number;
}

const limits = fc.record({
  replayRevisionCount: fc.constantFrom(1, 3, 1000),
  replaySizeBytes: fc.constantFrom(1, 100, 1_000_000),
  retainedSizeBytesPerWatcher: fc.constantFrom(0, 40, 1_000_000),
  retainedSizeBytes: fc.constantFrom(0, 150, 1_000_000),
});

test("every watcher gets exactly its events, in order, each revision whole, whatever else happens", () => {
  // covers: WT-01, WT-02, WT-03, WT-05, WT-07, WT-08, WT-09, WT-19
  fc.assert(
    fc.property(limits, fc.array(command, { minLength: 20, maxLength: 200, size: "max" }), (options, commands) => {
      let store = new NaiveStore();
      const hub = new WatchHub({ source: store, ...options });
      let streams: { stream: WatchStream; sink: RecordingSink }[] = [];
      const watched: Watched[] = [];
      const open = (room: number): void => {
        const sink = new RecordingSink(room);
        streams.push({ stream: hub.openStream(sink), sink });
      };
      open(3);
      for (const each of commands) {
        const at = "stream" in each && streams.length > 0 ? streams[each.stream % streams.length] : undefined;
        switch (each.do) {
          case "commit":
            store.commit(each.writes, hub);
            break;
          case "watch": {
            if (at === undefined) break;
            const start = each.start === null ? 0 : Math.max(1, store.revision + each.start);
            const isEmpty = each.end !== null && each.end !== "open" && each.end <= each.key;
            const create = (): Watcher =>
              hub.create(at.stream, {
                id: 0n,
                key: Buffer.from(each.key, "latin1"),
                rangeEnd: each.end === null ? null : each.end === "open" ? "open" : Buffer.from(each.end, "latin1"),
                startRevision: start,
                filters: each.filters,
                prevKv: each.prevKv,
              });
            if (isEmpty) {
              assert.throws(create, { kind: "EmptyWatcherRange" });
              break;
            }
            watched.push({ ...each, ...at, watcher: create(), from: start === 0 ? store.revision + 1 : start });
            break;
          }
          case "cancel":
            if (watched.length > 0) hub.cancel(watched[each.watcher % watched.length]!.watcher);
            break;
          case "open":
            open(each.room);
            break;
          case "close":
            if (at === undefined) break;
            hub.closeStream(at.stream);
            streams = streams.filter((other) => other !== at);
            break;
          case "step":
            hub.step();
            break;
          case "drain":
            if (at === undefined) break;
            at.sink.room = each.room;
            at.sink.drain(hub, at.stream);
            break;
          case "compact": {
            const revision = store.revision - each.back;
            if (revision > store.compactRevision && revision > 1) store.compact(revision);
            break;
          }
          case "snapshot": {
            store = store.snapshot();
            for (const writes of each.ahead) store.commit(writes, null);
            if (each.compactBack !== null) {
              const revision = store.revision - each.compactBack;
              if (revision > store.compactRevision && revision > 1) store.compact(revision);
            }
            hub.restored(store);
            break;
          }
          case "progress": {
            if (at === undefined) break;
            const revision = hub.streamProgress(at.stream);
            if (revision === 0) break;
            assert.equal(revision, store.revision);
            for (const one of watched) {
              if (one.stream === at.stream && one.watcher.state !== "cancelled") assertComplete(one, store, revision);
            }
            break;
          }
        }
        for (const one of watched) assertSound(one, store);
      }
      for (const { stream, sink } of streams) {
        sink.room = Number.POSITIVE_INFINITY;
        sink.drain(hub, stream);
      }
      for (let round = 0; hub.step(); round++) assert.ok(round < 10_000, "replays come to an end");
      assert.equal(hub.slowWatcherCount, 0);
      for (const one of watched) {
        const state = one.watcher.state;
        assert.ok(state === "synced" || state === "compacted" || state === "cancelled");
        assertSound(one, store);
        if (state === "synced") assertComplete(one, store, store.revision);
        if (state === "compacted") assert.equal(one.sink.of(one.watcher).at(-1)!.compactRevision > one.from - 1, true);
      }
    }),
    { numRuns: 400, seed: 5 },
  );
});

/** What it got so far is the beginning of what it should get, cut between revisions; once compacted, nothing more. */
function assertSound(one: Watched, store: NaiveStore): void {
  const deliveries = one.sink.of(one.watcher);
  const expected = expectedOf(one, store);
  let taken = 0;
  let last = 0;
  for (const [i, delivery] of deliveries.entries()) {
    if (delivery.compactRevision !== 0) {
      assert.equal(i, deliveries.length - 1, "the compaction is the last it hears");
      assert.ok(delivery.compactRevision <= store.compactRevision);
      assert.ok(last < delivery.compactRevision, "what was delivered was before the compacted revision");
      continue;
    }
    assert.ok(delivery.events.length > 0);
    assert.ok(delivery.events[0]!.revision > last, "no revision is split or comes twice");
    for (const event of delivery.events) {
      const change = expected[taken++];
      assert.ok(change !== undefined, "nothing it did not ask for");
      assert.deepEqual(
        [event.revision, event.type, event.key, event.value],
        [change.revision, change.value === null ? "delete" : "put", change.key, change.value ?? ""],
      );
      assertPrevious(one, event.previous, change, store);
      last = event.revision;
    }
    assert.notEqual(expected[taken]?.revision, last, "a revision is whole");
    assert.ok(delivery.revision >= last);
  }
}

/** It got all there is up to `revision`. */
function assertComplete(one: Watched, store: NaiveStore, revision: number): void {
  const got = one.sink.of(one.watcher).reduce((count, delivery) => count + delivery.events.length, 0);
  const expected = expectedOf(one, store).filter((change) => change.revision <= revision);
  assert.equal(got, expected.length);
}

function expectedOf(one: Watched, store: NaiveStore): NaiveChange[] {
  return store.history.filter(
    (change) =>
      change.revision >= one.from &&
      (one.end === null
        ? change.key === one.key
        : change.key >= one.key && (one.end === "open" || change.key < one.end)) &&
      (one.filters & (change.value === null ? WatchFilter.NoDelete : WatchFilter.NoPut)) === 0,
  );
}

/** Right or absent; absent only if it was not asked for, never was, or may have been compacted by now. */
function assertPrevious(
  one: Watched,
  previous: { value: string; revision: number } | null,
  change: NaiveChange,
  store: NaiveStore,
): void {
  const before = store.history.findLast((other) => other.key === change.key && other.revision < change.revision);
  if (previous !== null) {
    assert.ok(one.prevKv);
    assert.deepEqual(previous, { value: before?.value, revision: before?.revision });
  } else if (one.prevKv && before !== undefined && before.value !== null && change.createRevision !== change.revision) {
    assert.ok(change.revision - 1 < store.compactRevision, "prev_kv is there as long as it can be read");
  }
}
