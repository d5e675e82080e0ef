/**
 * `quorate cluster up` and `quorate cluster status` as a user runs them: real processes, looked at through what they print
 * and how they end. What takes several members runs on etcd too, which shows that the commands know no more of a member
 * than its flags, its log and its API.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { PutRequest, PutResponse, RangeRequest, RangeResponse } from "@quorate/api/messages";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { isInstalled, runQuorate, sleep } from "./harness/processes.ts";
import { Calls } from "./harness/rpc.ts";

const MAIN = join(import.meta.dirname, "../packages/cli/src/main.ts");
const ETCD = process.env.ETCD ?? "etcd";
const PATIENCE_MS = 30_000;

/** `quorate cluster up` while it runs. */
class Up {
  readonly child: ChildProcess;
  output = "";
  #hasEnded = false;
  readonly ended: Promise<number | string>;

  constructor(directory: string, args: readonly string[]) {
    this.child = spawn(process.execPath, [MAIN, "cluster", "up", `--data-dir=${directory}`, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        this.output += chunk;
      });
    }
    this.ended = new Promise((resolve) => {
      this.child.once("close", (code, signal) => {
        this.#hasEnded = true;
        resolve(code ?? signal!);
      });
    });
    started.push(this);
  }

  /** Ends it and its members in whatever way. */
  async dispose(): Promise<void> {
    this.child.kill("SIGKILL");
    for (const pid of this.pids()) killIfRunning(pid);
    await this.ended;
  }

  /** Process ids of all members that were ever ready, the latest last. */
  pids(name = "m\\d+"): number[] {
    return [...this.output.matchAll(new RegExp(`^${name} +\\| is ready on .*, pid (\\d+)$`, "gm"))].map((match) =>
      Number(match[1]),
    );
  }

  get endpoints(): string {
    return /export ETCDCTL_ENDPOINTS=(\S+)/.exec(this.output)![1]!;
  }

  get firstPort(): number {
    return Number(/:(\d+)/.exec(this.endpoints)![1]);
  }

  /** Throws with all that was printed if it ends first or takes too long. */
  async until(printed: RegExp): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    while (!printed.test(this.output)) {
      if (this.#hasEnded || Date.now() > deadline) throw new Error(`no ${printed} in:\n${this.output}`);
      await sleep(20);
    }
  }

  untilReady(): Promise<void> {
    return this.until(/etcdctl --endpoints=/);
  }

  end(signal: NodeJS.Signals): Promise<number | string> {
    this.child.kill(signal);
    return this.ended;
  }
}

const started: Up[] = [];

/** For clusters of this test; what runs when it ends is ended, then the directory removed. */
function freshDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "quorate-cluster-"));
  t.after(async () => {
    for (const up of started.splice(0)) await up.dispose();
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  });
  return join(directory, "c");
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Whether nobody listens there any more. */
function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

function killIfRunning(pid: number): void {
  if (isRunning(pid)) process.kill(pid, "SIGKILL");
}

test("a cluster stops with its command and comes back with its data and its ports", async (t) => {
  const directory = freshDirectory(t);
  const first = new Up(directory, ["--members=1", "--base-port=0"]);
  await first.untilReady();
  const { endpoints } = first;
  const calls = new Calls(first.firstPort);
  t.after(() => calls.close());
  const key = Buffer.from("k");
  await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, { key, value: Buffer.from("v") });
  assert.equal(await first.end("SIGINT"), 0);
  assert.match(first.output, /SIGINT: stopping all members\nm1 +\| stopped\n/);
  assert.equal(isRunning(first.pids()[0]!), false);

  const second = new Up(directory, []);
  await second.untilReady();
  assert.equal(second.endpoints, endpoints);
  const { kvs } = await calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, { key });
  assert.equal(Buffer.from(kvs[0]!.value).toString(), "v");
  assert.equal(await second.end("SIGTERM"), 0);
});

test("no member outlives a command that was killed", async (t) => {
  const up = new Up(freshDirectory(t), ["--members=1", "--base-port=0"]);
  await up.untilReady();
  const port = up.firstPort;
  await up.end("SIGKILL");
  // Not its process id: whoever inherits an orphan may take its time to bury it.
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await isFree(port)) && Date.now() < deadline) await sleep(20);
  assert.equal(await isFree(port), true);
});

test("a member that was killed is reported, and the command ends with the last of them", async (t) => {
  const up = new Up(freshDirectory(t), ["--members=1", "--base-port=0"]);
  await up.untilReady();
  process.kill(up.pids()[0]!, "SIGKILL");
  assert.equal(await up.ended, 1);
  assert.match(up.output, /m1 +\| ENDED: signal SIGKILL\. 0 of 1 run, 1 are needed/);
  assert.match(up.output, /no member is left/);
});

test("with --restart a member that was killed comes back", async (t) => {
  const up = new Up(freshDirectory(t), ["--members=1", "--base-port=0", "--restart"]);
  await up.untilReady();
  process.kill(up.pids()[0]!, "SIGKILL");
  await up.until(/is started again in 1 s\n(?:.*\n)*.*is ready on/);
  const [before, after] = up.pids();
  assert.notEqual(before, after);
  assert.equal(await up.end("SIGTERM"), 0);
});

test("a member that cannot start ends the command, and what it said is shown", async (t) => {
  const up = new Up(freshDirectory(t), ["--members=1", "--base-port=0", "--", "--frobnicate"]);
  assert.equal(await up.ended, 1);
  assert.match(up.output, /m1 +\| flag provided but not defined: -frobnicate/);
  assert.match(up.output, /m1 +\| ENDED before the cluster was ready: exit code 2/);
});

test("a program that cannot be started is named, and nobody else is stopped for it", async (t) => {
  const up = new Up(freshDirectory(t), ["--base-port=0", "--server=/nonexistent/server"]);
  assert.equal(await up.ended, 1);
  assert.match(up.output, /m1 +\| ENDED before the cluster was ready: spawn \/nonexistent\/server ENOENT/);
  // A signal to the process group would have come back to the command.
  assert.doesNotMatch(up.output, /SIGTERM/);
});

test("a taken port is named with the flag that changes it, and nothing is left behind", async (t) => {
  const directory = freshDirectory(t);
  const taken = createServer();
  const port = await new Promise<number>((resolve) => {
    taken.listen(0, "127.0.0.1", () => resolve((taken.address() as { port: number }).port));
  });
  t.after(() => taken.close());
  const end = await runQuorate(["cluster", "up", "--members=1", `--base-port=${port}`, `--data-dir=${directory}`]);
  assert.equal(end.code, 1);
  assert.match(end.stderr, new RegExp(`port ${port} \\(m1, for clients\\) is taken`));
  assert.match(end.stderr, /--base-port/);
  assert.equal(existsSync(directory), false);
});

test("arguments that make no sense end with 2 and name what is wrong", async () => {
  for (const [args, complaint] of [
    [["frob"], /unknown command "frob"/],
    [["up", "--members=8"], /--members must be a whole number from 1 to 7, not "8"/],
    [["up", "--base-port=x"], /--base-port must be a whole number/],
    [["up", "--frob"], /Unknown option '--frob'/],
    [["up", "stray"], /Unexpected argument 'stray'/],
    [["up", "--", "--name=x"], /--name differs from member to member/],
    [["up", "--", "--auto-tls"], /--auto-tls would be of no effect/],
    [["status", "-w", "xml"], /--write-out must be table or json, not "xml"/],
    [["status", "--endpoints=unix://x"], /only http and https endpoints/],
    [["status", "--cacert=/nowhere"], /--cacert: ENOENT/],
    [["status", "--user=root"], /--user needs a password/],
  ] as const) {
    const end = await runQuorate(["cluster", ...args]);
    assert.equal(end.code, 2, args.join(" "));
    assert.match(end.stderr, complaint);
  }
  for (const args of [["--help"], ["up", "--help"], ["status", "-h"]]) {
    const end = await runQuorate(["cluster", ...args]);
    assert.equal(end.code, 0);
    assert.match(end.stdout, /^Usage:/);
  }
});

test("a cluster where nobody answers is down", async () => {
  const end = await runQuorate(["cluster", "status", `--endpoints=127.0.0.1:${await freePort()}`]);
  assert.equal(end.code, 2);
  assert.match(end.stdout, /DOWN: No endpoint answers: .*ECONNREFUSED/);
});

for (const [server, flags] of [
  ["quorate", []],
  ["etcd", [`--server=${ETCD}`]],
] as const) {
  test(`three members of ${server} are told healthy, degraded and down as they die`, async (t) => {
    if (server === "etcd" && !isInstalled(ETCD)) return t.skip(`${ETCD} is not installed`);
    const up = new Up(freshDirectory(t), ["--base-port=0", ...flags]);
    try {
      await up.untilReady();
    } catch (error) {
      if (!/clusters of several members are not supported/.test(up.output)) throw error;
      console.error(
        "\n*** SKIPPED: this version of quorate makes no clusters; the command was not tried on them ***\n",
      );
      return t.skip("no clusters");
    }
    const statusOf = (...more: string[]) => runQuorate(["cluster", "status", `--endpoints=${up.endpoints}`, ...more]);

    const well = await statusOf("-w", "json");
    assert.equal(well.code, 0, well.stdout);
    const { health, quorum, leader, members } = JSON.parse(well.stdout);
    assert.equal(health, "healthy");
    assert.deepEqual(quorum, { voters: 3, needed: 2, reachable: 3, survives: 1 });
    assert.deepEqual(
      members.map((member: { name: string }) => member.name),
      ["m1", "m2", "m3"],
    );
    const leading = members.find((member: { id: string }) => member.id === leader);
    assert.equal(leading.role, "leader");
    // Found through one of them as well.
    const one = await runQuorate(["cluster", "status", `--endpoints=${up.endpoints.split(",")[0]}`]);
    assert.match(one.stdout, new RegExp(`Everything is well: ${leading.name} leads 3 voting members; .*1 failure`));

    const [firstDead, secondDead] = ["m1", "m2", "m3"].filter((name) => name !== leading.name);
    process.kill(up.pids(firstDead)[0]!, "SIGKILL");
    await up.until(/2 of 3 run, the cluster goes on; one more loss stops it/);
    const degraded = await statusOf();
    assert.equal(degraded.code, 1, degraded.stdout);
    assert.match(degraded.stdout, new RegExp(`Degraded: ${firstDead} at .* does not answer: .*no further failure`));

    process.kill(up.pids(secondDead)[0]!, "SIGKILL");
    await up.until(/1 of 3 run, 2 are needed/);
    const down = await statusOf();
    assert.equal(down.code, 2, down.stdout);
    assert.match(down.stdout, /DOWN: Only 1 of 3 voting members answer; 2 are needed/);
    assert.equal(await up.end("SIGTERM"), 0, up.output);
    assert.match(up.output, new RegExp(`^${leading.name} +\\| stopped$`, "m"));
  });
}
