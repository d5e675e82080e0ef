/**
 * Users, roles and permissions as a user of Debian's etcdctl meets them, on one member and on a cluster of three. With
 * QUORATE_TEST_SUBJECT=etcd the expectations about one member are checked on etcd itself (3.7), which prints the same.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import {
  AuthenticateRequest,
  AuthenticateResponse,
  AuthStatusRequest,
  AuthStatusResponse,
  AuthUserChangePasswordRequest,
  AuthUserChangePasswordResponse,
  MemberPromoteRequest,
  MemberPromoteResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
} from "@quorate/api/messages";
import { RpcError } from "@quorate/rpc";
import { type ClusterMember, until, withCluster } from "./harness/cluster.ts";
import { Etcdctl } from "./harness/etcdctl.ts";
import { isInstalled, ServerProcess, sleep } from "./harness/processes.ts";
import { Calls } from "./harness/rpc.ts";

const isEtcd = process.env.QUORATE_TEST_SUBJECT === "etcd";

const EMPTY = "Error: etcdserver: user name is empty";
const DENIED = "Error: etcdserver: permission denied";
const FAILED = "Error: etcdserver: authentication failed, invalid user ID or password";
const MANAGEMENT = "Error: etcdserver: invalid auth management";

describe("auth, by Debian's etcdctl", { skip: !isInstalled("etcdctl", "version"), timeout: 120_000 }, () => {
  let server: ServerProcess;
  let ctl: Etcdctl;

  before(async () => {
    server = isEtcd ? await ServerProcess.etcd() : await ServerProcess.quorate();
    ctl = new Etcdctl(server.endpoint);
  });
  after(async () => {
    await ctl.stopAll();
    await server.dispose();
  });

  /** What is printed: by a command that succeeds all of it, else the last line of its complaint. */
  async function said(args: readonly string[], stdin = ""): Promise<string> {
    const end = await ctl.run(args, stdin);
    return end.code === 0 ? end.stdout : end.stderr.trimEnd().split("\n").at(-1)!;
  }

  async function as(user: string, args: readonly string[], stdin = ""): Promise<string> {
    return said([`--user=${user}:${user}`, ...args], stdin);
  }

  async function asRoot(args: readonly string[], stdin = ""): Promise<string> {
    return as("root", args, stdin);
  }

  it("users and roles are made, shown, granted and taken away", async () => {
    for (const [args, expected] of [
      [["user", "add", "root:root"], "User root created\n"],
      [["user", "add", "u:u"], "User u created\n"],
      [["user", "add", "u:u"], "Error: etcdserver: user name already exists"],
      [["user", "add", "gone:gone"], "User gone created\n"],
      [["user", "add", "cn", "--no-password"], "User cn created\n"],
      [["user", "list"], "cn\ngone\nroot\nu\n"],
      [["user", "delete", "gone"], "User gone deleted\n"],
      [["user", "delete", "gone"], "Error: etcdserver: user name not found"],
      [["role", "add", "r"], "Role r created\n"],
      [["role", "add", "r"], "Error: etcdserver: role name already exists"],
      [["role", "add", "other"], "Role other created\n"],
      [["role", "list"], "other\nr\n"],
      [["role", "grant-permission", "r", "readwrite", "a", "c"], "Role r updated\n"],
      [["role", "grant-permission", "r", "read", "x/", "--prefix"], "Role r updated\n"],
      [["role", "grant-permission", "r", "write", "only-write"], "Role r updated\n"],
      [["role", "grant-permission", "none", "read", "a"], "Error: etcdserver: role name not found"],
      [["role", "get", "r"], "Role r\nKV Read:\n\t[a, c)\n\t[x/, x0) (prefix x/)\nKV Write:\n\t[a, c)\n\tonly-write\n"],
      [["role", "grant-permission", "other", "read", "k"], "Role other updated\n"],
      [["role", "revoke-permission", "other", "k"], "Permission of key k is revoked from role other\n"],
      [["role", "revoke-permission", "other", "k"], "Error: etcdserver: permission is not granted to the role"],
      [["user", "grant-role", "u", "r"], "Role r is granted to user u\n"],
      [["user", "grant-role", "u", "none"], "Error: etcdserver: role name not found"],
      [["user", "grant-role", "u", "other"], "Role other is granted to user u\n"],
      [["user", "get", "u"], "User: u\nRoles: other r\n"],
      [["user", "revoke-role", "u", "other"], "Role other is revoked from user u\n"],
      [["user", "revoke-role", "u", "other"], "Error: etcdserver: role is not granted to the user"],
      [["role", "delete", "other"], "Role other deleted\n"],
      [["role", "delete", "other"], "Error: etcdserver: role name not found"],
    ] as const) {
      assert.equal(await said(args), expected, args.join(" "));
    }
  });

  it("auth is enabled once there is a root, and then nothing goes without a name", async () => {
    assert.equal(await asRoot(["get", "a"]), "", "while it is off a name does not matter");
    // etcdctl gives root its role when it hears that it is missing.
    assert.equal(await said(["auth", "enable"]), "Authentication Enabled\n");
    for (const args of [
      ["put", "a", "1"],
      ["get", "a"],
      ["del", "a"],
      ["user", "list"],
      ["member", "list"],
      ["alarm", "list"],
    ]) {
      assert.equal(await said(args), EMPTY, args.join(" "));
    }
    assert.match(await said(["lease", "grant", "60"]), /user name is empty/);
    assert.equal(await said(["--user=u:wrong", "get", "a"]), FAILED);
    assert.equal(await said(["--user=nobody:x", "get", "a"]), FAILED);
    // covers: AU-08
    assert.match(await said(["--user=cn:x", "get", "a"]), /password was given for no password user/);
  });

  // covers: AU-05
  it("a user reads and writes what its roles say and nothing else, root everything", async () => {
    for (const [user, args, expected] of [
      ["u", ["put", "a", "1"], "OK\n"],
      ["u", ["put", "c", "1"], DENIED],
      ["root", ["put", "c", "1"], "OK\n"],
      ["root", ["put", "x/1", "1"], "OK\n"],
      ["u", ["get", "a", "c", "--keys-only"], "a\n\n"],
      ["u", ["get", "a", "ca"], DENIED],
      ["u", ["get", "a", "--from-key"], DENIED],
      ["u", ["get", "c"], DENIED],
      ["u", ["get", "x/", "--prefix", "--print-value-only"], "1\n"],
      ["u", ["put", "x/1", "2"], DENIED],
      ["u", ["put", "only-write", "1"], "OK\n"],
      ["u", ["get", "only-write"], DENIED],
      ["u", ["put", "only-write", "2", "--prev-kv"], DENIED],
      ["u", ["del", "only-write", "--prev-kv"], DENIED],
      ["u", ["del", "only-write"], "1\n"],
      ["u", ["del", "a", "c"], "1\n"],
      ["u", ["del", "a", "d"], DENIED],
    ] as const) {
      assert.equal(await as(user, args), expected, `${user}: ${args.join(" ")}`);
    }
  });

  // covers: MV-01
  it("a txn needs what its compares and both its branches need", async () => {
    assert.equal(await as("u", ["txn"], 'value("a") = "1"\n\nput a 2\n\nput b 2\n\n'), "FAILURE\n\nOK\n");
    assert.equal(await as("u", ["txn"], 'value("c") = "1"\n\nput a 2\n\n\n'), DENIED);
    assert.equal(await as("u", ["txn"], 'value("a") = "1"\n\nput a 2\n\nput c 2\n\n'), DENIED);
    assert.equal(await as("u", ["txn"], "\nget a\nget c\n\n\n"), DENIED);
    assert.equal(await as("u", ["txn"], "\nget b\n\n\n"), "SUCCESS\n\nb\n2\n");
  });

  // covers: SA-25
  it("a watch needs to read all it watches", async () => {
    const watch = ctl.start(["--user=u:u", "watch", "a", "c"]);
    const refused = ctl.start(["--user=u:u", "watch", "a", "d"]);
    const prefix = ctl.start(["--user=u:u", "watch", "x", "--prefix"]);
    for (const command of [refused, prefix]) {
      const { code, stderr } = await command.end();
      assert.notEqual(code, 0);
      assert.match(stderr, /permission denied/);
    }
    // Whether the watch has begun cannot be seen: put until it sees one.
    const seen = watch.lines(3);
    let isSeen = false;
    void seen.then(() => {
      isSeen = true;
    });
    while (!isSeen) assert.equal(await asRoot(["put", "b", "watched"]), "OK\n");
    assert.deepEqual(await seen, ["PUT", "b", "watched"]);
    await watch.stop();
  });

  it("a lease is granted to anybody with a name, and is renewed and revoked by who may write its keys", async () => {
    const granted = await asRoot(["lease", "grant", "600"]);
    const id = /^lease (\w+) granted with TTL\(600s\)\n$/.exec(granted)![1]!;
    assert.match(await as("u", ["lease", "keep-alive", "--once", id]), new RegExp(`^lease ${id} keepalived`));
    assert.equal(await asRoot(["put", `--lease=${id}`, "c", "1"]), "OK\n");
    assert.equal(await as("u", ["put", `--lease=${id}`, "a", "1"]), DENIED);
    assert.match(await as("u", ["lease", "timetolive", id]), /granted with TTL\(600s\)/);
    assert.equal(await as("u", ["lease", "timetolive", id, "--keys"]), DENIED);
    assert.equal(await as("u", ["lease", "list"]), DENIED);
    assert.equal(
      await as("u", ["lease", "revoke", id]),
      "Error: failed to revoke lease (etcdserver: permission denied)",
    );
    assert.match(await asRoot(["lease", "timetolive", id, "--keys"]), /attached keys\(\[c\]\)/);
    assert.equal(await asRoot(["lease", "revoke", id]), `lease ${id} revoked\n`);
  });

  // covers: AU-11
  it("what concerns the cluster is root's, what a client needs to work is everybody's", async () => {
    assert.match(await as("u", ["member", "list"]), /, started, /);
    assert.match(await as("u", ["endpoint", "status"]), /^127\.0\.0\.1/);
    assert.equal(await as("u", ["alarm", "list"]), "");
    assert.equal(await as("u", ["user", "get", "u"]), "User: u\nRoles: r\n");
    assert.match(await as("u", ["role", "get", "r"]), /^Role r\n/);
    for (const args of [
      ["user", "get", "root"],
      ["user", "list"],
      ["user", "add", "v:v"],
      ["role", "get", "root"],
      ["role", "list"],
      ["compact", "1"],
      ["member", "remove", "1"],
      ["auth", "disable"],
    ]) {
      assert.equal(await as("u", args), DENIED, args.join(" "));
    }
    assert.match(await as("u", ["defrag"]), /permission denied|Failed to defragment/);
    assert.match(await asRoot(["defrag"]), /^Finished defragmenting/);
    assert.equal(await asRoot(["user", "delete", "root"]), MANAGEMENT);
    assert.equal(await asRoot(["user", "revoke-role", "root", "root"]), MANAGEMENT);
  });

  it("a changed password counts at once", async () => {
    assert.equal(await asRoot(["user", "passwd", "u", "--interactive=false"], "new\n"), "Password updated\n");
    assert.equal(await as("u", ["get", "a"]), FAILED);
    assert.equal(await said(["--user=u:new", "put", "a", "new"]), "OK\n");
    assert.equal(await asRoot(["user", "passwd", "u", "--interactive=false"], "u\n"), "Password updated\n");
  });

  // covers: AP-11
  it("a restart keeps users, roles and that auth is on", async () => {
    const { directory, ports } = server;
    assert.ok([0, "SIGTERM"].includes(await server.kill("SIGTERM")));
    server = isEtcd
      ? await ServerProcess.etcd({ directory, ports })
      : await ServerProcess.quorate({ directory, ports });
    assert.equal(await said(["get", "a"]), EMPTY);
    assert.equal(await as("u", ["put", "a", "again"]), "OK\n");
    assert.equal(await as("u", ["put", "c", "again"]), DENIED);
    assert.equal(await asRoot(["user", "get", "u"]), "User: u\nRoles: r\n");
  });

  it("root disables auth, and nobody needs a name any more", async () => {
    assert.equal(await asRoot(["auth", "disable"]), "Authentication Disabled\n");
    assert.equal(await said(["put", "c", "free"]), "OK\n");
    assert.equal(await said(["user", "delete", "root"]), "User root deleted\n");
  });
});

describe("auth with signed tokens", { timeout: 60_000, skip: isEtcd || !isInstalled("etcdctl", "version") }, () => {
  const key = Buffer.from("k");

  // covers: AU-02, AU-01
  it("a token outlives a restart, and is too old for keys once a user or role has changed", async () => {
    const directory = mkdtempSync(join(tmpdir(), "quorate-jwt-"));
    writeFileSync(join(directory, "secret"), "as long a secret as anybody could wish for\n");
    const flags = [`--auth-token=jwt,sign-method=HS256,priv-key=${join(directory, "secret")},ttl=10m`];
    let server = await ServerProcess.quorate({ directory, flags });
    const { ports } = server;
    const calls = new Calls(ports.client);
    try {
      const ctl = new Etcdctl(server.endpoint);
      for (const name of ["root", "u"]) await ctl.ok(["user", "add", `${name}:${name}`]);
      await ctl.ok(["role", "add", "r"]);
      await ctl.ok(["role", "grant-permission", "r", "readwrite", "k"]);
      await ctl.ok(["user", "grant-role", "u", "r"]);
      await ctl.ok(["auth", "enable"]);
      const method = "etcdserverpb.Auth/Authenticate";
      const request = { name: "u", password: "u" };
      const { token } = await calls.unary(method, AuthenticateRequest, AuthenticateResponse, request);
      assert.match(token, /^ey\w+\.ey\w+\.[\w-]+$/);
      const put = (presented: string): Promise<PutResponse> =>
        calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, { key }, { metadata: [["token", presented]] });
      await put(token);
      await server.kill("SIGKILL");
      server = await ServerProcess.quorate({ directory, ports, flags });
      await put(token);
      const [head, claims, signature] = token.split(".") as [string, string, string];
      const forged = JSON.parse(Buffer.from(claims, "base64url").toString()) as object;
      const asRoot = Buffer.from(JSON.stringify({ ...forged, username: "root" })).toString("base64url");
      const unsigned = Buffer.from(JSON.stringify({ alg: "none", typ: "JWT" })).toString("base64url");
      for (const bad of [`${head}.${asRoot}.${signature}`, `${unsigned}.${asRoot}.`, `${head}.${claims}`]) {
        await assert.rejects(put(bad), { message: /invalid auth token/ });
      }
      await ctl.ok(["--user=root:root", "user", "add", "other:other"]);
      await assert.rejects(put(token), { message: /revision of auth store is old/ });
      assert.equal(await ctl.ok(["--user=u:u", "put", "k", "by a new token"]), "OK\n");
    } finally {
      calls.close();
      await server.dispose();
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

describe("auth in a cluster", { timeout: 120_000, skip: isEtcd }, () => {
  const key = Buffer.from("k");

  async function logIn(calls: Calls, name: string): Promise<string> {
    const request = { name, password: name };
    const { token } = await calls.unary(
      "etcdserverpb.Auth/Authenticate",
      AuthenticateRequest,
      AuthenticateResponse,
      request,
    );
    return token;
  }

  async function addUsers({ host }: ClusterMember): Promise<Etcdctl> {
    const ctl = new Etcdctl(`127.0.0.1:${host.ports.client}`);
    await ctl.ok(["user", "add", "root:root"]);
    await ctl.ok(["user", "grant-role", "root", "root"]);
    await ctl.ok(["user", "add", "u:u"]);
    return ctl;
  }

  const put = (calls: Calls, token: string): Promise<PutResponse> =>
    calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, { key, value: key }, { metadata: [["token", token]] });
  const get = (calls: Calls, token: string): Promise<RangeResponse> =>
    calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, { key }, { metadata: [["token", token]] });

  // covers: AU-02, AU-03
  it("a token of one member is good on all of them, at once, until its user's password changes", () =>
    withCluster({ size: 3 }, async (cluster) => {
      const leader = await cluster.leader();
      const followers = cluster.members.filter((member) => member !== leader);
      await (await addUsers(followers[0]!)).ok(["auth", "enable"]);
      for (const member of cluster.members) {
        const token = await logIn(member.calls, "root");
        for (const other of cluster.members) {
          await put(other.calls, token);
          assert.equal((await get(other.calls, token)).count, 1);
        }
      }
      const token = await logIn(leader.calls, "root");
      await followers[1]!.calls.unary(
        "etcdserverpb.Auth/UserChangePassword",
        AuthUserChangePasswordRequest,
        AuthUserChangePasswordResponse,
        { name: "root", password: "other" },
        { metadata: [["token", token]] },
      );
      for (const member of cluster.members) {
        await assert.rejects(get(member.calls, token), { message: /invalid auth token/ });
      }
    }));

  // covers: MB-14, SN-13
  it("a follower passes a promotion on with the user's token; who came by a snapshot knows the users", () =>
    withCluster({ size: 2, flags: ["--strict-reconfig-check=false"] }, async (cluster) => {
      const leader = await cluster.leader();
      const follower = cluster.members.find((member) => member !== leader)!;
      const ctl = await addUsers(leader);
      // More than the log keeps, and time to let go of it.
      for (let round = 0; round < 4; round++) {
        const puts = Array.from({ length: 200 }, () =>
          leader.calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, { key, value: key }),
        );
        await Promise.all(puts);
        await sleep(250);
      }
      const learner = await cluster.add({ isLearner: true });
      const ID = await learner.id();
      await until("the learner has what the leader has", async () => {
        const status = await learner.status().catch(() => null);
        return status !== null && status.raftAppliedIndex > 800;
      });
      assert.match(learner.log, /applied snapshot/);
      await ctl.ok(["auth", "enable"]);
      const promote = "etcdserverpb.Cluster/MemberPromote";
      const u = await logIn(follower.calls, "u");
      const asU = { metadata: [["token", u]] as const };
      const asked = follower.calls.unary(promote, MemberPromoteRequest, MemberPromoteResponse, { ID }, asU);
      await assert.rejects(asked, { message: /permission denied/ });
      const metadata = [["token", await logIn(follower.calls, "root")]] as const;
      await until("the learner is promoted", async () => {
        try {
          await follower.calls.unary(promote, MemberPromoteRequest, MemberPromoteResponse, { ID }, { metadata });
          return true;
        } catch (error) {
          if (!(error instanceof RpcError)) throw error;
          return false;
        }
      });
      await until("the learner has heard of it", () =>
        logIn(learner.calls, "root").then(
          () => true,
          () => false,
        ),
      );
      const status = await learner.calls.unary(
        "etcdserverpb.Auth/AuthStatus",
        AuthStatusRequest,
        AuthStatusResponse,
        {},
        { metadata: [["token", await logIn(learner.calls, "root")]] },
      );
      assert.deepEqual([status.enabled, status.authRevision], [true, 4]);
      await put(learner.calls, await logIn(learner.calls, "root"));
    }));
});
