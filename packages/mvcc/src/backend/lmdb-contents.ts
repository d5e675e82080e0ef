/**
 * Reads all of one commit's database, beside commits, for a snapshot or a copy of it. A read transaction keeps its pages as
 * they are, and only the pages that commits free wait for its end. The pages are read from the file (lmdb-pages.ts), so that
 * memory does not grow by them.
 */
import { closeSync, fstatSync, openSync } from "node:fs";
import { endianness } from "node:os";
import { type Revision, readHistoryKey } from "./history-key.ts";
import { databasePath, type Environment, RECORDS, scanStoredRecords, scanTable } from "./lmdb-environment.ts";
import { LmdbPages } from "./lmdb-pages.ts";
import type { SnapshotContents } from "./snapshot-file.ts";
import type { RecordVisitor, Table } from "./storage.ts";

/** What is committed, for as long as `use` runs. */
export function withContents<Result>(
  environment: Environment,
  directory: string,
  inode: bigint,
  use: (contents: SnapshotContents) => Result,
): Result {
  const transaction = environment.records.useReadTransaction();
  const file = openSync(databasePath(directory), "r");
  try {
    if (endianness() === "LE" && fstatSync(file, { bigint: true }).ino === inode) {
      return use(new PageContents(new LmdbPages(databasePath(directory), file)));
    }
    return use({
      scan: (table, visit) => scanTable(environment, table, visit),
      scanRecords: (main, sub, visitor) => scanStoredRecords(environment, main, sub, visitor),
    });
  } finally {
    closeSync(file);
    transaction.done();
  }
}

class PageContents implements SnapshotContents {
  readonly #pages: LmdbPages;
  readonly #revision: Revision = { main: 0, sub: 0, isTombstone: false };

  constructor(pages: LmdbPages) {
    this.#pages = pages;
  }

  scan(table: Table, visit: (key: Uint8Array, value: Uint8Array) => void): void {
    this.#pages.scan(table, (key, keyStart, keyEnd, value, valueStart, valueEnd) => {
      visit(key.subarray(keyStart, keyEnd), value.subarray(valueStart, valueEnd));
      return true;
    });
  }

  /** Always all of them. */
  scanRecords(_main: number, _sub: number, visitor: RecordVisitor): void {
    const revision = this.#revision;
    this.#pages.scan(RECORDS, (key, keyStart, keyEnd, value, valueStart, valueEnd) => {
      readHistoryKey(key, keyStart, keyEnd, revision);
      return visitor.visit(revision.main, revision.sub, revision.isTombstone, value, valueStart, valueEnd);
    });
  }
}
