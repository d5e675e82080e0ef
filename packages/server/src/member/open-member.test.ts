import assert from "node:assert/strict";
import { test } from "node:test";
import { index, Message, MessageType, type NodeId, term } from "@quorate/raft";
import { SeededRandom } from "@quorate/wal/testing";
import type { Bootstrap } from "../bootstrap/bootstrap.ts";
import type { PeerNetwork, PeerNetworkOwner } from "../peers/peer-network.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import { SimulatedMachine } from "../testing/simulated-machine.ts";

const CLUSTER = 77n;
const JOINED: Bootstrap = {
  kind: "join",
  memberId: 3n,
  clusterId: CLUSTER,
  members: [1n, 2n, 3n].map((id) => ({
    id,
    peerUrls: [`http://m${id}:2380`],
    isLearner: false,
    name: `m${id}`,
    clientUrls: [],
  })),
  token: "",
};

/** A member that was added to a running cluster and has been sent nothing yet. */
class JoiningMember {
  readonly machine = new SimulatedMachine({ random: new SeededRandom(1) });
  readonly world = new ManualWorld();
  readonly sent: Message[] = [];
  #owner: PeerNetworkOwner | null = null;

  async boot(): Promise<void> {
    await this.machine.openOver({
      clock: this.world,
      timers: this.world,
      identity: JOINED,
      memberOptions: { network: (owner) => this.#networkOf(owner) },
    });
    this.machine.member.start();
    this.settle();
  }

  /** The types and refusals of what is sent in answer. */
  answersTo(message: Message): readonly string[] {
    this.sent.length = 0;
    this.#owner!.step(message);
    this.settle();
    return this.sent.map(({ type, reject }) => `${type === MessageType.VoteResp ? "vote" : type} ${!reject}`);
  }

  crash(): void {
    this.machine.crash();
    this.world.forget();
  }

  settle(): void {
    while (this.world.runTurn() || this.machine.disk.pendingCount > 0 || this.machine.databases.step()) {
      this.machine.disk.runPending();
    }
  }

  #networkOf(owner: PeerNetworkOwner): PeerNetwork {
    this.#owner = owner;
    return {
      send: (message) => this.sent.push(message),
      flush: () => {},
      addPeer: () => {},
      addRemote: () => {},
      removePeer: () => {},
      activeSinceMs: () => null,
      stop: () => {},
    };
  }
}

function candidacy(from: NodeId): Message {
  const message = new Message(MessageType.Vote, 3n, from);
  Object.assign(message, { term: term(5), index: index(9), logTerm: term(4) });
  return message;
}

// covers: RA-02
test("a member that has joined and got nothing yet remembers its vote", async () => {
  const joining = new JoiningMember();
  await joining.boot();
  assert.deepEqual(joining.answersTo(candidacy(1n)), ["vote true"]);
  joining.crash();
  await joining.boot();
  assert.equal(joining.machine.member.term, 5);
  assert.deepEqual(joining.answersTo(candidacy(2n)), ["vote false"]);
});
