/**
 * What a started member tells the cluster: its name and client URLs, again until it is applied. Until then others count it
 * as not started, and clients may not come.
 */
import { errors, RaftOp } from "@quorate/api";
import { ClusterMemberAttrSetRequest } from "@quorate/api/messages";
import { type Member as ClusterMember, idText } from "@quorate/membership";
import type { Log } from "@quorate/world";
import type { ProposalHandler } from "./pending.ts";

export interface PublisherOptions {
  readonly memberId: bigint;
  readonly name: string;
  readonly clientUrls: readonly string[];
  readonly log: Log;
}

export interface PublisherOwner {
  propose(op: RaftOp, bytes: Uint8Array, handler: ProposalHandler): void;
  /** A lost proposal is made again as long as this holds. */
  mayPropose(): boolean;
  published(): void;
}

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #owner: PublisherOwner;
  #isPublished = false;

  constructor(options: PublisherOptions, owner: PublisherOwner) {
    this.#options = options;
    this.#owner = owner;
  }

  /** Once. Without a leader the proposal waits for one. */
  begin(): void {
    const { memberId, name, clientUrls } = this.#options;
    const bytes = ClusterMemberAttrSetRequest.encode({ memberID: memberId, memberAttributes: { name, clientUrls } });
    this.#owner.propose(RaftOp.ClusterMemberAttrSet, bytes, this.#handler);
  }

  /**
   * A snapshot has taken the place of entries that were never applied here, ours perhaps among them, of which nothing more
   * would be heard. `own`: what the cluster now knows of this member.
   */
  replaced(own: ClusterMember | undefined): void {
    const { name, clientUrls } = this.#options;
    const isKnown = own?.name === name && own.clientUrls.join() === clientUrls.join();
    if (isKnown) this.#published();
  }

  #published(): void {
    if (this.#isPublished) return;
    this.#isPublished = true;
    const { log, memberId } = this.#options;
    log.info("published local member to cluster through raft", { "local-member-id": idText(memberId) });
    this.#owner.published();
  }

  readonly #handler: ProposalHandler = {
    applied: () => this.#published(),
    failed: (_pending, error) => {
      if (this.#isPublished || !this.#owner.mayPropose()) return;
      this.#options.log.warn("failed to publish local member to cluster through raft; trying again", {
        error: errors[error].message,
      });
      this.begin();
    },
  };
}
