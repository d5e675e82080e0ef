/**
 * A group of nodes under one random schedule: messages are delayed, reordered, duplicated, dropped and cut off; nodes
 * crash and forget what was not synced; members come, go, are promoted and demoted; leaders hand over. One seed decides
 * everything. The history throws as soon as a promise is broken; `settle` shows that the group recovers.
 */
import { decodeMessage, encodeMessage } from "../codec.ts";
import { ConfChangeTransition, ConfChangeType } from "../conf-change.ts";
import { LocalMessageFromPeer, ProposalDropped, UnknownPeer } from "../errors.ts";
import { type Message, MessageType, NO_BYTES } from "../message.ts";
import { ProgressState } from "../progress.ts";
import { Role } from "../raft.ts";
import { EMPTY_CONF_STATE, type Index, type NodeId, type Term } from "../types.ts";
import { History, Violation } from "./history.ts";
import { SeededRandom } from "./seeded-random.ts";
import { BLANK, SimulatedNode, type SimulatedSettings } from "./simulated-node.ts";

/** How often, relative to each other, things happen. */
const ORDINARY_WEIGHTS = {
  work: 400,
  network: 450,
  tick: 60,
  propose: 40,
  read: 20,
  checkpoint: 8,
  transfer: 5,
  confChange: 0,
  partition: 6,
  crash: 6,
  forgetLeader: 2,
  campaign: 3,
  unreachable: 4,
  snapshotStatus: 4,
};
type Event = keyof typeof ORDINARY_WEIGHTS;

export class SimulatedGroup {
  readonly history: History = new History();
  readonly #random: SeededRandom;
  readonly #nodes: Map<NodeId, SimulatedNode> = new Map();
  #network: Uint8Array[] = [];
  /** Nodes on the far side of a partition: they hear each other only, and the others do not hear them. */
  #farSide: ReadonlySet<NodeId> = new Set();
  #proposals = 0;
  readonly #weights: Readonly<Record<Event, number>>;
  readonly #totalWeight: number;
  readonly #spareIds: NodeId[];

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    const count = 1 + this.#random.below(5);
    this.#weights = this.#chooseWeights();
    this.#totalWeight = Object.values(this.#weights).reduce((sum, weight) => sum + weight, 0);
    // Ids as they are in the field: hashes that need all 64 bits.
    const ids: NodeId[] = [];
    for (let i = 0; i < count + 3; i++) {
      ids.push((BigInt(this.#random.below(2 ** 32)) << 32n) | BigInt(this.#random.below(2 ** 31) * 8 + i + 1));
    }
    const founders = ids.slice(0, count).sort((a, b) => (a < b ? -1 : 1));
    this.#spareIds = ids.slice(count);
    const checkQuorum = this.#random.oneIn(2);
    const start = {
      data: NO_BYTES,
      metadata: { confState: { ...EMPTY_CONF_STATE, voters: founders }, index: 2 as Index, term: 1 as Term },
    };
    for (const id of founders) {
      this.#add(new SimulatedNode(id, this.#settings(checkQuorum), start, this.#world()));
    }
  }

  /** Lets `count` random things happen. */
  run(count: number): void {
    for (let i = 0; i < count; i++) {
      const node = this.#anyNode();
      this.#something(node);
      this.history.observe(node.raw, node.storage);
    }
  }

  /** Heals everything and lets time pass until all members agree; throws if they do not within a generous time. */
  settle(): void {
    this.#farSide = new Set();
    for (const node of this.#nodes.values()) node.crash();
    for (let round = 0; round < 400; round++) {
      this.#drain();
      const leader = this.#leader();
      if (leader !== undefined && this.#isSettled(leader)) return;
      const members = leader === undefined ? [...this.#nodes.values()] : this.#membersOf(leader);
      // A leader that has applied its own removal is shut down by its owner.
      for (const node of members) if (node.raw.role !== Role.Leader || node === leader) node.raw.tick();
      if (leader !== undefined && round % 20 === 10) this.#nudge(leader);
    }
    if (this.#isStranded()) {
      this.history.counts.stranded++;
      return;
    }
    throw new Violation("liveness", "the group did not settle");
  }

  /**
   * The one way for a healthy group to be stuck, which raft has where configurations take effect when applied: a node
   * has applied that it is no voter any more, those that remain have not, need its vote, and cannot get it because its
   * log is longer. Going from two voters to one while crashing is how to get there (known failure MB-05).
   */
  #isStranded(): boolean {
    const last = (node: SimulatedNode): { index: Index; term: Term } => {
      const index = node.raw.lastIndex;
      return { index, term: node.storage.term(index) ?? (0 as Term) };
    };
    const isLonger = (a: { index: Index; term: Term }, b: { index: Index; term: Term }): boolean =>
      a.term > b.term || (a.term === b.term && a.index > b.index);
    const nodes = [...this.#nodes.values()];
    const isVoter = (node: SimulatedNode): boolean => {
      const { voters, votersOutgoing } = node.raw.status().config;
      return voters.includes(node.id) || votersOutgoing.includes(node.id);
    };
    const candidates = nodes.filter(isVoter);
    return nodes.some((node) => !isVoter(node) && candidates.every((other) => isLonger(last(node), last(other))));
  }

  /** What keeps a real group going: new writes, fresh snapshots, and a transport that tells what became of them. */
  #nudge(leader: SimulatedNode): void {
    const { config, progress } = leader.raw.status();
    leader.checkpoint();
    for (const { id, state } of progress) {
      if (state === ProgressState.Snapshot) leader.raw.reportSnapshot(id, "finished");
    }
    this.#attempt(() => {
      if (config.votersOutgoing.length > 0 && !config.autoLeave) {
        leader.raw.proposeConfChange({ transition: ConfChangeTransition.Auto, changes: [], context: NO_BYTES });
      } else {
        leader.raw.propose(this.#payload());
      }
    });
  }

  /** All members have applied the leader's whole log, and no change of configuration is under way. */
  #isSettled(leader: SimulatedNode): boolean {
    if (leader.raw.committed !== leader.raw.lastIndex) return false;
    const { config, uncommittedSizeBytes } = leader.raw.status();
    if (config.votersOutgoing.length > 0 || uncommittedSizeBytes > 0) return false;
    return this.#membersOf(leader).every((node) => node.appliedIndex === leader.raw.lastIndex);
  }

  #membersOf(leader: SimulatedNode): SimulatedNode[] {
    return leader.raw.status().progress.map(({ id }) => this.#nodes.get(id)!);
  }

  /** Some leader: of the highest term, or, in a partition, maybe one that does not know of its successor. */
  #someLeader(): SimulatedNode | undefined {
    const leaders = [...this.#nodes.values()].filter((node) => node.raw.role === Role.Leader);
    return leaders.length === 0 ? undefined : this.#random.pick(leaders);
  }

  /** The leader of the highest term, unless it was removed: such a member would have been shut down. */
  #leader(): SimulatedNode | undefined {
    let found: SimulatedNode | undefined;
    for (const node of this.#nodes.values()) {
      if (node.raw.role !== Role.Leader) continue;
      if (!node.raw.status().progress.some(({ id }) => id === node.id)) continue;
      if (found === undefined || node.raw.term > found.raw.term) found = node;
    }
    return found;
  }

  /** Everything there is to do and to deliver, in order. */
  #drain(): void {
    for (let i = 0; i < 100_000; i++) {
      const busy = [...this.#nodes.values()].find((node) => node.hasWork());
      if (busy !== undefined) {
        busy.work();
        this.history.observe(busy.raw, busy.storage);
      } else if (this.#network.length > 0) {
        this.#receive(this.#network.shift()!);
      } else {
        return;
      }
    }
    throw new Violation("liveness", "messages go round and round");
  }

  /** One of all the things that can happen, as often as this seed's weights say. */
  #something(node: SimulatedNode): void {
    let dice = this.#random.below(this.#totalWeight);
    for (const [what, weight] of Object.entries(this.#weights) as [Event, number][]) {
      if (dice < weight) return this.#happen(what, node);
      dice -= weight;
    }
  }

  #happen(what: Event, node: SimulatedNode): void {
    switch (what) {
      case "work":
        return node.work();
      case "network":
        return this.#networkEvent();
      case "tick":
        return node.raw.tick();
      case "propose":
        return this.#attempt(() => this.#propose(node));
      case "read":
        return this.#read(this.#random.oneIn(2) ? node : (this.#someLeader() ?? node));
      case "checkpoint":
        return node.checkpoint();
      case "transfer":
        return node.raw.transferLeadership(this.#anyNode().id);
      case "confChange":
        return this.#attempt(() => this.#proposeConfChange(node));
      case "partition":
        return this.#repartition();
      case "crash":
        return node.crash();
      case "forgetLeader":
        return node.raw.forgetLeader();
      case "campaign":
        return node.raw.campaign();
      case "unreachable":
        return node.raw.reportUnreachable(this.#anyNode().id);
      case "snapshotStatus":
        return node.raw.reportSnapshot(this.#anyNode().id, this.#random.oneIn(2) ? "failed" : "finished");
    }
  }

  #networkEvent(): void {
    if (this.#network.length === 0) return;
    const at = this.#random.oneIn(3) ? this.#random.below(this.#network.length) : 0;
    const bytes = this.#network[at]!;
    // Left in place, it will arrive again.
    if (!this.#random.oneIn(30)) this.#network.splice(at, 1);
    if (!this.#random.oneIn(20)) this.#receive(bytes);
  }

  #receive(bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    const node = this.#nodes.get(message.to);
    if (node === undefined || this.#farSide.has(message.to) !== this.#farSide.has(message.from)) return;
    this.#attempt(() => node.raw.step(message));
    this.history.observe(node.raw, node.storage);
  }

  #send(message: Message): void {
    if (message.type === MessageType.VoteResp && !message.reject) {
      this.history.voted(message.from, message.term, message.to);
    }
    // Too many for a network to hold: the oldest are lost.
    if (this.#network.length > 300) this.#network.splice(0, 100);
    this.#network.push(encodeMessage(message));
  }

  #propose(node: SimulatedNode): void {
    const batch: Uint8Array[] = [];
    for (let i = this.#random.below(4); i >= 0; i--) batch.push(this.#payload());
    node.raw.proposeBatch(batch);
  }

  #payload(): Uint8Array {
    const data = new Uint8Array(4 + this.#random.below(40));
    new DataView(data.buffer).setUint32(0, ++this.#proposals);
    return data;
  }

  #read(node: SimulatedNode): void {
    const context = new Uint8Array(8);
    new DataView(context.buffer).setUint32(0, ++this.#proposals);
    this.history.readAsked(context);
    node.raw.readIndex(context);
  }

  #proposeConfChange(node: SimulatedNode): void {
    const change = (): { type: ConfChangeType; nodeId: NodeId } => ({
      type: this.#random.pick([
        ConfChangeType.AddNode,
        ConfChangeType.AddNode,
        ConfChangeType.AddLearnerNode,
        ConfChangeType.RemoveNode,
        ConfChangeType.UpdateNode,
      ]),
      nodeId: this.#random.oneIn(4) ? this.#newcomer() : this.#anyNode().id,
    });
    if (this.#random.oneIn(2)) {
      node.raw.proposeConfChange({ id: 7n, context: NO_BYTES, ...change() });
      return;
    }
    const changes = [];
    for (let i = this.#random.below(4); i > 0; i--) changes.push(change());
    const transition = this.#random.pick(Object.values(ConfChangeTransition));
    node.raw.proposeConfChange({ transition, changes, context: NO_BYTES });
  }

  #newcomer(): NodeId {
    const id = this.#spareIds.pop();
    if (id === undefined) return this.#anyNode().id;
    this.#add(new SimulatedNode(id, this.#settings(this.#anyNode().settings.checkQuorum), BLANK, this.#world()));
    return id;
  }

  #repartition(): void {
    const farSide = new Set<NodeId>();
    // As often healed as not; often it is the leader that ends up alone.
    if (this.#random.oneIn(2)) {
      const leader = this.#leader();
      if (leader !== undefined && this.#random.oneIn(2)) farSide.add(leader.id);
      else for (const id of this.#nodes.keys()) if (this.#random.oneIn(2)) farSide.add(id);
    }
    this.#farSide = farSide;
  }

  /** Most seeds make something happen far more often than it ordinarily would. */
  #chooseWeights(): Readonly<Record<Event, number>> {
    const weights = { ...ORDINARY_WEIGHTS };
    if (this.#random.oneIn(2)) weights.confChange = this.#random.pick([10, 60]);
    if (this.#random.oneIn(3)) weights.partition *= 4;
    if (this.#random.oneIn(3)) weights.crash *= 5;
    if (this.#random.oneIn(3)) weights.checkpoint *= 5;
    if (this.#random.oneIn(3)) weights.read *= 6;
    if (this.#random.oneIn(4)) weights.campaign *= 5;
    if (this.#random.oneIn(4)) weights.transfer *= 5;
    return weights;
  }

  /** Does something that may be refused. */
  #attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      const isRefusal =
        error instanceof ProposalDropped || error instanceof UnknownPeer || error instanceof LocalMessageFromPeer;
      if (!isRefusal) throw error;
    }
  }

  #anyNode(): SimulatedNode {
    return this.#random.pick([...this.#nodes.values()]);
  }

  #add(node: SimulatedNode): void {
    this.#nodes.set(node.id, node);
  }

  #world(): { random: SeededRandom; history: History; send: (message: Message) => void } {
    return { random: this.#random, history: this.history, send: (message) => this.#send(message) };
  }

  /** Members of one group may differ in all of this but the quorum check. */
  #settings(checkQuorum: boolean): SimulatedSettings {
    const maxSizePerMessageBytes = this.#random.pick([1, 100, 1 << 20]);
    return {
      asyncStorageWrites: this.#random.oneIn(2),
      preVote: this.#random.oneIn(2),
      checkQuorum,
      stepDownOnRemoval: this.#random.oneIn(2),
      maxSizePerMessageBytes,
      maxCommittedSizePerReadyBytes: this.#random.pick([0, 1, 200]),
      maxUncommittedSizeBytes: this.#random.pick([0, 300]),
      maxInflightMessages: this.#random.pick([1, 3, 256]),
    };
  }
}
