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
import {
  describeOperation,
  Operation,
  type OperationAnswer,
  type OperationRequest,
  type StoredValue,
} from "./operation.ts";
import type { RevisionHistory } from "./revision-history.ts";

export interface KvClientOptions {
  readonly name: string;
  readonly keyCount: number;
  /** Middle of the time between an answer and the next call. */
  readonly thinkMs: number;
}

export class KvClient {
  readonly #world: ClientWorld;
  readonly #calls: Calls;
  readonly #history: RevisionHistory;
  readonly #options: KvClientOptions;
  /** Hears which member has taken a write. */
  onWrite: ((member: string) => void) | null = null;
  #isWaiting = false;
  #count = 0;
  #isStopped = false;
  /** Mod revisions last seen, by key: what a compare-and-set expects. */
  readonly #seen: Map<string, number> = new Map();

  constructor(world: ClientWorld, calls: Calls, history: RevisionHistory, options: KvClientOptions) {
    this.#world = world;
    this.#calls = calls;
    this.#history = history;
    this.#options = options;
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
    const operation = new Operation(this.#options.name, this.#choose(), time.nowMs, this.#history.floor);
    this.#history.called(operation);
    trace.line(this.#options.name, () => `asks ${at.name}: ${describeOperation(operation)}`);
    // Mostly as long as a member takes at most, at times far too short.
    const patienceMs = random.below(10) === 0 ? 20 + random.below(500) : 8000;
    this.#isWaiting = true;
    this.#ask(at, operation.request, patienceMs, (answer, error) => {
      this.#isWaiting = false;
      operation.returnedMs = time.nowMs;
      operation.answer = answer;
      trace.line(this.#options.name, () =>
        answer === null
          ? `knows nothing of: ${describeOperation(operation)} (${error})`
          : `is told: ${describeOperation(operation)}`,
      );
      this.#history.returned(operation);
      if (answer !== null) this.#learn(operation);
      if (operation.hasWritten) this.onWrite?.(at.name);
      this.#later();
    });
  }

  #choose(): OperationRequest {
    const { random } = this.#world;
    const key = `k${random.below(this.#options.keyCount)}`;
    const value = `${this.#options.name}.${++this.#count}`;
    const dice = random.below(100);
    if (dice < 35) return { kind: "put", key, value };
    if (dice < 65) return { kind: "get", key, isSerializable: false };
    if (dice < 72) return { kind: "get", key, isSerializable: true };
    if (dice < 82) return { kind: "delete", key };
    return { kind: "cas", key, expectedRevision: this.#seen.get(key) ?? 0, value };
  }

  #learn({ request, answer, hasWritten }: Operation): void {
    const { found, revision } = answer!;
    if (request.kind === "delete") this.#seen.set(request.key, 0);
    else this.#seen.set(request.key, hasWritten ? revision : (found?.modRevision ?? 0));
  }

  #ask(
    at: Served,
    request: OperationRequest,
    patienceMs: number,
    done: (answer: OperationAnswer | null, error: string) => void,
  ): void {
    const key = Buffer.from(request.key);
    const told = (read: (bytes: Buffer) => OperationAnswer) => (result: CallResult) => {
      if (result.bytes !== null) done(read(result.bytes), "");
      else done(null, result.error?.message ?? "no answer");
    };
    switch (request.kind) {
      case "put":
        this.#calls.call(
          at,
          "/etcdserverpb.KV/Put",
          PutRequest,
          { key, value: Buffer.from(request.value) },
          patienceMs,
          told((bytes) => answer(PutResponse.decode(bytes, 0, bytes.length).header!.revision, {})),
        );
        return;
      case "get":
        this.#calls.call(
          at,
          "/etcdserverpb.KV/Range",
          RangeRequest,
          { key, serializable: request.isSerializable },
          patienceMs,
          told((bytes) => {
            const { header, kvs } = RangeResponse.decode(bytes, 0, bytes.length);
            return answer(header!.revision, { found: storedValue(kvs[0]) });
          }),
        );
        return;
      case "delete":
        this.#calls.call(
          at,
          "/etcdserverpb.KV/DeleteRange",
          DeleteRangeRequest,
          { key },
          patienceMs,
          told((bytes) => {
            const { header, deleted } = DeleteRangeResponse.decode(bytes, 0, bytes.length);
            return answer(header!.revision, { deleted });
          }),
        );
        return;
      case "cas":
        this.#calls.call(at, "/etcdserverpb.KV/Txn", TxnRequest, casRequest(key, request), patienceMs, told(casAnswer));
        return;
      default:
        request satisfies never;
    }
  }
}

function casRequest(
  key: Buffer,
  request: Extract<OperationRequest, { kind: "cas" }>,
): Parameters<typeof TxnRequest.encode>[0] {
  return {
    compare: [{ result: CompareResult.EQUAL, target: CompareTarget.MOD, key, modRevision: request.expectedRevision }],
    success: [{ requestPut: { key, value: Buffer.from(request.value) } }],
    failure: [{ requestRange: { key } }],
  };
}

function casAnswer(bytes: Buffer): OperationAnswer {
  const { header, succeeded, responses } = TxnResponse.decode(bytes, 0, bytes.length);
  const kvs = responses[0]?.responseRange?.kvs ?? [];
  return answer(header!.revision, { succeeded, found: storedValue(kvs[0]) });
}

function answer(revision: number, rest: Partial<OperationAnswer>): OperationAnswer {
  return { revision, found: null, succeeded: false, deleted: 0, ...rest };
}

function storedValue(kv: KeyValue | undefined): StoredValue | null {
  if (kv === undefined) return null;
  return { value: Buffer.from(kv.value).toString(), modRevision: kv.modRevision };
}
