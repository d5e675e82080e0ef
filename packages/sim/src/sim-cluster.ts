/**
 * A whole cluster in one thread, from one seed: real members over simulated machines and a simulated network, clients that
 * use them, and faults. Everything happens in one order (sim-time.ts), one event at a time, and after each the invariants
 * are checked; so a seed replays exactly, and a failure has a step.
 *
 *   seed ──▶ scenario ──▶ members, clients, faults ──▶ `steps` events ──▶ all heals ──▶ rest ──▶ do all agree? was every
 *                                                                                              answer true?
 *
 * The only asynchronous thing is the opening of a member; its continuations run in the microtasks between two events.
 */
import { type Membership, memberIdOf } from "@quorate/membership";
import { type NodeId, Role, roleName } from "@quorate/raft";
import type {
  Bootstrap,
  LeaderLink,
  Member,
  MemberParts,
  PeerNetwork,
  PeerNetworkOwner,
  PeerRequests,
} from "@quorate/server/testing";
import { SeededRandom } from "@quorate/wal/testing";
import type { ClientWorld } from "./clients.ts";
import { Faults } from "./faults.ts";
import { Invariants } from "./invariants.ts";
import { Operator, type OperatorWorld } from "./operator.ts";
import { describeScenario, type Scenario, type ScenarioOverrides, scenarioOf } from "./scenario.ts";
import { simLeaderLink } from "./sim-leader-link.ts";
import { type Host, SimNetwork } from "./sim-network.ts";
import { peerUrlOf, SimNode, type SimNodeOwner } from "./sim-node.ts";
import type { SimProcess } from "./sim-process.ts";
import { SimTime } from "./sim-time.ts";
import { Trace } from "./trace.ts";
import { Verdict, type Violation } from "./violation.ts";
import { Workload } from "./workload.ts";

export interface SimOptions extends ScenarioOverrides {
  readonly seed: number;
  /** Events before everything heals. */
  readonly steps: number;
  /** Takes the trace, line by line. */
  readonly write?: (line: string) => void;
}

export interface SimResult {
  readonly seed: number;
  /** Null: every promise was kept. */
  readonly violation: Violation | null;
  /** Events until the end or the violation. */
  readonly steps: number;
  /** The violation came after everything had healed. */
  readonly isAtRest: boolean;
  readonly simulatedMs: number;
  readonly counts: Readonly<Record<string, number>>;
}

/** After everything has healed, the cluster has this long to come to rest. */
const REST_WITHIN_MS = 60_000;
/** Microtasks between two events while a member is being opened: more than any opening chains without waiting. */
const OPENING_MICROTASKS = 50;
/** Of every member. */
const VERSION = "3.7.1";
const TOKEN = "etcd-cluster";

/** Runs one seed. */
export async function simulate(options: SimOptions): Promise<SimResult> {
  const cluster = new SimCluster(options);
  await cluster.run(options.steps);
  return cluster.result();
}

class SimCluster implements SimNodeOwner {
  readonly #seed: number;
  readonly #time: SimTime = new SimTime();
  readonly #random: SeededRandom;
  readonly #scenario: Scenario;
  readonly #trace: Trace;
  readonly #verdict: Verdict = new Verdict();
  readonly #invariants: Invariants;
  readonly #network: SimNetwork;
  readonly #nodes: SimNode[] = [];
  readonly #workload: Workload;
  readonly #faults: Faults;
  readonly #operator: Operator | null;
  readonly #roles: Map<NodeId, string> = new Map();
  #steps = 0;
  #isAtRest = false;

  constructor(options: SimOptions) {
    this.#seed = options.seed;
    this.#random = new SeededRandom(options.seed);
    this.#scenario = scenarioOf(this.#fork(), options);
    this.#trace = new Trace(this.#time, options.write ?? null, (id) => this.#name(id));
    options.write?.(`seed ${options.seed}: ${describeScenario(this.#scenario)}`);
    this.#invariants = new Invariants(this.#verdict, (id) => this.#name(id));
    this.#network = new SimNetwork(
      this.#time,
      this.#fork(),
      { ...this.#scenario.network },
      this.#invariants,
      this.#trace,
    );
    this.#makeNodes();
    const clients: ClientWorld = {
      time: this.#time,
      random: this.#fork(),
      trace: this.#trace,
      served: () => this.#nodes.filter((node) => node.state === "up"),
    };
    this.#workload = new Workload(clients, this.#verdict, this.#scenario);
    const faultsRandom = this.#fork();
    this.#faults = new Faults(
      {
        time: this.#time,
        random: faultsRandom,
        network: this.#network,
        trace: this.#trace,
        nodes: () => this.#live(),
        leader: () => this.#leader(),
      },
      this.#scenario,
    );
    const { changeMembersEveryMs } = this.#scenario;
    const operatorWorld: OperatorWorld = {
      ...clients,
      random: this.#fork(),
      nodes: () => this.#nodes,
      addNode: (name, id, membership) => this.#join(name, id, membership),
    };
    this.#operator =
      changeMembersEveryMs === null ? null : new Operator(operatorWorld, this.#workload.calls, changeMembersEveryMs);
  }

  async run(steps: number): Promise<void> {
    try {
      for (const node of this.#nodes) node.start();
      while (this.#steps < steps) await this.#step();
      this.#isAtRest = true;
      await this.#comeToRest();
      this.#invariants.checkAgreement();
      this.#workload.verify();
    } catch (error) {
      if (this.#verdict.violation === null) this.#verdict.broken("nothing is thrown", String(error), { cause: error });
      this.#trace.line("", () => `VIOLATION after ${this.#steps} steps: ${this.#verdict.violation!.message}`);
    }
  }

  result(): SimResult {
    return {
      seed: this.#seed,
      violation: this.#verdict.violation,
      steps: this.#steps,
      isAtRest: this.#isAtRest,
      simulatedMs: this.#time.nowMs,
      counts: {
        ...this.#invariants.counts,
        ...this.#network.counts,
        ...this.#workload.counts(),
        ...this.#faults.counts,
        ...(this.#operator?.counts ?? {}),
      },
    };
  }

  // --- SimNodeOwner

  opened(_node: SimNode, parts: MemberParts): void {
    this.#invariants.opened(parts);
  }

  starting(node: SimNode, member: Member, parts: MemberParts): void {
    this.#trace.line(node.name, () => `is up at term ${parts.raft.term}, applied ${member.backend.appliedIndex}`);
    this.#invariants.started(member, parts);
  }

  openFailed(node: SimNode, error: unknown): void {
    if (error === this.#verdict.violation || this.#faults.memberFailed(node)) return;
    this.#verdict.broken("members start over what they stored", `${node.name}: ${error}`, { cause: error });
  }

  askVersions(from: SimNode, ids: readonly NodeId[], done: (versions: readonly (string | null)[]) => void): void {
    this.#time.after(
      2 * this.#network.pace.delayMs,
      () => done(ids.map((id) => (this.#network.isConnected(from.id, id) ? VERSION : null))),
      from.process,
    );
  }

  leaderLink(from: SimNode, process: SimProcess): LeaderLink {
    const reach = (urls: readonly string[]): (SimNode & { readonly requests: PeerRequests }) | null => {
      const asked = this.#nodes.find((node) => urls.includes(peerUrlOf(node.name)));
      if (asked === undefined || asked.state !== "up" || asked.requests === null) return null;
      const isReached = asked === from || this.#network.isConnected(from.id, asked.id);
      return isReached ? (asked as SimNode & { readonly requests: PeerRequests }) : null;
    };
    return simLeaderLink({ process }, { time: this.#time, delayMs: this.#scenario.network.delayMs, reach });
  }

  network(id: NodeId, host: Host, owner: PeerNetworkOwner): PeerNetwork {
    return this.#network.endpoint(id, host, owner);
  }

  ended(node: SimNode, process: SimProcess): void {
    this.#invariants.ended(node.id);
    this.#network.ended(node.id);
    this.#workload.processEnded(process);
    this.#roles.delete(node.id);
  }

  // --- parts

  async #step(): Promise<void> {
    this.#steps++;
    if (!this.#time.step()) throw this.#verdict.broken("something always happens", "no event is left");
    if (this.#nodes.some((node) => node.state === "opening")) {
      for (let i = 0; i < OPENING_MICROTASKS; i++) await null;
    }
    for (const node of this.#nodes) {
      if (node.machine.isRemoved && !node.process.isEnded) {
        this.#trace.line(node.name, () => "ENDS, having been removed");
        node.kill();
      }
      const { failure } = node.machine;
      if (failure === null || node.process.isEnded) continue;
      if (!this.#faults.memberFailed(node)) {
        throw this.#verdict.broken("members do not fail", `${node.name}: ${failure.message}`, { cause: failure });
      }
    }
    this.#invariants.check();
    if (this.#verdict.violation !== null) throw this.#verdict.violation;
    if (this.#trace.isOn) this.#traceRoles();
  }

  async #comeToRest(): Promise<void> {
    this.#trace.line("", () => `ALL HEALS after ${this.#steps} steps`);
    this.#faults.stop();
    const untilMs = this.#time.nowMs + REST_WITHIN_MS;
    await this.#until(untilMs, "a leader is elected once all is well", () => this.#leader() !== null);
    this.#operator?.stop();
    await this.#until(
      untilMs,
      "machines follow the membership once all is well",
      () => this.#operator?.isAtRest !== false,
    );
    this.#faults.stop();
    this.#workload.probe();
    await this.#until(untilMs, "every voter takes writes once all is well", () =>
      this.#live().every(
        (node) => node.state === "up" && (node.machine.member.isLearner || this.#workload.isProbed(node.name)),
      ),
    );
    this.#workload.stop();
    await this.#until(untilMs, "members and watchers catch up once all is well", () => this.#isAtOne());
  }

  async #until(untilMs: number, promise: string, isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      if (this.#time.nowMs > untilMs) {
        throw this.#verdict.broken(
          promise,
          this.#live()
            .map((node) => this.#describe(node))
            .join("; "),
        );
      }
      await this.#step();
    }
  }

  /** Nobody waits, and all have applied the same. */
  #isAtOne(): boolean {
    if (!this.#workload.isAtRest) return false;
    const up = this.#live();
    if (up.some((node) => node.state !== "up")) return false;
    const index = up[0]!.machine.member.appliedIndex;
    return up.every(({ machine }) => machine.member.appliedIndex === index && machine.member.commitIndex === index);
  }

  #leader(): SimNode | null {
    let found: SimNode | null = null;
    let foundTerm = -1;
    for (const node of this.#nodes) {
      const status = this.#invariants.status(node.id);
      if (status === null || status.role !== Role.Leader || status.term <= foundTerm) continue;
      found = node;
      foundTerm = status.term;
    }
    return found;
  }

  /** All that are not scrapped. */
  #live(): SimNode[] {
    return this.#nodes.filter((node) => node.state !== "retired");
  }

  #makeNodes(): void {
    const { memberCount } = this.#scenario;
    const names = Array.from({ length: memberCount }, (_each, at) => `m${at + 1}`);
    const cluster = names.map((name) => `${name}=${peerUrlOf(name)}`).join(",");
    for (const name of names) this.#addNode(name, memberIdOf([peerUrlOf(name)], TOKEN), cluster);
  }

  #join(name: string, id: NodeId, membership: Membership): void {
    const identity: Bootstrap = {
      kind: "join",
      memberId: id,
      clusterId: membership.clusterId,
      members: membership.members(),
      token: TOKEN,
    };
    this.#addNode(name, id, `${name}=${peerUrlOf(name)}`, identity).start();
  }

  #addNode(name: string, id: NodeId, cluster: string, identity?: Bootstrap): SimNode {
    const { settings, segmentBytes, clockDrift, machine } = this.#scenario;
    const random = this.#fork();
    const node = new SimNode(
      {
        name,
        id,
        settings: {
          ...settings,
          name,
          "initial-cluster": cluster,
          "initial-cluster-token": TOKEN,
          "initial-advertise-peer-urls": peerUrlOf(name),
        },
        segmentBytes,
        ...(identity === undefined ? {} : { identity }),
        pace: { ...machine },
        rate: 1 + clockDrift * (random.below(2001) / 1000 - 1),
      },
      this.#time,
      random,
      this,
    );
    this.#nodes.push(node);
    return node;
  }

  /** A source of chance of its own, so that what one part draws does not change another. */
  #fork(): SeededRandom {
    return new SeededRandom(this.#random.below(2 ** 32));
  }

  #name(id: NodeId): string {
    return this.#nodes.find((node) => node.id === id)?.name ?? id.toString(16);
  }

  #describe(node: SimNode): string {
    const status = this.#invariants.status(node.id);
    if (status === null) return `${node.name} ${node.state}`;
    const { member } = node.machine;
    return `${node.name} ${roleName(status.role)} term ${status.term} commit ${member.commitIndex} applied ${member.appliedIndex} flushed ${member.backend.flushedIndex}`;
  }

  #traceRoles(): void {
    for (const node of this.#nodes) {
      const status = this.#invariants.status(node.id);
      if (status === null) continue;
      const text = `is ${roleName(status.role)} in term ${status.term}`;
      if (this.#roles.get(node.id) === text) continue;
      this.#roles.set(node.id, text);
      this.#trace.line(node.name, () => text);
    }
  }
}
