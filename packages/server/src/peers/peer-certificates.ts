/**
 * What a handshake between members has to show, whichever side dials (raft-and-peers.md §4.10):
 *
 *   both    a certificate of the trusted CA, not revoked, with an allowed common name or valid for an allowed host
 *   dialled also: the remote address is one that the certificate names, unless that is switched off
 *   dialler also: the certificate is valid for the host we dialled
 *
 * Files are read for each handshake, so that a rotated certificate or a grown revocation list needs no restart.
 */
import type { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import type { PeerTlsConfig } from "../config/peer-tls.ts";
import { revokedSerials } from "./revocation-list.ts";

/** Names of an address and addresses of a name; node:dns/promises is one. */
export interface Resolver {
  reverse(address: string): Promise<string[]>;
  lookup(name: string, options: { all: true }): Promise<{ readonly address: string }[]>;
}

/** For a connection to `host`; throws Error if a file cannot be read. `tls` null: a server of whoever the system trusts. */
export function dialOptions(tls: PeerTlsConfig | null, host: string): ConnectionOptions {
  const { checkServerIdentity } = process.getBuiltinModule("node:tls");
  if (tls === null) return { minVersion: "TLSv1.2" };
  const { certFile, keyFile } = tls.clientCertificate ?? tls;
  return {
    cert: readFileSync(certFile),
    key: readFileSync(keyFile),
    ...(tls.trustedCaFile === null ? {} : { ca: readFileSync(tls.trustedCaFile) }),
    minVersion: tls.minVersion,
    maxVersion: tls.maxVersion,
    checkServerIdentity: (_name, certificate) => {
      const mismatch = checkServerIdentity(host, certificate);
      if (mismatch !== undefined) return mismatch;
      const { X509Certificate } = process.getBuiltinModule("node:crypto");
      const refusal = refusalOf(tls, [new X509Certificate(certificate.raw)]);
      return refusal === null ? undefined : new Error(refusal);
    },
  };
}

/** Looks at who has dialled us, after OpenSSL has verified the chain. `done` gets why not, or null. */
export function checkDialler(
  tls: PeerTlsConfig,
  secure: TLSSocket,
  resolver: Resolver,
  done: (refusal: string | null) => void,
): void {
  const leaf = secure.getPeerX509Certificate();
  if (leaf === undefined) return done(null);
  const refusal = refusalOf(tls, chainOf(leaf));
  const remote = secure.remoteAddress;
  if (refusal !== null || tls.skipClientSanVerification || remote === undefined) return done(refusal);
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

/** etcd looks at the serial numbers of all certificates shown, and at the names of the first. */
function refusalOf(tls: PeerTlsConfig, chain: readonly X509Certificate[]): string | null {
  if (!isAllowed(tls, chain[0]!)) return "client certificate authentication failed";
  if (tls.crlFile === null) return null;
  let revoked: Set<bigint>;
  try {
    revoked = revokedSerials(readFileSync(tls.crlFile));
  } catch (error) {
    return (error as Error).message;
  }
  for (const certificate of chain) {
    if (revoked.has(BigInt(`0x${certificate.serialNumber}`))) {
      return `transport: certificate serial ${certificate.serialNumber.toLowerCase()} revoked`;
    }
  }
  return null;
}

function isAllowed(tls: PeerTlsConfig, leaf: X509Certificate): boolean {
  const { allowedCommonNames, allowedHostnames } = tls;
  if (allowedCommonNames.length > 0) return allowedCommonNames.includes(commonName(leaf));
  if (allowedHostnames.length === 0) return true;
  const { isIP } = process.getBuiltinModule("node:net");
  return allowedHostnames.some((host) =>
    isIP(host) === 0 ? leaf.checkHost(host, { subject: "never" }) : leaf.checkIP(host),
  );
}

/** One relative name a line; a value that holds special characters is escaped, and then is no name anybody allows. */
function commonName(leaf: X509Certificate): string {
  const line = leaf.subject?.split("\n").findLast((each) => each.startsWith("CN="));
  return line?.slice("CN=".length) ?? "";
}

function chainOf(leaf: X509Certificate): X509Certificate[] {
  const chain: X509Certificate[] = [];
  for (let each: X509Certificate | undefined = leaf; each !== undefined; each = each.issuerCertificate) {
    if (chain.some((before) => before.fingerprint256 === each!.fingerprint256)) break;
    chain.push(each);
  }
  return chain;
}

function subjectNames(leaf: X509Certificate): { addresses: string[]; names: string[] } {
  const parts = (leaf.subjectAltName ?? "").split(", ");
  const after = (prefix: string): string[] =>
    parts.filter((each) => each.startsWith(prefix)).map((each) => each.slice(prefix.length));
  return { addresses: after("IP Address:"), names: after("DNS:") };
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
