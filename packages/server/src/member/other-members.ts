/**
 * The other members, as this one deals with them: it gives the network whom to talk to as the membership changes, passes on
 * what the network brings, and knows what the others still need of the log. It learns here, too, that it is no member any
 * more: by its own removal in the log, from a snapshot, or from the others.
 *
 *   entries, snapshots ─▶ changed, replaced ─▶ PeerNetwork ~~~ other members
 *   Consensus, SnapshotExchange ◀── step, receive, open … ──┘
 *
 * Invariants:
 *  - nothing from a member that was removed reaches raft (known failure MB-05);
 *  - the network is told of every member that is applied, and of its end; before the log has said who the members are, of
 *    those whom this one was told of when it started.
 */
import { type Member as ClusterMember, idText, type Membership, type MembershipChange } from "@quorate/membership";
import { type NodeId, Role } from "@quorate/raft";
import type { Log, Timers } from "@quorate/world";
import type { PeerNetwork, PeerNetworkOwner } from "../peers/peer-network.ts";
import type { Consensus } from "./consensus.ts";
import { checkForwarded } from "./forwarded-proposals.ts";
import type { Reach } from "./leadership.ts";
import type { SnapshotExchange } from "./snapshot-exchange.ts";
import type { StateMachine } from "./state-machine.ts";

export interface OtherMembersParts {
  readonly memberId: bigint;
  readonly state: Pick<StateMachine, "membership">;
  readonly consensus: Pick<Consensus, "role" | "progress" | "step" | "reportUnreachable" | "reportSnapshot">;
  readonly snapshots: Pick<SnapshotExchange, "receive" | "open" | "heldIndex">;
  /** Makes the way to the other members. */
  readonly network: (owner: PeerNetworkOwner) => PeerNetwork;
}

export interface OtherMembersOptions {
  readonly timers: Timers;
  readonly log: Log;
}

export interface OtherMembersOwner {
  /** Of a member nothing more is to be expected. */
  gone(id: NodeId, why: "has ended" | "was removed"): void;
  /** This member was removed from the cluster, a moment ago. */
  removed(): void;
}

/** Between learning that we were removed and ending: etcd's. */
const REMOVED_STOP_MS = 1000;

export class OtherMembers {
  readonly network: PeerNetwork;
  readonly #parts: OtherMembersParts;
  readonly #options: OtherMembersOptions;
  readonly #owner: OtherMembersOwner;
  #isRemoved = false;
  #isStopped = false;

  constructor(parts: OtherMembersParts, options: OtherMembersOptions, owner: OtherMembersOwner) {
    this.#parts = parts;
    this.#options = options;
    this.#owner = owner;
    this.network = parts.network(this.#networkOwner());
  }

  /** This member is none any more and about to end. */
  get isRemoved(): boolean {
    return this.#isRemoved;
  }

  /** How far this member reaches, to say why something took too long. */
  get reach(): Reach {
    const { memberId, state } = this.#parts;
    return {
      memberId,
      memberIds: state.membership.members().map(({ id }) => id),
      activeSinceMs: (id) => this.network.activeSinceMs(id),
    };
  }

  /** Entries after this index are still to be sent to somebody who is there; Infinity if nobody needs any. */
  get neededIndex(): number {
    const { memberId, consensus, snapshots } = this.#parts;
    let needed = snapshots.heldIndex;
    if (consensus.role !== Role.Leader) return needed;
    for (const { id, match, pendingSnapshot, recentActive } of consensus.progress) {
      if (id === memberId || !recentActive) continue;
      needed = Math.min(needed, Math.max(match, pendingSnapshot));
    }
    return needed;
  }

  /** Begins to talk to them. `first`: whom the member was told of. */
  begin(first: readonly ClusterMember[]): void {
    for (const peer of first) this.#addPeer(peer);
    for (const peer of this.#parts.state.membership.members()) this.#addPeer(peer);
  }

  /** A change was applied. */
  changed(change: MembershipChange): void {
    const { memberId, state } = this.#parts;
    switch (change.kind) {
      case "add": {
        const { id, peerUrls, isLearner } = change.member;
        this.#logChange("added member", { "added-peer-id": idText(id), "added-peer-peer-urls": peerUrls, isLearner });
        this.#addPeer(change.member);
        return;
      }
      case "promote":
        this.#logChange("promote member", { "promoted-member-id": idText(change.id) });
        return;
      case "updatePeerUrls":
        this.#logChange("updated member", {
          "updated-remote-peer-id": idText(change.id),
          "updated-remote-peer-urls": change.peerUrls,
        });
        this.#addPeer(state.membership.member(change.id)!);
        return;
      case "remove":
        this.#logChange("removed member", { "removed-remote-peer-id": idText(change.id) });
        if (change.id === memberId) return this.#removed();
        this.network.removePeer(change.id);
        this.#owner.gone(change.id, "was removed");
        return;
      default:
        change satisfies never;
    }
  }

  /** The membership is that of an installed snapshot now. */
  replaced(old: Membership): void {
    const { memberId, state } = this.#parts;
    for (const { id } of old.members()) {
      if (id !== memberId && state.membership.member(id) === undefined) this.network.removePeer(id);
    }
    for (const peer of state.membership.members()) this.#addPeer(peer);
    if (state.membership.isRemoved(memberId)) this.#removed();
  }

  stop(): void {
    this.#isStopped = true;
    this.network.stop();
  }

  #networkOwner(): PeerNetworkOwner {
    const { state, consensus, snapshots } = this.#parts;
    return {
      step: (message) => {
        if (state.membership.isRemoved(message.from)) return;
        checkForwarded(message);
        consensus.step(message);
      },
      receiveSnapshot: (message, path, done) => snapshots.receive(message, path, done),
      peerGone: (id) => this.#owner.gone(id, "has ended"),
      reportUnreachable: (id) => consensus.reportUnreachable(id),
      reportSnapshot: (id, status) => consensus.reportSnapshot(id, status),
      openSnapshot: (message, done) => snapshots.open(message, done),
      isRemoved: (id) => state.membership.isRemoved(id),
      removedFromCluster: () => this.#removed(),
    };
  }

  #addPeer({ id, peerUrls }: ClusterMember): void {
    if (id !== this.#parts.memberId && peerUrls.length > 0) this.network.addPeer(id, peerUrls);
  }

  /** A moment later: the others should hear that we know, and whoever waits here should get his answer (MB-05, MB-06). */
  #removed(): void {
    if (this.#isRemoved || this.#isStopped) return;
    this.#isRemoved = true;
    this.#options.timers.after(REMOVED_STOP_MS, () => {
      if (!this.#isStopped) this.#owner.removed();
    });
  }

  #logChange(text: string, fields: Record<string, unknown>): void {
    const { memberId, state } = this.#parts;
    this.#options.log.info(text, {
      "cluster-id": idText(state.membership.clusterId),
      "local-member-id": idText(memberId),
      ...fields,
    });
  }
}
