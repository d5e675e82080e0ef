/** Reading LMDB's pages from the file gives what LMDB itself gives. */
import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { TransactionFlags } from "lmdb";
import { readHistoryKey } from "./history-key.ts";
import {
  closeEnvironment,
  databasePath,
  type Environment,
  openEnvironment,
  prepareDirectory,
  RECORDS,
  scanStoredRecords,
  scanTable,
} from "./lmdb-environment.ts";
import { LmdbPages } from "./lmdb-pages.ts";
import { StorageDamagedError, TABLES } from "./storage.ts";
import { Rng } from "./testing/records.ts";

const MAP_BYTES = 1024 ** 3;

function makeDirectory(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), "quorate-pages-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const directory = join(root, "db");
  prepareDirectory(directory, MAP_BYTES);
  return directory;
}

function transact(environment: Environment, action: () => void): void {
  environment.records.transactionSync(action, TransactionFlags.SYNCHRONOUS_COMMIT);
}

function putRecord(environment: Environment, main: number, value: Uint8Array): void {
  environment.records.putSync({ main, sub: 0, isTombstone: false }, value, { append: false });
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** Everything, as LMDB reads it. */
function byLmdb(environment: Environment): string[] {
  environment.records.resetReadTxn();
  const lines: string[] = [];
  scanStoredRecords(environment, 0, 0, {
    visit: (main, sub, _isTombstone, bytes, start, end) => {
      lines.push(`record ${main}/${sub} ${hexOf(bytes.subarray(start, end))}`);
      return true;
    },
  });
  for (const table of TABLES) {
    scanTable(environment, table, (key, value) => lines.push(`${table} ${hexOf(key)} ${hexOf(value)}`));
  }
  return lines;
}

function byPages(directory: string): string[] {
  const file = openSync(databasePath(directory), "r");
  try {
    const pages = new LmdbPages(databasePath(directory), file);
    const lines: string[] = [];
    pages.scan(RECORDS, (key, keyStart, keyEnd, value, valueStart, valueEnd) => {
      const revision = { main: 0, sub: 0, isTombstone: false };
      readHistoryKey(key, keyStart, keyEnd, revision);
      lines.push(`record ${revision.main}/${revision.sub} ${hexOf(value.subarray(valueStart, valueEnd))}`);
      return true;
    });
    for (const table of TABLES) {
      pages.scan(table, (key, keyStart, keyEnd, value, valueStart, valueEnd) => {
        const [name, bytes] = [key.subarray(keyStart, keyEnd), value.subarray(valueStart, valueEnd)];
        lines.push(`${table} ${hexOf(name)} ${hexOf(bytes)}`);
        return true;
      });
    }
    return lines;
  } finally {
    closeSync(file);
  }
}

test("a database without anything in it has no pairs", (t) => {
  const directory = makeDirectory(t);
  assert.deepEqual(byPages(directory), []);
});

test("random records of all sizes, written and removed over many commits, are read as LMDB reads them", (t) => {
  const directory = makeDirectory(t);
  const environment = openEnvironment(directory, MAP_BYTES);
  t.after(() => closeEnvironment(environment));
  const rng = new Rng(7);
  let main = 1;
  for (let commit = 0; commit < 30; commit++) {
    transact(environment, () => {
      for (let i = 0; i < 200; i++) {
        const sizeBytes = rng.below(20) === 0 ? rng.below(40_000) : rng.below(300);
        putRecord(environment, ++main, Buffer.alloc(sizeBytes, main));
        const gone = 1 + rng.below(main);
        if (rng.below(3) === 0) environment.records.removeSync({ main: gone, sub: 0, isTombstone: false });
      }
      for (const table of TABLES) {
        const key = Buffer.from(`key ${rng.below(500)}`);
        environment.tables[table].putSync(key, Buffer.alloc(rng.below(200), "v"));
      }
    });
    assert.deepEqual(byPages(directory), byLmdb(environment), `after commit ${commit}`);
  }
});

test("values around the size of a page and far beyond it come whole", (t) => {
  const directory = makeDirectory(t);
  const environment = openEnvironment(directory, MAP_BYTES);
  t.after(() => closeEnvironment(environment));
  const sizes = [0, 1, 2000, 2010, 2020, 2030, 2040, 4050, 4060, 4071, 4072, 4073, 4096, 8168, 8169, 1_500_000];
  transact(environment, () => {
    for (const [i, size] of sizes.entries()) putRecord(environment, i + 1, Buffer.alloc(size, i + 1));
  });
  assert.deepEqual(byPages(directory), byLmdb(environment));
});

test("a file with altered pages is refused by place, or read to its end, whatever was altered", (t) => {
  const directory = makeDirectory(t);
  const environment = openEnvironment(directory, MAP_BYTES);
  transact(environment, () => {
    for (let i = 1; i < 400; i++) putRecord(environment, i, Buffer.alloc(i % 17 === 0 ? 9000 : 100, i));
  });
  closeEnvironment(environment);
  const path = databasePath(directory);
  const whole = readFileSync(path);
  const rng = new Rng(3);
  let refusals = 0;
  for (let i = 0; i < 300; i++) {
    const bytes = Buffer.from(whole);
    // Headers and the nodes behind them are where the places are.
    const at = rng.below(whole.length / 4096) * 4096 + rng.below(64);
    bytes[at] = rng.below(256);
    writeFileSync(path, bytes);
    try {
      byPages(directory);
    } catch (error) {
      assert.ok(error instanceof StorageDamagedError, `byte ${at}: ${error}`);
      refusals++;
    }
  }
  assert.ok(refusals > 30, `${refusals} refusals`);
});
