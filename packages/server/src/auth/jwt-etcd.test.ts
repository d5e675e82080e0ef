import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Identity } from "@quorate/auth";
import { silentLog } from "@quorate/world";
import { isInstalled, ServerProcess } from "../../../../tests/harness/processes.ts";
import { type JwtConfig, parseAuthToken } from "../config/auth-token.ts";
import { MachineClock } from "../world/clock.ts";
import { JwtTokens } from "./jwt-tokens.ts";

const ETCD = process.env.ETCD ?? "etcd";

const knowsEdDsa = (): boolean => !/^etcd Version: 3\.[0-5]\./m.test(execFileSync(ETCD, ["--version"]).toString());

for (const method of ["RS256", "ES384", "HS512", "PS256", "EdDSA"]) {
  test(`${method}: a token of a real etcd with the same key stands for its user here, and ours for its user there`, async (t) => {
    if (!isInstalled(ETCD)) return t.skip(`${ETCD} is not installed`);
    if (method === "EdDSA" && !knowsEdDsa()) return t.skip("this etcd knows no EdDSA");
    const directory = await mkdtemp(join(tmpdir(), "quorate-jwt-etcd-"));
    t.after(() => rm(directory, { recursive: true }));
    const flag = flagOf(method, directory);
    const etcd = await startWithRoot(t, flag);

    const { token: theirs } = await post(etcd, "auth/authenticate", { name: "root", password: "pw" });
    assert.ok(typeof theirs === "string");
    const tokens = await JwtTokens.open(parseAuthToken(flag, 300) as JwtConfig, {
      clock: new MachineClock(),
      log: silentLog,
    });
    const identity = await new Promise<Identity | null>((resolve) => {
      tokens.resolve(theirs, (told) => resolve(told === "busy" ? null : told));
    });
    assert.equal(identity?.user, "root");

    const login = { user: "root", nonce: "", revision: identity.revision!, index: 1 };
    const ours = await new Promise<string | null>((resolve) => tokens.issue(login, resolve));
    const { users } = await post(etcd, "auth/user/list", {}, ours!);
    assert.deepEqual(users, ["root"]);
    await assert.rejects(post(etcd, "auth/user/list", {}, `${ours}x`), /invalid auth token/);
  });
}

function flagOf(method: string, directory: string): string {
  const privateFile = join(directory, "private.pem");
  const publicFile = join(directory, "public.pem");
  if (method.startsWith("HS")) {
    writeFileSync(privateFile, "a secret\n");
    return `jwt,sign-method=${method},priv-key=${privateFile}`;
  }
  const { publicKey, privateKey } = pairOf(method);
  writeFileSync(privateFile, privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(publicFile, publicKey.export({ type: "spki", format: "pem" }));
  return `jwt,sign-method=${method},pub-key=${publicFile},priv-key=${privateFile},ttl=10m`;
}

function pairOf(method: string): { publicKey: KeyObject; privateKey: KeyObject } {
  if (method === "EdDSA") return generateKeyPairSync("ed25519");
  if (method === "ES384") return generateKeyPairSync("ec", { namedCurve: "P-384" });
  return generateKeyPairSync("rsa", { modulusLength: 2048 });
}

async function startWithRoot(t: TestContext, authToken: string): Promise<ServerProcess> {
  const etcd = await ServerProcess.etcd({ flags: [`--auth-token=${authToken}`] });
  t.after(() => etcd.dispose());
  await post(etcd, "auth/user/add", { name: "root", password: "pw" });
  await post(etcd, "auth/role/add", { name: "root" });
  await post(etcd, "auth/user/grant", { user: "root", role: "root" });
  await post(etcd, "auth/enable", {});
  return etcd;
}

/** A call by etcd's JSON gateway; rejects with the error's text. */
async function post(etcd: ServerProcess, path: string, body: object, token = ""): Promise<Record<string, unknown>> {
  const response = await fetch(`http://${etcd.endpoint}/v3/${path}`, {
    method: "POST",
    body: JSON.stringify(body),
    ...(token === "" ? {} : { headers: { authorization: token } }),
  });
  const text = await response.text();
  if (response.status !== 200) throw new Error(text);
  return JSON.parse(text) as Record<string, unknown>;
}
