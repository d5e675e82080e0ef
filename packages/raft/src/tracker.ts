/**
 * The group as one node sees it: the configuration in force, what the leader knows of each member, and the votes of
 * the election under way. Members are kept in ascending order of id, so that everything sent to all is sent in an
 * order that depends on nothing else.
 *
 * Invariants: a progress exists for every configured id and for no other; learners are disjoint from both halves of
 * the voters; an outgoing half, learnersNext and autoLeave exist only in a joint configuration.
 */
import { assert } from "@quorate/world";
import { Inflights } from "./inflights.ts";
import type { Progress } from "./progress.ts";
import { type AckedIndexes, jointCommittedIndex, jointVoteResult, type VoteResult } from "./quorum.ts";
import { type ConfState, EMPTY_CONF_STATE, type Index, type NodeId } from "./types.ts";

export class Tracker implements AckedIndexes {
  readonly maxInflightMessages: number;
  readonly maxInflightBytes: number;
  #config: ConfState = EMPTY_CONF_STATE;
  #byId: ReadonlyMap<NodeId, Progress> = new Map();
  #members: readonly Progress[] = [];
  readonly #votes: Map<NodeId, boolean> = new Map();

  constructor(maxInflightMessages: number, maxInflightBytes: number) {
    this.maxInflightMessages = maxInflightMessages;
    this.maxInflightBytes = maxInflightBytes;
  }

  get config(): ConfState {
    return this.#config;
  }

  /** Everyone the configuration names, learners included, ascending by id. */
  get members(): readonly Progress[] {
    return this.#members;
  }

  progress(id: NodeId): Progress | undefined {
    return this.#byId.get(id);
  }

  newInflights(): Inflights {
    return new Inflights(this.maxInflightMessages, this.maxInflightBytes);
  }

  /** Puts a configuration in force. The changer made both, so they agree. */
  install(config: ConfState, progress: ReadonlyMap<NodeId, Progress>): void {
    this.#config = config;
    this.#byId = progress;
    this.#members = [...progress.values()].sort(byId);
  }

  isJoint(): boolean {
    return this.#config.votersOutgoing.length > 0;
  }

  /** True if `id` alone decides everything. */
  isOnlyVoter(id: NodeId): boolean {
    return this.#config.voters.length === 1 && !this.isJoint() && this.#config.voters[0] === id;
  }

  isVoter(id: NodeId): boolean {
    return this.#config.voters.includes(id) || this.#config.votersOutgoing.includes(id);
  }

  /** The voters of both halves, ascending, each once. */
  voterIds(): NodeId[] {
    const ids = new Set(this.#config.voters);
    for (const id of this.#config.votersOutgoing) ids.add(id);
    return [...ids].sort(ascending);
  }

  ackedIndex(id: NodeId): Index | undefined {
    return this.#byId.get(id)?.match;
  }

  /** The highest index the voters have acknowledged by (joint) majority. */
  committedIndex(): Index {
    return jointCommittedIndex(this.#config.voters, this.#config.votersOutgoing, this);
  }

  /** Whether a quorum of voters was heard from since the last check. */
  isQuorumActive(): boolean {
    const active = new Map<NodeId, boolean>();
    for (const member of this.#members) {
      if (!member.isLearner) active.set(member.id, member.recentActive);
    }
    return jointVoteResult(this.#config.voters, this.#config.votersOutgoing, active) === "won";
  }

  /** Starts an election: nobody has voted. */
  clearVotes(): void {
    this.#votes.clear();
  }

  /** Only a node's first answer counts. */
  recordVote(id: NodeId, granted: boolean): void {
    if (!this.#votes.has(id)) this.#votes.set(id, granted);
  }

  tally(): { granted: number; rejected: number; result: VoteResult } {
    let granted = 0;
    let rejected = 0;
    for (const member of this.#members) {
      if (member.isLearner) continue;
      const vote = this.#votes.get(member.id);
      if (vote === true) granted++;
      else if (vote === false) rejected++;
    }
    return {
      granted,
      rejected,
      result: jointVoteResult(this.#config.voters, this.#config.votersOutgoing, this.#votes),
    };
  }

  /** `voters=(1 2)&&(3) learners=(4)`, as etcd logs it. */
  describeConfig(): string {
    return describeConfig(this.#config);
  }
}

/** Order for ids; `sort` alone would compare them as text. */
export function ascending(a: NodeId, b: NodeId): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function byId(a: Progress, b: Progress): number {
  return ascending(a.id, b.id);
}

export function describeConfig(config: ConfState): string {
  let text = `voters=(${config.voters.join(" ")})`;
  if (config.votersOutgoing.length > 0) text += `&&(${config.votersOutgoing.join(" ")})`;
  if (config.learners.length > 0) text += ` learners=(${config.learners.join(" ")})`;
  if (config.learnersNext.length > 0) text += ` learners_next=(${config.learnersNext.join(" ")})`;
  if (config.autoLeave) text += " autoleave";
  return text;
}

/** Throws if the configuration and its progresses contradict each other or the invariants above. */
export function checkConfig(config: ConfState, progress: ReadonlyMap<NodeId, Progress>): void {
  const voters = new Set([...config.voters, ...config.votersOutgoing]);
  const configured = new Set([...voters, ...config.learners, ...config.learnersNext]);
  for (const id of configured) assert(progress.has(id), "every configured id has a progress");
  assert(configured.size === progress.size, "every progress belongs to a configured id");
  for (const id of config.learners) {
    assert(!voters.has(id), "no learner is a voter");
    assert(progress.get(id)?.isLearner === true, "a learner's progress says so");
  }
  for (const id of config.learnersNext) {
    assert(config.votersOutgoing.includes(id), "a future learner is an outgoing voter");
    assert(progress.get(id)?.isLearner === false, "a future learner is not one yet");
  }
  if (config.votersOutgoing.length === 0) {
    assert(config.learnersNext.length === 0, "only a joint configuration has future learners");
    assert(!config.autoLeave, "only a joint configuration can be left");
  }
}
