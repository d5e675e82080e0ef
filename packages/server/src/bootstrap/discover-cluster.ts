/**
 * What a start finds out before there is a log: who the members are and under which ids. Called once, only if there is no
 * log yet; whatever it refuses, nothing has been written.
 *
 *   --initial-cluster ───────┐
 *   --discovery-srv (DNS) ───┼─▶ names and URLs ─┬─ new ──────▶ checks ─▶ ids from URLs and token
 *   --discovery-endpoints ───┘                   └─ existing ─▶ ask the others ─▶ ids from the running cluster
 *
 * Invariants:
 *  - a new cluster's ids depend on the configuration alone, so that all its members come to the same ones;
 *  - an id whose member has been running is not begun again on an empty disk: its votes are forgotten (MB-07);
 *  - who joins a running cluster is older than nothing in it, and takes nothing on faith that the cluster can tell.
 */
import { clusterIdOf, idText, type Member, mayJoin, memberIdOf, parseVersion } from "@quorate/membership";
import { assert } from "@quorate/world";
import { type ClusterMember, formatClusterMap, hasDuplicateUrl, parseClusterMap } from "../config/cluster-map.ts";
import type { Config } from "../config/config.ts";
import { VERSIONS } from "../versions.ts";
import { type Bootstrap, BootstrapError } from "./bootstrap.ts";
import type { DiscoveryWorld } from "./discovery-world.ts";
import { discoverByDns } from "./dns-discovery.ts";
import { joinRegistry } from "./registry-discovery.ts";
import { isWrittenTheSame, UrlComparison, type UrlComparisonOptions } from "./url-comparison.ts";

export type BootstrapConfig = Pick<
  Config,
  | "name"
  | "advertisePeerUrls"
  | "initialCluster"
  | "initialClusterState"
  | "initialClusterToken"
  | "discoverySrv"
  | "discoverySrvName"
  | "discovery"
  | "maxLearners"
  | "heartbeatMs"
  | "electionTicks"
>;

/** How long others may take to say that they know us already. */
const KNOWN_TIMEOUT_MS = 1_000;
/** How long one of them may take to list its members. */
const MEMBERS_TIMEOUT_MS = 10_000;

/** Throws BootstrapError and DiscoveryError. */
export async function discoverCluster(config: BootstrapConfig, world: DiscoveryWorld): Promise<Bootstrap> {
  const cluster = await initialCluster(config, world);
  return config.initialClusterState === "existing"
    ? joinCluster(config, cluster, world)
    : beginCluster(config, cluster, world);
}

/** A member of a new cluster as the configuration alone describes it: for tools, which ask nobody. Throws BootstrapError. */
export async function configuredMember(
  config: Pick<BootstrapConfig, "name" | "advertisePeerUrls" | "initialCluster" | "initialClusterToken">,
  world: UrlComparisonOptions,
): Promise<Bootstrap> {
  const { initialCluster: cluster, initialClusterToken: token } = config;
  const own = ownMember(config, cluster);
  await checkAdvertised(config, own, world);
  checkDuplicates("initial cluster", cluster);
  return {
    kind: "new",
    memberId: memberIdOf(own.peerUrls, token),
    token,
    ...withIds(cluster, token),
  };
}

/** A running member, too, is held to this at its start. Throws BootstrapError. */
export function checkLearnerCount(members: readonly Member[], maxLearners: number): void {
  if (members.filter((each) => each.isLearner).length > maxLearners) {
    throw new BootstrapError("membership: too many learner members in cluster");
  }
}

async function initialCluster(config: BootstrapConfig, world: DiscoveryWorld): Promise<readonly ClusterMember[]> {
  const { name, advertisePeerUrls, discoverySrv: domain } = config;
  // Who meets in another cluster is alone until then.
  if (config.discovery !== null) return [{ name, peerUrls: advertisePeerUrls }];
  if (domain === null) return config.initialCluster;
  const { names, log } = world;
  const serviceName = config.discoverySrvName;
  const { nodes, problems } = await discoverByDns({ domain, serviceName, name, advertisePeerUrls, names, log });
  if (problems.length > 0) log.warn("failed to resolve during SRV discovery", { error: problems.join("\n") });
  if (nodes.length === 0 && problems.length > 0) {
    throw new BootstrapError(`error setting up initial cluster: ${problems.join("\n")}`);
  }
  for (const node of nodes) log.info("got bootstrap from DNS for etcd-server", { node });
  const cluster = parseClusterMap(nodes.join(","));
  if (nodes.length > 0 && !cluster.some((each) => each.name === name)) {
    throw new BootstrapError(
      `error setting up initial cluster: cannot find local etcd member ${JSON.stringify(name)} in SRV records`,
    );
  }
  return cluster;
}

// ------------------------------------------------------------------------------------------------ a new cluster

async function beginCluster(
  config: BootstrapConfig,
  cluster: readonly ClusterMember[],
  world: DiscoveryWorld,
): Promise<Bootstrap> {
  const own = ownMember(config, cluster);
  await checkAdvertised(config, own, world);
  checkDuplicates("initial cluster", cluster);
  const token = config.discovery?.token ?? config.initialClusterToken;
  const memberId = memberIdOf(own.peerUrls, token);
  await refuseKnown(memberId, otherUrls(cluster, own), world);
  if (config.discovery === null) return { kind: "new", memberId, token, ...withIds(cluster, token) };

  world.log.info("Bootstrapping cluster using v3 discovery.");
  const { discovery } = config;
  const registry = world.openRegistry(discovery);
  let met: readonly ClusterMember[];
  try {
    const { timers, log } = world;
    met = await joinRegistry({ registry, token, memberId, ownNodes: formatClusterMap(cluster), timers, log });
  } finally {
    registry.close();
  }
  checkDuplicates("discovery cluster", met);
  const found = withIds(met, token);
  // Two members of one name look like one with the URLs of both.
  if (!found.members.some((each) => each.id === memberId)) {
    throw new BootstrapError(
      `discovery cluster ${formatClusterMap(met)} has another member of the name ${JSON.stringify(config.name)}`,
    );
  }
  return { kind: "new", memberId, token, ...found };
}

/** All others at once: one that answers late, or not at all, must not keep a new cluster from beginning. */
async function refuseKnown(memberId: bigint, urls: readonly string[], { peers }: DiscoveryWorld): Promise<void> {
  const answers = await Promise.all(
    urls.map((url) =>
      peers.members(url, KNOWN_TIMEOUT_MS).then(
        ({ members }) => members,
        () => [],
      ),
    ),
  );
  refuseIfRunning(answers.flat(), memberId);
}

async function checkAdvertised(
  config: Pick<BootstrapConfig, "name" | "advertisePeerUrls">,
  own: ClusterMember,
  world: UrlComparisonOptions,
): Promise<void> {
  const advertised = [...config.advertisePeerUrls].sort();
  const difference = await new UrlComparison(world).difference(advertised, [...own.peerUrls].sort());
  if (difference === null) return;
  const listed = (urls: readonly string[]): string => urls.map((url) => `${config.name}=${url}`).join(",");
  const missing = own.peerUrls.filter((url) => !advertised.includes(url));
  if (missing.length > 0) {
    throw new BootstrapError(
      `--initial-cluster has ${listed(missing)} but missing from ` +
        `--initial-advertise-peer-urls=${advertised.join(",")} (${difference})`,
    );
  }
  const extra = advertised.filter((url) => !own.peerUrls.includes(url));
  // etcd shows what is advertised in these two, not what --initial-cluster says.
  if (extra.length === 0) {
    throw new BootstrapError(
      `failed to resolve ${advertised.join(",")} to match --initial-cluster=${listed(advertised)} (${difference})`,
    );
  }
  throw new BootstrapError(
    `--initial-advertise-peer-urls has ${extra.join(",")} but missing from --initial-cluster=${listed(advertised)}`,
  );
}

function withIds(cluster: readonly ClusterMember[], token: string): { clusterId: bigint; members: Member[] } {
  const members = cluster
    .map(({ name, peerUrls }) => ({
      id: memberIdOf(peerUrls, token),
      peerUrls,
      isLearner: false,
      name,
      clientUrls: [],
    }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const ids = members.map((each) => each.id);
  assert(!ids.includes(0n) && new Set(ids).size === ids.length, "different URLs have different ids");
  return { clusterId: clusterIdOf(ids), members };
}

// ------------------------------------------------------------------------------------------------ a running cluster

async function joinCluster(
  config: BootstrapConfig,
  cluster: readonly ClusterMember[],
  world: DiscoveryWorld,
): Promise<Bootstrap> {
  const own = ownMember(config, cluster);
  checkDuplicates("initial cluster", cluster);
  if (config.discovery !== null) {
    throw new BootstrapError("discovery URL should not be set when joining existing initial cluster");
  }
  const { clusterId, members } = await runningCluster(otherUrls(cluster, own), world);
  const matched = await matchMembers(cluster, members, world);
  if (typeof matched === "string") {
    throw new BootstrapError(`error validating peerURLs ${clusterText(clusterId, members)}: ${matched}`);
  }
  const memberId = matched.get(own)!;
  // etcd goes on here, and the member votes under an id that may have voted otherwise: it has to be removed and added.
  refuseIfRunning(members, memberId);
  await checkVersions(
    config,
    [...matched].filter(([each]) => each !== own),
    world,
  );
  checkLearnerCount(members, config.maxLearners);
  return { kind: "join", memberId, clusterId, members, token: config.initialClusterToken };
}

async function runningCluster(
  urls: readonly string[],
  { peers, log }: DiscoveryWorld,
): Promise<{ clusterId: bigint; members: readonly Member[] }> {
  const refuse = (problem: string): never => {
    throw new BootstrapError(`cannot fetch cluster info from peer urls: ${problem}`);
  };
  for (const url of urls) {
    try {
      const { clusterId, members } = await peers.members(url, MEMBERS_TIMEOUT_MS);
      if (members.length > 0) return { clusterId, members: [...members].sort((a, b) => (a.id < b.id ? -1 : 1)) };
    } catch (error) {
      log.warn("failed to get cluster response", { address: `${url}/members`, error });
      continue;
    }
    return refuse("failed to get raft cluster member(s) from the given URLs");
  }
  return refuse("could not retrieve cluster information from the given URLs");
}

/** Which of our configured members each running one is; or why that cannot be told. */
async function matchMembers(
  cluster: readonly ClusterMember[],
  running: readonly Member[],
  world: DiscoveryWorld,
): Promise<ReadonlyMap<ClusterMember, bigint> | string> {
  if (running.length !== cluster.length) return "member count is unequal";
  const comparison = new UrlComparison(world);
  const ids = new Map<ClusterMember, bigint>();
  const unmatched: Member[] = [];
  for (const member of running) {
    const same = cluster.find((each) => isWrittenTheSame(member.peerUrls, each.peerUrls));
    if (same === undefined) unmatched.push(member);
    else ids.set(same, member.id);
  }
  for (const member of unmatched) {
    let problem = "";
    let isFound = false;
    for (const each of cluster) {
      if (ids.has(each)) continue;
      const difference = await comparison.difference(member.peerUrls, each.peerUrls);
      if (difference === null) {
        ids.set(each, member.id);
        isFound = true;
        break;
      }
      problem = difference;
    }
    if (!isFound) {
      const urls = `[${member.peerUrls.join(" ")}]`;
      return (
        `PeerURLs: no match found for existing member (${idText(member.id)}, ${urls}), ` +
        `last resolver error (${problem})`
      );
    }
  }
  // Every running member has one of as many configured ones to itself.
  return ids.size === cluster.length ? ids : "member count is unequal";
}

/** `others` with their ids: at least one has to be there, and none may run at a version that we could not follow. */
async function checkVersions(
  config: BootstrapConfig,
  others: readonly (readonly [ClusterMember, bigint])[],
  { peers, log }: DiscoveryWorld,
): Promise<void> {
  const timeoutMs = 5000 + 2 * config.electionTicks * config.heartbeatMs;
  const answers = await Promise.all(
    others.map(async ([member, id]) => {
      const fields = { "remote-member-id": idText(id) };
      const version = await firstAnswer(member.peerUrls, (url) => peers.version(url, timeoutMs));
      if (version === null) {
        log.warn("failed to get version", fields);
        return null;
      }
      if (parseVersion(version.cluster) === null) {
        const told = { ...fields, "remote-member-cluster-version": version.cluster };
        log.warn("failed to parse cluster version of remote member", told);
      }
      return version.cluster;
    }),
  );
  const urls = others.flatMap(([member]) => member.peerUrls);
  const isDowngradeEnabled = (await firstAnswer(urls, (url) => peers.downgradeEnabled(url, timeoutMs))) ?? false;
  if (mayJoin(VERSIONS.etcd, answers, isDowngradeEnabled)) return;
  log.warn("cluster version of remote members is not compatible", {
    "cluster-versions": answers,
    "server-version": VERSIONS.etcd,
    "downgrade-enabled": isDowngradeEnabled,
  });
  throw new BootstrapError("incompatible with current running cluster");
}

/** Asks one after the other; null if nobody answers. */
async function firstAnswer<T>(urls: readonly string[], ask: (url: string) => Promise<T>): Promise<T | null> {
  for (const url of urls) {
    try {
      return await ask(url);
    } catch {}
  }
  return null;
}

// ------------------------------------------------------------------------------------------------ both

function ownMember(config: Pick<BootstrapConfig, "name">, cluster: readonly ClusterMember[]): ClusterMember {
  const own = cluster.find((each) => each.name === config.name);
  if (own !== undefined) return own;
  throw new BootstrapError(
    `couldn't find local name ${JSON.stringify(config.name)} in the initial cluster configuration`,
  );
}

/** Nobody tells client URLs before it has a log: that log is not here (MB-07). */
function refuseIfRunning(members: readonly Member[], memberId: bigint): void {
  const isRunning = members.some((each) => each.id === memberId && each.clientUrls.length > 0);
  if (isRunning) throw new BootstrapError(`member ${idText(memberId)} has already been bootstrapped`);
}

function checkDuplicates(what: string, cluster: readonly ClusterMember[]): void {
  if (!hasDuplicateUrl(cluster)) return;
  throw new BootstrapError(`${what} ${formatClusterMap(cluster)} has duplicate url`);
}

/** Sorted, so that all ask in the same order. */
function otherUrls(cluster: readonly ClusterMember[], own: ClusterMember): string[] {
  return cluster
    .filter((each) => each !== own)
    .flatMap((each) => each.peerUrls)
    .sort();
}

/** As etcd's message shows a cluster. */
function clusterText(clusterId: bigint, members: readonly Member[]): string {
  const texts = members.map(
    ({ id, peerUrls, isLearner, name, clientUrls }) =>
      `&{ID:${idText(id)} RaftAttributes:{PeerURLs:[${peerUrls.join(" ")}] IsLearner:${isLearner}} ` +
      `Attributes:{Name:${name} ClientURLs:[${clientUrls.join(" ")}]}}`,
  );
  return `{ClusterID:${idText(clusterId)} Members:[${texts.join(" ")}] RemovedMemberIDs:[]}`;
}
