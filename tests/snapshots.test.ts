/**
 * Snapshots both ways with etcd: what either saves, either's tools restore, and the other serves, to the last revision, hash
 * and lease. With Debian's etcd and etcdctl; ETCD and ETCDUTL name others.
 *
 * covers: SN-10, SN-11, SN-12
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  HashKVRequest,
  HashKVResponse,
  type KeyValue,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseLeasesRequest,
  LeaseLeasesResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
  MemberListRequest,
  MemberListResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  SnapshotRequest,
  SnapshotResponse,
} from "@quorate/api/messages";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { isInstalled, type ProcessEnd, runQuorate, ServerProcess, sleep } from "./harness/processes.ts";
import { Calls, send } from "./harness/rpc.ts";

const ETCDUTL = process.env.ETCDUTL ?? "etcdutl";
const hasEtcd = isInstalled(process.env.ETCD ?? "etcd");
const hasEtcdctl = isInstalled("etcdctl", "version");
const hasEtcdutl = isInstalled(ETCDUTL, "version");

/** What must come through, one thing to a line so that a difference is read. */
interface Contents {
  readonly revision: number;
  readonly keys: readonly string[];
  readonly leases: readonly string[];
  readonly hash: number;
  readonly hashRevision: number;
  readonly compactRevision: number;
}

const directory = mkdtempSync(join(tmpdir(), "quorate-snapshots-"));
after(() => rmSync(directory, { recursive: true, force: true }));
let fileCount = 0;

function freshPath(name: string): string {
  return join(directory, `${name}-${++fileCount}`);
}

async function withCalls<Result>(server: ServerProcess, use: (calls: Calls) => Promise<Result>): Promise<Result> {
  const calls = new Calls(server.ports.client);
  try {
    return await use(calls);
  } finally {
    calls.close();
  }
}

/** Keys of several generations, tombstones before and at the compacted revision, leases, and a large value. */
async function fill(server: ServerProcess): Promise<void> {
  await withCalls(server, async (calls) => {
    const put = (key: string, value: string | Buffer, lease = 0n): Promise<PutResponse> =>
      calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, {
        key: Buffer.from(key),
        value: Buffer.from(value),
        lease,
      });
    const remove = (key: string): Promise<DeleteRangeResponse> =>
      calls.unary("etcdserverpb.KV/DeleteRange", DeleteRangeRequest, DeleteRangeResponse, { key: Buffer.from(key) });
    for (const [ID, TTL] of [
      [77n, 3000],
      [7_587_000_000_000_000_001n, 5000],
    ] as const) {
      await calls.unary("etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, LeaseGrantResponse, { ID, TTL });
    }
    for (let i = 0; i < 300; i++) await put(`key-${i % 100}`, `value ${i}`);
    await put("leased", "x", 77n);
    await put("large", Buffer.alloc(300_000, "l"));
    await put("gone for good", "x");
    await remove("gone for good");
    await put("comes back", "1");
    const { header } = await remove("comes back");
    await calls.unary("etcdserverpb.KV/Compact", CompactionRequest, CompactionResponse, {
      revision: header!.revision,
      physical: true,
    });
    await put("comes back", "2");
    await remove("key-7");
    for (let i = 0; i < 50; i++) await put(`key-${i}`, "after the compaction");
  });
}

async function contentsOf(server: ServerProcess, atRevision = 0): Promise<Contents> {
  return withCalls(server, async (calls) => {
    const range = await calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, {
      key: Buffer.from([0]),
      rangeEnd: Buffer.from([0]),
      revision: atRevision,
    });
    const hashed = await calls.unary("etcdserverpb.Maintenance/HashKV", HashKVRequest, HashKVResponse, {
      revision: atRevision,
    });
    const { leases } = await calls.unary("etcdserverpb.Lease/LeaseLeases", LeaseLeasesRequest, LeaseLeasesResponse, {});
    const lines: string[] = [];
    for (const { ID } of leases) {
      const { grantedTTL, keys } = await calls.unary(
        "etcdserverpb.Lease/LeaseTimeToLive",
        LeaseTimeToLiveRequest,
        LeaseTimeToLiveResponse,
        { ID, keys: true },
      );
      lines.push(`${ID} ${grantedTTL} ${keys.map((key) => Buffer.from(key).toString()).sort()}`);
    }
    return {
      revision: range.header!.revision,
      keys: range.kvs.map(lineOf),
      leases: lines.sort(),
      hash: hashed.hash,
      // etcd 3.4 does not say it.
      hashRevision: hashed.hashRevision || atRevision || range.header!.revision,
      compactRevision: hashed.compactRevision,
    };
  });
}

function lineOf({ key, value, createRevision, modRevision, version, lease }: KeyValue): string {
  const text = Buffer.from(value).toString();
  const shown = text.length > 100 ? `${text.length} bytes` : text;
  return `${Buffer.from(key)}=${shown} ${createRevision}/${modRevision}/${version} ${lease}`;
}

/** Runs a program of etcd's to its end. */
function run(program: string, args: readonly string[]): Promise<ProcessEnd> {
  const environment = { ...process.env, ETCDCTL_API: "3" };
  return new Promise((resolve) => {
    execFile(program, args, { env: environment, encoding: "utf8" }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? error.signal ?? -1), stdout, stderr });
    });
  });
}

async function ok(program: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, args);
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

async function utl(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runQuorate(["utl", ...args]);
  assert.equal(code, 0, `quorate utl ${args.join(" ")}: ${stderr}`);
  return stdout;
}

/** Saved by etcdctl, as an operator does. */
async function save(server: ServerProcess): Promise<string> {
  const path = freshPath("saved");
  await ok("etcdctl", [`--endpoints=${server.endpoint}`, "snapshot", "save", path]);
  return path;
}

type Program = "etcd" | "quorate";

interface Member {
  readonly name: string;
  readonly directory: string;
  readonly ports: { readonly client: number; readonly peer: number };
}

async function freshMember(name = "default"): Promise<Member> {
  return { name, directory: freshPath("member"), ports: { client: await freePort(), peer: await freePort() } };
}

function clusterOf(members: readonly Member[]): string {
  return members.map(({ name, ports }) => `${name}=http://127.0.0.1:${ports.peer}`).join(",");
}

async function restore(
  program: Program,
  path: string,
  member: Member,
  members: readonly Member[] = [member],
  more: readonly string[] = [],
): Promise<void> {
  const args = [
    "snapshot",
    "restore",
    path,
    `--data-dir=${member.directory}/data`,
    `--name=${member.name}`,
    `--initial-cluster=${clusterOf(members)}`,
    "--initial-cluster-token=restored",
    `--initial-advertise-peer-urls=http://127.0.0.1:${member.ports.peer}`,
    ...more,
  ];
  if (program === "quorate") await utl(args);
  else await ok(hasEtcdutl ? ETCDUTL : "etcdctl", args);
}

function start(
  program: Program,
  member: Member,
  members: readonly Member[] = [member],
  flags: readonly string[] = [],
): Promise<ServerProcess> {
  return ServerProcess[program]({
    directory: member.directory,
    ports: member.ports,
    flags: [`--name=${member.name}`, `--initial-cluster=${clusterOf(members)}`, ...flags],
  });
}

/** Restored from the file and served, until `use` is done. */
async function served<Result>(
  program: Program,
  path: string,
  use: (server: ServerProcess, member: Member) => Promise<Result>,
  more: readonly string[] = [],
): Promise<Result> {
  const member = await freshMember();
  await restore(program, path, member, [member], more);
  const server = await start(program, member);
  try {
    return await use(server, member);
  } finally {
    await server.dispose();
  }
}

describe("a snapshot of ours", { skip: !hasEtcd || !hasEtcdctl }, () => {
  let ours: ServerProcess;
  let path: string;
  let contents: Contents;

  before(async () => {
    ours = await ServerProcess.quorate();
    await fill(ours);
    contents = await contentsOf(ours);
    path = await save(ours);
  });
  after(() => ours.dispose());

  it("is saved by etcdctl, which finds its digest right, and has a status", async () => {
    const json = await ok("etcdctl", ["snapshot", "status", path, "--write-out=json"]);
    const theirs = JSON.parse(json) as { hash: number; revision: number; totalSize: number };
    assert.deepEqual([theirs.revision, theirs.totalSize], [contents.revision, statSync(path).size - 32]);
    const own = JSON.parse(await utl(["snapshot", "status", path, "-w", "json"])) as typeof theirs;
    assert.deepEqual([own.hash, own.revision, own.totalSize], [theirs.hash, theirs.revision, theirs.totalSize]);
  });

  it("is restored by etcd's tools and served by etcd: the same keys, revisions, leases and hash", async () => {
    assert.deepEqual(await served("etcd", path, (etcd) => contentsOf(etcd)), contents);
  });

  it("is restored by ours and served by us", async () => {
    assert.deepEqual(await served("quorate", path, (restored) => contentsOf(restored)), contents);
  });

  it("has the hash that the member says, at whatever revision, of the file and of a directory restored from it", async () => {
    // At the compacted revision itself a member answers with the hash of the compaction.
    for (const revision of [0, contents.compactRevision + 1, contents.revision - 10]) {
      const { hash, hashRevision, compactRevision } = await contentsOf(ours, revision);
      const flags = [`--rev=${revision}`, "--write-out=json"];
      const found = JSON.parse(await utl(["hashkv", path, ...flags])) as object;
      assert.deepEqual(found, { hash, hashRevision, compactRevision });
    }
    const member = await freshMember();
    await restore("quorate", path, member);
    const line = await utl(["hashkv", `${member.directory}/data`]);
    assert.equal(line, `${contents.hash}, ${contents.hashRevision}, ${contents.compactRevision}\n`);
  });

  it("is read and never changed by status and hashkv", async () => {
    const copy = freshPath("copy");
    copyFileSync(path, copy);
    await utl(["snapshot", "status", copy]);
    await utl(["hashkv", copy]);
    assert.ok(readFileSync(copy).equals(readFileSync(path)));
  });

  it("saved while writes go on is one revision, whole", async () => {
    await withCalls(ours, async (calls) => {
      let isDone = false;
      let written = 0;
      const writing = (async () => {
        while (!isDone) {
          // Two keys in one transaction would do; two puts in a row let a torn cut show as well.
          const value = Buffer.from(String(++written));
          for (const key of ["pair/a", "pair/b"]) {
            await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, { key: Buffer.from(key), value });
          }
        }
      })();
      await sleep(50);
      const saved = await save(ours);
      isDone = true;
      await writing;
      const restored = await served("quorate", saved, (server) => contentsOf(server));
      const [a, b] = ["pair/a", "pair/b"].map((key) => {
        const line = restored.keys.find((each) => each.startsWith(`${key}=`))!;
        return Number(line.slice(line.indexOf("=") + 1, line.indexOf(" ")));
      }) as [number, number];
      assert.ok(a === b || a === b + 1, `a is ${a} and b is ${b}`);
      assert.equal((await contentsOf(ours, restored.revision)).hash, restored.hash);
    });
  });

  it("begins a cluster of three, which goes on from there and takes in a fourth", async () => {
    const members = await Promise.all(["m1", "m2", "m3"].map((name) => freshMember(name)));
    for (const member of members) await restore("quorate", path, member, members);
    const servers = await Promise.all(members.map((member) => start("quorate", member, members)));
    try {
      for (const server of servers) assert.deepEqual(await contentsOf(server), contents);
      await ok("etcdctl", [`--endpoints=${servers[1]!.endpoint}`, "put", "new", "1"]);
      const fourth = await freshMember("m4");
      const peerUrl = `http://127.0.0.1:${fourth.ports.peer}`;
      const change = (...args: string[]): Promise<ProcessEnd> =>
        run("etcdctl", [`--endpoints=${servers[0]!.endpoint}`, "member", ...args]);
      const until = async (attempt: () => Promise<ProcessEnd>): Promise<ProcessEnd> => {
        for (let tries = 0; ; tries++) {
          const end = await attempt();
          if (end.code === 0 || tries === 40) return end;
          await sleep(250);
        }
      };
      // Members count as healthy when they have been in touch for five seconds.
      const added = await until(() => change("add", "m4", "--learner", `--peer-urls=${peerUrl}`));
      const [, id] = /^Member +([0-9a-f]+) added/.exec(added.stdout)!;
      const flags = ["--initial-cluster-state=existing", "--initial-cluster-token=restored"];
      servers.push(await start("quorate", fourth, [...members, fourth], flags));
      const ofLearner = JSON.parse(await utl(["snapshot", "status", await save(servers.at(-1)!), "-w", "json"])) as {
        revision: number;
      };
      assert.equal(ofLearner.revision, contents.revision + 1, "a learner gives snapshots, too");
      assert.equal((await until(() => change("promote", id!))).code, 0);
      const [first, last] = [await contentsOf(servers[0]!), await contentsOf(servers.at(-1)!)];
      assert.deepEqual(last, first);
      assert.equal(last.revision, contents.revision + 1);
    } finally {
      await Promise.all(servers.map((server) => server.dispose()));
    }
  });

  it("raises the revision and forgets what was before, if asked to, here as in etcd", async () => {
    const flags = ["--bump-revision=1000000", "--mark-compacted"];
    const raised = await served(
      "quorate",
      path,
      async (server) => {
        const old = await run("etcdctl", [
          `--endpoints=${server.endpoint}`,
          "get",
          "key-1",
          `--rev=${contents.revision}`,
        ]);
        assert.match(old.stderr, /required revision has been compacted/);
        await ok("etcdctl", [`--endpoints=${server.endpoint}`, "put", "next", "1"]);
        return contentsOf(server);
      },
      flags,
    );
    assert.equal(raised.revision, contents.revision + 1_000_001);
    assert.deepEqual(
      raised.keys.filter((line) => !line.startsWith("next=")),
      contents.keys,
    );
    if (!hasEtcdutl) return;
    const theirs = await served("etcd", path, (server) => contentsOf(server), flags);
    const own = await served("quorate", path, (server) => contentsOf(server), flags);
    assert.deepEqual(own, theirs);
  });

  it("keeps no member of the cluster it was taken of, and computes ids as etcd does", async () => {
    const member = await freshMember();
    const lists = new Map<Program, string>();
    for (const program of ["etcd", "quorate"] as const) {
      rmSync(member.directory, { recursive: true, force: true });
      await restore(program, path, member);
      const server = await start(program, member);
      try {
        lists.set(program, await membersOf(server));
      } finally {
        await server.dispose();
      }
    }
    assert.equal(lists.get("quorate"), lists.get("etcd"));
  });

  it("leaves no file behind when its client goes away in the middle", async () => {
    await withCalls(ours, async (calls) => {
      let count = 0;
      const call = calls.stream(
        "etcdserverpb.Maintenance/Snapshot",
        SnapshotResponse,
        () => {
          count++;
        },
        () => {},
      );
      send(call, SnapshotRequest, {});
      call.halfClose();
      while (count === 0) await sleep(5);
      call.cancel();
    });
    assert.deepEqual(readdirSync(join(ours.directory, "data/member/snap")), []);
    assert.match(ours.log, /client gave up a database snapshot|successfully sent database snapshot/);
  });
});

async function membersOf(server: ServerProcess): Promise<string> {
  return withCalls(server, async (calls) => {
    const { header, members } = await calls.unary(
      "etcdserverpb.Cluster/MemberList",
      MemberListRequest,
      MemberListResponse,
      {},
    );
    const lines = members.map(({ ID, name, peerURLs, isLearner }) => `${ID} ${name} ${peerURLs} ${isLearner}`);
    return `cluster ${header!.clusterId} member ${header!.memberId}\n${lines.join("\n")}`;
  });
}

describe("a snapshot of etcd's", { skip: !hasEtcd || !hasEtcdctl }, () => {
  let etcd: ServerProcess;
  let path: string;
  let contents: Contents;

  before(async () => {
    etcd = await ServerProcess.etcd();
    await fill(etcd);
    contents = await contentsOf(etcd);
    path = await save(etcd);
  });
  after(() => etcd.dispose());

  it("is restored by us and served with the same keys, revisions, leases and hash", async () => {
    assert.deepEqual(await served("quorate", path, (restored) => contentsOf(restored)), contents);
  });

  it("goes to us and back again", async () => {
    const back = await served("quorate", path, async (ours) => save(ours));
    assert.deepEqual(await served("etcd", back, (again) => contentsOf(again)), contents);
  });

  it("is described by us as by etcdutl, in every format", { skip: !hasEtcdutl }, async () => {
    for (const format of ["simple", "table", "json", "fields"]) {
      const copies = [freshPath("status"), freshPath("status")] as const;
      // etcdutl hashkv writes into the file it hashes.
      for (const copy of copies) copyFileSync(path, copy);
      for (const command of [["snapshot", "status"], ["hashkv"]]) {
        const theirs = await ok(ETCDUTL, [...command, copies[0], `--write-out=${format}`]);
        assert.equal(await utl([...command, copies[1], `--write-out=${format}`]), theirs);
      }
    }
  });

  it("is restored to a directory with the log elsewhere, and to an empty one that is there", async () => {
    const member = await freshMember();
    const walDirectory = freshPath("wal");
    await restore("quorate", path, member, [member], [`--wal-dir=${walDirectory}`]);
    assert.ok(!existsSync(`${member.directory}/data/member/wal`));
    const server = await start("quorate", member, [member], [`--wal-dir=${walDirectory}`]);
    try {
      assert.deepEqual(await contentsOf(server), contents);
    } finally {
      await server.dispose();
    }
  });

  it("that was cut short or altered is refused by restore with a reason, and nothing is left", async () => {
    const whole = readFileSync(path);
    const damaged = freshPath("damaged");
    const target = freshPath("target");
    const cases: [string, Buffer, RegExp][] = [
      ["empty", Buffer.alloc(0), /snapshot missing hash/],
      ["its digest cut off", whole.subarray(0, -32), /snapshot missing hash/],
      ["a page short", Buffer.concat([whole.subarray(0, -32 - 4096), whole.subarray(-32)]), /expected sha256/],
      ["a byte altered", altered(whole, whole.length >> 1), /expected sha256 \[.*\], got \[.*\]/],
      ["a byte of the digest altered", altered(whole, whole.length - 1), /expected sha256/],
    ];
    for (const [what, bytes, reason] of cases) {
      writeFileSync(damaged, bytes);
      const end = await runQuorate(["utl", "snapshot", "restore", damaged, `--data-dir=${target}`]);
      assert.equal(end.code, 1, what);
      assert.match(end.stderr, reason, what);
      assert.deepEqual([existsSync(target), existsSync(`${target}.unfinished`)], [false, false], what);
    }
  });
});

describe("users and roles", { skip: !hasEtcd || !hasEtcdctl }, () => {
  const root = "--user=root:of all evil";
  const alice = "--user=alice:in wonderland";

  for (const [from, to] of [
    ["quorate", "etcd"],
    ["etcd", "quorate"],
  ] as const) {
    it(`go from ${from} to ${to} with their passwords and what they may do`, async () => {
      const path = freshPath("users");
      const server = await ServerProcess[from]();
      try {
        const ctl = (...args: string[]): Promise<string> => ok("etcdctl", [`--endpoints=${server.endpoint}`, ...args]);
        for (const key of ["a", "b"]) await ctl("put", key, "1");
        for (const user of ["root:of all evil", "alice:in wonderland"]) await ctl("user", "add", user);
        await ctl("role", "add", "reader");
        await ctl("role", "grant-permission", "reader", "read", "a");
        await ctl("user", "grant-role", "alice", "reader");
        await ctl("role", "add", "root");
        await ctl("user", "grant-role", "root", "root");
        await ctl("auth", "enable");
        const refused = await run("etcdctl", [`--endpoints=${server.endpoint}`, alice, "snapshot", "save", path]);
        assert.notEqual(refused.code, 0, "only root takes snapshots");
        await ctl(root, "snapshot", "save", path);
      } finally {
        await server.dispose();
      }
      await served(to, path, async ({ endpoint }) => {
        const get = (key: string, ...flags: string[]): Promise<ProcessEnd> =>
          run("etcdctl", [`--endpoints=${endpoint}`, ...flags, "get", key]);
        assert.equal((await get("a", alice)).stdout, "a\n1\n");
        assert.match((await get("b", alice)).stderr, /permission denied/);
        assert.match((await get("a", "--user=alice:guessed")).stderr, /invalid user ID or password/);
        assert.match((await get("a")).stderr, /user name is empty/);
        assert.equal(await ok("etcdctl", [`--endpoints=${endpoint}`, root, "user", "list"]), "alice\nroot\n");
      });
    });
  }
});

function altered(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at]! ^= 1;
  return copy;
}

describe("a stopped member's directory", () => {
  it("is defragmented, and its contents are marked for another version; not while a member uses it", async () => {
    const member = await freshMember();
    const server = await start("quorate", member);
    const data = `${member.directory}/data`;
    try {
      await withCalls(server, async (calls) => {
        const value = Buffer.alloc(100_000, "x");
        for (let i = 0; i < 50; i++) {
          await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, { key: Buffer.from("k"), value });
        }
        await calls.unary("etcdserverpb.KV/Compact", CompactionRequest, CompactionResponse, {
          revision: 51,
          physical: true,
        });
      });
      for (const command of [["defrag"], ["migrate", "--target-version=3.6"]]) {
        const end = await runQuorate(["utl", ...command, `--data-dir=${data}`, "--timeout=300ms"]);
        assert.equal(end.code, 1);
        assert.match(end.stderr, /it is in use by process \d+/);
      }
      await server.kill("SIGTERM");
      const before = statSync(`${data}/member/db/db`).size;
      await utl(["defrag", `--data-dir=${data}`]);
      assert.ok(statSync(`${data}/member/db/db`).size < before / 4);
      const migrate = ["utl", "migrate", `--data-dir=${data}`, "--target-version=3.6"];
      for (const said of ["updated storage version", "storage version up-to-date"]) {
        const { code, stderr } = await runQuorate(migrate);
        assert.deepEqual([code, stderr.includes(said)], [0, true], stderr);
      }
      const far = await runQuorate(["utl", "migrate", `--data-dir=${data}`, "--target-version=3.9"]);
      assert.deepEqual([far.code, /version "3\.8\.0" is not supported/.test(far.stderr)], [1, true]);
    } finally {
      await server.dispose();
    }
    const again = await start("quorate", member);
    try {
      const { keys, revision } = await contentsOf(again);
      assert.deepEqual([keys, revision], [["k=100000 bytes 2/51/50 0"], 51]);
    } finally {
      await again.dispose();
    }
  });
});
