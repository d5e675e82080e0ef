import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KeyIndex } from "./key-index.ts";
import { KEY_BYTES_MAX, NONE } from "./limits.ts";
import { NodeList } from "./node-list.ts";
import { NaiveIndex, nameOf, seededBelow } from "./testing/naive-index.ts";

const ANY = Buffer.from([0]);

function bytes(key: string): Buffer {
  return Buffer.from(key, "latin1");
}

function put(index: KeyIndex, key: string, main: number, sub = 0): number {
  const buffer = bytes(key);
  return index.put(buffer, 0, buffer.length, main, sub, main * 100, 10, false);
}

function find(index: KeyIndex, key: string): number {
  const buffer = bytes(key);
  return index.find(buffer, 0, buffer.length);
}

function remove(index: KeyIndex, key: string, main: number, sub = 0): void {
  index.tombstone(find(index, key), main, sub, main * 100, 5);
}

/** The key's revisions in the index, oldest first. */
function revisions(index: KeyIndex, key: string): string[] {
  const slot = find(index, key);
  return slot === NONE ? [] : revisionsAt(index, slot).reverse();
}

/** Newest first. */
function revisionsAt(index: KeyIndex, slot: number): string[] {
  const names: string[] = [];
  for (let node = index.newest(slot); node !== NONE; node = index.older(node)) {
    names.push(nameOf(index.main(node), index.sub(node), index.isTombstone(node)));
  }
  return names;
}

/** Every revision of every key. */
function allRevisions(index: KeyIndex): string[] {
  const names: string[] = [];
  index.walk(ANY, null, { visit: (slot) => names.push(...revisionsAt(index, slot)) > 0 });
  return names;
}

/** What it removes is told in whatever order. */
function compact(index: KeyIndex, revision: number, budget = 1000): string[] {
  const before = allRevisions(index);
  let cursor = 0;
  while (cursor !== -1) cursor = index.compactSlice(revision, cursor, budget);
  const left = new Set(allRevisions(index));
  return before.filter((name) => !left.has(name));
}

function keysOf(index: KeyIndex, start: Uint8Array = ANY, end: Uint8Array | null = null): string[] {
  const keys: string[] = [];
  const into = Buffer.alloc(4096);
  index.walk(start, end, {
    visit(slot) {
      keys.push(into.toString("latin1", 0, index.copyKey(slot, into, 0)));
      return true;
    },
  });
  return keys;
}

function saved(index: KeyIndex): Buffer {
  const chunks: Buffer[] = [];
  index.save((chunk) => chunks.push(Buffer.from(chunk)));
  return Buffer.concat(chunks);
}

function load(file: Uint8Array): KeyIndex {
  let at = 0;
  return KeyIndex.load((length) => {
    const piece = file.subarray(at, at + length);
    at += piece.length;
    return piece;
  });
}

describe("generations (the worked example of etcd's semantics)", () => {
  // put@1, put@2, delete@3, put@4, delete@5
  function example(): KeyIndex {
    const index = new KeyIndex();
    put(index, "k", 1);
    put(index, "k", 2);
    remove(index, "k", 3);
    put(index, "k", 4);
    remove(index, "k", 5);
    return index;
  }

  const table: [revision: number, kept: string[], removed: string[]][] = [
    [1, ["1/0", "2/0", "3/0 t", "4/0", "5/0 t"], []],
    [2, ["2/0", "3/0 t", "4/0", "5/0 t"], ["1/0"]],
    [3, ["3/0 t", "4/0", "5/0 t"], ["1/0", "2/0"]],
    [4, ["4/0", "5/0 t"], ["1/0", "2/0", "3/0 t"]],
    [5, ["5/0 t"], ["1/0", "2/0", "3/0 t", "4/0"]],
    [6, [], ["1/0", "2/0", "3/0 t", "4/0", "5/0 t"]],
  ];

  // covers: ST-02
  for (const [revision, kept, removed] of table) {
    for (const budget of [1, 2, 1000]) {
      test(`compaction at ${revision} in slices of ${budget} keeps ${kept.join(", ") || "nothing"}`, () => {
        const index = example();
        assert.deepEqual(compact(index, revision, budget).sort(), removed);
        assert.deepEqual(revisions(index, "k"), kept);
        assert.equal(index.keyCount, kept.length === 0 ? 0 : 1);
        assert.equal(index.revisionCount, kept.length);
      });
    }
  }

  test("compactions one after the other keep what the last alone would", () => {
    const index = example();
    for (const [revision, kept] of table) {
      compact(index, revision);
      assert.deepEqual(revisions(index, "k"), kept);
    }
  });

  test("reads see the generation of their revision", () => {
    for (const compacted of [0, 2]) {
      const index = example();
      compact(index, compacted);
      const slot = find(index, "k");
      const at2 = index.nodeAt(slot, 2);
      assert.equal(index.versionAt(slot, at2), 2);
      assert.equal(index.createRevisionAt(slot, at2), 1);
      assert.equal(index.nodeAt(slot, 3), NONE);
      assert.equal(index.main(index.newestAtOrBefore(slot, 3)), 3);
      const at4 = index.nodeAt(slot, 4);
      assert.equal(index.versionAt(slot, at4), 1);
      assert.equal(index.createRevisionAt(slot, at4), 4);
      assert.equal(index.nodeAt(slot, 5), NONE);
      assert.equal(index.nodeAt(slot, 0), NONE);
      assert.equal(index.isLive(slot), false);
    }
  });

  test("looking far back along a key that changes all the time answers as a walk does, whatever is put and compacted", () => {
    const below = seededBelow(11);
    const index = new KeyIndex();
    const names = ["hot", "hotter", "hottest"];
    let main = 0;
    let compacted = 0;
    let cursor = -1;
    for (let step = 0; step < 6000; step++) {
      const name = names[below(3)]!;
      const slot = find(index, name);
      // Each key is away now and then, so that its slot and nodes become another's.
      if (slot !== NONE && index.isLive(slot) && below(40) === 0) remove(index, name, ++main);
      else if (slot === NONE || step % 1500 < 1300) put(index, name, ++main, below(2));
      if (cursor === -1 && below(200) === 0) {
        compacted = Math.max(compacted, main - below(below(2) === 0 ? 5 : 800));
        cursor = 0;
      }
      if (cursor !== -1) cursor = index.compactSlice(compacted, cursor, 1 + below(60));
      const looked = find(index, names[below(3)]!);
      if (looked === NONE) continue;
      const revision = main - below(900);
      let node = index.newest(looked);
      while (node !== NONE && index.main(node) > revision) node = index.older(node);
      assert.equal(index.newestAtOrBefore(looked, revision), node, `step ${step}`);
    }
  });

  test("looking far back again and again costs one walk", () => {
    const index = new KeyIndex();
    for (let main = 1; main <= 100_000; main++) put(index, "counter", main);
    const slot = find(index, "counter");
    const before = process.cpuUsage();
    for (let i = 0; i < 20_000; i++) {
      const revision = 1 + ((i * 7919) % 1000);
      assert.equal(index.main(index.nodeAt(slot, revision)), revision);
    }
    const { user } = process.cpuUsage(before);
    // A walk each time takes more than ten seconds.
    assert.ok(user < 2_000_000, `${user} µs`);
    assert.ok(index.memoryBytes() < 100_000 * 50);
  });

  test("of several changes to a key in one transaction only the last is visible", () => {
    const index = new KeyIndex();
    const slot = put(index, "q", 7, 0);
    index.tombstone(slot, 7, 1, 0, 5);
    put(index, "q", 8, 3);
    put(index, "q", 8, 5);
    assert.equal(index.nodeAt(slot, 7), NONE);
    assert.equal(index.sub(index.nodeAt(slot, 8)), 5);
    assert.equal(index.version(slot), 2);
    assert.equal(index.createRevision(slot), 8);
  });

  test("a key deleted and put again in the transaction compacted at keeps both events", () => {
    const index = new KeyIndex();
    const slot = put(index, "b", 5);
    remove(index, "b", 7, 0);
    put(index, "b", 7, 1);
    const kept = index.keptAt(7);
    assert.deepEqual([kept.keeps(slot, 5, 0), kept.keeps(slot, 7, 0), kept.keeps(slot, 7, 1)], [false, true, true]);
    assert.deepEqual(compact(index, 7), ["5/0"]);
    assert.deepEqual(revisions(index, "b"), ["7/0 t", "7/1"]);
    assert.deepEqual(compact(index, 8), ["7/0 t"]);
    assert.deepEqual(revisions(index, "b"), ["7/1"]);
  });
});

describe("compaction", () => {
  test("a deleted key stays deleted while its many revisions are removed slice by slice", () => {
    const index = new KeyIndex();
    for (let main = 1; main <= 50; main++) put(index, "hot", main);
    remove(index, "hot", 51);
    const slot = find(index, "hot");
    let cursor = 0;
    let slices = 0;
    while (cursor !== -1) {
      if (index.keyCount > 0) {
        assert.equal(index.isLive(slot), false);
        assert.equal(index.nodeAt(slot, 60), NONE);
      }
      cursor = index.compactSlice(60, cursor, 3);
      slices++;
    }
    assert.ok(slices > 10, `${slices} slices`);
    assert.equal(index.keyCount, 0);
    assert.equal(index.revisionCount, 0);
  });

  test("a slice goes on where it stopped within a chain that grows meanwhile", () => {
    const index = new KeyIndex();
    let main = 0;
    while (main < 100) put(index, "hot", ++main);
    let cursor = 0;
    let slices = 0;
    while (cursor !== -1) {
      cursor = index.compactSlice(40, cursor, 2);
      put(index, "hot", ++main);
      slices++;
    }
    assert.ok(slices < 100, `${slices} slices: the newer revisions are walked once, not once a slice`);
    assert.equal(revisions(index, "hot").length, main - 39);
    assert.equal(revisions(index, "hot")[0], "40/0");
  });

  test("a slot freed in one slice and reused before the next is harmless", () => {
    const index = new KeyIndex();
    for (let i = 0; i < 500; i++) put(index, `key-${1000 + i}`, i + 1);
    for (let i = 0; i < 500; i++) remove(index, `key-${1000 + i}`, 501 + i);
    let cursor = 0;
    let main = 2000;
    while (cursor !== -1) {
      cursor = index.compactSlice(1500, cursor, 20);
      for (let i = 0; i < 5; i++) put(index, `new-${main}`, main++);
    }
    const keys = keysOf(index);
    assert.equal(keys.length, main - 2000);
    assert.ok(keys.every((key) => key.startsWith("new-")));
    assert.equal(index.liveKeyCount, main - 2000);
  });

  test("what it keeps is asked for as cheaply after a million newer revisions as before", () => {
    const index = new KeyIndex();
    for (let main = 1; main <= 1_000_000; main++) put(index, "counter", main);
    const slot = find(index, "counter");
    const kept = index.keptAt(10_000);
    const before = process.cpuUsage();
    for (let main = 1; main <= 10_000; main++) assert.equal(kept.keeps(slot, main, 0), main === 10_000);
    const { user } = process.cpuUsage(before);
    // A walk each time takes more than ten seconds.
    assert.ok(user < 2_000_000, `${user} µs`);
  });

  test("memory of removed keys and revisions is used again", () => {
    const index = new KeyIndex();
    let main = 1;
    let afterFirst = 0;
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 5000; i++) put(index, `round-${round}-${i}`, main++);
      for (let i = 0; i < 5000; i++) remove(index, `round-${round}-${i}`, main++);
      if (round === 0) afterFirst = index.memoryBytes();
      compact(index, main);
      assert.equal(index.keyCount, 0);
    }
    assert.ok(index.memoryBytes() <= afterFirst, `${index.memoryBytes()} after five rounds, ${afterFirst} after one`);
  });
});

describe("order and keys", () => {
  // covers: MV-09
  test("keys are ordered bytewise, whatever text they might be", () => {
    const names = [
      [0x00],
      [0x00, 0x00],
      [0x00, 0x01],
      [0x61],
      [0x61, 0x00],
      [0x61, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
      [0x61, 0x62],
      [0x7f],
      [0x80],
      [0xed, 0xa0, 0x80],
      [0xef, 0xbf, 0xbf], // U+FFFF, before the next in UTF-8 and after it in UTF-16
      [0xf0, 0x90, 0x80, 0x80],
      [0xff],
      [0xff, 0x00],
      [0xff, 0xff],
    ].map((key) => Buffer.from(key));
    const below = seededBelow(9);
    const index = new KeyIndex();
    let main = 1;
    for (const key of [...names].sort(() => below(3) - 1)) index.put(key, 0, key.length, main++, 0, 0, 1, false);
    assert.deepEqual(
      keysOf(index),
      names.map((key) => key.toString("latin1")),
    );
    assert.deepEqual(
      keysOf(index, Buffer.from([0x61]), Buffer.from([0x61, 0x01])),
      names.slice(3, 6).map((key) => key.toString("latin1")),
    );
    for (let i = 0; i < names.length; i++) {
      for (let j = 0; j < names.length; j++) {
        const slot = index.find(names[i]!, 0, names[i]!.length);
        assert.equal(Math.sign(index.compareKey(slot, names[j]!, 0, names[j]!.length)), Math.sign(i - j));
      }
    }
  });

  test("keys of 1.5 MB that differ in the last byte are told apart", () => {
    const index = new KeyIndex();
    const key = Buffer.alloc(1_500_000, 0x6b);
    for (let last = 0; last < 4; last++) {
      key[key.length - 1] = last;
      index.put(key, 0, key.length, last + 1, 0, 0, 10, false);
    }
    const short = index.put(key, 0, 1000, 5, 0, 0, 10, false);
    assert.equal(index.keyCount, 5);
    for (let last = 0; last < 4; last++) {
      key[key.length - 1] = last;
      const slot = index.find(key, 0, key.length);
      assert.equal(index.main(index.newest(slot)), last + 1);
      assert.equal(index.keyLength(slot), key.length);
    }
    assert.equal(index.find(key, 0, 1000), short);
    const copy = load(saved(index));
    assert.equal(copy.keyCount, 5);
    assert.equal(copy.main(copy.newest(copy.find(key, 0, key.length))), 4);
    for (let last = 0; last < 4; last++) {
      key[key.length - 1] = last;
      index.tombstone(index.find(key, 0, key.length), 10 + last, 0, 0, 5);
    }
    compact(index, 20);
    assert.equal(index.keyCount, 1);
    assert.ok(index.memoryBytes() < 1_000_000, `${index.memoryBytes()} bytes for one key of 1000`);
  });

  test("a key beyond the limit is refused and nothing has changed", () => {
    const index = new KeyIndex();
    const key = Buffer.allocUnsafe(KEY_BYTES_MAX + 1);
    assert.throws(() => index.put(key, 0, key.length, 1, 0, 0, 1, false), { kind: "KeyIndexLimit" });
    assert.equal(index.keyCount, 0);
    assert.equal(index.revisionCount, 0);
  });

  test("revisions, versions and positions beyond 32 bits are kept exactly", () => {
    const index = new KeyIndex();
    const key = bytes("k");
    const main = 2 ** 52 + 12345;
    const version = 2 ** 42 + 77;
    const slot = index.restorePut(key, 0, 1, main, 4_000_000_000, main - 9, version, 2 ** 50 + 3, 4_000_000_001, true);
    const node = index.newest(slot);
    assert.equal(index.main(node), main);
    assert.equal(index.sub(node), 4_000_000_000);
    assert.equal(index.createRevision(slot), main - 9);
    assert.equal(index.version(slot), version);
    assert.equal(index.position(node), 2 ** 50 + 3);
    assert.equal(index.sizeBytes(node), 4_000_000_001);
    assert.equal(index.hasLease(slot), true);
    index.put(key, 0, 1, main + 1, 0, -1, 5, false);
    assert.equal(index.version(slot), version + 1);
    assert.equal(index.createRevision(slot), main - 9);
    assert.equal(index.position(index.newest(slot)), -1);
    assert.equal(index.hasLease(slot), false);
  });

  test("an empty index costs next to nothing and answers", () => {
    const index = new KeyIndex();
    assert.ok(index.memoryBytes() < 1_000_000);
    assert.equal(find(index, "a"), NONE);
    assert.equal(index.countAt(ANY, null, 10), 0);
    assert.deepEqual(keysOf(index), []);
    assert.deepEqual(compact(index, 10), []);
    assert.equal(load(saved(index)).keyCount, 0);
  });

  test("ranges that are empty or inverted have no keys", () => {
    const index = new KeyIndex();
    for (let i = 0; i < 1000; i++) put(index, `key-${1000 + i}`, i + 1);
    assert.deepEqual(keysOf(index, bytes("key-1500"), bytes("key-1500")), []);
    assert.deepEqual(keysOf(index, bytes("key-1900"), bytes("key-1100")), []);
    assert.deepEqual(keysOf(index, bytes("key-1500x"), bytes("key-1501")), []);
    assert.deepEqual(keysOf(index, bytes("z")), []);
  });
});

describe("restoring from records", () => {
  // covers: ST-03
  test("a tombstone that is a key's only record is kept", () => {
    const index = new KeyIndex();
    const key = bytes("gone");
    const slot = index.restoreTombstone(key, 0, key.length, 5, 2, -1, 6);
    assert.deepEqual(revisions(index, "gone"), ["5/2 t"]);
    assert.equal(index.isLive(slot), false);
    assert.equal(index.keyCount, 1);
    assert.equal(index.liveKeyCount, 0);
    assert.equal(index.nodeAt(slot, 5), NONE);
    put(index, "gone", 6);
    assert.equal(index.version(slot), 1);
    assert.equal(index.createRevision(slot), 6);
    assert.equal(index.liveKeyCount, 1);
    assert.deepEqual(compact(index, 5), []);
    assert.deepEqual(compact(index, 6), ["5/2 t"]);
  });

  // covers: ST-13
  test("an index rebuilt from the records left by a compaction equals the compacted one", () => {
    const below = seededBelow(77);
    for (let round = 0; round < 20; round++) {
      const index = new KeyIndex();
      let main = 1;
      for (let i = 0; i < 300; i++) {
        main++;
        const key = `k${below(25)}`;
        const slot = find(index, key);
        if (slot !== NONE && index.isLive(slot) && below(3) === 0) remove(index, key, main);
        else put(index, key, main);
      }
      compact(index, below(main + 2));

      const records: { key: string; slot: number; node: number }[] = [];
      for (const key of keysOf(index)) {
        const slot = find(index, key);
        for (let node = index.newest(slot); node !== NONE; node = index.older(node)) records.push({ key, slot, node });
      }
      records.sort((a, b) => index.main(a.node) - index.main(b.node));
      const rebuilt = new KeyIndex();
      for (const { key, slot, node } of records) {
        const k = bytes(key);
        if (index.isTombstone(node)) rebuilt.restoreTombstone(k, 0, k.length, index.main(node), 0, -1, 5);
        else {
          const created = index.createRevisionAt(slot, node);
          const version = index.versionAt(slot, node);
          rebuilt.restorePut(k, 0, k.length, index.main(node), 0, created, version, -1, 10, false);
        }
      }
      assert.deepEqual(saved(rebuilt), saved(index));
      assert.equal(rebuilt.liveKeyCount, index.liveKeyCount);
    }
  });
});

describe("checkpoint", () => {
  function sample(keyCount: number): KeyIndex {
    const below = seededBelow(keyCount);
    const index = new KeyIndex();
    for (let main = 1; main <= keyCount * 2; main++) {
      const key = `/registry/${"x".repeat(below(40))}${below(keyCount)}`;
      const slot = find(index, key);
      if (slot !== NONE && index.isLive(slot) && below(4) === 0) remove(index, key, main);
      else put(index, key, main);
    }
    return index;
  }

  test("what was loaded saves to the same bytes, its positions being on disk", () => {
    for (const keyCount of [1, 10, 300, 20_000]) {
      const index = sample(keyCount);
      const file = saved(index);
      const copy = load(file);
      assert.deepEqual(saved(copy), file);
      assert.equal(copy.keyCount, index.keyCount);
      assert.equal(copy.liveKeyCount, index.liveKeyCount);
      assert.equal(copy.revisionCount, index.revisionCount);
      assert.deepEqual(keysOf(copy), keysOf(index));
      const slot = copy.find(bytes(keysOf(copy)[0]!), 0, keysOf(copy)[0]!.length);
      assert.equal(copy.position(copy.newest(slot)), -1);
    }
  });

  test("altered bytes are refused wherever they are", () => {
    const file = saved(sample(60));
    for (let at = 0; at < file.length; at++) {
      for (const mask of [0x01, 0x80, 0xff]) {
        file[at]! ^= mask;
        assert.throws(() => load(file), { kind: "KeyIndexCheckpoint" }, `byte ${at} ^ ${mask}`);
        file[at]! ^= mask;
      }
    }
    load(file);
  });

  test("altered, missing and exchanged bytes are refused in a checkpoint of many blocks", () => {
    const file = saved(sample(15_000));
    assert.ok(file.length > 600_000, `${file.length} bytes`);
    const below = seededBelow(3);
    for (let i = 0; i < 40; i++) {
      const at = below(file.length);
      const mask = 1 + below(255);
      file[at]! ^= mask;
      assert.throws(() => load(file), { kind: "KeyIndexCheckpoint" });
      file[at]! ^= mask;
      assert.throws(() => load(file.subarray(0, at)), { kind: "KeyIndexCheckpoint" });
    }
    // Whole blocks, each with a checksum of its own: left out, repeated, exchanged.
    const blocks: Buffer[] = [file.subarray(0, 8)];
    for (let at = 8; at < file.length; at += blocks.at(-1)!.length) {
      blocks.push(file.subarray(at, at + 8 + (file.readUInt32LE(at) || 16)));
    }
    assert.ok(blocks.length >= 5);
    const [magic, first, second, ...rest] = blocks as [Buffer, Buffer, Buffer, ...Buffer[]];
    for (const order of [[first, ...rest], [first, first, second, ...rest], [second, first, ...rest], [rest.at(-1)!]]) {
      assert.throws(() => load(Buffer.concat([magic, ...order])), { kind: "KeyIndexCheckpoint" });
    }
    load(Buffer.concat(blocks));
  });

  test("a checkpoint cut short anywhere is refused", () => {
    const file = saved(sample(60));
    for (let length = 0; length < file.length; length++) {
      assert.throws(() => load(file.subarray(0, length)), { kind: "KeyIndexCheckpoint" }, `${length} bytes`);
    }
  });

  test("saved in slices while keys are written, it is the index as of its revision", () => {
    const below = seededBelow(5);
    for (const budget of [1, 7, 100]) {
      const index = sample(400);
      const expected = saved(index);
      const chunks: Buffer[] = [];
      const saving = index.startSave(800, (chunk) => chunks.push(Buffer.from(chunk)));
      let main = 801;
      while (!saving.slice(budget)) {
        if (main > 1600) continue; // a save must be faster than the keys that come before it
        for (let i = 0; i < 3; i++) put(index, `/registry/${"x".repeat(below(40))}${below(400)}`, main++);
        put(index, `/registry/new-${main}`, main++);
      }
      assert.equal(saving.slice(budget), true);
      assert.deepEqual(Buffer.concat(chunks), expected);
    }
  });

  test("saved in slices between slices of a compaction, compacting again makes it the compacted index", () => {
    for (const [saveBudget, compactBudget] of [
      [5, 30],
      [60, 5],
    ] as const) {
      const index = sample(400);
      const chunks: Buffer[] = [];
      const saving = index.startSave(800, (chunk) => chunks.push(Buffer.from(chunk)));
      let cursor = 0;
      let isSaved = false;
      while (!isSaved || cursor !== -1) {
        isSaved = saving.slice(saveBudget);
        if (cursor !== -1) cursor = index.compactSlice(600, cursor, compactBudget);
      }
      const copy = load(Buffer.concat(chunks));
      compact(copy, 600);
      assert.deepEqual(saved(copy), saved(index));
    }
  });
});

describe("against a naive twin", () => {
  /** Keys that share long prefixes, contain 00 and ff, and are 1 to 300 bytes long. */
  function keyMaker(below: (bound: number) => number): () => string {
    const alphabet = ["\x00", "\xff", "a", "b", "/", "\x80"];
    const prefixes = ["", "a", "/registry/pods/default/", "\x00".repeat(20), "\xff".repeat(7), "p".repeat(280)];
    return () => {
      let key = prefixes[below(prefixes.length)]!;
      const length = below(4) === 0 ? below(20) : below(4);
      for (let i = 0; i < length; i++) key += alphabet[below(alphabet.length)]!;
      return key === "" ? "a" : key;
    };
  }

  function compareAll(index: KeyIndex, twin: NaiveIndex, current: number, compacted: number, seed: number): void {
    const below = seededBelow(seed);
    assert.deepEqual(keysOf(index), twin.sortedKeys("", null));
    assert.equal(index.keyCount, twin.keys.size);
    assert.equal(index.liveKeyCount, [...twin.keys.keys()].filter((key) => twin.isLive(key)).length);
    for (const key of twin.keys.keys()) {
      const expected = twin.revisions(key);
      const slot = find(index, key);
      assert.notEqual(slot, NONE);
      assert.equal(index.keyLength(slot), key.length);
      let node = index.newest(slot);
      for (let i = expected.length - 1; i >= 0; i--) {
        assert.deepEqual(
          {
            main: index.main(node),
            sub: index.sub(node),
            isTombstone: index.isTombstone(node),
            createRevision: index.createRevisionAt(slot, node),
            version: index.versionAt(slot, node),
            sizeBytes: index.sizeBytes(node),
            hasLease: index.hasLeaseAt(node),
          },
          expected[i],
        );
        node = index.older(node);
      }
      assert.equal(node, NONE);
      const revision = compacted + below(current - compacted + 2);
      const newest = twin.newestAtOrBefore(key, revision);
      const at = index.newestAtOrBefore(slot, revision);
      assert.equal(at === NONE ? undefined : index.main(at), newest?.main);
      const visible = index.nodeAt(slot, revision);
      assert.equal(visible === NONE ? undefined : index.main(visible), newest?.isTombstone ? undefined : newest?.main);
    }
  }

  function compareRange(index: KeyIndex, twin: NaiveIndex, start: string, end: string | null, revision: number): void {
    const expected = twin.visible(start, end, revision);
    const endBytes = end === null ? null : bytes(end);
    assert.equal(index.countAt(bytes(start), endBytes, revision), expected.length);
    const list = new NodeList(1);
    for (const limit of [0, 1, 3, 1000]) {
      const wanted = limit === 0 ? expected : expected.slice(0, limit);
      const sizeBytes = index.collect(bytes(start), endBytes, revision, limit, list);
      assert.equal(list.length, wanted.length);
      for (let i = 0; i < wanted.length; i++) {
        assert.equal(index.main(list.nodes[i]!), wanted[i]!.main);
        assert.equal(index.sub(list.nodes[i]!), wanted[i]!.sub);
      }
      assert.equal(
        sizeBytes,
        wanted.reduce((sum, r) => sum + r.sizeBytes, 0),
      );
    }
  }

  // covers: ST-14
  for (let seed = 1; seed <= 12; seed++) {
    test(`random operations, seed ${seed}`, () => {
      const below = seededBelow(seed * 7919);
      const makeKey = keyMaker(below);
      let index = new KeyIndex();
      let twin = new NaiveIndex();
      let main = 1;
      let compacted = 0;
      for (let step = 0; step < 4000; step++) {
        const choice = below(1000);
        if (choice < 650) {
          const key = makeKey();
          const size = below(1000);
          const hasLease = below(2) === 0;
          main++;
          const k = bytes(`..${key}..`);
          index.put(k, 2, k.length - 2, main, 0, main, size, hasLease);
          twin.put(key, main, 0, size, hasLease);
        } else if (choice < 930) {
          // A range deletion: several tombstones in one transaction.
          const start = makeKey();
          main++;
          let sub = 0;
          for (const key of twin.sortedKeys(start, null).slice(0, below(6))) {
            if (!twin.isLive(key)) continue;
            index.tombstone(find(index, key), main, sub, main, 7);
            twin.tombstone(key, main, sub, 7);
            sub++;
          }
        } else if (choice < 980) {
          const [start, end] = [makeKey(), below(4) === 0 ? null : makeKey()];
          compareRange(index, twin, start, end, compacted + below(main - compacted + 2));
        } else if (choice < 990) {
          compacted = compacted + below(main - compacted + 1);
          const expected = new NaiveIndex();
          for (const [key, generations] of twin.keys) expected.keys.set(key, generations);
          const revisionsBefore = new Map([...twin.keys.keys()].map((key) => [key, twin.revisions(key)]));
          const removed = new Set(expected.compact(compacted));
          twin = expected;
          const kept = index.keptAt(compacted);
          for (const [key, all] of revisionsBefore) {
            for (const { main, sub, isTombstone } of all.filter((r) => r.main <= compacted)) {
              const name = nameOf(main, sub, isTombstone);
              assert.equal(kept.keeps(find(index, key), main, sub), !removed.has(name), name);
            }
          }
          // Slices with writes in between, which both sides see.
          let cursor = 0;
          const budget = 1 + below(30);
          while (cursor !== -1) {
            cursor = index.compactSlice(compacted, cursor, budget);
            if (below(3) !== 0) continue;
            const key = makeKey();
            main++;
            if (twin.isLive(key) && below(2) === 0) {
              index.tombstone(find(index, key), main, 0, main, 7);
              twin.tombstone(key, main, 0, 7);
            } else {
              put(index, key, main);
              twin.put(key, main, 0, 10, false);
            }
          }
          compareAll(index, twin, main, compacted, step);
        } else if (choice < 992) {
          index = load(saved(index));
          compareAll(index, twin, main, compacted, step);
        } else {
          compareAll(index, twin, main, compacted, step);
        }
      }
      compareAll(index, twin, main, compacted, 0);
    });
  }
});
