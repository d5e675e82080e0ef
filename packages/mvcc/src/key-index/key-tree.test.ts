import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KeySlab } from "./key-slab.ts";
import { KeyTree } from "./key-tree.ts";
import { NONE } from "./limits.ts";
import { seededBelow } from "./testing/naive-index.ts";

/** A tree with its slab, keys as latin1 texts. */
class Fixture {
  readonly slab = new KeySlab();
  readonly tree = new KeyTree(this.slab);

  find(key: string): number {
    const bytes = Buffer.from(key, "latin1");
    return this.tree.find(bytes, 0, bytes.length);
  }

  insert(key: string): boolean {
    const bytes = Buffer.from(key, "latin1");
    if (this.tree.find(bytes, 0, bytes.length) !== NONE) return false;
    this.tree.insertHere(this.slab.allocate(bytes, 0, bytes.length, 0));
    return true;
  }

  append(key: string): void {
    const bytes = Buffer.from(key, "latin1");
    this.tree.append(this.slab.allocate(bytes, 0, bytes.length, 0));
  }

  remove(key: string): void {
    const slot = this.find(key);
    this.tree.remove(slot);
    this.slab.free(slot);
  }

  keyOf(slot: number): string {
    const bytes = Buffer.alloc(this.slab.length(slot));
    this.slab.copyKey(slot, bytes, 0);
    return bytes.toString("latin1");
  }

  /** The first keys >= start, at most `limit`. */
  keysFrom(start: string, limit: number): string[] {
    const bytes = Buffer.from(start, "latin1");
    const keys: string[] = [];
    if (!this.tree.seek(bytes, 0, bytes.length)) return keys;
    let index = this.tree.seekIndex;
    for (let leaf = this.tree.seekPage; leaf !== NONE && keys.length < limit; leaf = this.tree.nextLeaf(leaf)) {
      for (; index < this.tree.countOf(leaf); index++) keys.push(this.keyOf(this.tree.slotAt(leaf, index)));
      index = 0;
    }
    return keys.slice(0, limit);
  }
}

/** Ways to make keys that are hard on shared prefixes, heads and separators, each in its own manner. */
const keyMakers: Record<string, (below: (bound: number) => number) => string> = {
  "numbers of one length": (below) => `/registry/pods/${String(below(1_000_000)).padStart(12, "0")}`,
  "numbers of any length": (below) => `n${below(10 ** (1 + below(7)))}`,
  "few bytes, many zeroes": (below) => "\x00".repeat(below(9)) + "\x00\x01\xff"[below(3)]! + "\x00".repeat(below(9)),
  "bits as 00 and ff": (below) => {
    let key = below(2) === 0 ? "\xff" : "\x00";
    for (let i = below(18); i > 0; i--) key += below(2) === 0 ? "\xff" : "\x00";
    return key;
  },
  "long prefixes that differ early or late": (below) =>
    `${"abc"[below(3)]}${"x".repeat(200)}${below(40)}${"y".repeat(90)}${below(2000)}`,
  "a path's children": (below) => `/a${below(5)}/b${below(30)}/c${below(2) === 0 ? "" : `/${below(500)}`}`,
};

describe("the tree against a sorted array", () => {
  // covers: ST-14
  for (const [name, makeKey] of Object.entries(keyMakers)) {
    test(name, () => {
      const below = seededBelow(name.length);
      const fixture = new Fixture();
      const twin = new Set<string>();
      // Grow, shrink to nothing, grow again: pages split, merge, empty and are used anew.
      for (const [steps, removals] of [
        [30_000, 1],
        [40_000, 9],
        [10_000, 2],
      ] as const) {
        let victims: string[] = [];
        for (let step = 0; step < steps; step++) {
          if (below(10) >= removals) {
            const key = makeKey(below);
            assert.equal(fixture.insert(key), !twin.has(key));
            twin.add(key);
          } else {
            if (victims.length === 0) victims = [...twin].sort(() => below(3) - 1);
            const key = victims.pop();
            if (key === undefined || !twin.has(key)) continue;
            fixture.remove(key);
            twin.delete(key);
            assert.equal(fixture.find(key), NONE);
          }
          if (step % 8000 !== 0) continue;
          const sorted = [...twin].sort();
          assert.equal(fixture.tree.verify(), sorted.length);
          assert.deepEqual(fixture.keysFrom("", sorted.length + 1), sorted);
          for (let i = 0; i < 20; i++) {
            const key = makeKey(below);
            const expected = sorted.find((other) => other >= key);
            assert.equal(fixture.keysFrom(key, 1)[0], expected);
            const slot = fixture.find(key);
            assert.equal(slot === NONE ? undefined : fixture.keyOf(slot), twin.has(key) ? key : undefined);
          }
        }
      }
      for (const key of twin) fixture.remove(key);
      assert.equal(fixture.tree.verify(), 0);
      assert.equal(fixture.slab.memoryBytes, 0, "no separator is left behind");
    });
  }

  test("a tree of many levels loses whole ranges and stays in order", () => {
    const below = seededBelow(4);
    const fixture = new Fixture();
    const name = (i: number) => `key-${String(i).padStart(9, "0")}`;
    const count = 150_000;
    for (let i = 0; i < count; i++) fixture.insert(name((i * 7919) % count));
    assert.equal(fixture.tree.verify(), count);
    let left = count;
    const gone = new Uint8Array(count);
    for (let round = 0; round < 12; round++) {
      const from = below(count);
      for (let i = from; i < Math.min(count, from + 20_000); i++) {
        if (gone[i] === 1) continue;
        fixture.remove(name(i));
        gone[i] = 1;
        left--;
      }
      assert.equal(fixture.tree.verify(), left);
    }
    for (let i = 0; i < count; i += 37) assert.equal(fixture.find(name(i)) === NONE, gone[i] === 1);
  });
});

describe("pages", () => {
  const name = (prefix: string, i: number) => `${prefix}/${String(i).padStart(9, "0")}`;

  test("ascending keys leave full pages", () => {
    const fixture = new Fixture();
    for (let i = 0; i < 50_000; i++) fixture.insert(name("k", i));
    assert.ok(fixture.tree.leafFill > 0.98, `fill ${fixture.tree.leafFill}`);
    assert.equal(fixture.tree.verify(), 50_000);
    const appended = new Fixture();
    for (let i = 0; i < 50_000; i++) appended.append(name("k", i));
    assert.ok(appended.tree.leafFill > 0.98, `fill ${appended.tree.leafFill}`);
    assert.equal(appended.tree.verify(), 50_000);
  });

  test("ascending keys between others leave full pages", () => {
    const fixture = new Fixture();
    for (let i = 0; i < 1000; i++) fixture.insert(name("a", i));
    for (let i = 0; i < 1000; i++) fixture.insert(name("z", i));
    for (let i = 0; i < 50_000; i++) fixture.insert(name("m", i));
    assert.ok(fixture.tree.leafFill > 0.95, `fill ${fixture.tree.leafFill}`);
    assert.equal(fixture.tree.verify(), 52_000);
  });

  test("random keys leave pages two thirds full, and removing most of them merges pages", () => {
    const fixture = new Fixture();
    const below = seededBelow(8);
    const keys: string[] = [];
    while (keys.length < 50_000) {
      const key = name("k", below(1_000_000_000));
      if (fixture.insert(key)) keys.push(key);
    }
    assert.ok(fixture.tree.leafFill > 0.6, `fill ${fixture.tree.leafFill}`);
    for (const key of keys.splice(1000)) fixture.remove(key);
    assert.equal(fixture.tree.verify(), 1000);
    assert.ok(fixture.tree.leafFill > 0.25, `fill ${fixture.tree.leafFill}`);
  });

  test("removing all but a few scattered keys lowers the tree, level by level", () => {
    const fixture = new Fixture();
    const count = 120_000;
    for (let i = 0; i < count; i++) fixture.insert(name("k", (i * 7919) % count));
    assert.equal(fixture.tree.height, 3);
    for (let i = 0; i < count; i++) if (i % 400 !== 0) fixture.remove(name("k", i));
    assert.equal(fixture.tree.verify(), count / 400);
    assert.equal(fixture.tree.height, 2);
    for (let i = 400; i < count; i += 400) fixture.remove(name("k", i));
    assert.equal(fixture.tree.verify(), 1);
    assert.equal(fixture.tree.height, 1);
  });
});
