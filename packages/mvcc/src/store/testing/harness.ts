/**
 * What the store's tests share: a store over memory that can be flushed, crashed and reopened, a book of leases that can
 * be looked at, short ways to write requests, and records as plain objects.
 */

import { silentLog } from "@quorate/world";
import { Backend } from "../../backend/backend.ts";
import { MemoryImage, MemoryStorage } from "../../backend/memory-storage.ts";
import { RecordSpan } from "../../backend/storage.ts";
import { RecordView } from "../key-value.ts";
import type { LeaseBook } from "../lease-book.ts";
import type { RecordList } from "../record-list.ts";
import type { CompareInput, DeleteRangeInput, OpInput, PutInput, RangeInput, TxnInput } from "../requests.ts";
import { Store } from "../store.ts";
import type { CheckpointReader } from "../store-checkpoint.ts";

export const EMPTY: Uint8Array = new Uint8Array(0);

export function bytes(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

export function text(of: Uint8Array): string {
  return Buffer.from(of).toString("latin1");
}

/** Knows its leases and which keys hang on each, in the text of {@link text}. */
export class TestLeases implements LeaseBook {
  readonly keys: Map<bigint, Set<string>> = new Map();

  constructor(leases: Iterable<bigint> = []) {
    for (const lease of leases) this.keys.set(lease, new Set());
  }

  exists(lease: bigint): boolean {
    return this.keys.has(lease);
  }

  attach(lease: bigint, key: Uint8Array): void {
    const keys = this.keys.get(lease);
    if (keys === undefined || keys.has(text(key))) throw new Error(`attach of ${text(key)} to ${lease}`);
    keys.add(text(key));
  }

  detach(lease: bigint, key: Uint8Array): void {
    if (!this.keys.get(lease)?.delete(text(key))) throw new Error(`detach of ${text(key)} from ${lease}`);
  }

  /** Attachments as sorted texts, leases without keys left out. */
  attachments(): string[] {
    const all: string[] = [];
    for (const [lease, keys] of this.keys) for (const key of keys) all.push(`${lease}:${key}`);
    return all.sort();
  }
}

export interface TestStoreOptions {
  leases?: readonly bigint[];
  image?: MemoryImage;
  checkpoint?: CheckpointReader;
  restoreChunkRecords?: number;
  /** Of the record cache; 0 makes flushed records be read from storage. */
  cacheBytes?: number;
}

/** A store with everything under it. */
export class TestStore {
  readonly store: Store;
  readonly backend: Backend;
  readonly storage: MemoryStorage;
  readonly leases: TestLeases;
  readonly options: TestStoreOptions;
  #entries = 0;

  constructor(options: TestStoreOptions = {}) {
    this.options = options;
    this.storage = new MemoryStorage({ image: options.image ?? new MemoryImage() });
    this.backend = new Backend({ storage: this.storage, chunkBytes: 4096, cacheBytes: options.cacheBytes ?? 0 });
    this.leases = new TestLeases(options.leases);
    this.store = Store.open({
      backend: this.backend,
      leases: this.leases,
      log: silentLog,
      ...(options.checkpoint === undefined ? {} : { checkpoint: options.checkpoint }),
      ...(options.restoreChunkRecords === undefined ? {} : { restoreChunkRecords: options.restoreChunkRecords }),
    });
    this.#entries = this.backend.appliedIndex;
  }

  /** What was done so far was one entry. */
  applied(): void {
    this.#entries++;
    this.backend.applied(this.#entries, 1);
  }

  /** Makes everything applied durable. */
  flush(): void {
    this.applied();
    let failure: Error | null | undefined;
    this.backend.flush((error) => {
      failure = error;
    });
    while (this.storage.step()) {
      // One commit at a time; close and defragment are not used here.
    }
    if (failure instanceof Error) throw failure;
  }

  /** A new store over what was durable, as after a crash. Leases are as they were. */
  reopen(options: Partial<TestStoreOptions> = {}): TestStore {
    this.storage.crash();
    const { checkpoint: _, ...rest } = this.options;
    return new TestStore({ ...rest, leases: [...this.leases.keys.keys()], ...options, image: this.storage.image });
  }

  compactAll(budget = 1000): void {
    while (this.store.compactionStep(budget)) {
      // Until the queue is empty.
    }
  }

  hashKv(revision = 0, budget = 1000): { hash: number; compactRevision: number; revision: number } {
    const task = this.store.startHash(revision);
    while (task.step(budget)) {
      // Until everything is taken in.
    }
    return { hash: task.hash, compactRevision: task.compactRevision, revision: task.revision };
  }

  put(key: string, value = "", lease = 0n): number {
    return this.store.put(put(key, value, { lease })).revision;
  }

  delete(key: string, rangeEnd = ""): number {
    return this.store.deleteRange(deleteRange(key, rangeEnd)).deleted;
  }

  get(key: string, revision = 0): KeyValue | null {
    const span = new RecordSpan();
    const name = bytes(key);
    return this.store.get(name, 0, name.length, revision, span) ? decode(span.buffer, span.start, span.end) : null;
  }
}

export interface KeyValue {
  readonly key: string;
  readonly create: number;
  readonly mod: number;
  readonly version: number;
  readonly value: string;
  readonly lease: bigint;
}

export function decode(buffer: Uint8Array, start: number, end: number): KeyValue {
  const view = new RecordView();
  view.parse(buffer, start, end, 0, 0);
  return {
    key: text(view.copyKey()),
    create: view.createRevision,
    mod: view.modRevision,
    version: view.version,
    value: text(view.copyValue()),
    lease: view.lease,
  };
}

export function decodeAll(records: RecordList): KeyValue[] {
  const all: KeyValue[] = [];
  for (let i = 0; i < records.length; i++) {
    const record = records.toBytes(i);
    all.push(decode(record, 0, record.length));
  }
  return all;
}

export function keysOf(records: RecordList): string {
  return decodeAll(records)
    .map((kv) => kv.key)
    .join(" ");
}

export function range(key: string, rangeEnd = "", rest: Partial<RangeInput> = {}): RangeInput {
  return {
    key: bytes(key),
    rangeEnd: bytes(rangeEnd),
    limit: 0,
    revision: 0,
    sortOrder: 0,
    sortTarget: 0,
    serializable: false,
    keysOnly: false,
    countOnly: false,
    minModRevision: 0,
    maxModRevision: 0,
    minCreateRevision: 0,
    maxCreateRevision: 0,
    ...rest,
  };
}

export function put(key: string, value = "", rest: Partial<PutInput> = {}): PutInput {
  return {
    key: bytes(key),
    value: bytes(value),
    lease: 0n,
    prevKv: false,
    ignoreValue: false,
    ignoreLease: false,
    ...rest,
  };
}

export function deleteRange(key: string, rangeEnd = "", prevKv = false): DeleteRangeInput {
  return { key: bytes(key), rangeEnd: bytes(rangeEnd), prevKv };
}

export function compare(key: string, rest: Partial<CompareInput>): CompareInput {
  return {
    result: 0,
    target: 0,
    key: bytes(key),
    rangeEnd: EMPTY,
    version: 0,
    createRevision: 0,
    modRevision: 0,
    value: EMPTY,
    lease: 0n,
    ...rest,
  };
}

export function op(input: RangeInput | PutInput | DeleteRangeInput | TxnInput | null): OpInput {
  if (input === null) return { kind: "none", request: null };
  if ("success" in input) return { kind: "txn", request: input };
  if ("value" in input) return { kind: "put", request: input };
  if ("limit" in input) return { kind: "range", request: input };
  return { kind: "deleteRange", request: input };
}

export function txn(
  success: readonly OpInput[],
  failure: readonly OpInput[] = [],
  compares: readonly CompareInput[] = [],
): TxnInput {
  return { compare: compares, success, failure };
}
