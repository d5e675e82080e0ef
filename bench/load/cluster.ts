/**
 * Three members of one server as child processes, with its default timings: started, told apart by who leads, killed,
 * stopped, brought back, wiped and added anew. The same for both servers.
 */
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "../../packages/server/src/testing/ports.ts";
import { callOnce } from "./call-once.ts";
import { sleep } from "./closed-loop.ts";
import { type MemberStatus, memberStatus } from "./member-status.ts";
import { memberAddRequest, memberRemoveRequest, PATHS } from "./requests.ts";
import { answers, cpuSecondsOf, dataRoot, type ServerKind, spawnServer } from "./servers.ts";

const MEMBERS = 3;
const READY_MS = 60_000;
const POLL_MS = 10;
/** etcd refuses changes of members until its connections to all others have stood for a while (health interval, 5 s). */
const CHANGE_LIMIT_MS = 30_000;

export class ClusterMember {
  readonly name: string;
  readonly port: number;
  readonly peerPort: number;
  readonly directory: string;
  process: ChildProcess | null = null;

  constructor(name: string, port: number, peerPort: number, directory: string) {
    this.name = name;
    this.port = port;
    this.peerPort = peerPort;
    this.directory = directory;
  }

  get peerUrl(): string {
    return `http://127.0.0.1:${this.peerPort}`;
  }

  status(): Promise<MemberStatus> {
    return memberStatus(this.port);
  }

  /** Sends the signal; resolves when the process has ended. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.process;
    if (child === null) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    const stuck = setTimeout(() => child.kill("SIGKILL"), 15_000);
    await exited;
    clearTimeout(stuck);
    this.process = null;
  }
}

export class MeasuredCluster {
  readonly kind: ServerKind;
  readonly members: readonly ClusterMember[];
  readonly #directory: string;

  private constructor(kind: ServerKind, members: readonly ClusterMember[], directory: string) {
    this.kind = kind;
    this.members = members;
    this.#directory = directory;
  }

  /** All members serve when this resolves. */
  static async start(kind: ServerKind): Promise<MeasuredCluster> {
    const directory = mkdtempSync(join(dataRoot(), `bench-${kind}-`));
    const members: ClusterMember[] = [];
    for (let i = 1; i <= MEMBERS; i++) {
      members.push(new ClusterMember(`m${i}`, await freePort(), await freePort(), join(directory, `m${i}`)));
    }
    const cluster = new MeasuredCluster(kind, members, directory);
    try {
      for (const member of members) cluster.spawn(member, "new");
      for (const member of members) await cluster.untilReady(member);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /** Starts the member's process and does not wait for it. */
  spawn(member: ClusterMember, state: "new" | "existing" = "existing"): void {
    const client = `http://127.0.0.1:${member.port}`;
    member.process = spawnServer(this.kind, [
      `--name=${member.name}`,
      `--data-dir=${member.directory}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${member.peerUrl}`,
      `--initial-advertise-peer-urls=${member.peerUrl}`,
      `--initial-cluster=${this.members.map((each) => `${each.name}=${each.peerUrl}`).join(",")}`,
      `--initial-cluster-state=${state}`,
      "--quota-backend-bytes=8589934592",
      "--log-level=error",
    ]);
  }

  async untilReady(member: ClusterMember): Promise<void> {
    const deadlineMs = performance.now() + READY_MS;
    while (!(await answers(member.port))) {
      const { exitCode, signalCode } = member.process!;
      if (exitCode !== null || signalCode !== null) {
        throw new Error(`${this.kind} ${member.name} ended with ${exitCode ?? signalCode} before it was ready`);
      }
      if (performance.now() > deadlineMs) throw new Error(`${this.kind} ${member.name} is not ready`);
      await sleep(POLL_MS);
    }
  }

  /** Waits for one if an election is under way. */
  async leader(): Promise<ClusterMember> {
    const deadlineMs = performance.now() + READY_MS;
    while (performance.now() < deadlineMs) {
      for (const member of this.members) {
        const status = member.process === null ? null : await member.status().catch(() => null);
        if (status !== null && status.leader === status.memberId) return member;
      }
      await sleep(POLL_MS);
    }
    throw new Error(`${this.kind}: no leader`);
  }

  async aFollower(): Promise<ClusterMember> {
    const leader = await this.leader();
    return this.members.find((member) => member !== leader)!;
  }

  /** Stops the member, takes it out, forgets its data and adds it anew. It does not run yet. */
  async replace(member: ClusterMember): Promise<void> {
    const { memberId } = await member.status();
    await member.end("SIGTERM");
    const leader = await this.leader();
    await this.#change(leader.port, PATHS.memberRemove, memberRemoveRequest(memberId));
    rmSync(member.directory, { recursive: true });
    await this.#change(leader.port, PATHS.memberAdd, memberAddRequest(member.peerUrl));
  }

  /** CPU of all members so far. */
  cpuSeconds(): number {
    return this.members.reduce((sum, { process }) => sum + (process === null ? 0 : cpuSecondsOf(process.pid!)), 0);
  }

  /** SIGTERM to all, and the data is removed. */
  async stop(): Promise<void> {
    await Promise.all(this.members.map((member) => member.end("SIGTERM")));
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #change(port: number, path: string, message: Buffer): Promise<void> {
    const deadlineMs = performance.now() + CHANGE_LIMIT_MS;
    for (;;) {
      try {
        await callOnce(port, path, message);
        return;
      } catch (error) {
        if (performance.now() > deadlineMs) throw new Error(`${this.kind} refuses the change`, { cause: error });
        await sleep(200);
      }
    }
  }
}
