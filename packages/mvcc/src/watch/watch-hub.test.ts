import assert from "node:assert/strict";
import { test } from "node:test";
import { BrokenInvariant } from "@quorate/world";
import { NaiveStore } from "./testing/naive-store.ts";
import { RecordingSink } from "./testing/recording-sink.ts";
import { WatchHub, type WatchHubOptions } from "./watch-hub.ts";
import { type Watcher, type WatcherOptions, WatchFilter, type WatchStream } from "./watcher.ts";

class Scene {
  store = new NaiveStore();
  readonly hub: WatchHub;
  readonly sink: RecordingSink;
  readonly stream: WatchStream;

  constructor(options: Partial<WatchHubOptions> & { room?: number; puts?: number } = {}) {
    for (let i = 0; i < (options.puts ?? 0); i++) this.store.put("k", `v${i + 2}`, null);
    this.hub = new WatchHub({ ...options, source: this.store });
    this.sink = new RecordingSink(options.room);
    this.stream = this.hub.openStream(this.sink);
  }

  watch(
    key: string,
    options: Partial<Omit<WatcherOptions, "rangeEnd">> & { end?: string } = {},
    stream = this.stream,
  ): Watcher {
    const { end, ...rest } = options;
    return this.hub.create(stream, {
      id: 0n,
      key: Buffer.from(key),
      rangeEnd: end === undefined ? null : end === "open" ? "open" : Buffer.from(end),
      startRevision: 0,
      filters: 0,
      prevKv: false,
      ...rest,
    });
  }

  put(key: string, value: string): void {
    this.store.put(key, value, this.hub);
  }

  settle(): void {
    for (let round = 0; round < 1000 && this.hub.step(); round++);
  }
}

test("a watcher of a key hears of that key only, one of a range of [start, end) only", () => {
  const scene = new Scene();
  const single = scene.watch("b");
  const range = scene.watch("b", { end: "d" });
  const open = scene.watch("b", { end: "open" });
  for (const key of ["a", "b", "ba", "c", "d", "e"]) scene.put(key, "1");
  assert.deepEqual(scene.sink.story(single), ["3 b=1"]);
  assert.deepEqual(scene.sink.story(range), ["3 b=1", "4 ba=1", "5 c=1"]);
  assert.deepEqual(scene.sink.story(open), ["3 b=1", "4 ba=1", "5 c=1", "6 d=1", "7 e=1"]);
});

test("all events of a revision come in one delivery, in order, with that revision in the header", () => {
  // covers: WT-08
  const scene = new Scene();
  const watcher = scene.watch("a", { end: "z" });
  const one = scene.watch("q");
  scene.store.commit([{ key: "q", value: "1" }, { key: "b", value: "2" }, { key: "q" }], scene.hub);
  assert.deepEqual(scene.sink.story(watcher), ["2 q=1, 2 b=2, 2 -q"]);
  assert.deepEqual(scene.sink.story(one), ["2 q=1, 2 -q"]);
  assert.deepEqual(
    scene.sink.deliveries.map((delivery) => delivery.revision),
    [2, 2],
  );
});

test("a delete has the key and its revision; a put has the whole KeyValue", () => {
  const scene = new Scene();
  const watcher = scene.watch("foo");
  scene.put("foo", "bar");
  scene.put("foo", "baz");
  scene.store.delete("foo", scene.hub);
  const parts = scene.sink.of(watcher).map((delivery) => Buffer.from(delivery.shared!.parts[0]!).toString("hex"));
  assert.deepEqual(parts, [
    `5a12${"1210"}${"0a03666f6f1002180220012a03626172"}`,
    `5a12${"1210"}${"0a03666f6f1002180320022a0362617a"}`,
    `5a0b${"0801"}${"1207"}${"0a03666f6f"}${"1804"}`,
  ]);
});

test("prev_kv is the value before the revision: none for a creation, none that the same revision made", () => {
  // covers: WT-19
  const scene = new Scene();
  const watcher = scene.watch("a", { end: "z", prevKv: true });
  scene.put("a", "1");
  scene.put("a", "2");
  scene.store.delete("a", scene.hub);
  scene.store.commit([{ key: "a", value: "4" }, { key: "a" }], scene.hub);
  const seen = scene.sink.of(watcher).flatMap((delivery) => delivery.events.map((event) => event.previous));
  assert.deepEqual(seen, [null, { value: "1", revision: 2 }, { value: "2", revision: 3 }, null, null]);
});

test("prev_kv is left out once it is compacted, and right at the edge of it", () => {
  // covers: WT-19
  const scene = new Scene({ puts: 6 }); // k at 2..7
  scene.store.compact(4);
  const watcher = scene.watch("k", { startRevision: 4, prevKv: true });
  scene.settle();
  const seen = scene.sink.of(watcher).flatMap((delivery) => delivery.events.map((event) => event.previous?.revision));
  assert.deepEqual(seen, [undefined, 4, 5, 6]);
});

test("filters drop puts or deletes, and a delivery left empty is not made", () => {
  const scene = new Scene();
  const noPut = scene.watch("a", { end: "z", filters: WatchFilter.NoPut });
  const noDelete = scene.watch("a", { end: "z", filters: WatchFilter.NoDelete });
  const neither = scene.watch("a", { end: "z", filters: WatchFilter.NoPut | WatchFilter.NoDelete });
  scene.put("a", "1");
  scene.store.commit([{ key: "a" }, { key: "b", value: "2" }], scene.hub);
  assert.deepEqual(scene.sink.story(noPut), ["3 -a"]);
  assert.deepEqual(scene.sink.story(noDelete), ["2 a=1", "3 b=2"]);
  assert.deepEqual(scene.sink.story(neither), []);
  assert.equal(scene.hub.watcherProgress(neither), 3);
});

test("events are encoded once: watchers of one range and of different ranges get the same bytes", () => {
  const scene = new Scene();
  const watchers = [
    scene.watch("a"),
    scene.watch("a"),
    scene.watch("a", { end: "c" }),
    scene.watch("a", { prevKv: true }),
  ];
  scene.put("a", "1");
  const shared = watchers.map((watcher) => scene.sink.of(watcher)[0]!.shared!);
  assert.equal(shared[0], shared[1]);
  assert.equal(shared[0], shared[2]);
  assert.equal(shared[0]!.parts[0], shared[3]!.parts[0]); // a creation has no prev_kv, so even this
  scene.put("a", "2");
  const second = watchers.map((watcher) => scene.sink.of(watcher)[1]!.shared!);
  assert.notEqual(second[0]!.parts[0], second[3]!.parts[0]);
});

test("a commit serves each stream's watchers together, in the order of creation", () => {
  const scene = new Scene();
  const order: string[] = [];
  const streams = ["x", "y"].map((name) =>
    scene.hub.openStream({
      deliver: (watcher) => {
        order.push(`${name}${watcher.id}`);
        return true;
      },
      compacted: () => {},
    }),
  );
  for (let i = 0; i < 3; i++) for (const stream of streams) scene.watch("a", {}, stream);
  scene.put("a", "1");
  assert.deepEqual(order, ["x0", "x1", "x2", "y0", "y1", "y2"]);
});

test("ids count from 0 per stream, skip those taken, and are free again after a cancel", () => {
  // covers: WT-11
  const scene = new Scene();
  const other = scene.hub.openStream(new RecordingSink());
  assert.equal(scene.watch("a").id, 0n);
  assert.equal(scene.watch("a", { id: 1n }).id, 1n);
  const second = scene.watch("a", { id: 2n });
  assert.throws(() => scene.watch("a", { id: 2n }), { kind: "DuplicateWatchId" });
  assert.equal(scene.watch("a").id, 3n);
  scene.hub.cancel(second);
  assert.equal(scene.watch("a", { id: 2n }).id, 2n);
  assert.equal(scene.watch("a", {}, other).id, 0n);
  assert.equal(scene.watch("a", { id: -7n }).id, -7n);
  assert.equal(scene.watch("a").id, 4n);
});

test("watch_id is ready to be sent, and left out for 0", () => {
  const scene = new Scene();
  const ids = [0n, 1n, 300n, -1n];
  assert.deepEqual(
    [scene.watch("a"), ...ids.slice(1).map((id) => scene.watch("a", { id }))].map((watcher) =>
      Buffer.from(watcher.idField).toString("hex"),
    ),
    ["", "1001", "10ac02", "10ffffffffffffffffff01"],
  );
});

test("an empty range is refused before its id is looked at", () => {
  const scene = new Scene();
  scene.watch("a", { id: 5n });
  assert.throws(() => scene.watch("b", { end: "b", id: 5n }), { kind: "EmptyWatcherRange" });
  assert.throws(() => scene.watch("b", { end: "a" }), { kind: "EmptyWatcherRange" });
  assert.equal(scene.hub.watcherCount, 1);
  assert.equal(scene.watch("b", { end: "b\0" }).id, 0n); // the refused ones took no number
});

test("start revision 0 is from now on, not from the start", () => {
  // covers: WT-14
  const scene = new Scene({ puts: 3 });
  const watcher = scene.watch("k");
  scene.settle();
  scene.put("k", "new");
  assert.deepEqual(scene.sink.story(watcher), ["5 k=new"]);
});

test("compacted at 10, now at 20: 9 is cancelled with 10, 10 gets 10 to 20, 21 the next, 30 from 30 on", () => {
  // covers: WT-01
  const scene = new Scene({ puts: 19 });
  scene.store.compact(10);
  const watchers = [9, 10, 21, 30].map((startRevision) => scene.watch("k", { startRevision }));
  assert.deepEqual(scene.sink.deliveries, []);
  scene.settle();
  const [nine, ten, next, future] = watchers as [Watcher, Watcher, Watcher, Watcher];
  assert.deepEqual(scene.sink.story(nine), ["compacted 10"]);
  assert.deepEqual(
    scene.sink.of(ten).flatMap((delivery) => delivery.events.map((event) => event.revision)),
    [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
  );
  for (let revision = 21; revision <= 31; revision++) scene.put("k", `v${revision}`);
  scene.settle();
  assert.equal(scene.sink.of(nine).length, 1);
  assert.equal(scene.sink.of(next).length, 11);
  assert.deepEqual(scene.sink.story(future), ["30 k=v30", "31 k=v31"]);
});

test("a deletion at the compacted revision is still replayed, and one after it", () => {
  // covers: WT-10
  const scene = new Scene();
  scene.put("a", "1");
  scene.store.delete("a", scene.hub);
  scene.put("b", "2");
  scene.store.delete("b", scene.hub);
  scene.store.compact(3);
  const watcher = scene.watch("a", { end: "z", startRevision: 3 });
  scene.settle();
  assert.deepEqual(scene.sink.story(watcher), ["3 -a, 4 b=2, 5 -b"]);
});

test("a compacted watcher hears exactly once, keeps its id until cancelled and blocks its stream's progress", () => {
  // covers: WT-01
  const scene = new Scene({ puts: 9 });
  scene.store.compact(5);
  const behind = scene.watch("k", { startRevision: 4, id: 7n });
  scene.watch("k");
  scene.settle();
  scene.store.compact(8);
  scene.settle();
  assert.deepEqual(scene.sink.story(behind), ["compacted 5"]);
  assert.equal(behind.state, "compacted");
  assert.throws(() => scene.watch("k", { id: 7n }), { kind: "DuplicateWatchId" });
  assert.equal(scene.hub.streamProgress(scene.stream), 0);
  scene.hub.cancel(behind);
  assert.equal(scene.hub.streamProgress(scene.stream), 10);
});

test("a slow watcher that falls behind a compaction is told even though its stream is full", () => {
  // covers: WT-01
  const scene = new Scene({ room: 1, retainedSizeBytes: 0 });
  const watcher = scene.watch("k");
  for (let i = 2; i <= 6; i++) scene.put("k", `v${i}`);
  assert.equal(watcher.state, "unsynced");
  scene.store.compact(4);
  assert.equal(scene.stream.isBlocked, true);
  scene.settle();
  assert.deepEqual(scene.sink.story(watcher), ["2 k=v2", "compacted 4"]);
  scene.sink.drain(scene.hub, scene.stream);
  scene.settle();
  assert.equal(scene.sink.of(watcher).length, 2);
});

test("a slow watcher whose next revision is the compacted one loses nothing", () => {
  const scene = new Scene({ room: 1, retainedSizeBytes: 0 });
  const watcher = scene.watch("k");
  for (let i = 2; i <= 6; i++) scene.put("k", `v${i}`);
  scene.store.compact(3);
  scene.sink.room = 10;
  scene.sink.drain(scene.hub, scene.stream);
  scene.settle();
  assert.deepEqual(scene.sink.story(watcher), ["2 k=v2", "3 k=v3, 4 k=v4, 5 k=v5, 6 k=v6"]);
});

test("a delivery the stream refuses is kept and comes first when it drains, then the rest from history", () => {
  const scene = new Scene({ room: 1 });
  const watcher = scene.watch("k");
  for (let i = 2; i <= 5; i++) scene.put("k", `v${i}`);
  assert.equal(watcher.state, "victim");
  assert.equal(scene.sink.refusedCount, 1); // a stream known to be full is not asked again
  assert.ok(scene.hub.retainedSizeBytes > 0);
  assert.equal(scene.hub.step(), false);
  scene.sink.drain(scene.hub, scene.stream);
  assert.equal(watcher.state, "unsynced");
  assert.equal(scene.hub.retainedSizeBytes, 0);
  assert.equal(scene.hub.needsStep, true);
  scene.settle();
  scene.sink.drain(scene.hub, scene.stream);
  scene.settle();
  assert.deepEqual(scene.sink.story(watcher), ["2 k=v2", "3 k=v3", "4 k=v4, 5 k=v5"]);
  assert.deepEqual(
    scene.sink.of(watcher).map((delivery) => delivery.revision),
    [2, 3, 5],
  );
  assert.equal(watcher.state, "synced");
});

test("a victim that missed nothing meanwhile is synced at once, without reading history", () => {
  const scene = new Scene({ room: 1 });
  const first = scene.watch("k");
  const second = scene.watch("k");
  scene.put("k", "v2");
  assert.deepEqual([first.state, second.state], ["synced", "victim"]);
  scene.sink.drain(scene.hub, scene.stream);
  assert.equal(second.state, "synced");
  assert.equal(scene.store.visitedCount, 0);
  assert.deepEqual(scene.sink.story(second), ["2 k=v2"]);
});

test("a full stream does not hold up another stream's watchers of the same key", () => {
  const scene = new Scene({ room: 0 });
  const stuck = scene.watch("k");
  const sink = new RecordingSink();
  const free = scene.watch("k", {}, scene.hub.openStream(sink));
  scene.put("k", "1");
  scene.put("k", "2");
  assert.deepEqual(sink.story(free), ["2 k=1", "3 k=2"]);
  assert.equal(stuck.state, "victim");
});

test("events too large to keep for a full stream are read again from history", () => {
  // covers: WT-16
  const scene = new Scene({ room: 1, retainedSizeBytesPerWatcher: 100 });
  const watcher = scene.watch("k");
  scene.put("k", "small");
  scene.put("k", "large".repeat(100));
  assert.equal(watcher.state, "unsynced");
  assert.equal(scene.hub.retainedSizeBytes, 0);
  scene.sink.drain(scene.hub, scene.stream);
  scene.settle();
  assert.deepEqual(scene.sink.story(watcher), ["2 k=small", `3 k=${"large".repeat(100)}`]);
});

test("what is kept for full streams holds no memory but its own, and is kept once", () => {
  // covers: WT-16
  const scene = new Scene({ room: 0 });
  const watchers = [scene.watch("k"), scene.watch("k"), scene.watch("a", { end: "z" })];
  scene.put("k", "1");
  const kept = watchers.map((watcher) => watcher.retained!);
  assert.equal(kept[0], kept[1]);
  assert.equal(kept[0], kept[2]);
  assert.equal(kept[0]!.parts[0]!.buffer.byteLength, kept[0]!.sizeBytes);
});

test("what all victims together keep is bounded", () => {
  // covers: WT-16
  const scene = new Scene({ room: 0, retainedSizeBytes: 250 });
  const watchers = Array.from({ length: 10 }, () => scene.watch("k"));
  scene.put("k", "x".repeat(80)); // about 100 bytes encoded
  assert.deepEqual(
    watchers.map((watcher) => watcher.state),
    [...Array(2).fill("victim"), ...Array(8).fill("unsynced")],
  );
  assert.ok(scene.hub.retainedSizeBytes <= 250);
  scene.sink.room = Number.POSITIVE_INFINITY;
  scene.sink.drain(scene.hub, scene.stream);
  scene.settle();
  for (const watcher of watchers) assert.equal(scene.sink.of(watcher).length, 1);
});

test("a replay reads at most so many revisions a step, never splits one, and syncs at the end", () => {
  // covers: WT-08
  const scene = new Scene({ replayRevisionCount: 10 });
  for (let i = 0; i < 25; i++) {
    scene.store.commit(
      [
        { key: "a", value: `${i}` },
        { key: "b", value: `${i}` },
      ],
      null,
    );
  }
  const store = scene.store;
  const hub = new WatchHub({ source: store, replayRevisionCount: 10 });
  const sink = new RecordingSink();
  const watcher = hub.create(hub.openStream(sink), {
    id: 0n,
    key: Buffer.from("a"),
    rangeEnd: "open",
    startRevision: 2,
    filters: 0,
    prevKv: false,
  });
  const steps = [hub.step(), hub.step(), hub.step(), hub.step()];
  assert.deepEqual(steps, [true, true, false, false]);
  const deliveries = sink.of(watcher);
  assert.deepEqual(
    deliveries.map((delivery) => [delivery.events.length, delivery.revision]),
    [
      [20, 26],
      [20, 26],
      [10, 26],
    ],
  );
  assert.equal(watcher.state, "synced");
});

test("a replay reads at most so many bytes a step, but always one whole revision", () => {
  const store = new NaiveStore();
  for (let i = 0; i < 4; i++) {
    store.commit(
      [
        { key: "a", value: "x".repeat(300) },
        { key: "b", value: "x".repeat(300) },
        { key: "c", value: "y" },
      ],
      null,
    );
  }
  const hub = new WatchHub({ source: store, replaySizeBytes: 700 });
  const sink = new RecordingSink();
  const watcher = hub.create(hub.openStream(sink), {
    id: 0n,
    key: Buffer.from("a"),
    rangeEnd: "open",
    startRevision: 1,
    filters: 0,
    prevKv: false,
  });
  while (hub.step());
  assert.deepEqual(
    sink.of(watcher).map((delivery) => delivery.events.map((event) => event.revision)),
    [
      [2, 2, 2, 3, 3, 3],
      [4, 4, 4, 5, 5, 5],
    ],
  );
  const tight = new WatchHub({ source: store, replaySizeBytes: 1 });
  const tightSink = new RecordingSink();
  tight.create(tight.openStream(tightSink), {
    id: 0n,
    key: Buffer.from("a"),
    rangeEnd: "open",
    startRevision: 1,
    filters: 0,
    prevKv: false,
  });
  while (tight.step());
  assert.deepEqual(
    tightSink.deliveries.map((delivery) => delivery.events.length),
    [3, 3, 3, 3],
  );
});

test("watchers behind by different distances share one reading of history", () => {
  const scene = new Scene({ puts: 500 });
  const watchers = Array.from({ length: 100 }, (_, i) => scene.watch("k", { startRevision: 2 + i }));
  scene.settle();
  assert.equal(scene.store.visitedCount, 500);
  for (const [i, watcher] of watchers.entries()) {
    const revisions = scene.sink.of(watcher).flatMap((delivery) => delivery.events.map((event) => event.revision));
    assert.deepEqual(
      revisions,
      Array.from({ length: 500 - i }, (_, j) => 2 + i + j),
    );
  }
});

test("watchers far behind do not starve those that are nearly there", () => {
  const scene = new Scene({ puts: 1000, replayRevisionCount: 10 });
  const far = Array.from({ length: 5 }, (_, i) => scene.watch("k", { startRevision: 2 + i * 100 }));
  const near = scene.watch("k", { startRevision: 1000 });
  for (let i = 0; i < 6; i++) scene.hub.step();
  assert.equal(near.state, "synced");
  assert.equal(scene.sink.of(near).length, 1);
  scene.settle();
  for (const watcher of far) assert.equal(watcher.state, "synced");
});

test("history is read only for streams that take it", () => {
  const scene = new Scene({ puts: 50, room: 0 });
  scene.watch("k", { startRevision: 2 });
  scene.hub.step();
  const { visitedCount } = scene.store;
  for (let i = 0; i < 10; i++) assert.equal(scene.hub.step(), false);
  assert.equal(scene.store.visitedCount, visitedCount);
});

test("commits during a replay come after it, in order and once", () => {
  const scene = new Scene({ puts: 25, replayRevisionCount: 10 });
  const watcher = scene.watch("k", { startRevision: 2 });
  for (let i = 0; i < 10; i++) {
    scene.hub.step();
    scene.put("k", "more");
  }
  scene.settle();
  const revisions = scene.sink.of(watcher).flatMap((delivery) => delivery.events.map((event) => event.revision));
  assert.deepEqual(
    revisions,
    Array.from({ length: 35 }, (_, i) => i + 2),
  );
});

test("after a snapshot every watcher goes on where it was: nothing again, nothing missing, the future stays the future", () => {
  // covers: WT-02, WT-03, WT-04
  const scene = new Scene({ puts: 3 }); // revision 4
  const synced = scene.watch("k");
  const neverMatched = scene.watch("z");
  const future = scene.watch("k", { startRevision: 10 });
  const behind = scene.watch("k", { startRevision: 3 });
  scene.put("k", "v5");
  const snapshot = scene.store.snapshot();
  for (let i = 6; i <= 8; i++) snapshot.put("k", `v${i}`, null);
  scene.hub.restored(snapshot);
  scene.store = snapshot;
  assert.deepEqual([synced.state, neverMatched.state, future.state, behind.state], Array(4).fill("unsynced"));
  assert.equal(scene.hub.streamProgress(scene.stream), 0);
  scene.settle();
  assert.deepEqual([synced.state, neverMatched.state, future.state, behind.state], Array(4).fill("synced"));
  for (let i = 9; i <= 11; i++) scene.put("k", `v${i}`);
  assert.deepEqual(scene.sink.story(synced), ["5 k=v5", "6 k=v6, 7 k=v7, 8 k=v8", "9 k=v9", "10 k=v10", "11 k=v11"]);
  assert.deepEqual(scene.sink.story(neverMatched), []);
  assert.deepEqual(scene.sink.story(future), ["10 k=v10", "11 k=v11"]);
  assert.deepEqual(scene.sink.story(behind)[0], "3 k=v3, 4 k=v4, 5 k=v5, 6 k=v6, 7 k=v7, 8 k=v8");
});

test("a quiet watcher that had everything is not behind a compaction, neither after a snapshot nor once refused", () => {
  // covers: WT-01, WT-02
  const scene = new Scene({ room: 1, retainedSizeBytes: 0 });
  const watcher = scene.watch("k");
  for (let i = 0; i < 5; i++) scene.put("other", "1"); // to revision 6
  scene.store.compact(6);
  scene.hub.restored(scene.store);
  scene.settle();
  assert.equal(watcher.state, "synced");
  for (let i = 0; i < 5; i++) scene.put("other", "1"); // to revision 11
  scene.store.compact(11);
  scene.sink.undrained = 1;
  scene.put("k", "12");
  assert.equal(watcher.state, "unsynced");
  scene.settle();
  scene.sink.drain(scene.hub, scene.stream);
  scene.settle();
  assert.deepEqual(scene.sink.story(watcher), ["12 k=12"]);
});

test("after a snapshot that was compacted past a watcher, the watcher is told", () => {
  // covers: WT-01, WT-02
  const scene = new Scene({ puts: 3 });
  const watcher = scene.watch("k");
  const snapshot = scene.store.snapshot();
  for (let i = 5; i <= 9; i++) snapshot.put("k", `v${i}`, null);
  snapshot.compact(8);
  scene.hub.restored(snapshot);
  scene.settle();
  assert.deepEqual(scene.sink.story(watcher), ["compacted 8"]);
});

test("a victim keeps what it was refused over a snapshot", () => {
  const scene = new Scene({ room: 0 });
  const watcher = scene.watch("k");
  scene.put("k", "v2");
  const snapshot = scene.store.snapshot();
  snapshot.put("k", "v3", null);
  scene.hub.restored(snapshot);
  assert.equal(watcher.state, "victim");
  scene.sink.room = 5;
  scene.sink.drain(scene.hub, scene.stream);
  scene.settle();
  assert.deepEqual(scene.sink.story(watcher), ["2 k=v2", "3 k=v3"]);
});

test("progress of a stream is told only when every watcher has everything, whether or not anything matched", () => {
  // covers: WT-05, WT-06
  const scene = new Scene({ puts: 5, room: 1, retainedSizeBytes: 1000 });
  const { hub, stream } = scene;
  assert.equal(hub.streamProgress(stream), 0); // no watchers
  const silent = scene.watch("never");
  assert.equal(hub.streamProgress(stream), 6);
  scene.put("other", "1");
  assert.equal(hub.streamProgress(stream), 7);
  const behind = scene.watch("k", { startRevision: 2 });
  assert.deepEqual([hub.watcherProgress(silent), hub.watcherProgress(behind), hub.streamProgress(stream)], [7, 0, 0]);
  scene.settle();
  assert.equal(hub.streamProgress(stream), 7);
  scene.put("k", "refused");
  assert.equal(behind.state, "victim");
  assert.deepEqual([hub.watcherProgress(behind), hub.streamProgress(stream)], [0, 0]);
  scene.sink.drain(hub, stream);
  assert.equal(hub.streamProgress(stream), 8);
});

test("progress waits for a watcher of the future to begin", () => {
  // covers: WT-03
  const scene = new Scene();
  const future = scene.watch("k", { startRevision: 3 });
  scene.put("k", "2");
  assert.deepEqual([scene.hub.watcherProgress(future), scene.hub.streamProgress(scene.stream)], [0, 0]);
  scene.put("x", "3");
  assert.deepEqual([scene.hub.watcherProgress(future), scene.hub.streamProgress(scene.stream)], [3, 3]);
});

test("a watcher from beyond every revision is silent for ever and harms nothing", () => {
  // covers: WT-04
  const scene = new Scene();
  const watcher = scene.watch("k", { startRevision: Number.MAX_SAFE_INTEGER });
  scene.put("k", "1");
  scene.hub.restored(scene.store);
  scene.settle();
  scene.put("k", "2");
  assert.deepEqual([watcher.state, scene.sink.story(watcher)], ["synced", []]);
});

test("a cancelled watcher gets nothing more in whatever state it was", () => {
  const scene = new Scene({ puts: 3, room: 1 });
  const synced = scene.watch("k");
  const victim = scene.watch("k");
  const unsynced = scene.watch("k", { startRevision: 2 });
  scene.put("k", "5");
  assert.deepEqual([synced.state, victim.state, unsynced.state], ["synced", "victim", "unsynced"]);
  for (const watcher of [synced, victim, unsynced, victim]) scene.hub.cancel(watcher);
  assert.equal(scene.hub.retainedSizeBytes, 0);
  scene.sink.room = 100;
  scene.sink.drain(scene.hub, scene.stream);
  scene.settle();
  scene.put("k", "6");
  assert.deepEqual(scene.sink.deliveries.length, 1);
  assert.deepEqual([scene.hub.watcherCount, scene.hub.slowWatcherCount, scene.hub.needsStep], [0, 0, false]);
});

test("ten thousand streams opened and closed leave nothing behind", () => {
  // covers: WT-17
  const scene = new Scene({ puts: 3 });
  scene.hub.closeStream(scene.stream);
  for (let i = 0; i < 10_000; i++) {
    const stream = scene.hub.openStream(new RecordingSink(i % 3));
    scene.watch("k", { prevKv: true }, stream);
    scene.watch("k", { startRevision: 2 }, stream);
    scene.watch("a", { end: "z" }, stream);
    if (i % 100 === 0) {
      scene.put("k", `${i}`);
      scene.hub.step();
    }
    scene.hub.closeStream(stream);
    scene.hub.closeStream(stream);
    scene.hub.drained(stream);
  }
  const { watcherCount, streamCount, slowWatcherCount, retainedSizeBytes, needsStep, groupCount } = scene.hub;
  assert.deepEqual(
    [watcherCount, streamCount, slowWatcherCount, retainedSizeBytes, needsStep, groupCount],
    [0, 0, 0, 0, false, 0],
  );
});

test("a sink that calls the hub back breaks an invariant", () => {
  const scene = new Scene();
  const stream: WatchStream = scene.hub.openStream({
    deliver: (watcher) => {
      scene.hub.cancel(watcher);
      return true;
    },
    compacted: () => {},
  });
  scene.watch("k", {}, stream);
  assert.throws(() => scene.put("k", "1"), BrokenInvariant);
});
