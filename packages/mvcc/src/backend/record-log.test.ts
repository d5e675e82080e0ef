import assert from "node:assert/strict";
import { test } from "node:test";
import { FRAME_HEADER_BYTES, MAX_SUB } from "./record-frame.ts";
import { MAX_RECORD_BYTES, RecordLog } from "./record-log.ts";
import { RecordSpan } from "./storage.ts";

const span = new RecordSpan();

function add(log: RecordLog, main: number, sub: number, text: string, isTombstone = false): number {
  const bytes = Buffer.from(text);
  log.reserve(main, sub, isTombstone, bytes.length, span);
  span.buffer.set(bytes, span.start);
  return span.position;
}

function read(log: RecordLog, position: number, main: number, sub: number): string | null {
  if (!log.read(position, main, sub, false, span)) return null;
  return Buffer.from(span.buffer.subarray(span.start, span.end)).toString();
}

function unflushed(log: RecordLog, main = 0, sub = 0): string[] {
  const found: string[] = [];
  log.scanUnflushed(main, sub, {
    visit(recordMain, recordSub, isTombstone, bytes, start, end) {
      found.push(`${recordMain}/${recordSub}${isTombstone ? "t" : ""} ${Buffer.from(bytes.subarray(start, end))}`);
      return true;
    },
  });
  return found;
}

test("a log without records holds no memory", () => {
  const log = new RecordLog(1024, 1024);
  assert.equal(log.heldBytes, 0);
  assert.deepEqual(log.regionsBefore(log.endPosition), []);
  assert.deepEqual(unflushed(log), []);
  assert.equal(log.firstUnflushed({ main: 0, sub: 0 }), false);
});

test("a span stays valid and apart until the next reserve, whatever the size", () => {
  const log = new RecordLog(64, 0);
  const positions: number[] = [];
  const sizes = [0, 1, 47, 48, 49, 64, 200, 8, 5000, 3];
  for (const [i, size] of sizes.entries()) {
    log.reserve(i + 2, 0, false, size, span);
    assert.equal(span.end - span.start, size);
    span.buffer.fill(i + 1, span.start, span.end);
    positions.push(span.position);
  }
  for (const [i, size] of sizes.entries()) {
    assert.equal(log.read(positions[i]!, i + 2, 0, false, span), true);
    assert.deepEqual(Buffer.from(span.buffer.subarray(span.start, span.end)), Buffer.alloc(size, i + 1));
  }
  assert.equal(new Set(positions).size, sizes.length);
});

test("flushed chunks stay as a cache and go oldest first when memory is needed", () => {
  const log = new RecordLog(64, 128);
  const a = add(log, 2, 0, "a".repeat(40));
  const b = add(log, 3, 0, "b".repeat(40));
  const c = add(log, 4, 0, "c".repeat(40));
  assert.equal(log.heldBytes, 192, "nothing is flushed, so all is held beyond the cache");
  log.flushedTo(log.endPosition);
  assert.equal(log.heldBytes, 128);
  assert.equal(read(log, a, 2, 0), null);
  assert.equal(read(log, b, 3, 0), "b".repeat(40));
  const d = add(log, 5, 0, "d".repeat(40));
  assert.equal(log.heldBytes, 128);
  assert.equal(read(log, b, 3, 0), null);
  assert.equal(read(log, c, 4, 0), "c".repeat(40));
  assert.equal(read(log, d, 5, 0), "d".repeat(40));
});

test("a reused chunk is never mistaken for what it held before", () => {
  const log = new RecordLog(64, 64);
  const old = add(log, 2, 0, "old");
  add(log, 2, 1, "o".repeat(24));
  log.flushedTo(log.endPosition);
  add(log, 3, 0, "new".padEnd(48));
  assert.equal(read(log, old, 2, 0), null);
  assert.equal(log.heldBytes, 64);
});

test("memory of evicted chunks is used again, for records of every size", () => {
  const log = new RecordLog(64, 128);
  const most = 64 * 32;
  for (let main = 2; main < 5000; main++) {
    add(log, main, 0, "x".repeat((main * 37) % 700));
    if (main % 2 === 0) log.flushedTo(log.endPosition);
    assert.ok(log.heldBytes <= most && log.reservedBytes <= most, `${log.heldBytes} of ${log.reservedBytes}`);
  }
});

test("only flushed chunks are evicted, and a batch in flight is not", () => {
  const log = new RecordLog(64, 0);
  add(log, 2, 0, "a".repeat(40));
  const cut = log.endPosition;
  const regions = log.regionsBefore(cut);
  for (let i = 3; i < 20; i++) add(log, i, 0, "b".repeat(40));
  const bytes = Buffer.from(regions[0]!.shared).subarray(regions[0]!.start + FRAME_HEADER_BYTES, regions[0]!.end);
  assert.equal(bytes.toString(), "a".repeat(40));
  log.flushedTo(cut);
  assert.equal(unflushed(log).length, 17);
});

test("a cut in the middle of a chunk separates what is flushed from what is not", () => {
  const log = new RecordLog(1024, 1024);
  add(log, 2, 0, "a");
  add(log, 2, 1, "b", true);
  const cut = log.endPosition;
  add(log, 3, 0, "c");
  assert.deepEqual(
    log.regionsBefore(cut).map((region) => [region.start, region.end]),
    [[0, 48]],
  );
  assert.deepEqual(unflushed(log), ["2/0 a", "2/1t b", "3/0 c"]);
  assert.deepEqual(unflushed(log, 2, 1), ["2/1t b", "3/0 c"]);
  log.flushedTo(cut);
  assert.deepEqual(unflushed(log), ["3/0 c"]);
  const first = { main: 0, sub: 0 };
  assert.equal(log.firstUnflushed(first), true);
  assert.deepEqual(first, { main: 3, sub: 0 });
});

test("revisions must ascend, and limits are kept", () => {
  const log = new RecordLog(1024, 1024);
  add(log, 2, 1, "a");
  assert.throws(() => add(log, 2, 1, "b"), /revisions ascend/);
  assert.throws(() => add(log, 1, 7, "b"), /revisions ascend/);
  assert.throws(() => log.reserve(3, MAX_SUB + 1, false, 0, span), /sub revision/);
  assert.throws(() => log.reserve(3, 0, false, MAX_RECORD_BYTES + 1, span), /512 MiB/);
  add(log, 3, MAX_SUB, "the largest sub", true);
  assert.deepEqual(unflushed(log), ["2/1 a", `3/${MAX_SUB}t the largest sub`]);
});

test("asking at a position for another revision than it holds is a broken invariant", () => {
  const log = new RecordLog(1024, 1024);
  const position = add(log, 2, 0, "a");
  assert.throws(() => log.read(position, 2, 1, false, span), /revision asked for/);
  assert.throws(() => log.read(position, 2, 0, true, span), /revision asked for/);
  assert.throws(() => log.read(1024 * 50, 2, 0, false, span), /before the end/);
});
