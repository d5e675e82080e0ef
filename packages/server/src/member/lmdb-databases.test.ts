import assert from "node:assert/strict";
import fs, { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, mock, test } from "node:test";
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
  const storage = new LmdbStorage({ directory: mkdtempSync(join(root, "source-")) });
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

function make(name: string): LmdbDatabases {
  mkdirSync(join(root, name), { recursive: true });
  return new LmdbDatabases(join(root, name), join(root, name, "snap"), silentLog);
}

/** The process is killed when it has removed so many names, in whatever order the directory gives them. */
function killedAfter(removals: number, discard: () => void): void {
  const remove = fs.rmSync;
  let left = removals;
  const removeOne = (path: string): void => {
    if (left-- <= 0) throw new Error("killed");
    remove(path, { force: true });
  };
  const removed = mock.method(fs, "rmSync", (path: string, options?: { recursive?: boolean }) => {
    if (options?.recursive !== true) return removeOne(path);
    for (const name of fs.readdirSync(path).sort().reverse()) removeOne(join(path, name));
    fs.rmdirSync(path);
  });
  syncBuiltinESMExports();
  try {
    discard();
  } finally {
    removed.mock.restore();
    syncBuiltinESMExports();
  }
}

// covers: SN-02
test("a snapshot that comes again while what was made of it is being discarded is refused, and taken later", async () => {
  const databases = make("again");
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

// covers: SN-04
test("a database whose removal was cut off at any point does not keep the member from starting", async () => {
  for (let removals = 0; removals < 4; removals++) {
    const name = `cut-off-${removals}`;
    const databases = make(name);
    const [first] = databases.open() as [Storage];
    const path = databases.outgoingPath();
    await writeSnapshot(path);
    const unused = await received(databases, path);
    await ended((done) => first.close(done));
    // As discard closes it, and then is cut off.
    let close: Done = () => {};
    Object.defineProperty(unused, "close", { value: (done: Done) => (close = done) });
    databases.discard(unused);
    await ended((done) => LmdbStorage.prototype.close.call(unused, done));
    killedAfter(removals, () => {
      try {
        close(null);
      } catch (error) {
        assert.equal((error as Error).message, "killed");
      }
    });
    const found = make(name).open();
    assert.deepEqual(
      found.map((storage) => new Backend({ storage }).flushedIndex),
      removals === 0 ? [0, 9] : [0],
    );
    for (const storage of found) await ended((done) => storage.close(done));
  }
});
