import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32c } from "./index.ts";

test("crc32c matches the vectors of RFC 3720 appendix B.4", () => {
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  assert.equal(crc32c(Buffer.from("123456789")), 0xe3069283);
});

test("crc32c continued over any split equals crc32c of the whole", () => {
  const bytes = Uint8Array.from({ length: 61 }, (_, i) => (i * 37) & 255);
  for (let cut = 0; cut <= bytes.length; cut++) {
    assert.equal(crc32c(bytes, crc32c(bytes, 0, 0, cut), cut), crc32c(bytes));
  }
});
