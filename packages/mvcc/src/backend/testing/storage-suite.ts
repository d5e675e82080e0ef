/**
 * The claims every Storage must meet, run over LmdbStorage and MemoryStorage alike. A harness opens one state again and
 * again, so that "reopened" means the same for a directory and for an image.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RecordLog } from "../record-log.ts";
import { RecordSpan, type Storage, type StorageBatch, TABLES, type TableChange } from "../storage.ts";
import { collect, Rng, recordBytes } from "./records.ts";

export interface StorageHarness {
  open(): Storage;
  /** Removes what it made. */
  dispose(): void;
}

/** A record to commit: "main/sub" or "main/subt" and its bytes. */
type NewRecord = readonly [name: string, bytes: Uint8Array | string];

export function storageSuite(name: string, makeHarness: () => StorageHarness): void {
  const claim = (text: string, run: (harness: StorageHarness) => Promise<void>): void => {
    test(`${name}: ${text}`, async () => {
      const harness = makeHarness();
      try {
        await run(harness);
      } finally {
        harness.dispose();
      }
    });
  };

  claim("an empty storage has nothing", async (harness) => {
    const storage = harness.open();
    assert.deepEqual(collect(storage), []);
    assert.equal(storage.readRecord(1, 0, false, new RecordSpan()), false);
    for (const table of TABLES) {
      assert.equal(storage.get(table, Buffer.from("k")), undefined);
      storage.scan(table, () => assert.fail("a table has an entry"));
    }
    await close(storage);
  });

  claim(
    "after a rest it reads and commits as before, and may rest, defragment and close at any time",
    async (harness) => {
      const storage = harness.open();
      storage.rest();
      await commit(storage, batchOf([["2/0", "two"]], []));
      storage.rest();
      storage.rest();
      assert.equal(read(storage, 2, 0), "two");
      await commit(storage, batchOf([["3/0", "three"]], []));
      assert.deepEqual(collect(storage), ["2/0 two", "3/0 three"]);
      storage.rest();
      await promised((done) => storage.defragment(done));
      storage.rest();
      await close(storage);
    },
  );

  claim("a commit is read back from done on, and after reopening", async (harness) => {
    let storage = harness.open();
    const batch = batchOf(
      [
        ["2/0", "two"],
        ["2/1t", "gone"],
        ["3/0", ""],
      ],
      ["lease k=v", "meta index=7"],
    );
    await commit(storage, batch);
    for (let life = 0; life < 2; life++) {
      assert.deepEqual(collect(storage), ["2/0 two", "2/1t gone", "3/0 "]);
      assert.equal(read(storage, 2, 0), "two");
      assert.equal(read(storage, 2, 1, true), "gone");
      assert.equal(read(storage, 3, 0), "");
      assert.equal(read(storage, 2, 1), null, "a put and a tombstone of one revision are different records");
      assert.equal(read(storage, 2, 2), null);
      assert.deepEqual(storage.get("lease", Buffer.from("k")), Buffer.from("v"));
      assert.equal(storage.get("auth", Buffer.from("k")), undefined, "tables are apart");
      await close(storage);
      storage = harness.open();
    }
    await close(storage);
  });

  claim("done is never called synchronously, not even for an empty batch", async (harness) => {
    const storage = harness.open();
    for (const batch of [batchOf([]), batchOf([["2/0", "a"]])]) {
      let isSynchronous = true;
      await new Promise<void>((resolve) => {
        storage.commit(batch, (error) => {
          assert.equal(error, null);
          assert.equal(isSynchronous, false);
          resolve();
        });
        isSynchronous = false;
      });
    }
    await close(storage);
  });

  claim("tables are scanned in order of bytes, changed and deleted", async (harness) => {
    const storage = harness.open();
    const keys = [Buffer.from([0]), Buffer.from([0, 0]), Buffer.from("a"), Buffer.from("b"), Buffer.from([255, 255])];
    const changes: TableChange[] = [];
    for (const key of [...keys].reverse()) changes.push({ table: "authUsers", key, value: Buffer.from(key) });
    changes.push({ table: "alarm", key: Buffer.from("empty"), value: new Uint8Array(0) });
    await commit(storage, { ...batchOf([]), changes });
    assert.deepEqual(tableKeys(storage, "authUsers"), keys.map(hex));
    assert.equal(storage.get("alarm", Buffer.from("empty"))?.length, 0, "an empty value is a value");
    await commit(storage, {
      ...batchOf([]),
      changes: [
        { table: "authUsers", key: keys[2]!, value: null },
        { table: "authUsers", key: Buffer.from("absent"), value: null },
        { table: "authUsers", key: keys[3]!, value: Buffer.from("changed") },
      ],
    });
    assert.deepEqual(tableKeys(storage, "authUsers"), [keys[0]!, keys[1]!, keys[3]!, keys[4]!].map(hex));
    assert.deepEqual(storage.get("authUsers", keys[3]!), Buffer.from("changed"));
    await close(storage);
  });

  claim("scans start anywhere and stop when told", async (harness) => {
    const storage = harness.open();
    await commit(
      storage,
      batchOf([
        ["2/0", "a"],
        ["5/0", "b"],
        ["5/1", "c"],
        ["5/7t", "d"],
        ["300/0", "e"],
      ]),
    );
    await commit(
      storage,
      batchOf([
        ["70000/0", "f"],
        [`${2 ** 40}/3`, "g"],
        [`${2 ** 53 - 1}/0`, "h"],
      ]),
    );
    assert.deepEqual(collect(storage, 5, 1), [
      "5/1 c",
      "5/7t d",
      "300/0 e",
      "70000/0 f",
      `${2 ** 40}/3 g`,
      `${2 ** 53 - 1}/0 h`,
    ]);
    assert.deepEqual(collect(storage, 5, 2, 1), ["5/7t d"]);
    assert.deepEqual(collect(storage, 301, 0, 1), ["70000/0 f"]);
    assert.deepEqual(collect(storage, 0, 0, 2), ["2/0 a", "5/0 b"]);
    assert.deepEqual(collect(storage, 2 ** 53 - 1, 1), []);
    await close(storage);
  });

  claim("a scan's visitor may read other records", async (harness) => {
    const storage = harness.open();
    await commit(
      storage,
      batchOf([
        ["2/0", "a"],
        ["3/0", "b"],
        ["4/0", "c"],
      ]),
    );
    const seen: (string | null)[] = [];
    storage.scanRecords(0, 0, {
      visit(main) {
        seen.push(read(storage, 6 - main, 0));
        return true;
      },
    });
    assert.deepEqual(seen, ["c", "b", "a"]);
    await close(storage);
  });

  claim("a visitor's error ends the scan and nothing else", async (harness) => {
    const storage = harness.open();
    await commit(
      storage,
      batchOf([
        ["2/0", "a"],
        ["3/0", "b"],
      ]),
    );
    const broken = {
      visit(): boolean {
        throw new Error("mine");
      },
    };
    for (let i = 0; i < 200; i++) assert.throws(() => storage.scanRecords(0, 0, broken), /mine/);
    assert.deepEqual(collect(storage), ["2/0 a", "3/0 b"]);
    await commit(storage, batchOf([["4/0", "c"]]));
    assert.deepEqual(collect(storage), ["2/0 a", "3/0 b", "4/0 c"]);
    await close(storage);
  });

  claim("dropped records go; absent ones, and ones of the same batch, may be dropped", async (harness) => {
    const storage = harness.open();
    await commit(
      storage,
      batchOf([
        ["2/0", "a"],
        ["2/1t", "b"],
        ["3/0", "c"],
      ]),
    );
    await commit(storage, {
      ...batchOf([
        ["4/0", "d"],
        ["5/0", "e"],
      ]),
      drops: dropsOf("2/0", "2/1t", "4/0", "9/0"),
    });
    assert.deepEqual(collect(storage), ["3/0 c", "5/0 e"]);
    await commit(storage, { ...batchOf([]), drops: dropsOf("5/0") });
    await commit(storage, batchOf([["6/0", "f"]]));
    assert.deepEqual(collect(storage), ["3/0 c", "6/0 f"]);
    await close(storage);
  });

  claim("records of every size come back whole, up to 17 MiB", async (harness) => {
    const storage = harness.open();
    const rng = new Rng(1);
    const sizes = [0, 1, 7, 8, 2000, 4080, 4096, 65_536, 1_600_000, 17 * 1024 * 1024];
    const pattern = recordBytes(rng, 4099);
    const records = sizes.map((size, i): NewRecord => [`${i + 2}/0`, repeat(pattern, size)]);
    await commit(storage, batchOf(records));
    const check = (at: Storage): void => {
      const span = new RecordSpan();
      for (const i of [1, 4, 8, 9, 0, 8, 4]) {
        assert.equal(at.readRecord(i + 2, 0, false, span), true);
        assert.equal(span.end - span.start, sizes[i]);
        const found = Buffer.from(span.buffer.buffer, span.buffer.byteOffset + span.start, sizes[i]);
        assert.ok(found.equals(records[i]![1] as Uint8Array), `record of ${sizes[i]} bytes`);
      }
      let visited = 0;
      at.scanRecords(0, 0, {
        visit(main, _sub, _isTombstone, bytes, start, end) {
          const found = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start);
          assert.ok(found.equals(records[main - 2]![1] as Uint8Array), `scanned record of ${sizes[main - 2]} bytes`);
          visited++;
          return true;
        },
      });
      assert.equal(visited, sizes.length);
    };
    check(storage);
    await close(storage);
    const reopened = harness.open();
    check(reopened);
    await close(reopened);
  });

  claim("sizes grow with records, in-use shrinks with drops, the file shrinks when defragmented", async (harness) => {
    const storage = harness.open();
    const empty = storage.sizeBytes();
    assert.ok(storage.sizeInUseBytes() <= empty);
    const records = Array.from({ length: 2000 }, (_, i): NewRecord => [`${i + 2}/0`, "x".repeat(500)]);
    await commit(storage, batchOf(records));
    const full = storage.sizeBytes();
    assert.ok(full - empty >= 2000 * 500, "2000 records of 500 bytes take at least that");
    assert.ok(full - empty < 2000 * 500 * 1.5, "and not much more");
    assert.ok(storage.sizeInUseBytes() <= full && storage.sizeInUseBytes() > 2000 * 500);
    await commit(storage, { ...batchOf([]), drops: dropsOf(...records.slice(0, 1900).map((record) => record[0])) });
    assert.ok(storage.sizeBytes() >= full, "free pages still count");
    assert.ok(storage.sizeInUseBytes() < full / 4, "but are not in use");
    await defragment(storage);
    assert.ok(storage.sizeBytes() < full / 4);
    assert.equal(storage.sizeBytes() >= storage.sizeInUseBytes(), true);
    assert.equal(collect(storage).length, 100);
    await close(storage);
  });

  claim("reads and commits asked for during a defragmentation are answered", async (harness) => {
    // covers: ST-12 AP-03
    let storage = harness.open();
    const records = Array.from({ length: 3000 }, (_, i): NewRecord => [`${i + 2}/0`, `v${i}`]);
    await commit(storage, batchOf(records, ["meta index=1"]));
    const order: string[] = [];
    const isDefragmented = defragment(storage).then(() => order.push("defragmented"));
    const isCommitted = commit(storage, batchOf([["5000/0", "late"]], ["meta index=2"])).then(() => {
      order.push("committed");
    });
    assert.equal(read(storage, 2, 0), "v0");
    assert.equal(collect(storage, 2999, 0, 1)[0], "2999/0 v2997");
    await Promise.all([isDefragmented, isCommitted]);
    assert.deepEqual(order.sort(), ["committed", "defragmented"]);
    for (let life = 0; life < 2; life++) {
      assert.equal(read(storage, 5000, 0), "late");
      assert.equal(collect(storage).length, 3001);
      assert.deepEqual(storage.get("meta", Buffer.from("index")), Buffer.from("2"));
      await close(storage);
      storage = harness.open();
    }
    await close(storage);
  });

  claim(
    "commits go on during a defragmentation, and nothing of what they add, change and drop is lost",
    async (harness) => {
      let storage = harness.open();
      const records = Array.from({ length: 3000 }, (_, i): NewRecord => [`${i + 2}/0`, `v${i}`]);
      await commit(storage, batchOf(records, ["meta index=1", "meta old=1"]));
      for (let round = 0; round < 3; round++) {
        let isOver = false;
        const isDefragmented = defragment(storage).finally(() => {
          isOver = true;
        });
        const from = 10_000 * (round + 1);
        let count = 0;
        for (; !isOver || count < 5; count++) {
          const at = from + 10 * count;
          const added: NewRecord[] = [
            [`${at}/0`, "new"],
            [`${at + 1}/0`, "dropped again"],
          ];
          await commit(storage, batchOf(added, [`meta index=${at}`, `lease l${round}x${count}=1`]));
          const drops = dropsOf(`${at + 1}/0`, `${count + 2 + 500 * round}/0`);
          await commit(storage, { ...batchOf([], [`meta last=${at}`]), drops });
        }
        await isDefragmented;
        if (round === 1) {
          await close(storage);
          storage = harness.open();
        }
        const found = collect(storage, from, 0);
        assert.deepEqual(
          found,
          Array.from({ length: count }, (_, i) => `${from + 10 * i}/0 new`),
        );
        assert.equal(collect(storage, 2 + 500 * round, 0, 1)[0]!.split(" ")[0], `${2 + 500 * round + count}/0`);
        const rows: string[] = [];
        storage.scan("lease", (key) => rows.push(Buffer.from(key).toString()));
        assert.equal(rows.filter((row) => row.startsWith(`l${round}x`)).length, count);
        const newest = String(from + 10 * (count - 1));
        assert.equal(storage.get("meta", Buffer.from("index"))?.toString(), newest);
        assert.equal(storage.get("meta", Buffer.from("last"))?.toString(), newest);
      }
      await close(storage);
    },
  );

  claim("what waits goes before what is asked for later, one thing at a time", async (harness) => {
    const storage = harness.open();
    const order: string[] = [];
    let isSecondCommitted: Promise<void> | null = null;
    const isFirstCommitted = new Promise<void>((resolve) => {
      storage.commit(batchOf([["2/0", "a"]]), () => {
        order.push("first commit");
        isSecondCommitted = commit(storage, batchOf([["3/0", "b"]])).then(() => {
          order.push("second commit");
        });
        resolve();
      });
    });
    await defragment(storage).then(() => order.push("defragmented"));
    await isFirstCommitted;
    await isSecondCommitted;
    assert.deepEqual(
      order.filter((each) => each !== "defragmented"),
      ["first commit", "second commit"],
    );
    assert.deepEqual(collect(storage), ["2/0 a", "3/0 b"]);
    await close(storage);
  });

  claim("a batch is read from done on by one who has been reading all the time", async (harness) => {
    const storage = harness.open();
    for (let main = 2; main < 60; main++) {
      let isCommitted = false;
      const committed = new Promise<void>((resolve, reject) => {
        storage.commit(batchOf([[`${main}/0`, "new"]]), (error) => {
          isCommitted = true;
          if (error === null && read(storage, main, 0) === "new") resolve();
          else reject(error ?? new Error(`record ${main} is committed but cannot be read`));
        });
      });
      while (!isCommitted) {
        read(storage, 2, 0);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await committed;
    }
    await close(storage);
  });

  claim("defragmenting again and again, with commits in between, keeps everything", async (harness) => {
    const storage = harness.open();
    for (let round = 0; round < 4; round++) {
      await commit(storage, batchOf([[`${10 + round}/0`, `r${round}`]], [`meta index=${round}`]));
      await defragment(storage);
      assert.equal(collect(storage).length, round + 1);
      assert.deepEqual(storage.get("meta", Buffer.from("index")), Buffer.from(String(round)));
    }
    await close(storage);
  });

  claim("close waits for the commit under way", async (harness) => {
    const storage = harness.open();
    const isCommitted = commit(storage, batchOf([["2/0", "a"]]));
    await Promise.all([isCommitted, close(storage)]);
    const reopened = harness.open();
    assert.deepEqual(collect(reopened), ["2/0 a"]);
    await close(reopened);
  });
}

/** Records as a batch, with changes written as "table key=value". */
export function batchOf(records: readonly NewRecord[], changes: readonly string[] = []): StorageBatch {
  const log = new RecordLog(64 * 1024, 0);
  const span = new RecordSpan();
  for (const [name, content] of records) {
    const bytes = Buffer.from(content);
    const { main, sub, isTombstone } = parseName(name);
    log.reserve(main, sub, isTombstone, bytes.length, span);
    span.buffer.set(bytes, span.start);
  }
  return {
    regions: log.regionsBefore(log.endPosition),
    recordCount: records.length,
    drops: new Float64Array(0),
    changes: changes.map((text): TableChange => {
      const [, table, key, value] = /^(\w+) (\w+)=(.*)$/.exec(text)!;
      return { table: TABLES.find((known) => known === table)!, key: Buffer.from(key!), value: Buffer.from(value!) };
    }),
  };
}

export function dropsOf(...names: string[]): Float64Array {
  const drops = new Float64Array(names.length * 2);
  names.forEach((name, i) => {
    const { main, sub, isTombstone } = parseName(name);
    drops[i * 2] = main;
    drops[i * 2 + 1] = sub * 2 + (isTombstone ? 1 : 0);
  });
  return drops;
}

export function commit(storage: Storage, batch: StorageBatch): Promise<void> {
  return promised((done) => storage.commit(batch, done));
}

export function defragment(storage: Storage): Promise<void> {
  return promised((done) => storage.defragment(done));
}

export function close(storage: Storage): Promise<void> {
  return promised((done) => storage.close(done));
}

function promised(start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error === null ? resolve() : reject(error)));
  });
}

function read(storage: Storage, main: number, sub: number, isTombstone = false): string | null {
  const span = new RecordSpan();
  if (!storage.readRecord(main, sub, isTombstone, span)) return null;
  return Buffer.from(span.buffer.subarray(span.start, span.end)).toString();
}

function tableKeys(storage: Storage, table: "authUsers"): string[] {
  const keys: string[] = [];
  storage.scan(table, (key) => keys.push(hex(key)));
  return keys;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function parseName(name: string): { main: number; sub: number; isTombstone: boolean } {
  const [, main, sub, t] = /^(\d+)\/(\d+)(t?)$/.exec(name)!;
  return { main: Number(main), sub: Number(sub), isTombstone: t === "t" };
}

function repeat(pattern: Uint8Array, sizeBytes: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(sizeBytes);
  for (let at = 0; at < sizeBytes; at += pattern.length) bytes.set(pattern.subarray(0, sizeBytes - at), at);
  return bytes;
}
