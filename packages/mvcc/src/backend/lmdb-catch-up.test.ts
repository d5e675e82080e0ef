import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { catchUp, catchUpPart } from "./lmdb-catch-up.ts";
import {
  buildDirectory,
  closeEnvironment,
  type Environment,
  openEnvironment,
  scanStoredRecords,
  scanTable,
} from "./lmdb-environment.ts";

const MAP_BYTES = 1024 ** 3;

function put(environment: Environment, main: number, value: string, isTombstone = false): void {
  environment.records.putSync({ main, sub: 0, isTombstone }, Buffer.from(value), { append: true });
}

function setRow(environment: Environment, key: string, value: string | null): void {
  const table = environment.tables.lease;
  if (value === null) table.removeSync(Buffer.from(key));
  else table.putSync(Buffer.from(key), Buffer.from(value));
}

function contentsOf(environment: Environment): string[] {
  const found: string[] = [];
  environment.records.resetReadTxn();
  scanStoredRecords(environment, 0, 0, {
    visit: (main, sub, isTombstone, bytes, start, end) => {
      found.push(`${main}/${sub}${isTombstone ? "t" : ""} ${Buffer.from(bytes.subarray(start, end))}`);
      return true;
    },
  });
  scanTable(environment, "lease", (key, value) => found.push(`${Buffer.from(key)}=${Buffer.from(value)}`));
  return found;
}

/** A database and its copy, both with `base`; then `change` happens to the database alone. */
function caughtUp(
  base: (environment: Environment) => void,
  change: (environment: Environment) => void,
  drops: number[],
  partly: (from: Environment, to: Environment) => void = () => {},
): { readonly database: string[]; readonly copy: string[]; readonly neededBytes: number[] } {
  const directory = mkdtempSync(join(tmpdir(), "quorate-catch-up-"));
  try {
    const open = (name: string): Environment => {
      buildDirectory(join(directory, name), MAP_BYTES, base);
      return openEnvironment(join(directory, name), MAP_BYTES);
    };
    const from = open("database");
    const to = open("copy");
    const neededBytes: number[] = [];
    change(from);
    partly(from, to);
    catchUp(from, to, Float64Array.from(drops), (bytes) => neededBytes.push(bytes));
    const result = { database: contentsOf(from), copy: contentsOf(to), neededBytes };
    closeEnvironment(from);
    closeEnvironment(to);
    return result;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const base = (environment: Environment): void => {
  for (let main = 2; main < 10; main++) put(environment, main, `v${main}`);
  for (const key of ["a", "b", "c"]) setRow(environment, key, "old");
};

test("new records, dropped ones, and what changed in the tables come into the copy", () => {
  const { database, copy } = caughtUp(
    base,
    (environment) => {
      put(environment, 10, "v10");
      put(environment, 11, "", true);
      put(environment, 12, "dropped again");
      for (const main of [3, 9, 12]) environment.records.removeSync({ main, sub: 0, isTombstone: false });
      setRow(environment, "a", null);
      setRow(environment, "b", "new");
      setRow(environment, "d", "new");
    },
    [3, 0, 9, 0, 12, 0],
  );
  assert.deepEqual(copy, database);
  assert.deepEqual(copy.slice(-4), ["11/0t ", "b=new", "c=old", "d=new"]);
});

test("a copy of nothing, of what did not change, and of a database that was emptied is right", () => {
  const nothing = (): void => {};
  for (const [what, before, change, drops] of [
    ["nothing", nothing, nothing, []],
    ["the same", base, nothing, []],
    ["all new", nothing, base, []],
    [
      "emptied",
      base,
      (environment: Environment) => {
        for (let main = 2; main < 10; main++) environment.records.removeSync({ main, sub: 0, isTombstone: false });
        for (const key of ["a", "b", "c"]) setRow(environment, key, null);
      },
      [2, 3, 4, 5, 6, 7, 8, 9].flatMap((main) => [main, 0]),
    ],
    ["what was gone already", base, nothing, [100, 0, 101, 1]],
  ] as const) {
    const { database, copy } = caughtUp(before, change, [...drops]);
    assert.deepEqual(copy, database, what);
  }
});

test("much of it goes in transactions of bounded size, and space is asked for before each", () => {
  const { database, copy, neededBytes } = caughtUp(
    base,
    (environment) => {
      for (let main = 10; main < 40; main++) put(environment, main, "x".repeat(1024 * 1024));
      for (let main = 40; main < 20_000; main++) put(environment, main, "y");
    },
    [],
  );
  assert.equal(copy.length, database.length);
  assert.deepEqual(copy, database);
  assert.ok(neededBytes.length >= 6, `${neededBytes.length} transactions`);
  for (const bytes of neededBytes) assert.ok(bytes > 0 && bytes < 24 * 1024 * 1024);
});

test("the parts before the end are of bounded size, and between them the database may change and drop", () => {
  const { database, copy, neededBytes } = caughtUp(
    base,
    (environment) => {
      for (let main = 10; main < 40_000; main++) put(environment, main, "y");
    },
    [9, 0, 39_999, 0],
    (from, to) => {
      const part = (drops: number[]): boolean => catchUpPart(from, to, Float64Array.from(drops), 2, () => {});
      assert.ok(part([]));
      assert.equal(contentsOf(to).length, 8 + 16_000 + 3);
      // One that is copied, one that is not yet.
      for (const main of [3, 39_000]) from.records.removeSync({ main, sub: 0, isTombstone: false });
      assert.ok(part([3, 0, 39_000, 0]));
      assert.ok(!part([]));
      for (let main = 40_000; main < 40_010; main++) put(from, main, "z");
      for (const main of [9, 39_999]) from.records.removeSync({ main, sub: 0, isTombstone: false });
    },
  );
  assert.deepEqual(copy, database);
  assert.equal(neededBytes.length, 2, "the end adds what came last, and drops");
});
