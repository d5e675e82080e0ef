/**
 * The keys of --auth-token=jwt, read from their files and checked when the member starts, so that a wrong one is a refusal
 * and not a log-in that fails later. With HS* the file of the private key is the secret, as it is, to its last newline.
 */
import { createPrivateKey, createPublicKey, createSecretKey, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import type { JwtConfig, SignMethod } from "../config/auth-token.ts";

export interface JwtKeys {
  /** null: tokens can be verified here and not issued. */
  readonly signing: KeyObject | null;
  readonly verifying: KeyObject;
}

/** The configured keys cannot be used. The text is etcd's where etcd has one; it holds nothing of a key. */
export class JwtKeyError extends Error {
  readonly kind = "JwtKey";
}

interface KeyType {
  /** As errors name it. */
  readonly name: "RSA" | "ECDSA" | "Ed25519";
  /** As node names it. */
  readonly type: "rsa" | "ec" | "ed25519";
  /** Of ECDSA: the algorithm demands one curve. */
  readonly curve?: string;
}

/** Shorter ones are no longer safe, and the library refuses them. */
const RSA_BITS_MIN = 2048;

/** Throws {@link JwtKeyError}. */
export function readJwtKeys({ signMethod, publicKeyFile, privateKeyFile }: JwtConfig): JwtKeys {
  const privateBytes = privateKeyFile === null ? null : readKeyFile(privateKeyFile);
  const publicBytes = publicKeyFile === null ? null : readKeyFile(publicKeyFile);
  const type = keyTypeOf(signMethod);
  if (type === null) {
    if (privateBytes === null || privateBytes.length === 0) throw new JwtKeyError("auth: missing key data");
    const secret = createSecretKey(privateBytes);
    return { signing: secret, verifying: secret };
  }
  const signing = privateBytes === null || privateBytes.length === 0 ? null : privateKeyOf(privateBytes, type);
  const given = publicBytes === null || publicBytes.length === 0 ? null : publicKeyOf(publicBytes, type);
  if (signing === null) {
    if (given === null) throw new JwtKeyError("auth: missing key data");
    return { signing, verifying: given };
  }
  const verifying = createPublicKey(signing);
  if (given !== null && !given.equals(verifying)) {
    throw new JwtKeyError("auth: public and private keys don't match");
  }
  return { signing, verifying };
}

function readKeyFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new JwtKeyError(`auth: invalid auth options (${(error as Error).message})`, { cause: error });
  }
}

/** null: a secret. */
function keyTypeOf(method: SignMethod): KeyType | null {
  switch (method) {
    case "RS256":
    case "RS384":
    case "RS512":
    case "PS256":
    case "PS384":
    case "PS512":
      return { name: "RSA", type: "rsa" };
    case "ES256":
      return { name: "ECDSA", type: "ec", curve: "prime256v1" };
    case "ES384":
      return { name: "ECDSA", type: "ec", curve: "secp384r1" };
    case "ES512":
      return { name: "ECDSA", type: "ec", curve: "secp521r1" };
    case "EdDSA":
      return { name: "Ed25519", type: "ed25519" };
    case "HS256":
    case "HS384":
    case "HS512":
      return null;
    default:
      return method satisfies never;
  }
}

function privateKeyOf(bytes: Buffer, type: KeyType): KeyObject {
  const problem = `key is not a valid ${type.name} private key`;
  return checked(
    parsed(() => createPrivateKey(bytes), bytes, problem),
    type,
    problem,
  );
}

/** Of a public key, or of a certificate. */
function publicKeyOf(bytes: Buffer, type: KeyType): KeyObject {
  const problem = `key is not a valid ${type.name} public key`;
  // Node would derive a public key from a private one. Whoever hands one out as public has made a mistake.
  if (bytes.includes("PRIVATE KEY-----")) throw new JwtKeyError(problem);
  return checked(
    parsed(() => createPublicKey(bytes), bytes, problem),
    type,
    problem,
  );
}

function parsed(parse: () => KeyObject, bytes: Buffer, problem: string): KeyObject {
  if (!bytes.includes("-----BEGIN ")) {
    throw new JwtKeyError("invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key");
  }
  try {
    return parse();
  } catch (error) {
    throw new JwtKeyError(problem, { cause: error });
  }
}

function checked(key: KeyObject, { type, curve }: KeyType, problem: string): KeyObject {
  if (key.asymmetricKeyType !== type) throw new JwtKeyError(problem);
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (curve !== undefined && namedCurve !== curve) {
    throw new JwtKeyError(`${problem} for this sign-method (curve ${namedCurve}, not ${curve})`);
  }
  if (type === "rsa" && (modulusLength ?? 0) < RSA_BITS_MIN) {
    throw new JwtKeyError(`${problem} (${modulusLength} bits; at least ${RSA_BITS_MIN} are needed)`);
  }
  return key;
}
