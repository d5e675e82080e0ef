/**
 * The history of the store as its clients saw it, checked by revisions: every answer names the revision it is about, so
 * strict serializability needs no search (semantics of etcd: revisions are the one order of all writes).
 *
 *   while it runs   an answer is never older than anything any client had been shown when the question was asked, and a
 *                   write is newer; what watchers are told about one revision is the same for all
 *   at the end      replaying the watched events from the beginning, every answer is what the state was at its revision
 *
 * It trusts revisions, as clients do; the checker in linearizability/ does not. Keys and values are text here.
 */
import { EventType } from "@quorate/api";
import type { Event } from "@quorate/api/messages";
import { describeOperation, type Operation, type StoredValue } from "./operation.ts";
import type { Verdict } from "./violation.ts";

interface Change {
  readonly key: string;
  /** Null: deleted. */
  readonly value: string | null;
}

export class RevisionHistory {
  readonly operations: Operation[] = [];
  readonly #verdict: Verdict;
  /** By revision: what whoever watched everything was told. */
  readonly #changes: (readonly Change[])[] = [];
  readonly #texts: string[] = [];
  #floor = 1;
  readonly counts = { answered: 0, unknown: 0, watched: 0, verified: 0 };

  constructor(verdict: Verdict) {
    this.#verdict = verdict;
  }

  /** The highest revision any client has been shown. */
  get floor(): number {
    return this.#floor;
  }

  /** An operation begins; its floor must be that of this moment. */
  called(operation: Operation): void {
    this.operations.push(operation);
  }

  /** Its answer came, or nobody waits for it any more. */
  returned(operation: Operation): void {
    const { answer, request } = operation;
    if (answer === null) {
      this.counts.unknown++;
      return;
    }
    this.counts.answered++;
    const isStale = operation.hasWritten ? answer.revision <= operation.floor : answer.revision < operation.floor;
    if (isStale && !(request.kind === "get" && request.isSerializable)) {
      throw this.#verdict.broken(
        "answers are never older than what was known",
        `${operation.client}: ${describeOperation(operation)}, but revision ${operation.floor} had been shown before it was asked`,
      );
    }
    this.#floor = Math.max(this.#floor, answer.revision);
  }

  /** All events of one revision, as told to someone who watches everything. */
  watchedAll(watcher: string, revision: number, events: readonly Event[]): void {
    const text = describeEvents(events);
    const known = this.#texts[revision];
    if (known !== undefined && known !== text) {
      throw this.#verdict.broken(
        "watchers agree",
        `${watcher} is told ${text} at revision ${revision}, another ${known}`,
      );
    }
    this.#floor = Math.max(this.#floor, revision);
    if (known !== undefined) return;
    this.counts.watched++;
    this.#texts[revision] = text;
    this.#changes[revision] = events.map((event) => ({
      key: textOf(event.kv!.key),
      value: event.type === EventType.DELETE ? null : textOf(event.kv!.value),
    }));
  }

  /** The first revision nobody watched. */
  get watchedUntil(): number {
    let revision = 2;
    while (this.#changes[revision] !== undefined) revision++;
    return revision;
  }

  /** Replays everything that was watched without a gap, and compares each answer about it. */
  verify(): void {
    const until = this.watchedUntil;
    const answered = this.operations.filter((each) => each.answer !== null && each.answer.revision < until);
    answered.sort((a, b) => a.answer!.revision - b.answer!.revision);
    const state = new Map<string, StoredValue>();
    let next = 0;
    for (let revision = 1; revision < until; revision++) {
      const before = new Map<string, StoredValue>();
      for (const { key, value } of this.#changes[revision] ?? []) {
        const old = state.get(key);
        if (old !== undefined) before.set(key, old);
        if (value === null) state.delete(key);
        else state.set(key, { value, modRevision: revision });
      }
      for (; next < answered.length && answered[next]!.answer!.revision === revision; next++) {
        this.#verify(answered[next]!, state, before, this.#changes[revision] ?? []);
      }
    }
  }

  #verify(
    operation: Operation,
    state: ReadonlyMap<string, StoredValue>,
    before: ReadonlyMap<string, StoredValue>,
    changes: readonly Change[],
  ): void {
    this.counts.verified++;
    const { request, answer } = operation;
    const change = changes.find((each) => each.key === request.key);
    const isMine = changes.length === 1 && change !== undefined;
    let isTrue: boolean;
    switch (request.kind) {
      case "put":
        isTrue = isMine && change.value === request.value;
        break;
      case "delete":
        isTrue = answer!.deleted > 0 ? isMine && change.value === null : !state.has(request.key);
        break;
      case "get":
        isTrue = isSame(answer!.found, state.get(request.key));
        break;
      case "cas":
        isTrue = answer!.succeeded
          ? isMine &&
            change.value === request.value &&
            (before.get(request.key)?.modRevision ?? 0) === request.expectedRevision
          : isSame(answer!.found, state.get(request.key)) &&
            (state.get(request.key)?.modRevision ?? 0) !== request.expectedRevision;
        break;
      default:
        request satisfies never;
        isTrue = false;
    }
    if (isTrue) return;
    const found = state.get(request.key);
    throw this.#verdict.broken(
      "answers are the state at their revision",
      `${operation.client}: ${describeOperation(operation)}; the key is ${found === undefined ? "absent" : `${found.value} @${found.modRevision}`}, changes ${JSON.stringify(changes)}`,
    );
  }
}

function isSame(a: StoredValue | null, b: StoredValue | undefined): boolean {
  return a === null ? b === undefined : b !== undefined && a.value === b.value && a.modRevision === b.modRevision;
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

export function describeEvents(events: readonly Event[]): string {
  return events
    .map(({ type, kv }) =>
      type === EventType.DELETE
        ? `delete ${textOf(kv!.key)}`
        : `put ${textOf(kv!.key)}=${textOf(kv!.value)} created ${kv!.createRevision} version ${kv!.version} lease ${kv!.lease}`,
    )
    .join(", ");
}
