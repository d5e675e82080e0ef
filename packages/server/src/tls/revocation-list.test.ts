import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { CertificateMaker, hasOpenssl } from "../testing/certificates.ts";
import { MalformedRevocationList, revokedSerials } from "./revocation-list.ts";

describe("a revocation list", { skip: !hasOpenssl() }, () => {
  const made = new CertificateMaker(mkdtempSync(join(tmpdir(), "crl-")));
  after(() => rmSync(made.directory, { recursive: true, force: true }));

  test("is read as DER and as PEM, and what is none is refused by name", () => {
    made.authority("ca");
    made.revocationList(["0102", "00FFEEDDCCBBAA99887766554433221100"]);
    const expected = new Set([0x102n, 0xffeeddccbbaa99887766554433221100n]);
    assert.deepEqual(revokedSerials(readFileSync(made.path("crl", "pem"))), expected);
    const der = readFileSync(made.path("crl", "der"));
    assert.deepEqual(revokedSerials(der), expected);
    made.revocationList([]);
    assert.deepEqual(revokedSerials(readFileSync(made.path("crl", "pem"))), new Set());
    for (let length = 0; length < der.length; length++) {
      assert.throws(() => revokedSerials(der.subarray(0, length)), MalformedRevocationList);
    }
    assert.throws(() => revokedSerials(Buffer.from("no list")), MalformedRevocationList);
  });
});
