import assert from "node:assert/strict";
import { test } from "node:test";
import { addressText, BadAddress, parseAddress } from "./endpoint.ts";

test("an endpoint is what etcdctl takes for one", () => {
  const read = (text: string, isTls = false) => {
    const address = parseAddress(text, isTls);
    return `${address.isTls ? "tls " : ""}${addressText(address)}`;
  };
  assert.equal(read("127.0.0.1:22379"), "127.0.0.1:22379");
  assert.equal(read("localhost"), "localhost:2379");
  assert.equal(read("http://a.example:1/"), "a.example:1");
  assert.equal(read("https://a.example"), "tls a.example:2379");
  assert.equal(read("a.example:1", true), "tls a.example:1");
  assert.equal(read("http://a.example:1", true), "a.example:1");
  assert.equal(read("[::1]:2379"), "[::1]:2379");
  // URL drops a port that its scheme implies.
  assert.equal(read("http://a.example:80"), "a.example:80");
  assert.equal(read("https://a.example:443"), "tls a.example:443");
});

test("what is no endpoint is refused by name", () => {
  for (const text of ["", ":", "a b", "127.0.0.1:99999", "unix:///tmp/x", "ftp://a:1"]) {
    assert.throws(() => parseAddress(text, false), BadAddress, text);
  }
});
