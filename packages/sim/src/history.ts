/**
 * What all clients of one simulation asked and were told. While it runs, each answer is held against everything shown to
 * anyone before its question; at the end the checkers of linearizability/ judge the whole.
 *
 *   calls, answers ──▶ never older than what was known when asked     at once, with the step at which it happened
 *   watched events ──▶ the same for every watcher
 *   both ────────────▶ linearizable? revisions in order? every answer what the events say?     at the end
 */
import { Buffer } from "node:buffer";
import { EventType } from "@quorate/api";
import type { Event } from "@quorate/api/messages";
import {
  changedStore,
  checkAgainstEvents,
  checkKv,
  checkRevisions,
  describeOperation,
  type KvInput,
  type KvOutput,
  type Operation,
  type WatchEvent,
} from "./linearizability/index.ts";
import type { Verdict } from "./violation.ts";

/** A question under way. */
export interface Question {
  readonly client: number;
  readonly callMs: number;
  readonly input: KvInput;
  /** A get that may be answered from any member's own state. */
  readonly isSerializable: boolean;
  /** The highest revision anybody had been shown when it was asked. */
  readonly floor: number;
}

export class History {
  readonly #verdict: Verdict;
  readonly #operations: Operation[] = [];
  readonly #serializable: Operation[] = [];
  /** By revision: what whoever watched everything was told. */
  readonly #events: (readonly WatchEvent[])[] = [];
  readonly #texts: string[] = [];
  #floor = 1;
  readonly counts = { answered: 0, unknown: 0, watched: 0, undecided: 0 };

  constructor(verdict: Verdict) {
    this.#verdict = verdict;
  }

  /** The highest revision anybody has been shown. */
  get floor(): number {
    return this.#floor;
  }

  ask(client: number, callMs: number, input: KvInput, isSerializable: boolean): Question {
    return { client, callMs, input, isSerializable, floor: this.#floor };
  }

  /** The answer came, or, with null, nobody waits for it any more. */
  answered(question: Question, returnMs: number, output: KvOutput | null): Operation {
    const { client, callMs, input, isSerializable, floor } = question;
    const operation = { client, call: callMs, return: output === null ? null : returnMs, input, output };
    if (isSerializable) {
      if (output !== null) this.#serializable.push(operation);
    } else if (output !== null || input.kind !== "get") {
      this.#operations.push(operation);
    }
    if (output === null) {
      this.counts.unknown++;
      return operation;
    }
    this.counts.answered++;
    if (!isSerializable && output.revision < floor + (changedStore(operation) ? 1 : 0)) {
      throw this.#verdict.broken(
        "answers are never older than what was known",
        `${describeOperation(operation)}, but revision ${floor} had been shown before it was asked`,
      );
    }
    this.#floor = Math.max(this.#floor, output.revision);
    return operation;
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
    this.#events[revision] = events.map((event) => ({
      revision,
      key: textOf(event.kv!.key),
      value: event.type === EventType.DELETE ? null : textOf(event.kv!.value),
    }));
  }

  /** Once everything that happened has been watched. Throws a Violation. */
  verify(): void {
    const events: WatchEvent[] = [];
    for (let revision = 2; revision <= this.#floor; revision++) events.push(...(this.#events[revision] ?? []));
    const revisions = checkRevisions(this.#operations);
    if (revisions.kind === "illegal") throw this.#verdict.broken("revisions are in order", revisions.explanation);
    const against = checkAgainstEvents([...this.#operations, ...this.#serializable], events);
    if (against.kind === "illegal") throw this.#verdict.broken("answers are what events say", against.explanation);
    const kv = checkKv(this.#operations);
    if (kv.kind === "illegal") throw this.#verdict.broken("answers are linearizable", kv.explanation);
    if (kv.kind !== "ok") this.counts.undecided++;
  }
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

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}
