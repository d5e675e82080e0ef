import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RangeTree } from "./range-tree.ts";

const key = fc.uint8Array({ minLength: 1, maxLength: 3, max: 3 });
const bound = fc.option(key, { nil: null });
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant("set" as const), start: key, end: bound }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), start: key, end: bound }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("stab" as const), key }) },
);

const text = (start: Uint8Array, end: Uint8Array | null): string =>
  `${Buffer.from(start).toString("hex")}-${end === null ? "~" : Buffer.from(end).toString("hex")}`;

test("a stab finds exactly the ranges a look at all of them finds, after any changes", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
      const tree = new RangeTree<string>();
      const naive = new Map<string, { start: Uint8Array; end: Uint8Array | null }>();
      for (const each of steps) {
        if (each.do === "set") {
          tree.set(each.start, each.end, text(each.start, each.end));
          naive.set(text(each.start, each.end), each);
        } else if (each.do === "remove") {
          tree.remove(each.start, each.end);
          naive.delete(text(each.start, each.end));
        } else {
          const found: string[] = [];
          const surrounded = Buffer.concat([Buffer.from([9]), each.key, Buffer.from([9])]);
          tree.stab(surrounded, 1, 1 + each.key.length, found);
          const expected = [...naive.values()]
            .filter(
              ({ start, end }) =>
                Buffer.compare(start, each.key) <= 0 && (end === null || Buffer.compare(each.key, end) < 0),
            )
            .map(({ start, end }) => text(start, end));
          assert.deepEqual([...found].sort(), expected.sort());
        }
        assert.equal(tree.size, naive.size);
      }
      for (const [name, { start, end }] of naive) assert.equal(tree.get(start, end), name);
      assert.equal(tree.get(Buffer.from([7]), null), undefined);
    }),
    { numRuns: 500, seed: 14 },
  );
});

test("the tree stays shallow when ranges come in order, and when half of them go", () => {
  const tree = new RangeTree<number>();
  const start = (i: number): Buffer => Buffer.from(`key${String(i).padStart(6, "0")}`);
  for (let i = 0; i < 4096; i++) tree.set(start(i), start(i + 2), i);
  assert.ok(tree.height <= 18, `height ${tree.height}`);
  const found: number[] = [];
  tree.stab(start(2000), 0, start(2000).length, found);
  assert.deepEqual(found, [1999, 2000]);
  for (let i = 0; i < 2048; i++) tree.remove(start(i), start(i + 2));
  assert.equal(tree.size, 2048);
  assert.ok(tree.height <= 16, `height ${tree.height}`);
});

test("setting a range again replaces its value", () => {
  const tree = new RangeTree<number>();
  tree.set(Buffer.from("a"), null, 1);
  tree.set(Buffer.from("a"), null, 2);
  const found: number[] = [];
  tree.stab(Buffer.from("zz"), 0, 2, found);
  assert.deepEqual([tree.size, found], [1, [2]]);
});
