/**
 * One member as the property tests see it: a RawNode, a disk that forgets what was not synced, and a state machine that
 * is nothing but a hash over everything applied. It does everything by the rules of raw-node.ts, and as late as they
 * allow: writes and applying are queues that the schedule works off when it likes.
 */
import { silentLog } from "@quorate/world";
import { confChangeOf } from "../codec.ts";
import type { RaftConfig } from "../config.ts";
import { InvalidConfChange, UnknownPeer } from "../errors.ts";
import { isLocalThread, type Message, MessageType, NO_BYTES, type Snapshot } from "../message.ts";
import { RawNode } from "../raw-node.ts";
import type { Ready } from "../ready.ts";
import { EMPTY_HARD_STATE, MemoryLogStorage } from "../storage.ts";
import { type ConfState, type Entry, EntryType, type HardState, type Index, type NodeId } from "../types.ts";
import type { History } from "./history.ts";
import type { SeededRandom } from "./seeded-random.ts";

export type SimulatedSettings = Pick<
  RaftConfig,
  | "asyncStorageWrites"
  | "preVote"
  | "checkQuorum"
  | "stepDownOnRemoval"
  | "maxSizePerMessageBytes"
  | "maxCommittedSizePerReadyBytes"
  | "maxUncommittedSizeBytes"
  | "maxInflightMessages"
>;

/** The state machine at one index. */
interface Applied {
  readonly index: Index;
  readonly hash: number;
  readonly confState: ConfState;
}

/** A log storage that starts from the state machine's configuration instead of the last snapshot's. */
class SimulatedStorage extends MemoryLogStorage {
  confState: ConfState;

  constructor(confState: ConfState) {
    super();
    this.confState = confState;
  }

  override initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return { hardState: super.initialState().hardState, confState: this.confState };
  }
}

export class SimulatedNode {
  readonly id: NodeId;
  readonly settings: SimulatedSettings;
  readonly #random: SeededRandom;
  readonly #history: History;
  readonly #sendToPeer: (message: Message) => void;
  readonly #storage: SimulatedStorage;
  /** The hard state as of the last synced write; a later one, which can differ in the commit index only, may be lost. */
  #syncedState: HardState = EMPTY_HARD_STATE;
  #applied: Applied;
  /** The state machine as stored: what a crash goes back to. */
  #checkpoint: Applied;
  raw: RawNode;
  readonly #appendWork: Message[] = [];
  readonly #applyWork: Message[] = [];

  constructor(
    id: NodeId,
    settings: SimulatedSettings,
    start: Snapshot,
    world: { random: SeededRandom; history: History; send: (message: Message) => void },
  ) {
    this.id = id;
    this.settings = settings;
    this.#random = world.random;
    this.#history = world.history;
    this.#sendToPeer = world.send;
    this.#storage = new SimulatedStorage(start.metadata.confState);
    if (start.metadata.index > 0) this.#storage.applySnapshot(start);
    this.#applied = { index: start.metadata.index, hash: 0, confState: start.metadata.confState };
    this.#checkpoint = this.#applied;
    this.raw = this.#boot();
  }

  get appliedIndex(): Index {
    return this.#applied.index;
  }

  get storage(): MemoryLogStorage {
    return this.#storage;
  }

  /** Loses everything that was not synced, and starts again from the rest. */
  crash(): void {
    this.#appendWork.length = 0;
    this.#applyWork.length = 0;
    this.#applied = this.#checkpoint;
    const stored = this.#random.oneIn(2) ? this.#syncedState : this.#storage.initialState().hardState;
    // What was applied was committed, whether or not the commit index was stored.
    const commit = Math.max(stored.commit, this.#applied.index) as Index;
    this.#storage.setHardState({ ...stored, commit });
    this.#storage.confState = this.#applied.confState;
    this.raw = this.#boot();
  }

  hasWork(): boolean {
    return this.raw.hasReady() || this.#appendWork.length > 0 || this.#applyWork.length > 0;
  }

  /** Does one piece of what there is to do. */
  work(): void {
    const choices: (() => void)[] = [];
    if (this.raw.hasReady()) choices.push(() => this.#handleReady());
    if (this.#appendWork.length > 0) choices.push(() => this.#processAppend(this.#appendWork.shift()!));
    if (this.#applyWork.length > 0) choices.push(() => this.#processApply(this.#applyWork.shift()!));
    if (choices.length > 0) this.#random.pick(choices)();
  }

  /** Stores the state machine, and now and then cuts the log behind it. */
  checkpoint(): void {
    this.#checkpoint = this.#applied;
    const { index, hash, confState } = this.#applied;
    if (index <= this.#storage.snapshot().metadata.index || index < this.#storage.firstIndex()) return;
    const data = new Uint8Array(4);
    new DataView(data.buffer).setUint32(0, hash);
    this.#storage.createSnapshot(index, confState, data);
    const cut = (index - this.#random.below(4)) as Index;
    if (cut >= this.#storage.firstIndex()) this.#storage.compact(cut);
  }

  #boot(): RawNode {
    return new RawNode({
      ...this.settings,
      id: this.id,
      electionTicks: 5,
      heartbeatTicks: 1,
      storage: this.#storage,
      applied: this.#applied.index,
      maxInflightBytes: 0,
      readOnly: "safe",
      disableProposalForwarding: false,
      disableConfChangeValidation: false,
      random: this.#random,
      log: silentLog,
    });
  }

  #handleReady(): void {
    const ready = this.raw.ready();
    for (const state of ready.readStates) this.#history.readAnswered(state.requestContext, state.index);
    if (this.settings.asyncStorageWrites) {
      for (const message of ready.messages) this.#route(message);
      return;
    }
    // A crash between any two of these steps is what `crash` before this Ready, or before a checkpoint, amounts to.
    this.#persist(ready.hardState, ready.entries, ready.snapshot, ready.mustSync);
    for (const message of ready.messages) this.#route(message);
    this.#applyAll(ready.committedEntries);
    this.#advance(ready);
  }

  #advance(ready: Ready): void {
    this.raw.advance(ready);
  }

  #route(message: Message): void {
    if (!isLocalThread(message.to)) this.#deliver(message);
    else if (message.type === MessageType.StorageAppend) this.#appendWork.push(message);
    else this.#applyWork.push(message);
  }

  #deliver(message: Message): void {
    if (message.to !== this.id) {
      this.#sendToPeer(message);
      return;
    }
    try {
      this.raw.step(message);
    } catch (error) {
      // It has removed itself from the configuration meanwhile, and its answers to itself no longer count.
      if (!(error instanceof UnknownPeer)) throw error;
    }
  }

  #processAppend(work: Message): void {
    const { term, vote, commit } = work;
    const state = term === 0 ? null : { term, vote, commit };
    const isVoteNews = state !== null && (term !== this.#syncedState.term || vote !== this.#syncedState.vote);
    this.#persist(state, work.entries, work.snapshot, work.entries.length > 0 || isVoteNews);
    for (const response of work.responses) this.#deliver(response);
  }

  #processApply(work: Message): void {
    this.#applyAll(work.entries);
    for (const response of work.responses) this.#deliver(response);
  }

  #persist(state: HardState | null, entries: readonly Entry[], snapshot: Snapshot | null, mustSync: boolean): void {
    if (state !== null) this.#storage.setHardState(state);
    if (snapshot !== null) {
      this.#storage.applySnapshot(snapshot);
      const { index, confState } = snapshot.metadata;
      const hash = new DataView(snapshot.data.buffer, snapshot.data.byteOffset).getUint32(0);
      this.#history.stateReached(index, hash);
      this.#applied = { index, hash, confState };
      this.#checkpoint = this.#applied;
    }
    this.#storage.append(entries);
    for (const entry of entries) this.#history.entryStored(entry, this.#storage.term((entry.index - 1) as Index));
    if (mustSync || snapshot !== null) this.#syncedState = this.#storage.initialState().hardState;
  }

  #applyAll(entries: readonly Entry[]): void {
    for (const entry of entries) {
      // Handed out before a snapshot that has overtaken it.
      if (entry.index <= this.#applied.index) continue;
      let confState = this.#applied.confState;
      if (entry.type !== EntryType.Normal) confState = this.#applyConfChange(entry, confState);
      const hash = mix(this.#applied.hash, entry);
      this.#history.stateReached(entry.index, hash);
      this.#history.entryCommitted(entry);
      this.#applied = { index: entry.index, hash, confState };
    }
  }

  /** An illegal change is rejected, by every node alike, by not applying it (known failure MB-03). */
  #applyConfChange(entry: Entry, before: ConfState): ConfState {
    try {
      return this.raw.applyConfChange(confChangeOf(entry));
    } catch (error) {
      if (error instanceof InvalidConfChange) return before;
      throw error;
    }
  }
}

function mix(hash: number, entry: Entry): number {
  let mixed = Math.imul(hash ^ entry.index, 0x01000193);
  mixed = Math.imul(mixed ^ entry.term, 0x01000193);
  for (const byte of entry.data) mixed = Math.imul(mixed ^ byte, 0x01000193);
  return mixed >>> 0;
}

/** Nothing yet: where a node that is to join starts. */
export const BLANK: Snapshot = {
  data: NO_BYTES,
  metadata: {
    confState: { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
    index: 0 as Index,
    term: 0 as never,
  },
};
