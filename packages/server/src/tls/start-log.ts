/** What a start says about TLS, in etcd's words: what is used, and what was given and is not. */
import type { Log } from "@quorate/world";
import type { Config } from "../config/config.ts";
import type { TlsConfig, TlsPort } from "../config/tls.ts";
import { isTls, type ServiceUrl } from "../config/urls.ts";

export function logTls(config: Config, log: Log): void {
  logPort("peer", config.peerTls, config.listenPeerUrls, log);
  logPort("client", config.tls, [...config.listenClientUrls, ...config.listenClientHttpUrls], log);
}

const SCHEMES = { peer: "HTTP", client: "http or unix" } as const;
const CERT_AUTH = { peer: "--peer-client-cert-auth", client: "--client-cert-auth" } as const;

function logPort(port: TlsPort, tls: TlsConfig, urls: readonly ServiceUrl[], log: Log): void {
  if (tls.isAutoIgnored) log.warn(`ignoring ${port} auto TLS since certs given`);
  if (tls.keyPair !== null) log.info(`starting with ${port} TLS`, { "tls-info": textOf(tls), ciphers: tls.ciphers });
  for (const url of urls) {
    if (isTls(url)) continue;
    const [ignored, field] = [`scheme is ${SCHEMES[port]} while`, { [`${port}-url`]: url.text }];
    if (tls.keyPair !== null) log.warn(`${ignored} key and cert files are present; ignoring key and cert files`, field);
    if (tls.usesCommonNames) {
      log.warn(`${ignored} ${CERT_AUTH[port]} is enabled; ignoring client cert auth for this URL`, field);
    }
  }
}

function textOf({ keyPair, dialKeyPair, trustedCaFile, usesCommonNames, crlFile }: TlsConfig): string {
  const own = dialKeyPair === keyPair ? null : dialKeyPair;
  return (
    `cert = ${keyPair?.certFile ?? ""}, key = ${keyPair?.keyFile ?? ""}, ` +
    `client-cert=${own?.certFile ?? ""}, client-key=${own?.keyFile ?? ""}, ` +
    `trusted-ca = ${trustedCaFile ?? ""}, client-cert-auth = ${usesCommonNames}, crl-file = ${crlFile ?? ""}`
  );
}
