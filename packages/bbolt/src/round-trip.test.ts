import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BboltReader } from "./reader.ts";
import { type Contents, contentsOf, fileOf, MemoryFile, numberedPairs, readAll } from "./testing/files.ts";
import { BboltWriter } from "./writer.ts";

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));

test("what is written is read, whatever the buckets, pairs and page size are", () => {
  const key = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 20 }),
    fc.uint8Array({ minLength: 1, maxLength: 3 }),
    fc.uint8Array({ minLength: 300, maxLength: 3000 }),
  );
  const value = fc.oneof(
    { weight: 5, arbitrary: fc.uint8Array({ maxLength: 60 }) },
    { weight: 1, arbitrary: fc.nat(20_000).map((length) => new Uint8Array(length).fill(length)) },
  );
  const pairs = fc
    .uniqueArray(fc.tuple(key, value), { selector: ([k]) => Buffer.from(k).toString("hex"), maxLength: 120 })
    .map((list) => list.sort(([a], [b]) => Buffer.compare(a, b)));
  const name = fc.stringMatching(/^[a-z_]{1,12}$/);
  const contents = fc
    .uniqueArray(fc.tuple(name, pairs), { selector: ([n]) => n, maxLength: 6 })
    .map((list) => list.sort(([a], [b]) => (a < b ? -1 : 1)));
  const options = fc.record({
    pageBytes: fc.constantFrom(2048, 4096, 16_384, 65_536),
    fill: fc.constantFrom(0.3, 0.9, 1),
  });
  fc.assert(
    fc.property(contents, options, (written, chosen) => {
      const file = fileOf(written, chosen);
      const reader = new BboltReader(file);
      reader.check();
      assert.equal(reader.pageBytes, chosen.pageBytes);
      assert.equal(reader.sizeBytes, file.bytes.length);
      assert.deepEqual(contentsOf(reader), written);
      for (const [bucket, list] of written) {
        for (const [k, v] of list) assert.deepEqual(reader.get(bytes(bucket), k), v);
        assert.equal(reader.get(bytes(bucket), new Uint8Array(40).fill(7)), null);
      }
    }),
    { numRuns: 150, seed: 1 },
  );
});

test("a tree of several levels keeps its order, and one key is found without reading the others", () => {
  const pairs = numberedPairs(30_000, (i) => `value ${i}`);
  const file = fileOf([["key", pairs]], { pageBytes: 2048 });
  assert.deepEqual(readAll(file), [["key", pairs]]);
  const reader = new BboltReader(file);
  let reads = 0;
  const read = file.read.bind(file);
  file.read = (...args) => {
    reads++;
    return read(...args);
  };
  for (const i of [0, 1, 14_999, 29_999]) assert.deepEqual(reader.get(bytes("key"), pairs[i]![0]), pairs[i]![1]);
  assert.equal(reader.get(bytes("key"), bytes("key-00000001x")), null);
  assert.equal(reader.get(bytes("key"), bytes("a")), null);
  assert.equal(reader.get(bytes("key"), bytes("z")), null);
  assert.ok(reads < 7 * 5, `${reads} pages for 7 keys`);
});

test("a visit ends when told", () => {
  const reader = new BboltReader(fileOf([["key", numberedPairs(1000, String)]]));
  let visited = 0;
  reader.visit(bytes("key"), { visit: () => ++visited < 300 });
  assert.equal(visited, 300);
});

test("a bucket that is not there has no pairs", () => {
  const reader = new BboltReader(fileOf([["a", numberedPairs(1, String)]]));
  reader.visit(bytes("b"), { visit: () => assert.fail("a pair") });
  assert.equal(reader.get(bytes("b"), bytes("key-00000000")), null);
  assert.deepEqual([reader.hasBucket(bytes("a")), reader.hasBucket(bytes("b"))], [true, false]);
});

test("keys of the longest kind, in leaves and in branches, and values across many pages", () => {
  const long = (i: number): Uint8Array => new Uint8Array(32_768).fill(i);
  const pairs = Array.from({ length: 40 }, (_, i) => [long(i + 1), new Uint8Array(i === 7 ? 3_000_000 : i)] as const);
  for (const pageBytes of [2048, 4096, 65_536])
    assert.deepEqual(readAll(fileOf([["key", pairs]], { pageBytes })), [["key", pairs]]);
});

test("small buckets lie inside the tree of buckets, larger ones on pages of their own", () => {
  const contents: Contents = [
    ["empty", []],
    ["small", numberedPairs(5, () => "v")],
    ["z", numberedPairs(60, () => "v")],
  ];
  const file = fileOf(contents);
  // Two metas, the leaf of "z", the buckets.
  assert.equal(file.bytes.length, 4 * 4096);
  assert.deepEqual(readAll(file), contents);
});

test("a file without buckets is a file", () => {
  assert.deepEqual(readAll(fileOf([])), []);
});

test("hundreds of buckets make a tree of their own", () => {
  const contents: Contents = Array.from({ length: 400 }, (_, i) => [`b${1000 + i}`, numberedPairs(3, String)]);
  assert.deepEqual(readAll(fileOf(contents)), contents);
});

test("pairs and buckets out of order, and calls out of turn, are refused", () => {
  const put = (writer: BboltWriter, key: string): void => writer.put(bytes(key), 0, key.length, bytes(""), 0, 0);
  const fresh = (): BboltWriter => new BboltWriter({ sink: new MemoryFile() });
  const writer = fresh();
  assert.throws(() => put(writer, "a"), /belongs to a bucket/);
  writer.beginBucket(bytes("one"));
  put(writer, "b");
  for (const key of ["a", "b", ""]) assert.throws(() => put(writer, key), /broken invariant/);
  assert.throws(() => writer.finish(), /last bucket has ended/);
  writer.endBucket();
  assert.throws(() => writer.endBucket(), /ends once/);
  writer.beginBucket(bytes("one"));
  writer.endBucket();
  assert.throws(() => writer.finish(), /ascending order/);
});

test("the same pairs give the same bytes", () => {
  const contents: Contents = [["key", numberedPairs(5000, (i) => "v".repeat(i % 300))]];
  assert.ok(fileOf(contents).bytes.equals(fileOf(contents).bytes));
});

test("nothing but the metas is written twice, and they are written last", () => {
  const positions: number[] = [];
  const file = new MemoryFile();
  const writer = new BboltWriter({
    sink: {
      write(from, start, end, position) {
        positions.push(position);
        file.write(from, start, end, position);
      },
    },
  });
  writer.beginBucket(bytes("key"));
  for (const [key, value] of numberedPairs(20_000, (i) => "v".repeat(i % 100)))
    writer.put(key, 0, key.length, value, 0, value.length);
  writer.endBucket();
  assert.throws(() => new BboltReader(file), /neither meta page is intact/);
  writer.finish();
  assert.equal(positions.pop(), 0);
  assert.deepEqual(
    positions,
    [...positions].sort((a, b) => a - b),
  );
  assert.ok(positions.length < 20, "writes are large");
});
