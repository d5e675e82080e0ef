import assert from "node:assert/strict";
import {
  constants,
  createHmac,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Identity } from "@quorate/auth";
import { type LogFields, silentLog } from "@quorate/world";
import { type JwtConfig, parseAuthToken, SIGN_METHODS, type SignMethod } from "../config/auth-token.ts";
import { JwtTokens } from "./jwt-tokens.ts";

const directory = mkdtempSync(join(tmpdir(), "quorate-jwt-"));
after(() => rmSync(directory, { recursive: true }));

const START_MS = 1_700_000_000_000;
const NOW = START_MS / 1000;

/** What a signed token may not depend on is not there. */
class FakeClock {
  nowMs = START_MS;
  wallMs(): number {
    return this.nowMs;
  }
}

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const rsaOther = generateKeyPairSync("rsa", { modulusLength: 2048 });
const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
const p521 = generateKeyPairSync("ec", { namedCurve: "P-521" });
const ed = generateKeyPairSync("ed25519");
const SECRET = "a secret of which the last newline is a part\n";

const publicPem = (key: KeyObject): string => key.export({ type: "spki", format: "pem" }).toString();
const privatePem = (key: KeyObject): string => key.export({ type: "pkcs8", format: "pem" }).toString();

function pairOf(method: SignMethod): { publicKey: KeyObject; privateKey: KeyObject } | null {
  if (method.startsWith("HS")) return null;
  if (method === "EdDSA") return ed;
  if (method.startsWith("ES")) return { ES256: p256, ES384: p384, ES512: p521 }[method as "ES256" | "ES384" | "ES512"];
  return rsa;
}

let fileCount = 0;
function fileOf(content: string): string {
  const path = join(directory, `${fileCount++}.pem`);
  writeFileSync(path, content);
  return path;
}

function configOf(method: SignMethod, { isVerifyOnly = false, options = "" } = {}): JwtConfig {
  const pair = pairOf(method);
  const files =
    pair === null
      ? `priv-key=${fileOf(SECRET)}`
      : `pub-key=${fileOf(publicPem(pair.publicKey))}${isVerifyOnly ? "" : `,priv-key=${fileOf(privatePem(pair.privateKey))}`}`;
  return parseAuthToken(`jwt,sign-method=${method},${files}${options}`, 300) as JwtConfig;
}

async function open(method: SignMethod, options: { isVerifyOnly?: boolean; options?: string } = {}) {
  const clock = new FakeClock();
  return { clock, tokens: await JwtTokens.open(configOf(method, options), { clock, log: silentLog }) };
}

/** Null as well if too many wait. */
const resolve = (tokens: JwtTokens, token: string): Promise<Identity | null> =>
  new Promise((done) => tokens.resolve(token, (told) => done(told === "busy" ? null : told)));
const issue = (tokens: JwtTokens, user: string, revision = 5): Promise<string | null> =>
  new Promise((done) => tokens.issue({ user, nonce: "", revision, index: 41 }, done));

const base64 = (value: unknown): string =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
const decoded = (part: string): unknown => JSON.parse(Buffer.from(part, "base64url").toString());

const CLAIMS = { username: "alice", revision: 7, exp: NOW + 60 };

/** A token made without the library under test. */
function made(
  method: SignMethod,
  claims: unknown,
  { header = { alg: method, typ: "JWT" } as unknown, key = pairOf(method)?.privateKey ?? null } = {},
): string {
  const signed = `${base64(header)}.${base64(claims)}`;
  return `${signed}.${signatureOf(method, signed, key)}`;
}

function signatureOf(method: SignMethod, signed: string, key: KeyObject | null): string {
  const hash = `sha${method.slice(2)}`;
  if (key === null) return createHmac(hash, SECRET).update(signed).digest("base64url");
  if (method === "EdDSA") return sign(null, Buffer.from(signed), key).toString("base64url");
  return sign(hash, Buffer.from(signed), { key, ...encodingOf(method) }).toString("base64url");
}

function encodingOf(method: SignMethod): object {
  if (method.startsWith("ES")) return { dsaEncoding: "ieee-p1363" };
  if (method.startsWith("PS"))
    return { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  return {};
}

function isSigned(method: SignMethod, token: string): boolean {
  const [header, claims, signature] = token.split(".") as [string, string, string];
  const signed = `${header}.${claims}`;
  const pair = pairOf(method);
  if (pair === null) return signatureOf(method, signed, null) === signature;
  const bytes = Buffer.from(signature, "base64url");
  const hash = method === "EdDSA" ? null : `sha${method.slice(2)}`;
  return verify(hash, Buffer.from(signed), { key: pair.publicKey, ...encodingOf(method) }, bytes);
}

for (const method of SIGN_METHODS) {
  test(`${method}: takes a token that another library signed with the key, and issues one that it takes`, async () => {
    const { tokens } = await open(method);
    assert.deepEqual(await resolve(tokens, made(method, CLAIMS)), { user: "alice", revision: 7 });
    const token = (await issue(tokens, "bob"))!;
    const [header, claims] = token.split(".");
    assert.deepEqual(decoded(header!), { alg: method, typ: "JWT" });
    assert.deepEqual(decoded(claims!), { exp: NOW + 300, revision: 5, username: "bob" });
    assert.ok(isSigned(method, token));
    const { tokens: another } = await open(method);
    assert.deepEqual(await resolve(another, token), { user: "bob", revision: 5 });
  });
}

test("a server with the public key alone verifies, and cannot issue", async () => {
  for (const method of ["RS256", "PS384", "ES256", "EdDSA"] as const) {
    const { tokens } = await open(method, { isVerifyOnly: true });
    assert.deepEqual(await resolve(tokens, made(method, CLAIMS)), { user: "alice", revision: 7 });
    assert.equal(await issue(tokens, "alice"), null);
  }
});

test("nothing of a log-in goes into the log but the user", async () => {
  const { tokens } = await open("HS256");
  assert.equal(tokens.nonce(), "");
});

test("a verified token is known at once, until it expires", async () => {
  const { clock, tokens } = await open("RS256");
  const token = made("RS256", CLAIMS);
  assert.equal(tokens.known(token), undefined);
  await resolve(tokens, token);
  assert.deepEqual(tokens.known(token), { user: "alice", revision: 7 });
  clock.nowMs = (NOW + 60) * 1000 - 1;
  assert.deepEqual(tokens.known(token), { user: "alice", revision: 7 });
  clock.nowMs++;
  assert.equal(tokens.known(token), undefined);
  assert.equal(await resolve(tokens, token), null);
  tokens.expire();
  assert.equal(await resolve(tokens, token), null);
});

test("a token that was issued here is known at once", async () => {
  const { clock, tokens } = await open("ES256", { options: ",ttl=10s" });
  const token = (await issue(tokens, "alice"))!;
  assert.deepEqual(tokens.known(token), { user: "alice", revision: 5 });
  clock.nowMs += 10_000;
  assert.equal(tokens.known(token), undefined);
});

test("a token before its time, or after it, is nobody's; without an end it lives on, as in etcd", async () => {
  const { clock, tokens } = await open("HS256");
  assert.equal(await resolve(tokens, made("HS256", { ...CLAIMS, exp: NOW })), null);
  assert.equal(await resolve(tokens, made("HS256", { ...CLAIMS, exp: NOW - 1 })), null);
  assert.equal(await resolve(tokens, made("HS256", { ...CLAIMS, nbf: NOW + 1 })), null);
  assert.equal(await resolve(tokens, made("HS256", { ...CLAIMS, exp: "never" })), null);
  const endless = made("HS256", { username: "alice", revision: 7 });
  assert.notEqual(await resolve(tokens, endless), null);
  clock.nowMs += 365 * 86_400_000;
  assert.deepEqual(tokens.known(endless), { user: "alice", revision: 7 });
});

test("a token without user or revision, or with others than a text and a number, is nobody's (covers: AU-04)", async () => {
  const { tokens } = await open("RS256");
  const claims: unknown[] = [
    {},
    { exp: NOW + 60 },
    { username: "alice", exp: NOW + 60 },
    { revision: 7, exp: NOW + 60 },
    { ...CLAIMS, username: null },
    { ...CLAIMS, username: 5 },
    { ...CLAIMS, username: ["alice"] },
    { ...CLAIMS, revision: "7" },
    { ...CLAIMS, revision: null },
    { ...CLAIMS, revision: -1 },
    // No entry of the log could hold it.
    { ...CLAIMS, revision: 2 ** 53 },
    { ...CLAIMS, revision: 1e308 },
    [],
    null,
    "alice",
    7,
  ];
  for (const each of claims) assert.equal(await resolve(tokens, made("RS256", each)), null, JSON.stringify(each));
});

test("a token without signature, alg none in any spelling, is nobody's (covers: AU-04)", async () => {
  const { tokens } = await open("RS256");
  for (const alg of ["none", "None", "NONE", "nOnE", ""]) {
    const signed = `${base64({ alg, typ: "JWT" })}.${base64(CLAIMS)}`;
    assert.equal(await resolve(tokens, `${signed}.`), null);
    assert.equal(await resolve(tokens, signed), null);
    assert.equal(await resolve(tokens, `${signed}.${signatureOf("RS256", signed, rsa.privateKey)}`), null);
  }
  assert.equal(await resolve(tokens, made("RS256", CLAIMS, { header: { typ: "JWT" } })), null);
});

test("a token signed with HMAC under the text of the RSA public key is nobody's (covers: AU-04)", async () => {
  const { tokens } = await open("RS256");
  for (const alg of ["HS256", "HS384", "HS512", "RS256"]) {
    for (const secret of [
      publicPem(rsa.publicKey),
      publicPem(rsa.publicKey).trim(),
      rsa.publicKey.export({ type: "spki", format: "der" }),
    ]) {
      const signed = `${base64({ alg, typ: "JWT" })}.${base64(CLAIMS)}`;
      const hash = alg === "RS256" ? "sha256" : `sha${alg.slice(2)}`;
      const signature = createHmac(hash, secret).update(signed).digest("base64url");
      assert.equal(await resolve(tokens, `${signed}.${signature}`), null, alg);
    }
  }
});

test("a token of another algorithm than the configured one is nobody's, though the key is the right one (covers: AU-04)", async () => {
  for (const configured of SIGN_METHODS) {
    const { tokens } = await open(configured);
    for (const other of SIGN_METHODS) {
      if (other === configured) continue;
      assert.equal(await resolve(tokens, made(other, CLAIMS)), null, `${other} at ${configured}`);
    }
  }
});

test("a token signed with another key, or altered, or torn, is nobody's", async () => {
  const { tokens } = await open("RS256");
  assert.equal(await resolve(tokens, made("RS256", CLAIMS, { key: rsaOther.privateKey })), null);
  const token = made("RS256", CLAIMS);
  const [header, , signature] = token.split(".");
  assert.equal(await resolve(tokens, `${header}.${base64({ ...CLAIMS, username: "root" })}.${signature}`), null);
  for (let i = 0; i < token.length - 1; i += 7) {
    assert.equal(await resolve(tokens, token.slice(0, i)), null);
    const other = token[i] === "A" ? "B" : "A";
    assert.equal(await resolve(tokens, token.slice(0, i) + other + token.slice(i + 1)), null, `at ${i}`);
  }
});

test("a key that a token brings along is not used", async () => {
  const { tokens } = await open("RS256");
  const jwk = rsaOther.publicKey.export({ format: "jwk" });
  for (const more of [{ jwk }, { jku: "http://127.0.0.1/" }, { kid: "../../etc/passwd" }, { crit: ["exp"], exp: 1 }]) {
    const header = { alg: "RS256", typ: "JWT", ...more };
    assert.equal(await resolve(tokens, made("RS256", CLAIMS, { header, key: rsaOther.privateKey })), null);
  }
});

test("garbage, huge texts and texts of dots are nobody's", async () => {
  const { tokens } = await open("RS256");
  for (const text of [
    "",
    ".",
    "..",
    "...",
    "a.b.c",
    ".".repeat(10_000),
    ".".repeat(1_000_000),
    "x".repeat(1_000_000),
    "\u0000",
    "pKkUBnAhcyoGDQGS.42",
  ]) {
    assert.equal(await resolve(tokens, text), null);
  }
});

test("calls with the same token wait for one verification; of too many others nothing is said", async () => {
  const { tokens } = await open("HS256");
  const token = made("HS256", CLAIMS);
  const same = Array.from({ length: 100 }, () => resolve(tokens, token));
  const others = Array.from({ length: 1023 }, (_, i) => resolve(tokens, `forged.${i}`));
  const heard: unknown[] = [];
  tokens.resolve("one.more", (told) => heard.push(told));
  tokens.resolve("x".repeat(16_385), (told) => heard.push(told));
  assert.deepEqual(heard, ["busy", null], "are told before the first is verified");
  for (const each of await Promise.all(same)) assert.deepEqual(each, { user: "alice", revision: 7 });
  for (const each of await Promise.all(others)) assert.equal(each, null);
  assert.notEqual(await resolve(tokens, made("HS256", { ...CLAIMS, username: "bob" })), null);
});

test("4,096 tokens are remembered; an older one is verified anew", async () => {
  const { tokens } = await open("HS256");
  const all = Array.from({ length: 4097 }, (_, i) => made("HS256", { ...CLAIMS, revision: i }));
  for (const token of all) assert.notEqual(await resolve(tokens, token), null);
  assert.equal(tokens.known(all[0]!), undefined);
  assert.equal(tokens.known(all[4096]!)?.revision, 4096);
  assert.equal((await resolve(tokens, all[0]!))?.revision, 0);
});

test("keys that cannot be used refuse the start, in etcd's words where it has some", async () => {
  const rsaPublic = fileOf(publicPem(rsa.publicKey));
  const rsaPrivate = fileOf(privatePem(rsa.privateKey));
  const small = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const encrypted = rsa.privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-128-cbc", passphrase: "x" });
  const table: [string, RegExp][] = [
    ["RS256", /^auth: missing key data$/],
    ["ES256", /^auth: missing key data$/],
    ["EdDSA", /^auth: missing key data$/],
    ["HS256", /^auth: missing key data$/],
    [`HS256,pub-key=${rsaPublic}`, /^auth: missing key data$/],
    [`HS256,priv-key=${fileOf("")}`, /^auth: missing key data$/],
    [`RS256,priv-key=${join(directory, "absent")}`, /^auth: invalid auth options \(ENOENT/],
    [
      `RS256,pub-key=${fileOf(publicPem(rsaOther.publicKey))},priv-key=${rsaPrivate}`,
      /^auth: public and private keys don't match$/,
    ],
    [`RS256,priv-key=${fileOf("garbage")}`, /^invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key$/],
    [`RS256,pub-key=${fileOf("garbage")}`, /^invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key$/],
    [
      `RS256,priv-key=${fileOf("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}`,
      /^key is not a valid RSA private key$/,
    ],
    [`RS256,priv-key=${fileOf(encrypted.toString())}`, /^key is not a valid RSA private key$/],
    [`RS256,priv-key=${rsaPublic}`, /^key is not a valid RSA private key$/],
    [`RS256,pub-key=${rsaPrivate}`, /^key is not a valid RSA public key$/],
    [`RS256,priv-key=${fileOf(privatePem(p256.privateKey))}`, /^key is not a valid RSA private key$/],
    [`RS256,pub-key=${fileOf(publicPem(p256.publicKey))}`, /^key is not a valid RSA public key$/],
    [`ES256,priv-key=${rsaPrivate}`, /^key is not a valid ECDSA private key$/],
    [`ES256,pub-key=${rsaPublic}`, /^key is not a valid ECDSA public key$/],
    [`EdDSA,priv-key=${rsaPrivate}`, /^key is not a valid Ed25519 private key$/],
    [`EdDSA,pub-key=${rsaPublic}`, /^key is not a valid Ed25519 public key$/],
    [
      `ES256,priv-key=${fileOf(privatePem(p384.privateKey))}`,
      /for this sign-method \(curve secp384r1, not prime256v1\)$/,
    ],
    [`RS256,priv-key=${fileOf(privatePem(small.privateKey))}`, /1024 bits; at least 2048 are needed/],
  ];
  for (const [options, message] of table) {
    const config = parseAuthToken(`jwt,sign-method=${options}`, 300) as JwtConfig;
    await assert.rejects(
      JwtTokens.open(config, { clock: new FakeClock(), log: silentLog }),
      { kind: "JwtKey", message },
      options,
    );
  }
});

test("keys in the older forms, and a certificate for the public one, are taken", async () => {
  const files: [SignMethod, string, KeyObject][] = [
    ["RS256", `priv-key=${fileOf(rsa.privateKey.export({ type: "pkcs1", format: "pem" }).toString())}`, rsa.privateKey],
    ["RS256", `pub-key=${fileOf(rsa.publicKey.export({ type: "pkcs1", format: "pem" }).toString())}`, rsa.privateKey],
    [
      "ES256",
      `priv-key=${fileOf(p256.privateKey.export({ type: "sec1", format: "pem" }).toString())}`,
      p256.privateKey,
    ],
    ["ES256", `pub-key=${fileOf(CERTIFICATE)}`, createPrivateKey(CERTIFICATE_KEY)],
  ];
  for (const [method, file, key] of files) {
    const config = parseAuthToken(`jwt,sign-method=${method},${file}`, 300) as JwtConfig;
    const tokens = await JwtTokens.open(config, { clock: new FakeClock(), log: silentLog });
    assert.notEqual(await resolve(tokens, made(method, CLAIMS, { key })), null, file);
  }
});

test("unknown options are worth a warning, and a refused token leaves nothing of itself in the log", async () => {
  const lines: [string, LogFields | undefined][] = [];
  const note = (message: string, fields?: LogFields): void => {
    lines.push([message, fields]);
  };
  const log = { isEnabled: () => true, debug: note, info: note, warn: note, error: note };
  const config = configOf("HS256", { options: ",color=blue" });
  const tokens = await JwtTokens.open(config, { clock: new FakeClock(), log });
  assert.deepEqual(lines, [["unknown JWT options", { keys: ["color"] }]]);
  const token = made("HS256", { ...CLAIMS, username: "mallory", exp: NOW - 1 });
  await resolve(tokens, token);
  await resolve(tokens, `${token}x`);
  assert.ok(lines.length > 1);
  for (const part of [...token.split("."), "mallory"]) assert.ok(!JSON.stringify(lines).includes(part));
});

// A certificate with an EC key, and that key; made for this test, good for nothing else.
const CERTIFICATE_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnCWP1/Uh3uMRdtcG
pWguDWL6C0jX8CPR047IonS9cFuhRANCAASNZVQrGPmifQcp80JXTAMcKvldmDcN
IR5Uq6wLuD44oOUwbY+k53YEeq8yMc6H90oPTNGJC9o8Fz7J9iL3xIDS
-----END PRIVATE KEY-----
`;
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBhDCCASugAwIBAgIUWKLtyn5GfQgcBbl0ILoGXT/yRQ0wCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMcXVvcmF0ZS10ZXN0MCAXDTI2MTEyMjEzMjI0MloYDzIxMjYx
MDI5MTMyMjQyWjAXMRUwEwYDVQQDDAxxdW9yYXRlLXRlc3QwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAASNZVQrGPmifQcp80JXTAMcKvldmDcNIR5Uq6wLuD44oOUw
bY+k53YEeq8yMc6H90oPTNGJC9o8Fz7J9iL3xIDSo1MwUTAdBgNVHQ4EFgQU89X2
juNTCe+sHpopEaiezhG8xB8wHwYDVR0jBBgwFoAU89X2juNTCe+sHpopEaiezhG8
xB8wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiBljF+BdGahnNZr
thYq/pi6kfAn0LeJYbCE/fX4nY7fOwIgVr48G25zHgjBZnt81l2b2acoQAMNlOmL
fh7Eo+hnLSI=
-----END CERTIFICATE-----
`;
