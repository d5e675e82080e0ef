/** Whether a member can be reached, as far as the last thing that was tried tells, and the two log lines about it. */
import { idText } from "@quorate/membership";
import type { Clock, Log } from "@quorate/world";

export type PeerAction =
  | "dial stream MsgApp v2"
  | "dial stream Message"
  | "read stream MsgApp v2"
  | "read stream Message"
  | "write stream MsgApp v2"
  | "write stream Message"
  | "write pipeline"
  | "post sendMsgSnap";

export class PeerStatus {
  readonly #id: bigint;
  readonly #clock: Clock;
  readonly #log: Log;
  #activeSinceMs: number | null = null;

  constructor(id: bigint, clock: Clock, log: Log) {
    this.#id = id;
    this.#clock = clock;
    this.#log = log;
  }

  /** Monotonic; null: not active. */
  get activeSinceMs(): number | null {
    return this.#activeSinceMs;
  }

  activate(): void {
    if (this.#activeSinceMs !== null) return;
    this.#activeSinceMs = this.#clock.monotonicMs();
    this.#log.info("peer became active", { "peer-id": idText(this.#id) });
  }

  deactivate(action: PeerAction, reason: string): void {
    const wasActive = this.#activeSinceMs !== null;
    this.#activeSinceMs = null;
    if (!wasActive && !this.#log.isEnabled("debug")) return;
    const [verb, ...source] = action.split(" ");
    const fields = {
      "peer-id": idText(this.#id),
      error: `failed to ${verb} ${idText(this.#id)} on ${source.join(" ")} (${reason})`,
    };
    if (wasActive) this.#log.warn("peer became inactive (message send to peer failed)", fields);
    else this.#log.debug("peer deactivated again", fields);
  }
}
