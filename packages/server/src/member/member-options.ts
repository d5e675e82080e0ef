/** What a member needs to know of the configuration, and of the world it runs in. */
import type { Config } from "../config/config.ts";
import { VERSIONS } from "../versions.ts";
import type { MemberOptions } from "./member.ts";
import { stateOptionsOf, type World } from "./open-member.ts";

const DEFAULT_QUOTA_BYTES = 2 * 1024 ** 3;

/** What leads to other members; not the configuration's to say. */
export type Outward = Pick<MemberOptions, "network" | "askVersions">;

export function memberOptionsOf(config: Config, world: World, outward: Outward): MemberOptions {
  return {
    ...stateOptionsOf(config),
    ...outward,
    name: config.name,
    clientUrls: config.advertiseClientUrls,
    serverVersion: VERSIONS.etcd,
    advanceFirstElection: config.advanceFirstElection,
    preVote: config.preVote,
    maxLearners: config.maxLearners,
    quotaBytes: config.quotaBytesConfigured === 0 ? DEFAULT_QUOTA_BYTES : config.quotaBytesConfigured,
    maxTxnOps: config.maxTxnOps,
    maxRequestBytes: config.maxRequestBytes,
    flushIntervalMs: config.flushIntervalMs,
    flushOperations: config.flushOperations,
    snapshotCount: config.snapshotCount,
    catchUpEntries: config.snapshotCatchupEntries,
    compactionBatchLimit: config.compactionBatchLimit,
    compactionSleepMs: config.compactionSleepMs,
    slowApplyMs: config.slowApplyMs,
    progressNotifyMs: config.progressNotifyMs,
    clock: world.clock,
    timers: world.timers,
    random: world.random,
    log: world.log,
  };
}
