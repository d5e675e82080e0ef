/**
 * Brings a copy of a database up to date with what was committed since the copy was begun: the short part of a
 * defragmentation, in the thread that commits, so that nothing changes meanwhile. First in parts of bounded size, between which
 * commits go on, until a part has brought all there was; then what little there is by then, and the tables, in one go.
 *
 *     copy      records … L │ the tables as they were
 *     database  records … L │ L+1 … newest, minus what was dropped │ the tables as they are
 *
 * Records only ever ascend, so those after the copy's last are the new ones. Dropped is whatever any commit dropped that had
 * not ended when the copy was begun: what the copy has not got cannot be dropped twice. The tables are small, so they are
 * compared as a whole. Transactions are of bounded size, because LMDB holds the pages it changes in memory.
 */
import { TransactionFlags } from "lmdb";
import type { Revision } from "./history-key.ts";
import { type Environment, scanStoredRecords, scanTable } from "./lmdb-environment.ts";
import { TABLES, type Table } from "./storage.ts";

const TRANSACTION_BYTES = 8 * 1024 * 1024;
/** Each may change a page of its own. */
const TRANSACTION_CHANGES = 8000;
/** What a change may cost on disk: a page, and its share of those above. */
const CHANGE_BYTES = 8192;

interface NewRecord extends Revision {
  readonly bytes: Uint8Array;
}

/**
 * @param drops as in StorageBatch.
 * @param checkSpace throws if there is no room for so many bytes more; LMDB must not run out of space half-way.
 */
export function catchUp(
  from: Environment,
  to: Environment,
  drops: Float64Array,
  checkSpace: (bytes: number) => void,
): void {
  const transact = transactionsOf(to, checkSpace);
  renewViews(from, to);
  addRecords(from, to, transact, Number.POSITIVE_INFINITY);
  removeDropped(to, drops, transact);
  for (const table of TABLES) matchTable(from, to, table, transact);
}

/**
 * A part of it: records of so many transactions, of 8 MiB or 8000 records each, and these drops. Whatever is dropped must have
 * been committed; a record that is not copied yet will then not be found in the database either.
 * @returns whether there may be more records.
 */
export function catchUpPart(
  from: Environment,
  to: Environment,
  drops: Float64Array,
  transactionCount: number,
  checkSpace: (bytes: number) => void,
): boolean {
  const transact = transactionsOf(to, checkSpace);
  renewViews(from, to);
  const isBehind = addRecords(from, to, transact, transactionCount);
  removeDropped(to, drops, transact);
  return isBehind;
}

type Transact = (bytes: number, work: () => void) => void;

function transactionsOf(environment: Environment, checkSpace: (bytes: number) => void): Transact {
  return (bytes, work) => {
    checkSpace(bytes);
    environment.records.transactionSync(work, TransactionFlags.SYNCHRONOUS_COMMIT);
  };
}

/** The binding does that between turns of the loop only. */
function renewViews(from: Environment, to: Environment): void {
  from.records.resetReadTxn();
  to.records.resetReadTxn();
}

/** True if it ended before there were no more. */
function addRecords(from: Environment, to: Environment, transact: Transact, transactionCount: number): boolean {
  let last = lastOf(to);
  for (let count = 0; count < transactionCount; count++) {
    const records: NewRecord[] = [];
    let sizeBytes = 0;
    scanStoredRecords(from, last.main, last.sub, {
      visit: (main, sub, isTombstone, bytes, start, end) => {
        if (main === last.main && sub === last.sub) return true;
        records.push({ main, sub, isTombstone, bytes: Uint8Array.from(bytes.subarray(start, end)) });
        sizeBytes += end - start;
        return sizeBytes < TRANSACTION_BYTES && records.length < TRANSACTION_CHANGES;
      },
    });
    const newest = records.at(-1);
    if (newest === undefined) return false;
    transact(2 * sizeBytes + records.length * 256, () => {
      for (const { bytes, ...revision } of records) {
        if (to.records.putSync(revision, bytes, APPEND)) continue;
        throw new Error(`record ${revision.main}/${revision.sub} is not greater than the last one copied`);
      }
    });
    last = newest;
  }
  return true;
}

/** (0, 0) if there are none. */
function lastOf(environment: Environment): Revision {
  for (const { main, sub, isTombstone } of environment.records.getKeys({ reverse: true, limit: 1 })) {
    return { main, sub, isTombstone };
  }
  return { main: 0, sub: 0, isTombstone: false };
}

function removeDropped(to: Environment, drops: Float64Array, transact: Transact): void {
  const revision: Revision = { main: 0, sub: 0, isTombstone: false };
  for (let start = 0; start < drops.length; start += 2 * TRANSACTION_CHANGES) {
    const end = Math.min(drops.length, start + 2 * TRANSACTION_CHANGES);
    transact(((end - start) / 2) * CHANGE_BYTES, () => {
      for (let i = start; i < end; i += 2) {
        const second = drops[i + 1]!;
        revision.main = drops[i]!;
        revision.sub = Math.floor(second / 2);
        revision.isTombstone = second % 2 === 1;
        to.records.removeSync(revision);
      }
    });
  }
}

function matchTable(from: Environment, to: Environment, table: Table, transact: Transact): void {
  const changes: { readonly key: Uint8Array; readonly value: Uint8Array | null }[] = [];
  // What a scan shows is lent until the next read, whichever database that is of.
  scanTable(to, table, (lent) => {
    const key = Uint8Array.from(lent);
    if (from.tables[table].getBinary(key) === undefined) changes.push({ key, value: null });
  });
  scanTable(from, table, (lentKey, lentValue) => {
    const key = Uint8Array.from(lentKey);
    const value = Uint8Array.from(lentValue);
    const copied = to.tables[table].getBinary(key);
    if (copied === undefined || Buffer.compare(copied, value) !== 0) changes.push({ key, value });
  });
  for (let start = 0; start < changes.length; start += TRANSACTION_CHANGES) {
    const some = changes.slice(start, start + TRANSACTION_CHANGES);
    const sizeBytes = some.reduce((sum, { value }) => sum + CHANGE_BYTES + (value?.length ?? 0), 0);
    transact(sizeBytes, () => {
      for (const { key, value } of some) {
        if (value === null) to.tables[table].removeSync(key);
        else if (!to.tables[table].putSync(key, value)) throw new Error(`table ${table} refused a key`);
      }
    });
  }
}

const APPEND = { append: true };
