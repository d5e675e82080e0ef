/** Whether a member can be reached, as far as the last thing that was tried tells, and the two log lines about it. */
import { idText } from "@quorate/membership";
import type { Clock, Log } from "@quorate/world";
import type { PeerSeries } from "../metrics/peer-metrics.ts";
import type { PeerSurroundings } from "./peer-surroundings.ts";

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
  readonly #series: PeerSeries;
  #activeSinceMs: number | null = null;

  constructor(id: bigint, { clock, log, metrics }: PeerSurroundings) {
    this.#id = id;
    this.#clock = clock;
    this.#log = log;
    this.#series = metrics.of(id);
  }

  /** Monotonic; null: not active. */
  get activeSinceMs(): number | null {
    return this.#activeSinceMs;
  }

  activate(): void {
    if (this.#activeSinceMs !== null) return;
    this.#activeSinceMs = this.#clock.monotonicMs();
    this.#series.active.set(1);
    this.#log.info("peer became active", { "peer-id": idText(this.#id) });
  }

  /** We are the ones who talk to it no more. */
  end(): void {
    this.#activeSinceMs = null;
    this.#series.active.set(0);
  }

  deactivate(action: PeerAction, reason: string): void {
    const wasActive = this.#activeSinceMs !== null;
    this.#activeSinceMs = null;
    this.#series.active.set(0);
    if (wasActive) this.#series.disconnections.add();
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
