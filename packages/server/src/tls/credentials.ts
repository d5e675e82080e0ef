/**
 * What one port shows and trusts: the files of a TlsConfig, read, checked, and read again when they change. The one place
 * that reads them, for both ports and for what we dial; a handshake asks for {@link Credentials.current}.
 *
 *   current ── a second since the last look? ── no ─▶ the loaded files
 *                        │ yes: stat                        ▲
 *                        ├── as they were ──────────────────┤
 *                        └── changed: read, check ── good ──┘   everything anew, ticket keys included
 *                                               └─── bad ───▶ one warning; those of before stay in use
 *
 * Invariants:
 *  - what is loaded fits together: the key to its certificate, every certificate and the revocation list whole;
 *  - all files are taken over together or none: a certificate that is there before its key changes nothing;
 *  - tickets of before a change are good for nothing, so that no session outlives the trust it was made under;
 *  - connections that stand are never touched.
 */
import type { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import type { SecureContext, SecureContextOptions, TlsOptions } from "node:tls";
import type { Clock, Log } from "@quorate/world";
import type { KeyPairFiles, TlsConfig } from "../config/tls.ts";
import { revokedSerials } from "./revocation-list.ts";

/** How long a changed file may go unnoticed. */
const RECHECK_MS = 1000;
/** A revocation list of a million certificates has 40 MB; whatever is larger is not what it should be. */
const MAX_FILE_BYTES: number = 64 * 1024 * 1024;
/** OpenSSL's: name, encryption and authentication. */
const TICKET_KEY_BYTES = 48;

/** One state of the files. Immutable. */
export interface LoadedFiles {
  /** For a server; null if there is no certificate to show. A server that has these shares tickets with all that do. */
  readonly serverOptions: TlsOptions | null;
  /** For a connection that we open; made when first asked for. */
  dialContext(): SecureContext;
  /** Serial numbers of certificates to refuse; null if there is no list. */
  readonly revoked: ReadonlySet<bigint> | null;
  /** What the CA file holds; null if there is none, and the machine's authorities count. */
  readonly authorities: readonly X509Certificate[] | null;
}

/** A file cannot be read or is not what it should be. One line that names it. */
export class UnusableTlsFile extends Error {
  readonly kind = "UnusableTlsFile";
}

export class Credentials {
  readonly config: TlsConfig;
  readonly #clock: Clock;
  readonly #log: Log;
  #loaded: LoadedFiles;
  /** What the files looked like when they were last read, whether they were good or not. */
  #stamp: string;
  #checkedMs: number;

  /** Reads the files. Throws {@link UnusableTlsFile}. */
  constructor(config: TlsConfig, clock: Clock, log: Log) {
    this.config = config;
    this.#clock = clock;
    this.#log = log;
    this.#stamp = stampOf(config);
    this.#checkedMs = clock.monotonicMs();
    this.#loaded = load(config);
  }

  /** As of at most a second ago. The same object as long as nothing changed. */
  current(): LoadedFiles {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#checkedMs >= RECHECK_MS) {
      this.#checkedMs = nowMs;
      this.#recheck();
    }
    return this.#loaded;
  }

  #recheck(): void {
    // Taken before reading: what changes meanwhile is seen the next time.
    const stamp = stampOf(this.config);
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    try {
      this.#loaded = load(this.config);
    } catch (error) {
      this.#log.warn("cannot use the changed TLS files; going on with those of before", { error });
      return;
    }
    this.#log.info("loaded the changed TLS files", { files: filesOf(this.config) });
  }
}

function filesOf({ keyPair, dialKeyPair, trustedCaFile, crlFile }: TlsConfig): string[] {
  const pairs = [keyPair, dialKeyPair].flatMap((pair) => (pair === null ? [] : [pair.certFile, pair.keyFile]));
  return [...new Set([...pairs, trustedCaFile, crlFile].filter((file) => file !== null))];
}

/** Differs whenever a file was written, replaced, linked elsewhere or removed. */
function stampOf(config: TlsConfig): string {
  return filesOf(config)
    .map((file) => {
      try {
        const { dev, ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
        return `${dev}.${ino}.${size}.${mtimeNs}.${ctimeNs}`;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code;
      }
    })
    .join();
}

function load(config: TlsConfig): LoadedFiles {
  const { keyPair, dialKeyPair, minVersion, maxVersion, ciphers, trustedCaFile, crlFile } = config;
  const trusted = trustedCaFile === null ? null : certificatesOf(trustedCaFile);
  const trust: SecureContextOptions = {
    ...(trusted === null ? {} : { ca: trusted.pem }),
    // As Go: an authority in the file is trusted for itself, whoever has signed it.
    allowPartialTrustChain: true,
    minVersion,
    maxVersion,
    ciphers,
  };
  const shown = keyPair === null ? null : { ...trust, ...read(keyPair) };
  if (shown !== null) contextOf(shown, keyPair);
  const dialled = dialKeyPair === null ? trust : { ...trust, ...read(dialKeyPair) };
  if (dialKeyPair !== null && dialKeyPair !== keyPair) contextOf(dialled, dialKeyPair);
  let dialContext: SecureContext | null = null;
  return {
    serverOptions: shown === null ? null : serverOptionsOf(config, shown),
    dialContext: () => {
      dialContext ??= contextOf(dialled, dialKeyPair);
      return dialContext;
    },
    revoked: crlFile === null ? null : revokedIn(crlFile),
    authorities: trusted === null ? null : trusted.certificates,
  };
}

function serverOptionsOf(config: TlsConfig, shown: SecureContextOptions): TlsOptions {
  const { randomBytes } = process.getBuiltinModule("node:crypto");
  return {
    ...shown,
    requestCert: config.requireClientCertificate,
    // Whoever accepts looks at the outcome, and can then say who was refused for what.
    rejectUnauthorized: false,
    ticketKeys: randomBytes(TICKET_KEY_BYTES),
  };
}

/** OpenSSL's own look at whether the files fit together. */
function contextOf(options: SecureContextOptions, pair: KeyPairFiles | null): SecureContext {
  // Loaded where TLS is used: most clusters on one machine do without.
  const { createSecureContext } = process.getBuiltinModule("node:tls");
  try {
    return createSecureContext(options);
  } catch (error) {
    if (pair === null) throw error;
    throw unusable(`cannot use TLS key ${pair.keyFile} with certificate ${pair.certFile}`, error);
  }
}

function read({ certFile, keyFile }: KeyPairFiles): { cert: string; key: string } {
  return { cert: certificatesOf(certFile).pem, key: readFile(keyFile).toString() };
}

/**
 * The certificates in a PEM file, each looked at: OpenSSL takes a file that ends in the middle of a certificate for one with
 * fewer of them, and a CA file without any for one that trusts nobody, and says nothing.
 */
function certificatesOf(file: string): { readonly pem: string; readonly certificates: readonly X509Certificate[] } {
  const pem = readFile(file).toString();
  const { X509Certificate } = process.getBuiltinModule("node:crypto");
  const begun = pem.split(/^(?=-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----)/m);
  const found = begun.filter((each) => each.startsWith("-----BEGIN "));
  try {
    return { pem, certificates: (found.length === 0 ? [pem] : found).map((each) => new X509Certificate(each)) };
  } catch (error) {
    throw unusable(`cannot use TLS certificate ${file}`, error);
  }
}

function revokedIn(file: string): ReadonlySet<bigint> {
  const bytes = readFile(file);
  try {
    return revokedSerials(bytes);
  } catch (error) {
    throw unusable(`cannot use certificate revocation list ${file}`, error);
  }
}

function readFile(file: string): Buffer {
  try {
    const { size } = statSync(file);
    if (size > MAX_FILE_BYTES) throw new Error(`${size} bytes are more than ${MAX_FILE_BYTES}`);
    return readFileSync(file);
  } catch (error) {
    throw unusable(`cannot read TLS file ${file}`, error);
  }
}

function unusable(what: string, cause: unknown): UnusableTlsFile {
  return new UnusableTlsFile(`${what}: ${causeOf(cause)}`, { cause });
}

/** Without the codes and library names OpenSSL puts before the reason. */
export function causeOf(error: unknown): string {
  const { reason, message } = error as Error & { reason?: string };
  return reason ?? message.trim();
}
