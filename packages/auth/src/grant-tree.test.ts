import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GrantTree, type Span } from "./grant-tree.ts";
import { Intervals, type KeyRange } from "./intervals.ts";

/** Grants in the order of roles and permissions, `*` for no end; then what etcd 3.7.1 let their owner ask for, and what not. */
const ETCD_ANSWERS: readonly (readonly [grants: string, allowed: string, refused: string])[] = [
  ["agc- dge- e- f-h fd- g- e-", "g-fhf f-e g-e g-f gda-f", "eda-d fbe-bc e-c gb-afg hgd-f g-c h-a"],
  ["ah-bc b-d c- d- db-* e-h", "b-acb g-f g-g bg-a hh-gb b-af bac-b", "h-d g-ccc ehd-d e-b age-a h-cb g-ag"],
  ["c-* e- ehb- hf-* edg- gg- b-* c- h-", "h-gc gdh-eb c-a c-aa e-c h-g", "hbg-c gfg-de he-ag d-c fae-e g-cgb cbd-b"],
  [
    "aae-bc ea-ed cfh-dg df- f- f-* fa-h ec-* gc- gdd-* h-",
    "hge-h bac-a ddb-c eag-db d-bg",
    "e-b dge-a eee-b eg-b fb-b e-dff f-dg",
  ],
  ["aeb-age f- ca- a- bee- g- h-", "g-da g-ea f-d aec-a", "d-cf gdc-d f-c gbh-d e-b h-g ec-e ffc-a g-bd b-a"],
  ["acc- h- a-egh aeg-dbh c- d-f gf- ch-", "eh-d d-d df-d efg-d", "fhc-e f-f g-fb hec-f f-b g-d d-bee g-dg h-a hdb-ce"],
];

function rangeOf(text: string): KeyRange {
  const [key, end] = text.split("-") as [string, string];
  return { key: Buffer.from(key), rangeEnd: end === "*" ? Buffer.of(0) : Buffer.from(end) };
}

function covers(intervals: Intervals, { key, rangeEnd }: KeyRange): boolean {
  const both = Buffer.concat([key, rangeEnd]);
  return intervals.covers(both, 0, key.length, key.length, both.length);
}

test("of a range that holds no key etcd's answer is given", () => {
  for (const [grants, allowed, refused] of ETCD_ANSWERS) {
    const intervals = new Intervals(grants.split(" ").map(rangeOf));
    for (const asked of allowed.split(" ")) assert.ok(covers(intervals, rangeOf(asked)), `${asked} with ${grants}`);
    for (const asked of refused.split(" ")) assert.ok(!covers(intervals, rangeOf(asked)), `${asked} with ${grants}`);
  }
});

test("who has nothing is allowed nothing", () => {
  assert.ok(!new GrantTree([]).covers({ begin: Buffer.from("b"), end: Buffer.from("a") }));
});

const someKey = fc
  .array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 2 })
  .map((bytes) => Buffer.from(bytes));
const someSpan = fc
  .tuple(someKey, fc.option(someKey))
  .filter(([begin, end]) => end === null || begin.compare(end) < 0)
  .map(([begin, end]): Span => ({ begin, end }));

function rangeOfSpan({ begin, end }: Span): KeyRange {
  return { key: begin!, rangeEnd: end ?? Buffer.of(0) };
}

test("of ordinary ranges the tree says what the merged intervals say, however grants overlap and repeat", () => {
  const property = fc.property(
    fc.array(someSpan, { maxLength: 40 }),
    fc.array(someSpan, { maxLength: 8 }),
    (grants, asked) => {
      const tree = new GrantTree(grants);
      const intervals = new Intervals(grants.map(rangeOfSpan));
      for (const each of asked) assert.equal(tree.covers(each), covers(intervals, rangeOfSpan(each)));
    },
  );
  fc.assert(property, { numRuns: 500, seed: 37 });
});
