/**
 * What a local cluster is made of: names, ports and directories, kept in `cluster.json` beside the members' data so that
 * the next `cluster up` finds the same cluster. Pure but for reading and writing that file.
 *
 *   quorate-cluster.etcd/
 *     cluster.json      this file
 *     m1/ m2/ m3/       the members' data directories
 *
 * Invariants:
 * - Ports never change once the cluster has formed: the members know each other by their peer URLs.
 * - A member whose data is gone is never started again once the cluster has formed: it may have voted for or stored
 *   something it no longer knows of, and would break the promises it gave (known as amnesia).
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

export interface MemberPlan {
  readonly name: string;
  readonly clientPort: number;
  readonly peerPort: number;
}

export interface ClusterPlan {
  readonly token: string;
  readonly members: readonly MemberPlan[];
  /** Whether all members have been ready at once. */
  readonly hasFormed: boolean;
}

/** The directory's cluster cannot be started as asked; the message says what to do. */
export class PlanRefused extends Error {
  readonly kind = "PlanRefused";
}

export const MEMBERS_MOST = 7;
export const MEMBERS_DEFAULT = 3;
const HOST = "127.0.0.1";

/**
 * Those of etcd's Procfile, and on in the same manner; the seventh takes the gap, because 72379 is no port. Peers listen
 * on the port after the clients'.
 */
const CUSTOMARY_CLIENT_PORTS = [2379, 22379, 32379, 42379, 52379, 62379, 12379] as const;

/** A new cluster. `basePort`: pairs of ports from there on; undefined: the customary ones. Not for 0. */
export function newPlan(memberCount: number, basePort: number | undefined): ClusterPlan {
  const members = Array.from({ length: memberCount }, (_, i): MemberPlan => {
    const clientPort = basePort === undefined ? CUSTOMARY_CLIENT_PORTS[i]! : basePort + 2 * i;
    return { name: `m${i + 1}`, clientPort, peerPort: clientPort + 1 };
  });
  return { token: `quorate-${randomBytes(8).toString("hex")}`, members, hasFormed: false };
}

/** A new cluster on ports chosen by the caller, two for each member. */
export function newPlanOn(ports: readonly number[]): ClusterPlan {
  const plan = newPlan(ports.length / 2, 1);
  const members = plan.members.map((member, i) => ({
    ...member,
    clientPort: ports[2 * i]!,
    peerPort: ports[2 * i + 1]!,
  }));
  return { ...plan, members };
}

/** The cluster that lives in `directory`; null if it is new. Throws {@link PlanRefused}. */
export function readPlan(directory: string): ClusterPlan | null {
  const file = planFile(directory);
  if (!existsSync(file)) {
    if (existsSync(directory) && !statSync(directory).isDirectory()) {
      throw new PlanRefused(`${directory} is no directory; choose another --data-dir`);
    }
    if (existsSync(directory) && readdirSync(directory).length > 0) {
      throw new PlanRefused(
        `${directory} is not empty and has no cluster.json, so it is no cluster of this command; choose another --data-dir`,
      );
    }
    return null;
  }
  try {
    return planOf(JSON.parse(readFileSync(file, "utf8")));
  } catch (error) {
    const problem = (error as Error).message;
    throw new PlanRefused(`cannot read ${file} (${problem}); repair it, or remove ${directory} to start anew`, {
      cause: error,
    });
  }
}

export function writePlan(directory: string, plan: ClusterPlan): void {
  try {
    makeDirectory(directory);
    const file = planFile(directory);
    writeFileSync(`${file}.new`, `${JSON.stringify({ format: 1, ...plan }, null, 2)}\n`);
    renameSync(`${file}.new`, file);
  } catch (error) {
    throw new PlanRefused(`cannot use ${directory}: ${(error as Error).message}`, { cause: error });
  }
}

/** Not `recursive`: on a file system that takes no directories (/proc) that never returns. */
function makeDirectory(directory: string): void {
  if (existsSync(directory)) return;
  makeDirectory(dirname(directory));
  mkdirSync(directory, { mode: 0o700 });
}

/** Throws {@link PlanRefused} if what is asked for contradicts the cluster that is there, or its data is incomplete. */
export function checkAgainst(
  plan: ClusterPlan,
  directory: string,
  asked: { readonly memberCount: number | undefined; readonly basePort: number | undefined },
): void {
  const count = plan.members.length;
  const instead = `leave the flag out, choose another --data-dir, or remove ${directory} to start anew`;
  if (asked.memberCount !== undefined && asked.memberCount !== count) {
    throw new PlanRefused(`the cluster in ${directory} has ${count} members, not ${asked.memberCount}: ${instead}`);
  }
  const first = plan.members[0]!.clientPort;
  if (asked.basePort !== undefined && asked.basePort !== 0 && asked.basePort !== first) {
    throw new PlanRefused(
      `the cluster in ${directory} has its ports from ${first} on, not from ${asked.basePort}: ${instead}`,
    );
  }
  if (!plan.hasFormed) return;
  for (const { name } of plan.members) {
    if (existsSync(join(directory, name))) continue;
    throw new PlanRefused(
      `the data of ${name} is gone from ${directory}. A member that has forgotten what it promised must not come back ` +
        `as if nothing had happened; put its directory back, or remove ${directory} to start anew`,
    );
  }
}

/** The flags of `quorate serve` (and of etcd) that make `member` part of `plan`. */
export function flagsOf(plan: ClusterPlan, member: MemberPlan, directory: string): string[] {
  const initialCluster = plan.members.map((each) => `${each.name}=${peerUrl(each)}`).join(",");
  return [
    `--name=${member.name}`,
    `--data-dir=${join(directory, member.name)}`,
    `--listen-client-urls=${clientUrl(member)}`,
    `--advertise-client-urls=${clientUrl(member)}`,
    `--listen-peer-urls=${peerUrl(member)}`,
    `--initial-advertise-peer-urls=${peerUrl(member)}`,
    `--initial-cluster=${initialCluster}`,
    `--initial-cluster-state=${plan.hasFormed ? "existing" : "new"}`,
    `--initial-cluster-token=${plan.token}`,
  ];
}

/** Names of the flags that {@link flagsOf} sets: nobody else may. */
export const OWN_FLAGS: readonly string[] = [
  "name",
  "data-dir",
  "listen-client-urls",
  "advertise-client-urls",
  "listen-peer-urls",
  "initial-advertise-peer-urls",
  "initial-cluster",
  "initial-cluster-state",
  "initial-cluster-token",
];

export function clientUrl(member: MemberPlan): string {
  return `http://${HOST}:${member.clientPort}`;
}

/** As etcdctl takes it. */
export function endpointsOf(plan: ClusterPlan): string {
  return plan.members.map((member) => `${HOST}:${member.clientPort}`).join(",");
}

function peerUrl(member: MemberPlan): string {
  return `http://${HOST}:${member.peerPort}`;
}

function planFile(directory: string): string {
  return join(directory, "cluster.json");
}

/** Throws a plain Error that says what is wrong with the file's content. */
function planOf(content: unknown): ClusterPlan {
  const { format, token, members, hasFormed } = (content ?? {}) as Record<string, unknown>;
  if (format !== 1) throw new Error(`format is ${JSON.stringify(format)}, not 1`);
  if (typeof token !== "string" || token === "") throw new Error("token is missing");
  if (typeof hasFormed !== "boolean") throw new Error("hasFormed is missing");
  if (!Array.isArray(members) || members.length < 1 || members.length > MEMBERS_MOST) {
    throw new Error(`members is not a list of 1 to ${MEMBERS_MOST}`);
  }
  return { token, hasFormed, members: members.map(memberOf) };
}

function memberOf(content: unknown): MemberPlan {
  const { name, clientPort, peerPort } = (content ?? {}) as Record<string, unknown>;
  if (typeof name !== "string" || !/^[\w-]+$/.test(name)) throw new Error("a member has no name");
  const isPort = (port: unknown): port is number => Number.isInteger(port) && Number(port) > 0 && Number(port) < 65536;
  if (!isPort(clientPort) || !isPort(peerPort)) throw new Error(`the ports of ${name} are no ports`);
  return { name, clientPort, peerPort };
}
