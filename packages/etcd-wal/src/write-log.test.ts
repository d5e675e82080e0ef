import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { SeededRandom } from "@quorate/wal/testing";
import { join, segmentName, segmentsOf } from "./format.ts";
import { readEtcdLog } from "./read-log.ts";
import { decodeIdentityRecord } from "./records.ts";
import { asText, contentsOf, DIRECTORY, hardState, IDENTITY, mark, newDisk, randomEntries } from "./testing/logs.ts";
import { writeEtcdLog } from "./write-log.ts";

test("what is written is read again, in as many segments as it takes", () => {
  for (let seed = 0; seed < 60; seed++) {
    const random = new SeededRandom(seed);
    const disk = newDisk();
    const startIndex = random.below(3) === 0 ? 0 : random.below(100_000);
    const entries = randomEntries(random, startIndex, random.below(200), seed === 7 ? 3_000_000 : 3000);
    const firstTerm = entries[0]?.term ?? 1;
    const start = startIndex === 0 ? { ...mark(0, 0), confState: null } : mark(startIndex, firstTerm);
    const lastTerm = entries[entries.length - 1]?.term ?? firstTerm;
    const state = hardState(lastTerm + random.below(2), startIndex + random.below(entries.length + 1));
    writeEtcdLog({
      disk,
      directory: DIRECTORY,
      identity: IDENTITY,
      start,
      entries,
      hardState: state,
      segmentBytes: 20_000,
    });
    const log = readEtcdLog({ disk, directory: DIRECTORY });
    assert.equal(asText(log), asText({ start, entries, hardState: state }), `seed ${seed}`);
    assert.deepEqual(log.identity, IDENTITY);
    assert.equal(log.torn, null);
    const sizeBytes = entries.reduce((sum, { data }) => sum + data.length, 0);
    assert.ok(segmentsOf(disk, DIRECTORY).length > Math.min(1, Math.floor(sizeBytes / 40_000)));
  }
});

test("a log begins with the bytes that one of etcd's begins with", () => {
  const first = Buffer.from(
    "040000000000008408041000000000001d000000000000830801108d9cf9161a1408c0c0caafc1ba96892e1087d5edba8fd59dc104000000",
    "hex",
  );
  const disk = newDisk();
  writeEtcdLog({
    disk,
    directory: DIRECTORY,
    identity: decodeIdentityRecord(first.subarray(33, 53)),
    start: { ...mark(0, 0), confState: null },
    entries: [],
    hardState: hardState(0, 0, 0n),
  });
  const bytes = contentsOf(disk, join(DIRECTORY, segmentName(0, 0)));
  assert.equal(bytes.subarray(0, first.length).toString("hex"), first.toString("hex"));
});
