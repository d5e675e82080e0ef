import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Backend } from "./backend.ts";
import { LmdbStorage } from "./lmdb-storage.ts";
import {
  DefragmentError,
  RecordSpan,
  SnapshotError,
  type SnapshotTask,
  StorageFailedError,
  StorageVersionError,
} from "./storage.ts";
import { expectedLease, expectedRecords, LEASE_KEY } from "./testing/kill-child.ts";
import { collect, Rng, recordBytes, revisionName } from "./testing/records.ts";
import {
  bucketsOf,
  fileOf,
  minimal,
  record,
  revisionKey,
  snapshotSuite,
  writeSnapshot,
} from "./testing/snapshot-suite.ts";
import { batchOf, close, commit, defragment, dropsOf, storageSuite } from "./testing/storage-suite.ts";
import { Twin } from "./testing/twin.ts";

storageSuite("LmdbStorage", () => {
  const directory = mkdtempSync(join(tmpdir(), "quorate-storage-"));
  return {
    open: () => new LmdbStorage({ directory: join(directory, "storage") }),
    dispose: () => rmSync(directory, { recursive: true }),
  };
});

snapshotSuite("LmdbStorage", () => {
  const directory = mkdtempSync(join(tmpdir(), "quorate-storage-"));
  for (const name of ["files", "made"]) mkdirSync(join(directory, name));
  let count = 0;
  return {
    open: () => new LmdbStorage({ directory: join(directory, "storage") }),
    dispose: () => rmSync(directory, { recursive: true }),
    path: (name) => join(directory, "files", name),
    readFile: (path) => (existsSync(path) ? readFileSync(path) : null),
    writeFile: (path, bytes) => writeFileSync(path, bytes),
    readSnapshot: (path) => readSnapshot(path, join(directory, "made", String(count++))),
    made: () => readdirSync(join(directory, "made")),
  };
});

function readSnapshot(path: string, directory: string): { task: SnapshotTask; read: Promise<LmdbStorage> } {
  let resolve: (storage: LmdbStorage) => void;
  let reject: (error: Error) => void;
  const read = new Promise<LmdbStorage>((...settle) => {
    [resolve, reject] = settle;
  });
  const task = LmdbStorage.readSnapshot({ path, directory }, (error, storage) => {
    if (error === null) resolve(storage!);
    else reject(error);
  });
  return { task, read };
}

/** Runs with a directory that is removed afterwards. */
async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "quorate-storage-"));
  try {
    await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test("a directory of another format version is refused and not touched", async () => {
  // covers: ST-17
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory });
    await commit(storage, batchOf([["2/0", "a"]]));
    await close(storage);
    rmSync(join(directory, "db-lock"));
    const database = readFileSync(join(directory, "db"));
    for (const version of ["quorate-storage 2\n", "", null]) {
      if (version === null) rmSync(join(directory, "version"));
      else writeFileSync(join(directory, "version"), version);
      const names = readdirSync(directory);
      assert.throws(
        () => new LmdbStorage({ directory }),
        (error) => error instanceof StorageVersionError && error.kind === "StorageVersion",
      );
      assert.deepEqual(readdirSync(directory), names);
      assert.ok(readFileSync(join(directory, "db")).equals(database));
    }
  });
});

test("what a crash left of a first start or a defragmentation is cleared away", async () => {
  // covers: WA-07 SN-04
  await inDirectory(async (directory) => {
    for (const name of ["version.new", "db.new", "db.new-lock", "db.defragmented"]) {
      writeFileSync(join(directory, name), "half");
    }
    const storage = new LmdbStorage({ directory });
    await commit(storage, batchOf([["2/0", "a"]]));
    await close(storage);
    writeFileSync(join(directory, "db.defragmented"), "half");
    const reopened = new LmdbStorage({ directory });
    assert.deepEqual(collect(reopened), ["2/0 a"]);
    await close(reopened);
    assert.deepEqual(readdirSync(directory).sort(), ["db", "db-lock", "version"]);
  });
});

test("a defragmentation that cannot write its copy leaves the storage as it was", async () => {
  // covers: ST-11
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory });
    await commit(storage, batchOf([["2/0", "a"]]));
    mkdirSync(join(directory, "db.defragmented", "in the way"), { recursive: true });
    await assert.rejects(defragment(storage), (error) => error instanceof DefragmentError && error.code !== "");
    await commit(storage, batchOf([["3/0", "b"]]));
    assert.deepEqual(collect(storage), ["2/0 a", "3/0 b"]);
    rmSync(join(directory, "db.defragmented"), { recursive: true });
    await defragment(storage);
    assert.deepEqual(collect(storage), ["2/0 a", "3/0 b"]);
    await close(storage);
  });
});

test("a defragmentation or snapshot that would take what commits need is refused, and the storage goes on", async () => {
  // covers: WA-10
  await inDirectory(async (directory) => {
    // No disk has so much: one that is nearly full, as far as the storage can see.
    const storage = new LmdbStorage({ directory: join(directory, "storage"), reserveBytes: 2 ** 60 });
    await commit(storage, batchOf([["2/0", "a"]]));
    const isFull = (error: unknown): boolean => {
      assert.ok(error instanceof DefragmentError || error instanceof SnapshotError);
      assert.match(error.message, /no space left.* beyond a reserve of/);
      return error.code === "ENOSPC";
    };
    await assert.rejects(defragment(storage), isFull);
    await assert.rejects(writeSnapshot(storage, join(directory, "snapshot")), isFull);
    assert.deepEqual(readdirSync(directory), ["storage"]);
    assert.deepEqual(readdirSync(join(directory, "storage")).sort(), ["db", "db-lock", "version"]);
    await commit(storage, batchOf([["3/0", "b"]]));
    assert.deepEqual(collect(storage), ["2/0 a", "3/0 b"]);
    await close(storage);
  });
});

test("what compaction leaves of every page is put together by a defragmentation", async () => {
  await inDirectory(async (directory) => {
    const names = Array.from({ length: 30_000 }, (_, i) => `${i + 2}/0`);
    const kept = names.filter((_, i) => i % 3 === 0).map((name) => [name, "x".repeat(200)] as const);
    const open = (name: string): LmdbStorage => new LmdbStorage({ directory: join(directory, name) });
    const fresh = open("fresh");
    await commit(fresh, batchOf(kept, ["meta index=1"]));
    const storage = open("storage");
    await commit(
      storage,
      batchOf(
        names.map((name) => [name, "x".repeat(200)] as const),
        ["meta index=1"],
      ),
    );
    await commit(storage, { ...batchOf([]), drops: dropsOf(...names.filter((_, i) => i % 3 !== 0)) });
    await defragment(storage);
    assert.ok(storage.sizeInUseBytes() < fresh.sizeInUseBytes() * 1.1, `${storage.sizeInUseBytes()} bytes in use`);
    assert.ok(storage.sizeBytes() < fresh.sizeInUseBytes() * 1.2, `${storage.sizeBytes()} bytes`);
    assert.deepEqual(collect(storage), collect(fresh));
    await close(fresh);
    await close(storage);
  });
});

test("those who ask for a defragmentation while there is one share it", async () => {
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory });
    await commit(storage, batchOf([["2/0", "a"]]));
    let threads = 0;
    const count = (): void => {
      threads++;
    };
    process.on("worker", count);
    await Promise.all([1, 2, 3].map(() => defragment(storage)));
    assert.equal(threads, 1);
    await defragment(storage);
    assert.equal(threads, 2);
    process.off("worker", count);
    await close(storage);
  });
});

test("closing gives a defragmentation up, one that waits and one whose copy is there", async () => {
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory: join(directory, "storage") });
    await commit(storage, batchOf([["2/0", "a"]]));
    const isGivenUp = (error: unknown): boolean => error instanceof DefragmentError && error.code === "ECANCELED";
    const written = assert.rejects(writeSnapshot(storage, join(directory, "snapshot")), SnapshotError);
    const waiting = assert.rejects(defragment(storage), isGivenUp);
    await Promise.all([close(storage), written, waiting]);

    const reopened = new LmdbStorage({ directory: join(directory, "storage") });
    await commit(reopened, batchOf([["3/0", "b"]]));
    const inode = statSync(join(directory, "storage", "db")).ino;
    const isClosed = new Promise<void>((resolve, reject) => {
      process.once("worker", (copying) => {
        copying.prependOnceListener("exit", () => close(reopened).then(resolve, reject));
      });
    });
    await Promise.all([assert.rejects(defragment(reopened), isGivenUp), isClosed]);
    assert.deepEqual(readdirSync(join(directory, "storage")).sort(), ["db", "db-lock", "version"]);
    assert.equal(statSync(join(directory, "storage", "db")).ino, inode);
    const again = new LmdbStorage({ directory: join(directory, "storage") });
    assert.deepEqual(collect(again), ["2/0 a", "3/0 b"]);
    await close(again);
  });
});

test("what a commit that waits for a defragmentation drops is there until that commit", async () => {
  // covers: AP-01 AP-03
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory });
    await commit(storage, batchOf([["2/0", "a"]]));
    let committed: Promise<void> | undefined;
    process.once("worker", (copying) => {
      // Around the storage's own listener: the copy ends while the writer's thread is being ended, and a commit comes then.
      copying.prependOnceListener("exit", () => storage.rest());
      copying.once("exit", () => {
        committed = commit(storage, { ...batchOf([["3/0", "b"]]), drops: dropsOf("2/0") });
      });
    });
    await defragment(storage);
    const between = collect(storage);
    assert.ok(between.length === 1, `neither before nor after the commit: ${between}`);
    await committed;
    assert.deepEqual(collect(storage), ["3/0 b"]);
    await close(storage);
  });
});

test("defragmentation lets go of the old file", { skip: process.platform !== "linux" }, async () => {
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory });
    await commit(storage, batchOf([["2/0", "a"]]));
    for (let i = 0; i < 3; i++) await defragment(storage);
    const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
    assert.equal(maps.filter((line) => line.endsWith(`${directory}/db (deleted)`)).length, 0);
    assert.equal(maps.filter((line) => line.endsWith(`${directory}/db`)).length, 1);
    await close(storage);
  });
});

test("the address space reserved takes no disk", async () => {
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory });
    await commit(storage, batchOf([["2/0", "a"]]));
    assert.ok(statSync(join(directory, "db")).size < 200_000);
    assert.equal(statSync(join(directory, "db")).size, storage.sizeBytes());
    await close(storage);
  });
});

test("a record that is not greater than the last one stored fails the commit as a whole", async () => {
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory });
    await commit(storage, batchOf([["5/0", "a"]], ["meta index=1"]));
    await assert.rejects(
      commit(storage, batchOf([["4/0", "b"]], ["meta index=2"])),
      (error) => error instanceof StorageFailedError && /not greater/.test(error.message),
    );
    assert.deepEqual(storage.get("meta", Buffer.from("index")), Buffer.from("1"));
    await close(storage);
    const reopened = new LmdbStorage({ directory });
    assert.deepEqual(collect(reopened), ["5/0 a"]);
    await close(reopened);
  });
});

test("a worker that dies is an error of the commit, and of every later one", async () => {
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory });
    // The worker starts with the first commit and then finds nothing to open.
    rmSync(directory, { recursive: true });
    const failures: unknown[] = [];
    for (let i = 0; i < 2; i++) {
      await commit(storage, batchOf([["2/0", "a"]])).catch((error: unknown) => failures.push(error));
    }
    assert.ok(failures[0] instanceof StorageFailedError && /worker crashed/.test(failures[0].message));
    assert.equal(failures[1], failures[0]);
    assert.deepEqual(collect(storage), [], "reads go on");
    // Long enough for the thread to be gone altogether: closing must not wait for its end then.
    await new Promise((resolve) => setTimeout(resolve, 50));
    await close(storage);
  });
});

test("a full disk fails the commit; reads go on, and with room again nothing is lost", async () => {
  // covers: WA-10 WA-08
  await inDirectory(async (directory) => {
    // Files up to 2 MiB (the shell counts in 512 bytes): writing on fails, as on a full disk.
    const child = fileURLToPath(new URL("./testing/full-child.ts", import.meta.url));
    const limited = ["-c", 'ulimit -f 4096; exec "$0" "$@"', process.execPath, child, directory];
    const result = spawnSync("sh", limited, { encoding: "utf8" });
    assert.equal(result.status, 0, result.stderr);
    const committed = Number(result.stdout);
    assert.ok(committed > 5);
    const storage = new LmdbStorage({ directory });
    assert.equal(collect(storage).length, committed);
    assert.deepEqual(storage.get("meta", Buffer.from("count")), Buffer.from(String(committed)));
    await commit(storage, batchOf([[`${committed + 2}/0`, "y".repeat(200_000)]]));
    assert.equal(collect(storage).length, committed + 1);
    await close(storage);
  });
});

test("a snapshot is of one moment, while commits go on beside it", async () => {
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory: join(directory, "storage") });
    const records = Array.from({ length: 20_000 }, (_, i) => [`${i + 2}/0`, record(i + 2, "v".repeat(100))] as const);
    await commit(storage, batchOf(records, ["cluster last=20001"]));
    let main = 20_001;
    let duringFirst = 0;
    for (let round = 0; round < 3; round++) {
      let isWritten = false;
      const path = join(directory, `snapshot-${round}`);
      const written = writeSnapshot(storage, path).finally(() => {
        isWritten = true;
      });
      while (!isWritten) {
        main++;
        // One key in front, one behind: whoever read both tables at different moments would see them differ.
        await commit(storage, batchOf([[`${main}/0`, record(main)]], [`cluster last=${main}`, `meta last=${main}`]));
        if (round === 0) duringFirst++;
      }
      const cut = await written;
      const file = bucketsOf(readFileSync(path));
      assert.equal(Object.keys(file.key!).at(-1), revisionKey(cut.revision));
      assert.equal(Object.keys(file.key!).length, cut.revision - 1);
      assert.equal(file.cluster!.last, String(cut.revision));
      if (cut.revision > 20_001) assert.equal(file.meta!.last, String(cut.revision));
    }
    assert.ok(duringFirst > 0, "commits were answered meanwhile");
    await close(storage);
  });
});

test("a snapshot into a directory that is not there is refused, and the storage goes on", async () => {
  await inDirectory(async (directory) => {
    const storage = new LmdbStorage({ directory: join(directory, "storage") });
    await assert.rejects(writeSnapshot(storage, join(directory, "absent/snapshot")), (error) => {
      return error instanceof SnapshotError && error.code === "ENOENT";
    });
    await commit(storage, batchOf([["2/0", "a"]]));
    await close(storage);
  });
});

test("a snapshot that outgrows what files may take is given up, leaves nothing, and the storage goes on", async () => {
  await inDirectory(async (directory) => {
    const key = Object.fromEntries(
      Array.from({ length: 40 }, (_, i) => [
        revisionKey(i + 2),
        Buffer.from(record(i + 2, "v".repeat(100_000))).toString("latin1"),
      ]),
    );
    writeFileSync(join(directory, "large"), fileOf({ ...minimal(), key }));
    const child = fileURLToPath(new URL("./testing/full-snapshot-child.ts", import.meta.url));
    const limited = ["-c", 'ulimit -f 4096; exec "$0" "$@"', process.execPath, child, directory];
    const result = spawnSync("sh", limited, { encoding: "utf8" });
    assert.equal(result.status, 0, result.stderr);
    // LMDB's word for a write that comes out short, or the system's for one that does not happen at all.
    assert.match(result.stdout, /^EFBIG (EIO|EFBIG)$/);
    assert.deepEqual(readdirSync(directory).sort(), ["large", "storage"]);
  });
});

test("a database is not built where something is", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "snapshot");
    writeFileSync(path, fileOf(minimal()));
    mkdirSync(join(directory, "there"));
    for (const where of ["there", "snapshot", "absent/there"]) {
      await assert.rejects(readSnapshot(path, join(directory, where)).read, (error) => error instanceof SnapshotError);
    }
    assert.deepEqual(readdirSync(directory).sort(), ["snapshot", "there"]);
  });
});

test("a process killed while it reads a snapshot leaves no directory, an empty database or a whole one", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "snapshot");
    const key: Record<string, string> = {};
    for (let main = 2; main < 30_000; main++) {
      key[revisionKey(main)] = Buffer.from(record(main, "v".repeat(300))).toString("latin1");
    }
    writeFileSync(path, fileOf({ ...minimal(), key }));
    const entry = fileURLToPath(new URL("./testing/read-child.ts", import.meta.url));
    const outcomes = new Set<number>();
    for (let round = 0; round < 8; round++) {
      const made = join(directory, `made-${round}`);
      const child = spawn(process.execPath, [entry, path, made], { stdio: "ignore" });
      const isEnded = new Promise((resolve) => child.once("close", resolve));
      // From the moment there is something to kill it at.
      while (!existsSync(join(made, "db.new")) && child.exitCode === null) await sleep(1);
      await sleep(round * 12);
      child.kill("SIGKILL");
      await isEnded;
      const storage = new LmdbStorage({ directory: made });
      const { appliedIndex } = new Backend({ storage });
      outcomes.add(appliedIndex);
      assert.equal(collect(storage).length, appliedIndex === 0 ? 0 : 29_998);
      assert.ok(appliedIndex === 0 || appliedIndex === 5);
      await close(storage);
    }
    assert.ok(outcomes.has(0), "one at least was killed on the way");
  });
});

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

test("a process killed at any moment leaves whole entries, at least those it called durable", async () => {
  // covers: AP-01 AP-04 X-10
  await inDirectory(async (directory) => {
    let last = 0;
    for (let round = 0; round < 8; round++) {
      const said = await runAndKill(directory, 1 + round * 3);
      const storage = new LmdbStorage({ directory });
      const backend = new Backend({ storage });
      const index = backend.flushedIndex;
      assert.ok(index >= said && said > last, `durable ${index}, said ${said}, before ${last}`);
      assert.deepEqual(collect(storage), expectedRecords(index), `round ${round}, index ${index}`);
      assert.equal(Buffer.from(storage.get("lease", LEASE_KEY)!).toString(), expectedLease(index));
      last = index;
      await close(storage);
    }
  });
});

test("a backend on LMDB agrees with a naive twin while commits run in the worker", async () => {
  // covers: ST-09 AP-01
  for (let seed = 1; seed <= 3; seed++) {
    await inDirectory(async (directory) => {
      await runAgainstTwin(directory, seed);
    });
  }
});

/** Starts the child, kills it after it has said so many durable indexes; returns the last one it said. */
function runAndKill(directory: string, count: number): Promise<number> {
  const entry = fileURLToPath(new URL("./testing/kill-child.ts", import.meta.url));
  const child = spawn(process.execPath, [entry, directory], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (text: string) => {
    output += text;
    if (output.split("\n").length > count) child.kill("SIGKILL");
  });
  return new Promise((resolve) => {
    child.on("close", () => resolve(Number(output.trim().split("\n").at(-1))));
  });
}

async function runAgainstTwin(directory: string, seed: number): Promise<void> {
  const rng = new Rng(seed);
  const twin = new Twin();
  let storage = new LmdbStorage({ directory });
  const open = (): Backend => new Backend({ storage, chunkBytes: 512, cacheBytes: 2048 });
  let backend = open();
  let positions = new Map<string, number>();
  let main = 1;
  const span = new RecordSpan();
  for (let step = 0; step < 1500; step++) {
    const choice = rng.below(100);
    if (choice < 40) {
      main += 1;
      const bytes = recordBytes(rng, rng.below(300));
      positions.set(revisionName(main, 0), backend.append(main, 0, choice < 5, bytes, 0, bytes.length));
      twin.append(main, 0, choice < 5, bytes);
    } else if (choice < 50) {
      const record = twin.randomRecord(rng);
      if (record === null) continue;
      backend.drop(record.main, record.sub, record.isTombstone);
      twin.drop(record);
    } else if (choice < 65) {
      backend.applied(backend.appliedIndex + 1, 1);
      twin.applied(backend.appliedIndex, 1, { main, sub: 0 });
    } else if (choice < 75) {
      if (backend.isFlushing) continue;
      const mark = twin.sealed();
      backend.flush((error) => {
        assert.equal(error, null);
        twin.flushed(mark);
      });
    } else if (choice < 80) {
      await new Promise((resolve) => setTimeout(resolve, rng.below(3)));
    } else if (choice < 95) {
      const record = twin.randomRecord(rng);
      if (record === null) continue;
      const position = positions.get(revisionName(record.main, record.sub)) ?? -1;
      backend.read(position, record.main, record.sub, record.isTombstone, span);
      assert.ok(Buffer.from(span.buffer.subarray(span.start, span.end)).equals(record.bytes));
    } else {
      const from = rng.below(main + 1);
      assert.deepEqual(collect(backend, from), twin.scan(from, 0, Number.POSITIVE_INFINITY), `seed ${seed}`);
    }
    if (step % 500 === 499) {
      await close(storage);
      storage = new LmdbStorage({ directory });
      backend = open();
      positions = new Map();
      main = Math.max(main, twin.crashed().main);
      assert.equal(backend.flushedIndex, twin.sealed().index);
      assert.deepEqual(collect(backend), twin.scan(0, 0, Number.POSITIVE_INFINITY), `seed ${seed}, reopened`);
    }
  }
  await close(storage);
}
