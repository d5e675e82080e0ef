/**
 * What one port shows and trusts: the files of a TlsConfig, read, checked, and read again when they change. The one place
 * that reads them, for both ports and for what we dial; a handshake asks for {@link Credentials.current}.
 *
 *   current ── a second since the last look? ── no ─▶ the loaded files
 *                        │ yes: stat                        ▲
 *                        ├── as they were ──────────────────┤
 *                        └── changed: read, check ── good ──┘   ticket keys anew
 *                                               └─── bad ───▶ one warning; what that file was before stays in use
 *
 * Invariants:
 *  - a certificate and its key fit together, and are taken over together: one that is there first changes nothing;
 *  - every certificate and the revocation list are whole;
 *  - a damaged file holds back no other: a revocation counts whatever has become of the certificate;
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
  readonly #shown: Part<KeyPair | null>;
  /** The same as `#shown`, unless there is another one for dialling. */
  readonly #dialled: Part<KeyPair | null>;
  readonly #trusted: Part<Certificates | null>;
  readonly #revoked: Part<ReadonlySet<bigint> | null>;
  #loaded: LoadedFiles;
  #checkedMs: number;

  /** Reads the files. Throws {@link UnusableTlsFile}. */
  constructor(config: TlsConfig, clock: Clock, log: Log) {
    const { keyPair, dialKeyPair, trustedCaFile, crlFile } = config;
    this.config = config;
    this.#clock = clock;
    this.#log = log;
    this.#checkedMs = clock.monotonicMs();
    this.#shown = pairPart(keyPair);
    this.#dialled = dialKeyPair === keyPair ? this.#shown : pairPart(dialKeyPair);
    this.#trusted = filePart(trustedCaFile, certificatesOf);
    this.#revoked = filePart(crlFile, revokedIn);
    this.#loaded = this.#load();
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
    const changed: string[] = [];
    const unlessUnusable = (use: () => void): void => {
      try {
        use();
      } catch (error) {
        this.#log.warn("cannot use a changed TLS file; going on with what it was before", { error });
      }
    };
    for (const part of new Set<Part<unknown>>([this.#shown, this.#dialled, this.#trusted, this.#revoked])) {
      unlessUnusable(() => {
        if (part.recheck()) changed.push(...part.files);
      });
    }
    if (changed.length === 0) return;
    unlessUnusable(() => {
      this.#loaded = this.#load();
      this.#log.info("loaded changed TLS files", { files: changed });
    });
  }

  #load(): LoadedFiles {
    const { minVersion, maxVersion, ciphers } = this.config;
    const [shown, dialled, trusted] = [this.#shown.value, this.#dialled.value, this.#trusted.value];
    const rules: SecureContextOptions = {
      ...(trusted === null ? {} : { ca: trusted.pem }),
      // As Go: an authority in the file is trusted for itself, whoever has signed it.
      allowPartialTrustChain: true,
      minVersion,
      maxVersion,
      ciphers,
    };
    const context = (): SecureContext =>
      process.getBuiltinModule("node:tls").createSecureContext({ ...rules, ...dialled });
    // Made at once where TLS is configured, so that what OpenSSL refuses is known before a connection needs it.
    let dialContext = shown === null && dialled === null && trusted === null ? null : context();
    return {
      serverOptions: shown === null ? null : serverOptionsOf(this.config, { ...rules, ...shown }),
      dialContext: () => {
        dialContext ??= context();
        return dialContext;
      },
      revoked: this.#revoked.value,
      authorities: trusted === null ? null : trusted.certificates,
    };
  }
}

/** Files that mean something together, and the last good thing they meant. */
class Part<T> {
  readonly files: readonly string[];
  readonly #read: () => T;
  /** What they looked like when they were last read, whether they were good or not. */
  #stamp: string;
  value: T;

  constructor(files: readonly string[], read: () => T) {
    this.files = files;
    this.#read = read;
    this.#stamp = stampOf(files);
    this.value = read();
  }

  /** Whether there is another value. Throws, once for each change, what is wrong with the files. */
  recheck(): boolean {
    // Taken before reading: what changes meanwhile is seen the next time.
    const stamp = stampOf(this.files);
    if (stamp === this.#stamp) return false;
    this.#stamp = stamp;
    this.value = this.#read();
    return true;
  }
}

interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

interface Certificates {
  readonly pem: string;
  readonly certificates: readonly X509Certificate[];
}

function pairPart(pair: KeyPairFiles | null): Part<KeyPair | null> {
  return pair === null ? new Part([], () => null) : new Part([pair.certFile, pair.keyFile], () => readPair(pair));
}

function filePart<T>(file: string | null, read: (file: string) => T): Part<T | null> {
  return file === null ? new Part<T | null>([], () => null) : new Part<T | null>([file], () => read(file));
}

/** Differs whenever a file was written, replaced, linked elsewhere or removed. */
function stampOf(files: readonly string[]): string {
  return files
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

function readPair({ certFile, keyFile }: KeyPairFiles): KeyPair {
  const pair = { cert: certificatesOf(certFile).pem, key: readFile(keyFile).toString() };
  try {
    // OpenSSL's own look at whether they fit. Loaded here: most clusters on one machine do without TLS.
    process.getBuiltinModule("node:tls").createSecureContext(pair);
  } catch (error) {
    throw unusable(`cannot use TLS key ${keyFile} with certificate ${certFile}`, error);
  }
  return pair;
}

/**
 * The certificates in a PEM file, each looked at: OpenSSL takes a file that ends in the middle of a certificate for one with
 * fewer of them, and a CA file without any for one that trusts nobody, and says nothing.
 */
function certificatesOf(file: string): Certificates {
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
