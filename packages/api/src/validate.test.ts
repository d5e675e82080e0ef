import assert from "node:assert/strict";
import { test } from "node:test";
import type { ErrorKind } from "./errors.ts";
import { DeleteRangeView, PutView, RangeView } from "./hot/index.ts";
import { DeleteRangeRequest, PutRequest, RangeRequest } from "./messages/index.ts";
import { checkDeleteRangeView, checkPutView, checkRangeStreamView, checkRangeView, isKeyOrder } from "./validate.ts";

const key = Buffer.from("k");
const value = Buffer.from("v");

type Init<T extends { encode(message: never): Uint8Array }> = Parameters<T["encode"]>[0];

function put(message: Init<typeof PutRequest>): ErrorKind | null {
  const bytes = PutRequest.encode(message);
  const view = new PutView();
  view.decode(bytes, 0, bytes.length);
  return checkPutView(view);
}

function range(message: Init<typeof RangeRequest>): RangeView {
  const bytes = RangeRequest.encode(message);
  const view = new RangeView();
  view.decode(bytes, 0, bytes.length);
  return view;
}

test("a put is checked for its key, then its value, then its lease", () => {
  assert.equal(put({ key }), null);
  assert.equal(put({ key, value, lease: -1n }), null);
  assert.equal(put({ key, value, ignoreLease: true }), null);
  assert.equal(put({ key, lease: 1n, ignoreValue: true }), null);
  assert.equal(put({ value, lease: 1n, ignoreValue: true, ignoreLease: true }), "EmptyKey");
  assert.equal(put({ key, value, lease: 1n, ignoreValue: true, ignoreLease: true }), "ValueProvided");
  assert.equal(put({ key, lease: 1n, ignoreValue: true, ignoreLease: true }), "LeaseProvided");
});

test("a range is checked for its key, then its sort options", () => {
  assert.equal(checkRangeView(range({ key })), null);
  assert.equal(checkRangeView(range({ key, sortOrder: 2, sortTarget: 4 })), null);
  assert.equal(checkRangeView(range({ sortOrder: 9 })), "EmptyKey");
  for (const sort of [3, -1, 2 ** 31 - 1]) {
    assert.equal(checkRangeView(range({ key, sortOrder: sort })), "InvalidSortOption");
  }
  for (const target of [5, -1]) {
    assert.equal(checkRangeView(range({ key, sortTarget: target })), "InvalidSortOption");
  }
});

test("a range stream takes key order alone, and no filters", () => {
  assert.equal(checkRangeStreamView(range({ key })), null);
  assert.equal(checkRangeStreamView(range({ key, sortTarget: 3 })), null, "order NONE with any target is key order");
  assert.equal(checkRangeStreamView(range({ key, sortOrder: 1 })), null);
  assert.equal(checkRangeStreamView(range({ key, sortOrder: 1, sortTarget: 3 })), "RangeStreamSortUnsupported");
  assert.equal(checkRangeStreamView(range({ key, sortOrder: 2 })), "RangeStreamSortUnsupported");
  assert.equal(checkRangeStreamView(range({ key, sortOrder: 7 })), "InvalidSortOption");
  for (const filter of [
    { minModRevision: 1 },
    { maxModRevision: 1 },
    { minCreateRevision: 1 },
    { maxCreateRevision: -1 },
  ]) {
    assert.equal(checkRangeStreamView(range({ key, ...filter })), "RangeStreamFilterUnsupported");
  }
  assert.equal(checkRangeStreamView(range({ key, sortOrder: 2, minModRevision: 1 })), "RangeStreamSortUnsupported");
  assert.equal(isKeyOrder({ sortOrder: 0, sortTarget: 4 }), true);
});

test("a deletion is checked for its key", () => {
  const view = new DeleteRangeView();
  const without = DeleteRangeRequest.encode({ rangeEnd: key });
  view.decode(without, 0, without.length);
  assert.equal(checkDeleteRangeView(view), "EmptyKey");
  const within = DeleteRangeRequest.encode({ key });
  view.decode(within, 0, within.length);
  assert.equal(checkDeleteRangeView(view), null);
});
