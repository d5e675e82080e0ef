/**
 * --cipher-suites: IANA's names, as Go spells them, into what OpenSSL calls the same suites.
 *
 * Only suites that HTTP/2 permits (RFC 9113 §9.2.2: ephemeral keys and AEAD) are ever offered; the others etcd knows are
 * refused by name (known failures SA-16, H2-23). Like Go, the list is about TLS 1.2: the three suites of TLS 1.3 are always
 * there.
 */
const TLS_13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

const PERMITTED: ReadonlyMap<string, string> = new Map([
  ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"],
  ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"],
  ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"],
  ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"],
  ["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"],
  ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"],
  // What they were called before they were standardised.
  ["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"],
  ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"],
]);

/** What etcd takes as well, and HTTP/2 forbids. */
const FORBIDDEN: ReadonlySet<string> = new Set([
  "TLS_RSA_WITH_RC4_128_SHA",
  "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
  "TLS_RSA_WITH_AES_128_CBC_SHA",
  "TLS_RSA_WITH_AES_256_CBC_SHA",
  "TLS_RSA_WITH_AES_128_CBC_SHA256",
  "TLS_RSA_WITH_AES_128_GCM_SHA256",
  "TLS_RSA_WITH_AES_256_GCM_SHA384",
  "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
  "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
  "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
  "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
  "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
  "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
  "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
  "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
  "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
]);

/** OpenSSL's list for these names, or for all that are permitted if there are none. Throws Error, unknown names in etcd's words. */
export function opensslCiphers(names: readonly string[]): string {
  const chosen = new Set<string>();
  for (const name of names) {
    const cipher = PERMITTED.get(name);
    if (cipher !== undefined) chosen.add(cipher);
    else if (FORBIDDEN.has(name)) {
      throw new Error(
        `TLS cipher suite ${JSON.stringify(name)} is not allowed: HTTP/2 forbids it (RFC 9113, appendix A)`,
      );
    } else if (!TLS_13.includes(name)) throw new Error(`unexpected TLS cipher suite ${JSON.stringify(name)}`);
  }
  return [...TLS_13, ...(names.length === 0 ? new Set(PERMITTED.values()) : chosen)].join(":");
}
