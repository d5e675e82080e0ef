/**
 * The serial numbers on a certificate revocation list (RFC 5280 §5.1), which is all etcd looks at. Node hands lists to
 * OpenSSL only, and that refuses every certificate whose issuer has no list.
 *
 *   CertificateList  SEQUENCE { tbsCertList SEQUENCE { version?, signature, issuer, thisUpdate, nextUpdate?,
 *                    revokedCertificates? SEQUENCE OF SEQUENCE { serial INTEGER, ... }, ... }, ... }
 */

/** The file is not a revocation list; nothing is known of who is revoked. */
export class MalformedRevocationList extends Error {
  readonly kind = "MalformedRevocationList";
  constructor() {
    super("x509: malformed crl");
    this.name = "MalformedRevocationList";
  }
}

const Tag = { Integer: 0x02, UtcTime: 0x17, GeneralizedTime: 0x18, Sequence: 0x30 } as const;

interface Element {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

/** `file`: DER, or PEM around it. Throws MalformedRevocationList. */
export function revokedSerials(file: Buffer): Set<bigint> {
  const bytes = withoutPem(file);
  const list = element(bytes, 0, bytes.length);
  const body = elementsOf(bytes, element(bytes, list.start, list.end));
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
    const serial = element(bytes, entry.start, entry.end);
    if (serial.tag !== Tag.Integer || serial.start === serial.end) throw new MalformedRevocationList();
    serials.add(BigInt(`0x${bytes.toString("hex", serial.start, serial.end)}`));
  }
  return serials;
}

function withoutPem(file: Buffer): Buffer {
  const base64 = /-----BEGIN X509 CRL-----([^-]*)-----END X509 CRL-----/.exec(file.toString("latin1"))?.[1];
  return base64 === undefined ? file : Buffer.from(base64, "base64");
}

function elementsOf(bytes: Buffer, parent: Element): Element[] {
  const elements: Element[] = [];
  for (let at = parent.start; at < parent.end; ) {
    const next = element(bytes, at, parent.end);
    elements.push(next);
    at = next.end;
  }
  return elements;
}

function element(bytes: Buffer, at: number, limit: number): Element {
  if (at + 2 > limit) throw new MalformedRevocationList();
  let length = bytes[at + 1]!;
  let start = at + 2;
  if (length >= 0x80) {
    const count = length - 0x80;
    if (count < 1 || count > 4 || start + count > limit) throw new MalformedRevocationList();
    length = bytes.readUIntBE(start, count);
    start += count;
  }
  if (start + length > limit) throw new MalformedRevocationList();
  return { tag: bytes[at]!, start, end: start + length };
}
