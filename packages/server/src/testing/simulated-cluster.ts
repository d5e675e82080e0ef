/**
 * Several simulated members on one clock, driven by hand, with a network that delivers in the next turn or, for a member
 * that is cut off, not at all. For what services do among members; packages/sim looks for what nobody thought of.
 *
 *   machine ── send ──▶ next turn ──▶ another machine        leader link ──▶ next turn ──▶ peerRequestsOf(leader)
 */
import type { Init, MessageType } from "@quorate/api/messages";
import type { Message } from "@quorate/raft";
import { SeededRandom } from "@quorate/wal/testing";
import { assert, silentLog } from "@quorate/world";
import type { Bootstrap } from "../bootstrap/bootstrap.ts";
import { CorruptionMonitor } from "../corruption/corruption-monitor.ts";
import type { AskHash } from "../corruption/peer-hashes.ts";
import type { MemberOptions } from "../member/member-options.ts";
import type { PeerNetwork, PeerNetworkOwner } from "../peers/peer-network.ts";
import type { PeerRequests } from "../peers/peer-requests.ts";
import type { LeaderLink } from "../services/leader-link.ts";
import { peerRequestsOf } from "../services/peer-requests.ts";
import { ManualWorld } from "./manual-world.ts";
import { identityOf, MEMBER_DIRECTORY, SimulatedMachine } from "./simulated-machine.ts";

type Settings = Readonly<Record<string, string>>;

/** A machine of the cluster, and how it is connected. */
export class ClusterMachine extends SimulatedMachine {
  owner: PeerNetworkOwner | null = null;
  requests: PeerRequests | null = null;
  isCutOff = false;
  /** What it tells a leader that asks. */
  serverVersion = "3.7.1";
  /** Since when it has been within reach. */
  connectedSinceMs = 0;

  get id(): bigint {
    return this.member.id;
  }
}

export class SimulatedCluster {
  readonly world: ManualWorld = new ManualWorld();
  readonly machines: ClusterMachine[] = [];
  readonly #settings: Settings;

  private constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** A new cluster of m1, m2, …, all of which serve. */
  static async serving(count: number, settings: Settings = {}): Promise<SimulatedCluster> {
    const cluster = new SimulatedCluster(settings);
    const names = Array.from({ length: count }, (_, i) => `m${i + 1}`);
    const initial = names.map((name) => `${name}=${peerUrlOf(name)}`).join(",");
    for (const name of names) await cluster.#boot(name, { "initial-cluster": initial }, null);
    for (let i = 0; i < 100 && !cluster.machines.every((each) => each.isReady); i++) cluster.advance(100);
    assert(
      cluster.machines.every((each) => each.isReady),
      "every member of a new cluster becomes ready",
    );
    return cluster;
  }

  /** A machine of the member that was added with {@link peerUrlOf} of this name as its only URL. */
  async join(name: string): Promise<ClusterMachine> {
    const members = this.leader.member.membership.members();
    const added = members.find((each) => each.peerUrls.includes(peerUrlOf(name)));
    assert(added !== undefined, "a machine joins as the member that was added for it");
    const { clusterId } = this.leader.member.membership;
    const identity: Bootstrap = {
      kind: "join",
      memberId: added.id,
      clusterId,
      members,
      token: "",
    };
    return this.#boot(name, { "initial-cluster": `${name}=${peerUrlOf(name)}` }, identity);
  }

  /** The member that leads among those within reach. */
  get leader(): ClusterMachine {
    const leader = this.machines.find((each) => !each.isCutOff && each.member.isLeader);
    assert(leader !== undefined, "somebody leads");
    return leader;
  }

  get followers(): ClusterMachine[] {
    return this.machines.filter((each) => !each.member.isLeader);
  }

  cutOff(machine: ClusterMachine): void {
    machine.isCutOff = true;
  }

  reconnect(machine: ClusterMachine): void {
    machine.isCutOff = false;
    machine.connectedSinceMs = this.world.nowMs;
  }

  /** Sends, settles, and decodes the one answer. Throws if the call failed, as "code: text", or waits. */
  call<Request extends object, Response extends object>(
    machine: ClusterMachine,
    path: string,
    requestType: MessageType<Request>,
    request: Init<Request>,
    responseType: MessageType<Response>,
  ): Response {
    const call = machine.send(path, requestType, request);
    this.settle();
    if (call.status === null) throw new Error(`${path} waits`);
    if (call.status.code !== 0) throw new Error(`${call.status.code}: ${call.status.message}`);
    return responseType.decode(call.messages[0]!, 0, call.messages[0]!.length);
  }

  settle(): void {
    for (let i = 0; i < 100_000; i++) {
      let isBusy = this.world.runTurn();
      for (const { disk, databases } of this.machines) {
        if (disk.pendingCount > 0) {
          disk.runPending(1);
          isBusy = true;
        }
        if (databases.step()) isBusy = true;
      }
      if (!isBusy) return;
    }
    throw new Error("the cluster does not come to rest");
  }

  /** Lets time pass; everything settles at each timer. */
  advance(ms: number): void {
    const untilMs = this.world.nowMs + ms;
    while (this.world.fireNext(untilMs)) this.settle();
    this.settle();
  }

  /** The way of a machine's checks to the others. */
  askHashOf(machine: ClusterMachine): AskHash {
    return ({ id }, _clusterId, revision, done) =>
      this.world.nextTurn(() => {
        const reached = this.#reached(machine, id);
        if (reached === null) done({ kind: "unreachable", message: "cut off" });
        else reached.requests!.hashKv(revision, done);
      });
  }

  async #boot(name: string, settings: Settings, identity: Bootstrap | null): Promise<ClusterMachine> {
    const machine = new ClusterMachine({
      random: new SeededRandom(this.machines.length + 1),
      settings: { name, "initial-advertise-peer-urls": peerUrlOf(name), ...settings, ...this.#settings },
    });
    machine.connectedSinceMs = this.world.nowMs;
    const own = identity ?? identityOf(machine.config);
    let isOpen = false;
    const opening = machine
      .openOver({
        clock: this.world,
        timers: this.world,
        identity: own,
        leaderLink: this.#linkOf(machine),
        memberOptions: this.#outwardOf(machine),
      })
      .finally(() => {
        isOpen = true;
      });
    for (let i = 0; i < 100 && !isOpen; i++) {
      machine.disk.runPending();
      await Promise.resolve();
    }
    await opening;
    machine.requests = peerRequestsOf(machine.member, machine.config);
    this.machines.push(machine);
    machine.member.start();
    const { corruptCheckMs, compactHashCheckMs } = machine.config;
    const askHash = this.askHashOf(machine);
    new CorruptionMonitor(machine.member, { corruptCheckMs, compactHashCheckMs, askHash, log: silentLog }).start();
    this.settle();
    return machine;
  }

  #outwardOf(machine: ClusterMachine): Pick<MemberOptions, "network" | "askVersions"> {
    return {
      network: (owner) => {
        machine.owner = owner;
        return this.#networkOf(machine);
      },
      askVersions: (members, done) => {
        this.world.nextTurn(() => done(members.map(({ id }) => this.#reached(machine, id)?.serverVersion ?? null)));
      },
    };
  }

  #networkOf(machine: ClusterMachine): PeerNetwork {
    return {
      send: (message) => this.world.nextTurn(() => this.#deliver(machine, message)),
      flush: () => {},
      addPeer: () => {},
      addRemote: () => {},
      removePeer: () => {},
      activeSinceMs: (id) => {
        const other = this.#reached(machine, id);
        return other === null ? null : Math.max(machine.connectedSinceMs, other.connectedSinceMs);
      },
      stop: () => {},
    };
  }

  #deliver(from: ClusterMachine, message: Message): void {
    const to = this.#reached(from, message.to);
    if (to === null) {
      from.owner!.reportUnreachable(message.to);
      if (message.snapshot !== null) from.owner!.reportSnapshot(message.to, "failed");
    } else if (message.snapshot !== null) this.#deliverSnapshot(from, to, message);
    else to.owner!.step(message);
  }

  #deliverSnapshot(from: ClusterMachine, to: ClusterMachine, message: Message): void {
    from.owner!.openSnapshot(message, (error, snapshot) => {
      if (error !== null || snapshot === null) return from.owner!.reportSnapshot(to.id, "failed");
      const path = `${MEMBER_DIRECTORY}/incoming-${message.snapshot!.metadata.index}.db`;
      const bytes = from.disk.contents(snapshot.path);
      snapshot.release();
      const file = to.disk.open(path, "create");
      file.write(bytes, 0, bytes.length, 0);
      to.owner!.receiveSnapshot(snapshot.message, path, (useless) => {
        from.owner!.reportSnapshot(to.id, useless === null ? "finished" : "failed");
      });
    });
  }

  #linkOf(machine: ClusterMachine): LeaderLink {
    const ask = <Outcome>(
      urls: readonly string[],
      done: (outcome: Outcome | { kind: "failed"; message: string }) => void,
      question: (requests: PeerRequests) => void,
    ): void =>
      this.world.nextTurn(() => {
        const asked = this.machines.find((each) => urls.includes(peerUrlOf(each.config.name)));
        const reached = asked === undefined ? null : this.#reached(machine, asked.id);
        if (reached === null) done({ kind: "failed", message: "unreachable" });
        else question(reached.requests!);
      });
    return {
      leaseKeepAlive: (urls, id, done) => ask(urls, done, (leader) => leader.leaseKeepAlive(id, done)),
      leaseTimeToLive: (urls, id, withKeys, done) =>
        ask(urls, done, (leader) => leader.leaseTimeToLive(id, withKeys, done)),
      promote: (urls, id, token, done) => ask(urls, done, (leader) => leader.promote(id, token, done)),
    };
  }

  /** null: it is not there, or not within reach. */
  #reached(from: ClusterMachine, id: bigint): ClusterMachine | null {
    const other = this.machines.find((each) => each.id === id);
    return other === undefined || other.isCutOff || from.isCutOff ? null : other;
  }
}

export function peerUrlOf(name: string): string {
  return `http://${name}:2380`;
}
