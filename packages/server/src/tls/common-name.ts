/**
 * The common name of a certificate's subject, out of its bytes: it decides who somebody is, and the text that OpenSSL makes
 * of a subject cannot be taken apart again with certainty (escapes, several attributes in one line).
 *
 *   Certificate  SEQUENCE { tbsCertificate SEQUENCE { [0] version?, serial, signature, issuer, validity, subject, ... }, ... }
 *   Name         SEQUENCE OF SET OF SEQUENCE { type OBJECT IDENTIFIER, value }
 */
import { type Element, elementAt, elementsOf, MalformedDer, objectId, Tag } from "./der.ts";

const COMMON_NAME = objectId("2.5.4.3");

/**
 * The last one, as Go takes it; "" if there is none, or if the bytes are not DER, of which OpenSSL is less strict.
 * `certificate`: the whole of it.
 */
export function commonNameOf(certificate: Buffer): string {
  try {
    return lastNameIn(certificate);
  } catch (error) {
    if (error instanceof MalformedDer) return "";
    throw error;
  }
}

function lastNameIn(certificate: Buffer): string {
  const outer = elementAt(certificate, 0);
  const body = elementsOf(certificate, elementAt(certificate, outer.start, outer.end));
  const subject = body[body[0]?.tag === Tag.Explicit0 ? 5 : 4];
  if (subject === undefined) return "";
  let name = "";
  for (const part of elementsOf(certificate, subject)) {
    for (const attribute of elementsOf(certificate, part)) {
      const [type, value] = elementsOf(certificate, attribute);
      if (type === undefined || value === undefined) continue;
      if (certificate.subarray(attribute.start, type.end).equals(COMMON_NAME)) name = textOf(certificate, value);
    }
  }
  return name;
}

function textOf(bytes: Buffer, { tag, start, end }: Element): string {
  switch (tag) {
    case Tag.BmpString:
      // Big-endian, which no encoding of Node's is.
      return (end - start) % 2 !== 0 ? "" : Buffer.from(bytes.subarray(start, end)).swap16().toString("utf16le");
    case Tag.Utf8String:
    case Tag.PrintableString:
    case Tag.Ia5String:
      return bytes.toString("utf8", start, end);
    case Tag.TeletexString:
      // Go's reading of an encoding nobody knows any more.
      return bytes.toString("latin1", start, end);
    default:
      // In none of the encodings Go reads: nobody's name.
      return "";
  }
}
