/**
 * Certificates as operators have them, made by openssl in a directory of the test's own. For tests of TLS; skip them where
 * {@link hasOpenssl} says no.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { silentLog } from "@quorate/world";
import { parseArguments } from "../config/command-line.ts";
import { configOf } from "../config/config.ts";
import type { TlsConfig } from "../config/tls.ts";
import { Credentials } from "../tls/credentials.ts";
import { MachineClock } from "../world/clock.ts";

export interface CertificateOptions {
  /** Default 1. */
  readonly serial?: number;
  /** As openssl writes them: "IP:127.0.0.1,DNS:a.test". Default: none. */
  readonly names?: string;
  /** The common name. Default: the certificate's name. */
  readonly commonName?: string;
  /** Default "ca". */
  readonly authority?: string;
  /** "serverAuth", "clientAuth" or both. Default: it may be used for anything. */
  readonly usage?: string;
  /** Default: it is valid. */
  readonly isExpired?: boolean;
  /** Itself an authority, below the one that signs it. */
  readonly isAuthority?: boolean;
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"];

export class CertificateMaker {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Where the certificate of that name is, or what else belongs to it. */
  path(name: string, suffix = "crt"): string {
    return join(this.directory, `${name}.${suffix}`);
  }

  authority(name: string): void {
    const output = ["-keyout", `${name}.key`, "-out", `${name}.crt`];
    this.#openssl("req", "-x509", ...NEW_KEY, ...output, "-subj", `/CN=${name}`, "-days", "2");
  }

  certificate(name: string, options: CertificateOptions = {}): void {
    const { serial = 1, names, commonName = name, authority = "ca", usage, isExpired = false } = options;
    const output = ["-keyout", `${name}.key`, "-out", `${name}.csr`];
    this.#openssl("req", ...NEW_KEY, ...output, "-subj", `/O=tests/CN=${commonName}`);
    const extensions = [
      names === undefined ? "" : `subjectAltName=${names}\n`,
      usage === undefined ? "" : `extendedKeyUsage=${usage}\n`,
      options.isAuthority ? "basicConstraints=critical,CA:TRUE\n" : "",
    ];
    writeFileSync(this.path(name, "ext"), extensions.join(""));
    writeFileSync(this.path(name, "index"), "");
    writeFileSync(this.path(name, "serial"), serial.toString(16).padStart(2, "0").padStart(4, "0"));
    writeFileSync(
      this.path(name, "conf"),
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${name}.index\nserial=${name}.serial\nnew_certs_dir=.\ndefault_md=sha256\n` +
        "policy=p\nunique_subject=no\n[p]\norganizationName=optional\ncommonName=optional\n",
    );
    const validity = isExpired
      ? ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
      : ["-startdate", "20200101000000Z", "-enddate", "20491231000000Z"];
    const by = ["-keyfile", `${authority}.key`, "-cert", `${authority}.crt`];
    this.#openssl(
      ...["ca", "-batch", "-notext", "-config", `${name}.conf`, ...by, ...validity],
      ...["-in", `${name}.csr`, "-out", `${name}.crt`, "-extfile", `${name}.ext`],
    );
  }

  /** `serials`: hexadecimal, of an even number of digits. Written to crl.pem, and crl.der the same. */
  revocationList(serials: readonly string[]): void {
    const lines = serials.map((serial) => `R\t400101000000Z\t250101000000Z\t${serial}\tunknown\t/CN=x\n`);
    writeFileSync(join(this.directory, "index"), lines.join(""));
    const section = "database=index\ndefault_md=sha256\ndefault_crl_days=2\n";
    writeFileSync(join(this.directory, "crl.conf"), `[ca]\ndefault_ca=d\n[d]\n${section}`);
    // Into place as a whole, as everybody should who replaces a file that is in use.
    const by = ["-keyfile", "ca.key", "-cert", "ca.crt"];
    this.#openssl("ca", "-gencrl", "-config", "crl.conf", ...by, "-out", "crl.new");
    this.#openssl("crl", "-in", "crl.new", "-outform", "DER", "-out", "crl.der");
    copyFileSync(join(this.directory, "crl.new"), join(this.directory, "crl.pem"));
    rmSync(join(this.directory, "crl.new"));
  }

  #openssl(...args: readonly string[]): void {
    try {
      execFileSync("openssl", args, { cwd: this.directory, stdio: "pipe" });
    } catch (error) {
      throw new Error(`openssl ${args.join(" ")}: ${String((error as { stderr?: Buffer }).stderr)}`, { cause: error });
    }
  }
}

export function hasOpenssl(): boolean {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    console.error("\n*** SKIPPED: openssl is not installed; TLS was not tested ***\n");
    return false;
  }
}

/** What these flags make of a port. */
export function tlsConfigFrom(port: "client" | "peer", ...flags: readonly string[]): TlsConfig {
  const config = configOf(parseArguments(flags), false);
  return port === "client" ? config.tls : config.peerTls;
}

/** A port without certificates. */
export function noCredentials(): Credentials {
  return new Credentials(tlsConfigFrom("peer"), new MachineClock(), silentLog);
}
