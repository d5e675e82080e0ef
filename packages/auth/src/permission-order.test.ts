import assert from "node:assert/strict";
import { test } from "node:test";
import { sortAfterGrant } from "./permission-order.ts";

/** Grants on four keys, each with another number, and how the numbers stand after so many grants. */
function orderAfter(count: number): string {
  const list: { readonly key: Buffer; readonly grant: number }[] = [];
  for (let grant = 0; grant < count; grant++) {
    list.push({ key: Buffer.from("abcd"[((grant * grant * 7 + grant) % 11) % 4]!), grant });
    sortAfterGrant(list);
  }
  return list.map(({ key, grant }) => `${key}${grant}`).join(" ");
}

test("permissions stand as etcd 3.7.1 keeps them, many of one key too", () => {
  assert.equal(orderAfter(12), "a0 a1 a2 a3 a5 a9 a11 b6 b7 b8 c4 c10");
  assert.equal(orderAfter(20), "a3 a16 a2 a0 a5 a9 a11 a14 a12 a13 a1 b6 b7 b8 b17 b18 b19 c4 c10 c15");
  assert.equal(
    orderAfter(48),
    "a46 a33 a38 a0 a11 a23 a1 a14 a22 a24 a2 a3 a13 a44 a35 a36 a12 a5 a20 a34 a9 a25 a16 a42 a31 a27 a45 a47 b6 b19 b8 b28 b7 b18 b41 b30 b29 b40 b17 b39 c4 c26 c21 c43 c37 c32 c10 c15",
  );
});

test("however many there are, they are in the order of keys and none is lost", () => {
  for (let count = 0; count < 70; count++) {
    const order = orderAfter(count)
      .split(" ")
      .filter((each) => each !== "");
    assert.equal(new Set(order).size, count);
    const keys = order.map((each) => each[0]!);
    assert.deepEqual(keys, [...keys].sort());
  }
});
