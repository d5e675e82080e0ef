/**
 * A certificate that signs itself (RFC 5280 §4.1), as etcd makes one for --auto-tls: P-521, for the hosts given, good for
 * servers. Node signs but does not write certificates, and this one kind is less than the library that could write all.
 *
 *   Certificate  SEQUENCE { tbsCertificate, algorithm, signature BIT STRING }
 *   tbs          SEQUENCE { [0] 2, serial, algorithm, issuer, validity, subject, public key, [3] extensions }
 */
import type { KeyObject } from "node:crypto";
import { element, objectId, Tag } from "./der.ts";

export interface SelfSignedOptions {
  /** Names and IP addresses. */
  readonly hosts: readonly string[];
  readonly notBeforeMs: number;
  /** At most {@link NEVER_MS}. */
  readonly notAfterMs: number;
}

export interface SelfSignedCertificate {
  readonly certificatePem: string;
  readonly keyPem: string;
}

const ECDSA_WITH_SHA512 = element(Tag.Sequence, objectId("1.2.840.10045.4.3.4"));
const ORGANIZATION = "etcd";
/** The last moment a certificate can name, which means that it does not expire (RFC 5280 §4.1.2.5). */
export const NEVER_MS: number = Date.UTC(9999, 11, 31, 23, 59, 59);
/** digitalSignature, keyEncipherment and cRLSign: bits 0, 2 and 6, one unused. */
const KEY_USAGE = Buffer.from([0x01, 0b1010_0010]);

export function makeSelfSigned({ hosts, notBeforeMs, notAfterMs }: SelfSignedOptions): SelfSignedCertificate {
  const { generateKeyPairSync, randomBytes, sign } = process.getBuiltinModule("node:crypto");
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-521" });
  const serial = randomBytes(16);
  // Positive, and in its shortest form.
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  const name = subject();
  const tbs = element(
    Tag.Sequence,
    element(Tag.Explicit0, element(Tag.Integer, Buffer.from([2]))),
    element(Tag.Integer, serial),
    ECDSA_WITH_SHA512,
    name,
    element(Tag.Sequence, time(notBeforeMs), time(notAfterMs)),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    element(Tag.Explicit3, element(Tag.Sequence, ...extensions(hosts, publicKey))),
  );
  const certificate = element(Tag.Sequence, tbs, ECDSA_WITH_SHA512, bitString(sign("sha512", tbs, privateKey)));
  const lines = certificate.toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  return {
    certificatePem: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    keyPem: privateKey.export({ type: "sec1", format: "pem" }) as string,
  };
}

function subject(): Buffer {
  const organization = element(Tag.Sequence, objectId("2.5.4.10"), element(Tag.PrintableString, latin(ORGANIZATION)));
  return element(Tag.Sequence, element(Tag.Set, organization));
}

function extensions(hosts: readonly string[], publicKey: KeyObject): Buffer[] {
  const { hash } = process.getBuiltinModule("node:crypto");
  const isTrue = element(Tag.Boolean, Buffer.from([0xff]));
  const usage = element(Tag.BitString, KEY_USAGE);
  const serverAuth = objectId("1.3.6.1.5.5.7.3.1");
  const keyId = hash("sha1", publicKey.export({ type: "spki", format: "der" }), "buffer");
  const extension = (id: string, critical: boolean, value: Buffer): Buffer =>
    element(Tag.Sequence, objectId(id), ...(critical ? [isTrue] : []), element(Tag.OctetString, value));
  return [
    extension("2.5.29.15", true, usage),
    extension("2.5.29.37", false, element(Tag.Sequence, serverAuth)),
    extension("2.5.29.19", true, element(Tag.Sequence, isTrue)),
    extension("2.5.29.14", false, element(Tag.OctetString, keyId)),
    ...(hosts.length === 0
      ? []
      : [extension("2.5.29.17", false, element(Tag.Sequence, ...hosts.map(alternativeName)))]),
  ];
}

/** GeneralName: [2] a name, [7] the bytes of an address. */
function alternativeName(host: string): Buffer {
  const { isIP } = process.getBuiltinModule("node:net");
  switch (isIP(host)) {
    case 4:
      return element(0x87, Buffer.from(host.split(".").map(Number)));
    case 6:
      return element(0x87, addressBytes(host));
    default:
      return element(0x82, latin(host));
  }
}

/** The 16 bytes of an IPv6 address, in whatever way it is written. */
function addressBytes(address: string): Buffer {
  // A zone is of this machine alone. URL writes an address in its canonical form: hexadecimal groups, "::" at most once.
  const canonical = new URL(`http://[${address.split("%")[0]}]`).hostname.slice(1, -1);
  const groups = (text: string | undefined): string[] => (text === undefined || text === "" ? [] : text.split(":"));
  const [before, after] = canonical.split("::");
  const head = groups(before);
  const tail = groups(after);
  const all = [...head, ...Array<string>(8 - head.length - tail.length).fill("0"), ...tail];
  return Buffer.from(all.map((each) => each.padStart(4, "0")).join(""), "hex");
}

/** UTCTime has two digits for the year, and ends in 2049. */
function time(ms: number): Buffer {
  const digits = `${new Date(ms).toISOString().replace(/[-:T]|\.\d+Z$/g, "")}Z`;
  return Number(digits.slice(0, 4)) < 2050
    ? element(Tag.UtcTime, latin(digits.slice(2)))
    : element(Tag.GeneralizedTime, latin(digits));
}

/** Whole bytes. */
function bitString(bytes: Buffer): Buffer {
  return element(Tag.BitString, Buffer.from([0]), bytes);
}

function latin(text: string): Buffer {
  return Buffer.from(text, "latin1");
}
