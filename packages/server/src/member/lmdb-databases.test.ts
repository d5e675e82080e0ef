import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Backend, LmdbStorage, type Storage } from "@quorate/mvcc";
import { silentLog } from "@quorate/world";
import { LmdbDatabases } from "./lmdb-databases.ts";

const root = mkdtempSync(join(tmpdir(), "lmdb-databases-"));
after(() => rmSync(root, { recursive: true }));

type Done = (error: Error | null) => void;

function ended(begin: (done: Done) => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    begin((error) => (error === null ? resolve() : reject(error)));
  });
}

/** A snapshot file of a database that has applied the entry 9. */
async function writeSnapshot(path: string): Promise<void> {
  const storage = new LmdbStorage({ directory: `${path}.source` });
  const backend = new Backend({ storage });
  backend.applied(9, 1);
  await ended((done) => backend.flush(done));
  await ended((done) => storage.writeSnapshot(path, done));
  await ended((done) => storage.close(done));
}

function received(databases: LmdbDatabases, path: string): Promise<Storage> {
  return new Promise((resolve, reject) => {
    databases.receive(path, 9, (error, storage) => (storage === null ? reject(error) : resolve(storage)));
  });
}

// covers: SN-02
test("a snapshot that comes again while what was made of it is being discarded is refused, and taken later", async () => {
  const databases = new LmdbDatabases(root, join(root, "snap"), silentLog);
  const [first] = databases.open() as [Storage];
  const path = databases.outgoingPath();
  await writeSnapshot(path);
  const unused = await received(databases, path);
  await writeSnapshot(`${path}.again`);
  databases.discard(unused);
  await assert.rejects(received(databases, `${path}.again`), /still in use/);
  assert.equal(existsSync(`${path}.again`), false);
  await writeSnapshot(`${path}.third`);
  const used = await received(databases, `${path}.third`);
  assert.equal(new Backend({ storage: used }).flushedIndex, 9);
  for (const storage of [first, used]) await ended((done) => storage.close(done));
});
