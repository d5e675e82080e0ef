/**
 * The serial numbers on a certificate revocation list (RFC 5280 §5.1), which is all etcd looks at. Node hands lists to
 * OpenSSL only, and that refuses every certificate whose issuer has no list.
 *
 *   CertificateList  SEQUENCE { tbsCertList SEQUENCE { version?, signature, issuer, thisUpdate, nextUpdate?,
 *                    revokedCertificates? SEQUENCE OF SEQUENCE { serial INTEGER, ... }, ... }, ... }
 */
import { elementAt, elementsOf, MalformedDer, Tag } from "./der.ts";

/** The file is not a revocation list; nothing is known of who is revoked. */
export class MalformedRevocationList extends Error {
  readonly kind = "MalformedRevocationList";
  constructor(options?: ErrorOptions) {
    super("x509: malformed crl", options);
    this.name = "MalformedRevocationList";
  }
}

/** `file`: DER, or PEM around it. Throws MalformedRevocationList. */
export function revokedSerials(file: Buffer): Set<bigint> {
  try {
    return serialsIn(withoutPem(file));
  } catch (error) {
    if (error instanceof MalformedDer) throw new MalformedRevocationList({ cause: error });
    throw error;
  }
}

function serialsIn(bytes: Buffer): Set<bigint> {
  const list = elementAt(bytes, 0);
  const body = elementsOf(bytes, elementAt(bytes, list.start, list.end));
  let at = 0;
  const skip = (...tags: number[]): void => {
    if (tags.includes(body[at]?.tag ?? -1)) at++;
  };
  skip(Tag.Integer);
  skip(Tag.Sequence);
  skip(Tag.Sequence);
  skip(Tag.UtcTime, Tag.GeneralizedTime);
  skip(Tag.UtcTime, Tag.GeneralizedTime);
  if (at < 3) throw new MalformedRevocationList();
  const revoked = body[at];
  const serials = new Set<bigint>();
  if (revoked?.tag !== Tag.Sequence) return serials;
  for (const entry of elementsOf(bytes, revoked)) {
    const serial = elementAt(bytes, entry.start, entry.end);
    if (serial.tag !== Tag.Integer || serial.start === serial.end) throw new MalformedRevocationList();
    serials.add(BigInt(`0x${bytes.toString("hex", serial.start, serial.end)}`));
  }
  return serials;
}

function withoutPem(file: Buffer): Buffer {
  const base64 = /-----BEGIN X509 CRL-----([^-]*)-----END X509 CRL-----/.exec(file.toString("latin1"))?.[1];
  return base64 === undefined ? file : Buffer.from(base64, "base64");
}
