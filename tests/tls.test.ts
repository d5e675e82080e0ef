/**
 * TLS on the ports for clients and between members, as operators set it up: certificates of openssl or of our own, flags on the
 * command line, real processes, and clients that nobody here wrote. What is refused and why is tested handshake by handshake
 * in packages/server/src/tls/acceptor.test.ts.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import { PutRequest, PutResponse } from "@quorate/api/messages";
import { RpcClient } from "@quorate/rpc";
import { CertificateMaker, hasOpenssl } from "../packages/server/src/testing/certificates.ts";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { Etcdctl } from "./harness/etcdctl.ts";
import { isInstalled, ServerProcess, sleep } from "./harness/processes.ts";
import { machineClock, machineTimers } from "./harness/rpc.ts";

const hasEtcdctl = isInstalled("etcdctl", "version");
const hasCurl = isInstalled("curl");
const WITHIN_MS = 5000;

interface Rejection {
  readonly error: string;
  readonly "remote-addr": string;
}

function rejectionsOf(server: ServerProcess, endpoint: "client" | "peer" = "client"): Rejection[] {
  const lines = server.log.split("\n").filter((line) => line.includes(`"rejected connection on ${endpoint} endpoint"`));
  return lines.filter((line) => line.endsWith("}")).map((line) => JSON.parse(line) as Rejection);
}

/** Changed files are noticed within a second, and log lines come when they come. */
async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + WITHIN_MS; Date.now() < deadline; ) {
    if (await holds()) return;
    await sleep(50);
  }
  throw new Error(`did not come true: ${what}`);
}

/** Serial number of the certificate that a port shows; null if the handshake fails. */
function serialShown(port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber ?? null);
      socket.destroy();
    });
    socket.on("error", () => resolve(null));
  });
}

describe("TLS for clients", { skip: !hasOpenssl() }, () => {
  const made = new CertificateMaker(mkdtempSync(join(tmpdir(), "quorate-tls-")));
  const [cert, key, list] = [made.path("live"), made.path("live", "key"), made.path("list", "pem")];
  const socketPath = made.path("secure", "sock");
  const plainPath = made.path("plain", "sock");
  let server: ServerProcess;
  let httpPort = 0;
  let metricsPort = 0;

  const use = (name: string): void => {
    copyFileSync(made.path(name), cert);
    copyFileSync(made.path(name, "key"), key);
  };
  const revoke = (...serials: readonly string[]): void => {
    made.revocationList(serials);
    copyFileSync(made.path("crl", "pem"), list);
  };
  const filesOf = (name: string): [cert: string, key: string] => [made.path(name), made.path(name, "key")];
  const etcdctlAs = (name: string | null, endpoint = `https://${server.endpoint}`): Etcdctl => {
    const shown = name === null ? [] : [`--cert=${filesOf(name)[0]}`, `--key=${filesOf(name)[1]}`];
    const limits = ["--dial-timeout=1s", "--command-timeout=1s"];
    return new Etcdctl(endpoint, [`--cacert=${made.path("ca")}`, ...shown, ...limits]);
  };
  /** What curl got, or "" if it got nothing. */
  const curlAs = (name: string | null, url: string, ...flags: readonly string[]): Promise<string> => {
    const shown = name === null ? [] : ["--cert", filesOf(name)[0], "--key", filesOf(name)[1]];
    const all = ["-sS", "--max-time", "5", "--cacert", made.path("ca"), ...shown, ...flags, url];
    return new Promise((resolve) => execFile("curl", all, (error, stdout) => resolve(error === null ? stdout : "")));
  };

  before(async () => {
    made.authority("ca");
    made.authority("other-ca");
    const names = "IP:127.0.0.1,DNS:localhost";
    made.certificate("server", { serial: 0x11, names, usage: "serverAuth" });
    // Of a certificate that is for addresses alone, clients name no server: that must not keep it from being replaced.
    made.certificate("next", { serial: 0x12, names: "IP:127.0.0.1", usage: "serverAuth" });
    made.certificate("alice", { serial: 0x21, usage: "clientAuth" });
    made.certificate("bob", { serial: 0x22, usage: "clientAuth" });
    made.certificate("expired", { serial: 0x23, isExpired: true });
    made.certificate("stranger", { serial: 0x24, authority: "other-ca" });
    use("server");
    revoke();
    const ports = { client: await freePort(), peer: await freePort() };
    httpPort = await freePort();
    metricsPort = await freePort();
    const both = `127.0.0.1:${ports.client}`;
    server = await ServerProcess.quorate({
      ports,
      waitUntilReady: false,
      flags: [
        `--listen-client-urls=http://${both},https://${both},unixs://${socketPath},unix://${plainPath}`,
        `--advertise-client-urls=https://${both}`,
        `--listen-client-http-urls=https://127.0.0.1:${httpPort}`,
        `--listen-metrics-urls=https://127.0.0.1:${metricsPort}`,
        ...[`--cert-file=${cert}`, `--key-file=${key}`, `--client-crl-file=${list}`],
        ...[`--trusted-ca-file=${made.path("ca")}`, "--client-cert-auth"],
      ],
    });
    await eventually("the member serves", () => server.log.includes("ready to serve client requests"));
  });
  after(async () => {
    await server.dispose();
    rmSync(made.directory, { recursive: true, force: true });
  });

  it("says at the start what it uses, and where it does not", () => {
    assert.match(
      server.log,
      /"starting with client TLS".*trusted-ca = \S+ca\.crt, client-cert-auth = true, crl-file = /,
    );
    assert.match(server.log, /scheme is http or unix while key and cert files are present.*"client-url":"http:/);
    assert.match(server.log, /scheme is http or unix while --client-cert-auth is enabled.*"client-url":"unix:/);
  });

  it("etcdctl with a good certificate works, and with none or a bad one does not", { skip: !hasEtcdctl }, async () => {
    assert.equal(await etcdctlAs("alice").ok(["put", "tls", "1"]), "OK\n");
    for (const [name, reason] of [
      [null, /didn't provide a certificate/],
      ["expired", /x509: certificate has expired/],
      ["stranger", /signed by unknown authority/],
      ["server", /incompatible key usage/],
    ] as const) {
      assert.equal((await etcdctlAs(name).run(["get", "tls"])).code, 1);
      await eventually(`a rejection for ${reason}`, () => rejectionsOf(server).some(({ error }) => reason.test(error)));
    }
    assert.equal(await etcdctlAs("alice").ok(["get", "tls"]), "tls\n1\n");
  });

  it("plain connections to the same port are served beside those by TLS", { skip: !hasEtcdctl }, async () => {
    assert.equal(await new Etcdctl(server.endpoint).ok(["put", "plain", "1"]), "OK\n");
    assert.equal(await etcdctlAs("alice").ok(["get", "plain"]), "plain\n1\n");
  });

  it("unix sockets carry either", { skip: !hasEtcdctl }, async () => {
    assert.equal(await new Etcdctl(`unix://${plainPath}`).ok(["put", "unix", "1"]), "OK\n");
    const said = await new Promise<string>((resolve, reject) => {
      const [shownCert, shownKey] = filesOf("alice").map((file) => readFileSync(file));
      const ca = readFileSync(made.path("ca"));
      const options = { path: socketPath, ca, cert: shownCert!, key: shownKey!, servername: "localhost" };
      const socket: TLSSocket = connect(options, () => socket.write("GET /version HTTP/1.0\r\n\r\n"));
      let text = "";
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      socket.on("end", () => resolve(text));
      socket.on("error", reject);
    });
    // Its HTTP has a port of its own.
    assert.match(said, /^HTTP\/1\.1 404/);
  });

  it("a gRPC client that negotiates nothing is served", async () => {
    const [shownCert, shownKey] = filesOf("alice").map((file) => readFileSync(file));
    const ca = readFileSync(made.path("ca"));
    const { client: port } = server.ports;
    const rpc = new RpcClient({
      connect: () => connect({ host: "127.0.0.1", port, ca, cert: shownCert!, key: shownKey! }),
      authority: server.endpoint,
      clock: machineClock,
      timers: machineTimers,
    });
    const message = PutRequest.encode({ key: Buffer.from("no-alpn") });
    const answer = await new Promise<Buffer>((resolve, reject) => {
      rpc.unary("/etcdserverpb.KV/Put", message, {}, (error, body) =>
        error ? reject(error) : resolve(Buffer.from(body!)),
      );
    });
    assert.ok(PutResponse.decode(answer, 0, answer.length).header!.revision > 0);
    rpc.close();
  });

  it("versions of TLS that are too old are refused", async () => {
    const options = ["s_client", "-connect", server.endpoint, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    const code = await new Promise((resolve) => {
      execFile("openssl", options, (error) => resolve(error === null ? 0 : error.code)).stdin?.end();
    });
    assert.notEqual(code, 0);
    await eventually("a rejection", () => rejectionsOf(server).some(({ error }) => error === "unsupported protocol"));
  });

  // covers: LI-07
  it("a new certificate is shown to new connections, and those that stand go on", { skip: !hasEtcdctl }, async () => {
    const watch = etcdctlAs("alice").start(["watch", "live", "--rev=1"]);
    const alice = etcdctlAs("alice");
    await alice.ok(["put", "live", "0"]);
    assert.deepEqual(await watch.lines(3), ["PUT", "live", "0"]);
    assert.equal(await serialShown(server.ports.client), "11");
    use("next");
    await eventually("the new certificate is shown", async () => (await serialShown(server.ports.client)) === "12");
    assert.equal(await serialShown(httpPort), "12");
    assert.equal(await serialShown(metricsPort), "12");
    assert.equal(await alice.ok(["put", "live", "1"]), "OK\n");

    const good = readFileSync(cert);
    writeFileSync(cert, good.subarray(0, good.length / 2));
    const warning = "cannot use a changed TLS file";
    await eventually("a warning", async () => {
      assert.equal(await serialShown(server.ports.client), "12");
      return server.log.includes(warning);
    });
    await sleep(1100);
    assert.equal(await alice.ok(["put", "live", "2"]), "OK\n");
    assert.equal(server.log.split(warning).length, 2, "one warning for one damaged file");
    use("server");
    await eventually("the first is shown again", async () => (await serialShown(server.ports.client)) === "11");

    await alice.ok(["put", "live", "3"]);
    const seen: string[] = [];
    while (seen.at(-1) !== "3") seen.push(await watch.line());
    assert.ok(seen.includes("1") && seen.includes("2"), seen.join());
    await watch.stop();
  });

  it("a client without a token is the user its certificate names, and nobody by a plain connection", {
    skip: !hasEtcdctl,
  }, async () => {
    const admin = new Etcdctl(server.endpoint, ["--user=root:secret"]);
    const anybody = new Etcdctl(server.endpoint);
    await anybody.ok(["user", "add", "root:secret"]);
    await anybody.ok(["user", "grant-role", "root", "root"]);
    await anybody.ok(["role", "add", "own"]);
    await anybody.ok(["role", "grant-permission", "own", "readwrite", "alice/", "--prefix"]);
    await anybody.ok(["user", "add", "alice", "--no-password"]);
    await anybody.ok(["user", "grant-role", "alice", "own"]);
    await anybody.ok(["auth", "enable"]);
    try {
      const alice = etcdctlAs("alice");
      assert.equal(await alice.ok(["put", "alice/a", "1"]), "OK\n");
      assert.match((await alice.run(["put", "bob/a", "1"])).stderr, /permission denied/);
      assert.equal((await etcdctlAs("bob").run(["get", "alice/a"])).code, 1);
      assert.match((await anybody.run(["get", "alice/a"])).stderr, /user name is empty/);
    } finally {
      await admin.ok(["auth", "disable"]);
    }
  });

  // covers: SA-23
  it("a revoked certificate is turned away by every listener, and what stands goes on", {
    skip: !hasEtcdctl || !hasCurl,
  }, async () => {
    const urls = [`https://127.0.0.1:${httpPort}/health`, `https://127.0.0.1:${metricsPort}/health`];
    const ask = (name: string): Promise<string[]> => Promise.all(urls.map((url) => curlAs(name, url)));
    const healthy = '{"health":"true","reason":""}';
    assert.deepEqual(await ask("bob"), [healthy, healthy]);
    const watch = etcdctlAs("bob").start(["watch", "bob", "--rev=1"]);
    await etcdctlAs("alice").ok(["put", "bob", "1"]);
    assert.deepEqual(await watch.lines(3), ["PUT", "bob", "1"]);
    revoke("22");
    const bob = etcdctlAs("bob");
    await eventually("bob is turned away", async () => (await bob.run(["get", "bob"])).code === 1);
    assert.deepEqual(await ask("bob"), ["", ""]);
    assert.match(await curlAs("bob", `https://${server.endpoint}/health`), /^$/);
    assert.ok(rejectionsOf(server).some(({ error }) => error === "transport: certificate serial 22 revoked"));
    assert.deepEqual(await ask("alice"), [healthy, healthy]);
    await etcdctlAs("alice").ok(["put", "bob", "still"]);
    assert.deepEqual(await watch.lines(3), ["PUT", "bob", "still"]);
    await watch.stop();
    revoke();
    await eventually("bob is let in again", async () => (await bob.run(["get", "bob"])).code === 0);
  });
});

describe("certificates of our own", () => {
  const servers: ServerProcess[] = [];
  after(async () => {
    for (const server of servers) await server.dispose();
  });

  async function start(directory?: string, ports?: ServerProcess["ports"]): Promise<ServerProcess> {
    const both = ports ?? { client: await freePort(), peer: await freePort() };
    const client = `127.0.0.1:${both.client}`;
    const server = await ServerProcess.quorate({
      ports: both,
      ...(directory === undefined ? {} : { directory }),
      flags: [
        `--listen-client-urls=http://${client},https://${client}`,
        `--advertise-client-urls=https://${client}`,
        "--auto-tls",
      ],
    });
    servers.push(server);
    return server;
  }

  it("serve etcdctl, whether it verifies them or not, and outlive a restart", { skip: !hasEtcdctl }, async () => {
    const server = await start();
    const fixtures = `${server.directory}/data/fixtures/client`;
    assert.equal(statSync(`${fixtures}/key.pem`).mode & 0o777, 0o600);
    assert.match(server.log, /"automatically generate certificates"/);
    const endpoint = `https://${server.endpoint}`;
    const trusting = new Etcdctl(endpoint, ["--insecure-skip-tls-verify", "--insecure-transport=false"]);
    assert.equal(await trusting.ok(["put", "auto", "1"]), "OK\n");
    const verifying = new Etcdctl(endpoint, [`--cacert=${fixtures}/cert.pem`]);
    assert.equal(await verifying.ok(["get", "auto"]), "auto\n1\n");
    const unknowing = new Etcdctl(endpoint, ["--dial-timeout=1s", "--command-timeout=1s"]);
    assert.equal((await unknowing.run(["get", "auto"])).code, 1);
    const shown = await serialShown(server.ports.client);
    assert.notEqual(shown, null);

    await server.kill("SIGTERM");
    const again = await start(server.directory, server.ports);
    assert.equal(await serialShown(again.ports.client), shown);
    assert.equal(await verifying.ok(["get", "auto"]), "auto\n1\n");
  });

  it("carry a cluster, each member with its own", async () => {
    const names = ["a", "b", "c"];
    const ports = await Promise.all(names.map(async () => ({ client: await freePort(), peer: await freePort() })));
    const peerUrls = ports.map(({ peer }) => `https://127.0.0.1:${peer}`);
    const members = await Promise.all(
      names.map((name, at) =>
        ServerProcess.quorate({
          ports: ports[at]!,
          waitUntilReady: false,
          flags: [
            `--name=${name}`,
            `--listen-peer-urls=${peerUrls[at]}`,
            `--initial-advertise-peer-urls=${peerUrls[at]}`,
            `--initial-cluster=${names.map((each, i) => `${each}=${peerUrls[i]}`).join(",")}`,
            "--peer-auto-tls",
          ],
        }),
      ),
    );
    servers.push(...members);
    await Promise.all(members.map((member) => member.untilReady()));
    for (const member of members) {
      assert.ok(existsSync(`${member.directory}/data/fixtures/peer/cert.pem`));
      assert.deepEqual(rejectionsOf(member, "peer"), []);
    }
  });
});
