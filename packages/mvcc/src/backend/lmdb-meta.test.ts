/** A damaged database is refused by name before LMDB would die of it; an intact one never is. */
import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { checkDatabaseFile } from "./lmdb-meta.ts";
import { LmdbStorage } from "./lmdb-storage.ts";
import { StorageDamagedError } from "./storage.ts";
import { batchOf, close, commit, defragment } from "./testing/storage-suite.ts";

const root = mkdtempSync(join(tmpdir(), "quorate-meta-"));
after(() => rmSync(root, { recursive: true }));

const PAGE_BYTES = 4096;

/** A directory with a few hundred records in as many commits. */
async function filled(name: string): Promise<string> {
  const directory = join(root, name);
  const storage = new LmdbStorage({ directory });
  for (let main = 2; main < 200; main++) await commit(storage, batchOf([[`${main}/0`, "x".repeat(500)]]));
  await close(storage);
  return directory;
}

test("an intact database passes: new, while written, closed and defragmented", async () => {
  const directory = join(root, "intact");
  const path = join(directory, "db");
  const storage = new LmdbStorage({ directory });
  checkDatabaseFile(path);
  for (let main = 2; main < 300; main++) {
    await commit(storage, batchOf([[`${main}/0`, "x".repeat((main * 379) % 20_000)]]));
    checkDatabaseFile(path);
  }
  await defragment(storage);
  checkDatabaseFile(path);
  await commit(storage, batchOf([["300/0", "after"]]));
  checkDatabaseFile(path);
  await close(storage);
  checkDatabaseFile(path);
  await close(new LmdbStorage({ directory }));
});

test("a database cut short, or damaged in its head, is refused and not touched", async () => {
  const directory = await filled("damaged");
  const path = join(directory, "db");
  const intact = join(root, "intact.db");
  copyFileSync(path, intact);
  const sizeBytes = readFileSync(intact).length;
  const flip =
    (at: number, bit = 1) =>
    (bytes: Buffer) =>
      bytes.writeUInt8(bytes.readUInt8(at) ^ bit, at);
  const damages: Readonly<Record<string, (bytes: Buffer) => void>> = {
    "half of it": () => truncateSync(path, sizeBytes >> 1),
    "one page": () => truncateSync(path, PAGE_BYTES),
    nothing: () => truncateSync(path, 0),
    "a page of zeros": () => writeFileSync(path, Buffer.alloc(PAGE_BYTES)),
    "its first page zeroed": (bytes) => bytes.fill(0, 0, PAGE_BYTES),
    "its second page zeroed": (bytes) => bytes.fill(0, PAGE_BYTES, 2 * PAGE_BYTES),
    "a bit of the mark": flip(24),
    "a bit of the format": flip(28),
    "a bit of the page size": flip(48),
    "a bit of the flags": flip(53, 0x20),
    "a bit of both last pages": (bytes) => {
      for (const at of [0, PAGE_BYTES]) flip(at + 149)(bytes);
    },
    "a bit of the other page size": flip(PAGE_BYTES + 48),
  };
  for (const [name, damage] of Object.entries(damages)) {
    const bytes = readFileSync(intact);
    damage(bytes);
    if (!bytes.equals(readFileSync(intact))) writeFileSync(path, bytes);
    const before = readFileSync(path);
    assert.throws(
      () => new LmdbStorage({ directory }),
      (error) =>
        error instanceof StorageDamagedError &&
        error.kind === "StorageDamaged" &&
        /^database .*db is damaged at offset \d+: .+$/.test(error.message),
      name,
    );
    assert.ok(readFileSync(path).equals(before), name);
    copyFileSync(intact, path);
  }
  await close(new LmdbStorage({ directory }));
});
