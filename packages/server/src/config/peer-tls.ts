/**
 * The peer-* TLS flags as one value: what the peer port shows and asks for, and what we show and check when we dial. Pure;
 * the files are read by whoever makes a handshake, anew each time.
 */
import type { TlsConfig } from "./config.ts";
import { isTls, type ServiceUrl } from "./urls.ts";

export interface PeerTlsConfig extends TlsConfig {
  /** What we show when we dial; null: the same as on the port. */
  readonly clientCertificate: { readonly certFile: string; readonly keyFile: string } | null;
  /** A certificate revocation list, DER or PEM: certificates with a serial number on it are refused. */
  readonly crlFile: string | null;
  /** If not empty, the other side's certificate has one of these common names, whichever side dials. */
  readonly allowedCommonNames: readonly string[];
  /** If not empty, the other side's certificate is valid for one of these hosts or addresses. */
  readonly allowedHostnames: readonly string[];
  /** False: who dials us comes from an address that its certificate names, if it names any. */
  readonly skipClientSanVerification: boolean;
}

type Versions = Pick<TlsConfig, "minVersion" | "maxVersion">;

/**
 * null: no certificate is configured. `text` and `truth` give a flag's value by its name; the versions are those of the
 * client port, as in etcd. Throws Error with etcd's text.
 */
export function peerTlsOf(
  text: (name: string) => string,
  truth: (name: string) => boolean,
  versions: Versions,
): PeerTlsConfig | null {
  const certFile = text("peer-cert-file");
  const keyFile = text("peer-key-file");
  const clientCertFile = text("peer-client-cert-file");
  const clientKeyFile = text("peer-client-key-file");
  if (certFile === "" && keyFile === "") return null;
  if (certFile === "" || keyFile === "") {
    throw new Error(`KeyFile and CertFile must both be present[key: ${keyFile}, cert: ${certFile}]`);
  }
  if ((clientCertFile === "") !== (clientKeyFile === "")) {
    throw new Error(
      "ClientKeyFile and ClientCertFile must both be present or both absent: " +
        `key: ${clientKeyFile}, cert: ${clientCertFile}]`,
    );
  }
  const allowedCommonNames = list(text("peer-cert-allowed-cn"));
  const allowedHostnames = list(text("peer-cert-allowed-hostname"));
  if (allowedCommonNames.length > 0 && allowedHostnames.length > 0) {
    throw new Error(
      "AllowedCNs and AllowedHostnames are mutually exclusive " +
        `(cns=${quoted(allowedCommonNames)}, hostnames=${quoted(allowedHostnames)})`,
    );
  }
  const trustedCaFile = text("peer-trusted-ca-file");
  return {
    certFile,
    keyFile,
    clientCertificate: clientCertFile === "" ? null : { certFile: clientCertFile, keyFile: clientKeyFile },
    trustedCaFile: trustedCaFile === "" ? null : trustedCaFile,
    requireClientCertificate: trustedCaFile !== "" || truth("peer-client-cert-auth"),
    crlFile: text("peer-crl-file") === "" ? null : text("peer-crl-file"),
    allowedCommonNames,
    allowedHostnames,
    skipClientSanVerification: truth("peer-skip-client-san-verification"),
    minVersion: versions.minVersion,
    maxVersion: versions.maxVersion,
  };
}

/** Why we cannot listen there, in etcd's words; null if we can. */
export function peerListenProblem(url: ServiceUrl, tls: PeerTlsConfig | null): string | null {
  if (!isTls(url) || tls !== null) return null;
  const address = url.path === "" ? `${url.host}:${url.port}` : url.path;
  return `cannot listen on TLS for ${address}: KeyFile and CertFile are not presented`;
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
