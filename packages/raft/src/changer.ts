/**
 * Computes the next configuration from the present one and a change, or says why there is none. Pure: what it is given
 * stays untouched until someone installs the result.
 *
 *   (1 2 3) ── simple: at most one voter comes or goes ──▶ (1 2 4)? no, (1 2)
 *   (1 2 3) ── enter joint: any steps ──▶ (1 2 4)&&(1 2 3) ── leave joint ──▶ (1 2 4)
 *
 * While joint, a voter that is to become a learner must go on voting in the outgoing half, so it waits in learnersNext.
 */
import { type ConfChangeSingle, ConfChangeType, type ConfChangeV2, transitionOf } from "./conf-change.ts";
import { InvalidConfChange } from "./errors.ts";
import type { Inflights } from "./inflights.ts";
import { Progress } from "./progress.ts";
import { ascending, checkConfig } from "./tracker.ts";
import { type ConfState, EMPTY_CONF_STATE, type Index, type NodeId } from "./types.ts";

/** A configuration with the progress of everyone in it. */
export interface Configuration {
  readonly config: ConfState;
  readonly progress: ReadonlyMap<NodeId, Progress>;
}

export class Changer {
  readonly #from: Configuration;
  readonly #lastIndex: Index;
  readonly #newInflights: () => Inflights;

  /** `lastIndex` is where probing of new members starts. */
  constructor(from: Configuration, lastIndex: Index, newInflights: () => Inflights) {
    this.#from = from;
    this.#lastIndex = lastIndex;
    this.#newInflights = newInflights;
  }

  /** Throws InvalidConfChange with etcd's text if the change is not legal now. */
  change(change: ConfChangeV2): Configuration {
    switch (transitionOf(change)) {
      case "leave joint":
        return this.leaveJoint();
      case "enter joint":
        return this.enterJoint(false, change.changes);
      case "enter joint, leave by itself":
        return this.enterJoint(true, change.changes);
      case "simple":
        return this.simple(change.changes);
    }
  }

  simple(changes: readonly ConfChangeSingle[]): Configuration {
    if (this.#isJoint()) throw new InvalidConfChange("can't apply simple config change in joint config");
    const draft = this.#draft();
    draft.apply(changes);
    let moved = 0;
    for (const id of this.#from.config.voters) if (!draft.voters.has(id)) moved++;
    for (const id of draft.voters) if (!this.#from.config.voters.includes(id)) moved++;
    if (moved > 1) throw new InvalidConfChange("more than one voter changed without entering joint config");
    return draft.finish();
  }

  enterJoint(autoLeave: boolean, changes: readonly ConfChangeSingle[]): Configuration {
    if (this.#isJoint()) throw new InvalidConfChange("config is already joint");
    if (this.#from.config.voters.length === 0) throw new InvalidConfChange("can't make a zero-voter config joint");
    const draft = this.#draft();
    for (const id of draft.voters) draft.votersOutgoing.add(id);
    draft.apply(changes);
    draft.autoLeave = autoLeave;
    return draft.finish();
  }

  leaveJoint(): Configuration {
    if (!this.#isJoint()) throw new InvalidConfChange("can't leave a non-joint config");
    const draft = this.#draft();
    draft.leave();
    return draft.finish();
  }

  #isJoint(): boolean {
    return this.#from.config.votersOutgoing.length > 0;
  }

  #draft(): Draft {
    return new Draft(this.#from, this.#lastIndex, this.#newInflights);
  }
}

/** The configuration a ConfState describes, built by legal changes from nothing. */
export function restoreConfiguration(state: ConfState, lastIndex: Index, newInflights: () => Inflights): Configuration {
  let at: Configuration = { config: EMPTY_CONF_STATE, progress: new Map() };
  const step = (type: ConfChangeType, nodeId: NodeId): void => {
    at = new Changer(at, lastIndex, newInflights).simple([{ type, nodeId }]);
  };
  if (state.votersOutgoing.length === 0) {
    for (const id of state.voters) step(ConfChangeType.AddNode, id);
    for (const id of state.learners) step(ConfChangeType.AddLearnerNode, id);
    return at;
  }
  // Go back to the configuration before the joint one, then enter it again in one change. Removing the outgoing voters
  // first lets those that stay come back by being added.
  for (const id of state.votersOutgoing) step(ConfChangeType.AddNode, id);
  const changes: ConfChangeSingle[] = [];
  for (const nodeId of state.votersOutgoing) changes.push({ type: ConfChangeType.RemoveNode, nodeId });
  for (const nodeId of state.voters) changes.push({ type: ConfChangeType.AddNode, nodeId });
  for (const nodeId of state.learners) changes.push({ type: ConfChangeType.AddLearnerNode, nodeId });
  for (const nodeId of state.learnersNext) changes.push({ type: ConfChangeType.AddLearnerNode, nodeId });
  return new Changer(at, lastIndex, newInflights).enterJoint(state.autoLeave, changes);
}

/** A configuration being changed: copies of everything, so that a change refused half-way leaves no trace. */
class Draft {
  readonly voters: Set<NodeId>;
  readonly votersOutgoing: Set<NodeId>;
  readonly #learners: Set<NodeId>;
  readonly #learnersNext: Set<NodeId>;
  autoLeave: boolean;
  readonly #progress = new Map<NodeId, Progress>();
  readonly #lastIndex: Index;
  readonly #newInflights: () => Inflights;

  constructor(from: Configuration, lastIndex: Index, newInflights: () => Inflights) {
    this.voters = new Set(from.config.voters);
    this.votersOutgoing = new Set(from.config.votersOutgoing);
    this.#learners = new Set(from.config.learners);
    this.#learnersNext = new Set(from.config.learnersNext);
    this.autoLeave = from.config.autoLeave;
    for (const [id, progress] of from.progress) this.#progress.set(id, progress.clone());
    this.#lastIndex = lastIndex;
    this.#newInflights = newInflights;
  }

  apply(changes: readonly ConfChangeSingle[]): void {
    for (const { type, nodeId } of changes) {
      // etcd turns a change that its own rules refuse into one for node 0, which must do nothing.
      if (nodeId === 0n) continue;
      switch (type) {
        case ConfChangeType.AddNode:
          this.#makeVoter(nodeId);
          break;
        case ConfChangeType.AddLearnerNode:
          this.#makeLearner(nodeId);
          break;
        case ConfChangeType.RemoveNode:
          this.#remove(nodeId);
          break;
        case ConfChangeType.UpdateNode:
          // Concerns what the application keeps about a member, not the configuration.
          break;
      }
    }
    if (this.voters.size === 0) throw new InvalidConfChange("removed all voters");
  }

  leave(): void {
    for (const id of this.#learnersNext) {
      this.#learners.add(id);
      this.#progress.get(id)!.isLearner = true;
    }
    this.#learnersNext.clear();
    for (const id of this.votersOutgoing) {
      if (!this.voters.has(id) && !this.#learners.has(id)) this.#progress.delete(id);
    }
    this.votersOutgoing.clear();
    this.autoLeave = false;
  }

  finish(): Configuration {
    const config: ConfState = {
      voters: [...this.voters].sort(ascending),
      learners: [...this.#learners].sort(ascending),
      votersOutgoing: [...this.votersOutgoing].sort(ascending),
      learnersNext: [...this.#learnersNext].sort(ascending),
      autoLeave: this.autoLeave,
    };
    checkConfig(config, this.#progress);
    return { config, progress: this.#progress };
  }

  #makeVoter(id: NodeId): void {
    const progress = this.#progress.get(id);
    if (progress === undefined) this.#addProgress(id, false);
    else progress.isLearner = false;
    this.#learners.delete(id);
    this.#learnersNext.delete(id);
    this.voters.add(id);
  }

  #makeLearner(id: NodeId): void {
    const progress = this.#progress.get(id);
    if (progress === undefined) {
      this.#addProgress(id, true);
      this.#learners.add(id);
      return;
    }
    if (progress.isLearner) return;
    this.voters.delete(id);
    if (this.votersOutgoing.has(id)) {
      this.#learnersNext.add(id);
    } else {
      progress.isLearner = true;
      this.#learners.add(id);
    }
  }

  #remove(id: NodeId): void {
    this.voters.delete(id);
    this.#learners.delete(id);
    this.#learnersNext.delete(id);
    // An outgoing voter is still counted until the joint configuration is left.
    if (!this.votersOutgoing.has(id)) this.#progress.delete(id);
  }

  #addProgress(id: NodeId, isLearner: boolean): void {
    // Active at first, so that a quorum check right after does not depose a leader for members it just added.
    const place = { match: 0 as Index, next: Math.max(this.#lastIndex, 1) as Index, isLearner, recentActive: true };
    this.#progress.set(id, new Progress(id, place, this.#newInflights()));
  }
}
