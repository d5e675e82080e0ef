/**
 * TLS between the members of a cluster, as an operator sets it up: certificates made by openssl, flags on the command line,
 * real processes.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { PutRequest, PutResponse, RangeRequest, RangeResponse } from "@quorate/api/messages";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { isInstalled, ServerProcess, sleep } from "./harness/processes.ts";
import { Calls } from "./harness/rpc.ts";

const directory = mkdtempSync(join(tmpdir(), "quorate-peer-tls-"));
const servers: ServerProcess[] = [];
after(async () => {
  for (const server of servers) await server.dispose();
  rmSync(directory, { recursive: true, force: true });
});

/** A certificate of the authority, for 127.0.0.1, good for both ends of a connection. */
function makeCertificate(name: string, commonName: string): { cert: string; key: string } {
  const path = (suffix: string): string => join(directory, `${name}.${suffix}`);
  const openssl = (...args: string[]): void => {
    execFileSync("openssl", args, { stdio: "ignore" });
  };
  writeFileSync(path("ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n");
  openssl(
    "req",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-keyout",
    path("key"),
    "-out",
    path("csr"),
    "-subj",
    `/CN=${commonName}`,
  );
  const ca = ["-CA", join(directory, "ca.crt"), "-CAkey", join(directory, "ca.key"), "-CAcreateserial"];
  openssl("x509", "-req", "-in", path("csr"), ...ca, "-days", "2", "-out", path("crt"), "-extfile", path("ext"));
  return { cert: path("crt"), key: path("key") };
}

describe("TLS between members", { skip: !isInstalled("openssl", "version") }, () => {
  test("a cluster forms and works over it, and a certificate with another name is turned away", async () => {
    const authority = [
      "-keyout",
      join(directory, "ca.key"),
      "-out",
      join(directory, "ca.crt"),
      "-subj",
      "/CN=authority",
    ];
    execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", ...authority], {
      stdio: "ignore",
    });
    const good = makeCertificate("member", "member");
    const stranger = makeCertificate("stranger", "stranger");
    const names = ["a", "b", "c"];
    const ports = await Promise.all(names.map(async () => ({ client: await freePort(), peer: await freePort() })));
    const peerUrls = ports.map(({ peer }) => `https://127.0.0.1:${peer}`);
    const start = (at: number, { cert, key }: { cert: string; key: string }): Promise<ServerProcess> =>
      ServerProcess.quorate({
        ports: ports[at]!,
        waitUntilReady: false,
        flags: [
          `--name=${names[at]}`,
          `--listen-peer-urls=${peerUrls[at]}`,
          `--initial-advertise-peer-urls=${peerUrls[at]}`,
          `--initial-cluster=${names.map((name, i) => `${name}=${peerUrls[i]}`).join(",")}`,
          `--peer-cert-file=${cert}`,
          `--peer-key-file=${key}`,
          `--peer-trusted-ca-file=${join(directory, "ca.crt")}`,
          "--peer-client-cert-auth",
          "--peer-cert-allowed-cn=member",
        ],
      });
    servers.push(await start(0, good), await start(1, good), await start(2, stranger));
    const [a, b, c] = servers as [ServerProcess, ServerProcess, ServerProcess];
    await Promise.all([a.untilReady(), b.untilReady()]);
    const key = Buffer.from("k");
    const toA = new Calls(a.ports.client);
    const toB = new Calls(b.ports.client);
    await toA.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, { key, value: key });
    const { count } = await toB.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, { key });
    assert.equal(count, 1);
    toA.close();
    toB.close();
    await sleep(300);
    assert.match(a.log, /rejected connection on peer endpoint.*client certificate authentication failed/);
    assert.doesNotMatch(c.log, /ready to serve client requests/);
  });
});
