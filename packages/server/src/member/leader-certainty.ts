/**
 * Whether a member that leads, as far as it knows, still does. Check-quorum deposes a leader that hears nothing from most
 * members, but it is raft's clock that does so, and a process may stand still while others elect another leader (known
 * failures LE-01, LE-02). So the leader is believed only while its clock ticks; once the clock has stood still, a round of
 * reads has to find out, which another leader's followers do not confirm.
 *
 *   beyond doubt ── the clock stood still ──▶ in doubt, a round under way ── confirmed ──▶ beyond doubt
 *                                               └── failed: the next tick begins another ─┘
 *
 * Keep-alives and the leader's duties ask here before they act on the clock of leases; the member tells it of ticks and of
 * a leadership that has ended.
 */
import { Role } from "@quorate/raft";
import type { Clock } from "@quorate/world";
import type { Consensus } from "./consensus.ts";

export interface LeaderCertaintyOptions {
  readonly clock: Clock;
  readonly heartbeatMs: number;
}

/** A leader whose clock has ticked so lately knows that it leads: etcd's. */
const TRUSTED_TICKS = 3;

export class LeaderCertainty {
  readonly #consensus: Pick<Consensus, "role" | "lastTickMs" | "read">;
  readonly #options: LeaderCertaintyOptions;
  #isInDoubt = false;
  #isAsking = false;

  constructor(consensus: Pick<Consensus, "role" | "lastTickMs" | "read">, options: LeaderCertaintyOptions) {
    this.#consensus = consensus;
    this.#options = options;
  }

  /** It leads, and its clock has not stood still. Hot: every keep-alive asks. */
  get leadsBeyondDoubt(): boolean {
    if (!this.#isLeader || this.#isInDoubt) return false;
    const { clock, heartbeatMs } = this.#options;
    return clock.monotonicMs() - this.#consensus.lastTickMs <= TRUSTED_TICKS * heartbeatMs;
  }

  /** Calls back, at once if there is no doubt, else when a round of reads has found out. */
  confirm(done: (isLeader: boolean) => void): void {
    if (!this.#isLeader || this.leadsBeyondDoubt) done(this.#isLeader);
    else this.#consensus.read({ readReady: () => done(this.#isLeader), readFailed: () => done(false) });
  }

  /**
   * Once a heartbeat, before raft hears of it: if the clock has stood still, that tick does not make up for it, because
   * check-quorum believes for another election timeout what it heard before the pause. Until a round has told, every tick
   * asks.
   */
  tick(): void {
    if (!this.#isLeader || this.leadsBeyondDoubt) return;
    this.#isInDoubt = true;
    if (this.#isAsking) return;
    this.#isAsking = true;
    this.#consensus.read({ readReady: () => this.#heard(false), readFailed: () => this.#heard(this.#isInDoubt) });
  }

  /** It leads no more, and of that there is no doubt. */
  deposed(): void {
    this.#isInDoubt = false;
  }

  get #isLeader(): boolean {
    return this.#consensus.role === Role.Leader;
  }

  #heard(isInDoubt: boolean): void {
    this.#isInDoubt = isInDoubt;
    this.#isAsking = false;
  }
}
