import assert from "node:assert/strict";
import { test } from "node:test";
import { SortTarget } from "@quorate/api";
import { RecordSpan } from "../backend/storage.ts";
import type { RangeResult } from "./range.ts";
import type { CompareInput, DeleteRangeInput, OpInput, PutInput, RangeInput, TxnInput } from "./requests.ts";
import type { Store } from "./store.ts";
import {
  bytes,
  compare,
  decode,
  decodeAll,
  deleteRange,
  op,
  put,
  range,
  TestStore,
  text,
  txn,
} from "./testing/harness.ts";
import { NaiveStore, outcome } from "./testing/naive-store.ts";
import type { OpResult, TxnResult } from "./txn.ts";
import { checkTxn } from "./txn-check.ts";
import type { ChangeList } from "./write-txn.ts";

// covers: AP-07, AP-08, AP-11, ST-01, ST-02, ST-03, ST-05, ST-13, MV-03, MV-05, MV-06, MV-07, MV-08, MV-09, MV-10

const KEYS = ["a", "aa", "a\0", "b", "c", "d", "\0", "\xff", "\xff\xff", "\xd8\x00", "k1", "k2"] as const;
const ENDS = ["", "", "", "\0", "b", "c", "z", "\xff", "aa", "a\0"] as const;
const LEASES = [7n, -3n, 2n ** 62n + 1n] as const;

/** Every choice of a run comes from its seed. */
class Chance {
  #state: number;
  constructor(seed: number) {
    this.#state = seed * 2654435761 + 1;
  }
  below(bound: number): number {
    // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % bound;
  }
  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }
  percent(chance: number): boolean {
    return this.below(100) < chance;
  }
}

class Requests {
  readonly #chance: Chance;
  readonly #naive: NaiveStore;

  constructor(chance: Chance, naive: NaiveStore) {
    this.#chance = chance;
    this.#naive = naive;
  }

  #revision(): number {
    return this.#chance.below(this.#naive.revision + 4) - 1;
  }

  put(): PutInput {
    const chance = this.#chance;
    const ignoreValue = chance.percent(15);
    const ignoreLease = chance.percent(15);
    const lease = ignoreLease || chance.percent(60) ? 0n : chance.percent(10) ? 99n : chance.of(LEASES);
    const value = ignoreValue ? "" : "v".repeat(chance.below(40)) + String(chance.below(9));
    return put(chance.of(KEYS), value, { lease, ignoreValue, ignoreLease, prevKv: chance.percent(30) });
  }

  delete(): DeleteRangeInput {
    return deleteRange(this.#chance.of(KEYS), this.#chance.of(ENDS), this.#chance.percent(50));
  }

  range(): RangeInput {
    const chance = this.#chance;
    const bound = () => (chance.percent(15) ? this.#revision() : 0);
    return range(chance.of(KEYS), chance.of(ENDS), {
      limit: chance.percent(50) ? chance.below(5) - 1 : 0,
      revision: chance.percent(50) ? this.#revision() : 0,
      sortOrder: chance.below(3),
      sortTarget: chance.percent(50) ? 0 : chance.below(5),
      keysOnly: chance.percent(25),
      countOnly: chance.percent(10),
      minModRevision: bound(),
      maxModRevision: bound(),
      minCreateRevision: bound(),
      maxCreateRevision: bound(),
    });
  }

  compare(): CompareInput {
    const chance = this.#chance;
    const small = () => (chance.percent(40) ? 0 : this.#revision());
    return compare(chance.of(KEYS), {
      rangeEnd: bytes(chance.of(ENDS)),
      result: chance.below(5),
      target: chance.below(6),
      version: chance.below(4),
      createRevision: small(),
      modRevision: chance.percent(5) ? Number.MAX_SAFE_INTEGER : small(),
      value: bytes(chance.percent(50) ? "" : `vv${chance.below(9)}`),
      lease: chance.of([0n, ...LEASES]),
    });
  }

  op(depth: number): OpInput {
    const kind = this.#chance.below(depth > 0 ? 5 : 4);
    if (kind === 4) return op(this.txn(depth - 1));
    // In key order, so that the answer is one alone; ranges in any order have their own step.
    return op(kind === 0 ? { ...this.range(), sortTarget: SortTarget.KEY } : kind === 1 ? this.delete() : this.put());
  }

  txn(depth: number): TxnInput {
    const chance = this.#chance;
    const ops = () => Array.from({ length: chance.below(4) }, () => this.op(depth));
    return txn(
      ops(),
      ops(),
      Array.from({ length: chance.below(3) }, () => this.compare()),
    );
  }

  /** One that validation lets through. */
  validTxn(): TxnInput {
    for (;;) {
      const candidate = this.txn(2);
      if (outcome(() => checkTxn(candidate, 128)) === undefined) return candidate;
    }
  }
}

function plainRange(result: RangeResult): object {
  const { records, revision, more, count } = result;
  for (let i = 0; i < records.length; i++) assert.equal(records.toBytes(i).length, records.sizeBytes(i));
  return { revision, count, more, kvs: decodeAll(records) };
}

function plainOp(result: OpResult): object {
  if (result.responseRange !== null) return plainRange(result.responseRange);
  if (result.responsePut !== null) {
    const { revision, prevKv } = result.responsePut;
    return { revision, prevKv: prevKv && decodeAll(prevKv) };
  }
  if (result.responseDeleteRange !== null) {
    const { revision, deleted, prevKvs } = result.responseDeleteRange;
    return { revision, deleted, prevKvs: prevKvs && decodeAll(prevKvs) };
  }
  if (result.responseTxn !== null) return plainNested(result.responseTxn);
  return {};
}

function plainNested(result: TxnResult): object {
  return { succeeded: result.succeeded, responses: result.responses.map(plainOp) };
}

/** Ties have no order: equal as multisets of records if sorted by something that is no key. */
function assertSameRange(ours: object | string, naive: object | string, input: RangeInput): void {
  if (typeof ours === "string" || typeof naive === "string" || input.sortTarget === 0) {
    assert.deepEqual(ours, naive);
    return;
  }
  const isCut = (naive as { more: boolean }).more;
  const normal = (of: object) => {
    const { kvs, ...rest } = of as { kvs: { key: string }[] };
    const keys = isCut ? kvs.length : [...kvs].sort((a, b) => (a.key < b.key ? -1 : 1));
    return { ...rest, keys, targets: kvs.map((kv) => sortedBy(kv, input)) };
  };
  assert.deepEqual(normal(ours), normal(naive));
}

function sortedBy(kv: object, input: RangeInput): unknown {
  const name = ["key", "version", "create", "mod", "value"][input.sortTarget]!;
  return input.keysOnly && name === "value" ? null : (kv as Record<string, unknown>)[name];
}

function checkEverything(it: TestStore, naive: NaiveStore): void {
  const { store } = it;
  assert.equal(store.revision, naive.revision);
  assert.equal(store.compactRevision, naive.compactRevision);
  assert.deepEqual(it.leases.attachments(), naive.attachments());
  const all = range("\0", "\0");
  for (let revision = Math.max(1, naive.compactRevision); revision <= naive.revision; revision++) {
    const at = { ...all, revision };
    assert.deepEqual(plainRange(store.range(at)), naive.range(at));
  }
  checkHistory(store, naive);
}

/** A watch from any readable revision sees exactly what happened, each event with what was there before. */
function checkHistory(store: Store, naive: NaiveStore): void {
  const from = Math.max(1, naive.compactRevision);
  const seen: object[] = [];
  store.changesFrom(from, {
    visit: (main, sub, isTombstone, buffer, start, end) => {
      const kv = decode(buffer, start, end);
      seen.push({ main, sub, key: kv.key, kv: isTombstone ? null : kv });
      return true;
    },
  });
  const atCompacted = naive.compactRevision;
  const expected = naive.changesFrom(from).filter((change) => {
    if (change.main !== atCompacted) return true;
    // At the compacted revision itself, what the same transaction overwrote is gone.
    return naive.changes.filter((c) => c.key === change.key && c.main === atCompacted).at(-1) === change;
  });
  const stillThere = seen.filter(
    (change) => (change as { main: number }).main !== atCompacted || expected.some((e) => same(e, change)),
  );
  assert.deepEqual(stillThere, expected);
  const span = new RecordSpan();
  for (const change of expected) {
    const key = bytes(change.key);
    const before = change.main - 1 < atCompacted ? null : naive.at(change.key, change.main - 1);
    const found = store.previous(key, 0, key.length, change.main, span);
    assert.deepEqual(found ? decode(span.buffer, span.start, span.end) : null, before);
  }
}

function same(a: { main: number; sub: number }, b: object): boolean {
  return a.main === (b as typeof a).main && a.sub === (b as typeof a).sub;
}

/** Listens to commits and compares each with what the naive store did. */
function listenTo(it: TestStore, naive: NaiveStore): { check(): void } {
  const heard: { main: number; sub: number; key: string; isTombstone: boolean; isCreation: boolean }[] = [];
  const span = new RecordSpan();
  const listen = (revision: number, changes: ChangeList) => {
    for (let i = 0; i < changes.length; i++) {
      it.store.read(changes.node(i), span);
      const kv = decode(span.buffer, span.start, span.end);
      const key = Buffer.alloc(it.store.index.keyLength(changes.slot(i)));
      it.store.index.copyKey(changes.slot(i), key, 0);
      assert.equal(text(key), kv.key);
      const isCreation = changes.isCreation(i);
      heard.push({ main: revision, sub: i, key: kv.key, isTombstone: changes.isTombstone(i), isCreation });
    }
  };
  it.store.listen({ committed: listen });
  const from = naive.changes.length;
  return {
    check: () => {
      const expected = naive.changes.slice(from).map(({ main, sub, key, kv }) => {
        return { main, sub, key, isTombstone: kv === null, isCreation: kv !== null && kv.create === main };
      });
      assert.deepEqual(heard, expected);
    },
  };
}

function run(seed: number, steps: number): void {
  const chance = new Chance(seed);
  const naive = new NaiveStore(LEASES);
  const requests = new Requests(chance, naive);
  let it = new TestStore({
    leases: LEASES,
    cacheBytes: chance.of([0, 16 * 1024]),
    restoreChunkRecords: 1 + chance.below(7),
  });
  let listener = listenTo(it, naive);
  let checkpoint: Uint8Array[] | null = null;
  for (let step = 0; step < steps; step++) {
    switch (chance.below(14)) {
      case 0:
      case 1:
      case 2: {
        const input = requests.put();
        const ours = outcome(() => it.store.put(input));
        const plain = typeof ours === "string" ? ours : { ...ours, prevKv: ours.prevKv && decodeAll(ours.prevKv) };
        assert.deepEqual(
          plain,
          outcome(() => naive.put(input)),
        );
        break;
      }
      case 3: {
        const input = requests.delete();
        const ours = it.store.deleteRange(input);
        assert.deepEqual({ ...ours, prevKvs: ours.prevKvs && decodeAll(ours.prevKvs) }, naive.deleteRange(input));
        break;
      }
      case 4:
      case 5:
      case 6:
      case 7: {
        const input = requests.validTxn();
        const ours = outcome(() => it.store.txn(input));
        const plain = typeof ours === "string" ? ours : { ...plainNested(ours), revision: ours.revision };
        const expected = outcome(() => naive.txn(input));
        assert.deepEqual(plain, expected);
        break;
      }
      case 8:
      case 9: {
        const input = requests.range();
        const ours = outcome(() => plainRange(it.store.range(input)));
        assertSameRange(
          ours,
          outcome(() => naive.range(input)),
          input,
        );
        break;
      }
      case 10: {
        const revision = chance.percent(50) ? naive.revision - chance.below(8) : chance.below(naive.revision + 2) - 1;
        assert.equal(
          outcome(() => it.store.compact(revision)),
          outcome(() => naive.compact(revision)),
        );
        break;
      }
      case 11:
        for (let slices = chance.below(4); slices >= 0; slices--) it.store.compactionStep(1 + chance.below(9));
        break;
      case 12: {
        const revision = chance.percent(50) ? 0 : naive.compactRevision + chance.below(5);
        const isAskable = revision <= naive.revision && revision >= Math.max(0, naive.compactRevision);
        const isCached = it.store.compactionHashes().some((hash) => hash.revision === revision);
        const expected = isAskable && !isCached ? naive.hash(revision) : null;
        if (expected !== null) assert.equal(it.hashKv(revision, 1 + chance.below(9)).hash, expected);
        break;
      }
      default:
        if (chance.percent(50)) {
          if (chance.percent(50)) checkpoint = takeCheckpoint(it.store, chance) ?? checkpoint;
          it.flush();
        }
        if (chance.percent(20)) {
          it.flush();
          listener.check();
          it = it.reopen(checkpoint === null ? {} : { checkpoint: readerOf(checkpoint) });
          listener = listenTo(it, naive);
        }
    }
    it.applied();
    if (chance.percent(4)) checkEverything(it, naive);
  }
  listener.check();
  checkEverything(it, naive);
  it.compactAll(2);
  checkEverything(it, naive);
  it.flush();
  checkEverything(it.reopen(), naive);
}

function takeCheckpoint(store: Store, chance: Chance): Uint8Array[] | null {
  const chunks: Uint8Array[] = [];
  const task = store.startCheckpoint((chunk) => chunks.push(Uint8Array.from(chunk)));
  if (task === null) return null;
  while (task.step(1 + chance.below(5))) {
    // Until it is written.
  }
  return chunks;
}

function readerOf(chunks: readonly Uint8Array[]): (length: number) => Uint8Array {
  const all = Buffer.concat(chunks);
  let at = 0;
  return (length) => {
    const piece = all.subarray(at, at + length);
    at += piece.length;
    return piece;
  };
}

for (let seed = 1; seed <= 24; seed++) {
  test(`the store agrees with a naive one under random requests, compactions, flushes and restarts (seed ${seed})`, () => {
    run(seed, 250);
  });
}
