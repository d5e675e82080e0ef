import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { PAYLOAD_BYTES, SECTOR_BYTES, sectorsFor } from "./format.ts";
import { classify, DAMAGED, mix, spread, UNWRITTEN } from "./sector.ts";
import { SeededRandom } from "./testing/index.ts";

const SALT = 0x1234_5678;

function stamped(sequence: number, startSector: number, length = 1300): Buffer {
  const count = sectorsFor(length);
  const buffer = Buffer.alloc(count * SECTOR_BYTES);
  for (let i = 0; i < length; i++) buffer[i] = (i * 7) & 0xff;
  spread(buffer, length, count, SALT, sequence, startSector);
  return buffer;
}

test("spreading keeps every byte, in order, and zeroes the rest of the last sector", () => {
  for (const length of [1, 499, 500, 501, 1000, 1300, 5000, 5001]) {
    const buffer = stamped(3, 8, length);
    for (let i = 0; i < sectorsFor(length) * PAYLOAD_BYTES; i++) {
      const at = Math.floor(i / PAYLOAD_BYTES) * SECTOR_BYTES + (i % PAYLOAD_BYTES);
      assert.equal(buffer[at], i < length ? (i * 7) & 0xff : 0);
    }
  }
});

test("a sector tells which batch of its segment it belongs to", () => {
  const buffer = stamped(3, 8);
  for (let i = 0; i < 3; i++) assert.equal(classify(buffer, i * SECTOR_BYTES, SALT, 3, 8 + i), 8);
});

test("to a later segment in the same file it counts as unwritten, to an earlier one as damaged", () => {
  const buffer = stamped(3, 8);
  assert.equal(classify(buffer, 0, SALT, 4, 8), UNWRITTEN);
  assert.equal(classify(buffer, 0, SALT, 4_000_000_000, 8), UNWRITTEN);
  assert.equal(classify(buffer, 0, SALT, 2, 8), DAMAGED);
  assert.equal(classify(Buffer.alloc(SECTOR_BYTES), 0, SALT, 3, 8), UNWRITTEN);
});

test("at another place, or of another log, it is damaged", () => {
  const buffer = stamped(3, 8);
  assert.equal(classify(buffer, 0, SALT, 3, 9), DAMAGED);
  assert.equal(classify(buffer, 0, SALT + 1, 3, 8), DAMAGED);
});

test("no change of a single bit of a stamp makes it another valid stamp", () => {
  for (const sequence of [1, 2, 300, 0xffff_ffff]) {
    const buffer = stamped(sequence, 8);
    for (let bit = 0; bit < 96; bit++) {
      const at = PAYLOAD_BYTES + (bit >> 3);
      buffer[at]! ^= 1 << (bit & 7);
      assert.equal(classify(buffer, 0, SALT, sequence, 8), DAMAGED, `sequence ${sequence} bit ${bit}`);
      buffer[at]! ^= 1 << (bit & 7);
    }
  }
});

test("the check differs whenever exactly one of its numbers does", () => {
  const random = new SeededRandom(5);
  for (let i = 0; i < 20_000; i++) {
    const numbers = [0, 0, 0, 0].map(() => random.below(2 ** 32)) as [number, number, number, number];
    const changed: [number, number, number, number] = [...numbers];
    const which = random.below(4);
    changed[which] = (changed[which]! ^ (1 + random.below(2 ** 32 - 1))) >>> 0;
    assert.notEqual(mix(...numbers), mix(...changed));
  }
});
