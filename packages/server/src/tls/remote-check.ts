/**
 * What a TLS handshake has to show us, on every port and whichever side dials. One implementation for all of them: a rule
 * that one listener forgets is no rule (known failure SA-23).
 *
 *   both      not revoked; an allowed common name, or valid for an allowed host
 *   accepted  also: a certificate at all, verified; the remote address is one that it names, if that is asked for
 *   dialled   also: verified by OpenSSL, and valid for the host we dialled
 */
import type { X509Certificate } from "node:crypto";
import type { ConnectionOptions, PeerCertificate, TLSSocket } from "node:tls";
import type { TlsConfig } from "../config/tls.ts";
import { commonNameOf } from "./common-name.ts";
import type { Credentials, LoadedFiles } from "./credentials.ts";

/** Names of an address and addresses of a name; node:dns/promises is one. */
export interface Resolver {
  reverse(address: string): Promise<string[]>;
  lookup(name: string, options: { all: true }): Promise<{ readonly address: string }[]>;
}

/** For a connection to `host`. */
export function dialOptions(credentials: Credentials, host: string): ConnectionOptions {
  const { checkServerIdentity } = process.getBuiltinModule("node:tls");
  const { isIP } = process.getBuiltinModule("node:net");
  const { config } = credentials;
  const files = credentials.current();
  const name = config.serverName ?? host;
  return {
    secureContext: files.dialContext(),
    // TLS has no names for addresses.
    ...(isIP(name) === 0 ? { servername: name } : {}),
    // Whoever makes certificates of their own has nobody to vouch for them.
    rejectUnauthorized: config.selfSigned === null,
    checkServerIdentity: (_name, certificate) => {
      const mismatch = checkServerIdentity(name, certificate);
      if (mismatch !== undefined) return mismatch;
      const refusal = refusalOf(config, files, shownChain(certificate), false);
      return refusal === null ? undefined : new Error(refusal);
    },
  };
}

export interface Accepted {
  readonly config: TlsConfig;
  readonly files: LoadedFiles;
  readonly wallMs: number;
  readonly resolver: Resolver;
}

/** Looks at who has connected to us, once the handshake is over. `done` gets why not, or null. */
export function checkAccepted(
  secure: TLSSocket,
  { config, files, wallMs, resolver }: Accepted,
  done: (refusal: string | null) => void,
): void {
  const leaf = secure.getPeerX509Certificate();
  if (config.requireClientCertificate) {
    // A resumed session counts as authorized even if it never had a certificate.
    if (leaf === undefined) return done("tls: client didn't provide a certificate");
    if (!secure.authorized) return done(verificationText(secure.authorizationError, leaf, wallMs));
    // ... and is not verified again.
    if (Date.parse(leaf.validTo) < wallMs) return done(verificationText("CERT_HAS_EXPIRED", leaf, wallMs));
  }
  if (leaf === undefined) return done(null);
  const refusal = refusalOf(config, files, chainOf(leaf), secure.isSessionReused());
  const remote = secure.remoteAddress;
  if (refusal !== null || !config.checksRemoteAddress || remote === undefined) return done(refusal);
  const { addresses, names } = subjectNames(leaf);
  if (addresses.length > 0) {
    if (leaf.checkIP(plainAddress(remote)) !== undefined) return done(null);
    if (names.length === 0) {
      return done(`x509: certificate is valid for ${addresses.join(", ")}, not ${plainAddress(remote)}`);
    }
  }
  if (names.length === 0) return done(null);
  hasName(plainAddress(remote), names, resolver).then(
    (isNamed) => done(isNamed ? null : `tls: "${remote}" does not match any of DNSNames ["${names.join('" "')}"]`),
    (error: Error) => done(error.message),
  );
}

/** What a certificate is for: addresses and names. */
export function subjectNames(leaf: X509Certificate): { addresses: string[]; names: string[] } {
  const parts = (leaf.subjectAltName ?? "").split(", ");
  const after = (prefix: string): string[] =>
    parts.filter((each) => each.startsWith(prefix)).map((each) => each.slice(prefix.length));
  return { addresses: after("IP Address:"), names: after("DNS:") };
}

/**
 * etcd looks at the serial numbers of all certificates shown, and at the names of the first. What a resumed session shows is
 * the first alone; the others were looked at when it began, by the same list (tls/credentials.ts).
 */
function refusalOf(
  config: TlsConfig,
  { revoked, authorities }: LoadedFiles,
  shown: readonly X509Certificate[],
  isResumed: boolean,
): string | null {
  if (!isAllowed(config, shown[0]!)) return "client certificate authentication failed";
  if (revoked === null) return null;
  const last = shown.at(-1)!;
  const issuers = authorities?.filter((each) => last.checkIssued(each) && last.verify(each.publicKey)) ?? [];
  for (const { serialNumber } of [...shown, ...issuers]) {
    if (revoked.has(BigInt(`0x${serialNumber}`))) {
      return `transport: certificate serial ${serialNumber.toLowerCase()} revoked`;
    }
  }
  // Some releases of Node do not show a server the certificates between the first and ours (nodejs/node#65579).
  if (isResumed || authorities === null || issuers.length > 0 || isAmong(authorities, last)) return null;
  return "transport: cannot tell whether an authority between the certificate and ours was revoked";
}

function isAmong(authorities: readonly X509Certificate[], certificate: X509Certificate): boolean {
  return authorities.some((each) => each.fingerprint256 === certificate.fingerprint256);
}

function isAllowed({ allowedCommonNames, allowedHostnames }: TlsConfig, leaf: X509Certificate): boolean {
  if (allowedCommonNames.length > 0) return allowedCommonNames.includes(commonNameOf(leaf.raw));
  if (allowedHostnames.length === 0) return true;
  const { isIP } = process.getBuiltinModule("node:net");
  return allowedHostnames.some((host) =>
    isIP(host) === 0 ? leaf.checkHost(host, { subject: "never" }) : leaf.checkIP(host),
  );
}

function chainOf(leaf: X509Certificate): X509Certificate[] {
  const chain: X509Certificate[] = [];
  for (let each: X509Certificate | undefined = leaf; each !== undefined; each = each.issuerCertificate) {
    if (chain.some((before) => before.fingerprint256 === each!.fingerprint256)) break;
    chain.push(each);
  }
  return chain;
}

/** The same of what a dialled server has shown, which comes in another form and ends in itself. */
function shownChain(leaf: PeerCertificate): X509Certificate[] {
  const { X509Certificate } = process.getBuiltinModule("node:crypto");
  const chain = [new X509Certificate(leaf.raw)];
  let each = leaf as Partial<ReturnType<TLSSocket["getPeerCertificate"]>> & { issuerCertificate?: PeerCertificate };
  for (let next = each.issuerCertificate; next !== undefined && next !== each; next = each.issuerCertificate) {
    chain.push(new X509Certificate(next.raw));
    each = next;
  }
  return chain;
}

/** In Go's words, for what OpenSSL's verification says. */
function verificationText(code: unknown, leaf: X509Certificate, wallMs: number): string {
  const unverified = "tls: failed to verify certificate: x509:";
  const now = new Date(wallMs).toISOString();
  switch (String(code)) {
    case "CERT_HAS_EXPIRED":
      return `${unverified} certificate has expired or is not yet valid: current time ${now} is after ${leaf.validTo}`;
    case "CERT_NOT_YET_VALID":
      return `${unverified} certificate has expired or is not yet valid: current time ${now} is before ${leaf.validFrom}`;
    case "INVALID_PURPOSE":
      return `${unverified} certificate specifies an incompatible key usage`;
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "CERT_UNTRUSTED":
      return `${unverified} certificate signed by unknown authority`;
    default:
      return `tls: failed to verify certificate: ${String(code)}`;
  }
}

/** Backwards first, where alone wildcards count, then forwards. */
async function hasName(address: string, names: readonly string[], resolver: Resolver): Promise<boolean> {
  const wildcards = names.filter((each) => each.startsWith("*.")).map((each) => each.slice(1));
  const plain = names.filter((each) => !each.startsWith("*."));
  const reversed = await resolver.reverse(address).catch(() => []);
  for (const name of reversed.map((each) => each.replace(/\.$/, ""))) {
    if (plain.includes(name) || wildcards.some((each) => name.endsWith(each))) return true;
  }
  for (const name of plain) {
    const found = await resolver.lookup(name, { all: true }).catch(() => []);
    if (found.some((each) => each.address === address)) return true;
  }
  return false;
}

/** Without the clothes an IPv4 address wears on a socket of both kinds. */
function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice("::ffff:".length) : address;
}
