/**
 * How the process ends: what it refuses at start and with which words and exit code, that refusing touches nothing, and
 * how signals, a full disk and damaged files are met.
 *
 * covers: WA-02, WA-10, WA-14, WA-17, SA-06
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import {
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { isInstalled, type ProcessEnd, runQuorate, ServerProcess, sleep } from "./harness/processes.ts";
import { Calls, send } from "./harness/rpc.ts";

describe("the process", () => {
  const root = mkdtempSync(join(tmpdir(), "quorate-refusals-"));
  const running: Set<ServerProcess> = new Set();

  after(async () => {
    for (const server of running) await server.dispose();
    rmSync(root, { recursive: true, force: true });
  });

  async function start(options: Parameters<typeof ServerProcess.quorate>[0] = {}): Promise<ServerProcess> {
    const server = await ServerProcess.quorate(options);
    running.add(server);
    return server;
  }

  /** Flags for a member of its own, in `directory`/data. */
  async function flags(directory: string): Promise<string[]> {
    const client = `http://127.0.0.1:${await freePort()}`;
    const peer = `http://127.0.0.1:${await freePort()}`;
    return [
      `--data-dir=${directory}/data`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
    ];
  }

  async function serve(args: readonly string[], environment: Record<string, string> = {}): Promise<ProcessEnd> {
    return runQuorate(["serve", ...args], { environment, cwd: root });
  }

  /** The start was refused: exit 1, and the reason in the field `error` of the last line. */
  function reasonOf(end: ProcessEnd, message = "discovery failed"): string {
    assert.equal(end.code, 1, end.stderr);
    const line = JSON.parse(end.stderr.trimEnd().split("\n").at(-1)!) as { msg: string; error: string; level: string };
    assert.equal(line.msg, message);
    assert.equal(line.level, message === "discovery failed" ? "fatal" : "warn");
    assert.ok(!line.error.includes("\n"), "one line");
    return line.error;
  }

  describe("bad arguments", () => {
    it("an unknown flag exits 2 with etcd's words and the usage", async () => {
      const { code, stderr } = await serve(["--no-such-flag"]);
      assert.equal(code, 2);
      assert.match(stderr, /^flag provided but not defined: -no-such-flag\nUsage:\n/);
    });

    it("a value that cannot be parsed exits 2", async () => {
      for (const [args, complaint] of [
        [["--heartbeat-interval=soon"], 'invalid value "soon" for flag -heartbeat-interval: parse error'],
        [["--pre-vote=maybe"], 'invalid boolean value "maybe" for -pre-vote: parse error'],
        [["--initial-cluster-state=old"], 'invalid value "old" for flag -initial-cluster-state: invalid value'],
        [["--grpc-keepalive-timeout=5 s"], 'invalid value "5 s" for flag -grpc-keepalive-timeout: parse error'],
        [["--data-dir"], "flag needs an argument: -data-dir"],
      ] as const) {
        const { code, stderr } = await serve(args);
        assert.equal(code, 2, args.join(" "));
        assert.equal(stderr.split("\n")[0], complaint);
      }
    });

    it("a stray argument exits 1", async () => {
      assert.equal(reasonOf(await serve(["stray"]), "failed to verify flags"), '"stray" is not a valid flag');
    });

    it("flags that contradict each other exit 1 with etcd's words", async () => {
      const refused = async (...args: string[]): Promise<string> =>
        reasonOf(await serve(args), "failed to verify flags");
      assert.equal(
        await refused("--listen-client-urls=http://127.0.0.1:1"),
        "--advertise-client-urls is required when --listen-client-urls is set explicitly",
      );
      assert.equal(
        await refused("--heartbeat-interval=100", "--election-timeout=200"),
        "--election-timeout[200ms] should be at least as 5 times as --heartbeat-interval[100ms]",
      );
      assert.equal(
        await refused("--listen-peer-urls=http://example.com:2380"),
        "expected IP in URL for binding (http://example.com:2380)",
      );
      assert.match(
        await refused("--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://127.0.0.1:1"),
        /^TLS key\/cert \(--cert-file, --key-file\) must be provided for client url https:\/\/127\.0\.0\.1:1 with HTTPS scheme$/,
      );
    });

    it("a flag whose effect is not built yet is refused, not ignored", async () => {
      assert.equal(
        reasonOf(await serve(["--unsafe-no-fsync"]), "failed to verify flags"),
        "--unsafe-no-fsync is not supported by this version of quorate",
      );
    });

    it("a setting both as flag and in the environment exits 1 and names the variable", async () => {
      const { code, stderr } = await serve(["--name=a"], { ETCD_NAME: "b" });
      assert.equal(code, 1);
      const line = JSON.parse(stderr.trimEnd().split("\n").at(-1)!) as Record<string, string>;
      assert.equal(line.level, "fatal");
      assert.match(line.msg!, /^conflicting environment variable is shadowed by corresponding command-line flag/);
      assert.equal(line["environment-variable"], "ETCD_NAME");
    });

    it("a bad variable exits 1", async () => {
      const { code, stderr } = await serve([], { ETCD_SNAPSHOT_COUNT: "many" });
      assert.equal(code, 1);
      assert.match(stderr, /invalid value \\"many\\" for ETCD_SNAPSHOT_COUNT: parse error/);
    });

    it("a Node that is too old exits 1 and says which it needs", async () => {
      const older = 'Object.defineProperty(process,"versions",{value:{...process.versions,node:"22.1.0"}})';
      const { code, stderr } = await runQuorate(["help"], {
        environment: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(older)}` },
      });
      assert.equal(code, 1);
      assert.match(stderr, /^quorate: needs Node 24 or newer; this is v\S+ \(npm start brings its own\)\n$/);
    });

    it("an unknown subcommand exits 2", async () => {
      assert.equal((await runQuorate(["sevre"])).code, 2);
    });
  });

  describe("help and version", () => {
    it("--help exits 0, usage on standard error and every flag on standard output", async () => {
      const { code, stdout, stderr } = await serve(["--help"]);
      assert.equal(code, 0);
      assert.match(stderr, /^Usage:/);
      for (const flag of ["data-dir", "listen-client-urls", "cert-file", "config-file"]) {
        assert.ok(stdout.includes(`--${flag} `), flag);
      }
    });

    it("--version names etcd's version and our own", async () => {
      const { code, stdout } = await serve(["--version"]);
      assert.equal(code, 0);
      const lines = stdout.trimEnd().split("\n");
      assert.equal(lines[0], "etcd Version: 3.7.1");
      assert.deepEqual(
        lines.map((line) => line.split(": ")[0]),
        ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch", "Quorate Version"],
      );
    });

    it("neither leaves anything behind", () => {
      assert.deepEqual(
        readdirSync(root).filter((name) => name !== "small"),
        [],
      );
    });
  });

  describe("where settings come from", () => {
    it("ETCD_* variables configure it and are logged, unknown ones are warned of", async () => {
      const client = await freePort();
      const peer = await freePort();
      const server = await start({
        ports: { client, peer },
        environment: { ETCD_MAX_TXN_OPS: "3", ETCD_NO_SUCH: "1" },
      });
      assert.match(server.log, /"recognized and used environment variable","variable-name":"ETCD_MAX_TXN_OPS"/);
      assert.match(server.log, /"unrecognized environment variable","environment-variable":"ETCD_NO_SUCH=1"/);
      await server.kill("SIGTERM");
    });

    it("a configuration file replaces flags and variables", async () => {
      const client = `http://127.0.0.1:${await freePort()}`;
      const peer = `http://127.0.0.1:${await freePort()}`;
      const file = join(root, "config.yaml");
      const directory = join(root, "by-file");
      writeFileSync(
        file,
        `name: filed\ndata-dir: ${directory}\nlisten-client-urls: ${client}\nadvertise-client-urls: ${client}\n` +
          `listen-peer-urls: ${peer}\ninitial-advertise-peer-urls: ${peer}\ninitial-cluster: filed=${peer}\n` +
          "grpc-keepalive-interval: 7200000000000\nlog-outputs: [stderr]\nno-such-key: 1\n",
      );
      const server = await start({
        ports: { client: Number(new URL(client).port), peer: Number(new URL(peer).port) },
        flags: [`--config-file=${file}`, "--name=ignored"],
        environment: { ETCD_NAME: "ignored-too" },
      });
      assert.match(server.log, /"name":"filed"/);
      assert.ok(existsSync(join(directory, "member/wal")));
      assert.deepEqual(readdirSync(server.directory), [], "the flag --data-dir was ignored");
      await server.kill("SIGTERM");
    });

    it("a configuration file that is missing, not YAML or wrong exits 1", async () => {
      const file = join(root, "bad.yaml");
      assert.match(
        reasonOf(await serve([`--config-file=${root}/none.yaml`]), "failed to verify flags"),
        /cannot read configuration file: ENOENT/,
      );
      writeFileSync(file, "name: [unclosed\n");
      assert.match(reasonOf(await serve([`--config-file=${file}`]), "failed to verify flags"), /configuration file/);
      writeFileSync(file, "grpc-keepalive-interval: 2h\n");
      assert.match(
        reasonOf(await serve([`--config-file=${file}`]), "failed to verify flags"),
        /grpc-keepalive-interval must be an integer of nanoseconds/,
      );
      writeFileSync(file, "listen-client-urls: ftp://127.0.0.1:1\n");
      assert.match((await serve([`--config-file=${file}`])).stderr, /unexpected error setting up listen-client-urls/);
    });
  });

  describe("data directories it must not use", () => {
    it("a place that cannot be written is named", async () => {
      const file = join(root, "a-file");
      writeFileSync(file, "");
      assert.match(
        reasonOf(await serve(await flags(file))),
        new RegExp(`^cannot .*${file}/data|ENOTDIR.*${file}/data`),
      );
      // Not even root may make directories here.
      assert.match(reasonOf(await serve(await flags("/proc"))), /\/proc\/data/);
      assert.equal(statSync(file).size, 0);
    });

    it("one in use by another process is refused with its id, and that process is unharmed", async () => {
      const server = await start();
      const calls = new Calls(server.ports.client);
      await put(calls, "a", "1");
      const reason = reasonOf(await serve(await flags(server.directory)));
      assert.match(reason, new RegExp(`data/member: it is in use by process ${server.child.pid}$`));
      assert.equal(await get(calls, "a"), "1");
      await put(calls, "a", "2");
      calls.close();
      await server.kill("SIGKILL");
      const again = await start({ directory: server.directory, ports: server.ports });
      const reader = new Calls(again.ports.client);
      assert.equal(await get(reader, "a"), "2");
      reader.close();
      await again.kill("SIGTERM");
    });

    it("etcd's own is refused untouched", { skip: !isInstalled("etcd") }, async () => {
      const etcd = await ServerProcess.etcd();
      const calls = new Calls(etcd.ports.client);
      await put(calls, "a", "1");
      calls.close();
      await etcd.kill("SIGTERM");
      const before = digest(join(etcd.directory, "data"));
      const reason = reasonOf(await serve(await flags(etcd.directory)));
      assert.match(reason, /is the data directory of an etcd member: it was not touched/);
      assert.deepEqual(digest(join(etcd.directory, "data")), before);
      await etcd.dispose();
    });

    it("one of another version is refused untouched, which the database says", async () => {
      const server = await start();
      await server.kill("SIGTERM");
      const member = join(server.directory, "data/member");
      const version = join(member, "db/version");
      const own = readFileSync(version);
      writeFileSync(version, own.toString().replace(/\d+/, "99"));
      const before = digest(member);
      const reason = reasonOf(await serve(await flags(server.directory)));
      assert.match(reason, /has format "quorate-storage 99"; this program reads "quorate-storage 1"/);
      assert.deepEqual(digest(member), before);
      writeFileSync(version, own);
    });

    it("a directory with strangers' files in it is used all the same", async () => {
      const directory = join(root, "strangers");
      mkdirSync(join(directory, "data/lost+found"), { recursive: true });
      writeFileSync(join(directory, "data/note.txt"), "hello");
      const server = await start({ directory });
      await server.kill("SIGTERM");
      assert.equal(readFileSync(join(directory, "data/note.txt"), "utf8"), "hello");
    });

    it("a directory is closed to other users, also one that was open to them", async () => {
      const open = join(root, "open");
      mkdirSync(join(open, "data"), { recursive: true, mode: 0o777 });
      chmodSync(join(open, "data"), 0o777);
      const server = await start({ directory: open });
      assert.equal(statSync(join(server.directory, "data")).mode & 0o777, 0o700);
      assert.equal(statSync(join(server.directory, "data/member")).mode & 0o777, 0o700);
      await server.kill("SIGTERM");
    });
  });

  describe("damaged logs", () => {
    let server: ServerProcess;
    let wal: string;

    before(async () => {
      server = await start();
      const calls = new Calls(server.ports.client);
      for (let i = 0; i < 50; i++) await put(calls, `k${i}`, "x".repeat(2000));
      calls.close();
      await server.kill("SIGKILL");
      const directory = join(server.directory, "data/member/wal");
      wal = join(
        directory,
        readdirSync(directory)
          .filter((name) => name.endsWith(".wal"))
          .sort()[0]!,
      );
    });

    it("a flipped byte in the middle is refused with file and offset, and nothing is changed", async () => {
      const at = 30_000;
      const byte = readAt(wal, at, 1)[0]!;
      writeAt(wal, at, Buffer.from([byte ^ 0x40]));
      const before = digest(join(server.directory, "data/member/wal"));
      const reason = reasonOf(await serve(await flags(server.directory)));
      assert.match(reason, new RegExp(`^log is corrupt: ${wal} at offset \\d+: `));
      assert.deepEqual(digest(join(server.directory, "data/member/wal")), before);
      writeAt(wal, at, Buffer.from([byte]));
    });

    it("a zeroed stretch in the middle is refused, not taken for the end", async () => {
      const at = 20_480;
      const bytes = readAt(wal, at, 8192);
      writeAt(wal, at, Buffer.alloc(8192));
      const reason = reasonOf(await serve(await flags(server.directory)));
      assert.match(reason, new RegExp(`^log is corrupt: ${wal} at offset \\d+: `));
      writeAt(wal, at, bytes);
    });

    it("mended, it starts with everything that was acknowledged", async () => {
      const again = await start({ directory: server.directory, ports: server.ports });
      const calls = new Calls(again.ports.client);
      for (let i = 0; i < 50; i++) assert.equal((await get(calls, `k${i}`))?.length, 2000, `k${i}`);
      calls.close();
      await again.kill("SIGTERM");
    });
  });

  describe("ports in use", () => {
    it("are refused with the address, before anything is served", async () => {
      const other = createServer();
      await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
      const { port } = other.address() as { port: number };
      const args = (await flags(join(root, "port"))).map((flag) =>
        flag.startsWith("--listen-client-urls") ? `--listen-client-urls=http://127.0.0.1:${port}` : flag,
      );
      const reason = reasonOf(await serve(args));
      assert.equal(reason, `listen tcp 127.0.0.1:${port}: bind: address already in use`);
      assert.ok(!existsSync(join(root, "port")), "the data directory was not touched");
      other.close();
    });

    it("so is an address that this machine does not have", async () => {
      const args = (await flags(join(root, "port"))).map((flag) =>
        flag.startsWith("--listen-client-urls") ? "--listen-client-urls=http://192.0.2.1:2379" : flag,
      );
      assert.equal(reasonOf(await serve(args)), "listen tcp 192.0.2.1:2379: bind: cannot assign requested address");
    });
  });

  describe("signals", () => {
    it("SIGTERM and SIGINT end it by that signal within 2 seconds, also with open watches, and lose nothing", async () => {
      for (const signal of ["SIGTERM", "SIGINT"] as const) {
        const server = await start();
        const calls = new Calls(server.ports.client);
        const ended: unknown[] = [];
        for (let i = 0; i < 20; i++) {
          const call = calls.stream(
            "etcdserverpb.Watch/Watch",
            WatchResponse,
            () => {},
            (error) => ended.push(error),
          );
          send(call, WatchRequest, { createRequest: { key: Buffer.from("a") } });
        }
        await put(calls, "a", signal);
        const startedMs = Date.now();
        assert.equal(await server.kill(signal), signal);
        assert.ok(Date.now() - startedMs < 2000, `took ${Date.now() - startedMs} ms`);
        await sleep(50);
        assert.equal(ended.length, 20, "every watch was told");
        calls.close();
        const again = await start({ directory: server.directory, ports: server.ports });
        const reader = new Calls(again.ports.client);
        assert.equal(await get(reader, "a"), signal);
        reader.close();
        await again.kill("SIGKILL");
      }
    });

    it("SIGTERM right after the start ends it too, whenever it comes", async () => {
      const directory = join(root, "early");
      mkdirSync(directory);
      const ports = { client: await freePort(), peer: await freePort() };
      for (const delayMs of [0, 60, 120, 180, 240, 300]) {
        const server = await start({ directory, ports, waitUntilReady: false });
        await sleep(delayMs);
        const startedMs = Date.now();
        assert.equal(await server.kill("SIGTERM"), "SIGTERM", `after ${delayMs} ms`);
        assert.ok(Date.now() - startedMs < 2000, `after ${delayMs} ms it took ${Date.now() - startedMs} ms`);
      }
    });

    it("it logs that it is ready, and why it stops", async () => {
      const server = await start();
      await server.kill("SIGTERM");
      assert.match(server.log, /"msg":"ready to serve client requests"/);
      assert.match(server.log, /"msg":"received signal; shutting down","signal":"terminated"/);
      for (const line of server.log.trimEnd().split("\n")) {
        const { level, ts, msg } = JSON.parse(line) as Record<string, string>;
        assert.ok(["debug", "info", "warn"].includes(level!), line);
        assert.match(ts!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
        assert.ok(msg !== undefined);
      }
    });
  });

  describe("a full disk", () => {
    const mount = join(root, "small");
    const isMounted = mountSmall(mount, "192m");
    after(() => {
      if (isMounted) execFileSync("umount", ["-l", mount]);
    });

    it("ends the process with a reason, and loses nothing once there is room", { skip: !isMounted }, async () => {
      const server = await start({ directory: mount });
      const acknowledged: string[] = [];
      const value = "x".repeat(500_000);
      const calls = new Calls(server.ports.client);
      await fillExcept(mount, 24 * 1024 * 1024);
      for (let i = 0; ; i++) {
        assert.ok(i < 1000, "the disk never filled");
        try {
          await put(calls, `full/${i}`, value);
          acknowledged.push(`full/${i}`);
        } catch {
          break;
        }
      }
      assert.equal(await server.exited(), 1, server.log.slice(-2000));
      assert.match(server.log, /"level":"fatal".*no space left/i);
      calls.close();

      const ports = server.ports;
      const stillFull = await runQuorate(["serve", ...(await flags(mount))]);
      assert.notEqual(stillFull.code, 0);

      rmSync(join(mount, "ballast"));
      const again = await start({ directory: mount, ports });
      const reader = new Calls(again.ports.client);
      for (const key of acknowledged) assert.equal((await get(reader, key))?.length, value.length, key);
      await put(reader, "after", "1");
      reader.close();
      await again.kill("SIGTERM");
    });
  });
});

async function put(calls: Calls, key: string, value: string): Promise<void> {
  const request = { key: Buffer.from(key), value: Buffer.from(value) };
  await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, request);
}

async function get(calls: Calls, key: string): Promise<string | undefined> {
  const request = { key: Buffer.from(key) };
  const { kvs } = await calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, request);
  return kvs[0] === undefined ? undefined : Buffer.from(kvs[0].value).toString();
}

/** Names and contents of everything below a directory, but for the lock that even a refused start takes and gives back. */
function digest(directory: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name === "db-lock") continue;
    const path = join(entry.parentPath, entry.name);
    found[path] = createHash("sha256").update(readFileSync(path)).digest("hex");
  }
  return found;
}

function readAt(path: string, at: number, length: number): Buffer {
  const file = openSync(path, "r");
  const bytes = Buffer.alloc(length);
  readSync(file, bytes, 0, length, at);
  closeSync(file);
  return bytes;
}

function writeAt(path: string, at: number, bytes: Buffer): void {
  const file = openSync(path, "r+");
  writeSync(file, bytes, 0, bytes.length, at);
  closeSync(file);
}

/** A small file system of its own; false, and said so, where that is not allowed. */
function mountSmall(directory: string, size: string): boolean {
  mkdirSync(directory);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", directory], { stdio: "pipe" });
    return true;
  } catch {
    console.error("\n*** SKIPPED: file systems cannot be mounted here; what a full disk does was not tested ***\n");
    return false;
  }
}

/** Leaves about `spareBytes` free. */
async function fillExcept(directory: string, spareBytes: number): Promise<void> {
  const chunk = Buffer.alloc(1024 * 1024);
  const file = openSync(join(directory, "ballast"), "w");
  const free = (): number =>
    Number(execFileSync("df", ["--output=avail", "-B1", directory]).toString().trim().split("\n").at(-1));
  while (free() > spareBytes) writeSync(file, chunk);
  closeSync(file);
}
