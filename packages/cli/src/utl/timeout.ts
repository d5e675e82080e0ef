/** --timeout: how long a command waits for a member that uses the data directory. */
import { parseDurationMs } from "@quorate/server/offline";
import type { FlagValues } from "./flags.ts";

/** Milliseconds; 0: for ever. */
export function timeoutOf(values: FlagValues): number {
  return Math.max(0, parseDurationMs(values.text("timeout")) ?? 0);
}
