/**
 * Hash: one number over everything in storage, as etcd computes it over its file (semantics §4.8). For people who
 * compare members at rest; HashKV is what members compare.
 *
 *     crc32c( for each table by name: its name, then for each entry by key: key, value )
 *
 * `consistent_index`, `term` and `storageVersion` of the table "meta" are left out: they may differ between equal members.
 * Records are taken in slices; whoever wants a number that means something flushes first and writes nothing meanwhile.
 */

import { crc32c } from "@quorate/crc32c";
import { HISTORY_KEY_BYTES, writeHistoryKey } from "../backend/history-key.ts";
import { type RecordVisitor, type Storage, TABLES, type Table } from "../backend/storage.ts";

const RECORDS = "key";
const LEFT_OUT = ["consistent_index", "term", "storageVersion"];

/** A hash being taken: `step` until it returns false, then read `hash`. */
export class TablesHashing implements RecordVisitor {
  readonly #storage: Storage;
  /** In order of names; the records are one of them. */
  readonly #names: readonly (Table | typeof RECORDS)[] = [...TABLES, RECORDS as typeof RECORDS].sort();
  readonly #historyKey = new Uint8Array(HISTORY_KEY_BYTES + 1);
  #at = 0;
  #hash = 0;
  #nextMain = 0;
  #nextSub = 0;
  #budget = 0;
  #isAmongRecords = false;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  get hash(): number {
    return this.#hash;
  }

  /** Takes in one table or about `budget` records; false when all are taken in. */
  step(budget: number): boolean {
    const name = this.#names[this.#at];
    if (name === undefined) return false;
    if (!this.#isAmongRecords) this.#hash = crc32c(Buffer.from(name), this.#hash);
    if (name === RECORDS) {
      this.#isAmongRecords = true;
      this.#budget = budget;
      this.#storage.scanRecords(this.#nextMain, this.#nextSub, this);
      if (this.#budget === 0) return true;
      this.#isAmongRecords = false;
    } else {
      this.#takeTable(name);
    }
    this.#at++;
    return this.#at < this.#names.length;
  }

  /** Called by the scan. */
  visit(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    const length = writeHistoryKey(this.#historyKey, 0, main, sub, isTombstone);
    this.#hash = crc32c(this.#historyKey, this.#hash, 0, length);
    this.#hash = crc32c(bytes, this.#hash, start, end);
    this.#nextMain = main;
    this.#nextSub = sub + 1;
    return --this.#budget > 0;
  }

  #takeTable(table: Table): void {
    this.#storage.scan(table, (key, value) => {
      if (table === "meta" && LEFT_OUT.includes(Buffer.from(key).toString())) return;
      this.#hash = crc32c(key, this.#hash);
      this.#hash = crc32c(value, this.#hash);
    });
  }
}
