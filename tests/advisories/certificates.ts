/** Throw-away certificates, made by openssl in a directory of their own. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"];

export class Certificates {
  readonly directory: string = mkdtempSync(join(tmpdir(), "quorate-test-"));

  path(name: string): string {
    return join(this.directory, name);
  }

  /** NAME.crt and NAME.key of a new authority. */
  authority(name: string): void {
    this.#openssl("req", "-x509", ...KEY, "-keyout", `${name}.key`, "-out", `${name}.crt`, "-subj", `/CN=${name}`);
  }

  /** NAME.crt and NAME.key for 127.0.0.1, with the name as its common name. */
  issue(name: string, serial: number, authority: string): void {
    this.#openssl("req", ...KEY, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
    writeFileSync(this.path("ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n");
    const by = ["-CA", `${authority}.crt`, "-CAkey", `${authority}.key`, "-set_serial", `${serial}`];
    this.#openssl("x509", "-req", "-in", `${name}.csr`, ...by, "-days", "2", "-extfile", "ext", "-out", `${name}.crt`);
  }

  /** crl.pem of the authority, with these serial numbers, in hex. */
  revoke(authority: string, serials: readonly string[]): void {
    const lines = serials.map((serial) => `R\t400101000000Z\t250101000000Z\t${serial}\tunknown\t/CN=x\n`);
    writeFileSync(this.path("index"), lines.join(""));
    const config = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=2\n";
    writeFileSync(this.path("ca.conf"), config);
    const by = ["-keyfile", `${authority}.key`, "-cert", `${authority}.crt`];
    this.#openssl("ca", "-gencrl", "-config", "ca.conf", ...by, "-out", "crl.pem");
  }

  dispose(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #openssl(...args: readonly string[]): void {
    execFileSync("openssl", args, { cwd: this.directory, stdio: "ignore" });
  }
}
