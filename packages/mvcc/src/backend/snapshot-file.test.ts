import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryImage } from "./memory-storage.ts";
import { readDatabase } from "./snapshot-file.ts";
import { SnapshotDamagedError } from "./storage.ts";
import { fileOf, minimal, named, record, revisionKey, sourceOf, tombstone } from "./testing/snapshot-suite.ts";

// covers: WA-14

/** What is wrong, and how it is said. */
function damaged(): Record<string, readonly [bytes: Buffer, text: RegExp]> {
  const good = fileOf(minimal());
  const { key, meta } = minimal();
  const withRecord = (name: string, value: string): Buffer => fileOf({ meta: meta!, key: { ...key, [name]: value } });
  const withMeta = (name: string, value: string): Buffer => fileOf({ key: key!, meta: { ...meta, [name]: value } });
  const latin = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
  const three = revisionKey(3);
  return {
    nothing: [Buffer.alloc(0), /page 0, offset 0/],
    "no bbolt file": [Buffer.alloc(8192, 1), /neither meta page is intact/],
    "cut short": [good.subarray(0, good.length - 100), /the file ends here/],
    "an unknown bucket": [fileOf({ ...minimal(), other: {} }), /bucket "other".*no such bucket/],
    "no records": [fileOf({ meta: meta! }), /bucket key.*missing/],
    "no meta": [fileOf({ key: key! }), /bucket meta.*missing/],
    "a key that is no revision": [withRecord("foo", latin(record(3))), /bucket key, key 0x666f6f.*no revision/],
    "a key without its mark": [withRecord(three.replace("_", "-"), latin(record(3))), /no revision/],
    "a key with another mark": [withRecord(`${three}u`, latin(record(3))), /no revision/],
    "revision 0": [withRecord(revisionKey(0), latin(record(0))), /out of range/],
    "a revision beyond what is exact": [withRecord(`\x7f${three.slice(1)}`, latin(record(3))), /out of range/],
    "two records of a revision": [
      withRecord(`${revisionKey(2)}t`, latin(tombstone())),
      /second record of one revision/,
    ],
    "a record that is no KeyValue": [withRecord(three, "\xff"), /no KeyValue/],
    "a record without a key": [withRecord(three, "\x20\x01"), /no KeyValue/],
    "a record of another revision": [withRecord(three, latin(record(4))), /is of revision 4/],
    "a record created later": [withRecord(three, latin(record(3, "v", 4))), /created at revision 4/],
    "a record created never": [withRecord(three, latin(record(3, "v", 0))), /created at revision 0/],
    "a record without version": [withRecord(three, latin(record(3, "v", 3, 0))), /version 0/],
    "an empty tombstone": [withRecord(`${three}t`, ""), /without contents/],
    "an index of another size": [withMeta("consistent_index", "1"), /key 0x636f.*no number/],
    "a term beyond what is exact": [withMeta("term", "\x7f1234567"), /no number/],
    "a compaction that is no revision": [withMeta("scheduledCompactRev", "1"), /no revision/],
    "a compaction beyond what is exact": [withMeta("finishedCompactRev", `\x7f${three.slice(1)}`), /no revision/],
    "a key too long": [fileOf({ ...minimal(), lease: { ["k".repeat(1025)]: "" } }), /1025 bytes, allowed are 1024/],
    "a user of another name": [
      fileOf({ ...minimal(), authUsers: { ["k".repeat(1025)]: named("k".repeat(1026)) } }),
      /bucket authUsers.*the record is of another name/,
    ],
    "a long name without a record": [
      fileOf({ ...minimal(), authRoles: { ["k".repeat(1025)]: "\xff" } }),
      /bucket authRoles.*the record is damaged/,
    ],
    "a name that is none": [
      fileOf({ ...minimal(), authUsers: { ["\xff".repeat(33)]: "" } }),
      /bucket authUsers.*no name/,
    ],
    "a meta key too long": [withMeta("k".repeat(1025), ""), /1025 bytes, allowed are 1024/],
  };
}

for (const [problem, [bytes, text]] of Object.entries(damaged())) {
  test(`refused as a database: ${problem}`, () => {
    assert.throws(
      () => readDatabase("/the/file", sourceOf(bytes), new MemoryImage()),
      (error) => {
        assert.ok(error instanceof SnapshotDamagedError, String(error));
        assert.equal(error.path, "/the/file");
        assert.match(error.message, text);
        return true;
      },
    );
  });
}

test("one altered byte ends in a refusal, or in records that ascend, and in nothing else", () => {
  const { key, ...others } = minimal();
  const records = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [revisionKey(i + 3), Buffer.from(record(i + 3)).toString("latin1")]),
  );
  const whole = fileOf({ ...others, key: { ...key, ...records } });
  let refusals = 0;
  for (let at = 0; at < whole.length; at++) {
    const bytes = Buffer.from(whole);
    bytes[at]! ^= [0x01, 0x80, 0xff, 0x10][at % 4]!;
    const image = new MemoryImage();
    try {
      readDatabase("/the/file", sourceOf(bytes), image);
    } catch (error) {
      if (!(error instanceof SnapshotDamagedError)) throw new Error(`byte ${at}`, { cause: error });
      refusals++;
    }
    for (let i = 1; i < image.records.length; i++) assert.ok(image.records[i - 1]!.main < image.records[i]!.main);
  }
  assert.ok(refusals > 1000, `${refusals} refusals`);
});

test("what target and source throw goes through unchanged", () => {
  const cause = new Error("mine");
  const refusing = {
    addRecord: () => {
      throw cause;
    },
    addRow: () => {},
  };
  const isCause = (error: unknown): boolean => error === cause;
  assert.throws(() => readDatabase("/the/file", sourceOf(fileOf(minimal())), refusing), isCause);
});
