/**
 * What kind of world a seed makes: how many members, how fast their machines and links are, what goes wrong and how often.
 * Each seed leaves some faults out and overdoes others, because a world in which everything fails all the time never gets
 * far enough to fail in an interesting way.
 */
import type { Random } from "@quorate/world";
import type { NetworkPace } from "./sim-network.ts";
import type { MachinePace } from "./sim-process.ts";

export const FAULT_KINDS = [
  "crash",
  "kill",
  "stop",
  "blackout",
  "pause",
  "slowDisk",
  "badDisk",
  "split",
  "isolateLeader",
  "oneWay",
  "stall",
  "storm",
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export interface Scenario {
  readonly memberCount: number;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly settings: Readonly<Record<string, string>>;
  readonly segmentBytes: number;
  /** Relative frequencies; 0: never. */
  readonly faults: Readonly<Record<FaultKind, number>>;
  /** Middle of the time between faults. */
  readonly faultEveryMs: number;
  /** Middle of how long one lasts. */
  readonly faultLastsMs: number;
  readonly network: Readonly<NetworkPace>;
  readonly machine: Readonly<MachinePace>;
  /** How far the machines' clocks run apart: 0.02 is 2 % faster or slower. */
  readonly clockDrift: number;
  readonly kvClients: number;
  readonly keyCount: number;
  readonly thinkMs: number;
  readonly watchClients: number;
  /** Middle of the time between changes of the membership; null: none. */
  readonly changeMembersEveryMs: number | null;
}

export interface ScenarioOverrides {
  readonly memberCount?: number;
  /** Left out, whatever the seed says. */
  readonly without?: readonly FaultKind[];
}

export function scenarioOf(random: Random, overrides: ScenarioOverrides = {}): Scenario {
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const drawnMembers = pick([1, 2, 3, 3, 3, 3, 3, 4, 5, 5]);
  const heartbeatMs = pick([10, 20, 50]);
  const electionMs = heartbeatMs * pick([5, 10]);
  const faults = {} as Record<FaultKind, number>;
  const isCalm = random.below(12) === 0;
  for (const kind of FAULT_KINDS) {
    const weight = pick([0, 1, 1, 5]);
    faults[kind] = isCalm || overrides.without?.includes(kind) === true ? 0 : weight;
  }
  const isUnreliable = random.below(3) > 0;
  return {
    memberCount: overrides.memberCount ?? drawnMembers,
    heartbeatMs,
    electionMs,
    settings: {
      "heartbeat-interval": String(heartbeatMs),
      "election-timeout": String(electionMs),
      "pre-vote": pick(["true", "true", "true", "false"]),
      // Only members that have been connected for seconds may be added to, and most worlds do not last that long.
      "strict-reconfig-check": pick(["true", "false", "false"]),
      "snapshot-count": pick(["5", "20", "100", "1000"]),
      "snapshot-catchup-entries": pick(["1", "10", "100"]),
    },
    segmentBytes: pick([64, 128, 512]) * 1024,
    faults,
    faultEveryMs: electionMs * pick([2, 5, 10]),
    faultLastsMs: electionMs * pick([1, 2, 4]),
    network: {
      delayMs: pick([0.2, 1, heartbeatMs / 4]),
      lostOneIn: isUnreliable ? pick([0, 20, 100]) : 0,
      doubledOneIn: isUnreliable ? pick([0, 20, 100]) : 0,
      overtakenOneIn: isUnreliable ? pick([0, 3, 20]) : 0,
      lateOneIn: isUnreliable ? pick([0, 5, 20, 200]) : 0,
      lateMs: electionMs * pick([0.5, 2, 10]),
      snapshotBrokenOneIn: pick([0, 2, 5]),
    },
    machine: {
      diskMs: pick([0.2, 1, 5]),
      storageMs: pick([0.5, 5, 20]),
      stallOneIn: pick([0, 0, 50, 500]),
    },
    clockDrift: pick([0, 0.02, 0.1]),
    kvClients: 2 + random.below(5),
    keyCount: pick([1, 3, 10]),
    thinkMs: pick([1, 5, electionMs / 10]),
    watchClients: 1 + random.below(3),
    changeMembersEveryMs: pick([null, electionMs * 3, electionMs * 10]),
  };
}

/** In one line per matter. */
export function describeScenario(scenario: Scenario): string {
  const faults = FAULT_KINDS.filter((kind) => scenario.faults[kind] > 0).map(
    (kind) => `${kind} ×${scenario.faults[kind]}`,
  );
  return [
    `${scenario.memberCount} members, heartbeat ${scenario.heartbeatMs} ms, election ${scenario.electionMs} ms, ${JSON.stringify(scenario.settings)}`,
    `faults every ${scenario.faultEveryMs} ms for ${scenario.faultLastsMs} ms: ${faults.join(", ") || "none"}`,
    `network ${JSON.stringify(scenario.network)}`,
    `machines ${JSON.stringify(scenario.machine)}, clocks ±${scenario.clockDrift * 100} %`,
    `${scenario.kvClients} clients on ${scenario.keyCount} keys every ${scenario.thinkMs} ms, ${scenario.watchClients} watchers, ` +
      `members change ${scenario.changeMembersEveryMs === null ? "never" : `every ${scenario.changeMembersEveryMs} ms`}`,
  ].join("\n");
}
