import assert from "node:assert/strict";
import { test } from "node:test";
import { Backend } from "./backend.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { MAX_TABLE_KEY_BYTES, RecordSpan, StorageFailedError, type Table, TableKeySizeError } from "./storage.ts";
import { collect, put, Rng, recordBytes, revisionName } from "./testing/records.ts";
import { Twin } from "./testing/twin.ts";

test("a record is readable at once, while its batch is in flight, and after it is only in storage", () => {
  const storage = new MemoryStorage();
  const backend = new Backend({ storage, chunkBytes: 64, cacheBytes: 0 });
  const span = new RecordSpan();
  const position = put(backend, 2, 0, "first");
  const check = (): void => {
    backend.read(position, 2, 0, false, span);
    assert.equal(Buffer.from(span.buffer.subarray(span.start, span.end)).toString(), "first");
    assert.deepEqual(collect(backend).slice(0, 1), ["2/0 first"]);
  };
  check();
  backend.applied(1, 1);
  let flushed = false;
  backend.flush((error) => {
    assert.equal(error, null);
    flushed = true;
  });
  check();
  storage.step();
  assert.equal(flushed, true);
  check();
  put(backend, 3, 0, "takes a chunk of its own, so that the first one is evicted");
  check();
  assert.equal(span.position, -1, "read from storage");
});

test("storage may show the batch in flight early without a scan showing it twice", () => {
  // covers: ST-09
  const storage = new MemoryStorage();
  const backend = new Backend({ storage });
  put(backend, 2, 0, "a");
  put(backend, 3, 0, "b");
  backend.applied(1, 1);
  const commit = storage.commit.bind(storage);
  storage.commit = (batch, done) => {
    storage.image.apply(batch);
    commit({ regions: [], recordCount: 0, drops: new Float64Array(0), changes: [] }, done);
  };
  backend.drop(2, 0, false);
  backend.flush(() => {});
  assert.deepEqual(collect(backend), ["3/0 b"]);
  storage.step();
  assert.deepEqual(collect(backend), ["3/0 b"]);
});

test("a batch ends at the last applied entry and carries that entry's index", () => {
  // covers: AP-01
  const storage = new MemoryStorage();
  const backend = new Backend({ storage });
  put(backend, 2, 0, "of entry 7");
  backend.put("lease", Buffer.from("l"), Buffer.from("7"));
  backend.applied(7, 3);
  put(backend, 3, 0, "of entry 8");
  backend.put("lease", Buffer.from("l"), Buffer.from("8"));
  backend.drop(2, 0, false);
  backend.flush(() => {});
  // Entry 8 is finished before the commit is: its index must not slip into the batch of entry 7.
  backend.applied(8, 4);
  storage.step();
  assert.equal(backend.flushedIndex, 7);
  const reopened = new Backend({ storage: new MemoryStorage({ image: storage.image }) });
  assert.equal(reopened.appliedIndex, 7);
  assert.equal(reopened.appliedTerm, 3);
  assert.deepEqual(collect(reopened), ["2/0 of entry 7"]);
  assert.equal(Buffer.from(reopened.storage.get("lease", Buffer.from("l"))!).toString(), "7");
});

test("an entry without effects advances the durable index", () => {
  // covers: AP-04
  const storage = new MemoryStorage();
  const backend = new Backend({ storage });
  backend.applied(1, 1);
  backend.flush(() => {});
  storage.step();
  assert.equal(backend.flushedIndex, 1);
  backend.applied(2, 5);
  backend.flush(() => {});
  storage.step();
  assert.equal(backend.flushedIndex, 2);
  assert.deepEqual(
    storage.get("meta", Buffer.from("consistent_index")),
    new Uint8Array([0, 0, 0, 0, 0, 0, 0, 2]),
    "etcd's key, 8 bytes big-endian",
  );
  assert.deepEqual(storage.get("meta", Buffer.from("term")), new Uint8Array([0, 0, 0, 0, 0, 0, 0, 5]));
});

test("the applied index and term never go back", () => {
  // covers: AP-05
  const backend = new Backend({ storage: new MemoryStorage() });
  backend.applied(5, 2);
  assert.throws(() => backend.applied(4, 2), /never goes back/);
  assert.throws(() => backend.applied(6, 1), /never goes back/);
});

test("work between entries is sealed by repeating the index", () => {
  const storage = new MemoryStorage();
  const backend = new Backend({ storage });
  put(backend, 2, 0, "a");
  backend.applied(1, 1);
  backend.drop(2, 0, false);
  backend.applied(1, 1);
  backend.flush(() => {});
  storage.step();
  assert.equal(storage.image.records.length, 0);
  assert.equal(backend.unflushedCount, 0);
});

test("after a failed flush nothing is flushed again, and everything is still read", () => {
  // covers: WA-08
  const storage = new MemoryStorage();
  const backend = new Backend({ storage });
  put(backend, 2, 0, "kept");
  backend.applied(1, 1);
  backend.flush(() => {});
  storage.step();
  put(backend, 3, 0, "lost");
  backend.drop(2, 0, false);
  backend.applied(2, 1);
  const cause = new Error("EIO");
  storage.failNextCommit(cause);
  const errors: (Error | null)[] = [];
  backend.flush((error) => errors.push(error));
  storage.step();
  assert.ok(errors[0] instanceof StorageFailedError);
  assert.equal(errors[0].cause, cause);
  assert.equal(backend.flushedIndex, 1);
  assert.deepEqual(collect(backend), ["3/0 lost"]);
  put(backend, 4, 0, "too late");
  backend.applied(3, 1);
  backend.flush((error) => errors.push(error));
  storage.step();
  assert.equal(errors[1], errors[0]);
  assert.equal(backend.flushedIndex, 1);
  assert.deepEqual(collect(backend), ["3/0 lost", "4/0 too late"]);
  assert.deepEqual(
    storage.image.records.map((record) => record.main),
    [2],
  );
});

test("sizes count what is not flushed yet, and free pages absorb it", () => {
  const storage = new MemoryStorage();
  const backend = new Backend({ storage });
  assert.equal(backend.sizeBytes(), 0);
  put(backend, 2, 0, "x".repeat(1000));
  backend.applied(1, 1);
  assert.ok(backend.sizeBytes() >= 1000, "not flushed, but counted");
  backend.flush(() => {});
  storage.step();
  const full = backend.sizeBytes();
  assert.ok(full >= 1000);
  backend.drop(2, 0, false);
  backend.applied(2, 1);
  backend.flush(() => {});
  storage.step();
  assert.equal(backend.sizeBytes(), full, "the file does not shrink");
  assert.ok(backend.sizeInUseBytes() < 200);
  put(backend, 3, 0, "y".repeat(500));
  assert.equal(backend.sizeBytes(), full, "free pages are filled first");
  assert.ok(backend.sizeInUseBytes() >= 500);
});

test("counts what is not durable, in flight or not", () => {
  const storage = new MemoryStorage();
  const backend = new Backend({ storage });
  put(backend, 2, 0, "a");
  backend.put("auth", Buffer.from("k"), Buffer.from("v"));
  backend.put("auth", Buffer.from("k"), Buffer.from("w"));
  backend.drop(1, 0, false);
  assert.equal(backend.unflushedCount, 3);
  assert.ok(backend.unflushedBytes > 0);
  backend.applied(1, 0);
  assert.equal(backend.unflushedCount, 3);
  backend.flush(() => {});
  assert.equal(backend.unflushedCount, 4, "and the index");
  put(backend, 3, 0, "b");
  assert.equal(backend.unflushedCount, 5);
  storage.step();
  assert.equal(backend.unflushedCount, 1);
});

test("a table key is 1 to 1024 bytes long", () => {
  const backend = new Backend({ storage: new MemoryStorage() });
  backend.put("authUsers", new Uint8Array(MAX_TABLE_KEY_BYTES), new Uint8Array(0));
  for (const size of [0, MAX_TABLE_KEY_BYTES + 1]) {
    assert.throws(
      () => backend.put("authUsers", new Uint8Array(size), new Uint8Array(0)),
      (error) => error instanceof TableKeySizeError && error.kind === "TableKeySize",
    );
  }
});

test("what is put is copied", () => {
  // covers: ST-10
  const storage = new MemoryStorage();
  const backend = new Backend({ storage });
  const key = Buffer.from("key");
  const value = Buffer.from("value");
  const record = Buffer.from("record");
  backend.put("cluster", key, value);
  backend.append(2, 0, false, record, 1, 4);
  backend.applied(1, 1);
  key.fill(0);
  value.fill(0);
  record.fill(0);
  backend.flush(() => {});
  storage.step();
  assert.equal(Buffer.from(storage.get("cluster", Buffer.from("key"))!).toString(), "value");
  assert.deepEqual(collect(backend), ["2/0 eco"]);
});

test("a scan does not nest, and nothing changes under it or takes its bytes", () => {
  const backend = new Backend({ storage: new MemoryStorage() });
  const position = put(backend, 2, 0, "a");
  const during = (act: () => void): void => {
    backend.scanRecords(0, 0, {
      visit() {
        act();
        return true;
      },
    });
  };
  assert.throws(() => during(() => put(backend, 3, 0, "b")), /during a scan/);
  assert.throws(() => during(() => backend.drop(2, 0, false)), /during a scan/);
  assert.throws(() => during(() => backend.flush(() => {})), /during a scan/);
  assert.throws(() => during(() => backend.read(position, 2, 0, false, new RecordSpan())), /during a scan/);
  assert.throws(() => during(() => collect(backend)), /do not nest/);
  assert.deepEqual(collect(backend), ["2/0 a"], "the guard is lifted when a visitor throws");
});

test("random work, flushes, scans and crashes agree with a naive twin", () => {
  // covers: AP-01 AP-04 ST-09 ST-10
  for (let seed = 1; seed <= 400; seed++) runAgainstTwin(seed, 250);
});

/** One life after another of a backend with tiny chunks, beside the twin. Fails with the seed in the message. */
function runAgainstTwin(seed: number, steps: number): void {
  const rng = new Rng(seed);
  const chunkBytes = 64 * (1 + rng.below(8));
  const cacheBytes = chunkBytes * rng.below(5);
  const twin = new Twin();
  let storage = new MemoryStorage();
  let backend = new Backend({ storage, chunkBytes, cacheBytes });
  const positions = new Map<string, number>();
  let main = 1;
  let sub = 0;
  let resume = { main: 0, sub: 0, seen: new Set<string>(), alive: new Set<string>() };
  const tables: Table[] = ["lease", "authUsers", "meta"];
  const span = new RecordSpan();
  const step = (): void => {
    const choice = rng.below(100);
    if (choice < 30) {
      if (rng.below(3) === 0) {
        main += 1 + rng.below(3);
        sub = 0;
      } else sub += 1;
      const isTombstone = rng.below(5) === 0;
      const bytes = recordBytes(rng, rng.below(10) === 0 ? rng.below(2000) : rng.below(60));
      if (rng.below(2) === 0) {
        positions.set(revisionName(main, sub), backend.append(main, sub, isTombstone, bytes, 0, bytes.length));
      } else {
        const reserved = backend.reserve(main, sub, isTombstone, bytes.length);
        assert.equal(reserved.end - reserved.start, bytes.length);
        reserved.buffer.set(bytes, reserved.start);
        positions.set(revisionName(main, sub), reserved.position);
      }
      twin.append(main, sub, isTombstone, bytes);
    } else if (choice < 40) {
      const record = twin.randomRecord(rng);
      if (record === null) return;
      backend.drop(record.main, record.sub, record.isTombstone);
      twin.drop(record);
      resume.alive.delete(revisionName(record.main, record.sub));
    } else if (choice < 50) {
      const table = tables[rng.below(tables.length)]!;
      const key = Buffer.from(`k${rng.below(6)}`);
      const value = rng.below(3) === 0 ? null : recordBytes(rng, rng.below(30));
      backend.put(table, key, value);
      twin.put(table, key, value);
    } else if (choice < 65) {
      const index = backend.appliedIndex + (rng.below(4) === 0 ? 0 : 1);
      const term = backend.appliedTerm + (rng.below(10) === 0 ? 1 : 0);
      backend.applied(index, term);
      twin.applied(index, term, { main, sub });
    } else if (choice < 73) {
      if (backend.isFlushing) return;
      const mark = twin.sealed();
      backend.flush((error) => {
        assert.equal(error, null);
        assert.equal(backend.flushedIndex, mark.index);
        assert.equal(backend.flushedTerm, mark.term);
        twin.flushed(mark);
      });
    } else if (choice < 80) {
      storage.step();
    } else if (choice < 87) {
      const record = twin.randomRecord(rng);
      if (record === null) return;
      const position = positions.get(revisionName(record.main, record.sub)) ?? -1;
      backend.read(position, record.main, record.sub, record.isTombstone, span);
      assert.deepEqual(Uint8Array.from(span.buffer.subarray(span.start, span.end)), record.bytes);
    } else if (choice < 91) {
      const fromMain = rng.below(main + 2);
      const fromSub = rng.below(3);
      const limit = 1 + rng.below(40);
      assert.deepEqual(collect(backend, fromMain, fromSub, limit), twin.scan(fromMain, fromSub, limit));
    } else if (choice < 97) {
      // One slice of a scan that goes on over many turns, with everything else happening in between.
      if (resume.main === 0) resume.alive = twin.names();
      let taken = 0;
      const limit = 1 + rng.below(8);
      let ended = true;
      backend.scanRecords(resume.main, resume.sub, {
        visit(recordMain, recordSub) {
          if (taken++ === limit) {
            ended = false;
            return false;
          }
          const name = revisionName(recordMain, recordSub);
          assert.ok(!resume.seen.has(name), "each record once");
          resume.seen.add(name);
          resume.main = recordMain;
          resume.sub = recordSub + 1;
          return true;
        },
      });
      if (!ended) return;
      for (const name of resume.alive)
        assert.ok(resume.seen.has(name), `${name} was there all the time and is missing`);
      resume = { main: 0, sub: 0, seen: new Set(), alive: new Set() };
    } else if (choice < 98) {
      storage.crash();
      storage = new MemoryStorage({ image: storage.image });
      backend = new Backend({ storage, chunkBytes, cacheBytes });
      const last = twin.crashed();
      assert.equal(backend.appliedIndex, last.index);
      assert.equal(backend.appliedTerm, last.term);
      main = last.main;
      sub = last.sub;
      positions.clear();
      resume = { main: 0, sub: 0, seen: new Set(), alive: new Set() };
      assert.deepEqual(collect(backend), twin.scan(0, 0, Number.POSITIVE_INFINITY));
      for (const table of tables) assert.deepEqual(tableOf(storage, table), twin.table(table, last));
    } else {
      assert.deepEqual(collect(backend), twin.scan(0, 0, Number.POSITIVE_INFINITY));
    }
  };
  for (let i = 0; i < steps; i++) {
    try {
      step();
    } catch (error) {
      throw new Error(`seed ${seed}, step ${i}`, { cause: error });
    }
  }
}

function tableOf(storage: MemoryStorage, table: Table): string[] {
  const entries: string[] = [];
  storage.scan(table, (key, value) => {
    entries.push(`${Buffer.from(key).toString("hex")}=${Buffer.from(value).toString("hex")}`);
  });
  return entries;
}
