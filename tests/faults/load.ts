/**
 * Load on a cluster that writes down what it asked and what it was told, for the checks afterwards.
 *
 * A few keys are put, read, deleted and swapped by several clients, each with connections of its own, so that there is much
 * to disagree about; one more client changes two keys at a time. Watchers follow all of it from revision 1 on, and carry on
 * behind what they have seen whenever they are cut off.
 *
 * What a failed write means: it certainly had no effect if nothing was sent or the answer is a refusal that comes before
 * anything is proposed. Everything else, from a timeout to a connection lost, leaves the outcome unknown. A failed read is
 * as if it had never been.
 */
import { CompareTarget } from "@quorate/api";
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
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import { RpcError } from "@quorate/rpc";
import type { Compare, Found, KvInput, KvOutput, Operation, WatchEvent, WatchSession } from "@quorate/sim";
import { type Cluster, type ClusterMember, until } from "../harness/cluster.ts";
import { sleep } from "../harness/processes.ts";
import { Calls, send } from "../harness/rpc.ts";

/** All keys of the load are between these. */
export const LOAD_START = "load/";
export const LOAD_END = "load0";
/** Those with a recorded history. */
const KEYS = "load/key/";
export const PAIRS = "load/pair/";

const DEADLINE_MS = 1000;
/** Between two operations of a client; longer after one that failed. */
const PAUSE_MS = 4;
const PAUSE_AFTER_FAILURE_MS = 20;
/** How often a watcher asks how far it is. */
const PROGRESS_MS = 50;

export interface LoadOptions {
  /** Default 6. */
  readonly clientCount?: number;
  /** Default 4. */
  readonly keyCount?: number;
  /** Of each value, at least. Default 0. */
  readonly valueBytes?: number;
}

export class Load {
  /** Every operation but those that certainly had no effect. */
  readonly history: Operation[] = [];
  /** Changes of two keys at once that were acknowledged, by revision: the value both got. */
  readonly pairs: Map<number, string> = new Map();
  readonly watchers: readonly Watcher[];
  readonly #running: Promise<void>[] = [];
  #acknowledged = 0;
  #isStopped = false;

  constructor(cluster: Cluster, options: LoadOptions = {}) {
    const { clientCount = 6, keyCount = 4, valueBytes = 0 } = options;
    this.watchers = cluster.members.map((_, i) => new Watcher(`watcher ${i + 1}`, cluster, i));
    for (let i = 0; i < clientCount; i++) {
      this.#running.push(this.#work(new LoadClient(i, cluster, keyCount, valueBytes)));
    }
    this.#running.push(this.#changePairs(new LoadClient(clientCount, cluster, keyCount, valueBytes)));
    cluster.attach(this);
  }

  /** Operations that were answered so far. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Waits until `count` more operations are answered: the cluster is at work. */
  async untilAnswered(count: number, withinMs?: number): Promise<void> {
    const goal = this.#acknowledged + count;
    await until(`${count} more operations are answered`, () => this.#acknowledged >= goal, withinMs);
  }

  /** Ends the clients, not the watchers. Rejects if an answer made no sense. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#running);
  }

  /** Ends everything, whatever it has come to. */
  abandon(): void {
    this.#isStopped = true;
    for (const watcher of this.watchers) watcher.stop();
  }

  async #work(client: LoadClient): Promise<void> {
    while (!this.#isStopped) {
      const input = client.nextInput();
      const call = performance.now();
      try {
        const output = await client.carryOut(input);
        this.history.push({ client: client.number, call, return: performance.now(), input, output });
        this.#acknowledged++;
        await sleep(PAUSE_MS);
      } catch (error) {
        if (!hadNoEffect(error) && input.kind !== "get") {
          this.history.push({ client: client.number, call, return: null, input, output: null });
        }
        client.moveOn();
        await sleep(PAUSE_AFTER_FAILURE_MS);
      }
    }
    client.close();
  }

  async #changePairs(client: LoadClient): Promise<void> {
    for (let i = 0; !this.#isStopped; i++) {
      try {
        this.pairs.set(await client.putPair(`${i}`), `${i}`);
        await sleep(PAUSE_MS * 4);
      } catch (error) {
        hadNoEffect(error);
        client.moveOn();
        await sleep(PAUSE_AFTER_FAILURE_MS);
      }
    }
    client.close();
  }
}

/** Events of the keys that `Load.history` tells of. */
export function isOfHistory(event: WatchEvent): boolean {
  return event.key.startsWith(KEYS);
}

/** Rethrows what is no answer of a server or of the network. */
function hadNoEffect(error: unknown): boolean {
  if (!(error instanceof RpcError)) throw error;
  return /ECONNREFUSED|too many requests|rpc not supported for learner|database space exceeded/.test(error.message);
}

class LoadClient {
  readonly number: number;
  readonly #cluster: Cluster;
  readonly #keyCount: number;
  readonly #padding: string;
  readonly #calls: Map<ClusterMember, Calls> = new Map();
  /** The modification revision this client last heard of, by key. */
  readonly #heard: Map<string, number> = new Map();
  /** Which member it talks to: an index that runs on. */
  #at: number;
  #count = 0;

  constructor(number: number, cluster: Cluster, keyCount: number, valueBytes: number) {
    this.number = number;
    this.#cluster = cluster;
    this.#keyCount = keyCount;
    this.#padding = "x".repeat(valueBytes);
    this.#at = number;
  }

  moveOn(): void {
    this.#at++;
  }

  close(): void {
    for (const calls of this.#calls.values()) calls.close();
  }

  nextInput(): KvInput {
    const key = `${KEYS}${Math.floor(Math.random() * this.#keyCount)}`;
    const value = `${this.number}.${this.#count++}.${this.#padding}`;
    const chance = Math.random();
    if (chance < 0.35) return { kind: "get", key };
    if (chance < 0.65) return { kind: "put", key, value };
    if (chance < 0.75) return { kind: "delete", key };
    const compare: Compare = { target: "mod", modRevision: this.#heard.get(key) ?? 0 };
    return { kind: "txn", key, compare, write: chance < 0.95 ? value : null };
  }

  async carryOut(input: KvInput): Promise<KvOutput> {
    const output = await this.#call(input);
    const { revision } = output;
    if ("found" in output && output.found !== null) this.#heard.set(input.key, output.found.modRevision);
    else if (output.kind === "get") this.#heard.set(input.key, 0);
    else this.#heard.set(input.key, input.kind === "delete" ? 0 : revision);
    return output;
  }

  async #call(input: KvInput): Promise<KvOutput> {
    const calls = this.#connection();
    const options = { deadlineMs: performance.now() + DEADLINE_MS };
    const key = Buffer.from(input.key);
    switch (input.kind) {
      case "get": {
        const method = "etcdserverpb.KV/Range";
        const { header, kvs } = await calls.unary(method, RangeRequest, RangeResponse, { key }, options);
        return { kind: "get", revision: header!.revision, found: foundIn(kvs) };
      }
      case "put": {
        const request = { key, value: Buffer.from(input.value) };
        const { header } = await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, request, options);
        return { kind: "put", revision: header!.revision };
      }
      case "delete": {
        const method = "etcdserverpb.KV/DeleteRange";
        const { header, deleted } = await calls.unary(
          method,
          DeleteRangeRequest,
          DeleteRangeResponse,
          { key },
          options,
        );
        return { kind: "delete", revision: header!.revision, deleted };
      }
      case "txn": {
        const { header, succeeded, responses } = await calls.unary(
          "etcdserverpb.KV/Txn",
          TxnRequest,
          TxnResponse,
          txnRequest(key, input),
          options,
        );
        const found = succeeded ? null : foundIn(responses[0]!.responseRange!.kvs);
        return { kind: "txn", revision: header!.revision, succeeded, found };
      }
      default:
        return input satisfies never;
    }
  }

  /** Puts two keys in one transaction; returns its revision. */
  async putPair(value: string): Promise<number> {
    const puts = ["a", "b"].map((name) => ({
      requestPut: { key: Buffer.from(`${PAIRS}${name}`), value: Buffer.from(value) },
    }));
    const options = { deadlineMs: performance.now() + DEADLINE_MS };
    const request = { success: puts };
    const { header } = await this.#connection().unary("etcdserverpb.KV/Txn", TxnRequest, TxnResponse, request, options);
    return header!.revision;
  }

  #connection(): Calls {
    const { members } = this.#cluster;
    const member = members[this.#at % members.length]!;
    let calls = this.#calls.get(member);
    if (calls === undefined) {
      calls = new Calls(member.host.ports.client, member.host.address);
      this.#calls.set(member, calls);
    }
    return calls;
  }
}

function txnRequest(key: Buffer, { compare, write }: KvInput & { readonly kind: "txn" }) {
  const target =
    compare.target === "mod"
      ? { target: CompareTarget.MOD, modRevision: compare.modRevision }
      : { target: CompareTarget.VALUE, value: Buffer.from(compare.value) };
  return {
    compare: [{ key, ...target }],
    success: [write === null ? { requestDeleteRange: { key } } : { requestPut: { key, value: Buffer.from(write) } }],
    failure: [{ requestRange: { key } }],
  };
}

function foundIn(kvs: readonly KeyValue[]): Found | null {
  const kv = kvs[0];
  return kv === undefined ? null : { value: Buffer.from(kv.value).toString(), modRevision: kv.modRevision };
}

/**
 * Follows all keys of the load, from one member to the next as connections end. It keeps asking how far it is, and believes
 * the answer: it carries on behind the last event or the last answer, whichever is later.
 */
export class Watcher {
  readonly name: string;
  readonly sessions: (WatchSession & { readonly responses: WatchEvent[][] })[] = [];
  readonly #cluster: Cluster;
  #at: number;
  #seen = 0;
  #isStopped = false;
  #cut: () => void = () => {};
  /** Of an answer that no watch may give. */
  #error: Error | null = null;

  constructor(name: string, cluster: Cluster, at: number) {
    this.name = name;
    this.#cluster = cluster;
    this.#at = at;
    this.#follow();
  }

  /** Waits until the watcher has come to an event of this revision or a later one. */
  async untilSeen(revision: number): Promise<void> {
    await until(`${this.name} has seen revision ${revision}`, () => {
      if (this.#error !== null) throw this.#error;
      return this.#seen >= revision;
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#cut();
  }

  #follow(): void {
    if (this.#isStopped) return;
    const { members } = this.#cluster;
    const { host } = members[this.#at++ % members.length]!;
    const calls = new Calls(host.ports.client, host.address);
    this.#cut = () => calls.close();
    const responses: WatchEvent[][] = [];
    this.sessions.push({ startRevision: this.#seen + 1, responses });
    watch(calls, this.#seen + 1, {
      events: (events) => {
        responses.push(events);
        if (events[0]!.revision <= this.#seen) {
          this.#error = new Error(
            `${this.name} was told of ${events[0]!.revision} after it was told ${this.#seen} was all`,
          );
        }
        this.#seen = events.at(-1)!.revision;
      },
      progress: (revision) => {
        this.#seen = Math.max(this.#seen, revision);
      },
      ended: (error) => {
        if (error instanceof RpcError) setTimeout(() => this.#follow(), PAUSE_AFTER_FAILURE_MS);
        else this.#error = error;
        calls.close();
      },
    });
  }
}

interface WatchHandler {
  events(events: WatchEvent[]): void;
  /** There will be no more events up to this revision. */
  progress(revision: number): void;
  /** Nothing follows. RpcError: the stream has ended; any other: an answer made no sense. */
  ended(error: Error): void;
}

function watch(calls: Calls, startRevision: number, handler: WatchHandler): void {
  const call = calls.stream(
    "etcdserverpb.Watch/Watch",
    WatchResponse,
    ({ header, created, canceled, cancelReason, events }) => {
      if (canceled) end(new Error(`the watch was cancelled: ${cancelReason}`));
      if (events.length === 0) {
        if (!created && !canceled) handler.progress(header!.revision);
        return;
      }
      handler.events(
        events.map(({ type, kv }) => ({
          revision: kv!.modRevision,
          key: Buffer.from(kv!.key).toString(),
          value: type === 0 ? Buffer.from(kv!.value).toString() : null,
        })),
      );
    },
    (error) => end(error ?? new Error("the watch ended without an error")),
  );
  let isOver = false;
  const end = (error: Error): void => {
    if (isOver) return;
    isOver = true;
    clearInterval(asking);
    handler.ended(error);
  };
  const asking = setInterval(() => send(call, WatchRequest, { progressRequest: {} }), PROGRESS_MS);
  const createRequest = { key: Buffer.from(LOAD_START), rangeEnd: Buffer.from(LOAD_END), startRevision };
  send(call, WatchRequest, { createRequest });
}

/** All events of the load up to a revision that is one, as one member tells them. */
export async function eventsOf(member: ClusterMember, through: number): Promise<WatchEvent[]> {
  const calls = new Calls(member.host.ports.client, member.host.address);
  const all: WatchEvent[] = [];
  let failure: Error | null = null;
  watch(calls, 1, {
    events: (events) => void all.push(...events),
    progress: () => {},
    ended: (error) => {
      failure = error;
    },
  });
  await until(`${member.name} has told its history up to ${through}`, () => {
    if (failure !== null) throw failure;
    return (all.at(-1)?.revision ?? 0) >= through;
  });
  calls.close();
  return all;
}
