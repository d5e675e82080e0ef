import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { silentLog } from "@quorate/world";
import { makePrivate } from "../member/data-directory.ts";
import { hasOpenssl, tlsConfigFrom } from "../testing/certificates.ts";
import { NodeDisk } from "../world/disk.ts";
import { ensureSelfSigned } from "./auto-tls.ts";
import { Credentials } from "./credentials.ts";
import { makeSelfSigned, NEVER_MS } from "./self-signed.ts";

const directory = mkdtempSync(join(tmpdir(), "self-signed-"));
after(() => rmSync(directory, { recursive: true, force: true }));

const HOSTS = ["127.0.0.1", "localhost", "::1", "2001:db8::ffff:10.0.0.1", "fe80::1%eth0", "a.example"];
const NOW_MS = Date.UTC(2026, 0, 2, 3, 4, 5);
const YEAR_MS = 365 * 24 * 3600 * 1000;

test("a certificate of our own is etcd's kind: P-521, organisation etcd, good for the hosts and for servers", () => {
  const { certificatePem, keyPem } = makeSelfSigned({
    hosts: HOSTS,
    notBeforeMs: NOW_MS,
    notAfterMs: NOW_MS + YEAR_MS,
  });
  const certificate = new X509Certificate(certificatePem);
  assert.equal(certificate.subject, "O=etcd");
  assert.equal(certificate.issuer, "O=etcd");
  assert.equal(Date.parse(certificate.validFrom), NOW_MS);
  assert.equal(Date.parse(certificate.validTo), NOW_MS + YEAR_MS);
  assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, "secp521r1");
  assert.ok(certificate.verify(certificate.publicKey));
  assert.deepEqual(certificate.keyUsage, ["1.3.6.1.5.5.7.3.1"]);
  assert.match(keyPem, /^-----BEGIN EC PRIVATE KEY-----/);
  for (const address of ["127.0.0.1", "::1", "2001:db8::ffff:a00:1", "fe80::1"])
    assert.ok(certificate.checkIP(address));
  for (const name of ["localhost", "a.example"]) assert.ok(certificate.checkHost(name));
  assert.equal(certificate.checkIP("127.0.0.2"), undefined);
});

test("years from 2050 on are written as they must be, up to the last there is", () => {
  for (const notAfterMs of [Date.UTC(2049, 11, 31), Date.UTC(2050, 0, 1), Date.UTC(2126, 5, 6), NEVER_MS]) {
    const { certificatePem } = makeSelfSigned({ hosts: [], notBeforeMs: NOW_MS, notAfterMs });
    assert.equal(Date.parse(new X509Certificate(certificatePem).validTo), notAfterMs);
  }
});

test("openssl finds nothing wrong with it", { skip: !hasOpenssl() }, () => {
  for (let i = 0; i < 3; i++) {
    const { certificatePem } = makeSelfSigned({
      hosts: HOSTS,
      notBeforeMs: Date.now() - 1000,
      notAfterMs: Date.now() + YEAR_MS,
    });
    const file = join(directory, "checked.pem");
    writeFileSync(file, certificatePem);
    const verified = execFileSync("openssl", ["verify", "-CAfile", file, "-verify_ip", "127.0.0.1", file]);
    assert.match(verified.toString(), /: OK\n$/);
    const text = execFileSync("openssl", ["x509", "-in", file, "-noout", "-text"]).toString();
    assert.match(text, /Key Usage: critical\s+Digital Signature, Key Encipherment, CRL Sign\n/);
    assert.match(text, /Basic Constraints: critical\s+CA:TRUE\n/);
    assert.match(text, /ecdsa-with-SHA512/);
  }
});

interface Line {
  readonly message: string;
}

function ensure(dataDirectory: string, wallMs: number): { pair: { certFile: string; keyFile: string }; lines: Line[] } {
  const lines: Line[] = [];
  const note = (message: string): void => {
    lines.push({ message });
  };
  const log = { ...silentLog, info: note, warn: note };
  const config = tlsConfigFrom("client", "--auto-tls", `--data-dir=${dataDirectory}`);
  const disk = new NodeDisk();
  ensureSelfSigned(config, {
    makePrivate: (each) => makePrivate(each, { disk, log }),
    clock: { wallMs: () => wallMs, monotonicMs: () => 0 },
    log,
  });
  return { pair: config.keyPair!, lines };
}

// covers: SA-06
test("certificates are made where they are missing, for nobody else to read, and stay until they expire", () => {
  const data = join(directory, "data");
  const { pair, lines } = ensure(data, Date.now());
  assert.equal(pair.certFile, `${data}/fixtures/client/cert.pem`);
  assert.deepEqual(
    lines.map((each) => each.message),
    ["automatically generate certificates", "created cert file", "created key file"],
  );
  const modes = (): number[] => [data, dirname(pair.certFile), pair.keyFile].map((path) => statSync(path).mode & 0o777);
  assert.deepEqual(modes(), [0o700, 0o700, 0o600]);
  const first = readFileSync(pair.certFile, "utf8");
  assert.deepEqual(ensure(data, Date.now() + 364 * 24 * 3600 * 1000).lines, []);
  assert.equal(readFileSync(pair.certFile, "utf8"), first);

  ensure(data, Date.now() + 366 * 24 * 3600 * 1000);
  assert.notEqual(readFileSync(pair.certFile, "utf8"), first);

  rmSync(pair.keyFile);
  chmodSync(dirname(pair.certFile), 0o777);
  ensure(data, Date.now());
  assert.deepEqual(modes(), [0o700, 0o700, 0o600]);
  const config = tlsConfigFrom("client", "--auto-tls", `--data-dir=${data}`);
  const credentials = new Credentials(config, { wallMs: () => 0, monotonicMs: () => 0 }, silentLog);
  assert.notEqual(credentials.current().serverOptions, null);
});

test("files that somebody put there are used as they are", () => {
  const data = join(directory, "given");
  mkdirSync(`${data}/fixtures/client`, { recursive: true });
  for (const name of ["cert.pem", "key.pem"]) writeFileSync(`${data}/fixtures/client/${name}`, "garbage");
  const { lines, pair } = ensure(data, Date.now());
  assert.deepEqual(lines, []);
  assert.equal(readFileSync(pair.certFile, "utf8"), "garbage");
});
