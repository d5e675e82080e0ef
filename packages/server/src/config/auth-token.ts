/**
 * --auth-token: `simple`, nothing at all, or `jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=10m`. Only what the
 * text says; the key files are read when the member starts (../auth/jwt-keys.ts).
 */
import { parseDurationMs } from "./duration.ts";

/** JWS algorithms as `sign-method` names them, of which etcd knows all but `none`, which we refuse as it does. */
export const SIGN_METHODS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "HS256",
  "HS384",
  "HS512",
  "EdDSA",
] as const;
export type SignMethod = (typeof SIGN_METHODS)[number];

export type AuthTokenConfig =
  /** Nobody can log in. */
  | { readonly kind: "none" }
  /** `ttlMs`: how long a token lives unused. */
  | { readonly kind: "simple"; readonly ttlMs: number }
  | JwtConfig;

export interface JwtConfig {
  readonly kind: "jwt";
  readonly signMethod: SignMethod;
  readonly publicKeyFile: string | null;
  /** With HS* the file is the secret. */
  readonly privateKeyFile: string | null;
  /** From issue to expiry. */
  readonly ttlMs: number;
  /** Options nobody knows: worth a warning. */
  readonly unknownOptions: readonly string[];
}

/** etcd's. */
const JWT_TTL_DEFAULT_MS = 300_000;
const SIMPLE_TTL_DEFAULT_MS = 300_000;

/** Throws an Error with etcd's text, and what is wrong. `simpleTtlSeconds` is --auth-token-ttl; 0 means the default. */
export function parseAuthToken(text: string, simpleTtlSeconds: number): AuthTokenConfig {
  const [kind, ...pairs] = text.split(",");
  const options = new Map<string, string>();
  for (const pair of pairs) {
    const parts = pair.split("=");
    if (parts.length !== 2) refuse(`${JSON.stringify(pair)} is not name=value`);
    const [name, value] = parts as [string, string];
    if (options.has(name)) refuse(`${name} is given twice`);
    options.set(name, value);
  }
  switch (kind) {
    case "":
      return { kind: "none" };
    case "simple":
      return { kind: "simple", ttlMs: simpleTtlSeconds === 0 ? SIMPLE_TTL_DEFAULT_MS : simpleTtlSeconds * 1000 };
    case "jwt":
      return jwtOf(options);
    default:
      return refuse(`unknown token type ${JSON.stringify(kind)}`);
  }
}

function jwtOf(options: ReadonlyMap<string, string>): JwtConfig {
  const ttl = options.get("ttl") ?? "";
  const ttlMs = ttl === "" ? JWT_TTL_DEFAULT_MS : parseDurationMs(ttl);
  if (ttlMs === null) return refuse(`invalid duration ${JSON.stringify(ttl)}`);
  const name = options.get("sign-method") ?? "";
  const signMethod = SIGN_METHODS.find((each) => each === name);
  if (signMethod === undefined) return refuse(`auth: invalid auth signature method ${JSON.stringify(name)}`);
  const known = ["sign-method", "pub-key", "priv-key", "ttl"];
  return {
    kind: "jwt",
    signMethod,
    publicKeyFile: options.get("pub-key") || null,
    privateKeyFile: options.get("priv-key") || null,
    ttlMs,
    unknownOptions: [...options.keys()].filter((each) => !known.includes(each)),
  };
}

function refuse(reason: string): never {
  throw new Error(`auth: invalid auth options (${reason})`);
}
