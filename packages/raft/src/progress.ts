/**
 * What the leader knows of one member's log.
 *
 *        match                next
 *   ───────┼────────────────────┼──────────▶ index      match < next, always
 *    known │  sent, unanswered  │ not sent
 *
 *              reject, unreachable                      needs entries we no longer have
 *   REPLICATE ─────────────────────▶ PROBE ──────────────────────────────▶ SNAPSHOT
 *       ▲   stream, bounded by         │ one message at a time               │  nothing is sent
 *       └───  inflights                ◀─────────────────────────────────────┘  until it answers
 *                  accepted
 *
 * Only the leader's copy means anything; every change of role resets it.
 */
import { assert } from "@quorate/world";
import type { Inflights } from "./inflights.ts";
import type { Index, NodeId } from "./types.ts";

/** tracker.StateType, with its numbers. */
export const ProgressState = { Probe: 0, Replicate: 1, Snapshot: 2 } as const;
export type ProgressState = (typeof ProgressState)[keyof typeof ProgressState];

const STATE_NAMES = ["StateProbe", "StateReplicate", "StateSnapshot"] as const;

export class Progress {
  readonly id: NodeId;
  match: Index;
  next: Index;
  /** The highest commit index in flight to the member: what it would know if nothing were lost. */
  sentCommit: Index = 0 as Index;
  state: ProgressState = ProgressState.Probe;
  /** In Snapshot: the index of the snapshot under way. Otherwise 0. */
  pendingSnapshot: Index = 0 as Index;
  /** Whether it was heard from since the last quorum check. */
  recentActive: boolean;
  /** Whether MsgApp must wait for an answer: the probe is out, or inflights are full. */
  appendPaused = false;
  inflights: Inflights;
  isLearner: boolean;

  constructor(
    id: NodeId,
    place: { match: Index; next: Index; isLearner: boolean; recentActive: boolean },
    inflights: Inflights,
  ) {
    this.id = id;
    this.match = place.match;
    this.next = place.next;
    this.recentActive = place.recentActive;
    this.isLearner = place.isLearner;
    this.inflights = inflights;
  }

  /** A copy whose fields can change apart; the inflights are shared, since only one of the two lives on. */
  clone(): Progress {
    const copy = new Progress(this.id, this, this.inflights);
    copy.sentCommit = this.sentCommit;
    copy.state = this.state;
    copy.pendingSnapshot = this.pendingSnapshot;
    copy.appendPaused = this.appendPaused;
    return copy;
  }

  /** Starts over, as at a change of term: nothing known but the end of our own log. */
  reset(match: Index, next: Index): void {
    this.match = match;
    this.next = next;
    this.sentCommit = 0 as Index;
    this.recentActive = false;
    this.#enter(ProgressState.Probe);
  }

  becomeProbe(): void {
    // A snapshot known to have arrived saves probing below it.
    const from = this.state === ProgressState.Snapshot ? this.pendingSnapshot : 0;
    this.#enter(ProgressState.Probe);
    this.next = (Math.max(this.match, from) + 1) as Index;
    this.#forgetCommitBeyondNext();
  }

  becomeReplicate(): void {
    this.#enter(ProgressState.Replicate);
    this.next = (this.match + 1) as Index;
  }

  becomeSnapshot(snapshotIndex: Index): void {
    this.#enter(ProgressState.Snapshot);
    this.pendingSnapshot = snapshotIndex;
    this.next = (snapshotIndex + 1) as Index;
    this.sentCommit = snapshotIndex;
  }

  /** A MsgApp with `count` entries of `bytes` payload bytes has been sent. */
  sentEntries(count: number, bytes: number): void {
    if (this.state === ProgressState.Replicate) {
      if (count > 0) {
        this.next = (this.next + count) as Index;
        this.inflights.add((this.next - 1) as Index, bytes);
      }
      // A message that fills the window, or is sent although it is full, is a probe: wait for its answer.
      this.appendPaused = this.inflights.isFull();
      return;
    }
    assert(this.state === ProgressState.Probe, "entries are sent only while probing or replicating");
    if (count > 0) this.appendPaused = true;
  }

  /** Whether a higher commit index could teach the member something, given what is in flight to it. */
  canBumpCommit(committed: Index): boolean {
    return committed > this.sentCommit && this.sentCommit < this.next - 1;
  }

  /** The member has acknowledged `index`. False if that is no news. */
  maybeUpdate(index: Index): boolean {
    if (index <= this.match) return false;
    this.match = index;
    if (this.next < index + 1) this.next = (index + 1) as Index;
    this.appendPaused = false;
    return true;
  }

  /**
   * The member refused the MsgApp that followed `rejected` and suggests `hint` instead. False if the refusal is stale,
   * which reordering makes common; then nothing changes.
   */
  maybeDecrease(rejected: Index, hint: Index): boolean {
    if (this.state === ProgressState.Replicate) {
      if (rejected <= this.match) return false;
      this.next = (this.match + 1) as Index;
    } else {
      // While probing, only the one message that is out can be refused.
      if (this.next - 1 !== rejected) return false;
      this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1) as Index;
      this.appendPaused = false;
    }
    this.#forgetCommitBeyondNext();
    assert(this.match < this.next, "match stays below next");
    return true;
  }

  isPaused(): boolean {
    return this.state === ProgressState.Snapshot || this.appendPaused;
  }

  toString(): string {
    let text = `${STATE_NAMES[this.state]} match=${this.match} next=${this.next}`;
    if (this.isLearner) text += " learner";
    if (this.isPaused()) text += " paused";
    if (this.pendingSnapshot > 0) text += ` pendingSnap=${this.pendingSnapshot}`;
    if (!this.recentActive) text += " inactive";
    if (this.inflights.count > 0) text += ` inflight=${this.inflights.count}${this.inflights.isFull() ? "[full]" : ""}`;
    return text;
  }

  #enter(state: ProgressState): void {
    this.appendPaused = false;
    this.pendingSnapshot = 0 as Index;
    this.state = state;
    this.inflights.reset();
  }

  #forgetCommitBeyondNext(): void {
    if (this.sentCommit > this.next - 1) this.sentCommit = (this.next - 1) as Index;
  }
}
