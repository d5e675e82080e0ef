/**
 * The version at which a cluster runs: the lowest of its members', major and minor only, decided by the leader and
 * replicated. It says which operations may be put into the log; a member that is older than its cluster could not apply
 * them. The leader asks {@link decideClusterVersion}; whoever applies a decision or joins asks the other two.
 *
 *   undecided ──some server's version unknown──▶ 3.0.0 ──all known──▶ lowest ──all raised──▶ higher
 *       └───────────────all known──────────────────────────────────────▲
 *
 * Invariant: what is decided here is never below what was decided before.
 */

/** Patch and pre-release take no part in decisions. */
export interface Version {
  readonly major: number;
  readonly minor: number;
}

/** What a cluster runs at while nobody knows better. */
export const LOWEST_CLUSTER_VERSION = "3.0.0";

/** A semantic version, major.minor.patch and what may follow; null if the text is not one. */
export function parseVersion(text: string): Version | null {
  const match = /^(\d{1,9})\.(\d{1,9})\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/.exec(text);
  return match === null ? null : { major: Number(match[1]), minor: Number(match[2]) };
}

/** Negative, zero or positive, as a is lower than, equal to or higher than b. */
export function compareVersions(a: Version, b: Version): number {
  return a.major - b.major || a.minor - b.minor;
}

/** The form in which a cluster version is replicated and stored. */
export function clusterVersionText(version: Version): string {
  return `${version.major}.${version.minor}.0`;
}

/**
 * The version a leader should propose, "major.minor.0"; null to leave it as it is. `servers`: what every member of the
 * cluster, ourselves included, says its server's version is; null for one that did not answer.
 */
export function decideClusterVersion(current: string | null, servers: readonly (string | null)[]): string | null {
  const lowest = lowestOf(servers);
  if (current === null) return lowest === null ? LOWEST_CLUSTER_VERSION : clusterVersionText(lowest);
  const decided = parseVersion(current);
  if (lowest === null || decided === null) return null;
  return decided.major === lowest.major && compareVersions(decided, lowest) < 0 ? clusterVersionText(lowest) : null;
}

/** A server older than its cluster may not run in it: the log may hold what it cannot apply. */
export function isOlderThanCluster(server: string, cluster: string): boolean {
  const own = parseVersion(server);
  const decided = parseVersion(cluster);
  return own !== null && decided !== null && compareVersions(own, decided) < 0;
}

/**
 * Whether a server may join a running cluster, by the cluster versions that its members tell (null, or text that is no
 * version: not known). At least one must be known, and all known ones must be ours or older; while a downgrade is under
 * way, exactly one minor above ours, because we are what the cluster is going down to.
 */
export function mayJoin(
  server: string,
  clusterVersions: readonly (string | null)[],
  isDowngradeEnabled: boolean,
): boolean {
  const own = parseVersion(server)!;
  const highest = isDowngradeEnabled ? { major: own.major, minor: own.minor + 1 } : own;
  const lowest = isDowngradeEnabled ? highest : parseVersion(LOWEST_CLUSTER_VERSION)!;
  const known = clusterVersions
    .map((each) => (each === null ? null : parseVersion(each)))
    .filter((each) => each !== null);
  return (
    known.length > 0 && known.every((each) => compareVersions(each, lowest) >= 0 && compareVersions(each, highest) <= 0)
  );
}

/** Null unless all are known. */
function lowestOf(servers: readonly (string | null)[]): Version | null {
  let lowest: Version | null = null;
  for (const text of servers) {
    const version = text === null ? null : parseVersion(text);
    if (version === null) return null;
    if (lowest === null || compareVersions(version, lowest) < 0) lowest = version;
  }
  return lowest;
}
