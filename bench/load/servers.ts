/**
 * The two servers under measurement as child processes: started on a fresh or given data directory, watched until they
 * answer, asked for their CPU time and memory through /proc, and stopped.
 *
 * etcd is what `ETCD` names, else the `etcd` on PATH; Quorate is this checkout.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../packages/server/src/testing/ports.ts";

export type ServerKind = "etcd" | "quorate";

const ETCD = process.env.ETCD ?? "etcd";
const QUORATE = join(import.meta.dirname, "../../dist/quorate.js");
const CLOCK_TICKS_PER_SECOND = 100;

export class MeasuredServer {
  readonly kind: ServerKind;
  readonly port: number;
  readonly directory: string;
  /** From spawn to the first linearizable read answered. */
  readonly readyMs: number;
  readonly #process: ChildProcess;

  private constructor(kind: ServerKind, port: number, directory: string, readyMs: number, child: ChildProcess) {
    this.kind = kind;
    this.port = port;
    this.directory = directory;
    this.readyMs = readyMs;
    this.#process = child;
  }

  /**
   * A directory of one's own may be given to measure a restart; it is then not removed by {@link stop}. With TLS, HTTP/1.1
   * gets a port of its own, which makes etcd's gRPC four times faster and changes nothing for us.
   */
  static async start(
    kind: ServerKind,
    directory: string = mkdtempSync(join(dataRoot(), `bench-${kind}-`)),
    isTls = false,
  ): Promise<MeasuredServer> {
    const port = await freePort();
    const peerPort = await freePort();
    const httpPort = isTls ? await freePort() : port;
    const scheme = isTls ? "https" : "http";
    const flags = [
      `--data-dir=${directory}`,
      `--listen-client-urls=${scheme}://127.0.0.1:${port}`,
      `--advertise-client-urls=${scheme}://127.0.0.1:${port}`,
      ...(isTls ? tlsFlags(directory, httpPort) : []),
      `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-cluster=default=http://127.0.0.1:${peerPort}`,
      "--quota-backend-bytes=8589934592",
      "--log-level=error",
    ];
    const startedMs = performance.now();
    const child = spawnServer(kind, flags);
    for (;;) {
      if (child.exitCode !== null) throw new Error(`${kind} exited with ${child.exitCode} before it was ready`);
      if (await answers(httpPort)) break;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return new MeasuredServer(kind, port, directory, performance.now() - startedMs, child);
  }

  /** User and system seconds of all threads so far. */
  cpuSeconds(): number {
    return cpuSecondsOf(this.#process.pid!);
  }

  /** Resident memory, and the part of it that is not mapped files, in bytes. */
  memory(): { rssBytes: number; anonymousBytes: number } {
    const status = readFileSync(`/proc/${this.#process.pid}/status`, "utf8");
    const kilobytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
    return { rssBytes: kilobytes("VmRSS") * 1024, anonymousBytes: kilobytes("RssAnon") * 1024 };
  }

  /** SIGTERM and wait. */
  async stop(keepDirectory = false): Promise<void> {
    const exited = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGTERM");
    const stuck = setTimeout(() => this.#process.kill("SIGKILL"), 15_000);
    await exited;
    clearTimeout(stuck);
    if (!keepDirectory) rmSync(this.directory, { recursive: true, force: true });
  }
}

/** One process, with these flags alone. */
export function spawnServer(kind: ServerKind, flags: readonly string[]): ChildProcess {
  return kind === "etcd"
    ? spawn(ETCD, flags, { stdio: ["ignore", "ignore", "ignore"] })
    : spawn(process.execPath, [QUORATE, "serve", ...flags], { stdio: ["ignore", "ignore", "inherit"] });
}

/** User and system seconds of all threads of a process so far. */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
}

function tlsFlags(directory: string, httpPort: number): string[] {
  const [key, certificate] = [join(directory, "server.key"), join(directory, "server.crt")];
  const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const subject = ["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"];
  execFileSync("openssl", ["req", ...kind, "-keyout", key, "-out", certificate, ...subject], { stdio: "pipe" });
  const http = `--listen-client-http-urls=http://127.0.0.1:${httpPort}`;
  return [http, `--cert-file=${certificate}`, `--key-file=${key}`];
}

export function etcdVersion(): string {
  return execFileSync(ETCD, ["--version"], { encoding: "utf8" }).split("\n")[0]!.replace("etcd Version: ", "");
}

/** Where data directories go: a real disk. `/tmp` may be memory, on which fdatasync costs nothing. */
export function dataRoot(): string {
  const root = process.env.BENCH_DIR ?? tmpdir();
  readdirSync(root);
  return root;
}

/** Whether the server serves: it knows a leader and answers a linearizable read. */
export async function answers(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/health`);
    return response.status === 200;
  } catch {
    return false;
  }
}
