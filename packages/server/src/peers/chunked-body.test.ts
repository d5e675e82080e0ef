import assert from "node:assert/strict";
import { test } from "node:test";
import { ChunkedBody, MalformedBody } from "./chunked-body.ts";

/** What is read of the text, given in parts of so many bytes; the pieces joined. */
function read(text: string, partBytes = text.length, body = new ChunkedBody()): string {
  const bytes = Buffer.from(text, "latin1");
  let data = "";
  for (let at = 0; at < bytes.length; at += partBytes) {
    body.push(bytes.subarray(at, at + partBytes), (piece) => {
      assert.ok(piece.length > 0);
      data += piece.toString("latin1");
      return true;
    });
  }
  return data;
}

const WHOLE = "00000005\r\nhello\r\n6;name=value\r\n, worl\r\n1\r\nd\r\n00\r\nX-Trailer: of\r\nX-Another: one\r\n\r\n";

test("the data is the same wherever the network cuts the bytes, and the end is seen", () => {
  for (let partBytes = 1; partBytes <= WHOLE.length; partBytes++) {
    const body = new ChunkedBody();
    assert.equal(read(WHOLE, partBytes, body), "hello, world", `in parts of ${partBytes}`);
    assert.ok(body.isAtEnd);
  }
});

test("what follows the end does not belong to the body", () => {
  assert.equal(read(`${WHOLE}5\r\nmore!\r\n`), "hello, world");
});

test("before the trailers have ended the body has not", () => {
  for (let cut = 0; cut < WHOLE.length; cut++) {
    const body = new ChunkedBody();
    read(WHOLE.slice(0, cut), 7, body);
    assert.ok(!body.isAtEnd, `cut at ${cut}`);
  }
});

test("line ends and digits inside the data are data", () => {
  assert.equal(read("8\r\n\r\n0\r\n\r\n5\r\n0\r\n\r\n", 3), "\r\n0\r\n\r\n5");
});

test("sizes may be written in either case, and who has heard enough hears no more", () => {
  assert.equal(read(`1A\r\n${"x".repeat(26)}\r\n0\r\n\r\n`), "x".repeat(26));
  const heard: string[] = [];
  const body = new ChunkedBody();
  body.push(Buffer.from("1\r\na\r\n1\r\nb\r\n"), (piece) => {
    heard.push(piece.toString());
    return false;
  });
  assert.deepEqual(heard, ["a"]);
});

for (const [text, problem] of [
  ["5\nhello\r\n", "LF without CR"],
  ["5\rhello", "CR without LF"],
  ["\r\n", "a chunk without a size"],
  ["x\r\n", "a size is no number"],
  ["-1\r\n", "a size is no number"],
  [" 1\r\n", "a size is no number"],
  [";a=b\r\n", "a size is no number"],
  ["10000000000000\r\n", "a chunk is too large"],
  ["1\r\nab\r\n", "a chunk is longer than it said"],
  [`1;${"a".repeat(20_000)}`, "a line is too long"],
  [`0\r\n${"a: b\r\n".repeat(4000)}`, "a line is too long"],
] as const) {
  test(`${JSON.stringify(text.slice(0, 20))} is refused: ${problem}`, () => {
    for (const partBytes of [1, text.length]) {
      assert.throws(
        () => read(text, partBytes),
        (error) => {
          assert.ok(error instanceof MalformedBody);
          assert.equal(error.message, `malformed chunked encoding: ${problem}`);
          return true;
        },
      );
    }
  });
}
