import assert from "node:assert/strict";
import { test } from "node:test";
import { NoTokens, SimpleTokens } from "@quorate/auth";
import { silentLog } from "@quorate/world";
import { parseAuthToken } from "../config/auth-token.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import { refusalToIssue, tokensOf } from "./configured-tokens.ts";

const clock = new ManualWorld();
const world = { clock, random: { below: () => 0 }, log: silentLog };

test("simple tokens live as long as --auth-token-ttl says", async () => {
  const tokens = await tokensOf({ authToken: parseAuthToken("simple", 7) }, world);
  assert.ok(tokens instanceof SimpleTokens);
  tokens.loggedIn({ user: "alice", nonce: tokens.nonce(), revision: 1, index: 4 });
  clock.nowMs += 7000;
  assert.equal(tokens.known("aaaaaaaaaaaaaaaa.4")?.user, "alice");
  tokens.expire();
  clock.nowMs += 7001;
  assert.equal(tokens.known("aaaaaaaaaaaaaaaa.4"), undefined);
});

test("an empty --auth-token makes every token invalid, and issues none", async () => {
  const authToken = parseAuthToken("", 300);
  assert.ok((await tokensOf({ authToken }, world)) instanceof NoTokens);
  assert.equal(refusalToIssue(authToken), "AuthFailed");
});

test("jwt without keys refuses the start", async () => {
  const authToken = parseAuthToken("jwt,sign-method=RS256", 300);
  await assert.rejects(tokensOf({ authToken }, world), { kind: "JwtKey", message: "auth: missing key data" });
  assert.equal(refusalToIssue(authToken), "VerifyOnly");
});
