/**
 * A cluster on this machine under one command: starts the members, tells what happens to them in one stream of lines,
 * and ends them all.
 *
 *   starting ──all ready──▶ running ──signal──▶ stopping ──▶ over
 *      └─a member ends, or a signal──────────────▲
 *
 * A member that ends while starting ends the command: what is wrong (a flag, a port, a directory) is wrong for good. One
 * that ends later is reported, and comes back only with --restart: whoever kills a member wants to see what the others do.
 */
import { get } from "node:http";
import { MemberLines } from "./member-lines.ts";
import { type MemberEnd, MemberProcess } from "./member-process.ts";
import { type ClusterPlan, clientUrl, endpointsOf, flagsOf, type MemberPlan, OWN_FLAGS, writePlan } from "./plan.ts";

export interface LocalClusterOptions {
  readonly plan: ClusterPlan;
  readonly directory: string;
  /** The directory as the user would type it. */
  readonly shownDirectory: string;
  readonly program: string;
  /** Come before the member's flags. */
  readonly programArgs: readonly string[];
  /** For every member, after its own. */
  readonly serveFlags: readonly string[];
  readonly restarts: boolean;
  readonly isVerbose: boolean;
}

const STOP_GRACE_MS = 15_000;
const HEALTH_EVERY_MS = 100;
const HEALTH_LIMIT_MS = 2000;
const STILL_WAITING_EVERY_MS = 10_000;
const RESTART_LEAST_MS = 1000;
const RESTART_MOST_MS = 30_000;
/** A member that lived this long is restarted without having to wait longer than the first time. */
const LIVED_MS = 10_000;
const COLOURS = [36, 33, 35, 32, 34, 31, 96] as const;

interface Member {
  readonly plan: MemberPlan;
  readonly prefix: string;
  readonly lines: MemberLines;
  process: MemberProcess | null;
  startedMs: number;
  restartDelayMs: number;
  isReady: boolean;
}

export class LocalCluster {
  readonly #options: LocalClusterOptions;
  readonly #members: Member[];
  readonly #startedMs = performance.now();
  #state: "starting" | "running" | "stopping" = "starting";
  #exitCode = 0;
  readonly #over = Promise.withResolvers<void>();

  constructor(options: LocalClusterOptions) {
    this.#options = options;
    this.#members = options.plan.members.map((plan, i) => ({
      plan,
      prefix: prefixOf(plan.name, i),
      lines: new MemberLines(),
      process: null,
      startedMs: 0,
      restartDelayMs: RESTART_LEAST_MS,
      isReady: false,
    }));
  }

  /** Resolves with the exit code when every member has ended. */
  async run(): Promise<number> {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => this.#signalled(signal));
    // Whoever read our lines is gone (`| head`, a closed terminal): there is nobody to run a cluster for.
    process.stdout.on("error", () => this.#stop());
    const { plan, shownDirectory, serveFlags } = this.#options;
    const extra = serveFlags.length === 0 ? "" : ` with ${serveFlags.join(" ")}`;
    this.#say(
      `${plan.hasFormed ? "restarting" : "starting"} ${count(this.#members.length)} in ${shownDirectory}${extra}`,
    );
    for (const member of this.#members) this.#start(member);
    this.#sayWhileWaiting();
    await this.#over.promise;
    return this.#exitCode;
  }

  #start(member: Member): void {
    const { plan, directory, program, programArgs, serveFlags } = this.#options;
    const started = new MemberProcess({
      program,
      args: [...programArgs, ...flagsOf(plan, member.plan, directory), ...serveFlags],
      environment: environmentOfMembers(),
      onLine: (line) => this.#line(member, line),
      onEnd: (end) => this.#ended(member, started, end),
    });
    member.process = started;
    member.startedMs = performance.now();
    member.isReady = false;
    void this.#awaitReady(member, started);
  }

  async #awaitReady(member: Member, started: MemberProcess): Promise<void> {
    while (!(await isHealthy(member.plan))) {
      if (started.hasEnded || this.#state === "stopping") return;
      await new Promise((resolve) => setTimeout(resolve, HEALTH_EVERY_MS));
    }
    // Somebody else could answer on the port of a member that has ended.
    if (started.hasEnded || this.#state === "stopping") return;
    member.isReady = true;
    this.#tell(member, `is ready on ${clientUrl(member.plan)}, pid ${started.pid}`);
    if (this.#state === "starting" && this.#members.every((each) => each.isReady)) this.#formed();
  }

  #formed(): void {
    this.#state = "running";
    const { plan, directory, shownDirectory } = this.#options;
    if (!plan.hasFormed) writePlan(directory, { ...plan, hasFormed: true });
    const seconds = ((performance.now() - this.#startedMs) / 1000).toFixed(1);
    const endpoints = endpointsOf(plan);
    process.stdout.write(
      `\n${count(this.#members.length)} ready after ${seconds} s. Ctrl-C stops them; the data stays in ${shownDirectory}.\n\n` +
        `  export ETCDCTL_ENDPOINTS=${endpoints}\n` +
        `  etcdctl --endpoints=${endpoints} endpoint status -w table\n` +
        `  quorate cluster status --endpoints=${endpoints}\n\n`,
    );
  }

  #sayWhileWaiting(): void {
    const timer = setInterval(() => {
      const waiting = this.#members.filter((member) => !member.isReady).map((member) => member.plan.name);
      if (this.#state === "starting")
        this.#say(`still waiting for ${waiting.join(", ")}; --verbose shows all they log`);
      else clearInterval(timer);
    }, STILL_WAITING_EVERY_MS);
    timer.unref();
  }

  #line(member: Member, line: string): void {
    if (this.#options.isVerbose) {
      this.#tell(member, line);
      return;
    }
    const told = member.lines.read(line, performance.now());
    // What members say of each other while all of them go is true and of no use.
    if (told !== null && this.#state !== "stopping") this.#tell(member, this.#withNames(told));
  }

  #ended(member: Member, ended: MemberProcess, { reason, isClean }: MemberEnd): void {
    if (member.process !== ended) return;
    member.isReady = false;
    switch (this.#state) {
      case "starting":
        this.#tell(member, `ENDED before the cluster was ready: ${reason}`);
        this.#stop(1);
        break;
      case "running":
        this.#endedAlone(member, reason);
        break;
      case "stopping":
        this.#tell(member, isClean ? "stopped" : `ended: ${reason}`);
        if (!isClean) this.#exitCode = 1;
        break;
      default:
        this.#state satisfies never;
    }
    if (this.#members.every((each) => each.process!.hasEnded) && !this.#awaitsRestart()) {
      if (this.#state === "running") {
        this.#say("no member is left");
        this.#exitCode = 1;
      }
      this.#over.resolve();
    }
  }

  #endedAlone(member: Member, reason: string): void {
    this.#tell(member, `ENDED: ${reason}. ${this.#outlook()}`);
    if (!this.#options.restarts) return;
    const lived = performance.now() - member.startedMs > LIVED_MS;
    const delayMs = lived ? RESTART_LEAST_MS : member.restartDelayMs;
    member.restartDelayMs = Math.min(2 * delayMs, RESTART_MOST_MS);
    this.#tell(member, `is started again in ${delayMs / 1000} s`);
    setTimeout(() => {
      if (this.#state === "running") this.#start(member);
    }, delayMs);
  }

  #awaitsRestart(): boolean {
    return this.#options.restarts && this.#state === "running";
  }

  /** What the loss of a member means for the others. */
  #outlook(): string {
    const all = this.#members.length;
    const running = this.#members.filter((member) => !member.process!.hasEnded).length;
    const quorum = Math.floor(all / 2) + 1;
    if (running < quorum) {
      return `${running} of ${all} run, ${quorum} are needed: nothing can be written until one is back`;
    }
    const spare = running - quorum;
    const rest = spare === 0 ? "one more loss stops it" : `it survives ${spare} more`;
    return `${running} of ${all} run, the cluster goes on; ${rest}`;
  }

  #signalled(signal: NodeJS.Signals): void {
    if (this.#state !== "stopping") {
      this.#say(`${signal}: stopping all members`);
      this.#stop();
      return;
    }
    this.#say(`${signal} again: killing what still runs`);
    this.#exitCode = 1;
    for (const member of this.#members) member.process!.kill();
  }

  #stop(exitCode = 0): void {
    if (this.#state === "stopping") return;
    this.#state = "stopping";
    this.#exitCode = exitCode;
    for (const member of this.#members) {
      void member.process!.stop(STOP_GRACE_MS, () => {
        this.#tell(member, `DID NOT STOP within ${STOP_GRACE_MS / 1000} s: KILLED (SIGKILL)`);
      });
    }
    if (this.#members.every((member) => member.process!.hasEnded)) this.#over.resolve();
  }

  /** Members write of each other by id. */
  #withNames(text: string): string {
    let named = text;
    for (const { lines, plan } of this.#members) {
      if (lines.memberId !== null) named = named.replaceAll(lines.memberId, plan.name);
    }
    return named;
  }

  #tell(member: Member, text: string): void {
    process.stdout.write(`${member.prefix}${text}\n`);
  }

  #say(text: string): void {
    process.stdout.write(`cluster | ${text}\n`);
  }
}

function count(members: number): string {
  return members === 1 ? "1 member" : `${members} members`;
}

function prefixOf(name: string, i: number): string {
  const hasColour = process.stdout.isTTY === true && (process.env.NO_COLOR ?? "") === "";
  const padded = name.padEnd("cluster".length);
  return hasColour ? `\x1b[${COLOURS[i]}m${padded} |\x1b[0m ` : `${padded} | `;
}

/** A variable that repeats a flag ends a member at its start. The others are the user's to give to all members. */
function environmentOfMembers(): NodeJS.ProcessEnv {
  const environment = { ...process.env };
  for (const flag of OWN_FLAGS) delete environment[`ETCD_${flag.toUpperCase().replaceAll("-", "_")}`];
  return environment;
}

/** Whether the member knows a leader and reads go through. */
function isHealthy(member: MemberPlan): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get(`${clientUrl(member)}/health`, { agent: false, timeout: HEALTH_LIMIT_MS }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(false));
  });
}
