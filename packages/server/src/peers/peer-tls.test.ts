import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Message, MessageType, type Term } from "@quorate/raft";
import { type Log, silentLog } from "@quorate/world";
import { CertificateMaker, hasOpenssl, noCredentials, tlsConfigFrom } from "../testing/certificates.ts";
import { PeerNode } from "../testing/peer-node.ts";
import { freePort } from "../testing/ports.ts";
import { Credentials } from "../tls/credentials.ts";
import { MachineTimers } from "../world/clock.ts";
import { PeerClient } from "./peer-client.ts";

const directory = mkdtempSync(join(tmpdir(), "peer-tls-"));
const made = new CertificateMaker(directory);
const nodes: PeerNode[] = [];
after(() => {
  for (const node of nodes) node.dispose();
  rmSync(directory, { recursive: true, force: true });
});

let nowMs = 0;
const clock = { monotonicMs: () => nowMs, wallMs: () => Date.now() };
/** Long enough for changed files to be noticed. */
const aSecondPasses = (): void => {
  nowMs += 1000;
};

function tlsOf(name: string, ...flags: readonly string[]): Credentials {
  return credentialsOf(silentLog, made.path(name), made.path(name, "key"), ...flags);
}

function credentialsOf(log: Log, cert: string, key: string, ...flags: readonly string[]): Credentials {
  const files = [`--peer-cert-file=${cert}`, `--peer-key-file=${key}`, `--peer-trusted-ca-file=${made.path("ca")}`];
  return new Credentials(tlsConfigFrom("peer", ...files, ...flags), clock, log);
}

async function start(id: bigint, tls: Credentials): Promise<PeerNode> {
  const versionBody = (): string => '{"etcdserver":"3.7.1"}';
  const node = await PeerNode.start({ id, port: await freePort(), tls, requests: { versionBody } });
  nodes.push(node);
  return node;
}

/** Whether a question over TLS is answered; null if it is, else why not. */
async function problemOf(server: PeerNode, tls: Credentials): Promise<string | null> {
  const client = new PeerClient({ tls, electionTimeoutMs: 1000, timers: new MachineTimers() });
  const outcome = await client.version([server.url], 5000);
  return outcome.kind === "answered" ? null : outcome.message;
}

async function rejectionAt(server: PeerNode): Promise<string> {
  const rejected = () => server.logged("rejected connection on peer endpoint");
  await server.until("a rejection", () => rejected().length > 0);
  return String(rejected()[0]!.fields.error);
}

describe("between members over TLS", { skip: !hasOpenssl() }, () => {
  before(() => {
    made.authority("ca");
    made.authority("stranger-ca");
    made.certificate("one", { serial: 0x101, names: "IP:127.0.0.1" });
    made.certificate("two", { serial: 0x102, names: "IP:127.0.0.1,DNS:two.example" });
    made.certificate("elsewhere", { serial: 0x103, names: "IP:10.1.2.3" });
    made.certificate("stranger", { serial: 0x104, names: "IP:127.0.0.1", authority: "stranger-ca" });
    made.certificate("middle", { serial: 0x105, isAuthority: true });
    made.certificate("below", { serial: 0x106, names: "IP:127.0.0.1", authority: "middle" });
  });

  test("two members exchange messages, each with its own certificate", async () => {
    const a = await start(1n, tlsOf("one", "--peer-cert-allowed-cn=two,one"));
    const b = await start(2n, tlsOf("two", "--peer-cert-allowed-hostname=127.0.0.1"));
    a.meet(b);
    b.meet(a);
    await a.connected(b);
    const message = new Message(MessageType.Heartbeat, 2n, 1n);
    message.term = 1 as Term;
    a.send(message);
    await b.until("the message", () => b.stepped.length === 1);
  });

  test("who shows nothing, or what another authority signed, is refused and logged", async () => {
    const a = await start(1n, tlsOf("one"));
    assert.notEqual(await problemOf(a, tlsOf("stranger")), null);
    assert.match(await rejectionAt(a), /^tls: failed to verify certificate: x509: certificate signed by unknown auth/);
    assert.match((await problemOf(a, noCredentials()))!, /certificate/);
    assert.equal(await problemOf(a, tlsOf("two")), null);
  });

  test("a certificate that is not on the list of names is refused on both sides", async () => {
    const a = await start(1n, tlsOf("one", "--peer-cert-allowed-cn=one"));
    assert.notEqual(await problemOf(a, tlsOf("two")), null);
    assert.equal(await rejectionAt(a), "client certificate authentication failed");
    assert.equal(await problemOf(a, tlsOf("one")), null);
    assert.match((await problemOf(a, tlsOf("one", "--peer-cert-allowed-cn=two")))!, /authentication failed/);
    assert.match((await problemOf(a, tlsOf("one", "--peer-cert-allowed-hostname=two.example")))!, /tion failed/);
  });

  test("who dials from an address that its certificate does not name is refused, unless that is switched off", async () => {
    const strict = await start(1n, tlsOf("one"));
    assert.notEqual(await problemOf(strict, tlsOf("elsewhere")), null);
    assert.equal(await rejectionAt(strict), "x509: certificate is valid for 10.1.2.3, not 127.0.0.1");
    const lenient = await start(2n, tlsOf("one", "--peer-skip-client-san-verification"));
    assert.equal(await problemOf(lenient, tlsOf("elsewhere")), null);
  });

  test("a certificate of its own for dialling is used", async () => {
    const a = await start(1n, tlsOf("one", "--peer-cert-allowed-cn=two"));
    const own = [`--peer-client-cert-file=${made.path("two")}`, `--peer-client-key-file=${made.path("two", "key")}`];
    assert.equal(await problemOf(a, tlsOf("one", ...own)), null);
  });

  test("a revoked certificate is refused within a second of the list saying so, on both sides", async () => {
    const crl = `--peer-crl-file=${made.path("crl", "pem")}`;
    made.revocationList([]);
    const a = await start(1n, tlsOf("one", crl));
    assert.equal(await problemOf(a, tlsOf("two")), null);
    made.revocationList(["0102"]);
    aSecondPasses();
    assert.notEqual(await problemOf(a, tlsOf("two")), null);
    assert.match(await rejectionAt(a), /serial 0?102 revoked/);
    const b = await start(2n, tlsOf("two"));
    assert.match((await problemOf(b, tlsOf("one", crl)))!, /revoked/);
  });

  test("an authority that was revoked takes those below it along", async () => {
    const chain = made.path("chain");
    writeChain(chain, "below", "middle");
    const crl = `--peer-crl-file=${made.path("crl", "pem")}`;
    made.revocationList(["0105"]);
    const below = credentialsOf(silentLog, chain, made.path("below", "key"));
    const a = await start(1n, tlsOf("one", crl));
    assert.notEqual(await problemOf(a, below), null);
    // Which of the two depends on what Node shows a server.
    assert.match(await rejectionAt(a), /serial 0?105 revoked|between the certificate and ours/);
    const b = await start(2n, below);
    assert.match((await problemOf(b, tlsOf("one", crl)))!, /serial 0?105 revoked/);
    assert.equal(await problemOf(b, tlsOf("one")), null);

    writeChain(made.path("both"), "ca", "middle");
    const trustsMiddle = (...flags: readonly string[]): Credentials =>
      tlsOf("one", `--peer-trusted-ca-file=${made.path("both")}`, ...flags);
    const c = await start(3n, trustsMiddle(crl));
    assert.notEqual(await problemOf(c, below), null);
    assert.match(await rejectionAt(c), /serial 0?105 revoked/);
    made.revocationList([]);
    assert.equal(await problemOf(await start(4n, trustsMiddle(crl)), below), null);
  });

  test("certificates and authorities are read anew when they change, damaged ones are not used", async () => {
    const files = { cert: made.path("live"), key: made.path("live", "key") };
    const use = (name: string): void => {
      copyFileSync(made.path(name), files.cert);
      copyFileSync(made.path(name, "key"), files.key);
      aSecondPasses();
    };
    use("one");
    const live = credentialsOf(silentLog, files.cert, files.key);
    const a = await start(1n, live);
    const expects = (name: string): Credentials => tlsOf("two", `--peer-cert-allowed-cn=${name}`);
    assert.equal(await problemOf(a, expects("one")), null);
    use("two");
    assert.equal(await problemOf(a, expects("two")), null);
    rmSync(files.key);
    aSecondPasses();
    assert.equal(await problemOf(a, expects("two")), null);
    // Who dials has the same files.
    const b = await start(2n, tlsOf("one", "--peer-cert-allowed-cn=two"));
    assert.equal(await problemOf(b, live), null);
    use("one");
    assert.notEqual(await problemOf(b, live), null);
    assert.equal(await problemOf(a, expects("one")), null);

    copyFileSync(made.path("ca"), made.path("old-ca"));
    copyFileSync(made.path("stranger-ca"), made.path("ca"));
    aSecondPasses();
    assert.notEqual(await problemOf(a, expects("one")), null, "one is signed by nobody they trust now");
    copyFileSync(made.path("old-ca"), made.path("ca"));
    aSecondPasses();
    assert.equal(await problemOf(a, expects("one")), null);
  });

  test("members found by a domain's records have to belong to the domain", async () => {
    // An authority that everybody trusts, as the machine's are.
    const a = await start(1n, tlsOf("two", "--peer-skip-client-san-verification"));
    const config = tlsConfigFrom(
      "peer",
      `--peer-cert-file=${made.path("one")}`,
      `--peer-key-file=${made.path("one", "key")}`,
      "--discovery-srv=two.example",
    );
    const within = new Credentials({ ...config, trustedCaFile: made.path("ca") }, clock, silentLog);
    assert.equal(await problemOf(a, within), null);
    const other = { ...config, serverName: "three.example", trustedCaFile: made.path("ca") };
    assert.match((await problemOf(a, new Credentials(other, clock, silentLog)))!, /three\.example/);
    assert.equal(tlsConfigFrom("peer", "--discovery-srv=d", "--peer-trusted-ca-file=x").serverName, null);
  });
});

function writeChain(file: string, ...names: readonly string[]): void {
  writeFileSync(file, names.map((name) => readFileSync(made.path(name), "utf8")).join(""));
}
