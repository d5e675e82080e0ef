/**
 * Real processes for end-to-end tests: a Quorate member, and Debian's etcd where it is installed, each on ports of its own
 * and a fresh directory, gone when the test ends.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../packages/server/src/testing/ports.ts";

export const MAIN: string = join(import.meta.dirname, "../../packages/cli/src/main.ts");
const READY_MS = 20_000;

export interface StartOptions {
  /** Kept by the caller; a fresh one is made and removed otherwise. */
  readonly directory?: string;
  /** Of an earlier start, to come back under the same addresses. */
  readonly ports?: { readonly client: number; readonly peer: number };
  readonly flags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Default true: wait until /health says so. */
  readonly waitUntilReady?: boolean;
}

export class ServerProcess {
  readonly child: ChildProcess;
  readonly directory: string;
  readonly ports: { readonly client: number; readonly peer: number };
  readonly #ownsDirectory: boolean;
  #log = "";

  private constructor(
    child: ChildProcess,
    directory: string,
    ownsDirectory: boolean,
    ports: StartOptions["ports"] & {},
  ) {
    this.child = child;
    this.directory = directory;
    this.#ownsDirectory = ownsDirectory;
    this.ports = ports;
    child.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
      this.#log += chunk;
    });
  }

  static quorate(options: StartOptions = {}): Promise<ServerProcess> {
    return ServerProcess.#start(process.execPath, [MAIN, "serve"], options);
  }

  /** Debian's etcd, or the one that ETCD names. */
  static etcd(options: StartOptions = {}): Promise<ServerProcess> {
    return ServerProcess.#start(process.env.ETCD ?? "etcd", [], options);
  }

  static async #start(command: string, before: readonly string[], options: StartOptions): Promise<ServerProcess> {
    const directory = options.directory ?? mkdtempSync(join(tmpdir(), "quorate-test-"));
    const ports = options.ports ?? { client: await freePort(), peer: await freePort() };
    const client = `http://127.0.0.1:${ports.client}`;
    const peer = `http://127.0.0.1:${ports.peer}`;
    const flags = [
      `--data-dir=${directory}/data`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      ...(options.flags ?? []),
    ];
    const child = spawn(command, [...before, ...flags], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...options.environment },
    });
    const server = new ServerProcess(child, directory, options.directory === undefined, ports);
    if (options.waitUntilReady ?? true) {
      try {
        await server.untilReady();
      } catch (error) {
        // A process left behind would keep the test run from ending.
        await server.dispose();
        throw error;
      }
    }
    return server;
  }

  get endpoint(): string {
    return `127.0.0.1:${this.ports.client}`;
  }

  /** Everything it has written to standard error. */
  get log(): string {
    return this.#log;
  }

  async untilReady(): Promise<void> {
    const deadline = Date.now() + READY_MS;
    while (Date.now() < deadline) {
      if (this.child.exitCode !== null) break;
      try {
        const response = await fetch(`http://${this.endpoint}/health`);
        if (response.status === 200) return;
      } catch {
        // Not listening yet.
      }
      await sleep(10);
    }
    throw new Error(`the server did not become ready; it wrote:\n${this.#log}`);
  }

  /** Resolves with the exit code, or the signal's name. */
  exited(): Promise<number | string> {
    const { child } = this;
    if (child.exitCode !== null || child.signalCode !== null)
      return Promise.resolve(child.exitCode ?? child.signalCode!);
    return new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal!)));
  }

  /** Sends the signal and waits for the end; the directory stays. */
  async kill(signal: NodeJS.Signals): Promise<number | string> {
    const exited = this.exited();
    this.child.kill(signal);
    return exited;
  }

  /** Ends it in whatever way and removes the directory if it was made here. For `after` hooks. */
  async dispose(): Promise<void> {
    await this.kill("SIGKILL");
    if (this.#ownsDirectory) rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Whether a program can be run; says so loudly where it cannot, because a skipped comparison proves nothing. */
export function isInstalled(program: string, versionArgument = "--version"): boolean {
  try {
    execFileSync(program, [versionArgument], { stdio: "ignore" });
    return true;
  } catch {
    console.error(`\n*** SKIPPED: ${program} is not installed; tests that compare with it did not run ***\n`);
    return false;
  }
}

/** The minor version of the etcd that tests compare with, "3.4" for Debian's; "" where there is none. */
export function etcdVersion(): string {
  const program = process.env.ETCD ?? "etcd";
  if (!isInstalled(program)) return "";
  return /etcd Version: (\d+\.\d+)/.exec(execFileSync(program, ["--version"], { encoding: "utf8" }))?.[1] ?? "";
}

export interface ProcessEnd {
  /** Exit code, or the name of the signal that ended it. */
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `quorate` with exactly these arguments until it ends by itself; for refusals, help and versions. */
export function runQuorate(
  args: readonly string[],
  options: { readonly environment?: Readonly<Record<string, string>>; readonly cwd?: string } = {},
): Promise<ProcessEnd> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...options.environment },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    stderr += chunk;
  });
  // What should be refused but runs would hold the suite.
  const timer = setTimeout(() => child.kill("SIGKILL"), READY_MS);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code: code ?? signal!, stdout, stderr });
    });
  });
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
