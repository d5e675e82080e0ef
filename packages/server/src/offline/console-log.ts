/** Log lines for a terminal, as etcdutl writes them to standard error beside what a command prints. */
import type { Log } from "@quorate/world";
import { ZapLog } from "../log/zap-log.ts";
import { MachineClock } from "../world/clock.ts";

export function consoleLog(write: (line: string) => void): Log {
  return new ZapLog({ level: "info", format: "console", clock: new MachineClock(), write });
}
