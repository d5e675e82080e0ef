/**
 * What goes wrong, when a seed says so: one fault after the other, several at once, each for its time. After `stop` all is
 * well again and stays so, and whoever is down is started.
 */
import type { NodeId } from "@quorate/raft";
import { systemError } from "@quorate/wal/testing";
import type { Random } from "@quorate/world";
import { FAULT_KINDS, type FaultKind, type Scenario } from "./scenario.ts";
import type { SimNetwork } from "./sim-network.ts";
import type { SimNode } from "./sim-node.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimTime } from "./sim-time.ts";
import type { Trace } from "./trace.ts";

export interface FaultsWorld {
  readonly time: SimTime;
  readonly random: Random;
  readonly network: SimNetwork;
  readonly trace: Trace;
  /** All, in a fixed order. */
  nodes(): readonly SimNode[];
  leader(): SimNode | null;
}

export class Faults {
  readonly #world: FaultsWorld;
  readonly #scenario: Scenario;
  readonly #totalWeight: number;
  #isStopped = false;
  /** Runs whose disk was made to fail: their end is no surprise. */
  readonly #failing: Set<SimProcess> = new Set();
  readonly counts: Record<FaultKind, number> = Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 0])) as Record<
    FaultKind,
    number
  >;

  constructor(world: FaultsWorld, scenario: Scenario) {
    this.#world = world;
    this.#scenario = scenario;
    this.#totalWeight = FAULT_KINDS.reduce((sum, kind) => sum + scenario.faults[kind], 0);
    if (this.#totalWeight > 0) this.#later();
  }

  stop(): void {
    this.#isStopped = true;
    const { network, nodes } = this.#world;
    network.healAll();
    Object.assign(network.pace, { ...this.#scenario.network, lostOneIn: 0, lateOneIn: 0, snapshotBrokenOneIn: 0 });
    for (const node of nodes()) {
      this.#mend(node);
      if (node.state === "down") node.start();
    }
  }

  /** The member reported a failure: true if that was to be expected. It is down now, and comes back. */
  memberFailed(node: SimNode): boolean {
    if (!this.#failing.has(node.process)) return false;
    this.#mend(node);
    node.kill();
    this.#startLater(node);
    return true;
  }

  /** A clean stop came to its end. */
  memberStopped(node: SimNode): void {
    this.#mend(node);
    this.#startLater(node);
  }

  #later(): void {
    const { time, random } = this.#world;
    time.after((this.#scenario.faultEveryMs * random.below(2000)) / 1000, () => {
      if (this.#isStopped) return;
      this.#happen(this.#choose());
      this.#later();
    });
  }

  #choose(): FaultKind {
    let dice = this.#world.random.below(this.#totalWeight);
    for (const kind of FAULT_KINDS) {
      if (dice < this.#scenario.faults[kind]) return kind;
      dice -= this.#scenario.faults[kind];
    }
    throw new Error("the weights add up");
  }

  #happen(kind: FaultKind): void {
    const { random, nodes, leader } = this.#world;
    this.counts[kind]++;
    const up = nodes().filter((node) => node.state === "up" || node.state === "opening");
    const victim = up.length === 0 ? null : up[random.below(up.length)]!;
    switch (kind) {
      case "crash":
        if (victim !== null) this.#down(victim, kind);
        return;
      case "kill":
        if (victim !== null) this.#down(victim, kind);
        return;
      case "blackout":
        for (const node of up) this.#down(node, "crash");
        return;
      case "stop":
        if (victim?.state === "up") this.#stopCleanly(victim);
        return;
      case "pause":
        if (victim !== null) this.#pause(random.below(2) === 0 ? (leader() ?? victim) : victim);
        return;
      case "slowDisk":
        if (victim !== null) this.#slowDisk(victim);
        return;
      case "badDisk":
        if (victim?.state === "up") this.#badDisk(victim);
        return;
      case "split":
        this.#split();
        return;
      case "isolateLeader":
        this.#isolateLeader();
        return;
      case "oneWay":
        this.#oneWay();
        return;
      case "stall":
        this.#stall();
        return;
      case "storm":
        this.#storm();
        return;
      default:
        kind satisfies never;
    }
  }

  #down(node: SimNode, how: "crash" | "kill"): void {
    this.#world.trace.line(node.name, () => (how === "crash" ? "POWER FAILS" : "IS KILLED"));
    this.#mend(node);
    if (how === "crash") node.crash();
    else node.kill();
    this.#startLater(node);
  }

  #startLater(node: SimNode): void {
    this.#world.time.after(10 + this.#lasts(), () => {
      if (node.state !== "down") return;
      this.#world.trace.line(node.name, () => "STARTS");
      node.start();
    });
  }

  #stopCleanly(node: SimNode): void {
    this.#world.trace.line(node.name, () => "IS STOPPED");
    node.stop((error) => {
      if (error === null) this.memberStopped(node);
      else if (!this.memberFailed(node)) throw new Error(`${node.name} failed to stop`, { cause: error });
    });
  }

  #pause(node: SimNode): void {
    const forMs = this.#lasts();
    this.#world.trace.line(node.name, () => `PAUSES for ${forMs.toFixed(1)} ms`);
    node.process.suspend(forMs);
  }

  #slowDisk(node: SimNode): void {
    const { machine } = this.#scenario;
    const factor = 10 + this.#world.random.below(190);
    this.#world.trace.line(node.name, () => `DISK ${factor} TIMES SLOWER`);
    node.pace.diskMs = machine.diskMs * factor;
    node.pace.storageMs = machine.storageMs * factor;
    this.#world.time.after(this.#lasts(), () => this.#pace(node));
  }

  /** The next durable write or sync fails: the member has to end its process. */
  #badDisk(node: SimNode): void {
    this.#world.trace.line(node.name, () => "DISK FAILS");
    this.#failing.add(node.process);
    node.disk.onCall = (call, path) =>
      call === "writeDurably" || call === "sync" ? systemError("EIO", call, path) : null;
  }

  #mend(node: SimNode): void {
    node.disk.onCall = null;
    if (this.#isStopped) this.#pace(node);
  }

  #pace(node: SimNode): void {
    node.pace.diskMs = this.#scenario.machine.diskMs;
    node.pace.storageMs = this.#scenario.machine.storageMs;
  }

  #split(): void {
    const { random, nodes } = this.#world;
    const far = new Set(nodes().filter(() => random.below(2) === 0));
    this.#cut(
      nodes().filter((node) => far.has(node)),
      nodes().filter((node) => !far.has(node)),
      true,
    );
  }

  #isolateLeader(): void {
    const { leader, nodes, random } = this.#world;
    const alone = leader();
    if (alone === null) return;
    // Whole, or only what it says, or only what it hears.
    const others = nodes().filter((node) => node !== alone);
    const how = random.below(3);
    // A leader that sleeps through its own deposition is the one that might answer from the past.
    if (random.below(3) === 0) this.#pause(alone);
    if (how === 2) this.#cut(others, [alone], false);
    else this.#cut([alone], others, how === 0);
  }

  /**
   * What the others tell the leader comes late, what it tells them after a while does not come at all: it may learn that it
   * still led when it no longer does (RA-05).
   */
  #stall(): void {
    const { leader, nodes, random, network, trace, time } = this.#world;
    const node = leader();
    if (node === null) return;
    const forMs = (this.#scenario.electionMs * (500 + random.below(2500))) / 1000;
    const others = nodes().filter((other) => other !== node);
    trace.line(node.name, () => `HEARS NOTHING for ${forMs.toFixed(1)} ms`);
    for (const other of others) network.stall(other.id, node.id, (forMs * (700 + random.below(600))) / 1000);
    const isCut = random.below(4) > 0;
    const cutAfterMs = (this.#scenario.heartbeatMs * random.below(3000)) / 1000;
    if (isCut) time.after(cutAfterMs, () => this.#cut([node], others, false));
    if (random.below(3) === 0) {
      trace.line(node.name, () => "PAUSES meanwhile");
      node.process.suspend((forMs * random.below(1000)) / 1000);
    }
  }

  #oneWay(): void {
    const { random, nodes } = this.#world;
    const all = nodes();
    const from = all[random.below(all.length)]!;
    const to = all[random.below(all.length)]!;
    if (from !== to) this.#cut([from], [to], false);
  }

  /** Cuts add up; all of them are healed at once. */
  #cut(from: readonly SimNode[], to: readonly SimNode[], isBothWays: boolean): void {
    const { network, trace, time } = this.#world;
    const ids = (list: readonly SimNode[]): readonly NodeId[] => list.map((node) => node.id);
    const names = (list: readonly SimNode[]): string => list.map((node) => node.name).join(" ");
    trace.line("", () => `CUT: ${names(from)} ${isBothWays ? "from" : "can not reach"} ${names(to)}`);
    for (const a of ids(from)) {
      for (const b of ids(to)) {
        network.cut(a, b);
        if (isBothWays) network.cut(b, a);
      }
    }
    time.after(this.#lasts(), () => {
      trace.line("", () => "HEALED");
      network.healAll();
    });
  }

  #storm(): void {
    const { network, trace, time, random } = this.#world;
    trace.line("", () => "STORM");
    network.pace.lostOneIn = 2 + random.below(5);
    network.pace.lateOneIn = 2 + random.below(5);
    time.after(this.#lasts(), () => {
      if (this.#isStopped) return;
      trace.line("", () => "STORM IS OVER");
      network.pace.lostOneIn = this.#scenario.network.lostOneIn;
      network.pace.lateOneIn = this.#scenario.network.lateOneIn;
    });
  }

  #lasts(): number {
    return (this.#scenario.faultLastsMs * this.#world.random.below(2000)) / 1000;
  }
}
