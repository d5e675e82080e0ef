/** The hub joined to the real store: commits, history from memory and from storage, compaction under way, restarts. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { deleteRange, op, put, TestStore, txn } from "../store/testing/harness.ts";
import { RecordingSink, type SeenEvent } from "./testing/recording-sink.ts";
import { WatchHub } from "./watch-hub.ts";
import type { Watcher } from "./watcher.ts";

function watchAll(hub: WatchHub, sink: RecordingSink, startRevision: number): Watcher {
  return hub.create(hub.openStream(sink), {
    id: 0n,
    key: Buffer.from([0]),
    rangeEnd: "open",
    startRevision,
    filters: 0,
    prevKv: true,
  });
}

function joined(it: TestStore): WatchHub {
  const hub = new WatchHub({ source: it.store, replayRevisionCount: 7 });
  it.store.listen(hub);
  return hub;
}

const eventsOf = (sink: RecordingSink, watcher: Watcher): SeenEvent[] =>
  sink.of(watcher).flatMap((delivery) => [...delivery.events]);

test("a txn is one delivery: a put and a delete of one key, both of its revision", () => {
  const it = new TestStore();
  const hub = joined(it);
  const sink = new RecordingSink();
  const watcher = watchAll(hub, sink, 0);
  it.put("a", "1");
  it.store.txn(txn([op(txn([op(put("q", "2"))])), op(txn([op(deleteRange("q"))])), op(deleteRange("a"))]));
  it.store.txn(txn([op(deleteRange("nothing"))]));
  assert.deepEqual(sink.story(watcher), ["2 a=1", "3 q=2, 3 -q, 3 -a"]);
  assert.deepEqual(
    eventsOf(sink, watcher).map((event) => event.previous),
    [null, null, null, { value: "1", revision: 2 }],
  );
});

test("history reads as the commits did: from memory, from storage, across compaction steps and a restart", () => {
  let it = new TestStore({ cacheBytes: 0 });
  let hub = joined(it);
  const witnessed: SeenEvent[] = [];
  let witness = new RecordingSink();
  let witnessing = watchAll(hub, witness, 0);
  let state = 17;
  const below = (bound: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % bound;
  };
  for (let round = 0; round < 400; round++) {
    const key = `k${below(12)}`;
    const kind = below(8);
    if (kind < 2) it.delete(key, kind === 0 ? "k5" : "");
    else if (kind < 4) it.store.txn(txn([op(put(`${key}x`, "t")), op(put(key, `t${round}`)), op(deleteRange("kz"))]));
    else it.put(key, `v${round}`);
    it.applied();
    if (below(20) === 0) it.flush();
    if (below(25) === 0 && it.store.revision > it.store.compactRevision + 5) {
      it.store.compact(it.store.compactRevision < 0 ? 3 : it.store.revision - 4);
      it.applied();
    }
    it.store.compactionStep(3);
    if (round === 200) {
      witnessed.push(...eventsOf(witness, witnessing));
      it.flush();
      it = it.reopen();
      hub = joined(it);
      witness = new RecordingSink();
      witnessing = watchAll(hub, witness, 0);
    }
    if (below(5) !== 0) continue;

    const compactRevision = Math.max(it.store.compactRevision, 1);
    const start = compactRevision + below(it.store.revision - compactRevision + 1);
    const sink = new RecordingSink();
    const watcher = watchAll(hub, sink, start);
    while (hub.step()) {
      // Until caught up.
    }
    const all = [...witnessed, ...eventsOf(witness, witnessing)].filter((event) => event.revision >= start);
    // At the compacted revision itself the values before are gone.
    const expected = all.map((event) =>
      event.revision - 1 < it.store.compactRevision ? { ...event, previous: null } : event,
    );
    assert.deepEqual(eventsOf(sink, watcher), expected);
    assert.equal(watcher.state, "synced");
    hub.closeStream(watcher.stream);
  }
  assert.ok(it.store.compactRevision > 100, "the history was compacted many times");
});
