/**
 * Asks a member every few seconds whether it is there and what time it is. Changes nothing; for the log and the metrics
 * alone. The round trip begins when the connection is there.
 */
import type { ClientRequest } from "node:http";
import { idText } from "@quorate/membership";
import type { NodeId } from "@quorate/raft";
import type { Timer } from "@quorate/world";
import { CLOCK_DRIFT_MS, PROBE_INTERVAL_MS, PROBE_WARN_MS } from "./limits.ts";
import type { PeerSurroundings } from "./peer-surroundings.ts";
import { readSmallBody } from "./small-body.ts";
import type { UrlPicker } from "./url-picker.ts";

export class Prober {
  readonly #peer: NodeId;
  readonly #around: PeerSurroundings;
  readonly #picker: UrlPicker;
  #request: ClientRequest | null = null;
  #next: Timer;
  #warnedMs = Number.NEGATIVE_INFINITY;
  /** Why the previous probe failed: the log hears of the second in a row. */
  #failure: string | null = null;

  constructor(peer: NodeId, around: PeerSurroundings, picker: UrlPicker) {
    this.#peer = peer;
    this.#around = around;
    this.#picker = picker;
    this.#next = around.timers.after(PROBE_INTERVAL_MS, () => this.#probe());
  }

  stop(): void {
    this.#next.cancel();
    const request = this.#request;
    this.#request = null;
    request?.destroy();
  }

  #probe(): void {
    const { clock, dialer, timeouts, timers } = this.#around;
    this.#next = timers.after(PROBE_INTERVAL_MS, () => {
      this.#request?.destroy(new Error("i/o timeout"));
      this.#probe();
    });
    let startedMs = clock.monotonicMs();
    const request = dialer.request(this.#picker.pick(), { method: "GET", path: "/raft/probing", headers: {} });
    this.#request = request;
    const finish = (failure: string | null, theirMs: number): void => {
      if (this.#request !== request) return;
      this.#request = null;
      this.#finished(failure, theirMs, clock.monotonicMs() - startedMs);
    };
    request.on("socket", (socket) => {
      const connected = (): void => {
        startedMs = clock.monotonicMs();
      };
      socket.once("connect", connected);
      socket.once("secureConnect", connected);
    });
    request.on("error", (error) => finish(error.message, Number.NaN));
    request.on("close", () => finish("connection closed", Number.NaN));
    request.on("response", (response) => {
      readSmallBody(response, { silenceMs: timeouts.readMs }, (body) => {
        if (response.statusCode !== 200) finish(`unexpected http status ${response.statusCode}`, Number.NaN);
        else finish(null, timeIn(body?.toString("utf8") ?? ""));
        if (body === null) response.destroy();
      });
    });
    request.end();
  }

  #finished(failure: string | null, theirMs: number, roundTripMs: number): void {
    const { clock, log, metrics } = this.#around;
    const fields = {
      "round-tripper-name": "ROUND_TRIPPER_RAFT_MESSAGE",
      "remote-peer-id": idText(this.#peer),
      rtt: `${roundTripMs.toFixed(3)}ms`,
    };
    const nowMs = clock.monotonicMs();
    const mayWarn = nowMs - this.#warnedMs >= PROBE_WARN_MS;
    if (failure !== null) {
      if (this.#failure !== null && mayWarn) {
        this.#warnedMs = nowMs;
        log.warn("prober detected unhealthy status", { ...fields, error: failure });
      }
    } else {
      metrics.of(this.#peer).roundTripSeconds.observe(roundTripMs / 1000);
      const driftMs = Math.abs(clock.wallMs() - roundTripMs / 2 - theirMs);
      if (driftMs > CLOCK_DRIFT_MS && mayWarn) {
        this.#warnedMs = nowMs;
        log.warn("prober found high clock drift", { ...fields, "clock-drift": `${(driftMs / 1000).toFixed(3)}s` });
      }
    }
    this.#failure = failure;
  }
}

/** NaN: it does not say. */
function timeIn(body: string): number {
  return Date.parse(/"Now":"([^"]*)"/.exec(body)?.[1] ?? "");
}
