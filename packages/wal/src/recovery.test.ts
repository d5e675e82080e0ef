import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import type { Entry } from "@quorate/raft";
import { index, term } from "@quorate/raft";
import { WalCorruptError } from "./errors.ts";
import type { SimDisk } from "./testing/index.ts";
import {
  createWal,
  DIRECTORY,
  described,
  entries,
  entry,
  finish,
  hardState,
  newDisk,
  openWal,
  SEGMENT_BYTES,
  save,
} from "./testing/wal-fixture.ts";
import type { Wal } from "./wal.ts";

const SECTOR = 512;

function segmentPath(sequence: number): string {
  return `${DIRECTORY}/${sequence.toString(16).padStart(16, "0")}.wal`;
}

/** A log whose last save can be torn at will: what each segment held before it, and after it. */
interface Scene {
  readonly disk: SimDisk;
  readonly acknowledged: readonly Entry[];
  readonly last: readonly Entry[];
  readonly path: string;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
  /** The sectors in which they differ because the last batch is there. */
  readonly batch: readonly number[];
}

type Kind = "zero-filled segment" | "recycled segment" | "new segment" | "new recycled segment";

/** Fills segments and releases them until the log writes into files that were used before. */
function makeScene(kind: Kind, lastBytes: number): Scene {
  const disk = newDisk(31);
  const wal = createWal(disk);
  let last = 0;
  let first = 1;
  const add = (sizeBytes = 300): void => {
    last++;
    save(disk, wal, [entry(last, 1, sizeBytes)], hardState(1, last));
  };
  if (kind.includes("recycled")) {
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 30; i++) add();
      const mark = { index: index(last), term: term(1), confState: new Uint8Array(3) };
      finish(disk, (done) => wal.saveSnapshotMark(mark, null, done));
      wal.release(index(last));
      first = last + 1;
    }
  }
  for (let i = 0; i < 3; i++) add();
  if (kind.startsWith("new")) {
    // Up to just before the cut: the next save goes to a segment of its own.
    const needed = Math.ceil(lastBytes / 500) + 1;
    while (usedSectors(newestStarted(snapshot(disk))) + needed <= SEGMENT_BYTES / SECTOR) add();
  }
  const beforeAll = snapshot(disk);
  const list = [entry(last + 1, 1, lastBytes)];
  save(disk, wal, list);
  const afterAll = snapshot(disk);
  wal.close();
  disk.runPending();
  for (const [path, after] of afterAll) {
    const before = beforeAll.get(path);
    if (before === undefined || before.length !== after.length) continue;
    const batch: number[] = [];
    for (let sector = 0; sector * SECTOR < after.length; sector++) {
      // The stamp's last byte group differs only where the batch is; padding has none.
      const stamp = Buffer.from(after.subarray(sector * SECTOR + 500, sector * SECTOR + 512));
      const old = Buffer.from(before.subarray(sector * SECTOR + 500, sector * SECTOR + 512));
      if (!stamp.equals(old) && !stamp.equals(Buffer.alloc(12))) batch.push(sector);
    }
    if (batch.length === 0) continue;
    return { disk, acknowledged: entries(first, last, 1, 300), last: list, path, before, after, batch };
  }
  throw new Error("the last save changed no segment");
}

function snapshot(disk: SimDisk): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (const name of disk.readDirectory(DIRECTORY))
    files.set(`${DIRECTORY}/${name}`, disk.contents(`${DIRECTORY}/${name}`));
  return files;
}

/** The segment with the highest sequence number whose first stamp bears it. */
function newestStarted(files: Map<string, Uint8Array>): Uint8Array {
  let newest: Uint8Array = new Uint8Array(0);
  for (const [path, bytes] of files) {
    const sequence = Number.parseInt(path.slice(-20, -4), 16);
    if (bytes.length >= SECTOR && Buffer.from(bytes).readUInt32LE(500) === sequence) newest = bytes;
  }
  return newest;
}

function usedSectors(segment: Uint8Array): number {
  const bytes = Buffer.from(segment);
  const sequence = bytes.readUInt32LE(500);
  let used = 0;
  while (used * SECTOR < bytes.length && bytes.readUInt32LE(used * SECTOR + 500) === sequence) used++;
  return used;
}

/** Puts `bytes` into the file as if they had always been there. */
function place(scene: Scene, bytes: Uint8Array): void {
  scene.disk.damage(scene.path, 0, bytes);
}

/** Opens; the log must hold all that was acknowledged before, and with `isWhole` the last save as well. */
function expectRecovered(scene: Scene, isWhole: boolean): Wal {
  const { wal, replay } = openWal(scene.disk);
  const expected = isWhole ? [...scene.acknowledged, ...scene.last] : scene.acknowledged;
  assert.deepEqual(described(replay.entries), described(expected));
  return wal;
}

const KINDS: readonly Kind[] = ["zero-filled segment", "recycled segment", "new segment", "new recycled segment"];

// covers: WA-01
for (const kind of KINDS) {
  test(`any subset of the sectors of the last save may be missing: ${kind}`, () => {
    const scene = makeScene(kind, 2000);
    const count = scene.batch.length;
    assert.ok(count >= 5 && count <= 6, `${count}`);
    for (let subset = 0; subset < 2 ** count; subset++) {
      const image = Buffer.from(scene.before);
      for (let i = 0; i < count; i++) {
        const at = scene.batch[i]! * SECTOR;
        if ((subset >> i) & 1) image.set(scene.after.subarray(at, at + SECTOR), at);
      }
      place(scene, image);
      const isWhole = subset === 2 ** count - 1;
      const wal = expectRecovered(scene, isWhole);
      if (isWhole) {
        wal.close();
        continue;
      }
      // The same place is written again, torn again, and must not be mixed up with the first attempt.
      const other = entry(scene.acknowledged.at(-1)!.index + 1, 2, 2000);
      wal.save([other], null, () => {});
      scene.disk.kill();
      const second = Buffer.from(scene.disk.contents(scene.path));
      const repaired = Buffer.from(image);
      for (const sector of scene.batch) {
        const at = sector * SECTOR;
        const isFirstAttempt = ((subset >> scene.batch.indexOf(sector)) & 1) === 1;
        if (isFirstAttempt) repaired.fill(0, at, at + SECTOR);
      }
      const half = scene.batch[subset % count]! * SECTOR;
      second.set(repaired.subarray(half, half + SECTOR), half);
      place(scene, second);
      expectRecovered(scene, false).close();
    }
    assert.ok(scene.disk.readDirectory(DIRECTORY).some((name) => name.endsWith(".broken")));
    assert.ok(scene.disk.readDirectory(DIRECTORY).filter((name) => name.endsWith(".broken")).length <= 8);
  });
}

// covers: WA-01, WA-02
test("a write cut at any byte, with any sector zeroed, loses nothing acknowledged or is refused by name", () => {
  for (const kind of ["zero-filled segment", "new recycled segment"] as const) {
    const scene = makeScene(kind, 900);
    const from = scene.batch[0]! * SECTOR;
    const until = (scene.batch.at(-1)! + 1) * SECTOR;
    let recovered = 0;
    let refused = 0;
    for (let cut = from; cut <= until; cut += 1) {
      const zeroedSector = cut % (scene.batch.length + 1);
      const image = Buffer.from(scene.before);
      image.set(scene.after.subarray(from, cut), from);
      const isZeroed = zeroedSector < scene.batch.length;
      if (isZeroed) {
        const at = scene.batch[zeroedSector]! * SECTOR;
        image.fill(0, at, at + SECTOR);
      }
      place(scene, image);
      try {
        expectRecovered(scene, cut === until && !isZeroed).close();
        recovered++;
      } catch (error) {
        assert.ok(error instanceof WalCorruptError, String(error));
        refused++;
      }
    }
    // Only a cut within a stamp leaves a sector that is neither old nor new.
    assert.ok(refused <= scene.batch.length * 12 && recovered > refused, `${recovered} recovered, ${refused} refused`);
  }
});

// covers: WA-02, WA-14
test("any single damaged byte is either without effect or refused with file and offset", () => {
  const disk = newDisk(32);
  const wal = createWal(disk);
  save(disk, wal, entries(1, 3, 1, 200), hardState(1, 2));
  const mark = { index: index(2), term: term(1), confState: Buffer.from("conf state") };
  finish(disk, (done) => wal.saveSnapshotMark(mark, null, done));
  for (let at = 4; at <= 8; at++) save(disk, wal, [entry(at)], hardState(1, at));
  wal.close();
  disk.runPending();
  const path = segmentPath(1);
  const good = disk.contents(path);
  const expected = described(entries(3, 3, 1, 200)).concat(described(entries(4, 8)));
  const used = usedSectors(good) * SECTOR;
  assert.ok(used > 3000);
  const lastBatch = used - SECTOR;
  let refused = 0;
  const attempt = (at: number, flip: number): void => {
    disk.damage(path, at, Uint8Array.of(good[at]! ^ flip));
    try {
      const opened = openWal(disk);
      assert.deepEqual(described(opened.replay.entries), expected, `offset ${at}`);
      assert.deepEqual(opened.replay.hardState, hardState(1, 8));
      assert.deepEqual(opened.replay.snapshotMark, mark);
      opened.wal.close();
    } catch (error) {
      refused++;
      const kind = (error as { kind?: string }).kind;
      assert.ok(kind === "WalCorrupt" || kind === "WalVersion", `offset ${at}: ${error}`);
      assert.match(String(error), /0000000000000001\.wal/);
    }
    disk.damage(path, at, good.subarray(at, at + 1));
  };
  for (let at = 0; at < good.length; at += at < used ? 1 : 11) attempt(at, at % 9 === 8 ? 0xff : 1 << (at % 9));
  // The header of the last batch, bit by bit: nothing but its own check vouches for the length.
  for (let at = lastBatch; at < lastBatch + 12; at++) for (let bit = 0; bit < 8; bit++) attempt(at, 1 << bit);
  // What is not refused is padding behind the last record of a batch, and blocks never written.
  assert.ok(refused > 1500, `${refused} refused`);
});

// covers: WA-02
test("a zeroed or stale sector anywhere before the last save is corruption, and nothing is changed on disk", () => {
  for (const kind of ["zero-filled segment", "new segment", "recycled segment"] as const) {
    const scene = makeScene(kind, 2000);
    for (const [path, good] of snapshot(scene.disk)) {
      const sequence = Number.parseInt(path.slice(-20, -4), 16);
      if (good.length < SECTOR || Buffer.from(good).readUInt32LE(500) !== sequence) continue;
      const used = usedSectors(good);
      for (let sector = 0; sector < used; sector++) {
        if (path === scene.path && sector >= scene.batch[0]!) continue;
        scene.disk.damage(path, sector * SECTOR, new Uint8Array(SECTOR));
        const before = snapshot(scene.disk);
        assert.throws(() => openWal(scene.disk), { kind: "WalCorrupt" }, `${kind} ${path} sector ${sector}`);
        assert.deepEqual(snapshot(scene.disk), before);
        scene.disk.damage(path, 0, good);
      }
    }
    expectRecovered(scene, true).close();
  }
});

test("a missing segment is corruption", () => {
  const disk = newDisk(33);
  const wal = createWal(disk);
  for (let at = 1; at <= 120; at++) save(disk, wal, [entry(at, 1, 300)]);
  wal.close();
  disk.runPending();
  disk.rename(segmentPath(2), "/data/wal/kept");
  assert.throws(() => openWal(disk), { kind: "WalCorrupt", message: /0000000000000002\.wal before it is missing/ });
  disk.rename("/data/wal/kept", segmentPath(2));
  disk.rename(segmentPath(1), "/data/wal/kept");
  assert.throws(() => openWal(disk), { kind: "WalSnapshotMissing" });
  disk.rename("/data/wal/kept", segmentPath(1));
  openWal(disk).wal.close();
});

test("a shortened segment and a segment under another's name are corruption", () => {
  const disk = newDisk(34);
  const wal = createWal(disk);
  save(disk, wal, entries(1, 3));
  wal.close();
  disk.runPending();
  const file = disk.open(segmentPath(1), "write");
  file.truncate(SEGMENT_BYTES - SECTOR);
  assert.throws(() => openWal(disk), { kind: "WalCorrupt", message: /has 31 sectors and was made with 32/ });
  file.truncate(0);
  assert.throws(() => openWal(disk), { kind: "WalCorrupt" });
  file.close();

  const other = newDisk(35);
  const moved = createWal(other);
  save(other, moved, entries(1, 3));
  moved.close();
  other.runPending();
  other.rename(segmentPath(1), segmentPath(9));
  assert.throws(() => openWal(other), { kind: "WalCorrupt" });
});

test("a segment of another log is corruption", () => {
  const disk = newDisk(36);
  const wal = createWal(disk);
  for (let at = 1; at <= 100; at++) save(disk, wal, [entry(at, 1, 300)]);
  wal.close();
  disk.runPending();
  // The same log, but for its identity.
  const bytes = Buffer.from(disk.contents(segmentPath(1)));
  bytes.writeUInt8(bytes.readUInt8(36) ^ 1, 36);
  disk.damage(segmentPath(1), 0, bytes);
  assert.throws(() => openWal(disk), { kind: "WalCorrupt" });
});
