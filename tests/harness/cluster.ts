/**
 * A cluster of real processes for the fault tests: members are started, stopped, killed, paused, wiped, added and removed
 * while others talk to them. The program is Quorate, or etcd if FAULTS_PROGRAM=etcd (ETCD names the binary, v3.6 or newer),
 * which takes the same flags; nothing else here depends on which it is.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, cpSync, mkdirSync, mkdtempSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Member,
  MemberAddRequest,
  MemberAddResponse,
  MemberListRequest,
  MemberListResponse,
  MemberPromoteRequest,
  MemberPromoteResponse,
  MemberRemoveRequest,
  MemberRemoveResponse,
  MoveLeaderRequest,
  MoveLeaderResponse,
  StatusRequest,
  StatusResponse,
} from "@quorate/api/messages";
import { type CallOptions, RpcError } from "@quorate/rpc";
import { type Host, LoopbackNetwork, type Network } from "./network.ts";
import { MAIN, sleep } from "./processes.ts";
import { Calls } from "./rpc.ts";

/** The program under test: here and nowhere else. */
const PROGRAM: readonly [string, ...string[]] =
  process.env.FAULTS_PROGRAM === "etcd" ? [process.env.ETCD ?? "etcd"] : [process.execPath, MAIN, "serve"];

/** Elections soon, and logs so short that whoever was away needs a snapshot. */
const FLAGS: readonly string[] = [
  "--heartbeat-interval=50",
  "--election-timeout=500",
  "--snapshot-count=200",
  "--snapshot-catchup-entries=50",
];

/** Long enough for a slow machine: passes in full only if a test fails. */
const PATIENCE_MS = 20_000;
/** Of each member, in the message of a failure. */
const LOG_CHARACTERS_SHOWN = 4000;
const LOG_CHARACTERS_KEPT = 200_000;

export interface ClusterOptions {
  readonly size: number;
  /** Default: ports of 127.0.0.1. Disposed of with the cluster. */
  readonly network?: Network;
  /** After the usual ones. */
  readonly flags?: readonly string[];
}

/**
 * Runs `test` with a started, healthy cluster, which is gone afterwards. If it fails, the error says where the members'
 * logs end.
 */
export async function withCluster(options: ClusterOptions, test: (cluster: Cluster) => Promise<void>): Promise<void> {
  const cluster = await Cluster.make(options);
  try {
    await Promise.all(cluster.members.map((member) => member.start()));
    await cluster.untilHealthy();
    await test(cluster);
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : error}\n${cluster.logs()}`, { cause: error });
  } finally {
    await cluster.dispose();
  }
}

export class Cluster {
  /** Those the cluster is meant to have, running or not, learners included. Changes with add and remove. */
  readonly members: ClusterMember[] = [];
  readonly network: Network;
  readonly #root: string;
  readonly #flags: readonly string[];
  /** Every member there ever was. */
  readonly #all: ClusterMember[] = [];
  readonly #guests: { abandon(): void }[] = [];
  /** A test that ends without cleaning up, because it took too long, leaves no processes behind. */
  readonly #atExit = (): void => {
    for (const member of this.#all) member.killNow();
  };

  private constructor({ network, flags }: ClusterOptions) {
    this.network = network ?? new LoopbackNetwork();
    this.#flags = [...FLAGS, ...(flags ?? [])];
    // Not in the temporary directory, which may be memory: that proves nothing of disks.
    const disk = join(import.meta.dirname, "../../node_modules/.cache");
    mkdirSync(disk, { recursive: true });
    this.#root = mkdtempSync(join(disk, "faults-"));
    process.once("exit", this.#atExit);
  }

  /** Nothing is started. */
  static async make(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    for (let i = 0; i < options.size; i++) cluster.members.push(await cluster.#newMember());
    const initialCluster = cluster.members.map((member) => `${member.name}=${member.peerUrl}`).join(",");
    for (const member of cluster.members) member.joins(initialCluster, "new");
    return cluster;
  }

  async #newMember(): Promise<ClusterMember> {
    const name = `m${this.#all.length + 1}`;
    const member = new ClusterMember(name, await this.network.addHost(), join(this.#root, name), this.#flags);
    this.#all.push(member);
    return member;
  }

  /** `guest` talks to the members, and is told to give up when they end for good: a failed test must end, too. */
  attach(guest: { abandon(): void }): void {
    this.#guests.push(guest);
  }

  get running(): ClusterMember[] {
    return this.members.filter((member) => member.isRunning);
  }

  /** Waits until every running member answers for the cluster, and all name the same leader. */
  async untilHealthy(): Promise<void> {
    await until("all running members are healthy", async () => {
      const healthy = await Promise.all(this.running.map((member) => member.isHealthy()));
      if (healthy.includes(false)) return false;
      const statuses = await Promise.all(this.running.map((member) => member.status().catch(() => null)));
      return statuses.every(
        (status) => status !== null && status.leader === statuses[0]!.leader && status.leader !== 0n,
      );
    });
  }

  /** The running member that leads, once one does; `except` may believe it still does. */
  async leader(except?: ClusterMember): Promise<ClusterMember> {
    let leader: ClusterMember | undefined;
    await until("there is a leader", async () => {
      let term = -1;
      for (const member of this.running) {
        if (member === except) continue;
        const status = await member.status().catch(() => null);
        if (status === null || status.leader !== status.header!.memberId || status.raftTerm < term) continue;
        term = status.raftTerm;
        leader = member;
      }
      return leader !== undefined;
    });
    return leader!;
  }

  /** Hands the lead over to `member`. */
  async lead(member: ClusterMember): Promise<void> {
    const leader = await this.leader();
    if (leader === member) return;
    const method = "etcdserverpb.Maintenance/MoveLeader";
    const request = { targetID: await member.id() };
    await leader.calls.unary(method, MoveLeaderRequest, MoveLeaderResponse, request, {
      deadlineMs: performance.now() + 10_000,
    });
    await this.untilHealthy();
  }

  /** A running member that does not lead. */
  async follower(): Promise<ClusterMember> {
    const leader = await this.leader();
    return this.running.find((member) => member !== leader)!;
  }

  /** Adds a member and starts it. Retries while the cluster says it is not healthy enough for that. */
  async add(options: { readonly isLearner?: boolean } = {}): Promise<ClusterMember> {
    return this.#join(await this.#newMember(), options.isLearner ?? false);
  }

  /** Adds again, under the same name and addresses but with an empty directory, what was removed and does not run. */
  async addAgain(member: ClusterMember): Promise<void> {
    member.wipe();
    await this.#join(member, false);
  }

  async #join(member: ClusterMember, isLearner: boolean): Promise<ClusterMember> {
    const request = { peerURLs: [member.peerUrl], isLearner };
    const isAdded = ({ peerURLs }: Member): boolean => peerURLs.includes(member.peerUrl);
    const members = await this.#change({
      name: `${member.name} is added`,
      ask: async (calls, options) =>
        (await calls.unary("etcdserverpb.Cluster/MemberAdd", MemberAddRequest, MemberAddResponse, request, options))
          .members,
      isDone: (members) => members.some(isAdded),
    });
    // In the list it has no name yet.
    const initialCluster = members
      .map((other) => `${isAdded(other) ? member.name : other.name}=${other.peerURLs[0]}`)
      .join(",");
    member.joins(initialCluster, "existing");
    this.members.push(member);
    await member.start();
    return member;
  }

  /** Makes a voter of a learner, as soon as the cluster allows it. */
  async promote(member: ClusterMember): Promise<void> {
    const request = { ID: await member.id() };
    const method = "etcdserverpb.Cluster/MemberPromote";
    await this.#change({
      name: `${member.name} is promoted`,
      ask: async (calls, options) =>
        (await calls.unary(method, MemberPromoteRequest, MemberPromoteResponse, request, options)).members,
      isDone: (members) => members.some(({ ID, isLearner }) => ID === request.ID && !isLearner),
    });
  }

  /** Removes a member from the cluster; its process is left to find out. */
  async remove(member: ClusterMember): Promise<void> {
    const request = { ID: await member.id() };
    const method = "etcdserverpb.Cluster/MemberRemove";
    await this.#change({
      name: `${member.name} is removed`,
      ask: async (calls, options) =>
        (await calls.unary(method, MemberRemoveRequest, MemberRemoveResponse, request, options)).members,
      isDone: (members) => members.every(({ ID }) => ID !== request.ID),
      // It may be gone before it can answer.
      except: member,
    });
    this.members.splice(this.members.indexOf(member), 1);
  }

  /**
   * Changes of membership are refused while peers are not long enough connected or a learner lags, and may be carried out
   * although the answer is lost: asks until the change is made. Returns the members then.
   */
  async #change({ name, ask, isDone, except }: Change): Promise<readonly Member[]> {
    let members: readonly Member[] | null = null;
    let cause: unknown;
    const isMade = async (): Promise<boolean> => {
      const leader = await this.leader();
      const { calls } = leader !== except ? leader : this.running.find((member) => member !== except)!;
      const options = { deadlineMs: performance.now() + 5000 };
      try {
        members = await ask(calls, options);
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        cause = error;
        members = await this.#list(calls).catch(() => null);
      }
      return members !== null && isDone(members);
    };
    await until(name, isMade).catch((error: Error) => {
      throw new Error(`${error.message}: ${cause}`, { cause });
    });
    return members!;
  }

  async #list(calls: Calls): Promise<readonly Member[]> {
    const options = { deadlineMs: performance.now() + 2000 };
    const method = "etcdserverpb.Cluster/MemberList";
    return (await calls.unary(method, MemberListRequest, MemberListResponse, { linearizable: true }, options)).members;
  }

  /** How each member's log ends. */
  logs(): string {
    return this.#all.map(({ name, log }) => `--- ${name} wrote:\n${log.slice(-LOG_CHARACTERS_SHOWN)}`).join("\n");
  }

  async dispose(): Promise<void> {
    process.off("exit", this.#atExit);
    for (const guest of this.#guests) guest.abandon();
    await Promise.all(this.#all.map((member) => member.dispose()));
    this.network.dispose();
    rmSync(this.#root, { recursive: true, force: true });
  }
}

export class ClusterMember {
  readonly name: string;
  readonly host: Host;
  readonly directory: string;
  /** For questions of the test; load has connections of its own. */
  readonly calls: Calls;
  readonly #flags: readonly string[];
  #initialCluster = "";
  #clusterState = "new";
  #id: bigint | null = null;
  #isDiskLimited = false;
  #child: ChildProcess | null = null;
  #log = "";

  constructor(name: string, host: Host, directory: string, flags: readonly string[]) {
    this.name = name;
    this.host = host;
    this.directory = directory;
    this.#flags = flags;
    this.calls = new Calls(host.ports.client, host.address);
    mkdirSync(directory);
  }

  get peerUrl(): string {
    return `http://${this.host.address}:${this.host.ports.peer}`;
  }
  get clientUrl(): string {
    return `http://${this.host.address}:${this.host.ports.client}`;
  }
  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }
  /** What it has written to standard error over all its lives, the last of it. */
  get log(): string {
    return this.#log;
  }

  /** What it is told of the cluster at its first start. */
  joins(initialCluster: string, state: "new" | "existing"): void {
    this.#id = null;
    this.#initialCluster = initialCluster;
    this.#clusterState = state;
  }

  /** Starts it, again if it has run before; does not wait for it to be of use. */
  async start(): Promise<void> {
    const [program, ...before] = PROGRAM;
    const args = [
      ...before,
      `--name=${this.name}`,
      `--data-dir=${join(this.directory, "data")}`,
      `--listen-client-urls=${this.clientUrl}`,
      `--advertise-client-urls=${this.clientUrl}`,
      `--listen-peer-urls=http://${this.host.address}:${this.host.ports.peerListen}`,
      `--initial-advertise-peer-urls=${this.peerUrl}`,
      `--initial-cluster=${this.#initialCluster}`,
      `--initial-cluster-state=${this.#clusterState}`,
      ...this.#flags,
    ];
    const child = spawn(...this.host.command(program, args), { stdio: ["ignore", "ignore", "pipe"] });
    child.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
      this.#log = (this.#log + chunk).slice(-LOG_CHARACTERS_KEPT);
    });
    this.#child = child;
    await new Promise((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
  }

  /** Sends a signal that ends it and waits for that. Returns the exit code or the signal's name. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<number | string> {
    const exited = this.exited();
    this.#child!.kill(signal);
    return exited;
  }

  /** Without waiting for the end. */
  killNow(): void {
    this.#child?.kill("SIGKILL");
  }

  /** Resolves once it has ended, however. */
  exited(): Promise<number | string> {
    const child = this.#child!;
    if (!this.isRunning) return Promise.resolve(child.exitCode ?? child.signalCode!);
    return new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal!)));
  }

  /** It stands still, its connections stay open. */
  pause(): void {
    this.#child!.kill("SIGSTOP");
  }

  resume(): void {
    this.#child!.kill("SIGCONT");
  }

  /** Everything it had stored is lost. It must not run. */
  wipe(): void {
    rmSync(join(this.directory, "data"), { recursive: true, force: true });
  }

  /**
   * Moves everything it has stored to a disk of this size that can be filled. It must not run. Throws where file systems
   * may not be mounted.
   */
  limitDisk(megabytes: number): void {
    const data = join(this.directory, "data");
    const aside = `${this.directory}-aside`;
    renameSync(data, aside);
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", this.directory]);
    this.#isDiskLimited = true;
    cpSync(aside, data, { recursive: true });
    rmSync(aside, { recursive: true });
  }

  /** Leaves nothing free of the disk it was moved to. */
  fillDisk(): void {
    const ballast = openSync(join(this.directory, "ballast"), "w");
    const block = Buffer.alloc(64 * 1024, 1);
    try {
      for (;;) writeSync(ballast, block);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    } finally {
      closeSync(ballast);
    }
  }

  freeDisk(): void {
    rmSync(join(this.directory, "ballast"));
  }

  async isHealthy(): Promise<boolean> {
    try {
      return (await fetch(`${this.clientUrl}/health`, { signal: AbortSignal.timeout(2000) })).status === 200;
    } catch {
      return false;
    }
  }

  async untilHealthy(): Promise<void> {
    await until(`${this.name} is healthy`, () => this.isHealthy());
  }

  /** Rejects with RpcError, after two seconds at most. */
  status(): Promise<StatusResponse> {
    return this.calls.unary(
      "etcdserverpb.Maintenance/Status",
      StatusRequest,
      StatusResponse,
      {},
      { deadlineMs: performance.now() + 2000 },
    );
  }

  /** Asks it the first time, and waits for the answer if it is just starting. */
  async id(): Promise<bigint> {
    if (this.#id === null) {
      await until(`${this.name} tells its id`, async () => {
        const status = await this.status().catch(() => null);
        this.#id = status === null ? null : status.header!.memberId;
        return this.#id !== null;
      });
    }
    return this.#id!;
  }

  async dispose(): Promise<void> {
    this.calls.close();
    if (this.isRunning) await this.end("SIGKILL");
    if (this.#isDiskLimited) execFileSync("umount", [this.directory]);
  }
}

/** Whether file systems can be mounted here; says so loudly where not. */
export function hasMounts(): boolean {
  const directory = mkdtempSync(join(tmpdir(), "quorate-mount-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", directory], { stdio: "pipe" });
    execFileSync("umount", [directory]);
    return true;
  } catch (error) {
    console.error(`\n*** SKIPPED: no file systems can be mounted here, a full disk was not tested: ${error} ***\n`);
    return false;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

interface Change {
  /** A claim that becomes true. */
  readonly name: string;
  ask(calls: Calls, options: CallOptions): Promise<readonly Member[]>;
  isDone(members: readonly Member[]): boolean;
  /** Not to be asked. */
  readonly except?: ClusterMember;
}

/** Waits for a claim to become true; throws with it if that takes too long. */
export async function until(
  claim: string,
  isTrue: () => boolean | Promise<boolean>,
  withinMs: number = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await isTrue())) {
    if (performance.now() > deadline) throw new Error(`waited ${withinMs} ms in vain until ${claim}`);
    await sleep(20);
  }
}
