/**
 * Compaction: refusing the past at once, removing it in the background (semantics §3.6, §4.4, §4.5).
 *
 *     accept(c) ──▶ compactRevision = c, "scheduledCompactRev" written ──▶ queue
 *     step ──▶ go through the records up to c, oldest first: hash all, drop what c gives up
 *          ──▶ go through the index, key by key: forget the same ──▶ "finishedCompactRev" written
 *
 * Invariants:
 *  - what accept did is part of the entry that asked for it and lasts; a compaction that a crash interrupts is taken up
 *    again from the start when the store is opened (known-failures ST-01);
 *  - jobs run one at a time in order; none is started while a reader has pinned an older revision;
 *  - a compaction hash is taken only if that can be done from start to end in one life over everything the one before
 *    had left (ST-04).
 *
 * Steps change nothing a reader may ask for. They do not belong to any entry: each seals what it did by telling the
 * backend the applied index again, so steps must come between entries.
 */

import { assert } from "@quorate/world";
import { HISTORY_KEY_BYTES, type Revision, readHistoryKey, writeHistoryKey } from "../backend/history-key.ts";
import type { Storage } from "../backend/storage.ts";
import { CompactedError, FutureRevisionError } from "./errors.ts";
import { type CompactionHashes, KvHashing } from "./hash.ts";
import { NODES_PER_RECORD, RecordSweep } from "./record-sweep.ts";
import type { StoreState } from "./state.ts";
import { NEVER_COMPACTED } from "./state.ts";

const SCHEDULED = Buffer.from("scheduledCompactRev");
const FINISHED = Buffer.from("finishedCompactRev");

/** Hears, once, that every compaction queued when it asked has been carried out. */
export interface CompactionWaiter {
  compacted(): void;
}

export class Compactor {
  readonly #state: StoreState;
  readonly #hashes: CompactionHashes;
  readonly #jobs: Job[] = [];
  /** Accepted last; carried out last. NEVER_COMPACTED if nothing was. */
  #scheduled: number = NEVER_COMPACTED;
  #finished: number = NEVER_COMPACTED;
  /** How often each revision is pinned. */
  readonly #pins = new Map<number, number>();

  constructor(state: StoreState, hashes: CompactionHashes) {
    this.#state = state;
    this.#hashes = hashes;
  }

  /** Reads what storage knows of compactions into the state; an unfinished one is queued again. */
  restore(): void {
    const { scheduled, finished } = storedCompactions(this.#state.backend.storage);
    this.#scheduled = scheduled;
    this.#finished = finished;
    this.#state.compactRevision = Math.max(this.#finished, this.#scheduled);
    if (this.#scheduled <= this.#finished) return;
    this.#state.log.info("resume scheduled compaction", { "scheduled-compact-revision": this.#scheduled });
    this.#jobs.push(new Job(this.#scheduled, null));
  }

  /** Everything at or below has been removed. */
  get finishedRevision(): number {
    return this.#finished;
  }

  /** Jobs not carried out yet. */
  get jobCount(): number {
    return this.#jobs.length;
  }

  /** Throws {@link CompactedError} or {@link FutureRevisionError}, having changed nothing. */
  accept(revision: number): void {
    const state = this.#state;
    if (revision <= state.compactRevision) throw new CompactedError(revision, state.compactRevision);
    if (revision > state.revision) throw new FutureRevisionError(revision, state.revision);
    const isPreviousFinished = this.#scheduled === this.#finished;
    const previous = state.compactRevision;
    state.compactRevision = revision;
    this.#scheduled = revision;
    state.backend.put("meta", SCHEDULED, encodeRevision(revision));
    this.#jobs.push(new Job(revision, isPreviousFinished ? previous : null));
  }

  /** Calls the waiter when all jobs queued now are carried out: at once if there are none. */
  whenDone(waiter: CompactionWaiter): void {
    const last = this.#jobs.at(-1);
    if (last === undefined) waiter.compacted();
    else last.waiters.push(waiter);
  }

  /** Holds back the removal of what a reader at `revision` may need, until as many calls of unpin. */
  pin(revision: number): void {
    this.#pins.set(revision, (this.#pins.get(revision) ?? 0) + 1);
  }

  unpin(revision: number): void {
    const count = this.#pins.get(revision) ?? 0;
    if (count > 1) this.#pins.set(revision, count - 1);
    else this.#pins.delete(revision);
  }

  /** True if the next job cannot start before a reader lets go. A job that has started is never held: pins are newer. */
  get isHeld(): boolean {
    const job = this.#jobs[0];
    if (job === undefined) return false;
    for (const pinned of this.#pins.keys()) if (pinned < job.revision) return true;
    return false;
  }

  /**
   * Works for about as long as `budget` records take. True if there is more to do now; false if the queue is empty or held
   * by a pin, in which case the owner asks again after an unpin.
   */
  step(budget: number): boolean {
    const job = this.#jobs[0];
    if (job === undefined || this.isHeld) return false;
    const { index, backend } = this.#state;
    job.sweep ??= this.#sweepOf(job);
    const isSweeping = job.sweep.step(budget);
    if (!isSweeping) job.cursor = index.compactSlice(job.revision, job.cursor, budget * NODES_PER_RECORD);
    if (job.cursor === -1) this.#finish(job);
    backend.applied(backend.appliedIndex, backend.appliedTerm);
    if (job.cursor === -1) for (const waiter of job.waiters) waiter.compacted();
    return this.#jobs.length > 0 && !this.isHeld;
  }

  #sweepOf({ revision, previous }: Job): RecordSweep {
    const state = this.#state;
    if (previous === null) return new RecordSweep(state, revision, null);
    const hashing = new KvHashing(state, { revision, compactRevision: previous, keepsTombstone: true });
    return new RecordSweep(state, revision, hashing);
  }

  #finish(job: Job): void {
    this.#jobs.shift();
    this.#finished = job.revision;
    const { bumps, backend } = this.#state;
    bumps.compact(job.revision, (main) => backend.drop(main, 0, false));
    backend.put("meta", FINISHED, encodeRevision(job.revision));
    const { hashing } = job.sweep!;
    if (hashing !== null) this.#hashes.add(hashing);
  }
}

/** What storage knows of compactions; NEVER_COMPACTED for what it does not. */
export function storedCompactions(storage: Storage): { scheduled: number; finished: number } {
  const scheduled = storage.get("meta", SCHEDULED);
  const finished = storage.get("meta", FINISHED);
  return {
    scheduled: scheduled === undefined ? NEVER_COMPACTED : decodeRevision(scheduled),
    finished: finished === undefined ? NEVER_COMPACTED : decodeRevision(finished),
  };
}

class Job {
  readonly revision: number;
  /** The compacted revision before, if its compaction had finished: then this one's hash is worth taking. */
  readonly previous: number | null;
  readonly waiters: CompactionWaiter[] = [];
  sweep: RecordSweep | null = null;
  /** How far the index has been gone through; 0 before, -1 after. */
  cursor = 0;

  constructor(revision: number, previous: number | null) {
    this.revision = revision;
    this.previous = previous;
  }
}

/** The table "meta" notes a revision as the history key of its first change. */
function encodeRevision(revision: number): Uint8Array {
  const bytes = new Uint8Array(HISTORY_KEY_BYTES);
  writeHistoryKey(bytes, 0, revision, 0, false);
  return bytes;
}

function decodeRevision(bytes: Uint8Array): number {
  assert(bytes.length === HISTORY_KEY_BYTES, "a noted revision has 17 bytes");
  const revision: Revision = { main: 0, sub: 0, isTombstone: false };
  readHistoryKey(bytes, 0, bytes.length, revision);
  assert(Number.isSafeInteger(revision.main), "a noted revision is below 2^53");
  return revision.main;
}
