/**
 * A member's life as the store sees it: entries are applied, flushes complete whenever they do, compactions and
 * checkpoints go on between entries, readers and hashes hold revisions across turns, and the process is gone at any
 * moment. What was applied and not flushed is applied again, as the log would, and must come out the same.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HISTORY_KEY_BYTES, writeHistoryKey } from "../backend/history-key.ts";
import { MemoryImage } from "../backend/memory-storage.ts";
import { Rng } from "../backend/testing/records.ts";
import type { DeleteRangeInput, PutInput, TxnInput } from "./requests.ts";
import type { HashTask, Store } from "./store.ts";
import type { CheckpointTask } from "./store-checkpoint.ts";
import { decodeAll, deleteRange, type KeyValue, op, put, range, TestStore, txn } from "./testing/harness.ts";
import { NaiveStore, outcome } from "./testing/naive-store.ts";

// covers: AP-01, AP-03, AP-04, AP-11, ST-01, ST-02, ST-03, ST-05, ST-09, MV-08

const LEASES = [7n, 8n] as const;
const EVERYTHING = range("\0", "\0");

type Entry =
  | { readonly kind: "put"; readonly input: PutInput }
  | { readonly kind: "delete"; readonly input: DeleteRangeInput }
  | { readonly kind: "txn"; readonly input: TxnInput }
  | { readonly kind: "compact"; readonly revision: number };

/** What the entry did, in one comparable piece: the revision after it, or why it was refused. */
function applyTo(store: Store, entry: Entry): unknown {
  return outcome(() => {
    if (entry.kind === "put") store.put(entry.input);
    else if (entry.kind === "delete") store.deleteRange(entry.input);
    else if (entry.kind === "txn") store.txn(entry.input);
    else store.compact(entry.revision);
    return [store.revision, store.compactRevision];
  });
}

function applyToNaive(naive: NaiveStore, entry: Entry): unknown {
  return outcome(() => {
    if (entry.kind === "put") naive.put(entry.input);
    else if (entry.kind === "delete") naive.deleteRange(entry.input);
    else if (entry.kind === "txn") naive.txn(entry.input);
    else naive.compact(entry.revision);
    return [naive.revision, naive.compactRevision];
  });
}

function randomEntry(rng: Rng, naive: NaiveStore): Entry {
  const key = (): string => `k${String(rng.below(12)).padStart(2, "0")}`;
  const lease = (): bigint => (rng.below(3) === 0 ? LEASES[rng.below(2)]! : 0n);
  const value = (): string => `${naive.revision}-${"v".repeat(rng.below(60))}`;
  const kind = rng.below(20);
  if (kind < 9) return { kind: "put", input: put(key(), value(), { lease: lease() }) };
  if (kind < 13) return { kind: "delete", input: deleteRange(key(), rng.below(6) === 0 ? key() : "") };
  if (kind < 17) {
    // A key changed several times in one revision, as nested operations allow.
    const again = key();
    const nested = [op(put(again, "first")), op(txn([op(deleteRange(again))])), op(txn([op(put(again, value()))]))];
    const first = txn([op(txn(nested.slice(0, 1 + rng.below(3)))), op(put("z", value(), { lease: lease() }))]);
    return { kind: "txn", input: first };
  }
  // Sometimes refused: behind the last one, or beyond now.
  const isFarBehind = rng.below(2) === 0;
  const revision = isFarBehind ? naive.compactRevision + rng.below(4) : naive.revision + 1 - rng.below(12);
  return { kind: "compact", revision };
}

interface Reading {
  readonly records: ReturnType<Store["range"]>["records"];
  readonly revision: number;
  readonly expected: readonly KeyValue[];
}

interface Hashing {
  readonly task: HashTask;
  readonly expected: number | null;
}

class Life {
  readonly #rng: Rng;
  readonly #naive = new NaiveStore(LEASES);
  readonly #entries: Entry[] = [];
  readonly #outcomes: unknown[] = [];
  #it: TestStore;
  #readings: Reading[] = [];
  #hashings: Hashing[] = [];
  #saving: CheckpointTask | null = null;
  #chunks: Uint8Array[] = [];
  /** Whole ones, whether or not storage has caught up with them: every one must be refused or right. */
  #checkpoints: Uint8Array[] = [];

  readonly #firstRevision: number;

  /** `firstRevision` is that of a store that was written to before; 1: a new one. */
  constructor(seed: number, firstRevision: number) {
    this.#rng = new Rng(seed);
    this.#firstRevision = firstRevision;
    this.#naive.revision = firstRevision;
    this.#it = this.#newStore();
  }

  #newStore(): TestStore {
    const image = new MemoryImage();
    if (this.#firstRevision > 1) {
      // All that tells a store of its revision here is the note of a compaction.
      const note = Buffer.alloc(HISTORY_KEY_BYTES);
      writeHistoryKey(note, 0, this.#firstRevision, 0, false);
      image.table("meta").set(Buffer.from("scheduledCompactRev").toString("hex"), note);
      image.table("meta").set(Buffer.from("finishedCompactRev").toString("hex"), note);
      this.#naive.compactRevision = this.#firstRevision;
    }
    return new TestStore({ image, leases: LEASES, cacheBytes: 4096 * this.#rng.below(3), restoreChunkRecords: 5 });
  }

  live(steps: number): void {
    for (let step = 0; step < steps; step++) {
      const kind = this.#rng.below(40);
      if (kind < 14) this.#apply(randomEntry(this.#rng, this.#naive));
      else if (kind < 17) this.#beginFlush();
      else if (kind < 20) this.#it.storage.step();
      else if (kind < 26) this.#it.store.compactionStep(1 + this.#rng.below(30));
      else if (kind < 29) this.#read();
      else if (kind < 32) this.#hash();
      else if (kind < 36) this.#save();
      else if (kind < 38) this.#check();
      else this.#crash();
    }
    this.#check();
    this.#crash();
    this.#it.compactAll(3);
    this.#check();
    this.#compareWithOneLife();
  }

  #apply(entry: Entry): void {
    const expected = applyToNaive(this.#naive, entry);
    this.#entries.push(entry);
    this.#outcomes.push(expected);
    assert.deepEqual(applyTo(this.#it.store, entry), expected);
    this.#it.applied();
  }

  #beginFlush(): void {
    const { backend } = this.#it;
    if (!backend.isFlushing) backend.flush((error) => assert.equal(error, null));
  }

  /** An answer that takes longer than a turn to send; or the end of one. */
  #read(): void {
    const { store } = this.#it;
    const reading = this.#rng.below(3) > 0 ? this.#readings.shift() : undefined;
    if (reading !== undefined) {
      assert.deepEqual(decodeAll(reading.records), reading.expected);
      store.unpin(reading.revision);
      return;
    }
    const revision = this.#readableRevision();
    const asked = { ...EVERYTHING, revision, keysOnly: this.#rng.below(4) === 0 };
    const { records } = store.range(asked);
    store.pin(revision);
    this.#readings.push({ records, revision, expected: this.#naive.range(asked).kvs });
  }

  #hash(): void {
    const { store } = this.#it;
    if (this.#hashings.length === 0) {
      const revision = this.#readableRevision();
      const isCached = store.compactionHashes().some((hash) => hash.revision === revision);
      const expected = isCached ? null : this.#naive.hash(revision);
      this.#hashings.push({ task: store.startHash(revision), expected });
    }
    const { task, expected } = this.#hashings[0]!;
    if (task.step(1 + this.#rng.below(12))) return;
    this.#hashings.shift();
    if (expected !== null) assert.equal(task.hash, expected);
  }

  #readableRevision(): number {
    const { revision, compactRevision } = this.#it.store;
    const oldest = Math.max(1, compactRevision);
    return oldest + this.#rng.below(revision - oldest + 1);
  }

  #save(): void {
    if (this.#saving === null) {
      this.#chunks = [];
      this.#saving = this.#it.store.startCheckpoint((chunk) => this.#chunks.push(Uint8Array.from(chunk)));
    }
    if (this.#saving === null || this.#saving.step(1 + this.#rng.below(40))) return;
    this.#saving = null;
    this.#checkpoints.push(Buffer.concat(this.#chunks));
  }

  /** Nothing in memory is left; the log has everything from the entry after the flushed one. */
  #crash(): void {
    const rng = this.#rng;
    const recent = this.#checkpoints.slice(-4);
    const checkpoint = recent.length === 0 || rng.below(6) === 0 ? undefined : recent[rng.below(recent.length)]!;
    const damaged = checkpoint !== undefined && rng.below(8) === 0 ? Buffer.from(checkpoint) : checkpoint;
    if (damaged !== undefined && damaged !== checkpoint) damaged[rng.below(damaged.length)]! ^= 0x40;
    this.#it = this.#it.reopen(damaged === undefined ? {} : { checkpoint: readerOf(damaged) });
    this.#readings = [];
    this.#hashings = [];
    this.#saving = null;
    for (let i = this.#it.backend.flushedIndex; i < this.#entries.length; i++) {
      assert.deepEqual(
        applyTo(this.#it.store, this.#entries[i]!),
        this.#outcomes[i],
        "applied again, the same comes out",
      );
      this.#it.applied();
      if (rng.below(3) === 0) this.#it.store.compactionStep(1 + rng.below(4));
    }
  }

  /** What is stored is what a member stores that applied the same entries and never crashed. */
  #compareWithOneLife(): void {
    const { compactRevision } = this.#naive;
    const other = this.#newStore();
    this.#naive.compactRevision = compactRevision;
    for (const entry of this.#entries) {
      applyTo(other.store, entry);
      other.applied();
    }
    other.compactAll();
    const stored = [this.#it, other].map((it) => {
      it.flush();
      return it.storage.image.records.map(
        ({ main, sub, bytes }) => `${main}/${sub} ${Buffer.from(bytes).toString("hex")}`,
      );
    });
    assert.deepEqual(stored[0], stored[1]);
    assert.equal(this.#it.store.index.revisionCount, other.store.index.revisionCount);
    assert.equal(this.#it.store.index.keyCount, other.store.index.keyCount);
  }

  #check(): void {
    const { store, leases } = this.#it;
    const naive = this.#naive;
    assert.equal(this.#it.backend.appliedIndex, this.#entries.length);
    assert.deepEqual([store.revision, store.compactRevision], [naive.revision, naive.compactRevision]);
    assert.deepEqual(leases.attachments(), naive.attachments());
    for (let revision = Math.max(1, naive.compactRevision); revision <= naive.revision; revision++) {
      const at = { ...EVERYTHING, revision };
      assert.deepEqual(decodeAll(store.range(at).records), naive.range(at).kvs);
    }
    const seen: string[] = [];
    store.changesFrom(Math.max(1, naive.compactRevision), {
      visit: (main, sub, isTombstone) => seen.push(`${main}/${sub}${isTombstone ? "t" : ""}`) > 0,
    });
    const expected = naive
      .changesFrom(naive.compactRevision + 1)
      .map(({ main, sub, kv }) => `${main}/${sub}${kv === null ? "t" : ""}`);
    assert.deepEqual(expected.length === 0 ? [] : seen.slice(-expected.length), expected);
  }
}

function readerOf(all: Uint8Array): (length: number) => Uint8Array {
  let at = 0;
  return (length) => {
    const piece = all.subarray(at, at + length);
    at += piece.length;
    return piece;
  };
}

for (let seed = 1; seed <= 40; seed++) {
  // Every fifth crosses the revision that no longer fits 32 bits.
  const firstRevision = seed % 5 === 0 ? 2 ** 32 - 40 : 1;
  test(`crashes at any moment, with what was not flushed applied again, change nothing (seed ${seed})`, () => {
    new Life(seed, firstRevision).live(500);
  });
}
