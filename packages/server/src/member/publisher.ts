/**
 * What a new leader of a young cluster says first: the member's own name and client URLs, then the version the cluster
 * runs at, each until it is applied. Only then may clients come, because tools ask both at once.
 *
 *   publish ── applied ──▶ cluster version decided? ── no: propose it ── applied ──▶ published
 */
import { RaftOp } from "@quorate/api";
import { ClusterMemberAttrSetRequest, ClusterVersionSetRequest } from "@quorate/api/messages";
import { idText, type Membership } from "@quorate/membership";
import type { Log } from "@quorate/world";
import type { ProposalHandler } from "./pending.ts";

export interface PublisherOptions {
  readonly memberId: bigint;
  readonly name: string;
  readonly clientUrls: readonly string[];
  readonly clusterVersion: string;
  readonly log: Log;
}

export interface PublisherOwner {
  propose(op: RaftOp, bytes: Uint8Array, handler: ProposalHandler): void;
  /** A lost proposal is made again as long as this holds. */
  mayPropose(): boolean;
  published(): void;
}

export class Publisher {
  readonly #membership: Membership;
  readonly #options: PublisherOptions;
  readonly #owner: PublisherOwner;
  #isDone = false;

  constructor(membership: Membership, options: PublisherOptions, owner: PublisherOwner) {
    this.#membership = membership;
    this.#options = options;
    this.#owner = owner;
  }

  /** Once published, beginning again does nothing. */
  begin(): void {
    if (this.#isDone) return;
    const { memberId, name, clientUrls } = this.#options;
    const bytes = ClusterMemberAttrSetRequest.encode({ memberID: memberId, memberAttributes: { name, clientUrls } });
    this.#owner.propose(RaftOp.ClusterMemberAttrSet, bytes, this.#attributes);
  }

  readonly #attributes: ProposalHandler = {
    applied: () => {
      const { log, memberId } = this.#options;
      log.info("published local member to cluster through raft", { "local-member-id": idText(memberId) });
      this.#decideVersion();
    },
    failed: () => {
      if (this.#owner.mayPropose()) this.begin();
    },
  };

  #decideVersion(): void {
    const { clusterVersion } = this.#options;
    if (this.#membership.clusterVersion === clusterVersion) {
      this.#finish();
      return;
    }
    const bytes = ClusterVersionSetRequest.encode({ ver: clusterVersion });
    this.#owner.propose(RaftOp.ClusterVersionSet, bytes, this.#version);
  }

  readonly #version: ProposalHandler = {
    applied: () => {
      this.#options.log.info("set initial cluster version", { "cluster-version": this.#options.clusterVersion });
      this.#finish();
    },
    failed: () => {
      if (this.#owner.mayPropose()) this.#decideVersion();
    },
  };

  #finish(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#owner.published();
  }
}
