/**
 * Somebody who changes the cluster while it runs: adds voters and learners, promotes learners, removes members, each by a
 * call to any member, and starts and scraps machines accordingly (known failures §1.6). What the cluster believes is what
 * its most advanced member has applied: who is in it gets a machine, who was removed loses it after a while, and may
 * before that come back to find that it is no member any more (MB-06).
 */
import { MemberAddRequest, MemberPromoteRequest, MemberRemoveRequest } from "@quorate/api/messages";
import type { Membership } from "@quorate/membership";
import type { NodeId } from "@quorate/raft";
import type { CallResult, Calls, ClientWorld } from "./clients.ts";
import { peerUrlOf, type SimNode } from "./sim-node.ts";

export interface OperatorWorld extends ClientWorld {
  nodes(): readonly SimNode[];
  /** A machine for a member that was added with the peer URL of this name. */
  addNode(name: string, id: NodeId, membership: Membership): void;
}

const PATIENCE_MS = 3000;
const MAX_MEMBERS = 7;

export class Operator {
  readonly #world: OperatorWorld;
  readonly #calls: Calls;
  readonly #everyMs: number;
  #nextName: number;
  #isStopped = false;
  #isWaiting = false;
  /** Removals that may still happen. Two voters that go down to one by a lost answer are stranded for good (MB-05). */
  readonly #unresolved: Set<NodeId> = new Set();
  readonly counts = { memberChanges: 0, joined: 0, retired: 0 };

  constructor(world: OperatorWorld, calls: Calls, everyMs: number) {
    this.#world = world;
    this.#calls = calls;
    this.#everyMs = everyMs;
    this.#nextName = world.nodes().length + 1;
    this.#later();
  }

  /** No more changes; machines still follow what was decided. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Machines and members are the same, and no change is on its way. */
  get isAtRest(): boolean {
    const membership = this.#believed();
    if (membership === null || this.#isWaiting) return false;
    const live = this.#world.nodes().filter((node) => node.state !== "retired");
    const members = membership.members();
    return live.length === members.length && live.every((node) => membership.member(node.id) !== undefined);
  }

  #later(): void {
    const { time, random } = this.#world;
    time.after((this.#everyMs * random.below(2000)) / 1000, () => {
      this.#follow();
      if (!this.#isStopped && !this.#isWaiting) this.#change();
      this.#later();
    });
  }

  /** As of the member that has applied most. */
  #believed(): Membership | null {
    let best: SimNode | null = null;
    for (const node of this.#world.nodes()) {
      if (node.state !== "up") continue;
      if (best === null || node.machine.member.appliedIndex > best.machine.member.appliedIndex) best = node;
    }
    return best?.machine.member.membership ?? null;
  }

  #follow(): void {
    const membership = this.#believed();
    if (membership === null) return;
    const { random, trace } = this.#world;
    const nodes = this.#world.nodes();
    for (const { id, peerUrls } of membership.members()) {
      if (nodes.some((node) => node.id === id)) continue;
      const name = new URL(peerUrls[0]!).hostname;
      trace.line(name, () => "JOINS");
      this.counts.joined++;
      this.#world.addNode(name, id, membership);
    }
    for (const node of nodes) {
      if (node.state === "retired" || !membership.isRemoved(node.id)) continue;
      if (!this.#isStopped && random.below(4) > 0) continue;
      trace.line(node.name, () => "IS SCRAPPED");
      this.counts.retired++;
      node.retire();
    }
  }

  #change(): void {
    const { random, trace } = this.#world;
    const served = this.#world.served();
    const membership = this.#believed();
    if (served.length === 0 || membership === null) return;
    const at = served[random.below(served.length)]!;
    const members = membership.members();
    const learners = members.filter((each) => each.isLearner);
    for (const id of this.#unresolved) if (membership.isRemoved(id)) this.#unresolved.delete(id);
    const done = (what: string) => (result: CallResult) => {
      this.#isWaiting = false;
      trace.line("op", () => `${what}: ${result.bytes !== null ? "done" : (result.error?.message ?? "no answer")}`);
    };
    const dice = random.below(10);
    if (dice < 5 && members.length < MAX_MEMBERS) {
      const isLearner = random.below(2) === 0;
      const name = `m${this.#nextName++}`;
      const request = { peerURLs: [peerUrlOf(name)], isLearner };
      const what = `add ${isLearner ? "learner" : "voter"} ${name} through ${at.name}`;
      this.#begin(what);
      this.#calls.call(at, "/etcdserverpb.Cluster/MemberAdd", MemberAddRequest, request, PATIENCE_MS, done(what));
    } else if (dice < 8 && learners.length > 0) {
      const { id, name } = learners[random.below(learners.length)]!;
      const what = `promote ${name} through ${at.name}`;
      this.#begin(what);
      const path = "/etcdserverpb.Cluster/MemberPromote";
      this.#calls.call(at, path, MemberPromoteRequest, { ID: id }, PATIENCE_MS, done(what));
    } else if (members.length - learners.length - this.#unresolved.size > 2) {
      const { id, name } = members[random.below(members.length)]!;
      this.#unresolved.add(id);
      const what = `remove ${name} through ${at.name}`;
      this.#begin(what);
      this.#calls.call(
        at,
        "/etcdserverpb.Cluster/MemberRemove",
        MemberRemoveRequest,
        { ID: id },
        PATIENCE_MS,
        done(what),
      );
    }
  }

  #begin(what: string): void {
    this.counts.memberChanges++;
    this.#isWaiting = true;
    this.#world.trace.line("op", () => what);
  }
}
