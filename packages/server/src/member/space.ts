/**
 * Whether the database has room for another write, by this member's measure, and the NOSPACE alarm that says to the whole
 * cluster that it has not (semantics §3.7). Asked before a write is proposed; what the alarm then refuses is the applier's,
 * the same on every member (known failure QU-01).
 *
 *   room ── a write does not fit ──▶ alarm, through the log ──┬── disarmed by an operator ──▶ room?
 *    ▲                                                        └── freed: at most 9/10 of the quota in use, and the
 *    └───────────────────────────────────────────────────────────  write that did not fit would fit now
 *
 * What counts is the space in use, what is not durable yet and what waits to be committed included: free pages inside the
 * file are written again before it grows, so nothing is gained by refusing a write that would land in one. (etcd counts the
 * whole file, which only its defragmentation makes smaller.) A page counts in full while it holds one live record, so that a
 * compaction may free little before a defragmentation puts the records together.
 *
 * Invariants:
 *  - only the member whose alarm it is disarms it by itself, and only once it has seen for itself that it was full, or
 *    has started with it: what an operator raised on a member that has room stays until that;
 *  - between the measures for raising and for disarming lies a tenth of the quota, so that the alarm does not flap.
 */
import { AlarmAction, AlarmType, RaftOp } from "@quorate/api";
import { AlarmRequest } from "@quorate/api/messages";
import type { ServerCall } from "@quorate/rpc";
import type { Log } from "@quorate/world";
import { failWith } from "../answer.ts";
import type { Pending, ProposalHandler } from "./pending.ts";
import type { Proposals } from "./proposals.ts";
import type { StateMachine } from "./state-machine.ts";

export interface SpaceParts {
  readonly memberId: bigint;
  readonly state: Pick<StateMachine, "backend" | "alarms">;
  readonly proposals: Pick<Proposals, "propose" | "proposeOwn" | "pendingBytes">;
}

export interface SpaceOptions {
  /** Negative: none. */
  readonly quotaBytes: number;
  /** Whether the alarm ends when space is freed. */
  readonly autoDisarmNoSpace: boolean;
  readonly log: Log;
}

export class Space {
  readonly #parts: SpaceParts;
  readonly #options: SpaceOptions;
  /** In use at most this much, the alarm may end. */
  readonly #disarmBytes: number;
  /** Cost of the largest write that did not fit, 0 if the database was merely seen full; null: room, as far as we know. */
  #missingBytes: number | null = null;
  #isDisarming = false;
  /** Alarms of ours that are on their way through the log. */
  #raising = 0;
  /** The alarm is raised: now the write that did not fit is refused. */
  readonly #raised: ProposalHandler = {
    applied: (pending) => this.#refuse(pending),
    failed: (pending) => this.#refuse(pending),
  };

  constructor(parts: SpaceParts, options: SpaceOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#disarmBytes = Math.floor(options.quotaBytes * 0.9);
  }

  /**
   * Whether the database has room for a write of this cost. If not, the alarm is raised through the log and the call
   * fails. Hot: every put asks.
   */
  admitsWrite(call: ServerCall, costBytes: number): boolean {
    const { quotaBytes, log } = this.#options;
    if (quotaBytes < 0 || this.#usedBytes() + costBytes < quotaBytes) return true;
    this.#missingBytes = Math.max(this.#missingBytes ?? 0, costBytes);
    if (this.#isRaised()) {
      failWith(call, "NoSpace");
      return false;
    }
    log.warn("message exceeded backend quota; raising alarm", {
      "quota-size-bytes": quotaBytes,
      "backend-size-bytes": this.#parts.state.backend.sizeBytes(),
      "backend-size-in-use-bytes": this.#usedBytes(),
    });
    const bytes = this.#alarm(AlarmAction.ACTIVATE);
    this.#raising++;
    this.#parts.proposals.propose(RaftOp.Alarm, bytes, 0, bytes.length, this.#raised, call, null);
    return false;
  }

  /** Everything from before the start has been applied. Who raised the alarm then, and for what, is not known any more. */
  started(): void {
    if (this.#isRaised()) this.#missingBytes = 0;
  }

  /** Disarms the alarm if space has been freed; every so often. */
  check(): void {
    const { quotaBytes, autoDisarmNoSpace, log } = this.#options;
    if (!autoDisarmNoSpace || quotaBytes < 0 || this.#isDisarming) return;
    const usedBytes = this.#usedBytes();
    if (!this.#isRaised()) {
      // What is about to be raised must be remembered: space may be freed before the next look.
      if (this.#raising === 0 && usedBytes + (this.#missingBytes ?? 0) < quotaBytes) this.#missingBytes = null;
      return;
    }
    if (usedBytes > this.#disarmBytes) {
      this.#missingBytes ??= 0;
      return;
    }
    if (this.#missingBytes === null || usedBytes + this.#missingBytes >= quotaBytes) return;
    log.info("space was freed; disarming the alarm", {
      "quota-size-bytes": quotaBytes,
      "backend-size-in-use-bytes": usedBytes,
    });
    this.#isDisarming = true;
    const ended = (): void => {
      this.#isDisarming = false;
    };
    // If it is lost, the next check makes it again.
    this.#parts.proposals.proposeOwn(RaftOp.Alarm, this.#alarm(AlarmAction.DEACTIVATE), {
      applied: ended,
      failed: ended,
    });
  }

  #refuse(pending: Pending): void {
    this.#raising--;
    if (pending.call !== null) failWith(pending.call, "NoSpace");
  }

  #usedBytes(): number {
    const { state, proposals } = this.#parts;
    return state.backend.sizeInUseBytes() + proposals.pendingBytes;
  }

  #isRaised(): boolean {
    const { memberId, state } = this.#parts;
    return state.alarms.list(AlarmType.NOSPACE).some((each) => each.memberId === memberId);
  }

  #alarm(action: number): Uint8Array {
    return AlarmRequest.encode({ action, memberID: this.#parts.memberId, alarm: AlarmType.NOSPACE });
  }
}
