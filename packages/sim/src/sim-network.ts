/**
 * The network between simulated members: the PeerNetwork of each is an endpoint here. Every message goes through raft's
 * codecs, so nothing is shared by reference; it may be delayed, overtaken, doubled or lost, and links may be cut one way
 * or both. Snapshots travel as files from disk to disk, take their time and may break off.
 *
 *   endpoint ── flush: encode ──▶ link: lost? cut? how long? ──▶ arrival: decode ──▶ owner.step
 *                                    └── sometimes, and always if nobody listens there: reportUnreachable
 *
 * As with the transport over sockets: what arrives from a removed member is answered with "you were removed", what is for
 * an unknown member is dropped, and messages keep their order on a link unless a seed says otherwise. Forwarded proposals
 * are never doubled, because nothing removes the copy: a transport that repeats them would break the promise to clients.
 */
import { Buffer } from "node:buffer";
import {
  decodeMessage,
  encodeMessage,
  LocalMessageFromPeer,
  MalformedMessage,
  type Message,
  MessageType,
  type NodeId,
  ProposalDropped,
  UnknownPeer,
} from "@quorate/raft";
import type { OutgoingSnapshot, PeerNetwork, PeerNetworkOwner } from "@quorate/server/testing";
import type { SimDisk } from "@quorate/wal/testing";
import type { Random } from "@quorate/world";
import type { SimProcess } from "./sim-process.ts";
import type { SimTime } from "./sim-time.ts";
import type { Trace } from "./trace.ts";

/** How the links behave; "one in" 0 means never. */
export interface NetworkPace {
  /** Middle of the time a message takes. */
  delayMs: number;
  lostOneIn: number;
  doubledOneIn: number;
  /** Not held to the order of its link. */
  overtakenOneIn: number;
  /** Takes up to this long in place of the ordinary time. */
  lateOneIn: number;
  lateMs: number;
  snapshotBrokenOneIn: number;
}

/** Where a member runs. */
export interface Host {
  readonly name: string;
  readonly process: SimProcess;
  readonly disk: SimDisk;
  /** Exists; received snapshots are put here. */
  readonly snapshotDirectory: string;
}

export interface NetworkObserver {
  /** A message leaves its member; borrowed. */
  sent(from: NodeId, message: Message): void;
}

/** From one member to another. */
interface Link {
  isCut: boolean;
  /** What is sent before this moment arrives after it. */
  stalledUntilMs: number;
  lastArrivalMs: number;
}

/** How soon who sends a snapshot notices that who receives it has ended. */
const BROKEN_CONNECTION_MS = 50;
const SNAPSHOT_BYTES_PER_MS = 10_000;

export class SimNetwork {
  readonly pace: NetworkPace;
  readonly #time: SimTime;
  readonly #random: Random;
  readonly #trace: Trace;
  readonly #observer: NetworkObserver;
  readonly #endpoints: Map<NodeId, SimEndpoint> = new Map();
  readonly #links: Map<NodeId, Map<NodeId, Link>> = new Map();
  #snapshotCount = 0;
  readonly counts = { sent: 0, delivered: 0, lost: 0, snapshots: 0 };

  constructor(time: SimTime, random: Random, pace: NetworkPace, observer: NetworkObserver, trace: Trace) {
    this.#time = time;
    this.#random = random;
    this.pace = pace;
    this.#observer = observer;
    this.#trace = trace;
  }

  /** The way to the network for one run of a member's program. */
  endpoint(id: NodeId, host: Host, owner: PeerNetworkOwner): PeerNetwork {
    const endpoint = new SimEndpoint(this, id, host, owner);
    this.#endpoints.set(id, endpoint);
    return endpoint;
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#link(from, to).isCut;
  }

  /** Lets nothing through from one to the other, until healed. */
  cut(from: NodeId, to: NodeId): void {
    this.#link(from, to).isCut = true;
    this.#endpoints.get(from)?.connectionBroke(to);
    this.#endpoints.get(to)?.connectionBroke(from);
  }

  /** Holds back what is sent from one to the other, also what is on its way, as a connection does that is not broken yet. */
  stall(from: NodeId, to: NodeId, forMs: number): void {
    const link = this.#link(from, to);
    link.stalledUntilMs = Math.max(link.stalledUntilMs, this.#time.nowMs + forMs);
  }

  /**
   * A member's process has ended: who is connected with it may notice at once, or not at all. Sometimes somebody believes
   * it of a member that is well.
   */
  ended(id: NodeId): void {
    const believed = this.#oneIn(10) ? [...this.#endpoints.keys()][this.#random.below(this.#endpoints.size)]! : id;
    for (const other of this.#endpoints.keys()) {
      if (other === believed || this.isCut(other, id) || this.isCut(id, other) || this.#oneIn(3)) continue;
      const { delayMs } = this.pace;
      this.#time.after(delayMs, () => this.#listening(other)?.gone(believed));
    }
  }

  healAll(): void {
    for (const links of this.#links.values()) for (const link of links.values()) link.isCut = false;
  }

  /** Someone who can be talked to, both ways. */
  isConnected(from: NodeId, to: NodeId): boolean {
    return this.#listening(to) !== null && !this.isCut(from, to) && !this.isCut(to, from);
  }

  /** Takes what an endpoint sends. */
  carry(from: SimEndpoint, message: Message): void {
    this.counts.sent++;
    this.#observer.sent(from.id, message);
    const bytes = encodeMessage(message);
    const { to } = message;
    const { pace } = this;
    const link = this.#link(from.id, to);
    if (link.isCut || this.#oneIn(pace.lostOneIn)) {
      this.counts.lost++;
      this.#trace.line(from.host.name, () => `lost ${this.#trace.describe(message)}`);
      if (this.#random.below(3) === 0) from.unreachable(to);
      return;
    }
    this.#trace.line(from.host.name, () => `sends ${this.#trace.describe(message)}`);
    this.#travel(from, to, bytes, link);
    if (message.type !== MessageType.Prop && this.#oneIn(pace.doubledOneIn)) this.#travel(from, to, bytes, link);
  }

  #travel(from: SimEndpoint, to: NodeId, bytes: Uint8Array, link: Link): void {
    const { pace } = this;
    let arrivalMs = this.#time.nowMs + pace.delayMs * (0.5 + this.#random.below(1000) / 1000);
    if (this.#oneIn(pace.lateOneIn)) arrivalMs += (this.#random.below(1000) / 1000) * pace.lateMs;
    if (!this.#oneIn(pace.overtakenOneIn)) {
      arrivalMs = Math.max(arrivalMs, link.lastArrivalMs);
      link.lastArrivalMs = arrivalMs;
    }
    // What is on its way when a link is cut may be past the cut.
    const isPast = this.#random.below(2) === 0;
    this.#time.after(arrivalMs - this.#time.nowMs, () => this.#arrive(from, to, bytes, isPast));
  }

  #arrive(from: SimEndpoint, to: NodeId, bytes: Uint8Array, isPastCuts: boolean): void {
    const target = this.#listening(to);
    const { stalledUntilMs } = this.#link(from.id, to);
    if (stalledUntilMs > this.#time.nowMs) {
      this.#time.after(stalledUntilMs - this.#time.nowMs, () => this.#arrive(from, to, bytes, isPastCuts));
      return;
    }
    if (target === null || (this.isCut(from.id, to) && !isPastCuts)) {
      this.counts.lost++;
      from.unreachable(to);
      return;
    }
    this.counts.delivered++;
    target.receive(from, decodeMessage(Buffer.from(bytes)));
  }

  /** Carries a file in place of a MsgSnap. */
  carrySnapshot(from: SimEndpoint, snapshot: OutgoingSnapshot): void {
    const { to } = snapshot.message;
    this.counts.snapshots++;
    this.#observer.sent(from.id, snapshot.message);
    this.#trace.line(
      from.host.name,
      () => `sends a snapshot of ${snapshot.sizeBytes} bytes: ${this.#trace.describe(snapshot.message)}`,
    );
    const isBroken = this.#oneIn(this.pace.snapshotBrokenOneIn);
    const tookMs = this.pace.delayMs + (snapshot.sizeBytes / SNAPSHOT_BYTES_PER_MS) * (isBroken ? 0.5 : 1);
    const bytes = encodeMessage(snapshot.message);
    this.#time.after(tookMs, () => {
      // Read at its end, as late as allowed: a file released too early shows.
      const target = this.#listening(to);
      if (from.host.process.isEnded) return;
      const file = from.host.disk.contents(snapshot.path);
      if (target === null || isBroken || this.isCut(from.id, to) || file.length !== snapshot.sizeBytes) {
        this.#trace.line(from.host.name, () => "lost the snapshot on its way");
        from.snapshotEnded(to, snapshot, "failed");
        return;
      }
      const path = `${target.host.snapshotDirectory}/received-${++this.#snapshotCount}.snap.db`;
      if (!store(target.host.disk, path, file)) {
        from.snapshotEnded(to, snapshot, "failed");
        return;
      }
      let isAnswered = false;
      const answer = (status: "finished" | "failed"): void => {
        if (!isAnswered) from.snapshotEnded(to, snapshot, status);
        isAnswered = true;
      };
      target.receiveSnapshot(from, decodeMessage(Buffer.from(bytes)), path, (error) => {
        this.#trace.line(target.host.name, () => `takes the snapshot: ${error?.message ?? "done"}`);
        answer(error === null ? "finished" : "failed");
      });
      // The connection of somebody who ends meanwhile breaks.
      const watch = (): void => {
        if (isAnswered) return;
        if (target.isStopped || target.host.process.isEnded) answer("failed");
        else this.#time.after(BROKEN_CONNECTION_MS, watch);
      };
      watch();
    });
  }

  #listening(id: NodeId): SimEndpoint | null {
    const endpoint = this.#endpoints.get(id);
    return endpoint === undefined || endpoint.isStopped || endpoint.host.process.isEnded ? null : endpoint;
  }

  #link(from: NodeId, to: NodeId): Link {
    let links = this.#links.get(from);
    if (links === undefined) {
      links = new Map();
      this.#links.set(from, links);
    }
    let link = links.get(to);
    if (link === undefined) {
      link = { isCut: false, stalledUntilMs: 0, lastArrivalMs: 0 };
      links.set(to, link);
    }
    return link;
  }

  #oneIn(times: number): boolean {
    return times > 0 && this.#random.below(times) === 0;
  }
}

/** One member's side, for one run of its program. */
class SimEndpoint implements PeerNetwork {
  readonly id: NodeId;
  readonly host: Host;
  isStopped = false;
  readonly #network: SimNetwork;
  readonly #owner: PeerNetworkOwner;
  /** Members we talk to, and since when; null while nothing came through. */
  readonly #peers: Map<NodeId, number | null> = new Map();
  readonly #remotes: Set<NodeId> = new Set();
  #outbox: Message[] = [];

  constructor(network: SimNetwork, id: NodeId, host: Host, owner: PeerNetworkOwner) {
    this.#network = network;
    this.id = id;
    this.host = host;
    this.#owner = owner;
  }

  send(message: Message): void {
    if (this.isStopped) return;
    if (!this.#peers.has(message.to) && !this.#remotes.has(message.to)) return;
    this.#outbox.push(message);
  }

  flush(): void {
    const outbox = this.#outbox;
    this.#outbox = [];
    for (const message of outbox) {
      if (message.type === MessageType.Snap) this.#sendSnapshot(message);
      else this.#network.carry(this, message);
    }
  }

  addPeer(id: NodeId, _urls: readonly string[]): void {
    if (!this.#peers.has(id)) this.#peers.set(id, null);
  }

  addRemote(id: NodeId, _urls: readonly string[]): void {
    this.#remotes.add(id);
  }

  removePeer(id: NodeId): void {
    this.#peers.delete(id);
    this.#remotes.delete(id);
  }

  activeSinceMs(id: NodeId): number | null {
    const sinceMs = this.#peers.get(id) ?? null;
    return sinceMs !== null && this.#network.isConnected(this.id, id) ? sinceMs : null;
  }

  stop(): void {
    this.isStopped = true;
    this.#outbox = [];
  }

  /** What the peers of this member notice of a cut link. */
  connectionBroke(id: NodeId): void {
    if (this.#peers.has(id)) this.#peers.set(id, null);
  }

  receive(from: SimEndpoint, message: Message): void {
    this.#tell(() => {
      // Who sends it counts: what it sends may have been forwarded for another.
      if (this.#owner.isRemoved(from.id)) {
        from.#tell(() => from.#owner.removedFromCluster());
        return;
      }
      // Requests tell where they come from, so that a member which has not applied who joined can answer them.
      if (!this.#peers.has(from.id)) this.#remotes.add(from.id);
      if (this.#peers.get(from.id) === null) this.#peers.set(from.id, this.host.process.monotonicMs());
      try {
        this.#owner.step(message);
      } catch (error) {
        if (!isRefusal(error)) throw error;
      }
    });
  }

  receiveSnapshot(from: SimEndpoint, message: Message, path: string, done: (error: Error | null) => void): void {
    this.#tell(() => {
      if (this.#owner.isRemoved(from.id)) from.#tell(() => from.#owner.removedFromCluster());
      else this.#owner.receiveSnapshot(message, path, done);
    });
  }

  gone(id: NodeId): void {
    if (!this.#peers.has(id)) return;
    this.connectionBroke(id);
    this.#tell(() => this.#owner.peerGone(id));
  }

  unreachable(id: NodeId): void {
    this.connectionBroke(id);
    this.#tell(() => this.#owner.reportUnreachable(id));
  }

  snapshotEnded(id: NodeId, snapshot: OutgoingSnapshot, status: "finished" | "failed"): void {
    this.#tell(() => {
      snapshot.release();
      this.#owner.reportSnapshot(id, status);
    });
  }

  #sendSnapshot(message: Message): void {
    this.#owner.openSnapshot(message, (error, snapshot) => {
      if (this.isStopped) snapshot?.release();
      else if (error !== null || snapshot === null) this.#owner.reportSnapshot(message.to, "failed");
      else this.#network.carrySnapshot(this, snapshot);
    });
  }

  #tell(what: () => void): void {
    this.host.process.deliver(() => {
      if (!this.isStopped) what();
    });
  }
}

/** What a member may say to a message by the contract of PeerNetworkOwner. */
function isRefusal(error: unknown): boolean {
  return (
    error instanceof MalformedMessage ||
    error instanceof LocalMessageFromPeer ||
    error instanceof UnknownPeer ||
    error instanceof ProposalDropped
  );
}

/** False if the disk does not take it. */
function store(disk: SimDisk, path: string, bytes: Uint8Array): boolean {
  try {
    const file = disk.open(path, "create");
    file.write(bytes, 0, bytes.length, 0);
    file.sync();
    file.close();
    disk.syncDirectory(path.slice(0, path.lastIndexOf("/")));
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code === undefined) throw error;
    return false;
  }
}
