/** The small pieces of gRPC: timeouts, status messages, metadata, content types. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { isGrpcContentType } from "./content-type.ts";
import { decodeBinaryValue, encodeValue, InvalidMetadata } from "./metadata.ts";
import { decodeStatusMessage, encodeStatusMessage, statusOfHttp, statusOfReset } from "./status.ts";
import { formatTimeout, parseTimeout, quoted } from "./timeout.ts";

test("timeouts are parsed strictly, with grpc-go's complaints", () => {
  // covers: GR-03
  for (const [value, expected] of [
    ["1S", 1000],
    ["5m", 5],
    ["99999999H", 99999999 * 3_600_000],
    ["0n", 0],
    ["1M", 60_000],
    ["00000007S", 7000],
    ["1", 'transport: timeout string is too short: "1"'],
    ["", 'transport: timeout string is too short: ""'],
    ["123456789S", 'transport: timeout string is too long: "123456789S"'],
    ["1s", 'transport: timeout unit is not recognized: "1s"'],
    ["-1S", 'strconv.ParseUint: parsing "-1": invalid syntax'],
    ["1.5S", 'strconv.ParseUint: parsing "1.5": invalid syntax'],
    ["xS", 'strconv.ParseUint: parsing "x": invalid syntax'],
  ] as const) {
    assert.equal(parseTimeout(value), expected, value);
  }
  assert.equal(parseTimeout("250u"), 0.25);
});

test("a timeout written is never shorter than meant, nor much longer", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.000_01, max: 1e13, noNaN: true }), (timeoutMs) => {
      const value = formatTimeout(timeoutMs);
      assert.ok(value.length <= 9, value);
      const parsed = parseTimeout(value);
      assert.equal(typeof parsed, "number");
      assert.ok((parsed as number) >= timeoutMs * (1 - 1e-9) || value === "99999999H", value);
      assert.ok((parsed as number) <= timeoutMs * 1.0001 + 3_600_000 || timeoutMs < 1, value);
    }),
    { seed: 3, numRuns: 500 },
  );
  assert.equal(formatTimeout(0), "0n");
  assert.equal(formatTimeout(-5), "0n");
  assert.equal(formatTimeout(5000), "5000000u");
});

test("any status message survives the wire, which carries printable ASCII only", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 100 }), (message) => {
      const encoded = encodeStatusMessage(message);
      assert.match(encoded, /^[ -~]*$/);
      assert.equal(decodeStatusMessage(encoded), message.toWellFormed());
    }),
    { seed: 5, numRuns: 500 },
  );
  assert.equal(encodeStatusMessage("100% ☃\n"), "100%25 %E2%98%83%0A");
  assert.equal(decodeStatusMessage("%zz%4"), "%zz%4");
  assert.equal(encodeStatusMessage("etcdserver: key not found"), "etcdserver: key not found");
});

test("binary metadata is base64 with or without padding, and nothing else", () => {
  // covers: GR-03
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
      const padded = Buffer.from(bytes).toString("base64");
      assert.deepEqual(Buffer.from(decodeBinaryValue(padded)!), Buffer.from(bytes));
      assert.deepEqual(Buffer.from(decodeBinaryValue(encodeValue("x-bin", bytes))!), Buffer.from(bytes));
    }),
    { seed: 6, numRuns: 200 },
  );
  for (const broken of ["a", "abc=d", "ab=", "a b=", "ab-_", "====", "abcde"]) {
    assert.equal(decodeBinaryValue(broken), undefined, broken);
  }
  assert.deepEqual(Buffer.from(decodeBinaryValue("AAE=,AgM=")!), Buffer.from([0, 1]));
});

test("metadata that may not travel is refused before it does", () => {
  for (const [name, value] of [
    ["Upper", "x"],
    ["grpc-anything", "x"],
    ["te", "x"],
    ["bad name", "x"],
    ["x", "line\nbreak"],
    ["x", "ümlaut"],
    ["x", new Uint8Array(2)],
    ["", "x"],
  ] as const) {
    assert.throws(() => encodeValue(name, value), InvalidMetadata, name);
  }
  assert.equal(encodeValue("token", "abc.1"), "abc.1");
});

test("content types are gRPC's with any subtype, and no other's", () => {
  for (const value of ["application/grpc", "application/grpc+proto", "application/grpc;x=y", "Application/gRPC+json"]) {
    assert.equal(isGrpcContentType(value), true, value);
  }
  for (const value of ["application/grpc-web", "application/json", "", "application/grp", "text/application/grpc"]) {
    assert.equal(isGrpcContentType(value), false, value);
  }
});

test("what is not gRPC is translated by the specification's tables", () => {
  assert.deepEqual(
    ["400", "401", "403", "404", "429", "503", "500", "302"].map(statusOfHttp),
    [13, 16, 7, 12, 14, 14, 2, 2],
  );
  assert.deepEqual([0, 1, 7, 8, 11, 12, 99].map(statusOfReset), [13, 13, 14, 1, 8, 7, 13]);
  assert.equal(quoted('a"b\\c\x01'), '"a\\"b\\\\c\\x01"');
});
