/**
 * Builds a database that is nobody's yet, from a snapshot or another database, by appending to it: pages come out full, and
 * in order. In transactions of bounded size, because LMDB holds the pages it changes in memory.
 */
import { TransactionFlags } from "lmdb";
import type { Revision } from "./history-key.ts";
import type { Environment } from "./lmdb-environment.ts";
import { FRAME_HEADER_BYTES, FrameView, frameBytes } from "./record-frame.ts";
import type { SnapshotTarget } from "./snapshot-file.ts";
import type { Table } from "./storage.ts";

/** Records and rows of one transaction. */
const TRANSACTION_BYTES = 8 * 1024 * 1024;

/** Gathers what is read and appends it, a transaction's worth at a time. */
export class EnvironmentTarget implements SnapshotTarget {
  readonly #environment: Environment;
  readonly #check: (neededBytes: number) => void;
  readonly #frames = new FrameView(new ArrayBuffer(TRANSACTION_BYTES));
  #framesEnd = 0;
  #rows: { readonly table: Table; readonly key: Uint8Array; readonly value: Uint8Array }[] = [];
  #rowBytes = 0;
  readonly #key: Revision = { main: 0, sub: 0, isTombstone: false };

  /**
   * @param check called before each transaction; throws if there is no room for so many bytes more, or to give up. LMDB must
   *   not run out of space half-way; see lmdb-worker.ts.
   */
  constructor(environment: Environment, check: (neededBytes: number) => void) {
    this.#environment = environment;
    this.#check = check;
  }

  addRecord(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array, start: number, end: number): void {
    const sizeBytes = frameBytes(end - start);
    if (this.#framesEnd + sizeBytes > TRANSACTION_BYTES) this.commit();
    if (sizeBytes > TRANSACTION_BYTES) {
      this.#transact(sizeBytes, () => this.#append(main, sub, isTombstone, bytes.subarray(start, end)));
      return;
    }
    const at = this.#framesEnd;
    this.#frames.writeHeader(at, main, sub, isTombstone, end - start);
    this.#frames.bytes.set(bytes.subarray(start, end), at + FRAME_HEADER_BYTES);
    this.#framesEnd += sizeBytes;
  }

  addRow(table: Table, key: Uint8Array, value: Uint8Array): void {
    this.#rows.push({ table, key: Uint8Array.from(key), value: Uint8Array.from(value) });
    this.#rowBytes += ROW_BYTES + key.length + value.length;
    if (this.#rowBytes > TRANSACTION_BYTES) this.commit();
  }

  /** Appends what has been gathered. */
  commit(): void {
    this.#transact(this.#framesEnd + this.#rowBytes, () => {
      const frames = this.#frames;
      for (let at = 0; at < this.#framesEnd; at = frames.next(at)) {
        const start = at + FRAME_HEADER_BYTES;
        const bytes = frames.bytes.subarray(start, start + frames.sizeBytes(at));
        this.#append(frames.main(at), frames.sub(at), frames.isTombstone(at), bytes);
      }
      for (const { table, key, value } of this.#rows) {
        if (!this.#environment.tables[table].putSync(key, value)) throw new Error(`table ${table} refused a key`);
      }
    });
    this.#framesEnd = 0;
    this.#rows = [];
    this.#rowBytes = 0;
  }

  #transact(sizeBytes: number, action: () => void): void {
    this.#check(2 * sizeBytes);
    this.#environment.records.transactionSync(action, TransactionFlags.SYNCHRONOUS_COMMIT);
  }

  #append(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array): void {
    const key = this.#key;
    key.main = main;
    key.sub = sub;
    key.isTombstone = isTombstone;
    if (!this.#environment.records.putSync(key, bytes, APPEND)) {
      throw new Error(`record ${main}/${sub} is not greater than the last one stored`);
    }
  }
}

const APPEND = { append: true };

/** What a row takes besides its bytes. */
const ROW_BYTES = 200;
