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

export class SimulatedGroup {
  readonly history: History = new History();
  readonly #random: SeededRandom;
  readonly #nodes: Map<NodeId, SimulatedNode> = new Map();
  #network: Uint8Array[] = [];
  /** Nodes that hear and are heard by nobody else. */
  #cutOff: ReadonlySet<NodeId> = new Set();
  #proposals = 0;
  readonly #withConfChanges: boolean;
  readonly #spareIds: NodeId[];

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    const count = 1 + this.#random.below(5);
    this.#withConfChanges = this.#random.oneIn(2);
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
    this.#cutOff = new Set();
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
    throw new Violation("liveness", "the group did not settle");
  }

  /** What keeps a real group going: new writes, fresh snapshots, and a transport that tells what became of them. */
  #nudge(leader: SimulatedNode): void {
    const { config, progress } = leader.raw.status();
    leader.checkpoint();
    for (const { id, state } of progress) {
      if (state === ProgressState.Snapshot) leader.raw.reportSnapshot(id, "finished");
    }
    this.#attempt(() => {
      if (config.votersOutgoing.length > 0) {
        leader.raw.proposeConfChange({ transition: ConfChangeTransition.Auto, changes: [], context: NO_BYTES });
      } else {
        leader.raw.propose(this.#payload());
      }
    });
  }

  /** All members have applied the leader's whole log, and no change of configuration is under way. */
  #isSettled(leader: SimulatedNode): boolean {
    if (leader.raw.committed !== leader.raw.lastIndex) return false;
    if (leader.raw.status().config.votersOutgoing.length > 0) return false;
    return this.#membersOf(leader).every((node) => node.appliedIndex === leader.raw.lastIndex);
  }

  #membersOf(leader: SimulatedNode): SimulatedNode[] {
    return leader.raw.status().progress.map(({ id }) => this.#nodes.get(id)!);
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

  #something(node: SimulatedNode): void {
    const dice = this.#random.below(1000);
    if (dice < 350) node.work();
    else if (dice < 700) this.#networkEvent();
    else if (dice < 850) node.raw.tick();
    else if (dice < 930) this.#attempt(() => this.#propose(node));
    else if (dice < 945) this.#read(node);
    else if (dice < 955) node.checkpoint();
    else if (dice < 962) node.raw.transferLeadership(this.#anyNode().id);
    else if (dice < 970) this.#attempt(() => this.#proposeConfChange(node));
    else if (dice < 976) this.#cut();
    else if (dice < 984) node.crash();
    else if (dice < 987) node.raw.forgetLeader();
    else if (dice < 990) node.raw.campaign();
    else if (dice < 995) node.raw.reportUnreachable(this.#anyNode().id);
    else node.raw.reportSnapshot(this.#anyNode().id, this.#random.oneIn(2) ? "failed" : "finished");
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
    if (node === undefined || this.#cutOff.has(message.to) || this.#cutOff.has(message.from)) return;
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
    if (!this.#withConfChanges) return;
    const change = (): { type: ConfChangeType; nodeId: NodeId } => ({
      type: this.#random.pick([
        ConfChangeType.AddNode,
        ConfChangeType.AddNode,
        ConfChangeType.AddLearnerNode,
        ConfChangeType.RemoveNode,
        ConfChangeType.UpdateNode,
      ]),
      nodeId: this.#random.oneIn(3) ? this.#newcomer() : this.#anyNode().id,
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

  #cut(): void {
    if (this.#cutOff.size > 0 && this.#random.oneIn(2)) {
      this.#cutOff = new Set();
      return;
    }
    const cutOff = new Set<NodeId>();
    for (const id of this.#nodes.keys()) if (this.#random.oneIn(3)) cutOff.add(id);
    this.#cutOff = cutOff;
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
