/**
 * The backend as one would write it without caring for speed or crashes: a list of everything that ever happened.
 * Marks remember how long the list was, so the state at any mark is the list replayed up to there.
 */
import type { Table } from "../storage.ts";
import { type Rng, recordText, revisionName } from "./records.ts";

interface TwinRecord {
  readonly main: number;
  readonly sub: number;
  readonly isTombstone: boolean;
  readonly bytes: Uint8Array;
}

type Happening =
  | { readonly kind: "append"; readonly record: TwinRecord }
  | { readonly kind: "drop"; readonly record: TwinRecord }
  | { readonly kind: "put"; readonly table: Table; readonly key: string; readonly value: string | null };

export interface Mark {
  readonly length: number;
  readonly index: number;
  readonly term: number;
  /** The newest revision ever given out up to here. */
  readonly main: number;
  readonly sub: number;
}

export class Twin {
  #history: Happening[] = [];
  #records: TwinRecord[] = [];
  #sealed: Mark = { length: 0, index: 0, term: 0, main: 1, sub: 0 };
  #flushed: Mark = this.#sealed;

  append(main: number, sub: number, isTombstone: boolean, bytes: Uint8Array): void {
    const record = { main, sub, isTombstone, bytes };
    this.#history.push({ kind: "append", record });
    this.#records.push(record);
  }

  drop(record: TwinRecord): void {
    this.#history.push({ kind: "drop", record });
    this.#records = this.#records.filter((other) => other !== record);
  }

  put(table: Table, key: Uint8Array, value: Uint8Array | null): void {
    const hexValue = value === null ? null : Buffer.from(value).toString("hex");
    this.#history.push({ kind: "put", table, key: Buffer.from(key).toString("hex"), value: hexValue });
  }

  applied(index: number, term: number, last: { main: number; sub: number }): void {
    this.#sealed = { length: this.#history.length, index, term, ...last };
  }

  sealed(): Mark {
    return this.#sealed;
  }

  flushed(mark: Mark): void {
    this.#flushed = mark;
  }

  /** Back to the last flushed mark, which is returned. */
  crashed(): Mark {
    this.#history.length = this.#flushed.length;
    this.#sealed = this.#flushed;
    this.#records = [];
    for (const happening of this.#history) {
      if (happening.kind === "append") this.#records.push(happening.record);
      else if (happening.kind === "drop") this.#records = this.#records.filter((other) => other !== happening.record);
    }
    return this.#flushed;
  }

  randomRecord(rng: Rng): TwinRecord | null {
    return this.#records[rng.below(this.#records.length)] ?? null;
  }

  names(): Set<string> {
    return new Set(this.#records.map((record) => revisionName(record.main, record.sub)));
  }

  scan(main: number, sub: number, limit: number): string[] {
    return this.#records
      .filter((record) => record.main > main || (record.main === main && record.sub >= sub))
      .slice(0, limit)
      .map((record) => recordText(record.main, record.sub, record.isTombstone, record.bytes));
  }

  /** A table at the mark as "key=value" in hex, sorted; with the index and term in "meta" as the backend adds them. */
  table(table: Table, mark: Mark): string[] {
    const entries = new Map<string, string>();
    for (const happening of this.#history.slice(0, mark.length)) {
      if (happening.kind !== "put" || happening.table !== table) continue;
      if (happening.value === null) entries.delete(happening.key);
      else entries.set(happening.key, happening.value);
    }
    if (table === "meta" && (mark.index > 0 || mark.term > 0 || mark.length > 0)) {
      entries.set(Buffer.from("consistent_index").toString("hex"), mark.index.toString(16).padStart(16, "0"));
      if (mark.term > 0) entries.set(Buffer.from("term").toString("hex"), mark.term.toString(16).padStart(16, "0"));
    }
    return [...entries].map(([key, value]) => `${key}=${value}`).sort();
  }
}
