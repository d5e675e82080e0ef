/**
 * What leads from a server to others, joined for a member: small questions to other members, names, and the cluster that v3
 * discovery meets in. What only a first start needs is loaded when it is needed.
 */
import type { Bootstrap } from "./bootstrap/bootstrap.ts";
import type { DiscoveryWorld } from "./bootstrap/discovery-world.ts";
import type { Config } from "./config/config.ts";
import type { AskHash } from "./corruption/peer-hashes.ts";
import type { World } from "./member/open-member.ts";
import type { AskVersions } from "./member/version-monitor.ts";
import type { PeerClient, Unreachable } from "./peers/peer-client.ts";
import type { Failed } from "./peers/peer-requests.ts";
import type { LeaderLink } from "./services/leader-link.ts";

/** How long a member may take to say its version to a leader that goes round. */
const VERSION_LIMIT_MS = 1000;

export function askVersionsOf(client: PeerClient): AskVersions {
  return (members, done) => {
    const answers = members.map(async ({ peerUrls }) => {
      const answer = await client.version(peerUrls, VERSION_LIMIT_MS);
      return answer.kind === "answered" ? answer.server : null;
    });
    void Promise.all(answers).then(done);
  };
}

/** `limitMs`: for one member. */
export function askHashOf(client: PeerClient, limitMs: number): AskHash {
  return ({ peerUrls }, clusterId, revision, done) => {
    void client.hashKv(peerUrls, clusterId, revision, limitMs).then(done);
  };
}

/** Who the member is and among whom; for its first start. */
export async function discover(config: Config, world: World, client: PeerClient): Promise<Bootstrap> {
  const { discoverCluster } = await import("./bootstrap/discover-cluster.ts");
  const { openRegistry } = await import("./bootstrap/etcd-registry.ts");
  const { machineNames } = await import("./world/names.ts");
  return discoverCluster(config, {
    peers: peerQueriesOf(client),
    names: machineNames,
    openRegistry: (discovery) => openRegistry(discovery, world),
    clock: world.clock,
    timers: world.timers,
    log: world.log,
  });
}

function peerQueriesOf(client: PeerClient): DiscoveryWorld["peers"] {
  return {
    members: async (url, limitMs) => {
      const answer = await client.members([url], limitMs);
      if (answer.kind === "unreachable") throw new Error(answer.message);
      return answer;
    },
    version: async (url, limitMs) => {
      const answer = await client.version([url], limitMs);
      if (answer.kind === "unreachable") throw new Error(answer.message);
      return { server: answer.server, cluster: answer.cluster ?? "not_decided" };
    },
    downgradeEnabled: async (url, limitMs) => {
      const answer = await client.downgradeEnabled([url], limitMs);
      if (answer.kind !== "answered") throw new Error(answer.message);
      return answer.isEnabled;
    },
  };
}

/** `limitMs`: for one try; services try again as long as their callers may wait. */
export function leaderLinkOf(client: PeerClient, limitMs: number): LeaderLink {
  const tell = <Outcome extends { readonly kind: string }>(
    asked: Promise<Outcome | Unreachable>,
    done: (outcome: Exclude<Outcome, Unreachable> | Failed) => void,
  ): void => {
    void asked.then((outcome) => {
      const { kind, message } = outcome as Unreachable;
      done(kind === "unreachable" ? { kind: "failed", message } : (outcome as Exclude<Outcome, Unreachable>));
    });
  };
  return {
    leaseKeepAlive: (urls, id, done) => tell(client.leaseKeepAlive(urls, id, limitMs), done),
    leaseTimeToLive: (urls, id, withKeys, done) => tell(client.leaseTimeToLive(urls, id, withKeys, limitMs), done),
    promote: (urls, id, token, done) => tell(client.promote(urls, id, token, limitMs), done),
  };
}
