import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { Entry, EntryType, index, term } from "@quorate/raft";
import { BrokenInvariant, type Log, silentLog } from "@quorate/world";
import type { SnapshotMark } from "./records.ts";
import { SeededRandom } from "./testing/index.ts";
import {
  createWal,
  DIRECTORY,
  described,
  entries,
  entry,
  finish,
  hardState,
  METADATA,
  newDisk,
  openWal,
  SEGMENT_BYTES,
  save,
} from "./testing/wal-fixture.ts";
import { Wal } from "./wal.ts";

function mark(at: number, inTerm = 1): SnapshotMark {
  return { index: index(at), term: term(inTerm), confState: Buffer.from(`voters of ${at}`) };
}

test("a new log is empty and gives its metadata back", () => {
  const disk = newDisk(1);
  createWal(disk).close();
  const { replay } = openWal(disk);
  assert.deepEqual(Buffer.from(replay.metadata), METADATA);
  assert.equal(replay.hardState, null);
  assert.equal(replay.snapshotMark, null);
  assert.deepEqual(replay.entries, []);
  assert.equal(replay.lastIndex, 0);
});

test("what was saved is read back, after a clean close and after a loss of power alike", () => {
  for (const end of ["close", "crash"]) {
    const disk = newDisk(2);
    const wal = createWal(disk);
    save(disk, wal, entries(1, 3), hardState(1, 0));
    save(disk, wal, [], hardState(1, 3));
    save(
      disk,
      wal,
      [new Entry(EntryType.ConfChangeV2, term(2), index(4), new Uint8Array(0))],
      hardState(2, 3, 2n ** 64n - 1n),
    );
    assert.equal(wal.lastIndex, 4);
    if (end === "close") wal.close();
    else disk.crash();
    const { replay } = openWal(disk);
    assert.deepEqual(replay.hardState, hardState(2, 3, 2n ** 64n - 1n));
    const expected = [...entries(1, 3), new Entry(EntryType.ConfChangeV2, term(2), index(4), new Uint8Array(0))];
    assert.deepEqual(described(replay.entries), described(expected));
    assert.equal(replay.lastIndex, 4);
  }
});

test("terms, indexes and votes up to their limits survive", () => {
  const disk = newDisk(3);
  const wal = createWal(disk);
  const far = 2 ** 53 - 10;
  finish(disk, (done) => wal.replaceWithSnapshot({ ...mark(far, far) }, hardState(far, far), done));
  save(disk, wal, entries(far + 1, far + 2, far + 3), hardState(far + 3, far + 2));
  wal.close();
  const { replay } = openWal(disk);
  assert.deepEqual(described(replay.entries), described(entries(far + 1, far + 2, far + 3)));
  assert.deepEqual(replay.hardState, hardState(far + 3, far + 2));
});

test("later entries overwrite earlier ones from their index on", () => {
  const disk = newDisk(4);
  const wal = createWal(disk);
  save(disk, wal, entries(1, 6), hardState(1, 2));
  save(disk, wal, entries(4, 5, 2), hardState(2, 2));
  wal.close();
  const { replay } = openWal(disk);
  assert.deepEqual(described(replay.entries), described([...entries(1, 3), ...entries(4, 5, 2)]));
});

test("the log goes on over many segments and openings", () => {
  const disk = newDisk(5);
  let wal = createWal(disk);
  let last = 0;
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 12; i++) {
      save(disk, wal, entries(last + 1, last + 5, round + 1, 150), hardState(round + 1, last));
      last += 5;
    }
    if (round % 2 === 0) wal.close();
    else disk.crash();
    const opened = openWal(disk);
    assert.equal(opened.replay.entries.length, last);
    wal = opened.wal;
  }
  assert.ok(wal.sizeBytes > 5 * SEGMENT_BYTES);
  const { replay } = openWal(disk);
  for (const each of replay.entries) {
    assert.deepEqual(described([each]), described([entry(each.index, each.term, 150)]));
  }
});

test("a save larger than a segment is one save to the caller", () => {
  const disk = newDisk(6);
  const wal = createWal(disk);
  save(disk, wal, entries(1, 200, 1, 300), hardState(1, 200));
  wal.close();
  const { replay } = openWal(disk);
  assert.equal(replay.entries.length, 200);
  assert.deepEqual(replay.hardState, hardState(1, 200));
});

test("a crash within a save of several batches keeps a prefix, its term and vote, and no commit beyond it", () => {
  for (let steps = 1; steps < 40; steps++) {
    const disk = newDisk(steps);
    const wal = createWal(disk);
    save(disk, wal, entries(1, 2), hardState(1, 1));
    let isDone = false;
    wal.save(entries(3, 120, 5, 300), hardState(5, 120), (error) => {
      assert.equal(error, null);
      isDone = true;
    });
    disk.runPending(steps);
    disk.crash();
    const { replay } = openWal(disk);
    if (steps < 10) assert.equal(isDone, false);
    if (steps === 39) assert.equal(isDone, true);
    if (isDone) assert.equal(replay.lastIndex, 120);
    assert.ok(replay.lastIndex >= 2 && replay.hardState!.commit <= replay.lastIndex);
    assert.equal(replay.hardState!.term, replay.lastIndex > 2 ? 5 : 1);
  }
});

// covers: WA-05
test("the largest entry is written and read back; a larger one is refused and does no harm", () => {
  const disk = newDisk(7);
  const wal = createWal(disk);
  save(disk, wal, [entry(1, 1, wal.maxEntryBytes)]);
  save(disk, wal, [entry(2, 1, wal.maxEntryBytes)]);
  assert.throws(() => wal.save([entry(3, 1, wal.maxEntryBytes + 1)], null, () => assert.fail("nothing was begun")), {
    kind: "WalTooLarge",
    message: /entry 3 of 8193 bytes: the limit is 8192/,
  });
  save(disk, wal, [entry(3)]);
  wal.close();
  const { replay } = openWal(disk);
  assert.deepEqual(
    replay.entries.map((each) => each.data.length),
    [wal.maxEntryBytes, wal.maxEntryBytes, 40],
  );
});

test("metadata and conf state of the largest size fit beside the largest entry", () => {
  const disk = newDisk(8);
  const metadata = new Uint8Array(SEGMENT_BYTES / 16).fill(5);
  const wal = Wal.create({
    disk,
    directory: DIRECTORY,
    metadata,
    random: { below: () => 9 },
    log: silentLog,
    segmentBytes: SEGMENT_BYTES,
  });
  save(disk, wal, [entry(1)], hardState(1, 1));
  const large = { ...mark(1), confState: Buffer.alloc(SEGMENT_BYTES / 16, 6) };
  finish(disk, (done) => wal.saveSnapshotMark(large, null, done));
  for (let at = 2; at < 6; at++) save(disk, wal, [entry(at, 1, wal.maxEntryBytes)], hardState(1, at));
  wal.release(index(1));
  wal.close();
  const { replay } = openWal(disk);
  assert.equal(replay.lastIndex, 5);
  assert.deepEqual(replay.snapshotMark, large);
  assert.throws(
    () =>
      Wal.create({
        disk,
        directory: "/data/other",
        metadata: new Uint8Array(1025),
        random: { below: () => 9 },
        log: silentLog,
        segmentBytes: SEGMENT_BYTES,
      }),
    {
      kind: "WalTooLarge",
    },
  );
  assert.throws(
    () => wal.saveSnapshotMark({ ...mark(5), confState: new Uint8Array(1025) }, null, () => {}),
    BrokenInvariant,
    "closed",
  );
});

test("entries before the newest mark are not given back", () => {
  const disk = newDisk(9);
  const wal = createWal(disk);
  save(disk, wal, entries(1, 10), hardState(1, 8));
  finish(disk, (done) => wal.saveSnapshotMark(mark(4), null, done));
  finish(disk, (done) => wal.saveSnapshotMark(mark(9), hardState(1, 9), done));
  wal.close();
  const { replay } = openWal(disk);
  assert.deepEqual(replay.snapshotMark, mark(9));
  assert.deepEqual(described(replay.entries), described(entries(10, 10)));
  assert.equal(replay.hardState!.commit, 9);
});

// covers: SN-01
test("a mark whose snapshot is missing is passed over for an older one", () => {
  const disk = newDisk(10);
  const wal = createWal(disk);
  save(disk, wal, entries(1, 10), hardState(1, 8));
  finish(disk, (done) => wal.saveSnapshotMark(mark(4), null, done));
  finish(disk, (done) => wal.saveSnapshotMark(mark(8), null, done));
  wal.close();
  const { wal: reopened, replay } = openWal(disk, { isUsable: (each) => each.index !== 8 });
  assert.deepEqual(replay.snapshotMark, mark(4));
  assert.deepEqual(described(replay.entries), described(entries(5, 10)));
  reopened.close();
  const none = openWal(disk, { isUsable: () => false });
  assert.equal(none.replay.snapshotMark, null);
  assert.equal(none.replay.entries.length, 10);
});

// covers: SN-01
test("a log that begins after the newest usable snapshot is refused by name", () => {
  const disk = newDisk(11);
  const wal = createWal(disk);
  for (let at = 1; at <= 100; at++) save(disk, wal, [entry(at, 1, 300)], hardState(1, at));
  finish(disk, (done) => wal.saveSnapshotMark(mark(90), null, done));
  wal.release(index(90));
  wal.close();
  assert.equal(openWal(disk).replay.entries.length, 10);
  assert.throws(() => openWal(disk, { isUsable: () => false }), { kind: "WalSnapshotMissing" });
});

test("a received snapshot replaces the log, also entries of the same indexes", () => {
  const disk = newDisk(12);
  const wal = createWal(disk);
  save(disk, wal, entries(1, 50), hardState(1, 10));
  finish(disk, (done) => wal.replaceWithSnapshot(mark(30, 4), hardState(4, 35), done));
  assert.equal(wal.lastIndex, 30);
  save(disk, wal, entries(31, 35, 4), hardState(4, 35));
  wal.close();
  const { replay } = openWal(disk);
  assert.deepEqual(replay.snapshotMark, mark(30, 4));
  assert.deepEqual(described(replay.entries), described(entries(31, 35, 4)));
});

test("without entries after it, a received snapshot leaves none of the old log", () => {
  const disk = newDisk(13);
  const wal = createWal(disk);
  save(disk, wal, entries(1, 50), hardState(1, 10));
  finish(disk, (done) => wal.replaceWithSnapshot(mark(30, 4), hardState(4, 35), done));
  wal.close();
  const { replay } = openWal(disk);
  assert.deepEqual(replay.entries, []);
  assert.equal(replay.lastIndex, 30);
  assert.deepEqual(replay.hardState, hardState(4, 30));
});

// covers: WA-18
test("released segments are recycled, the one that holds the index stays", () => {
  const disk = newDisk(14);
  const wal = createWal(disk);
  for (let at = 1; at <= 300; at++) save(disk, wal, [entry(at, 1, 300)], hardState(1, at));
  const before = wal.sizeBytes;
  for (let at = 20; at <= 300; at += 20) {
    finish(disk, (done) => wal.saveSnapshotMark(mark(at), null, done));
    wal.release(index(at));
    const copy = openWal(disk, { isUsable: (each) => each.index <= at });
    assert.equal(copy.replay.snapshotMark!.index, at);
    assert.equal(copy.replay.entries.length, 300 - at);
    const first = copy.replay.entries[0];
    assert.ok(first === undefined || first.index === at + 1);
    copy.wal.close();
  }
  assert.ok(before > 8 * SEGMENT_BYTES);
  assert.ok(wal.sizeBytes <= 4 * SEGMENT_BYTES, `${wal.sizeBytes}`);
});

// covers: WA-18
test("a segment is released only when its last entry lies before the index", () => {
  const disk = newDisk(24);
  const wal = createWal(disk);
  const path = `${DIRECTORY}/0000000000000001.wal`;
  let last = 0;
  // Each entry takes a sector, and the head another.
  while (last < SEGMENT_BYTES / 512 + 5) save(disk, wal, [entry(++last, 1, 400)], hardState(1, last));
  finish(disk, (done) => wal.saveSnapshotMark(mark(last), null, done));
  wal.release(index(SEGMENT_BYTES / 512 - 1));
  assert.ok(disk.exists(path), "the last entry of the segment is at this index");
  wal.release(index(SEGMENT_BYTES / 512));
  assert.ok(!disk.exists(path));
});

test("over many lives of its files the log stays the same size and right", () => {
  const disk = newDisk(15);
  let wal = createWal(disk);
  for (let at = 1; at <= 1500; at++) {
    save(disk, wal, [entry(at, 1, 100 + (at % 7) * 50)], hardState(1, at));
    if (at % 25 === 0) {
      finish(disk, (done) => wal.saveSnapshotMark(mark(at - 5), null, done));
      wal.release(index(at - 5));
    }
    if (at % 111 === 0) {
      disk.crash();
      const opened = openWal(disk);
      wal = opened.wal;
      assert.equal(opened.replay.lastIndex, at);
      for (const each of opened.replay.entries) {
        assert.deepEqual(described([each]), described([entry(each.index, 1, 100 + (each.index % 7) * 50)]));
      }
    }
  }
  assert.ok(wal.sizeBytes <= 5 * SEGMENT_BYTES, `${wal.sizeBytes}`);
});

test("the next segment is ready before it is needed, without a timer", () => {
  const disk = newDisk(16);
  const wal = createWal(disk, 65_536);
  let cutsWithoutSpare = 0;
  disk.onCall = (call) => {
    if (call === "truncate") cutsWithoutSpare++;
    return null;
  };
  for (let at = 1; at <= 1000; at++) save(disk, wal, [entry(at, 1, 300)], null);
  assert.equal(cutsWithoutSpare, 0);
});

test("a cut while a slice of the next segment is being written waits for it", () => {
  const disk = newDisk(17);
  const wal = createWal(disk);
  // Saves of almost a segment: each cuts, and each finds the slice begun after the previous one.
  let last = 0;
  const next = (): void => {
    last++;
    if (last <= 30) {
      wal.save([entry(last, 1, wal.maxEntryBytes)], null, (error) => {
        assert.equal(error, null);
        next();
      });
    }
  };
  next();
  disk.runPending();
  assert.equal(last, 31);
  wal.close();
  disk.runPending();
  assert.equal(openWal(disk).replay.entries.length, 30);
});

// covers: WA-17
test("files that are not the log's are ignored with a warning, and do not count as a log", () => {
  const disk = newDisk(18);
  disk.makeDirectory(DIRECTORY);
  disk.makeDirectory(`${DIRECTORY}/lost+found`);
  disk.open(`${DIRECTORY}/notes.txt`, "create").close();
  assert.equal(Wal.exists({ disk, directory: DIRECTORY }), false);
  assert.throws(() => openWal(disk), { kind: "WalMissing" });
  const wal = createWal(disk);
  assert.equal(Wal.exists({ disk, directory: DIRECTORY }), true);
  save(disk, wal, [entry(1)]);
  wal.close();
  const warned: unknown[] = [];
  const log: Log = { ...silentLog, warn: (_, fields) => warned.push(fields?.name) };
  assert.equal(openWal(disk, { log }).replay.entries.length, 1);
  assert.deepEqual(warned, ["lost+found", "notes.txt"]);
});

test("creating over a log is refused, opening none is refused", () => {
  const disk = newDisk(19);
  assert.throws(() => openWal(disk), { kind: "WalMissing" });
  createWal(disk).close();
  assert.throws(() => createWal(disk), { kind: "WalExists" });
});

test("a log of another format version is refused by name", () => {
  const disk = newDisk(20);
  createWal(disk).close();
  disk.damage(`${DIRECTORY}/0000000000000001.wal`, 12, Buffer.from("002"));
  assert.throws(() => openWal(disk), {
    kind: "WalVersion",
    message: /format version 002, this program reads version 001/,
  });
});

test("a log that ends before what the store has applied is refused", () => {
  const disk = newDisk(21);
  const wal = createWal(disk);
  save(disk, wal, entries(1, 3));
  wal.close();
  openWal(disk, { mustReach: index(3) }).wal.close();
  assert.throws(() => openWal(disk, { mustReach: index(4) }), { kind: "WalCorrupt", message: /index 4 is known/ });
});

test("the segment size may change between openings", () => {
  const disk = newDisk(22);
  let wal = createWal(disk);
  let last = 0;
  for (const segmentBytes of [65_536, 16_384, 32_768]) {
    wal.close();
    disk.runPending();
    wal = openWal(disk, { segmentBytes }).wal;
    for (let i = 0; i < 200; i++) save(disk, wal, [entry(++last, 1, 300)], hardState(1, last));
    finish(disk, (done) => wal.saveSnapshotMark(mark(last - 150), null, done));
    wal.release(index(last - 150));
  }
  wal.close();
  assert.equal(openWal(disk).replay.lastIndex, 600);

  const large = newDisk(25);
  const metadata = new Uint8Array(2000);
  const random = new SeededRandom(1);
  Wal.create({ disk: large, directory: DIRECTORY, metadata, random, log: silentLog, segmentBytes: 65_536 }).close();
  assert.throws(() => openWal(large), { kind: "WalTooLarge", message: /metadata of 2000 bytes: the limit is 1024/ });
  assert.throws(() => openWal(disk, { segmentBytes: 20_000 }), RangeError);
});

test("misuse by the caller is a broken invariant, found before anything is written", () => {
  const disk = newDisk(23);
  const wal = createWal(disk);
  save(disk, wal, entries(1, 5, 3), hardState(3, 4));
  const nothing = (): void => assert.fail("nothing was begun");
  assert.throws(() => wal.save([], null, nothing), BrokenInvariant);
  assert.throws(() => wal.save([entry(7, 3)], null, nothing), /entries leave no gap/);
  assert.throws(() => wal.save([entry(4, 3)], null, nothing), /committed entries are never overwritten/);
  assert.throws(() => wal.save([entry(6, 3), entry(8, 3)], null, nothing), /consecutive/);
  assert.throws(() => wal.save([entry(6, 2)], null, nothing), /terms never fall/);
  assert.throws(() => wal.save([], hardState(3, 6), nothing), /only entries in the log/);
  assert.throws(() => wal.save([], hardState(2, 4), nothing), /term never goes back/);
  assert.throws(() => wal.save([], hardState(3, 3), nothing), /commit never goes back/);
  assert.throws(() => wal.saveSnapshotMark(mark(5, 3), null, nothing), /covers committed entries/);
  assert.throws(() => wal.release(index(1)), /covered by a snapshot mark/);
  wal.save([entry(6, 3)], null, () => {});
  assert.throws(() => wal.save([entry(7, 3)], null, nothing), /one save at a time/);
  assert.throws(() => wal.close(), /no save is under way/);
  disk.runPending();
  wal.close();
  assert.throws(() => wal.save([entry(7, 3)], null, nothing), /the log is open/);
});
