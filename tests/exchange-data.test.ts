/**
 * Members that change programs and stay who they are: an etcd's data directory becomes ours and ours becomes an etcd's, with
 * real processes on both sides. ETCD names the binary; Debian's 3.4 can be carried over, but nothing back to it, because
 * the cluster runs at a newer version by then.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { AlarmAction, AlarmType } from "@quorate/api";
import {
  AlarmRequest,
  AlarmResponse,
  AuthEnableRequest,
  AuthEnableResponse,
  AuthenticateRequest,
  AuthenticateResponse,
  AuthRoleAddRequest,
  AuthRoleAddResponse,
  AuthUserAddRequest,
  AuthUserAddResponse,
  AuthUserGrantRoleRequest,
  AuthUserGrantRoleResponse,
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  HashKVRequest,
  HashKVResponse,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
  MemberListRequest,
  MemberListResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
} from "@quorate/api/messages";
import type { CallOptions } from "@quorate/rpc";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { isInstalled, MAIN, runQuorate, ServerProcess, sleep } from "./harness/processes.ts";
import { Calls } from "./harness/rpc.ts";

const ETCD = process.env.ETCD ?? "etcd";
const version = isInstalled(ETCD) ? execFileSync(ETCD, ["--version"], { encoding: "utf8" }) : null;
/** Takes a member back, and stands beside ours in one cluster. */
const isRecent = version !== null && /etcd Version: 3\.([6-9]|\d\d)\./.test(version);
if (version !== null && !isRecent) {
  console.error("\n*** SKIPPED: this etcd is too old to take a member back; name a newer one with ETCD ***\n");
}

const root = mkdtempSync(join(tmpdir(), "exchange-data-"));
after(() => rmSync(root, { recursive: true, force: true }));

let directoryCount = 0;
function newDirectory(): string {
  directoryCount++;
  const directory = join(root, String(directoryCount));
  mkdirSync(directory);
  return directory;
}

/** A member's place: its addresses stay, its directories and programs come and go. */
class Place {
  readonly directory: string = newDirectory();
  readonly ports: { readonly client: number; readonly peer: number };
  readonly #flags: readonly string[];
  server: ServerProcess = null as never;
  calls: Calls = null as never;

  constructor(ports: Place["ports"], flags: readonly string[] = []) {
    this.ports = ports;
    this.#flags = flags;
  }

  static async make(flags: readonly string[] = []): Promise<Place> {
    return new Place({ client: await freePort(), peer: await freePort() }, flags);
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  async start(program: "etcd" | "quorate", name: string, flags: readonly string[] = []): Promise<void> {
    this.server = await ServerProcess[program]({
      directory: this.directory,
      ports: this.ports,
      flags: [`--data-dir=${this.path(name)}`, ...this.#flags, ...flags],
      waitUntilReady: false,
    });
    this.calls = new Calls(this.ports.client);
  }

  /** A member with alarms never calls itself healthy. */
  async untilListening(): Promise<void> {
    const { client } = this.ports;
    for (let tried = 0; tried < 1000; tried++) {
      const response = await fetch(`http://127.0.0.1:${client}/health?exclude=CORRUPT&exclude=NOSPACE`).catch(
        () => null,
      );
      if (response?.status === 200) return;
      await sleep(20);
    }
    throw new Error(`the server did not become ready; it wrote:\n${this.server.log}`);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    this.calls.close();
    await this.server.kill(signal);
  }

  async carry(direction: "import" | "export", from: string, to: string): Promise<string> {
    const { code, stdout, stderr } = await exchange(direction, this.path(from), this.path(to));
    assert.equal(code, 0, stderr);
    return stdout;
  }
}

function exchange(direction: "import" | "export", from: string, to: string, flags: readonly string[] = []) {
  return runQuorate(["utl", `${direction}-etcd`, from, `--data-dir=${to}`, ...flags]);
}

function put(calls: Calls, key: string, value: string, lease = 0n): Promise<PutResponse> {
  const request = { key: Buffer.from(key), value: Buffer.from(value), lease };
  return calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, request);
}

function range(calls: Calls, request: { revision?: number } = {}): Promise<RangeResponse> {
  const all = { key: Buffer.from([0]), rangeEnd: Buffer.from([0]) };
  return calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, { ...all, ...request });
}

function hashOf(calls: Calls): Promise<HashKVResponse> {
  return calls.unary("etcdserverpb.Maintenance/HashKV", HashKVRequest, HashKVResponse, {});
}

/** Everything that has to come over, as a client sees it. */
async function seen(calls: Calls, leaseId: bigint, oldRevision: number): Promise<object> {
  const [now, past, hash, lease, { members }] = await Promise.all([
    range(calls),
    range(calls, { revision: oldRevision }),
    hashOf(calls),
    calls.unary("etcdserverpb.Lease/LeaseTimeToLive", LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, {
      ID: leaseId,
      keys: true,
    }),
    calls.unary("etcdserverpb.Cluster/MemberList", MemberListRequest, MemberListResponse, { linearizable: true }),
  ]);
  const { clusterId, memberId, revision } = now.header!;
  return {
    clusterId,
    memberId,
    revision,
    now: now.kvs,
    past: past.kvs,
    hash: hash.hash,
    compactRevision: hash.compactRevision,
    grantedTTL: lease.grantedTTL,
    leaseKeys: lease.keys,
    isLeaseAlive: lease.TTL > 0,
    members,
  };
}

describe("a member that changes programs", { skip: version === null }, () => {
  test("keeps its identity, every revision, its leases and its hash, from etcd and back", async () => {
    const place = await Place.make();
    try {
      await place.start("etcd", "etcd");
      await place.server.untilReady();
      const { calls } = place;
      for (let i = 0; i < 30; i++) await put(calls, `key${i % 7}`, `value${i}`.repeat(i));
      await calls.unary("etcdserverpb.KV/DeleteRange", DeleteRangeRequest, DeleteRangeResponse, {
        key: Buffer.from("key3"),
      });
      const { ID } = await calls.unary("etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, LeaseGrantResponse, {
        TTL: 5000,
      });
      await put(calls, "leased", "by it", ID);
      await calls.unary("etcdserverpb.KV/Compact", CompactionRequest, CompactionResponse, {
        revision: 20,
        physical: true,
      });
      await put(calls, "key3", "again");
      const before = await seen(calls, ID, 25);
      await place.stop();

      assert.match(await place.carry("import", "etcd", "ours"), /^imported member [0-9a-f]+ of cluster [0-9a-f]+: /);
      await place.start("quorate", "ours");
      await place.server.untilReady();
      assert.deepEqual(await seen(place.calls, ID, 25), before);
      for (let i = 0; i < 10; i++) await put(place.calls, `key${i}`, "of ours");
      const between = await seen(place.calls, ID, 25);
      await place.stop();
      if (!isRecent) return;

      assert.match(await place.carry("export", "ours", "back"), /^exported member /);
      await place.start("etcd", "back");
      await place.server.untilReady();
      assert.deepEqual(await seen(place.calls, ID, 25), between);
      await put(place.calls, "more", "of etcd");
      await place.stop();
    } finally {
      await place.server.dispose();
    }
  });

  test("keeps its users with their passwords, its alarms, and is as closed as before", async () => {
    const place = await Place.make();
    const log = async (password: string): Promise<CallOptions> => {
      const request = { name: "root", password };
      const method = "etcdserverpb.Auth/Authenticate";
      const { token } = await place.calls.unary(method, AuthenticateRequest, AuthenticateResponse, request);
      return { metadata: [["token", token]] };
    };
    const alarm = (action: number, options?: CallOptions): Promise<AlarmResponse> => {
      const request = { action, memberID: 7n, alarm: AlarmType.CORRUPT };
      return place.calls.unary("etcdserverpb.Maintenance/Alarm", AlarmRequest, AlarmResponse, request, options);
    };
    const check = async (program: string): Promise<void> => {
      await assert.rejects(log("wrong"), /authentication failed, invalid user ID or password/, program);
      const asRoot = await log("secret");
      assert.deepEqual((await alarm(AlarmAction.GET, asRoot)).alarms, [{ memberID: 7n, alarm: AlarmType.CORRUPT }]);
      await assert.rejects(range(place.calls), /user name is empty/, program);
    };
    try {
      await place.start("etcd", "etcd");
      await place.server.untilReady();
      await alarm(AlarmAction.ACTIVATE);
      const { calls } = place;
      const user = { name: "root", password: "secret", options: { noPassword: false } };
      await calls.unary("etcdserverpb.Auth/UserAdd", AuthUserAddRequest, AuthUserAddResponse, user);
      await calls.unary("etcdserverpb.Auth/RoleAdd", AuthRoleAddRequest, AuthRoleAddResponse, { name: "root" });
      const granted = { user: "root", role: "root" };
      await calls.unary(
        "etcdserverpb.Auth/UserGrantRole",
        AuthUserGrantRoleRequest,
        AuthUserGrantRoleResponse,
        granted,
      );
      await calls.unary("etcdserverpb.Auth/AuthEnable", AuthEnableRequest, AuthEnableResponse, {});
      await check("etcd");
      await place.stop("SIGKILL");
      await place.carry("import", "etcd", "ours");
      await place.start("quorate", "ours");
      await place.untilListening();
      await check("ours");
      await place.stop();
      if (!isRecent) return;

      await place.carry("export", "ours", "back");
      await place.start("etcd", "back");
      await place.untilListening();
      await check("etcd again");
    } finally {
      await place.server.dispose();
    }
  });

  test("loses nothing that it acknowledged, whichever of the two was killed before its database had it", async () => {
    const place = await Place.make();
    const written = new Map<string, string>();
    const writeMany = async (name: string): Promise<void> => {
      await Promise.all(
        Array.from({ length: 300 }, async (_, i) => {
          await put(place.calls, `${name}${i}`, String(i));
          written.set(`${name}${i}`, String(i));
        }),
      );
    };
    const check = async (): Promise<void> => {
      const { kvs } = await range(place.calls);
      const found = new Map(kvs.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()]));
      assert.deepEqual(new Map([...found].sort()), new Map([...written].sort()));
    };
    try {
      // So it puts into its database what comes first, and no more.
      await place.start("etcd", "etcd", ["--backend-batch-interval=1h", "--backend-batch-limit=1000000"]);
      await place.server.untilReady();
      await writeMany("etcd");
      const hash = await hashOf(place.calls);
      await place.stop("SIGKILL");
      const [, applied, last] = /applied up to entry (\d+) of (\d+)/.exec(await place.carry("import", "etcd", "ours"))!;
      assert.ok(Number(last) - Number(applied) >= 300, `${applied} of ${last} were in the database`);
      await place.start("quorate", "ours", ["--backend-batch-interval=1h", "--backend-batch-limit=1000000"]);
      await place.server.untilReady();
      await check();
      assert.equal((await hashOf(place.calls)).hash, hash.hash);
      await writeMany("ours");
      const ourHash = await hashOf(place.calls);
      await place.stop("SIGKILL");
      if (!isRecent) return;

      await place.carry("export", "ours", "back");
      await place.start("etcd", "back");
      await place.server.untilReady();
      await check();
      assert.equal((await hashOf(place.calls)).hash, ourHash.hash);
    } finally {
      await place.server.dispose();
    }
  });

  test("takes its seat in a running cluster again, both ways, while clients write", { skip: !isRecent }, async () => {
    const places = await Promise.all([0, 1, 2].map(() => Place.make()));
    const urls = places.map(({ ports }, i) => `m${i}=http://127.0.0.1:${ports.peer}`).join(",");
    const flagsOf = (i: number): string[] => [
      `--name=m${i}`,
      `--initial-cluster=${urls}`,
      "--heartbeat-interval=50",
      "--election-timeout=500",
      "--snapshot-count=200",
    ];
    const moving = places[2]!;
    let isWriting = true;
    try {
      await Promise.all(places.map((place, i) => place.start("etcd", "etcd", flagsOf(i))));
      await Promise.all(places.map(({ server }) => server.untilReady()));
      const acknowledged: string[] = [];
      const writer = async (name: string, calls: Calls): Promise<void> => {
        for (let i = 0; isWriting; i++) {
          try {
            await put(calls, `${name}/${i}`, "value");
            acknowledged.push(`${name}/${i}`);
          } catch {
            await sleep(20); // While another leader is elected.
          }
        }
      };
      const writers = places.slice(0, 2).map(({ calls }, i) => writer(`writer${i}`, calls));
      const agree = async (): Promise<void> => {
        const { revision } = (await put(moving.calls, "agreed", String(acknowledged.length))).header!;
        const request = { revision };
        const hashes = await Promise.all(
          places.map(({ calls }) => {
            return untilAnswered(() =>
              calls.unary("etcdserverpb.Maintenance/HashKV", HashKVRequest, HashKVResponse, request),
            );
          }),
        );
        assert.deepEqual(new Set(hashes.map(({ hash }) => hash)).size, 1);
      };
      await sleep(300);
      const programs = ["etcd", "quorate", "etcd"] as const;
      for (const [at, name] of ["etcd", "ours", "back"].entries()) {
        if (at > 0) {
          const before = ["etcd", "ours"][at - 1]!;
          await moving.stop(at === 1 ? "SIGKILL" : "SIGTERM");
          await moving.carry(at === 1 ? "import" : "export", before, name);
          await moving.start(programs[at]!, name, flagsOf(2));
          await moving.server.untilReady();
        }
        await agree();
        await sleep(200);
      }
      isWriting = false;
      await Promise.all(writers);
      assert.ok(acknowledged.length > 100);
      const { kvs } = await range(moving.calls);
      const found = new Set(kvs.map(({ key }) => Buffer.from(key).toString()));
      assert.deepEqual(
        acknowledged.filter((key) => !found.has(key)),
        [],
      );
    } finally {
      isWriting = false;
      await Promise.all(places.map(({ server }) => server.dispose()));
    }
  });
});

/** Every file below, with what is in it. */
function fingerprint(directory: string): string[] {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return names.map(({ parentPath, name }) => {
    const path = join(parentPath, name);
    return `${path} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`;
  });
}

/** A follower may not have the revision yet. */
async function untilAnswered<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
  for (let tried = 0; ; tried++) {
    try {
      return await ask();
    } catch (error) {
      if (tried === 100) throw error;
      await sleep(20);
    }
  }
}

describe("what cannot be carried over", { skip: version === null }, () => {
  /** Of an etcd that took snapshots, stopped. */
  let stopped: Promise<string> | null = null;
  const etcdDirectory = (): Promise<string> => {
    stopped ??= (async () => {
      const place = await Place.make(["--snapshot-count=10"]);
      await place.start("etcd", "etcd");
      try {
        await place.server.untilReady();
        for (let i = 0; i < 35; i++) await put(place.calls, `key${i}`, "value".repeat(i * 10));
        await place.stop();
      } finally {
        await place.server.dispose();
      }
      return place.path("etcd");
    })();
    return stopped;
  };

  /** A copy of the stopped etcd's directory, and what a path in it leads to. */
  const copied = async (): Promise<{ directory: string; find: (parent: string, end: string) => string }> => {
    const directory = join(newDirectory(), "etcd");
    cpSync(await etcdDirectory(), directory, { recursive: true });
    const find = (parent: string, end: string): string => {
      const names = readdirSync(join(directory, "member", parent)).filter((name) => name.endsWith(end));
      return join(directory, "member", parent, names.sort()[names.length - 1]!);
    };
    return { directory, find };
  };

  const refused = async (directory: string, reason: RegExp, flags: readonly string[] = []): Promise<void> => {
    const parent = newDirectory();
    const { code, stdout, stderr } = await exchange("import", directory, join(parent, "ours"), flags);
    assert.equal(code, 1, stderr);
    assert.match(stderr, reason);
    assert.equal(stdout, "");
    assert.deepEqual(readdirSync(parent), [], "nothing is left behind");
  };

  const alter = (path: string, at: number): void => {
    const bytes = readFileSync(path);
    bytes[at] = bytes[at]! ^ 0x5a;
    writeFileSync(path, bytes);
  };

  test("a member that is about to stop is waited for", { skip: process.platform !== "linux" }, async () => {
    const place = await Place.make();
    try {
      await place.start("etcd", "etcd");
      await place.server.untilReady();
      const carried = place.carry("import", "etcd", "ours");
      await sleep(1500);
      await Promise.all([place.stop(), carried]);
      assert.match(await carried, /^imported member /);
    } finally {
      await place.server.dispose();
    }
  });

  // covers: WA-02
  test("a log with a damaged record is refused by file and offset", async () => {
    const { directory, find } = await copied();
    alter(find("wal", ".wal"), 600);
    await refused(directory, /\.wal is damaged at offset \d+: /);
  });

  test("a log that ends before what the database has applied is refused", async () => {
    const { directory, find } = await copied();
    const path = find("wal", ".wal");
    // Before the last mark, so that the database is of no use either.
    truncateSync(path, 4000);
    await refused(directory, /damaged|the log in .* ends at/);
  });

  test("a snapshot file that is cut short or altered is refused", async () => {
    for (const change of [(path: string) => truncateSync(path, 40), (path: string) => alter(path, 60)]) {
      const { directory, find } = await copied();
      change(find("snap", ".snap"));
      await refused(directory, /\.snap is damaged at offset 0: /);
    }
  });

  // covers: SN-09
  test("a database that is cut short, altered or missing is refused and not touched", async () => {
    const changes: readonly (readonly [RegExp, (path: string) => void])[] = [
      [/db is damaged at page \d+/, (path) => truncateSync(path, 9000)],
      [/db is damaged at page 0/, (path) => writeFileSync(path, Buffer.alloc(40_000))],
      [
        /damaged/,
        (path) => writeFileSync(path, Buffer.concat([readFileSync(path).subarray(0, 8192), Buffer.alloc(60_000, 1)])),
      ],
      [/no database in .* has come so far/, (path) => rmSync(path)],
    ];
    for (const [reason, change] of changes) {
      const { directory } = await copied();
      const path = join(directory, "member/snap/db");
      change(path);
      const bytes = existsSync(path) ? readFileSync(path) : null;
      await refused(directory, reason);
      if (bytes !== null) assert.equal(Buffer.compare(bytes, readFileSync(path)), 0);
    }
  });

  test("what is no data directory of the other program is refused", async () => {
    const directory = newDirectory();
    await refused(directory, /is not the data directory of an etcd member/);
    const { code, stderr } = await exchange("export", await etcdDirectory(), join(directory, "back"));
    assert.equal(code, 1);
    assert.match(stderr, /etcd member|no log/);
    assert.deepEqual(readdirSync(directory), []);
  });

  test("a directory with something in it is not written to", async () => {
    const target = newDirectory();
    writeFileSync(join(target, "something"), "precious");
    const { code, stderr } = await exchange("import", await etcdDirectory(), target);
    assert.equal(code, 1);
    assert.match(stderr, /^Error: data-dir ".*" not empty or could not be read\n$/);
    assert.deepEqual(readdirSync(target), ["something"]);
  });

  test("an empty directory is taken, what a killed attempt left is cleared away, and etcd's is only read", async () => {
    const source = await etcdDirectory();
    const before = fingerprint(source);
    const target = newDirectory();
    mkdirSync(`${target}/.unfinished/data/member`, { recursive: true });
    appendFileSync(`${target}/.unfinished/data/member/half`, "made");
    const walTarget = join(newDirectory(), "deep/wal");
    const { code, stderr } = await exchange("import", source, target, [`--wal-dir=${walTarget}`]);
    assert.equal(code, 0, stderr);
    assert.deepEqual(fingerprint(source), before);
    assert.deepEqual(readdirSync(target), ["member"]);
    assert.deepEqual(readdirSync(join(target, "member")), ["db"]);
    assert.ok(readdirSync(walTarget).some((name) => name.endsWith(".wal")));
  });

  // covers: WA-07
  test("an import that is killed leaves nothing that could be taken for a member, and is made again", async () => {
    const source = await etcdDirectory();
    const parent = newDirectory();
    const target = join(parent, "ours");
    let killed = 0;
    for (let delayMs = 60; !existsSync(target); delayMs *= 1.4) {
      const child = spawn(process.execPath, [MAIN, "utl", "import-etcd", source, `--data-dir=${target}`]);
      const ended = new Promise((resolve) => child.once("exit", resolve));
      await Promise.race([ended, sleep(delayMs)]);
      child.kill("SIGKILL");
      await ended;
      if (existsSync(target)) break;
      killed++;
      assert.deepEqual(
        readdirSync(parent).filter((name) => name !== "ours.unfinished"),
        [],
      );
    }
    assert.ok(killed > 1);
    assert.deepEqual(readdirSync(parent), ["ours"]);
    const { code, stderr } = await exchange("export", target, join(newDirectory(), "back"));
    assert.equal(code, 0, stderr);
  });

  test("a member that runs is refused, etcd's and ours", { skip: process.platform !== "linux" }, async () => {
    const place = await Place.make();
    try {
      await place.start("etcd", "etcd");
      await place.server.untilReady();
      await put(place.calls, "key", "value");
      await refused(place.path("etcd"), /is locked: an etcd is running on it, stop it first/, ["--timeout=1ms"]);
      await place.stop();
      await place.carry("import", "etcd", "ours");
      await place.start("quorate", "ours");
      await place.server.untilReady();
      const target = join(newDirectory(), "back");
      const { code, stderr } = await exchange("export", place.path("ours"), target, ["--timeout=1ms"]);
      assert.equal(code, 1);
      assert.match(stderr, /it is in use by process \d+/);
      assert.equal(existsSync(target), false);
    } finally {
      await place.server.dispose();
    }
  });
});
