import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { Message, MessageType, type Term } from "@quorate/raft";
import { type PeerTlsConfig, peerListenProblem, peerTlsOf } from "../config/peer-tls.ts";
import { parseUrls } from "../config/urls.ts";
import { PeerNode } from "../testing/peer-node.ts";
import { freePort } from "../testing/ports.ts";
import { MachineTimers } from "../world/clock.ts";
import { checkDialler } from "./peer-certificates.ts";
import { PeerClient } from "./peer-client.ts";
import { MalformedRevocationList, revokedSerials } from "./revocation-list.ts";

const directory = mkdtempSync(join(tmpdir(), "peer-tls-"));
const nodes: PeerNode[] = [];
after(() => {
  for (const node of nodes) node.dispose();
  rmSync(directory, { recursive: true, force: true });
});

function hasOpenssl(): boolean {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    console.error("\n*** SKIPPED: openssl is not installed; TLS between members was not tested ***\n");
    return false;
  }
}

function openssl(...args: readonly string[]): void {
  execFileSync("openssl", args, { cwd: directory, stdio: "ignore" });
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"];

function makeAuthority(name: string): void {
  openssl("req", "-x509", ...NEW_KEY, "-keyout", `${name}.key`, "-out", `${name}.crt`, "-subj", "/CN=ca", "-days", "2");
}

function makeCertificate(name: string, serial: number, names: string, authority = "ca"): void {
  openssl("req", ...NEW_KEY, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/O=members/CN=${name}`);
  writeFileSync(join(directory, `${name}.ext`), names === "" ? "" : `subjectAltName=${names}\n`);
  const by = ["-CA", `${authority}.crt`, "-CAkey", `${authority}.key`, "-set_serial", String(serial)];
  openssl("x509", "-req", "-in", `${name}.csr`, ...by, "-days", "2", "-extfile", `${name}.ext`, "-out", `${name}.crt`);
}

function makeRevocationList(serials: readonly string[]): void {
  const lines = serials.map((serial) => `R\t400101000000Z\t250101000000Z\t${serial}\tunknown\t/CN=x\n`);
  writeFileSync(join(directory, "index"), lines.join(""));
  writeFileSync(
    join(directory, "ca.conf"),
    "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=2\n",
  );
  openssl("ca", "-gencrl", "-config", "ca.conf", "-keyfile", "ca.key", "-cert", "ca.crt", "-out", "crl.pem");
}

function tlsOf(name: string, more: Partial<PeerTlsConfig> = {}): PeerTlsConfig {
  return {
    certFile: join(directory, `${name}.crt`),
    keyFile: join(directory, `${name}.key`),
    clientCertificate: null,
    trustedCaFile: join(directory, "ca.crt"),
    requireClientCertificate: true,
    crlFile: null,
    allowedCommonNames: [],
    allowedHostnames: [],
    skipClientSanVerification: false,
    minVersion: "TLSv1.2",
    maxVersion: "TLSv1.3",
    ...more,
  };
}

async function start(id: bigint, tls: PeerTlsConfig): Promise<PeerNode> {
  const versionBody = (): string => '{"etcdserver":"3.7.1"}';
  const node = await PeerNode.start({ id, port: await freePort(), tls, requests: { versionBody } });
  nodes.push(node);
  return node;
}

/** Whether a question over TLS is answered; null if it is, else why not. */
async function problemOf(server: PeerNode, tls: PeerTlsConfig | null): Promise<string | null> {
  const client = new PeerClient({ tls, electionTimeoutMs: 1000, timers: new MachineTimers() });
  const outcome = await client.version([server.url], 5000);
  return outcome.kind === "answered" ? null : outcome.message;
}

describe("between members over TLS", { skip: !hasOpenssl() }, () => {
  before(() => {
    makeAuthority("ca");
    makeAuthority("stranger-ca");
    makeCertificate("one", 0x101, "IP:127.0.0.1");
    makeCertificate("two", 0x102, "IP:127.0.0.1,DNS:two.example");
    makeCertificate("elsewhere", 0x103, "IP:10.1.2.3");
    makeCertificate("stranger", 0x104, "IP:127.0.0.1", "stranger-ca");
  });

  test("two members exchange messages, each with its own certificate", async () => {
    const a = await start(1n, tlsOf("one", { allowedCommonNames: ["two", "one"] }));
    const b = await start(2n, tlsOf("two", { allowedHostnames: ["127.0.0.1"] }));
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
    const rejected = (): number => a.logged("rejected connection on peer endpoint").length;
    assert.notEqual(await problemOf(a, tlsOf("stranger")), null);
    await a.until("a rejection", () => rejected() === 1);
    assert.match((await problemOf(a, null))!, /certificate/);
    assert.equal(await problemOf(a, tlsOf("two")), null);
  });

  test("a certificate that is not on the list of names is refused on both sides", async () => {
    const a = await start(1n, tlsOf("one", { allowedCommonNames: ["one"] }));
    assert.notEqual(await problemOf(a, tlsOf("two")), null);
    const refusal = { error: "client certificate authentication failed" };
    await a.until("a rejection", () => a.logged("rejected connection on peer endpoint").length > 0);
    assert.equal(a.logged("rejected connection on peer endpoint")[0]!.fields.error, refusal.error);
    assert.equal(await problemOf(a, tlsOf("one")), null);
    assert.match((await problemOf(a, tlsOf("one", { allowedCommonNames: ["two"] })))!, /authentication failed/);
    assert.match((await problemOf(a, tlsOf("one", { allowedHostnames: ["two.example"] })))!, /authentication failed/);
  });

  test("who dials from an address that its certificate does not name is refused, unless that is switched off", async () => {
    const strict = await start(1n, tlsOf("one"));
    assert.notEqual(await problemOf(strict, tlsOf("elsewhere")), null);
    await strict.until("a rejection", () => strict.logged("rejected connection on peer endpoint").length > 0);
    assert.equal(
      strict.logged("rejected connection on peer endpoint")[0]!.fields.error,
      "x509: certificate is valid for 10.1.2.3, not 127.0.0.1",
    );
    const lenient = await start(2n, tlsOf("one", { skipClientSanVerification: true }));
    assert.equal(await problemOf(lenient, tlsOf("elsewhere")), null);
  });

  test("a certificate of its own for dialling is used", async () => {
    const a = await start(1n, tlsOf("one", { allowedCommonNames: ["two"] }));
    const clientCertificate = { certFile: join(directory, "two.crt"), keyFile: join(directory, "two.key") };
    assert.equal(await problemOf(a, tlsOf("one", { clientCertificate })), null);
  });

  test("a revoked certificate is refused as soon as the list says so", async () => {
    makeRevocationList([]);
    const a = await start(1n, tlsOf("one", { crlFile: join(directory, "crl.pem") }));
    assert.equal(await problemOf(a, tlsOf("two")), null);
    makeRevocationList(["0102"]);
    assert.notEqual(await problemOf(a, tlsOf("two")), null);
    await a.until("a rejection", () => a.logged("rejected connection on peer endpoint").length > 0);
    assert.match(String(a.logged("rejected connection on peer endpoint")[0]!.fields.error), /serial 0?102 revoked/);
    // The dialling side looks, too.
    const b = await start(2n, tlsOf("two"));
    assert.match((await problemOf(b, tlsOf("one", { crlFile: join(directory, "crl.pem") })))!, /revoked/);
  });

  test("a list is read as DER and as PEM, and what is none is refused by name", () => {
    makeRevocationList(["0102", "00FFEEDDCCBBAA99887766554433221100"]);
    openssl("crl", "-in", "crl.pem", "-outform", "DER", "-out", "crl.der");
    const expected = new Set([0x102n, 0xffeeddccbbaa99887766554433221100n]);
    assert.deepEqual(revokedSerials(readFileSync(join(directory, "crl.pem"))), expected);
    const der = readFileSync(join(directory, "crl.der"));
    assert.deepEqual(revokedSerials(der), expected);
    makeRevocationList([]);
    assert.deepEqual(revokedSerials(readFileSync(join(directory, "crl.pem"))), new Set());
    for (let length = 0; length < der.length; length++) {
      assert.throws(() => revokedSerials(der.subarray(0, length)), MalformedRevocationList);
    }
    assert.throws(() => revokedSerials(Buffer.from("no list")), MalformedRevocationList);
  });

  test("certificates are read anew, so a member goes on after they were changed under it", async () => {
    const files = { certFile: join(directory, "live.crt"), keyFile: join(directory, "live.key") };
    const use = (name: string): void => {
      copyFileSync(join(directory, `${name}.crt`), files.certFile);
      copyFileSync(join(directory, `${name}.key`), files.keyFile);
    };
    use("one");
    const a = await start(1n, tlsOf("one", { ...files }));
    assert.equal(await problemOf(a, tlsOf("two", { allowedCommonNames: ["one"] })), null);
    use("two");
    assert.equal(await problemOf(a, tlsOf("two", { allowedCommonNames: ["two"] })), null);
    rmSync(files.keyFile);
    assert.notEqual(await problemOf(a, tlsOf("two")), null);
    assert.match((await problemOf(a, tlsOf("two", { ...files })))!, /ENOENT/);
    use("one");
    assert.equal(await problemOf(a, tlsOf("two")), null);
  });

  test("a name in the certificate counts if the address has it, backwards or forwards", async () => {
    const { X509Certificate } = await import("node:crypto");
    makeCertificate("named", 0x105, "DNS:*.example,DNS:three.test");
    const leaf = new X509Certificate(readFileSync(join(directory, "named.crt")));
    const secure = { getPeerX509Certificate: () => leaf, remoteAddress: "::ffff:10.0.0.9" } as unknown as TLSSocket;
    const resolver = (reversed: string[], addresses: string[]): Parameters<typeof checkDialler>[2] => ({
      reverse: async () => reversed,
      lookup: async () => addresses.map((address) => ({ address })),
    });
    const refusal = (reversed: string[], addresses: string[]): Promise<string | null> =>
      new Promise((resolve) => checkDialler(tlsOf("one"), secure, resolver(reversed, addresses), resolve));
    assert.equal(await refusal(["a.example."], []), null);
    assert.equal(await refusal(["three.test"], []), null);
    assert.equal(await refusal([], ["10.0.0.9"]), null);
    assert.match((await refusal(["a.elsewhere"], ["10.0.0.8"]))!, /does not match any of DNSNames/);
  });
});

const NONE = { minVersion: "TLSv1.2", maxVersion: "TLSv1.3" } as const;
function settings(given: Readonly<Record<string, string>>): PeerTlsConfig | null {
  return peerTlsOf(
    (name) => given[name] ?? "",
    (name) => given[name] === "true",
    NONE,
  );
}

test("flags make a configuration, and what does not fit together is refused in etcd's words", () => {
  assert.equal(settings({}), null);
  const files = { "peer-cert-file": "c", "peer-key-file": "k" };
  assert.deepEqual(settings({ ...files, "peer-trusted-ca-file": "ca", "peer-cert-allowed-cn": "a, b" }), {
    certFile: "c",
    keyFile: "k",
    clientCertificate: null,
    trustedCaFile: "ca",
    requireClientCertificate: true,
    crlFile: null,
    allowedCommonNames: ["a", "b"],
    allowedHostnames: [],
    skipClientSanVerification: false,
    ...NONE,
  });
  for (const [given, text] of [
    [{ "peer-cert-file": "c" }, "KeyFile and CertFile must both be present[key: , cert: c]"],
    [
      { ...files, "peer-client-cert-file": "x" },
      "ClientKeyFile and ClientCertFile must both be present or both absent: key: , cert: x]",
    ],
    [
      { ...files, "peer-cert-allowed-cn": "a,b", "peer-cert-allowed-hostname": "h" },
      'AllowedCNs and AllowedHostnames are mutually exclusive (cns=["a" "b"], hostnames=["h"])',
    ],
  ] as const) {
    assert.throws(() => settings(given), { message: text });
  }
  const [plain, secure] = parseUrls("http://127.0.0.1:1,https://127.0.0.1:2");
  assert.equal(peerListenProblem(plain!, null), null);
  assert.equal(peerListenProblem(secure!, settings(files)), null);
  assert.equal(
    peerListenProblem(secure!, null),
    "cannot listen on TLS for 127.0.0.1:2: KeyFile and CertFile are not presented",
  );
});
