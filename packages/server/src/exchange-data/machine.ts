/** The machine as the tools use it: its disk and clock, where a member is made, and a configuration that says no more. */
import { type Disk, type Log, silentLog } from "@quorate/world";
import { type Config, configOf } from "../config/config.ts";
import type { World } from "../member/open-member.ts";
import { MachineClock, MachineTimers } from "../world/clock.ts";
import { NodeDisk } from "../world/disk.ts";
import { MachineRandom } from "../world/random.ts";
import { ExchangeError } from "./errors.ts";
import { UnfinishedMember } from "./unfinished-member.ts";

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

/** @throws ExchangeError if a place is taken, and what {@link UnfinishedMember.prepare} does. */
export function unfinishedMember(target: string, walTarget: string | undefined, disk: Disk): Promise<UnfinishedMember> {
  return UnfinishedMember.prepare({
    target,
    walTarget: walTarget ?? null,
    takesEmptyWal: true,
    disk,
    refuse: (place, path) => new ExchangeError(`${place} ${JSON.stringify(path)} not empty or could not be read`),
  });
}
