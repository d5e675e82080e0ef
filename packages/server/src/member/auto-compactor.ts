/**
 * Automatic compaction (semantics §4.9): the member that leads puts a compaction into the log every so often. The member
 * makes one and calls {@link AutoCompactor.start}; on a member that does not lead it looks at the revision all the same, so
 * that one that is elected knows what was current a retention ago.
 *
 *   periodic, retention d    every i = min(d, 1h)/10 note the revision; once d has passed, and then every min(d, 1h),
 *                            give up what is older than the oldest of the last d/i + 1 notes
 *   revision, retention n    every 5 minutes give up all but the last n revisions
 *
 * What was refused or lost is tried again at the next look. A revision that is compacted already counts as done.
 */
import { type ErrorKind, RaftOp } from "@quorate/api";
import { CompactionRequest } from "@quorate/api/messages";
import type { Clock, Log, Timer, Timers } from "@quorate/world";
import type { AutoCompaction } from "../config/auto-compaction.ts";
import type { ProposalHandler } from "./pending.ts";

export interface AutoCompactorOwner {
  /** Of the store, now. */
  revision(): number;
  isLeader(): boolean;
  propose(op: RaftOp, bytes: Uint8Array, handler: ProposalHandler): void;
}

export interface AutoCompactorOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

const HOUR_MS = 3_600_000;
const LOOKS_PER_PERIOD = 10;
const REVISION_MODE_MS = 5 * 60 * 1000;

export class AutoCompactor {
  readonly #settings: AutoCompaction & {};
  readonly #owner: AutoCompactorOwner;
  readonly #options: AutoCompactorOptions;
  /** Between two looks. */
  readonly #lookMs: number;
  /** Notes of the revision kept; of use in periodic mode. */
  readonly #noteCount: number;
  readonly #notes: number[] = [];
  #timer: Timer | null = null;
  #lastRevision = 0;
  #lastSuccessMs = 0;
  /** A whole retention has passed once: from then on the shorter pause holds. */
  #hasBegun = false;
  #isCompacting = false;

  constructor(settings: AutoCompaction & {}, owner: AutoCompactorOwner, options: AutoCompactorOptions) {
    this.#settings = settings;
    this.#owner = owner;
    this.#options = options;
    if (settings.mode === "periodic") {
      this.#lookMs = Math.min(settings.retentionMs, HOUR_MS) / LOOKS_PER_PERIOD;
      this.#noteCount = Math.floor(settings.retentionMs / this.#lookMs) + 1;
    } else {
      this.#lookMs = REVISION_MODE_MS;
      this.#noteCount = 0;
    }
  }

  start(): void {
    this.#lastSuccessMs = this.#options.clock.monotonicMs();
    this.#note();
    this.#lookLater();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #lookLater(): void {
    this.#timer = this.#options.timers.after(this.#lookMs, () => {
      if (this.#settings.mode === "periodic") this.#lookPeriodically(this.#settings.retentionMs);
      else this.#lookAtCount(this.#settings.retention);
      this.#lookLater();
    });
  }

  #lookPeriodically(retentionMs: number): void {
    const oldest = this.#notes[0]!;
    const waitedMs = this.#options.clock.monotonicMs() - this.#lastSuccessMs;
    const pauseMs = this.#hasBegun ? Math.min(retentionMs, HOUR_MS) : retentionMs;
    // Timers may be a moment early: a look that is due is not put off to the next for that.
    if (this.#owner.isLeader() && waitedMs >= pauseMs - this.#lookMs / 2 && oldest !== this.#lastRevision) {
      this.#hasBegun = true;
      this.#compact(oldest, { "compact-period-ms": retentionMs });
    }
    this.#note();
  }

  #lookAtCount(retention: number): void {
    const revision = this.#owner.revision() - retention;
    if (!this.#owner.isLeader() || revision <= 0 || revision === this.#lastRevision) return;
    this.#compact(revision, { "revision-compaction-retention": retention });
  }

  #note(): void {
    if (this.#noteCount === 0) return;
    this.#notes.push(this.#owner.revision());
    if (this.#notes.length > this.#noteCount) this.#notes.shift();
  }

  #compact(revision: number, details: Record<string, number>): void {
    if (this.#isCompacting) return;
    this.#isCompacting = true;
    const { clock, log } = this.#options;
    const { mode } = this.#settings;
    const startedMs = clock.monotonicMs();
    log.info(`starting auto ${mode} compaction`, { revision, ...details });
    const ended = (error: ErrorKind | null): void => {
      this.#isCompacting = false;
      if (error !== null && error !== "Compacted") {
        log.warn(`failed auto ${mode} compaction`, { revision, ...details, "retry-interval-ms": this.#lookMs, error });
        return;
      }
      this.#lastRevision = revision;
      this.#lastSuccessMs = startedMs;
      const tookMs = clock.monotonicMs() - startedMs;
      log.info(`completed auto ${mode} compaction`, { revision, ...details, "took-ms": tookMs });
    };
    this.#owner.propose(RaftOp.Compaction, CompactionRequest.encode({ revision }), {
      applied: (_pending, { error }) => ended(error),
      failed: (_pending, error) => ended(error),
    });
  }
}
