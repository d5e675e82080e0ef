import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { silentLog } from "@quorate/world";
import { CertificateMaker, hasOpenssl, tlsConfigFrom } from "../testing/certificates.ts";
import { Credentials, UnusableTlsFile } from "./credentials.ts";

describe("TLS files", { skip: !hasOpenssl() }, () => {
  const made = new CertificateMaker(mkdtempSync(join(tmpdir(), "credentials-")));
  const [cert, key] = [made.path("live"), made.path("live", "key")];
  const [ca, crl] = [made.path("authorities"), made.path("list", "pem")];
  let nowMs = 0;
  const clock = { monotonicMs: () => nowMs, wallMs: () => Date.now() };
  let lines: string[] = [];
  const note = (message: string, fields: Readonly<Record<string, unknown>> = {}): void => {
    lines.push(`${message}: ${(fields.error as Error | undefined)?.message ?? ""}`);
  };
  const log = { ...silentLog, warn: note, info: note };

  const open = (): Credentials => {
    const files = [`--cert-file=${cert}`, `--key-file=${key}`, `--trusted-ca-file=${ca}`, `--client-crl-file=${crl}`];
    return new Credentials(tlsConfigFrom("client", ...files), clock, log);
  };
  const use = (name: string): void => {
    copyFileSync(made.path(name), cert);
    copyFileSync(made.path(name, "key"), key);
  };

  before(() => {
    made.authority("ca");
    made.authority("other-ca");
    made.certificate("one");
    made.certificate("two", { serial: 2 });
  });
  beforeEach(() => {
    use("one");
    writeFileSync(ca, Buffer.concat([readFileSync(made.path("ca")), readFileSync(made.path("other-ca"))]));
    made.revocationList([]);
    copyFileSync(made.path("crl", "pem"), crl);
    lines = [];
  });
  after(() => rmSync(made.directory, { recursive: true, force: true }));

  test("what has not changed is not read again, and what has is noticed within a second", () => {
    const credentials = open();
    const first = credentials.current();
    nowMs += 5000;
    assert.equal(credentials.current(), first);
    use("two");
    nowMs += 999;
    assert.equal(credentials.current(), first, "no look at the disk before its time");
    nowMs += 1;
    const second = credentials.current();
    assert.notEqual(second, first);
    assert.equal(second.serverOptions!.cert, readFileSync(cert, "utf8"));
    assert.notDeepEqual(second.serverOptions!.ticketKeys, first.serverOptions!.ticketKeys);
    assert.deepEqual(lines, ["loaded changed TLS files: "]);
  });

  test("a changed revocation list voids all tickets, as everything does that changes who is let in", () => {
    const credentials = open();
    const first = credentials.current();
    made.revocationList(["77"]);
    copyFileSync(made.path("crl", "pem"), crl);
    nowMs += 1000;
    const second = credentials.current();
    assert.ok(second.revoked!.has(0x77n));
    assert.notDeepEqual(second.serverOptions!.ticketKeys, first.serverOptions!.ticketKeys);
  });

  test("a damaged file holds back no other", () => {
    const credentials = open();
    const { cert: before } = credentials.current().serverOptions!;
    cutInHalf(cert);
    made.revocationList(["77"]);
    copyFileSync(made.path("crl", "pem"), crl);
    copyFileSync(made.path("other-ca"), ca);
    nowMs += 1000;
    const { revoked, authorities, serverOptions } = credentials.current();
    assert.ok(revoked!.has(0x77n));
    assert.deepEqual(
      authorities!.map((each) => each.subject),
      ["CN=other-ca"],
    );
    assert.equal(serverOptions!.cert, before);
  });

  for (const [what, damage, reason] of [
    ["a certificate without its key", () => copyFileSync(made.path("two"), cert), /with certificate .*mismatch/],
    ["half a certificate", () => cutInHalf(cert), /^cannot use TLS certificate .*live\.crt/],
    ["an empty certificate", () => writeFileSync(cert, ""), /^cannot use TLS certificate .*live\.crt/],
    ["half a key", () => cutInHalf(key), /^cannot use TLS key/],
    ["no key", () => rmSync(key), /^cannot read TLS file .*live\.key: ENOENT/],
    ["authorities cut in the second one", () => cut(ca, 0.75), /^cannot use TLS certificate .*authorities\.crt/],
    ["no authorities", () => writeFileSync(ca, "# none yet\n"), /^cannot use TLS certificate .*authorities\.crt/],
    ["half a revocation list", () => cutInHalf(crl), /^cannot use certificate revocation list .*malformed crl/],
  ] as const) {
    test(`${what}: what was before stays in use, one warning says why, and a start is refused`, () => {
      const credentials = open();
      const first = credentials.current();
      damage();
      for (let i = 0; i < 3; i++) {
        nowMs += 1000;
        assert.equal(credentials.current(), first);
      }
      assert.equal(lines.length, 1, lines.join("\n"));
      const [message, error] = lines[0]!.split(/: (.*)/);
      assert.equal(message, "cannot use a changed TLS file; going on with what it was before");
      assert.match(error!, reason);
      assert.throws(open, (refusal) => refusal instanceof UnusableTlsFile && reason.test(refusal.message));

      writeFileSync(ca, readFileSync(made.path("ca")));
      copyFileSync(made.path("crl", "pem"), crl);
      use("two");
      nowMs += 1000;
      assert.notEqual(credentials.current(), first);
      assert.equal(credentials.current().serverOptions!.cert, readFileSync(made.path("two"), "utf8"));
    });
  }

  function cutInHalf(file: string): void {
    cut(file, 0.5);
  }

  function cut(file: string, part: number): void {
    const bytes = readFileSync(file);
    writeFileSync(file, bytes.subarray(0, Math.floor(bytes.length * part)));
  }
});
