import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, parseArguments, settingsOfFile } from "./command-line.ts";
import { type Config, configOf } from "./config.ts";
import { peerListenProblem } from "./tls.ts";
import { parseUrls } from "./urls.ts";

const configFrom = (...args: string[]): Config => configOf(parseArguments(args), false);
const client = ["--cert-file=c", "--key-file=k"];
const peer = ["--peer-cert-file=c", "--peer-key-file=k"];

test("without TLS flags nobody can connect by TLS, and dialling shows nothing", () => {
  const { tls, peerTls } = configFrom();
  assert.deepEqual([tls.keyPair, tls.selfSigned, tls.requireClientCertificate], [null, null, false]);
  assert.deepEqual([peerTls.keyPair, peerTls.dialKeyPair, peerTls.serverName], [null, null, null]);
});

test("the flags of either port make the same shape", () => {
  const shared = {
    keyPair: { certFile: "c", keyFile: "k" },
    dialKeyPair: { certFile: "dc", keyFile: "dk" },
    selfSigned: null,
    isAutoIgnored: false,
    trustedCaFile: "ca",
    requireClientCertificate: true,
    usesCommonNames: true,
    crlFile: "crl",
    serverName: null,
    minVersion: "TLSv1.2",
    maxVersion: "TLSv1.3",
  };
  const { ciphers, ...tls } = configFrom(
    ...client,
    ...["--client-cert-file=dc", "--client-key-file=dk", "--trusted-ca-file=ca", "--client-cert-auth"],
    ...["--client-crl-file=crl", "--client-cert-allowed-hostname=h, i"],
  ).tls;
  assert.deepEqual(tls, {
    ...shared,
    allowedCommonNames: [],
    allowedHostnames: ["h", "i"],
    checksRemoteAddress: false,
  });
  const { ciphers: peerCiphers, ...peerTls } = configFrom(
    ...peer,
    ...["--peer-client-cert-file=dc", "--peer-client-key-file=dk", "--peer-trusted-ca-file=ca"],
    ...["--peer-client-cert-auth", "--peer-crl-file=crl", "--peer-cert-allowed-cn=a, b", "--discovery-srv=d"],
  ).peerTls;
  assert.deepEqual(peerTls, {
    ...shared,
    allowedCommonNames: ["a", "b"],
    allowedHostnames: [],
    checksRemoteAddress: true,
  });
  assert.equal(ciphers, peerCiphers);
});

test("an authority alone makes certificates mandatory, and only client-cert-auth makes them names", () => {
  const { tls } = configFrom(...client, "--trusted-ca-file=ca");
  assert.deepEqual([tls.requireClientCertificate, tls.usesCommonNames], [true, false]);
  const auth = configFrom(...client, "--client-cert-auth").tls;
  assert.deepEqual([auth.requireClientCertificate, auth.usesCommonNames, auth.trustedCaFile], [true, true, null]);
});

test("members found by a domain's records have to be of the domain, unless an authority vouches for them", () => {
  assert.equal(configFrom("--discovery-srv=example.com").peerTls.serverName, "example.com");
  assert.equal(configFrom("--discovery-srv=example.com", "--peer-trusted-ca-file=ca").peerTls.serverName, null);
  assert.equal(configFrom("--discovery-srv=example.com").tls.serverName, null);
});

test("a file says what flags cannot: common names of clients, and 0 years for one", () => {
  const section = { "cert-file": "c", "key-file": "k", "allowed-cn": ["a", "b"] };
  const { tls } = configOf(settingsOfFile({ "client-transport-security": section }), true);
  assert.deepEqual(tls.allowedCommonNames, ["a", "b"]);
  const auto = { "client-transport-security": { "auto-tls": true }, "self-signed-cert-validity": 0 };
  assert.equal(configOf(settingsOfFile(auto), true).tls.selfSigned?.validityYears, 1);
  assert.throws(() => parseArguments(["--client-cert-allowed-cn=a"]), /not defined/);
});

test("certificates of our own are for the hosts listened on, in the data directory", () => {
  const urls = "https://127.0.0.1:2379,https://localhost:2379,unixs:///tmp/x,https://[::1]:2379";
  const { tls, peerTls } = configFrom(
    ...["--auto-tls", "--peer-auto-tls", "--data-dir=/d", "--self-signed-cert-validity=3"],
    ...[`--listen-client-urls=${urls}`, "--advertise-client-urls=https://a:1"],
    ...["--listen-client-http-urls=https://127.0.0.2:1", "--listen-peer-urls=https://10.0.0.1:2380"],
  );
  const pair = (port: string) => ({
    certFile: `/d/fixtures/${port}/cert.pem`,
    keyFile: `/d/fixtures/${port}/key.pem`,
  });
  assert.deepEqual(tls.keyPair, pair("client"));
  assert.deepEqual(tls.selfSigned, { hosts: ["127.0.0.1", "::1", "localhost", "127.0.0.2"], validityYears: 3 });
  assert.deepEqual([peerTls.keyPair, peerTls.dialKeyPair], [pair("peer"), pair("peer")]);
  assert.deepEqual(peerTls.selfSigned, { hosts: ["10.0.0.1"], validityYears: 3 });
  const given = configFrom(...client, "--auto-tls").tls;
  assert.deepEqual([given.selfSigned, given.isAutoIgnored, given.keyPair?.certFile], [null, true, "c"]);
});

// covers: SA-16
test("cipher suites go by IANA's names, and only those HTTP/2 permits are taken", () => {
  const all13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
  const ciphers = (text: string): string => configFrom(`--cipher-suites=${text}`).peerTls.ciphers;
  assert.equal(
    ciphers("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"),
    `${all13}:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305`,
  );
  assert.equal(ciphers("TLS_AES_128_GCM_SHA256"), all13);
  assert.doesNotMatch(ciphers(""), /CBC|SHA:|SHA$|RC4|DES|:AES/);
  assert.match(ciphers(""), /ECDHE-ECDSA-AES128-GCM-SHA256/);
  assert.throws(
    () => ciphers("TLS_RSA_WITH_RC4_128_SHA"),
    /"TLS_RSA_WITH_RC4_128_SHA" is not allowed: HTTP\/2 forbids/,
  );
  assert.throws(() => ciphers("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"), /is not allowed/);
  assert.throws(() => ciphers("ECDHE-RSA-AES128-GCM-SHA256"), {
    message: 'unexpected TLS cipher suite "ECDHE-RSA-AES128-GCM-SHA256"',
  });
});

test("what does not fit together is refused in etcd's words", () => {
  const exclusive = 'AllowedCNs and AllowedHostnames are mutually exclusive (cns=["a" "b"], hostnames=["h"])';
  const url = "--listen-client-urls=https://127.0.0.1:9";
  const table: readonly (readonly [readonly string[], string | RegExp])[] = [
    [["--cert-file=c"], "KeyFile and CertFile must both be present[key: , cert: c]"],
    [["--peer-key-file=k"], "KeyFile and CertFile must both be present[key: k, cert: ]"],
    [
      [...peer, "--peer-client-cert-file=x"],
      "ClientKeyFile and ClientCertFile must both be present or both absent: key: , cert: x]",
    ],
    [
      [...client, "--client-key-file=x"],
      "ClientKeyFile and ClientCertFile must both be present or both absent: key: x, cert: ]",
    ],
    [[...peer, "--peer-cert-allowed-cn=a,b", "--peer-cert-allowed-hostname=h"], exclusive],
    [["--tls-min-version=TLS1.1"], 'unexpected TLS version "TLS1.1" (must be one of: TLS1.2, TLS1.3)'],
    [["--tls-max-version=1.3"], 'unexpected TLS version "1.3" (must be one of: TLS1.2, TLS1.3)'],
    [
      ["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
      "min version (TLS1.3) is greater than max version (TLS1.2)",
    ],
    [
      ["--tls-min-version=TLS1.3", "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
      "cipher suites cannot be configured when only TLS1.3 is enabled",
    ],
    [
      ["--auto-tls", "--self-signed-cert-validity=0"],
      /^selfSignedCertValidity is invalid,it should be greater than 0$/,
    ],
    [
      [url, "--advertise-client-urls=https://127.0.0.1:9"],
      "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:9 with HTTPS scheme",
    ],
    [
      ["--listen-metrics-urls=https://127.0.0.1:9"],
      "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url",
    ],
    [
      ["--listen-peer-urls=https://127.0.0.1:9"],
      "cannot listen on TLS for 127.0.0.1:9: KeyFile and CertFile are not presented",
    ],
    // etcd lets everybody in.
    [["--auto-tls", "--client-cert-auth"], /^--client-cert-auth cannot be combined with --auto-tls/],
    [["--peer-auto-tls", "--peer-trusted-ca-file=ca"], /^--peer-trusted-ca-file cannot be combined with --peer-auto/],
  ];
  for (const [args, message] of table) {
    assert.throws(
      () => configFrom(...args),
      (error) => {
        assert.ok(error instanceof ConfigError);
        if (typeof message === "string") assert.equal(error.message, message);
        else assert.match(error.message, message);
        return true;
      },
    );
  }
  const both = { "cert-file": "c", "key-file": "k", "allowed-cn": ["a", "b"], "allowed-hostname": ["h"] };
  assert.throws(() => configOf(settingsOfFile({ "client-transport-security": both }), true), { message: exclusive });
  const [plain] = parseUrls("http://127.0.0.1:1");
  assert.equal(peerListenProblem(plain!, configFrom().peerTls), null);
});
