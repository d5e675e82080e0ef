import assert from "node:assert/strict";
import { test } from "node:test";
import { RequestIds } from "./request-ids.ts";

test("an id never becomes smaller, on whatever day the process began", () => {
  // 2^41 milliseconds after 1970, where 40 bits of time begin again.
  for (const startMs of [0, 2 ** 39 - 1, 2 ** 40 - 1, 2 ** 41 - 1, Date.UTC(2039, 8, 7, 15, 47, 35)]) {
    const ids = new RequestIds(1n, startMs);
    let last = 0;
    for (let i = 0; i < 100_000; i++) {
      const id = ids.next();
      assert.ok(id > last && id < 2 ** 47 + 2 ** 40, `${startMs}`);
      last = id;
    }
  }
});
