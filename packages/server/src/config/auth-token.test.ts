import assert from "node:assert/strict";
import { test } from "node:test";
import { type AuthTokenConfig, parseAuthToken, SIGN_METHODS } from "./auth-token.ts";
import { parseArguments } from "./command-line.ts";
import { configOf } from "./config.ts";

const parse = (text: string): AuthTokenConfig => parseAuthToken(text, 300);

test("the defaults are simple tokens of 300 seconds and passwords of cost 10", () => {
  const config = configOf(parseArguments([]), false);
  assert.deepEqual(config.authToken, { kind: "simple", ttlMs: 300_000 });
  assert.equal(config.bcryptCostConfigured, 10);
});

test("flags say otherwise, and a TTL of 0 is the default", () => {
  const config = configOf(parseArguments(["--auth-token=simple", "--auth-token-ttl=7", "--bcrypt-cost=4"]), false);
  assert.deepEqual(config.authToken, { kind: "simple", ttlMs: 7000 });
  assert.equal(config.bcryptCostConfigured, 4);
  assert.deepEqual(parseAuthToken("simple", 0), { kind: "simple", ttlMs: 300_000 });
});

test("nothing at all means no tokens", () => {
  assert.deepEqual(configOf(parseArguments(["--auth-token="]), false).authToken, { kind: "none" });
});

test("jwt takes every algorithm, files and a TTL", () => {
  for (const signMethod of SIGN_METHODS) {
    assert.deepEqual(parse(`jwt,sign-method=${signMethod},pub-key=a.pem,priv-key=b.pem,ttl=1h30m`), {
      kind: "jwt",
      signMethod,
      publicKeyFile: "a.pem",
      privateKeyFile: "b.pem",
      ttlMs: 5_400_000,
      unknownOptions: [],
    });
  }
});

test("a jwt lives five minutes by default; an unknown option is only worth a warning", () => {
  assert.deepEqual(parse("jwt,sign-method=HS256,priv-key=secret,pub-key=,ttl=,color=blue"), {
    kind: "jwt",
    signMethod: "HS256",
    publicKeyFile: null,
    privateKeyFile: "secret",
    ttlMs: 300_000,
    unknownOptions: ["color"],
  });
});

test("what etcd refuses is refused in its words", () => {
  const refused = [
    "jwt",
    "jwt,priv-key=a",
    "jwt,sign-method=",
    "jwt,sign-method=none",
    "jwt,sign-method=rs256",
    "jwt,sign-method=RS256,ttl=5",
    "jwt,sign-method=RS256,ttl=never",
    "jwt,sign-method=RS256,sign-method=RS256",
    "jwt,sign-method",
    "jwt,sign-method=RS256=x",
    "simple,",
    "simple,a",
    "Simple",
    "basic",
    " ",
  ];
  for (const text of refused) assert.throws(() => parse(text), /^Error: auth: invalid auth options \(/, text);
  assert.throws(() => configOf(parseArguments(["--auth-token=basic"]), false), {
    kind: "Config",
    message: 'auth: invalid auth options (unknown token type "basic")',
  });
});
