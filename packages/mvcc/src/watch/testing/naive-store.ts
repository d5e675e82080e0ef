/**
 * A store for tests of watching: every change in one list, every answer found by looking at all of it. Compaction obeys
 * semantics §4.4 and removes at once.
 */

import type { RecordSpan, RecordVisitor } from "../../backend/storage.ts";
import { recordSize, tombstoneSize, writeRecord, writeTombstone } from "../../store/key-value.ts";
import type { CommittedChanges, WatchSource } from "../source.ts";
import type { WatchHub } from "../watch-hub.ts";

export type Write = { key: string; value: string } | { key: string };

export interface NaiveChange {
  readonly revision: number;
  readonly sub: number;
  readonly key: string;
  /** null: deleted. */
  readonly value: string | null;
  readonly createRevision: number;
  readonly record: Uint8Array;
}

export class NaiveStore implements WatchSource {
  revision = 1;
  compactRevision = -1;
  /** What is still stored. */
  changes: NaiveChange[] = [];
  /** What ever was, compacted or not. */
  readonly history: NaiveChange[] = [];
  /** Records that `changesFrom` has shown, for tests of how much a replay reads. */
  visitedCount = 0;

  /** One transaction: puts, and deletes of keys that exist. True if it changed something, which `hub` is told. */
  commit(writes: readonly Write[], hub: WatchHub | null): boolean {
    const revision = this.revision + 1;
    const made: NaiveChange[] = [];
    for (const write of writes) {
      const newest = made.findLast((change) => change.key === write.key) ?? this.#newest(write.key, this.revision);
      const isLive = newest !== undefined && newest.value !== null;
      if (!("value" in write) && !isLive) continue;
      const value = "value" in write ? write.value : null;
      const createRevision = isLive && value !== null ? newest.createRevision : revision;
      const record = encode(write.key, value, createRevision, revision);
      made.push({ revision, sub: made.length, key: write.key, value, createRevision, record });
    }
    if (made.length === 0) return false;
    this.revision = revision;
    this.changes.push(...made);
    this.history.push(...made);
    hub?.committed(revision, this.#committed(made));
    return true;
  }

  put(key: string, value: string, hub: WatchHub | null): void {
    this.commit([{ key, value }], hub);
  }

  delete(key: string, hub: WatchHub | null): void {
    this.commit([{ key }], hub);
  }

  compact(revision: number): void {
    this.compactRevision = revision;
    this.changes = this.changes.filter((change) => {
      if (change.revision > revision) return true;
      const isNewest = this.#newest(change.key, revision) === change;
      return isNewest && (change.value !== null || change.revision === revision);
    });
  }

  /** Another store with the same content, as a snapshot brings it. */
  snapshot(): NaiveStore {
    const store = new NaiveStore();
    store.revision = this.revision;
    store.compactRevision = this.compactRevision;
    store.changes = [...this.changes];
    store.history.push(...this.history);
    return store;
  }

  read(node: number, span: RecordSpan): void {
    lend(this.changes[node]!.record, span);
  }

  changesFrom(revision: number, visitor: RecordVisitor): void {
    if (revision < this.compactRevision) throw new Error(`changes from ${revision}: compacted`);
    for (const change of this.changes) {
      if (change.revision < revision) continue;
      this.visitedCount++;
      const lent = surrounded(change.record);
      const goesOn = visitor.visit(change.revision, change.sub, change.value === null, lent, 2, lent.length - 1);
      lent.fill(0xee); // the loan is over
      if (!goesOn) return;
    }
  }

  previous(key: Uint8Array, keyStart: number, keyEnd: number, revision: number, span: RecordSpan): boolean {
    if (revision - 1 < this.compactRevision) return false;
    const text = Buffer.from(key.subarray(keyStart, keyEnd)).toString("latin1");
    const found = this.#newest(text, revision - 1);
    if (found === undefined || found.value === null) return false;
    lend(found.record, span);
    return true;
  }

  #committed(made: readonly NaiveChange[]): CommittedChanges {
    const first = this.changes.length - made.length;
    return { length: made.length, node: (i) => first + i, isTombstone: (i) => made[i]!.value === null };
  }

  #newest(key: string, revision: number): NaiveChange | undefined {
    return this.changes.findLast((change) => change.key === key && change.revision <= revision);
  }
}

function encode(key: string, value: string | null, createRevision: number, revision: number): Uint8Array {
  const keyBytes = Buffer.from(key, "latin1");
  const { length } = keyBytes;
  if (value === null) {
    const record = new Uint8Array(tombstoneSize(length));
    writeTombstone(record, 0, keyBytes, 0, length);
    return record;
  }
  const valueBytes = Buffer.from(value);
  const version = createRevision === revision ? 1 : 2;
  const record = new Uint8Array(recordSize(length, createRevision, revision, version, valueBytes.length, 0n));
  writeRecord(record, 0, keyBytes, 0, length, createRevision, revision, version, valueBytes, 0, valueBytes.length, 0n);
  return record;
}

/** Somewhere inside a larger buffer, as the real ones are. */
function surrounded(record: Uint8Array): Uint8Array {
  const copy = new Uint8Array(record.length + 3).fill(0xdd);
  copy.set(record, 2);
  return copy;
}

function lend(record: Uint8Array, span: RecordSpan): void {
  span.buffer = surrounded(record);
  span.start = 2;
  span.end = 2 + record.length;
}
