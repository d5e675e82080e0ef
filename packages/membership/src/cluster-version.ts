/**
 * The version at which a cluster runs: the lowest of its members', major and minor only, decided by the leader and
 * replicated. It says which operations may be put into the log; a member that is older than its cluster could not apply
 * them. The leader asks {@link decideClusterVersion} and {@link isDowngradeDone}; whoever applies a decision, joins, or asks
 * for a downgrade asks the others.
 *
 *   undecided ──some server's version unknown──▶ 3.0.0 ──all known──▶ lowest ──all raised──▶ higher
 *       └───────────────all known──────────────────────────────────────▲  │  ▲
 *                                                 downgrade to the next lower │  │ cancelled, or done
 *                                                                            ▼  │ and all raised again
 *                                                                          target
 *
 * Invariant: what is decided here is below what was decided before only as the target of a downgrade, one minor version
 * below the cluster and below every server of it.
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
 * cluster, ourselves included, says its server's version is; null for one that did not answer. `downgradeTarget`: of the
 * downgrade under way, null if there is none.
 */
export function decideClusterVersion(
  current: string | null,
  servers: readonly (string | null)[],
  downgradeTarget: string | null,
): string | null {
  const lowest = lowestOf(servers);
  if (current === null) return lowest === null ? LOWEST_CLUSTER_VERSION : clusterVersionText(lowest);
  const decided = parseVersion(current);
  if (lowest === null || decided === null) return null;
  if (downgradeTarget !== null) {
    const target = parseVersion(downgradeTarget);
    const isNext = target !== null && isDowngradeOf(decided, target) && isDowngradeOf(lowest, target);
    return isNext ? clusterVersionText(target) : null;
  }
  return decided.major === lowest.major && compareVersions(decided, lowest) < 0 ? clusterVersionText(lowest) : null;
}

/** Whether a cluster, or a server, of version `from` can go down to `to`: by one minor version. */
export function isDowngradeOf(from: Version, to: Version): boolean {
  return from.major === to.major && from.minor - 1 === to.minor;
}

/** What an operator may ask to go down to: "major.minor", or a whole version, of which the rest is dropped. Else null. */
export function parseDowngradeTarget(text: string): Version | null {
  return parseVersion(text) ?? parseVersion(`${text}.0`);
}

/** Whether every server, as for {@link decideClusterVersion}, is of the version that the cluster has gone down to. */
export function isDowngradeDone(target: string, servers: readonly (string | null)[]): boolean {
  const wanted = parseVersion(target);
  return servers.every((text) => {
    const server = text === null ? null : parseVersion(text);
    return wanted !== null && server !== null && compareVersions(server, wanted) === 0;
  });
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
