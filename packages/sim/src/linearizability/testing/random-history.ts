/**
 * Histories of a store that does everything right: each operation takes effect at one moment between its call and its
 * return, some lose their answer before or after that. What is built from them by bending an answer tests the checks'
 * refusals; as they are, they must pass.
 */
import type { Compare, Found, KvInput, KvOutput, Operation } from "../operation.ts";
import type { WatchEvent } from "../watch.ts";

export interface HistoryOptions {
  readonly operationCount: number;
  readonly keyCount: number;
  readonly clientCount: number;
  /** Of operations whose outcome the client never learns, in [0, 1]; half of them take effect. */
  readonly unknownShare: number;
  /** Values to choose from; 0: every write has a value of its own. */
  readonly valueCount: number;
}

export interface MadeHistory {
  readonly operations: Operation[];
  readonly events: WatchEvent[];
}

/** `random` gives numbers in [0, 1). */
export function makeHistory(options: HistoryOptions, random: () => number): MadeHistory {
  return new Maker(options, random).make();
}

/** Numbers in [0, 1) that a seed repeats (xorshift32). */
export function seeded(seed: number): () => number {
  let state = (seed * 2 + 1) | 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** What a client is doing. */
interface Underway {
  readonly client: number;
  readonly call: number;
  readonly input: KvInput;
  output: KvOutput | null;
  readonly fate: "answered" | "lost before" | "lost after";
}

class Maker {
  readonly #options: HistoryOptions;
  readonly #random: () => number;
  readonly #store: Map<string, Found> = new Map();
  readonly #made: MadeHistory = { operations: [], events: [] };
  readonly #underway: (Underway | null)[];
  #revision = 1;
  #clock = 0;
  #started = 0;

  constructor(options: HistoryOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
    this.#underway = Array.from({ length: options.clientCount }, () => null);
  }

  make(): MadeHistory {
    while (this.#made.operations.length < this.#options.operationCount) {
      this.#clock++;
      const client = this.#below(this.#options.clientCount);
      const underway = this.#underway[client]!;
      if (underway === null) {
        if (this.#started < this.#options.operationCount) this.#underway[client] = this.#start(client);
      } else if (underway.output === null && underway.fate !== "lost before") {
        underway.output = this.#apply(underway.input);
      } else {
        this.#finish(underway);
      }
    }
    return this.#made;
  }

  #start(client: number): Underway {
    this.#started++;
    const key = `k${this.#below(this.#options.keyCount)}`;
    const isUnknown = this.#random() < this.#options.unknownShare;
    const fate = !isUnknown ? "answered" : this.#random() < 0.5 ? "lost before" : "lost after";
    return { client, call: this.#clock, input: this.#input(key), output: null, fate };
  }

  #input(key: string): KvInput {
    const { valueCount } = this.#options;
    const value = valueCount === 0 ? `v${this.#started}` : `v${this.#below(valueCount)}`;
    const chance = this.#random();
    if (chance < 0.35) return { kind: "get", key };
    if (chance < 0.6) return { kind: "put", key, value };
    if (chance < 0.7) return { kind: "delete", key };
    const now = this.#store.get(key);
    const compare: Compare =
      chance < 0.9
        ? {
            target: "mod",
            modRevision: this.#random() < 0.7 ? (now?.modRevision ?? 0) : this.#below(this.#revision + 1),
          }
        : { target: "value", value: now?.value ?? "v0" };
    return { kind: "txn", key, compare, write: this.#random() < 0.8 ? value : null };
  }

  #apply(input: KvInput): KvOutput {
    const { key } = input;
    const now = this.#store.get(key) ?? null;
    switch (input.kind) {
      case "get":
        return { kind: "get", revision: this.#revision, found: now };
      case "put":
        this.#change(key, input.value);
        return { kind: "put", revision: this.#revision };
      case "delete":
        if (now !== null) this.#change(key, null);
        return { kind: "delete", revision: this.#revision, deleted: now === null ? 0 : 1 };
      case "txn": {
        const { compare } = input;
        const succeeded =
          compare.target === "mod" ? (now?.modRevision ?? 0) === compare.modRevision : now?.value === compare.value;
        if (succeeded && (input.write !== null || now !== null)) this.#change(key, input.write);
        return { kind: "txn", revision: this.#revision, succeeded, found: succeeded ? null : now };
      }
      default:
        return input satisfies never;
    }
  }

  #change(key: string, value: string | null): void {
    this.#revision++;
    if (value === null) this.#store.delete(key);
    else this.#store.set(key, { value, modRevision: this.#revision });
    this.#made.events.push({ revision: this.#revision, key, value });
  }

  #finish({ client, call, input, output, fate }: Underway): void {
    this.#underway[client] = null;
    const isKnown = fate === "answered";
    this.#made.operations.push({
      client,
      call,
      return: isKnown ? this.#clock : null,
      input,
      output: isKnown ? output : null,
    });
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count);
  }
}
