/**
 * Asks the leader until it answers: what a follower does with a keep-alive, a time to live or a promotion (semantics
 * §6.4, §6.5, §9.4).
 *
 *   ┌─▶ leader known? ──yes──▶ ask it ──an answer──▶ answered
 *   │        │ no                │ failed, or another leads
 *   └─ 50 ms ┴───────────────────┘        request timeout: "Timeout", or "NoLeader" if none is known then
 *
 * A member that has become the leader itself meanwhile ends the inquiry and answers from its own state.
 */
import { NO_NODE, type NodeId } from "@quorate/raft";
import type { Timer } from "@quorate/world";
import type { Member } from "../member/member.ts";

/** Who asks, and what. */
export interface Inquirer<Outcome> {
  /** False: nobody waits for the answer any more. */
  readonly isWaiting: boolean;
  ask(peerUrls: readonly string[], done: (outcome: Outcome) => void): void;
  /** Whether the outcome is an answer; else the leader is asked again. */
  isAnswer(outcome: Outcome): boolean;
  answered(outcome: Outcome): void;
  /** This member leads by now, and must not ask itself. */
  leads(): void;
  gaveUp(reason: "NoLeader" | "Timeout"): void;
}

/** etcd's, between tries. It looks for a leader once an election timeout; looking as often as trying costs nothing. */
const RETRY_MS = 50;

export class LeaderInquiry<Outcome> {
  readonly #member: Member;
  readonly #inquirer: Inquirer<Outcome>;
  readonly #limit: Timer;
  #retry: Timer | null = null;
  #askedCount = 0;
  #isOver = false;

  constructor(member: Member, inquirer: Inquirer<Outcome>) {
    this.#member = member;
    this.#inquirer = inquirer;
    this.#limit = member.options.timers.after(member.requestTimeoutMs, () => {
      const reason = this.#leaderUrls() === null ? "NoLeader" : "Timeout";
      this.#end(() => inquirer.gaveUp(reason));
    });
  }

  begin(): void {
    this.#try();
  }

  /** Nobody waits any more. An answer that is on its way is nobody's. */
  abandon(): void {
    this.#isOver = true;
    this.#limit.cancel();
    this.#retry?.cancel();
  }

  #try(): void {
    const inquirer = this.#inquirer;
    if (!inquirer.isWaiting) return this.abandon();
    if (this.#member.isLeader && this.#member.lessor.isPrimary) return this.#end(() => inquirer.leads());
    const urls = this.#leaderUrls();
    // Elected and not yet at the first entry of our term: a moment, and we answer ourselves.
    if (urls === null || this.#member.isLeader) return this.#tryLater();
    if (urls.length === 0) return this.#end(() => inquirer.gaveUp("NoLeader"));
    const asked = ++this.#askedCount;
    this.#lookForAnother(this.#member.leader);
    inquirer.ask(urls, (outcome) => {
      if (this.#isOver) return;
      if (inquirer.isAnswer(outcome)) this.#end(() => inquirer.answered(outcome));
      else if (asked === this.#askedCount) this.#tryLater();
    });
  }

  #tryLater(): void {
    this.#retry?.cancel();
    this.#retry = this.#member.options.timers.after(RETRY_MS, () => this.#try());
  }

  /** A leader whose machine is gone does not even refuse: whoever leads after it is asked without waiting for it. */
  #lookForAnother(asked: NodeId): void {
    this.#retry = this.#member.options.timers.after(RETRY_MS, () => {
      const { leader } = this.#member;
      if (!this.#inquirer.isWaiting) this.abandon();
      else if (leader === asked || leader === NO_NODE) this.#lookForAnother(asked);
      else this.#try();
    });
  }

  /** null: no leader is known, or one that is not (yet) a member here. */
  #leaderUrls(): readonly string[] | null {
    return this.#member.membership.member(this.#member.leader)?.peerUrls ?? null;
  }

  #end(tell: () => void): void {
    if (this.#isOver) return;
    this.abandon();
    tell();
    this.#member.flush();
  }
}
