// covers: MV-08, GR-04
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parameters, someBytes, someSigned } from "../testing/arbitrary.ts";
import {
  BOUND_MAX,
  boundSize,
  copyBytes,
  int64FromHalves,
  Reader,
  uint64FromHalves,
  varintSize,
  varintSizeBig,
  varintSizeHalves,
  Writer,
  writeBound,
  writeVarint,
  writeVarintBig,
  writeVarintHalves,
} from "./index.ts";

/** The dumb twin: seven bits at a time, in bigint. */
function naiveVarint(value: bigint): Buffer {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest >= 0x80n) {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  out.push(Number(rest));
  return Buffer.from(out);
}

/** Each power of two and its neighbours, in both signs. */
const edges: bigint[] = [];
for (let bit = 0n; bit <= 64n; bit++) {
  for (const near of [-1n, 0n, 1n]) edges.push(2n ** bit + near, -(2n ** bit) + near);
}

function readerOf(hex: string | Uint8Array): Reader {
  const bytes = typeof hex === "string" ? Buffer.from(hex.replaceAll(" ", ""), "hex") : hex;
  const reader = new Reader();
  reader.reset(bytes, 0, bytes.length);
  return reader;
}

const room = Buffer.alloc(32);

test("varints are written in every dress as the twin writes them", () => {
  const check = (value: bigint): void => {
    const expected = naiveVarint(value);
    assert.deepEqual(room.subarray(0, writeVarintBig(room, 0, value)), expected);
    assert.equal(varintSizeBig(value), expected.length);
    const unsigned = BigInt.asUintN(64, value);
    const high = Number(unsigned >> 32n);
    const low = Number(unsigned & 0xffff_ffffn);
    assert.deepEqual(room.subarray(0, writeVarintHalves(room, 0, high, low)), expected);
    assert.equal(varintSizeHalves(high, low), expected.length);
    assert.equal(uint64FromHalves(high, low), unsigned);
    assert.equal(int64FromHalves(high, low), BigInt.asIntN(64, value));
    if (Number.isSafeInteger(Number(value))) {
      assert.deepEqual(room.subarray(0, writeVarint(room, 0, Number(value))), expected);
      assert.equal(varintSize(Number(value)), expected.length);
    }
  };
  for (const edge of edges) check(edge);
  fc.assert(fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), check), parameters);
});

test("varints are read in every dress as they were written", () => {
  const check = (value: bigint): void => {
    const bytes = naiveVarint(value);
    const signed = BigInt.asIntN(64, value);
    const unsigned = BigInt.asUintN(64, value);
    assert.equal(readerOf(bytes).int64Big(), signed);
    assert.equal(readerOf(bytes).uint64Big(), unsigned);
    assert.equal(readerOf(bytes).int32(), Number(BigInt.asIntN(32, value)));
    assert.equal(readerOf(bytes).uint32(), Number(BigInt.asUintN(32, value)));
    assert.equal(readerOf(bytes).bool(), unsigned !== 0n);
    if (Number.isSafeInteger(Number(signed))) assert.equal(readerOf(bytes).int64(), Number(signed));
    else assert.throws(() => readerOf(bytes).int64(), { kind: "InexactInteger" });
    if (Number.isSafeInteger(Number(unsigned))) assert.equal(readerOf(bytes).uint64(), Number(unsigned));
    else assert.throws(() => readerOf(bytes).uint64(), { kind: "InexactInteger" });
    const clamped = signed > BigInt(BOUND_MAX) ? BOUND_MAX : signed < -BigInt(BOUND_MAX) ? -BOUND_MAX : Number(signed);
    assert.equal(readerOf(bytes).bound(), clamped);
    const halves = readerOf(bytes);
    assert.equal(BigInt(halves.lowerHalf()) + (BigInt(halves.upperHalf()) << 32n), unsigned);
  };
  for (const edge of edges) check(edge);
  fc.assert(fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), check), parameters);
});

test("a bound goes out as it came, its ends as the ends of int64", () => {
  fc.assert(
    fc.property(someSigned, (value) => {
      const end = writeBound(room, 0, value);
      assert.equal(end, boundSize(value));
      assert.equal(readerOf(room.subarray(0, end)).bound(), value);
    }),
    parameters,
  );
  assert.equal(room.toString("hex", 0, writeBound(room, 0, BOUND_MAX)), "ffffffffffffffff7f");
  assert.equal(room.toString("hex", 0, writeBound(room, 0, -BOUND_MAX)), "80808080808080808001");
});

test("numbers that are not whole and safe are not written", () => {
  for (const value of [2 ** 53, -(2 ** 53), 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => writeVarint(room, 0, value), { kind: "InexactInteger" }, String(value));
  }
});

test("a varint of more than 64 bits is refused", () => {
  assert.equal(readerOf("ffffffffffffffffff01").uint64Big(), 2n ** 64n - 1n);
  for (const hex of ["ffffffffffffffffff02", "ffffffffffffffffffff01", "80808080808080808080808001"]) {
    assert.throws(() => readerOf(hex).uint64Big(), { kind: "MalformedMessage", offset: 0 }, hex);
  }
});

test("a number or length cut short is refused where it stops", () => {
  assert.throws(() => readerOf("").int64(), { kind: "MalformedMessage", offset: 0 });
  assert.throws(() => readerOf("ff ff").int64(), { kind: "MalformedMessage", offset: 2 });
  assert.throws(() => readerOf("05 61 62").bytes(), { kind: "MalformedMessage", offset: 0 });
  assert.throws(() => readerOf("ff ff ff ff ff ff ff ff ff 01").bytes(), { kind: "MalformedMessage" });
  assert.equal(Buffer.from(readerOf("02 61 62").bytes()).toString(), "ab");
});

test("reading stops at the end of the message, not of the buffer", () => {
  const reader = new Reader();
  const bytes = Buffer.from("0561626364650a", "hex");
  reader.reset(bytes, 0, 5);
  assert.throws(() => reader.bytes(), { kind: "MalformedMessage" });
  assert.throws(() => reader.reset(bytes, 0, 8), { kind: "BrokenInvariant" });
});

test("tags are read, and impossible ones refused", () => {
  assert.equal(readerOf("0a").tag(), 0x0a);
  assert.equal(readerOf("a206").tag(), 100 * 8 + 2);
  assert.equal(readerOf("fdffffff0f").tag(), 0xffff_fffd);
  for (const hex of ["00", "07", "8000", "8080808010", "ffffffffffffffff7f"]) {
    assert.throws(() => readerOf(hex).tag(), { kind: "MalformedMessage" }, hex);
  }
});

test("unknown fields of every wire type are stepped over, groups and unknown types refused", () => {
  for (const [hex, left] of [
    ["08 ffff03 aa", 1],
    ["0a 02 6162 aa bb", 2],
    ["09 0102030405060708 aa", 1],
    ["0d 01020304", 0],
  ] as const) {
    const reader = readerOf(hex);
    reader.skip(reader.tag());
    assert.equal(reader.end - reader.position, left, hex);
    assert.equal(reader.isCanonical, false);
  }
  for (const hex of ["0b 0c", "0c", "0e 00", "0f 00", "09 01020304050607", "0d 010203", "0a 05 6162"]) {
    assert.throws(
      () => {
        const reader = readerOf(hex);
        reader.skip(reader.tag());
      },
      { kind: "MalformedMessage" },
      hex,
    );
  }
});

test("nesting is followed a hundred deep and no deeper", () => {
  const nested = (depth: number): Reader => {
    const writer = new Writer();
    const starts: number[] = [];
    for (let level = 0; level < depth; level++) starts.push(writer.begin(0x0a));
    for (const start of starts.reverse()) writer.finish(start);
    return readerOf(writer.copy());
  };
  const descend = (reader: Reader, depth: number): void => {
    for (let level = 0; level < depth; level++) {
      assert.equal(reader.tag(), 0x0a);
      reader.enter();
    }
  };
  descend(nested(100), 100);
  assert.throws(() => descend(nested(101), 101), { kind: "MalformedMessage", message: /deeper than 100/ });
});

test("a varint longer than need be is read, and noted as not canonical", () => {
  for (const [hex, isCanonical] of [
    ["05", true],
    ["8500", false],
    ["ff7f", true],
    ["80808000", false],
    ["ffffffffffffffffff01", true],
  ] as const) {
    const reader = readerOf(hex);
    reader.uint64Big();
    assert.equal(reader.isCanonical, isCanonical, hex);
  }
  const bool = readerOf("02");
  assert.equal(bool.bool(), true);
  assert.equal(bool.isCanonical, false);
  const wide = readerOf("8180808010");
  assert.equal(wide.int32(), 1);
  assert.equal(wide.isCanonical, false);
});

test("a message in a message gets its length whatever its size", () => {
  for (const size of [0, 1, 127, 128, 129, 16383, 16384, 70_000]) {
    const writer = new Writer(16);
    const outer = writer.begin(0x0a);
    const inner = writer.begin(100 * 8 + 2);
    writer.raw(Buffer.alloc(size, 7), 0, size);
    writer.finish(inner);
    writer.finish(outer);
    writer.byte(0x42);

    const reader = readerOf(writer.copy());
    assert.equal(reader.tag(), 0x0a);
    const afterOuter = reader.enter();
    assert.equal(reader.tag(), 100 * 8 + 2);
    const bytes = reader.bytes();
    assert.equal(bytes.length, size);
    assert.ok(bytes.every((byte) => byte === 7));
    reader.leave(afterOuter);
    assert.equal(reader.tag(), 0x42);
    assert.equal(reader.isCanonical, true);
  }
});

test("a writer grows, starts over, and gives copies that stay", () => {
  const writer = new Writer(4);
  writer.stringField(0x0a, "grüße");
  writer.varintBig(-1n);
  writer.bytesField(0x12, Buffer.from("xbytesx"), 1, 6);
  const first = writer.copy();
  assert.equal(Buffer.from(first).toString("hex"), "0a076772c3bcc39f65ffffffffffffffffff0112056279746573");
  assert.deepEqual(Buffer.from(writer.bytes()), Buffer.from(first));
  writer.reset();
  writer.stringField(0x0a, "");
  assert.equal(Buffer.from(writer.bytes()).toString("hex"), "0a00");
  assert.equal(Buffer.from(first).toString("hex").slice(0, 4), "0a07");
});

test("a message larger than gRPC can frame is refused by name before memory is asked for", () => {
  assert.throws(() => new Writer(16).ensure(2 ** 31), { kind: "MessageTooLarge" });
});

test("short and long copies are the same copy", () => {
  fc.assert(
    fc.property(someBytes, fc.nat({ max: 20 }), (bytes, offset) => {
      const into = Buffer.alloc(bytes.length + offset);
      const start = Math.min(offset, bytes.length);
      const end = copyBytes(bytes, start, bytes.length, into, offset);
      assert.equal(end, offset + bytes.length - start);
      assert.deepEqual(into.subarray(offset, end), bytes.subarray(start));
    }),
    parameters,
  );
});
