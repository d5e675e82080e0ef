/**
 * The replicated state of a member with everything that works on it: entries are applied to it, it is flushed behind,
 * compactions are carried out, watchers hear of its events. The member gives it committed entries and asks it for the
 * state's parts; a snapshot from the leader replaces the state, and with it whatever works on it.
 *
 *   entries ─▶ Applier ─▶ AppliedState ─▶ WriteBehind ─▶ storage, and marks in the log
 *                           ▲      └────▶ CompactionDriver, IndexFile, WatchHub
 *                           │
 *   snapshot ─▶ abandon ─▶ (the log begins anew) ─▶ replace
 *
 * Invariants:
 *  - everything that entries are applied to is one AppliedState: nothing that outlives a turn may keep a part of it without
 *    asking here again;
 *  - from `abandon` on nothing of the old state is written, and whoever waits for it to be goes on waiting until `replace`;
 *  - the hub is the same for ever, so that watchers outlive a replacement.
 */
import type { AuthStore } from "@quorate/auth";
import type { Lessor } from "@quorate/lease";
import type { Membership } from "@quorate/membership";
import { type Backend, type Store, WatchHub } from "@quorate/mvcc";
import type { ConfState, Entry, HardState, SnapshotMetadata } from "@quorate/raft";
import { index } from "@quorate/raft";
import type { Wal } from "@quorate/wal";
import type { Log } from "@quorate/world";
import type { Alarms } from "./alarms.ts";
import type { AppliedState } from "./applied-state.ts";
import { Applier, type ApplierOwner } from "./applier.ts";
import { CompactionDriver } from "./compaction-driver.ts";
import type { Databases } from "./databases.ts";
import type { IndexFile } from "./index-file.ts";
import type { LogWriter } from "./log-writer.ts";
import type { MemberCounters } from "./member-counters.ts";
import type { StoredLog } from "./stored-log.ts";
import { WriteBehind, type WriteBehindOptions } from "./write-behind.ts";

export interface StateMachineParts {
  readonly wal: Wal;
  readonly logStorage: StoredLog;
  readonly logWriter: LogWriter;
  readonly databases: Databases;
  readonly indexFile: IndexFile;
  readonly counters: MemberCounters;
}

export interface StateMachineOptions extends WriteBehindOptions {
  /** Must be the same on every member. */
  readonly maxLearners: number;
  readonly compactionBatchLimit: number;
  readonly compactionSleepMs: number;
  /** An entry that takes longer to apply is logged. */
  readonly slowApplyMs: number;
  readonly log: Log;
}

/** Hears what the entries say, too. */
export interface StateMachineOwner extends ApplierOwner {
  /** What the log may be told with a mark. */
  hardStateForMark(): HardState;
  /** Entries after this index will be sent to somebody: kept in memory; Infinity: nobody needs any. */
  neededIndex(): number;
  /** Storage has more than before; whoever waited for that has been called. */
  flushed(): void;
  /** Storage or log could not be written: end the process. */
  failed(error: Error): void;
}

/** The compactions waited for are carried out and durable; or their store has been replaced. */
export type CompactedDone = (error: "LeaderChanged" | null) => void;

/** A member that has written nothing for so long gives up what only writing needs. */
const REST_AFTER_MS = 10_000;

export class StateMachine {
  readonly hub: WatchHub;
  readonly #parts: StateMachineParts;
  readonly #options: StateMachineOptions;
  readonly #owner: StateMachineOwner;
  readonly #compactionWaits = new Set<CompactedDone>();
  /** Replaced as a whole, with what works on it, when a snapshot is installed. */
  #state: AppliedState;
  #applier: Applier;
  #writeBehind: WriteBehind;
  #compaction: CompactionDriver;
  /** The flush after which the last rest began. */
  #restedSinceMs = -1;
  #isStopped = false;
  /** A snapshot is being installed. */
  #isAbandoned = false;

  /** `state`: what there is at the start; not kept once a snapshot has taken its place. */
  constructor(state: AppliedState, parts: StateMachineParts, options: StateMachineOptions, owner: StateMachineOwner) {
    this.#parts = parts;
    this.#options = options;
    this.#owner = owner;
    this.hub = new WatchHub({ source: state.store });
    this.#state = state;
    this.#writeBehind = this.#writeBehindOf(state);
    this.#compaction = this.#compactionOf(state);
    this.#applier = this.#applierOf(state, 0);
    this.#attach(state);
  }

  /** As it is now. */
  get state(): AppliedState {
    return this.#state;
  }

  get store(): Store {
    return this.#state.store;
  }

  get backend(): Backend {
    return this.#state.backend;
  }

  get lessor(): Lessor {
    return this.#state.lessor;
  }

  get membership(): Membership {
    return this.#state.membership;
  }

  get alarms(): Alarms {
    return this.#state.alarms;
  }

  get auth(): AuthStore {
    return this.#state.auth;
  }

  /** The version whose form the database has; null while nothing has been applied. */
  get storageVersion(): string | null {
    return this.#state.storageVersion.text;
  }

  /** In force at the applied index. */
  get confState(): ConfState {
    return this.#state.confState;
  }

  /** Term of the last entry applied since the start: what response headers show. */
  get appliedTerm(): number {
    return this.#applier.term;
  }

  /** No more should be taken into the log until `flushed` is heard. */
  get isStorageBehind(): boolean {
    return this.#writeBehind.isBehind;
  }

  /** Committed entries in order, each once. */
  apply(entries: readonly Entry[]): void {
    const { clock, slowApplyMs, log } = this.#options;
    const startedMs = clock.monotonicMs();
    const applier = this.#applier;
    let entryBytes = 0;
    for (let i = 0; i < entries.length; i++) {
      applier.apply(entries[i]!);
      entryBytes += entries[i]!.data.length;
    }
    const tookMs = clock.monotonicMs() - startedMs;
    if (tookMs > slowApplyMs * entries.length) {
      this.#parts.counters.slowApplies++;
      log.warn("apply request took too long", { "took-ms": tookMs, entries: entries.length });
    }
    this.#writeBehind.applied(entryBytes);
    this.#compaction.run();
  }

  /** The database says which version the cluster runs at. To be called between entries, when that has changed and so often. */
  followClusterVersion(): void {
    const { storageVersion, membership } = this.#state;
    const { clusterVersion, downgradeTarget } = membership;
    if (clusterVersion === null || this.#isAbandoned || this.#isStopped) return;
    const { log } = this.#options;
    if (!storageVersion.follow(clusterVersion, log)) return;
    if (downgradeTarget !== null) {
      log.info("The server is ready to downgrade", { "target-version": downgradeTarget });
    }
    this.#writeBehind.applied(0);
  }

  /** Calls back when everything applied so far is durable in storage. */
  whenFlushed(done: () => void): void {
    this.#writeBehind.whenFlushed(done);
  }

  /** Calls back when every compaction accepted so far is carried out and flushed, or its store has been replaced. */
  whenCompacted(done: CompactedDone): void {
    this.#compactionWaits.add(done);
    this.store.whenCompacted({
      compacted: () => {
        if (this.#compactionWaits.delete(done)) this.whenFlushed(() => done(null));
      },
    });
  }

  /** A reader's hold on a revision ends; a compaction that waited for it goes on. */
  unpin(revision: number): void {
    this.store.unpin(revision);
    this.#compaction.run();
  }

  /** To be called at the start, and when what held compaction back is done. */
  resumeCompaction(): void {
    this.#compaction.run();
  }

  /** Once per lull: after a while without a flush, storage gives up what only writing needs. True if it did so now. */
  rest(nowMs: number): boolean {
    const { lastFlushMs } = this.#writeBehind;
    if (lastFlushMs === this.#restedSinceMs || nowMs - lastFlushMs <= REST_AFTER_MS) return false;
    this.#restedSinceMs = lastFlushMs;
    this.backend.storage.rest();
    return true;
  }

  /** A snapshot is being installed: nothing of this state is written any more. {@link replace} follows. */
  abandon(): void {
    this.#isAbandoned = true;
    this.#writeBehind.abandon();
    this.#compaction.stop();
  }

  /**
   * From the old state to the installed one, which the log begins behind now, as one step: nobody may see half of it (known
   * failure AP-02). Whoever waited for the old one to be flushed is called: it has been superseded.
   */
  replace(state: AppliedState, { term }: SnapshotMetadata): void {
    const old = this.#state;
    const replaced = this.#writeBehind;
    old.lessor.demote();
    this.#isAbandoned = false;
    this.#state = state;
    this.#writeBehind = this.#writeBehindOf(state);
    this.#compaction = this.#compactionOf(state);
    this.#applier = this.#applierOf(state, term);
    this.#attach(state);
    this.hub.restored(state.store);
    const { logStorage, databases } = this.#parts;
    logStorage.flushed({ index: index(state.backend.appliedIndex), term, confState: state.confState });
    for (const done of this.#compactionWaits) done("LeaderChanged");
    this.#compactionWaits.clear();
    databases.discard(old.backend.storage);
    if (!this.#isStopped) this.#compaction.run();
    for (const waiter of replaced.takeWaiters()) waiter();
  }

  /** No more compactions. {@link close} follows. */
  stop(): void {
    this.#isStopped = true;
    this.#compaction.stop();
  }

  /** Flushes what was applied, marks the log and closes both. No snapshot may be on its way to {@link replace}. */
  close(done: (error: Error | null) => void): void {
    this.#writeBehind.close(done);
  }

  #writeBehindOf({ backend }: AppliedState): WriteBehind {
    const { wal, logStorage, logWriter, indexFile, counters } = this.#parts;
    return new WriteBehind({ backend, wal, logStorage, indexFile, logWriter }, this.#options, {
      confState: () => this.#state.confState,
      hardStateForMark: () => this.#owner.hardStateForMark(),
      neededIndex: () => this.#owner.neededIndex(),
      flushed: (tookMs, metadata) => {
        logStorage.flushed(metadata);
        counters.onFlushed?.(tookMs);
        this.#owner.flushed();
      },
      failed: (error) => this.#owner.failed(error),
    });
  }

  #compactionOf({ store }: AppliedState): CompactionDriver {
    const { compactionBatchLimit, compactionSleepMs, timers, log } = this.#options;
    return new CompactionDriver(store, {
      batchLimit: compactionBatchLimit,
      sleepMs: compactionSleepMs,
      timers,
      log,
      hasRoom: () => this.#writeBehind.takesDrops,
      stepped: () => this.#writeBehind.applied(0),
    });
  }

  #applierOf(state: AppliedState, term: number): Applier {
    return new Applier(state, this.#options.maxLearners, term, this.#owner);
  }

  #attach({ store, auth }: AppliedState): void {
    auth.begin();
    this.#parts.indexFile.attach(store, {
      whenFlushed: (done) => this.whenFlushed(done),
      released: () => this.#compaction.run(),
    });
    store.listen(this.hub);
  }
}
