/** What a member needs to know: of the configuration, of the way to other members, and of the world it runs in. */
import type { ErrorKind } from "@quorate/api";
import type { Tokens } from "@quorate/auth";
import type { Clock, Log, Random, Timers } from "@quorate/world";
import { refusalToIssue } from "../auth/configured-tokens.ts";
import type { Passwords } from "../auth/passwords.ts";
import type { AutoCompaction } from "../config/auto-compaction.ts";
import type { Config } from "../config/config.ts";
import type { PeerNetwork, PeerNetworkOwner } from "../peers/peer-network.ts";
import { VERSIONS } from "../versions.ts";
import type { Member } from "./member.ts";
import { stateOptionsOf, type World } from "./open-member.ts";
import type { AskVersions } from "./version-monitor.ts";

const DEFAULT_QUOTA_BYTES = 2 * 1024 ** 3;

export interface MemberOptions {
  readonly name: string;
  readonly clientUrls: readonly string[];
  /** Of this server: "major.minor.patch". */
  readonly serverVersion: string;
  readonly heartbeatMs: number;
  readonly electionTicks: number;
  /** A member that starts among others does not wait the first election timeout out. */
  readonly advanceFirstElection: boolean;
  readonly preVote: boolean;
  /** Must be the same on every member. */
  readonly maxLearners: number;
  /** Between two records of a lease's remaining time; null: none are made. */
  readonly leaseCheckpointMs: number | null;
  /** Negative: none. */
  readonly quotaBytes: number;
  /** The NOSPACE alarm ends when space is freed. */
  readonly autoDisarmNoSpace: boolean;
  readonly maxTxnOps: number;
  readonly maxRequestBytes: number;
  readonly flushIntervalMs: number;
  readonly flushOperations: number;
  readonly snapshotCount: number;
  readonly catchUpEntries: number;
  readonly compactionBatchLimit: number;
  readonly compactionSleepMs: number;
  /** An entry that takes longer to apply is logged. */
  readonly slowApplyMs: number;
  readonly progressNotifyMs: number;
  /** How often the leader asks whether a downgrade of the cluster is done; 0: never. */
  readonly downgradeCheckMs: number;
  readonly autoCompaction: AutoCompaction;
  /** Makes the way to the other members, and tells it whom to serve. The member is still being built. */
  readonly network: (owner: PeerNetworkOwner, member: Member) => PeerNetwork;
  readonly askVersions: AskVersions;
  readonly tokens: Tokens;
  /** What a log-in is told that gets no token. */
  readonly refusalToIssue: ErrorKind;
  readonly passwords: Pick<Passwords, "hash" | "verify" | "dropUser">;
  /** A client without a token is the user that its verified certificate names. */
  readonly trustsCertificateNames: boolean;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
}

/** What leads to other members; not the configuration's to say. */
export type Outward = Pick<MemberOptions, "network" | "askVersions">;

/** What tells users apart; made anew for each run of the process. */
export type Credentials = Pick<MemberOptions, "tokens" | "passwords">;

export function memberOptionsOf(
  config: Config,
  world: World,
  outward: Outward,
  credentials: Credentials,
): MemberOptions {
  return {
    ...stateOptionsOf(config),
    ...outward,
    ...credentials,
    refusalToIssue: refusalToIssue(config.authToken),
    trustsCertificateNames: config.tls.usesCommonNames,
    name: config.name,
    clientUrls: config.advertiseClientUrls,
    serverVersion: VERSIONS.etcd,
    advanceFirstElection: config.advanceFirstElection,
    preVote: config.preVote,
    maxLearners: config.maxLearners,
    quotaBytes: config.quotaBytesConfigured === 0 ? DEFAULT_QUOTA_BYTES : config.quotaBytesConfigured,
    autoDisarmNoSpace: config.autoDisarmNoSpace,
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
    autoCompaction: config.autoCompaction,
    downgradeCheckMs: config.downgradeCheckMs,
    clock: world.clock,
    timers: world.timers,
    random: world.random,
    log: world.log,
  };
}
