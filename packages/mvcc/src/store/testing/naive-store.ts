/**
 * The store as one would write it in an afternoon: every change ever made in one list, every answer a search through
 * it. Nothing is ever removed; what compaction takes away it merely refuses to show.
 */

import { crc32c } from "@quorate/crc32c";
import type { CompareInput, DeleteRangeInput, OpInput, PutInput, RangeInput, TxnInput } from "../requests.ts";
import { type KeyValue, text } from "./harness.ts";

interface Change {
  readonly main: number;
  readonly sub: number;
  readonly key: string;
  /** null for a tombstone. */
  readonly kv: KeyValue | null;
}

/** What a refused request is refused for. */
export type Refusal = "Compacted" | "FutureRevision" | "LeaseNotFound" | "KeyNotFound";

class Refused {
  readonly kind: Refusal;
  constructor(kind: Refusal) {
    this.kind = kind;
  }
}

/** Runs `body`, turning a refusal into its kind. */
export function outcome<T>(body: () => T): T | Refusal {
  try {
    return body();
  } catch (error) {
    if (error instanceof Refused) return error.kind;
    if (error instanceof Error && "kind" in error && error.kind !== "BrokenInvariant") return error.kind as Refusal;
    throw error;
  }
}

export interface NaiveRange {
  readonly revision: number;
  readonly count: number;
  readonly more: boolean;
  readonly kvs: readonly KeyValue[];
}

export class NaiveStore {
  readonly changes: Change[] = [];
  readonly leases: Set<bigint>;
  revision = 1;
  compactRevision = -1;
  #sub = 0;
  /** The main revision changes get. */
  #main = 2;

  constructor(leases: Iterable<bigint>) {
    this.leases = new Set(leases);
  }

  put(put: PutInput): object {
    return this.#transact(() => {
      this.#checkPut(put);
      return this.#put(put);
    });
  }

  deleteRange(input: DeleteRangeInput): object {
    return this.#transact(() => this.#delete(input));
  }

  txn(input: TxnInput): object {
    return this.#transact(() => {
      const plan = this.#plan(input);
      this.#checkPlan(plan, []);
      const result = this.#execute(plan);
      return { ...result, revision: this.#now };
    });
  }

  compact(revision: number): void {
    if (revision <= this.compactRevision) throw new Refused("Compacted");
    if (revision > this.revision) throw new Refused("FutureRevision");
    this.compactRevision = revision;
  }

  /** The key as a reader at `revision` sees it. */
  at(key: string, revision: number): KeyValue | null {
    let kv: KeyValue | null = null;
    for (const change of this.changes) if (change.key === key && change.main <= revision) kv = change.kv;
    return kv;
  }

  range(input: RangeInput): NaiveRange {
    const now = this.#now;
    const revision = input.revision <= 0 ? now : input.revision;
    if (revision > now) throw new Refused("FutureRevision");
    if (revision < this.compactRevision) throw new Refused("Compacted");
    const all = this.#visible(text(input.key), text(input.rangeEnd), revision);
    if (input.countOnly) return { revision: now, count: all.length, more: false, kvs: [] };
    return { revision: now, count: all.length, ...select(all, input) };
  }

  /** What is still worth reading from `revision` on. */
  changesFrom(revision: number): Change[] {
    return this.changes.filter((change) => change.main >= revision);
  }

  /** null where the answer depends on how far the removal has come: nothing is live at the revision. */
  hash(asked: number): number | null {
    const revision = asked === 0 ? this.revision : asked;
    const keep = new Set<Change>();
    for (const key of new Set(this.changes.map((change) => change.key))) {
      const newest = this.changes.filter((change) => change.key === key && change.main <= revision).at(-1);
      if (newest?.kv) keep.add(newest);
    }
    if (keep.size === 0 && this.compactRevision >= 0) return null;
    let crc = crc32c(Buffer.from("key"));
    for (const change of this.changes) {
      if (change.main > revision) break;
      if (change.main <= this.compactRevision && !keep.has(change)) continue;
      const name = Buffer.alloc(17);
      name.writeBigUInt64BE(BigInt(change.main));
      name.write("_", 8);
      name.writeBigUInt64BE(BigInt(change.sub), 9);
      crc = crc32c(name, crc);
      if (change.kv === null) crc = crc32c(Buffer.from("t"), crc);
      crc = crc32c(encode(change), crc);
    }
    return crc;
  }

  /** As TestLeases.attachments. */
  attachments(): string[] {
    return this.#visible("\0", "\0", this.revision)
      .filter((kv) => this.leases.has(kv.lease))
      .map((kv) => `${kv.lease}:${kv.key}`)
      .sort();
  }

  get #now(): number {
    return this.#sub === 0 ? this.revision : this.#main;
  }

  #transact<T>(body: () => T): T {
    this.#main = this.revision + 1;
    this.#sub = 0;
    const result = body();
    this.revision = this.#now;
    this.#sub = 0;
    return result;
  }

  #visible(key: string, rangeEnd: string, revision: number): KeyValue[] {
    const keys = [...new Set(this.changes.map((change) => change.key))].sort();
    return keys
      .filter((k) => (rangeEnd === "" ? k === key : k >= key && (rangeEnd === "\0" || k < rangeEnd)))
      .map((k) => this.at(k, revision))
      .filter((kv) => kv !== null);
  }

  #push(key: string, kv: KeyValue | null): void {
    this.changes.push({ main: this.#main, sub: this.#sub++, key, kv });
  }

  #checkPut(put: PutInput): void {
    if (put.lease !== 0n && !this.leases.has(put.lease)) throw new Refused("LeaseNotFound");
    if ((put.ignoreValue || put.ignoreLease) && this.at(text(put.key), this.revision) === null) {
      throw new Refused("KeyNotFound");
    }
  }

  #put(put: PutInput): object {
    const key = text(put.key);
    const old = this.at(key, this.#main);
    this.#push(key, {
      key,
      create: old?.create ?? this.#main,
      mod: this.#main,
      version: (old?.version ?? 0) + 1,
      value: put.ignoreValue ? old!.value : text(put.value),
      lease: put.ignoreLease ? old!.lease : put.lease,
    });
    return { revision: this.#now, prevKv: put.prevKv ? (old === null ? [] : [old]) : null };
  }

  #delete(input: DeleteRangeInput): object {
    const old = this.#visible(text(input.key), text(input.rangeEnd), this.#main);
    for (const kv of old) this.#push(kv.key, null);
    return { revision: this.#now, deleted: old.length, prevKvs: input.prevKv ? old : null };
  }

  #plan(input: TxnInput): NaivePlan {
    const succeeded = input.compare.every((compare) => this.#holds(compare));
    const ops = succeeded ? input.success : input.failure;
    return { succeeded, steps: ops.map((op) => ({ op, nested: op.kind === "txn" ? this.#plan(op.request) : null })) };
  }

  #holds(compare: CompareInput): boolean {
    const kvs = this.#visible(text(compare.key), text(compare.rangeEnd), this.revision);
    if (kvs.length === 0) {
      if (compare.target === 3) return false;
      return matches(compare, { key: "", create: 0, mod: 0, version: 0, value: "", lease: 0n });
    }
    return kvs.every((kv) => matches(compare, kv));
  }

  #checkPlan(plan: NaivePlan, earlier: OpInput[]): void {
    for (const { op, nested } of plan.steps) {
      if (op.kind === "range" && op.request.revision !== 0) {
        if (op.request.revision > this.revision) throw new Refused("FutureRevision");
        if (op.request.revision < this.compactRevision) throw new Refused("Compacted");
      }
      if (op.kind === "put") {
        this.#checkPut(op.request);
        const { key, ignoreValue, ignoreLease } = op.request;
        const isGone = earlier.some((e) => e.kind === "deleteRange" && covers(e.request, text(key)));
        if ((ignoreValue || ignoreLease) && isGone) throw new Refused("KeyNotFound");
      }
      earlier.push(op);
      if (nested) this.#checkPlan(nested, earlier);
    }
  }

  #execute(plan: NaivePlan): object {
    const responses: object[] = plan.steps.map(({ op, nested }) => {
      if (op.kind === "range") return this.range(op.request);
      if (op.kind === "put") return this.#put(op.request);
      if (op.kind === "deleteRange") return this.#delete(op.request);
      return nested ? this.#execute(nested) : {};
    });
    return { succeeded: plan.succeeded, responses };
  }
}

interface NaivePlan {
  readonly succeeded: boolean;
  readonly steps: readonly { readonly op: OpInput; readonly nested: NaivePlan | null }[];
}

function covers(input: DeleteRangeInput, key: string): boolean {
  const start = text(input.key);
  const end = text(input.rangeEnd);
  return end === "" ? key === start : key >= start && (end === "\0" || key < end);
}

function select(all: readonly KeyValue[], input: RangeInput): { more: boolean; kvs: KeyValue[] } {
  const { sortOrder: order, sortTarget: target, limit } = input;
  const isFiltered =
    input.minModRevision !== 0 ||
    input.maxModRevision !== 0 ||
    input.minCreateRevision !== 0 ||
    input.maxCreateRevision !== 0;
  const isDefaultOrder = order === 0 || (target === 0 && order === 1);
  let kvs = [...all];
  if (isDefaultOrder && !isFiltered && limit > 0) kvs = kvs.slice(0, limit + 1);
  if (input.maxModRevision !== 0) kvs = kvs.filter((kv) => kv.mod <= input.maxModRevision);
  if (input.minModRevision !== 0) kvs = kvs.filter((kv) => kv.mod >= input.minModRevision);
  if (input.maxCreateRevision !== 0) kvs = kvs.filter((kv) => kv.create <= input.maxCreateRevision);
  if (input.minCreateRevision !== 0) kvs = kvs.filter((kv) => kv.create >= input.minCreateRevision);
  if (target !== 0 || order === 2) {
    kvs.sort((a, b) => compareBy(target, a, b));
    if (order === 2) kvs.reverse();
  }
  const more = limit > 0 && kvs.length > limit;
  if (more) kvs = kvs.slice(0, limit);
  if (input.keysOnly) kvs = kvs.map((kv) => ({ ...kv, value: "", lease: target === 4 ? kv.lease : 0n }));
  return { more, kvs };
}

function compareBy(target: number, a: KeyValue, b: KeyValue): number {
  switch (target) {
    case 1:
      return a.version - b.version;
    case 2:
      return a.create - b.create;
    case 3:
      return a.mod - b.mod;
    case 4:
      return order(a.value, b.value);
    default:
      return order(a.key, b.key);
  }
}

function order(a: string | bigint, b: string | bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function matches(compare: CompareInput, kv: KeyValue): boolean {
  const differences = [
    kv.version - compare.version,
    kv.create - compare.createRevision,
    kv.mod - compare.modRevision,
    order(kv.value, text(compare.value)),
    order(kv.lease, compare.lease),
  ];
  const difference = differences[compare.target] ?? 0;
  return [difference === 0, difference > 0, difference < 0, difference !== 0][compare.result] ?? true;
}

/** The canonical KeyValue, written the long way. */
function encode(change: Change): Uint8Array {
  const { kv, key } = change;
  const out: number[] = [0x0a, ...varint(BigInt(key.length)), ...Buffer.from(key, "latin1")];
  if (kv === null) return Uint8Array.from(out);
  out.push(0x10, ...varint(BigInt(kv.create)), 0x18, ...varint(BigInt(kv.mod)), 0x20, ...varint(BigInt(kv.version)));
  if (kv.value !== "") out.push(0x2a, ...varint(BigInt(kv.value.length)), ...Buffer.from(kv.value, "latin1"));
  if (kv.lease !== 0n) out.push(0x30, ...varint(kv.lease));
  return Uint8Array.from(out);
}

function varint(value: bigint): number[] {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 128n; rest >>= 7n) out.push(Number(rest & 127n) | 128);
  out.push(Number(rest));
  return out;
}
