import assert from "node:assert/strict";
import { test } from "node:test";
import { Writer } from "@quorate/api/wire";
import fc from "fast-check";
import { fragmentEnds } from "./fragment.ts";
import { NO_WATCH_ID, writeControl, writeEventsHead } from "./response.ts";
import { SharedEvents } from "./shared-events.ts";

const eventsOf = (...sizes: number[]): SharedEvents =>
  new SharedEvents(
    sizes.map((size) => new Uint8Array(size)),
    2,
    2,
  );

test("a response below the limit goes out whole, one at the limit is cut", () => {
  assert.deepEqual(fragmentEnds(10, eventsOf(40, 49), 100), [2]);
  assert.deepEqual(fragmentEnds(10, eventsOf(40, 50), 100), [1, 2]);
});

test("a single event goes out whole whatever its size, alone or among others", () => {
  assert.deepEqual(fragmentEnds(10, eventsOf(1000), 100), [1]);
  assert.deepEqual(fragmentEnds(10, eventsOf(1000, 1000, 1), 100), [1, 2, 3]);
});

test("fragments are packed greedily and their mark counts, on the last one too", () => {
  assert.deepEqual(fragmentEnds(10, eventsOf(20, 20, 20, 20, 20, 20), 73), [3, 6]);
  assert.deepEqual(fragmentEnds(10, eventsOf(20, 20, 20, 20, 20, 20), 72), [2, 4, 6]);
});

test("fragments are those of etcd's loop", () => {
  // etcd's: append the next event; if that makes two or more and reaches the limit, take it back and send.
  const etcd = (head: number, sizes: number[], limit: number): number[] => {
    const total = sizes.reduce((sum, size) => sum + size, head);
    if (total < limit || sizes.length < 2) return [sizes.length];
    const ends: number[] = [];
    for (let index = 0; index < sizes.length; ) {
      const current: number[] = [];
      for (const size of sizes.slice(index)) {
        current.push(size);
        if (current.length > 1 && current.reduce((sum, each) => sum + each, head + 2) >= limit) {
          current.pop();
          break;
        }
        index++;
      }
      ends.push(index);
    }
    return ends;
  };
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 30 }),
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 1, max: 200 }),
      (head, sizes, limit) => {
        assert.deepEqual(fragmentEnds(head, eventsOf(...sizes), limit), etcd(head, sizes, limit));
      },
    ),
    { numRuns: 500, seed: 8 },
  );
});

test("heads of responses are what etcd sends, zero fields left out", () => {
  // covers: WT-13
  const control = (fields: Partial<Parameters<typeof writeControl>[1]>): string => {
    const writer = new Writer();
    writeControl(writer, {
      watchId: 0n,
      created: false,
      canceled: false,
      compactRevision: 0,
      cancelReason: "",
      ...fields,
    });
    return Buffer.from(writer.bytes()).toString("hex");
  };
  assert.equal(control({ created: true }), "1801");
  assert.equal(control({ watchId: 3n, canceled: true, compactRevision: 300 }), "1003200128ac02");
  assert.equal(control({ watchId: NO_WATCH_ID }), "10ffffffffffffffffff01");
  assert.equal(
    control({ watchId: NO_WATCH_ID, created: true, canceled: true, cancelReason: "no" }),
    "10ffffffffffffffffff011801200132026e6f",
  );
  const writer = new Writer();
  writeEventsHead(writer, Uint8Array.of(0x10, 5), true);
  writeEventsHead(writer, new Uint8Array(0), false);
  assert.equal(Buffer.from(writer.bytes()).toString("hex"), "10053801");
});
