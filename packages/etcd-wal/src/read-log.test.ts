import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { encodeHardState, entrySizeBytes, writeEntry } from "@quorate/raft";
import { SeededRandom, type SimDisk } from "@quorate/wal/testing";
import { EtcdLogDamagedError, EtcdLogMissingError } from "./errors.ts";
import { join, logExists, RecordType, segmentName } from "./format.ts";
import { type EtcdLog, readEtcdLog } from "./read-log.ts";
import { encodeIdentity, encodeMark } from "./records.ts";
import { SegmentOutput } from "./segment-output.ts";
import { History } from "./testing/history.ts";
import {
  asText,
  contentsOf,
  DIRECTORY,
  entry,
  hardState,
  IDENTITY,
  mark,
  newDisk,
  putContents,
} from "./testing/logs.ts";

const FIRST = join(DIRECTORY, segmentName(0, 0));

function read(disk: SimDisk): EtcdLog {
  return readEtcdLog({ disk, directory: DIRECTORY });
}

function historyOf(disk: SimDisk, seed: number, steps: number): History {
  const random = new SeededRandom(seed);
  const history = new History(disk, random);
  for (let i = 0; i < steps; i++) history.step();
  history.finish();
  return history;
}

/** A history whose last segment has something in it. */
function historyWithTail(seed: number): { disk: SimDisk; history: History; path: string } {
  for (let at = seed; ; at += 1000) {
    const disk = newDisk();
    const history = historyOf(disk, at, 14);
    if (history.ends.length > 6) return { disk, history, path: history.path[history.path.length - 1]! };
  }
}

function isDamaged(error: unknown): boolean {
  return error instanceof EtcdLogDamagedError && error.file.startsWith(DIRECTORY) && error.offset >= 0;
}

/** A segment of what the caller puts into it. */
function logOf(disk: SimDisk, put: (output: SegmentOutput) => void): void {
  const output = new SegmentOutput(disk, FIRST, 0);
  output.put(RecordType.Metadata, encodeIdentity(IDENTITY));
  put(output);
  output.finish();
}

function putEntry(output: SegmentOutput, at: number, inTerm: number): void {
  const added = entry(at, inTerm, 20);
  output.putInPlace(
    RecordType.Entry,
    entrySizeBytes(added),
    (into, position) => void writeEntry(added, into, position),
  );
}

test("a log is read as it was written, whatever happened while it was written", () => {
  let snapshots = 0;
  for (let seed = 0; seed < 400; seed++) {
    const disk = newDisk();
    const history = historyOf(disk, seed, 30);
    const log = read(disk);
    assert.equal(asText(log), asText(history.account!), `seed ${seed}`);
    assert.deepEqual(log.identity, IDENTITY);
    assert.equal(log.torn, null);
    if (log.start.index > 0) snapshots++;
  }
  assert.ok(snapshots > 100);
});

test("what is no segment does not count, and no segment at all is said", () => {
  const disk = newDisk();
  putContents(disk, `${DIRECTORY}/0.tmp`, Buffer.alloc(100));
  putContents(disk, `${DIRECTORY}/0000000000000000-0000000000000000.wal.broken`, Buffer.alloc(100, 7));
  assert.equal(logExists(disk, DIRECTORY), false);
  assert.throws(() => read(disk), EtcdLogMissingError);
  historyOf(disk, 1, 5);
  assert.equal(logExists(disk, DIRECTORY), true);
  assert.equal(read(disk).torn, null);
});

// covers: WA-01
test("a last segment that a crash cut off or left zeroed from a sector on ends with the last whole record", () => {
  for (let seed = 0; seed < 6; seed++) {
    const { disk, history, path } = historyWithTail(seed);
    const whole = contentsOf(disk, path);
    for (let cut = 0; cut <= whole.length; cut++) {
      const last = history.ends.findLast(({ offset }) => offset <= cut);
      const shortened = whole.subarray(0, cut);
      const variants = [shortened];
      if (cut % 512 === 0) variants.push(Buffer.concat([shortened, Buffer.alloc(whole.length - cut + 4096)]));
      for (const bytes of variants) {
        putContents(disk, path, bytes);
        if (last === undefined) continue;
        const { account } = last;
        if (account === null) assert.throws(() => read(disk), EtcdLogDamagedError);
        else assert.equal(asText(read(disk)), asText(account), `seed ${seed}, cut at ${cut}`);
      }
    }
  }
});

// covers: WA-02
test("zeroes in the midst of records are refused, because what follows them may have been promised to clients", () => {
  for (let seed = 0; seed < 12; seed++) {
    const { disk, history, path } = historyWithTail(seed);
    const whole = contentsOf(disk, path);
    const lastTwo = history.ends[history.ends.length - 3]!.offset;
    for (let at = 0; at + 512 < lastTwo; at += 512) {
      const damaged = Buffer.from(whole);
      damaged.fill(0, at, at + 512);
      putContents(disk, path, damaged);
      assert.throws(() => read(disk), isDamaged, `seed ${seed}, sector at ${at}`);
    }
  }
});

// covers: WA-14
test("a byte that is altered anywhere is refused or changes nothing", () => {
  for (let seed = 0; seed < 3; seed++) {
    const { disk, history } = historyWithTail(seed);
    const random = new SeededRandom(seed);
    const whole = asText(history.account!);
    for (const each of history.path) {
      const bytes = contentsOf(disk, each);
      for (let at = 0; at < bytes.length; at++) {
        const damaged = Buffer.from(bytes);
        damaged[at] = damaged[at]! ^ (1 << random.below(8));
        putContents(disk, each, damaged);
        let found: string;
        try {
          found = asText(read(disk));
        } catch (error) {
          assert.ok(isDamaged(error), `seed ${seed}, ${each} at ${at}: ${error}`);
          continue;
        }
        assert.equal(found, whole, `seed ${seed}, ${each} at ${at}`);
      }
      putContents(disk, each, bytes);
    }
  }
});

test("a segment that is missing, or that continues another log, is refused", () => {
  for (let seed = 0, refused = 0; refused < 10; seed++) {
    const disk = newDisk();
    const history = historyOf(disk, seed, 30);
    if (history.path.length < 3) continue;
    disk.remove(history.path[1]!);
    assert.throws(() => read(disk), isDamaged, `seed ${seed}`);
    const other = newDisk();
    const otherHistory = historyOf(other, seed + 5000, 30);
    if (otherHistory.path.length < 2) continue;
    putContents(disk, history.path[1]!, contentsOf(other, otherHistory.path[1]!));
    assert.throws(() => read(disk), isDamaged, `seed ${seed}`);
    refused++;
  }
});

// covers: WA-04
test("records that contradict each other are refused although their checksums hold", () => {
  const cases: readonly (readonly [RegExp, (output: SegmentOutput) => void])[] = [
    [/entry 3 follows entry 1/, (output) => [1, 3].forEach((at) => void putEntry(output, at, 1))],
    [
      /entry 2 of term 3 takes the place of a committed one/,
      (output) => {
        for (const at of [1, 2]) putEntry(output, at, 1);
        output.put(RecordType.HardState, encodeHardState(hardState(3, 2)));
        putEntry(output, 2, 3);
      },
    ],
    [
      /entry 2 of term 1 follows term 2/,
      (output) => {
        putEntry(output, 1, 2);
        putEntry(output, 2, 1);
      },
    ],
    [
      /entries up to 4 were committed, the log ends at 1/,
      (output) => {
        putEntry(output, 1, 1);
        output.put(RecordType.HardState, encodeHardState(hardState(1, 4)));
      },
    ],
    [
      /the log begins at 9, beyond commit 0/,
      (output) => {
        output.put(RecordType.Snapshot, encodeMark(mark(9, 1)));
        putEntry(output, 10, 1);
      },
    ],
    [/segments of different members/, (output) => output.put(RecordType.Metadata, Buffer.from([8, 1, 16, 1]))],
    [/unknown type 6/, (output) => output.put(6, Buffer.from([1]))],
  ];
  for (const [reason, put] of cases) {
    const disk = newDisk();
    logOf(disk, (output) => {
      output.put(RecordType.Snapshot, encodeMark(mark(0, 0)));
      put(output);
    });
    assert.throws(() => read(disk), reason);
  }
});

test("a log whose beginning was given up without a mark that covers it is refused", () => {
  const disk = newDisk();
  logOf(disk, (output) => {
    for (const at of [7, 8, 9]) putEntry(output, at, 1);
    output.put(RecordType.Snapshot, encodeMark(mark(5, 1)));
    output.put(RecordType.HardState, encodeHardState(hardState(1, 8)));
  });
  assert.throws(() => read(disk), /the first entry is 7/);
});

test("a log whose beginning was given up begins with the mark that covers it", () => {
  const disk = newDisk();
  logOf(disk, (output) => {
    for (const at of [7, 8, 9]) putEntry(output, at, 1);
    output.put(RecordType.HardState, encodeHardState(hardState(1, 8)));
    output.put(RecordType.Snapshot, encodeMark(mark(5, 1)));
    output.put(RecordType.Snapshot, encodeMark(mark(8, 1)));
  });
  const log = read(disk);
  assert.equal(log.start.index, 8);
  assert.deepEqual(
    log.entries.map(({ index }) => index),
    [9],
  );
});

// covers: WA-03
test("a length that the file cannot hold allocates nothing and is refused", () => {
  const disk = newDisk();
  const history = historyOf(disk, 3, 12);
  const first = contentsOf(disk, history.path[0]!);
  // The metadata's word, behind the checksum of nothing.
  first.writeUInt32LE(0xffff_fff8, 16);
  first.writeUInt32LE(0x00ff_ffff, 20);
  putContents(disk, history.path[0]!, first);
  assert.throws(() => read(disk), isDamaged);
});

test("records that come in another encoding of etcd's, with zeroes spelled out, read the same", () => {
  const disk = newDisk();
  logOf(disk, (output) => {
    output.put(RecordType.Snapshot, Buffer.from([0x08, 0, 0x10, 0]));
    output.put(RecordType.Entry, Buffer.from([0x08, 0, 0x10, 1, 0x18, 1]));
    output.put(RecordType.HardState, Buffer.from([0x08, 1, 0x10, 0, 0x18, 1]));
  });
  const log = read(disk);
  assert.deepEqual(log.hardState, hardState(1, 1, 0n));
  assert.equal(log.start.confState, null);
  assert.equal(log.entries.length, 1);
});
