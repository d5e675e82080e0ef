/** A client that reads and writes a few keys, one call at a time, each at any member, and notes what it was told. */
import { Buffer } from "node:buffer";
import { CompareResult, CompareTarget } from "@quorate/api";
import {
  DeleteRangeRequest,
  DeleteRangeResponse,
  type KeyValue,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  TxnResponse,
} from "@quorate/api/messages";
import type { CallResult, Calls, ClientWorld, Served } from "./clients.ts";
import type { History } from "./history.ts";
import { changedStore, describeOperation, type Found, type KvInput, type KvOutput } from "./linearizability/index.ts";

export interface KvClientOptions {
  /** c1 is number 1. */
  readonly number: number;
  readonly keyCount: number;
  /** Middle of the time between an answer and the next call. */
  readonly thinkMs: number;
}

/** Longer than a member takes to say that it cannot answer. */
const PATIENCE_MS = 8000;

export class KvClient {
  readonly #world: ClientWorld;
  readonly #calls: Calls;
  readonly #history: History;
  readonly #options: KvClientOptions;
  readonly #name: string;
  /** Hears which member has taken a write. */
  onWrite: ((member: string) => void) | null = null;
  #isWaiting = false;
  #count = 0;
  #isStopped = false;
  /** What was last seen of each key: what a compare expects. */
  readonly #seen: Map<string, Found | null> = new Map();

  constructor(world: ClientWorld, calls: Calls, history: History, options: KvClientOptions) {
    this.#world = world;
    this.#calls = calls;
    this.#history = history;
    this.#options = options;
    this.#name = `c${options.number}`;
    this.#later();
  }

  /** A call is on its way. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  stop(): void {
    this.#isStopped = true;
  }

  #later(): void {
    const { time, random } = this.#world;
    time.after((this.#options.thinkMs * random.below(2000)) / 1000, () => this.#next());
  }

  #next(): void {
    if (this.#isStopped) return;
    const { random, time, trace } = this.#world;
    const served = this.#world.served();
    if (served.length === 0) {
      this.#later();
      return;
    }
    const at = served[random.below(served.length)]!;
    const input = this.#choose();
    const isSerializable = input.kind === "get" && random.below(5) === 0;
    const question = this.#history.ask(this.#options.number, time.nowMs, input, isSerializable);
    trace.line(this.#name, () => `asks ${at.name}: ${isSerializable ? "serializable " : ""}${JSON.stringify(input)}`);
    const patienceMs = random.below(10) === 0 ? 20 + random.below(500) : PATIENCE_MS;
    this.#isWaiting = true;
    this.#ask(at, input, isSerializable, patienceMs, (output, error) => {
      this.#isWaiting = false;
      const operation = { client: this.#options.number, call: question.callMs, return: time.nowMs, input, output };
      trace.line(this.#name, () => `told by ${at.name}: ${output === null ? error : describeOperation(operation)}`);
      this.#history.answered(question, time.nowMs, output);
      this.#learn(input, output);
      if (changedStore(operation)) this.onWrite?.(at.name);
      this.#later();
    });
  }

  #choose(): KvInput {
    const { random } = this.#world;
    const key = `k${random.below(this.#options.keyCount)}`;
    const value = `${this.#name}.${++this.#count}`;
    const dice = random.below(100);
    if (dice < 35) return { kind: "put", key, value };
    if (dice < 70) return { kind: "get", key };
    if (dice < 80) return { kind: "delete", key };
    const seen = this.#seen.get(key) ?? null;
    const write = random.below(5) === 0 ? null : value;
    if (seen !== null && random.below(3) === 0) {
      return { kind: "txn", key, compare: { target: "value", value: seen.value }, write };
    }
    return { kind: "txn", key, compare: { target: "mod", modRevision: seen?.modRevision ?? 0 }, write };
  }

  #learn(input: KvInput, output: KvOutput | null): void {
    if (output === null) return;
    if (output.kind === "put" && input.kind === "put") {
      this.#seen.set(input.key, { value: input.value, modRevision: output.revision });
    } else if (output.kind === "get" || output.kind === "txn") {
      this.#seen.set(input.key, output.found);
    } else {
      this.#seen.set(input.key, null);
    }
  }

  #ask(
    at: Served,
    input: KvInput,
    isSerializable: boolean,
    patienceMs: number,
    done: (output: KvOutput | null, error: string) => void,
  ): void {
    const key = Buffer.from(input.key);
    const told = (read: (bytes: Buffer) => KvOutput) => (result: CallResult) => {
      if (result.bytes !== null) done(read(result.bytes), "");
      else done(null, result.error?.message ?? "no answer");
    };
    const calls = this.#calls;
    switch (input.kind) {
      case "put": {
        const request = { key, value: Buffer.from(input.value) };
        calls.call(at, "/etcdserverpb.KV/Put", PutRequest, request, patienceMs, told(readPut));
        return;
      }
      case "get": {
        const request = { key, serializable: isSerializable };
        calls.call(at, "/etcdserverpb.KV/Range", RangeRequest, request, patienceMs, told(readRange));
        return;
      }
      case "delete":
        calls.call(at, "/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, { key }, patienceMs, told(readDelete));
        return;
      case "txn":
        calls.call(at, "/etcdserverpb.KV/Txn", TxnRequest, txnRequest(key, input), patienceMs, told(readTxn));
        return;
      default:
        input satisfies never;
    }
  }
}

function txnRequest(
  key: Buffer,
  { compare, write }: Extract<KvInput, { kind: "txn" }>,
): Parameters<typeof TxnRequest.encode>[0] {
  const condition =
    compare.target === "mod"
      ? { target: CompareTarget.MOD, modRevision: compare.modRevision }
      : { target: CompareTarget.VALUE, value: Buffer.from(compare.value) };
  return {
    compare: [{ result: CompareResult.EQUAL, key, ...condition }],
    success: [write === null ? { requestDeleteRange: { key } } : { requestPut: { key, value: Buffer.from(write) } }],
    failure: [{ requestRange: { key } }],
  };
}

function readPut(bytes: Buffer): KvOutput {
  return { kind: "put", revision: PutResponse.decode(bytes, 0, bytes.length).header!.revision };
}

function readRange(bytes: Buffer): KvOutput {
  const { header, kvs } = RangeResponse.decode(bytes, 0, bytes.length);
  return { kind: "get", revision: header!.revision, found: foundIn(kvs) };
}

function readDelete(bytes: Buffer): KvOutput {
  const { header, deleted } = DeleteRangeResponse.decode(bytes, 0, bytes.length);
  return { kind: "delete", revision: header!.revision, deleted };
}

function readTxn(bytes: Buffer): KvOutput {
  const { header, succeeded, responses } = TxnResponse.decode(bytes, 0, bytes.length);
  const found = foundIn(responses[0]?.responseRange?.kvs ?? []);
  return { kind: "txn", revision: header!.revision, succeeded, found };
}

function foundIn(kvs: readonly KeyValue[]): Found | null {
  const kv = kvs[0];
  return kv === undefined ? null : { value: Buffer.from(kv.value).toString(), modRevision: kv.modRevision };
}
