/**
 * The TLS flags of one port as one value: what it shows and asks for, and what we show and check when we dial. The client
 * port and the peer port have the same shape and the same rules; only the names of the flags differ. Pure; the files are
 * read by tls/credentials.ts.
 */

import { opensslCiphers } from "./cipher-suites.ts";
import { isTrue } from "./command-line.ts";
import { isTls, type ServiceUrl } from "./urls.ts";

export interface TlsConfig {
  /** What we show to whoever connects; null: nobody can connect by TLS. */
  readonly keyPair: KeyPairFiles | null;
  /** What we show when we dial; null: nothing. */
  readonly dialKeyPair: KeyPairFiles | null;
  /** The files of the key pair are ours to make where they are missing. Whom we dial is not verified then. */
  readonly selfSigned: SelfSigned | null;
  /** We were asked for certificates of our own and given some. */
  readonly isAutoIgnored: boolean;
  /** null: the authorities that are trusted generally. */
  readonly trustedCaFile: string | null;
  /** Who connects has to show a certificate that verifies. */
  readonly requireClientCertificate: boolean;
  /** The common name of that certificate says which user it is. */
  readonly usesCommonNames: boolean;
  /** A certificate revocation list, DER or PEM: certificates with a serial number on it are refused. */
  readonly crlFile: string | null;
  /** If not empty, the other side's certificate has one of these common names, whichever side dials. */
  readonly allowedCommonNames: readonly string[];
  /** If not empty, the other side's certificate is valid for one of these hosts or addresses. */
  readonly allowedHostnames: readonly string[];
  /** Who connects comes from an address that its certificate names, if it names any. */
  readonly checksRemoteAddress: boolean;
  /** Whom we dial has to be this, whatever address was dialled; null: the host in the address. */
  readonly serverName: string | null;
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion;
  /** OpenSSL's list. */
  readonly ciphers: string;
}

export type TlsVersion = "TLSv1.2" | "TLSv1.3";

export interface KeyPairFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface SelfSigned {
  /** Of the addresses listened on; what the certificate is valid for. */
  readonly hosts: readonly string[];
  /** Of 365 days each. */
  readonly validityYears: number;
}

export type TlsPort = "client" | "peer";

/** What the flags are called. `allowedCommonName` of clients can only be given in a file. */
const NAMES = {
  client: {
    certFile: "cert-file",
    keyFile: "key-file",
    dialCertFile: "client-cert-file",
    dialKeyFile: "client-key-file",
    trustedCaFile: "trusted-ca-file",
    certAuth: "client-cert-auth",
    crlFile: "client-crl-file",
    allowedCommonName: "client-cert-allowed-cn",
    allowedHostname: "client-cert-allowed-hostname",
    auto: "auto-tls",
  },
  peer: {
    certFile: "peer-cert-file",
    keyFile: "peer-key-file",
    dialCertFile: "peer-client-cert-file",
    dialKeyFile: "peer-client-key-file",
    trustedCaFile: "peer-trusted-ca-file",
    certAuth: "peer-client-cert-auth",
    crlFile: "peer-crl-file",
    allowedCommonName: "peer-cert-allowed-cn",
    allowedHostname: "peer-cert-allowed-hostname",
    auto: "peer-auto-tls",
  },
} as const;

/** `text` gives a flag's value by its name. `listenUrls` are those of the port. Throws Error, with etcd's text where it has one. */
export function tlsOf(port: TlsPort, text: (name: string) => string, listenUrls: readonly ServiceUrl[]): TlsConfig {
  const names = NAMES[port];
  const shown = keyPairOf(text(names.certFile), text(names.keyFile));
  const dialled = dialKeyPairOf(text(names.dialCertFile), text(names.dialKeyFile));
  const allowedCommonNames = list(text(names.allowedCommonName));
  const allowedHostnames = list(text(names.allowedHostname));
  if (allowedCommonNames.length > 0 && allowedHostnames.length > 0) {
    throw new Error(
      "AllowedCNs and AllowedHostnames are mutually exclusive " +
        `(cns=${quoted(allowedCommonNames)}, hostnames=${quoted(allowedHostnames)})`,
    );
  }
  const asksForAuto = isTrue(text(names.auto));
  const isAuto = asksForAuto && shown === null;
  if (isAuto) refuseWithAuto(port, text);
  const keyPair = isAuto ? selfSignedFiles(port, text) : shown;
  const trustedCaFile = orNull(text(names.trustedCaFile));
  const isCertAuth = isTrue(text(names.certAuth));
  return {
    keyPair,
    dialKeyPair: dialled ?? keyPair,
    selfSigned: isAuto ? selfSignedOf(text, listenUrls) : null,
    isAutoIgnored: asksForAuto && shown !== null,
    trustedCaFile,
    requireClientCertificate: trustedCaFile !== null || isCertAuth,
    usesCommonNames: isCertAuth,
    crlFile: orNull(text(names.crlFile)),
    allowedCommonNames,
    allowedHostnames,
    checksRemoteAddress: port === "peer" && !isTrue(text("peer-skip-client-san-verification")),
    // Found by a domain's records, members have to belong to it, unless an authority of their own vouches for them.
    serverName: port === "peer" && trustedCaFile === null ? orNull(text("discovery-srv")) : null,
    ...versionsOf(text),
  };
}

/** Why we cannot listen on a peer URL, in etcd's words; null if we can. */
export function peerListenProblem(url: ServiceUrl, tls: TlsConfig): string | null {
  if (!isTls(url) || tls.keyPair !== null) return null;
  const address = url.path === "" ? `${url.host}:${url.port}` : url.path;
  return `cannot listen on TLS for ${address}: KeyFile and CertFile are not presented`;
}

function keyPairOf(certFile: string, keyFile: string): KeyPairFiles | null {
  if (certFile === "" && keyFile === "") return null;
  if (certFile === "" || keyFile === "") {
    throw new Error(`KeyFile and CertFile must both be present[key: ${keyFile}, cert: ${certFile}]`);
  }
  return { certFile, keyFile };
}

function dialKeyPairOf(certFile: string, keyFile: string): KeyPairFiles | null {
  if ((certFile === "") !== (keyFile === "")) {
    throw new Error(
      `ClientKeyFile and ClientCertFile must both be present or both absent: key: ${keyFile}, cert: ${certFile}]`,
    );
  }
  return certFile === "" ? null : { certFile, keyFile };
}

/** etcd drops these flags without a word when it makes the certificate itself, and then lets everybody in. */
function refuseWithAuto(port: TlsPort, text: (name: string) => string): void {
  const { auto, certFile, trustedCaFile, certAuth, crlFile, allowedCommonName, allowedHostname } = NAMES[port];
  const isGiven = (name: string): boolean => (name === certAuth ? isTrue(text(name)) : text(name) !== "");
  for (const name of [trustedCaFile, certAuth, crlFile, allowedCommonName, allowedHostname]) {
    if (!isGiven(name)) continue;
    throw new Error(
      `--${name} cannot be combined with --${auto}: no authority signs such certificates; use --${certFile}`,
    );
  }
}

function selfSignedFiles(port: TlsPort, text: (name: string) => string): KeyPairFiles {
  const dataDirectory = text("data-dir") === "" ? `${text("name")}.etcd` : text("data-dir");
  const directory = `${dataDirectory}/fixtures/${port}`;
  return { certFile: `${directory}/cert.pem`, keyFile: `${directory}/key.pem` };
}

function selfSignedOf(text: (name: string) => string, listenUrls: readonly ServiceUrl[]): SelfSigned {
  const validityYears = Number(text("self-signed-cert-validity"));
  if (validityYears === 0) throw new Error("selfSignedCertValidity is invalid,it should be greater than 0");
  return { hosts: [...new Set(listenUrls.map((url) => url.host).filter((host) => host !== ""))], validityYears };
}

/** Both ports have the same. */
function versionsOf(text: (name: string) => string): Pick<TlsConfig, "minVersion" | "maxVersion" | "ciphers"> {
  const version = (value: string, otherwise: TlsVersion): TlsVersion => {
    if (value === "") return otherwise;
    if (value === "TLS1.2") return "TLSv1.2";
    if (value === "TLS1.3") return "TLSv1.3";
    throw new Error(`unexpected TLS version ${JSON.stringify(value)} (must be one of: TLS1.2, TLS1.3)`);
  };
  const minVersion = version(text("tls-min-version"), "TLSv1.2");
  const maxVersion = version(text("tls-max-version"), "TLSv1.3");
  if (minVersion > maxVersion) throw new Error("min version (TLS1.3) is greater than max version (TLS1.2)");
  const suites = list(text("cipher-suites"));
  if (minVersion === "TLSv1.3" && suites.length > 0) {
    throw new Error("cipher suites cannot be configured when only TLS1.3 is enabled");
  }
  return { minVersion, maxVersion, ciphers: opensslCiphers(suites) };
}

function orNull(text: string): string | null {
  return text === "" ? null : text;
}

function list(text: string): string[] {
  return text
    .split(",")
    .map((each) => each.trim())
    .filter((each) => each !== "");
}

function quoted(names: readonly string[]): string {
  return `[${names.map((each) => JSON.stringify(each)).join(" ")}]`;
}
