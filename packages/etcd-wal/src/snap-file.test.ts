import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { index, type Snapshot, term } from "@quorate/raft";
import { EtcdLogDamagedError } from "./errors.ts";
import { readSnapFile, writeSnapFile } from "./snap-file.ts";
import { CONF_STATE, contentsOf, DIRECTORY, newDisk, putContents } from "./testing/logs.ts";

const SNAPSHOT: Snapshot = {
  data: Buffer.from('{"Root":{}}'),
  metadata: { confState: CONF_STATE, index: index(0x1234), term: term(7) },
};
const PATH = `${DIRECTORY}/0000000000000007-0000000000001234.snap`;

test("a snapshot file is read as it was written, under the name of its place in the log", () => {
  const disk = newDisk();
  writeSnapFile(disk, DIRECTORY, SNAPSHOT);
  const { data, metadata } = readSnapFile(disk, PATH);
  assert.equal(Buffer.from(data).toString(), '{"Root":{}}');
  assert.deepEqual(metadata, SNAPSHOT.metadata);
  assert.throws(() => readSnapFile(disk, `${PATH}.db`), { code: "ENOENT" });
});

// covers: WA-14
test("a snapshot file cut short or altered anywhere is refused", () => {
  const disk = newDisk();
  writeSnapFile(disk, DIRECTORY, SNAPSHOT);
  const whole = contentsOf(disk, PATH);
  for (let at = 0; at < whole.length; at++) {
    for (const bytes of [whole.subarray(0, at), Buffer.from(whole)]) {
      if (bytes.length === whole.length) bytes[at] = bytes[at]! ^ 0x10;
      putContents(disk, PATH, bytes);
      assert.throws(() => readSnapFile(disk, PATH), EtcdLogDamagedError, `at ${at}`);
    }
  }
});
