/**
 * Changing who is in the cluster (semantics §9.2 to §9.4): what has to hold before a change may be proposed, and proposing
 * it. For the Cluster service and for the promotions that other members forward.
 *
 *   add, remove ──▶ strict check ─────────────────────────────────┬─▶ log ─▶ applied, or refused by every member alike
 *   promote ──▶ leads? ─▶ applied ≥ committed ─▶ ready? ─▶ strict ─┤
 *   update ────────────────────────────────────────────────────────┘
 *
 * A proposed change has no time limit but its caller's: it may take effect long after the answer "request timed out".
 */
import type { ErrorKind } from "@quorate/api";
import {
  type Member as ClusterMember,
  checkAdd,
  checkPromote,
  checkReady,
  checkRemove,
  idText,
  type MemberCondition,
  type MembershipChange,
} from "@quorate/membership";
import type { ServerCall } from "@quorate/rpc";
import type { Member } from "../member/member.ts";

/** Called once: with the members after the change, ascending by id, or with why there was none. */
export type ChangeDone = (members: readonly ClusterMember[], error: ErrorKind | null) => void;

/** Only the leader knows whether a learner is ready. */
export type PromoteDone = (members: readonly ClusterMember[], error: ErrorKind | "NotLeader" | null) => void;

export class Reconfiguration {
  readonly #member: Member;
  /** --strict-reconfig-check. */
  readonly #isStrict: boolean;

  constructor(member: Member, isStrict: boolean) {
    this.#member = member;
    this.#isStrict = isStrict;
  }

  /** `call`: whose end ends the wait; null: nobody's. */
  add(added: ClusterMember, call: ServerCall | null, done: ChangeDone): void {
    const refused = this.#isStrict ? checkAdd(this.#conditions(), added.isLearner) : null;
    if (refused === null) this.#propose({ kind: "add", member: added }, call, done);
    else this.#refuse("rejecting member add request", added.id, refused, done);
  }

  remove(id: bigint, call: ServerCall | null, done: ChangeDone): void {
    const refused = this.#isStrict || this.#isLastVoter(id) ? checkRemove(this.#conditions(), id) : null;
    if (refused === null) this.#propose({ kind: "remove", id }, call, done);
    else this.#refuse("rejecting member remove request", id, refused, done);
  }

  updatePeerUrls(id: bigint, peerUrls: readonly string[], call: ServerCall | null, done: ChangeDone): void {
    this.#propose({ kind: "updatePeerUrls", id, peerUrls }, call, done);
  }

  /** "NotLeader": ask the member that leads. */
  promote(id: bigint, call: ServerCall | null, done: PromoteDone): void {
    const member = this.#member;
    member.whenApplied((error) => {
      if (error !== null) return done([], error);
      if (!member.isLeader) return done([], "NotLeader");
      const notReady = this.#notReady(id);
      if (notReady !== null) return this.#refuse("rejecting member promote request", id, notReady, done);
      const refused = this.#isStrict ? checkPromote(this.#conditions()) : null;
      if (refused === null) this.#propose({ kind: "promote", id }, call, done);
      else this.#refuse("rejecting member promote request", id, refused, done);
    });
  }

  /** Nobody can be without voters: etcd, told not to be strict, puts that into its log and can never start again. */
  #isLastVoter(id: bigint): boolean {
    return this.#member.membership.voters().every((each) => each.id === id);
  }

  #notReady(id: bigint): ErrorKind | null {
    const { progress, network, id: ownId } = this.#member;
    const own = progress.find((each) => each.id === ownId);
    const learner = progress.find((each) => each.id === id);
    return checkReady({
      match: learner?.match ?? null,
      // A leader that is being removed is not in its own configuration any more; nothing is promoted then.
      leaderMatch: own?.match ?? Number.POSITIVE_INFINITY,
      isLearner: learner?.isLearner ?? false,
      isConnected: network.activeSinceMs(id) !== null,
    });
  }

  #conditions(): MemberCondition[] {
    const { membership, network, options, id: ownId } = this.#member;
    const nowMs = options.clock.monotonicMs();
    return membership.members().map(({ id, isLearner, name }) => {
      const sinceMs = id === ownId ? null : network.activeSinceMs(id);
      return {
        id,
        isLearner,
        isStarted: name !== "",
        isSelf: id === ownId,
        activeMs: sinceMs === null ? null : nowMs - sinceMs,
      };
    });
  }

  #propose(change: MembershipChange, call: ServerCall | null, done: ChangeDone): void {
    const member = this.#member;
    const handler = {
      applied: (_pending: unknown, { error }: { readonly error: ErrorKind | null }) =>
        done(error === null ? member.membership.members() : [], error),
      failed: (_pending: unknown, error: ErrorKind) => done([], error),
    };
    member.proposeChange(change, handler, call);
  }

  #refuse(text: string, id: bigint, error: ErrorKind, done: ChangeDone): void {
    this.#member.options.log.warn(text, {
      "local-member-id": idText(this.#member.id),
      "requested-member-id": idText(id),
      reason: error,
    });
    done([], error);
  }
}
