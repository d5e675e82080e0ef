/**
 * Ends the streams whose clients would rather be told than wait when this member is cut off from a leader (semantics
 * §11.5; known failure WT-18). A stream survives a leader change: it takes three looks in a row, an election timeout
 * apart, without a leader.
 *
 * It looks only while there are such streams.
 */
import { NO_NODE } from "@quorate/raft";
import type { ServerCall } from "@quorate/rpc";
import { failWith } from "../answer.ts";
import type { Member } from "../member/member.ts";

/** etcd's. */
const LOOKS_WITHOUT_LEADER = 3;

export class LeaderMonitor {
  readonly #member: Member;
  readonly #calls = new Set<ServerCall>();
  #isLooking = false;
  #looksWithoutLeader = 0;

  constructor(member: Member) {
    this.#member = member;
  }

  watch(call: ServerCall): void {
    this.#calls.add(call);
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#looksWithoutLeader = 0;
    this.#lookLater();
  }

  #lookLater(): void {
    const { timers, electionTicks, heartbeatMs } = this.#member.options;
    timers.after(electionTicks * heartbeatMs, () => this.#look());
  }

  #look(): void {
    for (const call of this.#calls) if (!call.isOpen) this.#calls.delete(call);
    this.#looksWithoutLeader = this.#member.leader === NO_NODE ? this.#looksWithoutLeader + 1 : 0;
    if (this.#looksWithoutLeader >= LOOKS_WITHOUT_LEADER) this.#endAll();
    this.#isLooking = this.#calls.size > 0;
    if (this.#isLooking) this.#lookLater();
  }

  /** The service behind a call hears of its end as of a client's that has gone. */
  #endAll(): void {
    const calls = [...this.#calls];
    this.#calls.clear();
    for (const call of calls) {
      failWith(call, "NoLeader");
      call.owner?.cancelled(call, "cancelled");
    }
    this.#member.flush();
  }
}
