/** The machine as the tools use it: its disk and clock, and a configuration that says no more than where things are. */
import { type Log, silentLog } from "@quorate/world";
import { type Config, configOf } from "../config/config.ts";
import type { World } from "../member/open-member.ts";
import { MachineClock, MachineTimers } from "../world/clock.ts";
import { NodeDisk } from "../world/disk.ts";
import { MachineRandom } from "../world/random.ts";

/** `log` hears of what is wrong only: what the rooms say besides is about a member that starts. */
export function machineWorld(log: Log): World {
  return {
    disk: new NodeDisk(),
    clock: new MachineClock(),
    timers: new MachineTimers(),
    random: new MachineRandom(),
    log: {
      isEnabled: (level) => (level === "warn" || level === "error") && log.isEnabled(level),
      debug: () => {},
      info: () => {},
      warn: (message, fields) => log.warn(message, fields),
      error: (message, fields) => log.error(message, fields),
    },
    raftLog: silentLog,
  };
}

/** A member's with all defaults, but for its directories. */
export function configOfDirectory(dataDirectory: string, walDirectory?: string): Config {
  const settings = new Map([["data-dir", dataDirectory]]);
  if (walDirectory !== undefined) settings.set("wal-dir", walDirectory);
  return configOf(settings, true);
}
