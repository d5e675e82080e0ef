/** Advisories about what is read from disk and written to it: no byte of a file may do more than be refused. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe } from "node:test";
import { BboltDamagedError, BboltReader } from "@quorate/bbolt";
import { Forge, oneBucket } from "../../packages/bbolt/src/testing/forge.ts";
import type { SimDisk } from "../../packages/wal/src/testing/sim-disk.ts";
import {
  createWal,
  DIRECTORY,
  described,
  entries,
  entry,
  hardState,
  newDisk,
  openWal,
  save,
} from "../../packages/wal/src/testing/wal-fixture.ts";
import { ServerProcess } from "../harness/processes.ts";
import { advisory } from "./list.ts";

/** The errors a log is refused with; anything else is a hole. */
const WAL_REFUSALS: ReadonlySet<unknown> = new Set(["WalCorrupt", "WalVersion", "WalMissing", "WalSnapshotMissing"]);
const SECTOR_BYTES = 512;
const ONES = Buffer.alloc(4, 0xff);
/** What a lying length could ask for is gigabytes; what an open really takes is far below this. */
const OPEN_MAX_BYTES = 8 * 1024 * 1024;

function segmentsOf(disk: SimDisk): string[] {
  return disk
    .readDirectory(DIRECTORY)
    .filter((each) => each.endsWith(".wal"))
    .sort();
}

describe("advisories: files", () => {
  advisory("SA-04", "four bytes of ones anywhere in the log are refused or outvoted, and cost no memory", () => {
    const written = entries(1, 6, 1, 300);
    const whole = described(written);
    const makeLog = (): SimDisk => {
      const disk = newDisk(4);
      const wal = createWal(disk);
      save(disk, wal, written, hardState(1, 6));
      wal.close();
      disk.runPending();
      return disk;
    };
    const [name] = segmentsOf(makeLog());
    let refused = 0;
    let mostBytes = 0;
    for (let at = 0; at < 6 * SECTOR_BYTES; at += 4) {
      const disk = makeLog();
      disk.damage(`${DIRECTORY}/${name}`, at, ONES);
      const before = process.memoryUsage().arrayBuffers;
      try {
        const kept = described(openWal(disk).replay.entries);
        assert.deepEqual(kept, whole.slice(0, kept.length), `byte ${at}: nothing else may be read`);
      } catch (error) {
        assert.ok(WAL_REFUSALS.has((error as { kind?: unknown }).kind), `byte ${at}: ${String(error)}`);
        refused++;
      }
      mostBytes = Math.max(mostBytes, process.memoryUsage().arrayBuffers - before);
    }
    assert.ok(refused > 0);
    assert.ok(mostBytes < OPEN_MAX_BYTES, `${mostBytes} bytes`);
  });

  advisory("SA-05", "a log in which entries are missing is refused, not indexed into", () => {
    const disk = newDisk(5);
    const wal = createWal(disk);
    for (let i = 1; i <= 200; i++) save(disk, wal, [entry(i, 1, 400)], hardState(1, i));
    wal.close();
    disk.runPending();
    const segments = segmentsOf(disk);
    assert.ok(segments.length >= 4, segments.join(" "));
    disk.remove(`${DIRECTORY}/${segments[1]}`);
    assert.throws(
      () => openWal(disk),
      (error: { kind?: unknown }) => WAL_REFUSALS.has(error.kind),
    );
  });

  advisory("SA-06", "only the owner may enter the data directory, also one that was open to all before", async () => {
    const directory = mkdtempSync(join(tmpdir(), "quorate-test-"));
    mkdirSync(join(directory, "data"));
    chmodSync(join(directory, "data"), 0o777);
    const server = await ServerProcess.quorate({ directory });
    try {
      for (const path of ["data", ...readdirSync(join(directory, "data")).map((each) => `data/${each}`)]) {
        const { mode } = statSync(join(directory, path));
        if ((mode & 0o170000) === 0o040000) assert.equal(mode & 0o077, 0, path);
      }
      assert.match(server.log, /the data directory was open to other users/);
    } finally {
      await server.dispose();
      rmSync(directory, { recursive: true, force: true });
    }
  });

  advisory("SA-18", "what is written is read again, whatever its size and wherever in a sector it begins", () => {
    const sizes = [0, 1, 2, 7, 255, 256, 479, 480, 481, 499, 500, 501, 511, 512, 513, 1023, 1024, 1025, 4000, 4096];
    for (let before = 0; before <= SECTOR_BYTES; before += 32) {
      const disk = newDisk(before);
      const wal = createWal(disk, 256 * 1024);
      const list = [before, ...sizes].map((sizeBytes, i) => entry(i + 1, 1, sizeBytes));
      save(disk, wal, list.slice(0, 1), hardState(1, 0));
      // One batch each, and then all the others in one.
      for (const each of list.slice(1, 12)) save(disk, wal, [each]);
      save(disk, wal, list.slice(12));
      wal.close();
      disk.runPending();
      assert.deepEqual(described(openWal(disk, { segmentBytes: 256 * 1024 }).replay.entries), described(list));
    }
  });

  advisory("SA-26", "a page without elements, or with more than it can hold, is refused", () => {
    const empty = new Forge();
    const branches: (() => ConstructorParameters<typeof BboltReader>[0])[] = [
      () => oneBucket(empty, empty.branch([])),
      () => {
        const forge = new Forge();
        return oneBucket(forge, forge.branch([["k", forge.leaf([["k", "v"]])]], { count: 0 }));
      },
      () => {
        const forge = new Forge();
        return oneBucket(forge, forge.branch([["k", forge.leaf([["k", "v"]])]], { count: 65_535 }));
      },
      () => {
        const forge = new Forge();
        return oneBucket(forge, forge.leaf([["k", "v"]], { count: 65_535 }));
      },
    ];
    for (const [i, file] of branches.entries()) {
      const read = (): unknown => new BboltReader(file()).get(Buffer.from("b"), Buffer.from("k"));
      assert.throws(read, (error) => error instanceof BboltDamagedError, `${i}`);
    }
  });
});
