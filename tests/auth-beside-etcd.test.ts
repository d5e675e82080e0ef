/**
 * Auth in one cluster of two of our members and a real etcd: what one of them writes into the log all of them take for the
 * same, tokens included. Needs an etcd that may be such a member (ETCD names it; 3.6 or newer).
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import {
  AuthenticateRequest,
  AuthenticateResponse,
  AuthStatusRequest,
  AuthStatusResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  HashKVRequest,
  HashKVResponse,
  type Init,
  type MessageType,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  TxnResponse,
} from "@quorate/api/messages";
import { RpcError } from "@quorate/rpc";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { Etcdctl } from "./harness/etcdctl.ts";
import { isInstalled, ServerProcess } from "./harness/processes.ts";
import { Calls } from "./harness/rpc.ts";

const ETCD = process.env.ETCD ?? "etcd";

function mayJoin(): boolean {
  if (!isInstalled(ETCD) || !isInstalled("etcdctl", "version")) return false;
  const isRecent = /^etcd Version: 3\.([6-9]|\d\d)\./m.test(execFileSync(ETCD, ["--version"]).toString());
  if (!isRecent) console.error("\n*** SKIPPED: this etcd is too old to be a member of one cluster with ours ***\n");
  return isRecent;
}

describe("auth in one cluster with etcd", { skip: !mayJoin(), timeout: 120_000 }, () => {
  const servers: ServerProcess[] = [];
  const calls: Calls[] = [];
  const ctls: Etcdctl[] = [];

  before(async () => {
    const ports: { readonly client: number; readonly peer: number }[] = [];
    for (let i = 0; i < 3; i++) ports.push({ client: await freePort(), peer: await freePort() });
    const cluster = ports.map(({ peer }, i) => `m${i}=http://127.0.0.1:${peer}`).join(",");
    for (const [i, own] of ports.entries()) {
      const flags = [`--name=m${i}`, `--initial-cluster=${cluster}`, "--initial-cluster-token=auth-beside-etcd"];
      const options = { ports: own, flags, waitUntilReady: false };
      servers.push(await (i === 2 ? ServerProcess.etcd(options) : ServerProcess.quorate(options)));
    }
    for (const server of servers) {
      await server.untilReady();
      calls.push(new Calls(server.ports.client));
      ctls.push(new Etcdctl(server.endpoint));
    }
  });
  after(async () => {
    for (const each of calls) each.close();
    for (const server of servers) await server.dispose();
  });

  async function ask<Request extends object, Response extends object>(
    member: number,
    method: string,
    requestType: MessageType<Request>,
    responseType: MessageType<Response>,
    request: Init<Request>,
    token: string | null,
  ): Promise<Response> {
    const metadata = token === null ? [] : ([["token", token]] as const);
    return calls[member]!.unary(`etcdserverpb.${method}`, requestType, responseType, request, { metadata });
  }

  async function logIn(member: number, name: string): Promise<string> {
    const request = { name, password: name };
    return (await ask(member, "Auth/Authenticate", AuthenticateRequest, AuthenticateResponse, request, null)).token;
  }

  it("changes made on any member are known on all, and so is what they come to", async () => {
    const [one, two, etcd] = ctls as [Etcdctl, Etcdctl, Etcdctl];
    await one.ok(["user", "add", "root:root"]);
    await etcd.ok(["user", "grant-role", "root", "root"]);
    await etcd.ok(["user", "add", "u:u"]);
    await two.ok(["role", "add", "r"]);
    await etcd.ok(["role", "grant-permission", "r", "readwrite", "a", "c"]);
    await one.ok(["role", "grant-permission", "r", "read", "c", "e"]);
    await two.ok(["user", "grant-role", "u", "r"]);
    await etcd.ok(["auth", "enable"]);
    const root = await logIn(0, "root");
    for (const member of [0, 1, 2]) {
      const said = await ask(member, "Auth/AuthStatus", AuthStatusRequest, AuthStatusResponse, {}, root);
      assert.deepEqual([said.enabled, said.authRevision], [true, 8]);
    }
  });

  it("a token of any member is good on all of them, and every request is decided alike", async () => {
    const key = (text: string): Buffer => Buffer.from(text);
    const attempts: ((member: number, token: string) => Promise<unknown>)[] = [
      (m, t) => ask(m, "KV/Range", RangeRequest, RangeResponse, { key: key("a"), rangeEnd: key("e") }, t),
      (m, t) => ask(m, "KV/Range", RangeRequest, RangeResponse, { key: key("a"), rangeEnd: key("f") }, t),
      (m, t) => ask(m, "KV/Range", RangeRequest, RangeResponse, { key: key("a"), rangeEnd: key("\0") }, t),
      (m, t) => ask(m, "KV/Put", PutRequest, PutResponse, { key: key("b") }, t),
      (m, t) => ask(m, "KV/Put", PutRequest, PutResponse, { key: key("c") }, t),
      (m, t) => ask(m, "KV/DeleteRange", DeleteRangeRequest, DeleteRangeResponse, { key: key("b") }, t),
      (m, t) => {
        const success = [{ requestPut: { key: key("b") } }];
        return ask(m, "KV/Txn", TxnRequest, TxnResponse, { success, compare: [{ key: key("d") }] } as never, t);
      },
      (m, t) => {
        const failure = [{ requestPut: { key: key("d") } }];
        return ask(m, "KV/Txn", TxnRequest, TxnResponse, { failure } as never, t);
      },
    ];
    const denied = "etcdserver: permission denied";
    const expected = ["", denied, denied, "", denied, "", "", denied];
    for (const from of [0, 1, 2]) {
      const token = await logIn(from, "u");
      for (const member of [0, 1, 2]) {
        const outcomes: string[] = [];
        for (const attempt of attempts) {
          const outcome = await attempt(member, token).then(
            () => "",
            (error: unknown) => {
              if (!(error instanceof RpcError)) throw error;
              return error.message;
            },
          );
          outcomes.push(outcome);
        }
        assert.deepEqual(outcomes, expected, `token of m${from} on m${member}`);
      }
    }
    const root = await logIn(2, "root");
    const hashes = new Set<number>();
    for (const member of [0, 1, 2]) {
      const { header } = await ask(0, "KV/Range", RangeRequest, RangeResponse, { key: key("a") }, root);
      const request = { revision: header!.revision };
      hashes.add((await ask(member, "Maintenance/HashKV", HashKVRequest, HashKVResponse, request, root)).hash);
    }
    assert.equal(hashes.size, 1, "nobody applied what another refused");
  });

  it("a password changed on etcd ends the user's tokens here", async () => {
    const token = await logIn(0, "u");
    const request = { key: Buffer.from("a") };
    await ask(1, "KV/Range", RangeRequest, RangeResponse, request, token);
    await ctls[2]!.ok(["--user=root:root", "user", "passwd", "u", "--interactive=false"], "new\n");
    for (const member of [0, 1, 2]) {
      const asked = ask(member, "KV/Range", RangeRequest, RangeResponse, request, token);
      await assert.rejects(asked, /invalid auth token/, `on m${member}`);
    }
  });
});
