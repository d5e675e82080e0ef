/**
 * --auto-tls and --peer-auto-tls: the certificate and key under <data-dir>/fixtures, made where they are missing, used as
 * they are otherwise. What has expired is made anew: etcd would go on showing it, of use to nobody who looks.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Clock, Log } from "@quorate/world";
import type { TlsConfig } from "../config/tls.ts";
import { makeSelfSigned, NEVER_MS } from "./self-signed.ts";

export interface AutoTlsWorld {
  /** Makes a directory that nobody else may look into; there already is fine. What is above it is there. */
  makePrivate(directory: string): void;
  readonly clock: Clock;
  readonly log: Log;
}

const YEAR_MS: number = 365 * 24 * 60 * 60 * 1000;

/** Does nothing unless the configuration asks for it. Throws what keeps the files from being written. */
export function ensureSelfSigned({ keyPair, selfSigned }: TlsConfig, { makePrivate, clock, log }: AutoTlsWorld): void {
  if (selfSigned === null || keyPair === null) return;
  const { certFile, keyFile } = keyPair;
  const nowMs = clock.wallMs();
  if (existsSync(certFile) && existsSync(keyFile) && !hasExpired(certFile, nowMs)) return;
  const fixtures = dirname(dirname(certFile));
  for (const directory of [dirname(fixtures), fixtures, dirname(certFile)]) makePrivate(directory);
  const notAfterMs = Math.min(nowMs + selfSigned.validityYears * YEAR_MS, NEVER_MS);
  log.warn("automatically generate certificates", {
    "certificate-validity-bound-not-after": new Date(notAfterMs).toISOString(),
  });
  const { certificatePem, keyPem } = makeSelfSigned({ hosts: selfSigned.hosts, notBeforeMs: nowMs, notAfterMs });
  writeWhole(certFile, certificatePem);
  log.info("created cert file", { path: certFile });
  writeWhole(keyFile, keyPem);
  log.info("created key file", { path: keyFile });
}

/** A file that is no certificate has not expired: reading it for use will say what is wrong with it. */
function hasExpired(certFile: string, nowMs: number): boolean {
  const { X509Certificate } = process.getBuiltinModule("node:crypto");
  try {
    return Date.parse(new X509Certificate(readFileSync(certFile)).validTo) < nowMs;
  } catch {
    return false;
  }
}

/** Readable by us alone, and there as a whole or not at all. */
function writeWhole(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
