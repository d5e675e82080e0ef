/**
 * The way to the other members over sockets: etcd's rafthttp. One {@link Peer} for each member, a {@link PeerHandler} for
 * what comes in at the peer port.
 *
 *   Member ── send, flush ──▶ PeerTransport ─▶ Peer ─▶ streams they dialled, single requests, snapshots ~~▶ members
 *   Member ◀── step … ─────── PeerTransport ◀─ streams we dialled, the peer port ◀~~~~~~~~~~~~~~~~~~~~~~~~ members
 *
 * Invariants:
 *  - the owner is never called while it calls us: what is known at once is told in the next turn;
 *  - a message is stepped only if it is for us, from a member that was not removed, of a type that crosses the network, and
 *    sent by whom it says (RA-14, MB-06); what is wrong with one is logged and costs nothing but that message;
 *  - after {@link stop} nothing is told to the owner.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { idText } from "@quorate/membership";
import {
  isLocalType,
  LocalMessageFromPeer,
  MalformedMessage,
  type Message,
  MessageType,
  messageTypeName,
  NO_NODE,
  type NodeId,
  ProposalDropped,
  UnknownPeer,
} from "@quorate/raft";
import type { Clock, Log, Timers } from "@quorate/world";
import { parseUrls, type ServiceUrl } from "../config/urls.ts";
import type { PeerMetrics } from "../metrics/peer-metrics.ts";
import type { Credentials } from "../tls/credentials.ts";
import { Intervals } from "../world/intervals.ts";
import { EncodedEntries } from "./append-frames.ts";
import type { LocalIdentity } from "./compatibility.ts";
import { Dialer } from "./dialer.ts";
import { type LinkTimeouts, linkHeartbeatMs, REMOTES } from "./limits.ts";
import { Peer, Remote } from "./peer.ts";
import { answerTo, PeerHandler } from "./peer-handler.ts";
import type { OutgoingSnapshot, PeerNetwork, PeerNetworkOwner } from "./peer-network.ts";
import type { FollowedRequests } from "./peer-observer.ts";
import type { PeerRequests } from "./peer-requests.ts";
import type { PeerNews, PeerSurroundings, Received } from "./peer-surroundings.ts";
import { SnapshotReceiver } from "./snapshot-receiver.ts";
import { SnapshotSender } from "./snapshot-sender.ts";
import type { StreamKind } from "./stream-writer.ts";

export interface PeerTransportOptions extends LocalIdentity {
  readonly owner: PeerNetworkOwner;
  /** Answers what members ask besides raft. */
  readonly requests: PeerRequests;
  readonly timers: Timers;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: PeerMetrics;
  readonly electionTimeoutMs: number;
  readonly timeouts: LinkTimeouts;
  /** For members at https URLs. */
  readonly tls: Credentials;
  /** Where snapshots arrive; exists when the first does. */
  readonly snapshotDirectory: string;
  /** Default: nobody follows its requests. */
  readonly followed?: FollowedRequests;
}

const SAID_BY_LEADERS: ReadonlySet<MessageType> = new Set([
  MessageType.App,
  MessageType.Heartbeat,
  MessageType.Snap,
  MessageType.Vote,
  MessageType.PreVote,
]);

export class PeerTransport implements PeerNetwork, PeerNews {
  readonly #owner: PeerNetworkOwner;
  readonly #around: PeerSurroundings;
  readonly #handler: PeerHandler;
  readonly #followed: FollowedRequests | null;
  readonly #snapshots: SnapshotSender;
  readonly #encoded = new EncodedEntries();
  readonly #peers = new Map<NodeId, Peer>();
  /** The same, to walk through once a turn. */
  #peerList: readonly Peer[] = [];
  readonly #remotes = new Map<NodeId, Remote>();
  readonly #intervals: Intervals;
  #isStopped = false;
  #isRemovalTold = false;

  /** To tell the owner in the next turn. */
  readonly #unreachable = new Set<NodeId>();
  readonly #ended: { readonly id: NodeId; readonly status: "finished" | "failed" }[] = [];
  #isTelling = false;

  constructor(options: PeerTransportOptions) {
    const { owner, requests, timers, clock, log, metrics, electionTimeoutMs, timeouts, tls, snapshotDirectory } =
      options;
    this.#owner = owner;
    this.#followed = options.followed ?? null;
    this.#around = {
      timers,
      clock,
      log,
      local: options,
      dialer: new Dialer(tls, electionTimeoutMs, timers, options.followed),
      timeouts,
      metrics,
      news: this,
    };
    this.#snapshots = new SnapshotSender(this.#around);
    const receiver = new SnapshotReceiver(this.#around, {
      directory: snapshotDirectory,
      check: (message) => this.#snapshotRefusal(message),
      take: (message, path, done) => this.#takeSnapshot(message, path, done),
    });
    const streams = {
      hasPeer: (id: NodeId) => this.#peers.has(id),
      isRemoved: (id: NodeId) => owner.isRemoved(id),
      introduce: (id: NodeId, urls: readonly string[]) => this.#introduce(id, urls),
      attach: (id: NodeId, kind: StreamKind, response: ServerResponse) => this.#attach(id, kind, response),
    };
    this.#handler = new PeerHandler(this.#around, streams, requests, receiver);
    this.#intervals = new Intervals(timers);
    this.#intervals.every(linkHeartbeatMs(timeouts), () => {
      for (const peer of this.#peerList) peer.heartbeat();
    });
    this.#intervals.every(timeouts.writeMs / 3, () => {
      for (const peer of this.#peerList) peer.cutStalled();
    });
  }

  /** A request at the peer port, for the listener. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    if (this.#isStopped) {
      response.destroy();
      return;
    }
    this.#followed?.incoming(request, response);
    this.#handler.handle(request, response);
  }

  send(message: Message): void {
    if (this.#isStopped) return;
    const peer = this.#peers.get(message.to);
    if (peer !== undefined) {
      if (message.type === MessageType.Snap) this.#snapshots.send(message, peer);
      else peer.send(message);
      return;
    }
    const remote = this.#remotes.get(message.to);
    if (message.type === MessageType.Snap) this.snapshotEnded(message.to, "failed");
    else if (remote !== undefined) remote.send(message);
    else if (this.#around.log.isEnabled("debug")) {
      this.#around.log.debug("ignored message send request; unknown remote peer target", {
        type: messageTypeName(message.type),
        "unknown-target-peer-id": idText(message.to),
      });
    }
  }

  flush(): void {
    const peers = this.#peerList;
    for (let i = 0; i < peers.length; i++) peers[i]!.flush();
    this.#encoded.forget();
  }

  addPeer(id: NodeId, urls: readonly string[]): void {
    const { local, log } = this.#around;
    const parsed = urlsOf(urls);
    if (this.#isStopped || id === local.memberId) return;
    const fields = {
      "local-member-id": idText(local.memberId),
      "remote-peer-id": idText(id),
      "remote-peer-urls": urls,
    };
    if (parsed === null) {
      log.error("cannot use the URLs of a member", fields);
      return;
    }
    const known = this.#peers.get(id);
    if (known !== undefined) {
      known.move(parsed);
      log.info("updated remote peer", fields);
      return;
    }
    this.#remotes.get(id)?.stop();
    this.#remotes.delete(id);
    this.#peers.set(id, new Peer(id, parsed, this.#around, this.#encoded));
    this.#peerList = [...this.#peers.values()];
    log.info("added remote peer", fields);
  }

  addRemote(id: NodeId, urls: readonly string[]): void {
    const { local, log } = this.#around;
    if (this.#isStopped || id === local.memberId || this.#peers.has(id) || this.#remotes.has(id)) return;
    const parsed = urlsOf(urls);
    const fields = {
      "local-member-id": idText(local.memberId),
      "remote-peer-id": idText(id),
      "remote-peer-urls": urls,
    };
    if (parsed === null || this.#remotes.size >= REMOTES) {
      log.warn("ignored remote peer", fields);
      return;
    }
    this.#remotes.set(id, new Remote(id, parsed, this.#around));
    log.info("added new remote peer", fields);
  }

  removePeer(id: NodeId): void {
    const { local, log } = this.#around;
    const fields = { "local-member-id": idText(local.memberId), "removed-remote-peer-id": idText(id) };
    this.#remotes.get(id)?.stop();
    this.#remotes.delete(id);
    const peer = this.#peers.get(id);
    if (peer === undefined) {
      log.warn("skipped removing already removed peer", fields);
      return;
    }
    this.#peers.delete(id);
    this.#peerList = [...this.#peers.values()];
    peer.stop();
    this.#snapshots.cancel(id);
    log.info("removed remote peer", fields);
  }

  activeSinceMs(id: NodeId): number | null {
    return this.#peers.get(id)?.status.activeSinceMs ?? null;
  }

  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#intervals.stop();
    this.#snapshots.cancel(null);
    for (const peer of this.#peers.values()) peer.stop();
    for (const remote of this.#remotes.values()) remote.stop();
    this.#peers.clear();
    this.#peerList = [];
    this.#remotes.clear();
  }

  /** @internal For the parts of the transport, as are the methods below. */
  received(message: Message, via: NodeId | null): Received {
    if (this.#isStopped) return "refused";
    const { local, log } = this.#around;
    if (this.#owner.isRemoved(message.from)) {
      log.warn("rejected Raft message from removed member", {
        "local-member-id": idText(local.memberId),
        "removed-member-id": idText(message.from),
      });
      return "removed sender";
    }
    if (message.to !== local.memberId) {
      log.warn("rejected Raft message to mismatch member", {
        "local-member-id": idText(local.memberId),
        "mismatch-member-id": idText(message.to),
      });
      return "mismatched";
    }
    const problem = this.#strangeness(message) ?? problemOf(message, via, local.memberId) ?? this.#step(message);
    if (problem === null) return "stepped";
    log.warn("failed to process Raft message", {
      "local-member-id": idText(local.memberId),
      "message-type": messageTypeName(message.type),
      from: idText(message.from),
      error: problem,
    });
    return "refused";
  }

  /**
   * Who is no member as far as we know may all the same lead or stand for election: it was added while we were away. So much
   * it may say to us, and nothing else; null if it may.
   */
  #strangeness({ type, from }: Message): string | null {
    if (this.#peers.has(from)) return null;
    return SAID_BY_LEADERS.has(type) ? null : "the sender is no member of this cluster";
  }

  /** @internal */
  gone(id: NodeId): void {
    if (!this.#isStopped) this.#owner.peerGone(id);
  }

  unreachable(id: NodeId): void {
    this.#unreachable.add(id);
    this.#tellLater();
  }

  /** @internal */
  snapshotEnded(id: NodeId, status: "finished" | "failed"): void {
    this.#ended.push({ id, status });
    this.#tellLater();
  }

  /** @internal */
  openSnapshot(message: Message, done: (error: Error | null, snapshot: OutgoingSnapshot | null) => void): void {
    this.#around.timers.nextTurn(() => {
      if (this.#isStopped) return;
      this.#owner.openSnapshot(message, done);
    });
  }

  /** @internal */
  removedFromCluster(): void {
    if (this.#isRemovalTold) return;
    this.#isRemovalTold = true;
    this.#around.timers.nextTurn(() => {
      if (!this.#isStopped) this.#owner.removedFromCluster();
    });
  }

  /** What is wrong with the message, as far as raft sees; its other errors are bugs of ours. */
  #step(message: Message): string | null {
    try {
      this.#owner.step(message);
      return null;
    } catch (error) {
      if (
        error instanceof MalformedMessage ||
        error instanceof LocalMessageFromPeer ||
        error instanceof UnknownPeer ||
        error instanceof ProposalDropped
      ) {
        return error.message;
      }
      throw error;
    }
  }

  #tellLater(): void {
    if (this.#isTelling || this.#isStopped) return;
    this.#isTelling = true;
    this.#around.timers.nextTurn(() => {
      this.#isTelling = false;
      const unreachable = [...this.#unreachable];
      const ended = this.#ended.splice(0);
      this.#unreachable.clear();
      for (const id of unreachable) if (!this.#isStopped) this.#owner.reportUnreachable(id);
      for (const { id, status } of ended) if (!this.#isStopped) this.#owner.reportSnapshot(id, status);
    });
  }

  #snapshotRefusal(message: Message): ReturnType<typeof answerTo> | null {
    const { local, log } = this.#around;
    const fields = { "local-member-id": idText(local.memberId), "remote-snapshot-sender-id": idText(message.from) };
    if (this.#owner.isRemoved(message.from)) {
      log.warn("rejected Raft message from removed member", fields);
      return answerTo("removed sender");
    }
    if (message.to === local.memberId) return null;
    const error = "cannot process message to mismatch member";
    log.warn("failed to process Raft message", { ...fields, error });
    return { ...answerTo("mismatched"), body: `failed to process raft message (${error})\n` };
  }

  #takeSnapshot(message: Message, path: string, done: (error: Error | null) => void): void {
    if (this.#isStopped) done(new Error("server stopped"));
    else this.#owner.receiveSnapshot(message, path, done);
  }

  /** Whoever knows the cluster's id can say this, so it is no reason for an error. */
  #introduce(id: NodeId, urls: readonly string[]): void {
    if (id !== 0n && !this.#owner.isRemoved(id)) this.addRemote(id, urls);
  }

  #attach(id: NodeId, kind: StreamKind, response: ServerResponse): void {
    const peer = this.#peers.get(id)!;
    if (kind === "stream Message") peer.messageWriter.attach(response);
    else peer.appendWriter.attach(response);
  }
}

/** null: the message may have been sent by whom it names. */
function problemOf(message: Message, via: NodeId | null, local: NodeId): string | null {
  const { from, type } = message;
  if (isLocalType(type)) return "the message is of a type that does not cross the network";
  if (type === MessageType.Snap) return "a snapshot came without its file";
  if (from === NO_NODE) return "the message names no sender";
  if (from === local) return "the message names us as its sender";
  // These are passed on with the name of whom they are about.
  const isForwarded =
    type === MessageType.Prop || type === MessageType.ReadIndex || type === MessageType.TransferLeader;
  if (via !== null && from !== via && !isForwarded) return "the message names another sender than sent it";
  return null;
}

/** null: none, or not URLs. */
function urlsOf(texts: readonly string[]): ServiceUrl[] | null {
  try {
    const urls = parseUrls(texts.join(","));
    return urls.length === 0 ? null : urls;
  } catch {
    return null;
  }
}
