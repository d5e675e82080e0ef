/**
 * The claims about snapshots that every Storage must meet, run over LmdbStorage and MemoryStorage alike: a whole database
 * out as a bbolt file and in again, and what is refused on the way.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BboltReader, type BboltSource, BboltWriter } from "@quorate/bbolt";
import { rowKeyOfName } from "../long-names.ts";
import {
  type DatabaseCut,
  RecordSpan,
  SnapshotDamagedError,
  SnapshotError,
  type SnapshotTask,
  type Storage,
  TABLES,
  type TableChange,
} from "../storage.ts";
import { collect } from "./records.ts";
import { batchOf, close, commit, defragment, type StorageHarness } from "./storage-suite.ts";

export interface SnapshotHarness extends StorageHarness {
  /** A path for a snapshot of this name. */
  path(name: string): string;
  /** null if there is none. */
  readFile(path: string): Buffer | null;
  writeFile(path: string, bytes: Uint8Array): void;
  readSnapshot(path: string): { readonly task: SnapshotTask; readonly read: Promise<Storage> };
  /** Names of what reading snapshots made and was not disposed of. */
  made(): string[];
}

type Rows = Readonly<Record<string, string>>;

/** Buckets by name with their pairs as texts of one character a byte. */
export type BucketTexts = Readonly<Record<string, Rows>>;

export function snapshotSuite(name: string, makeHarness: () => SnapshotHarness): void {
  const claim = (text: string, run: (harness: SnapshotHarness) => Promise<void>): void => {
    test(`${name}: ${text}`, async () => {
      const harness = makeHarness();
      try {
        await run(harness);
      } finally {
        harness.dispose();
      }
    });
  };

  claim(
    "a snapshot is etcd's database of what is committed, and read again it is the same storage",
    async (harness) => {
      const storage = harness.open();
      await commit(storage, sample());
      const path = harness.path("snapshot");
      const cut = await writeSnapshot(storage, path);
      const bytes = harness.readFile(path)!;
      const { confState, ...rest } = cut;
      assert.deepEqual(rest, {
        appliedIndex: 77,
        appliedTerm: 3,
        storageVersion: "3.7.0",
        revision: 9,
        sizeBytes: bytes.length,
      });
      assert.equal(Buffer.from(confState!).toString(), '{"voters":[1],"auto_leave":false}');
      assert.deepEqual(bucketsOf(bytes), sampleBuckets());
      const { read } = harness.readSnapshot(path);
      const copy = await read;
      assert.deepEqual(collect(copy), collect(storage));
      for (const table of TABLES) {
        if (table !== "meta") assert.deepEqual(tableOf(copy, table), tableOf(storage, table));
      }
      assert.deepEqual(tableOf(copy, "meta"), { ...tableOf(storage, "meta"), storageVersion: "3.7.0" });
      const again = harness.path("again");
      assert.deepEqual(await writeSnapshot(copy, again), cut);
      assert.ok(harness.readFile(again)!.equals(bytes), "the same state gives the same bytes");
      await close(copy);
      await close(storage);
    },
  );

  claim("a storage read from a snapshot is committed to and reopened like any other", async (harness) => {
    const storage = harness.open();
    await commit(storage, sample());
    await writeSnapshot(storage, harness.path("snapshot"));
    await close(storage);
    const copy = await harness.readSnapshot(harness.path("snapshot")).read;
    await commit(copy, batchOf([["10/0", record(10)]], ["lease late=x"]));
    await defragment(copy);
    assert.equal(collect(copy).length, 5);
    assert.deepEqual(tableOf(copy, "lease").late, "x");
    assert.ok(copy.sizeInUseBytes() <= copy.sizeBytes());
    await close(copy);
  });

  claim("an empty storage has a snapshot with all buckets in it", async (harness) => {
    const storage = harness.open();
    const path = harness.path("snapshot");
    const cut = await writeSnapshot(storage, path);
    const sizeBytes = harness.readFile(path)!.length;
    assert.deepEqual(cut, {
      appliedIndex: 0,
      appliedTerm: 0,
      confState: null,
      storageVersion: "3.7.0",
      revision: 1,
      sizeBytes,
    });
    const empty = Object.fromEntries([...TABLES, "key"].map((bucket) => [bucket, {}]));
    assert.deepEqual(bucketsOf(harness.readFile(path)!), { ...empty, meta: { storageVersion: "3.7.0" } });
    const copy = await harness.readSnapshot(path).read;
    assert.deepEqual(collect(copy), []);
    await close(copy);
    await close(storage);
  });

  claim("many records of all sizes come through", async (harness) => {
    const storage = harness.open();
    const sizes = [0, 100, 4000, 5000, 70_000, 9 * 1024 * 1024];
    for (let round = 0; round < 3; round++) {
      const records = Array.from({ length: 3000 }, (_, i) => {
        const main = 2 + round * 3000 + i;
        const size = round === 1 && i < sizes.length ? sizes[i]! : i % 50;
        return [`${main}/0`, record(main, "v".repeat(size))] as const;
      });
      await commit(storage, batchOf(records));
    }
    const cut = await writeSnapshot(storage, harness.path("snapshot"));
    assert.equal(cut.revision, 9001);
    const copy = await harness.readSnapshot(harness.path("snapshot")).read;
    assert.ok(JSON.stringify(collect(copy)) === JSON.stringify(collect(storage)), "the same records");
    await close(copy);
    await close(storage);
  });

  claim("done is never called synchronously", async (harness) => {
    const storage = harness.open();
    let isSynchronous = true;
    const isWritten = new Promise<void>((resolve) => {
      storage.writeSnapshot(harness.path("snapshot"), () => {
        assert.equal(isSynchronous, false);
        resolve();
      });
    });
    isSynchronous = false;
    await isWritten;
    isSynchronous = true;
    const { read } = harness.readSnapshot(harness.path("snapshot"));
    isSynchronous = false;
    await close(await read);
    await close(storage);
  });

  claim("a file that is there already is not touched", async (harness) => {
    const storage = harness.open();
    const path = harness.path("snapshot");
    harness.writeFile(path, Buffer.from("mine"));
    await assert.rejects(writeSnapshot(storage, path), (error) => {
      return error instanceof SnapshotError && error.kind === "Snapshot" && error.code === "EEXIST";
    });
    assert.equal(harness.readFile(path)!.toString(), "mine");
    await commit(storage, batchOf([["2/0", record(2)]]));
    await close(storage);
  });

  claim("commits, defragmentations and snapshots asked for together are all answered", async (harness) => {
    // covers: SN-03
    const storage = harness.open();
    const records = Array.from({ length: 2000 }, (_, i) => [`${i + 2}/0`, record(i + 2)] as const);
    await commit(storage, batchOf(records, ["cluster a=1"]));
    const cuts: Promise<DatabaseCut>[] = [];
    const others: Promise<void>[] = [];
    let main = 5000;
    for (let i = 0; i < 3; i++) {
      cuts.push(writeSnapshot(storage, harness.path(`${i}`)));
      others.push(defragment(storage));
      for (let j = 0; j < 4; j++) {
        main++;
        await commit(storage, batchOf([[`${main}/0`, record(main)]], [`cluster a=${main}`]));
      }
    }
    await Promise.all(others);
    for (const [i, cut] of (await Promise.all(cuts)).entries()) {
      const file = bucketsOf(harness.readFile(harness.path(`${i}`))!);
      assert.equal(cut.revision, Object.keys(file.key!).length === 2000 ? 2001 : Number(file.cluster!.a));
    }
    assert.equal(collect(storage).length, 2012);
    await close(storage);
  });

  claim("users and roles whose names are too long for a table travel under their names", async (harness) => {
    const long = ["a", "c", "\x7f"].map((letter) => letter.repeat(2000));
    const authUsers = Object.fromEntries(["b", ...long, "z"].map((name) => [name, named(name)]));
    const authRoles = { [long[0]!]: named(long[0]!), [long[2]!]: named(long[2]!) };
    const file = fileOf({ ...minimal(), authRoles, authUsers });
    harness.writeFile(harness.path("sent"), file);
    const storage = await harness.readSnapshot(harness.path("sent")).read;
    for (const name of long) {
      const key = rowKeyOfName(Buffer.from(name));
      assert.equal(Buffer.from(storage.get("authUsers", key)!).toString("latin1"), named(name));
    }
    await writeSnapshot(storage, harness.path("again"));
    const { authRoles: rolesAgain, authUsers: usersAgain } = bucketsOf(harness.readFile(harness.path("again"))!);
    assert.deepEqual([usersAgain, rolesAgain], [authUsers, authRoles]);
    assert.deepEqual(Object.keys(usersAgain!), [long[0], "b", long[1], "z", long[2]], "in the order of names");
    await close(storage);
  });

  claim("a snapshot that is cancelled leaves no file, and the storage goes on", async (harness) => {
    const storage = harness.open();
    await commit(storage, sample());
    const path = harness.path("snapshot");
    const outcomes: string[] = [];
    const ended = ["a", "b"].map((name) => {
      return new Promise<void>((resolve) => {
        const task = storage.writeSnapshot(harness.path(name), (error) => {
          outcomes.push(error instanceof SnapshotError ? error.code : String(error));
          resolve();
        });
        task.cancel();
        task.cancel();
      });
    });
    await Promise.all(ended);
    assert.deepEqual(outcomes, ["ECANCELED", "ECANCELED"]);
    assert.deepEqual([harness.readFile(harness.path("a")), harness.readFile(harness.path("b"))], [null, null]);
    await writeSnapshot(storage, path);
    const { task, read } = harness.readSnapshot(path);
    task.cancel();
    await assert.rejects(read, (error) => error instanceof SnapshotError && error.code === "ECANCELED");
    assert.deepEqual(harness.made(), []);
    await close(storage);
  });

  claim("closing gives up the snapshots under way and calls for them first", async (harness) => {
    const storage = harness.open();
    await commit(storage, sample());
    const order: string[] = [];
    for (const name of ["a", "b"]) {
      storage.writeSnapshot(harness.path(name), (error) => order.push(`${name} ${(error as SnapshotError).code}`));
    }
    await close(storage);
    assert.deepEqual(order, ["a ECANCELED", "b ECANCELED"]);
    assert.deepEqual([harness.readFile(harness.path("a")), harness.readFile(harness.path("b"))], [null, null]);
  });

  claim("an empty record is kept, as etcd's restore writes it to raise the revision", async (harness) => {
    // covers: SN-11
    harness.writeFile(
      harness.path("bumped"),
      fileOf({ ...minimal(), key: { ...minimal().key, [revisionKey(1000)]: "" } }),
    );
    const storage = await harness.readSnapshot(harness.path("bumped")).read;
    const span = new RecordSpan();
    assert.equal(storage.readRecord(1000, 0, false, span), true);
    assert.equal(span.end - span.start, 0);
    await writeSnapshot(storage, harness.path("again"));
    assert.equal(bucketsOf(harness.readFile(harness.path("again"))!).key![revisionKey(1000)], "");
    await close(storage);
  });

  claim("a bucket other than the records and the meta may be missing", async (harness) => {
    const { key, meta } = minimal();
    harness.writeFile(harness.path("old"), fileOf({ key: key!, meta: meta! }));
    const storage = await harness.readSnapshot(harness.path("old")).read;
    assert.equal(collect(storage).length, 1);
    await close(storage);
  });

  claim(
    "a file that is none of etcd's databases is refused by name and place, and nothing is left of it",
    async (harness) => {
      // covers: WA-14
      const path = harness.path("bad");
      const good = fileOf(minimal());
      const bad = {
        "the file ends here": good.subarray(0, -100),
        "no such bucket": fileOf({ ...minimal(), other: {} }),
      };
      for (const [text, bytes] of Object.entries(bad)) {
        harness.writeFile(path, bytes);
        await assert.rejects(harness.readSnapshot(path).read, (error) => {
          assert.ok(error instanceof SnapshotDamagedError, `${error}`);
          assert.equal(error.kind, "SnapshotDamaged");
          assert.ok(error.message.includes(path) && error.message.includes(text), error.message);
          return true;
        });
        assert.deepEqual(harness.made(), []);
      }
      await assert.rejects(harness.readSnapshot(harness.path("absent")).read, (error) => {
        return error instanceof SnapshotError && error.code === "ENOENT";
      });
      assert.deepEqual(harness.made(), []);
    },
  );
}

export function writeSnapshot(storage: Storage, path: string): Promise<DatabaseCut> {
  return new Promise((resolve, reject) => {
    storage.writeSnapshot(path, (error, cut) => (error === null ? resolve(cut!) : reject(error)));
  });
}

/** An encoded KeyValue of the key "k" whose last change is `main`. */
export function record(main: number, value = "v", create = 1, version = 1): Uint8Array {
  const valueBytes = Buffer.from(value, "latin1");
  const zeroLess = (tag: number, number: number): number[] => (number === 0 ? [] : [tag, ...varint(number)]);
  const head = [0x0a, 1, 0x6b, ...zeroLess(0x10, create), ...zeroLess(0x18, main), ...zeroLess(0x20, version)];
  return Buffer.concat([Buffer.from(head), Buffer.from([0x2a, ...varint(valueBytes.length)]), valueBytes]);
}

/** A record of a user or role with nothing but its name. */
export function named(name: string): string {
  return Buffer.from([0x0a, ...varint(name.length), ...Buffer.from(name)]).toString("latin1");
}

export function tombstone(): Uint8Array {
  return Buffer.from([0x0a, 1, 0x6b]);
}

function varint(number: number): number[] {
  const bytes: number[] = [];
  let rest = number;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return [...bytes, rest];
}

/** A history key of sub 0, a character a byte. */
export function revisionKey(main: number): string {
  const key = Buffer.alloc(17);
  key.writeBigUInt64BE(BigInt(main));
  key[8] = 0x5f;
  return key.toString("latin1");
}

function bigEndian64(number: number): string {
  return revisionKey(number).slice(0, 8);
}

/** Four records and a row in every table. */
function sample(): ReturnType<typeof batchOf> {
  const records = [
    ["2/0", record(2)],
    ["3/0", record(3)],
    ["3/1t", tombstone()],
    ["8/0", record(8, "x".repeat(9000))],
  ] as const;
  const changes: TableChange[] = [];
  for (const [table, rows] of Object.entries(sampleTables())) {
    for (const [key, value] of Object.entries(rows)) {
      const known = TABLES.find((one) => one === table)!;
      changes.push({ table: known, key: Buffer.from(key, "latin1"), value: Buffer.from(value, "latin1") });
    }
  }
  return { ...batchOf(records), changes };
}

function sampleTables(): BucketTexts {
  return {
    alarm: { "\x08\x01": "" },
    auth: { authEnabled: "\x01" },
    authRoles: { root: "r" },
    authUsers: { zoe: "u", adam: "u" },
    cluster: { clusterVersion: "3.7.0" },
    lease: { "\x00\x00\x00\x00\x00\x00\x00\x01": "l" },
    members: { ab12: "{}" },
    members_removed: { cd34: "removed" },
    meta: {
      consistent_index: bigEndian64(77),
      term: bigEndian64(3),
      confState: '{"voters":[1],"auto_leave":false}',
      scheduledCompactRev: revisionKey(9),
    },
  };
}

function sampleBuckets(): BucketTexts {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
  const tables = sampleTables();
  return {
    ...tables,
    meta: { ...tables.meta, storageVersion: "3.7.0" },
    key: {
      [revisionKey(2)]: text(record(2)),
      [revisionKey(3)]: text(record(3)),
      [`${revisionKey(3).slice(0, 16)}\x01t`]: text(tombstone()),
      [revisionKey(8)]: text(record(8, "x".repeat(9000))),
    },
  };
}

/** The least that is a database of etcd's with one record. */
export function minimal(): BucketTexts {
  return {
    key: { [revisionKey(2)]: Buffer.from(record(2)).toString("latin1") },
    lease: {},
    meta: { consistent_index: bigEndian64(5), term: bigEndian64(1) },
  };
}

export function fileOf(buckets: BucketTexts): Buffer {
  let bytes = Buffer.alloc(0);
  const writer = new BboltWriter({
    sink: {
      write: (from, start, end, position) => {
        const sizeBytes = position + end - start;
        if (sizeBytes > bytes.length) bytes = Buffer.concat([bytes, Buffer.alloc(sizeBytes - bytes.length)]);
        bytes.set(from.subarray(start, end), position);
      },
    },
  });
  for (const bucket of Object.keys(buckets).sort()) {
    writer.beginBucket(Buffer.from(bucket));
    for (const name of Object.keys(buckets[bucket]!).sort()) {
      const value = Buffer.from(buckets[bucket]![name]!, "latin1");
      writer.put(Buffer.from(name, "latin1"), 0, name.length, value, 0, value.length);
    }
    writer.endBucket();
  }
  writer.finish();
  return bytes;
}

export function sourceOf(bytes: Buffer): BboltSource {
  return {
    sizeBytes: () => bytes.length,
    read: (into, length, position) => {
      const end = Math.min(bytes.length, position + length);
      return position < end ? bytes.copy(into, 0, position, end) : 0;
    },
  };
}

/** What is in a file, once it has been checked. */
export function bucketsOf(bytes: Buffer): BucketTexts {
  const reader = new BboltReader(sourceOf(bytes));
  reader.check();
  const buckets: Record<string, Record<string, string>> = {};
  for (const name of reader.bucketNames()) {
    const rows: Record<string, string> = {};
    reader.visit(name, {
      visit: (page, keyStart, keyEnd, valueEnd) => {
        const text = (start: number, end: number): string => Buffer.from(page.subarray(start, end)).toString("latin1");
        rows[text(keyStart, keyEnd)] = text(keyEnd, valueEnd);
        return true;
      },
    });
    buckets[Buffer.from(name).toString()] = rows;
  }
  return buckets;
}

function tableOf(storage: Storage, table: (typeof TABLES)[number]): Rows {
  const rows: Record<string, string> = {};
  storage.scan(table, (key, value) => {
    rows[Buffer.from(key).toString("latin1")] = Buffer.from(value).toString("latin1");
  });
  return rows;
}
