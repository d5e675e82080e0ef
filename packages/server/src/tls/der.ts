/**
 * As much of DER (X.690) as certificates and revocation lists need: elements out of bytes, and bytes out of elements.
 *
 *   tag │ length: one byte below 0x80, else 0x80 + n and n bytes │ contents
 */
export const Tag = {
  Boolean: 0x01,
  Integer: 0x02,
  BitString: 0x03,
  OctetString: 0x04,
  ObjectId: 0x06,
  Utf8String: 0x0c,
  PrintableString: 0x13,
  TeletexString: 0x14,
  Ia5String: 0x16,
  UtcTime: 0x17,
  GeneralizedTime: 0x18,
  BmpString: 0x1e,
  Sequence: 0x30,
  Set: 0x31,
  /** [0] of a structure, holding another element. */
  Explicit0: 0xa0,
  Explicit3: 0xa3,
} as const;

/** The bytes are not what they were taken for. */
export class MalformedDer extends Error {
  readonly kind = "MalformedDer";
  constructor() {
    super("malformed DER");
    this.name = "MalformedDer";
  }
}

export interface Element {
  readonly tag: number;
  /** Where its contents are. */
  readonly start: number;
  readonly end: number;
}

/** The element at `at`, which ends at `limit` at the latest. Throws MalformedDer. */
export function elementAt(bytes: Buffer, at: number, limit: number = bytes.length): Element {
  if (at + 2 > limit) throw new MalformedDer();
  let length = bytes[at + 1]!;
  let start = at + 2;
  if (length >= 0x80) {
    const count = length - 0x80;
    if (count < 1 || count > 4 || start + count > limit) throw new MalformedDer();
    length = bytes.readUIntBE(start, count);
    start += count;
  }
  if (start + length > limit) throw new MalformedDer();
  return { tag: bytes[at]!, start, end: start + length };
}

/** What an element contains. Throws MalformedDer. */
export function elementsOf(bytes: Buffer, parent: Element): Element[] {
  const elements: Element[] = [];
  for (let at = parent.start; at < parent.end; ) {
    const next = elementAt(bytes, at, parent.end);
    elements.push(next);
    at = next.end;
  }
  return elements;
}

/** An element with these contents, one after the other. */
export function element(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(contents);
  if (body.length < 0x80) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const hex = body.length.toString(16);
  const length = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
  return Buffer.concat([Buffer.from([tag, 0x80 + length.length]), length, body]);
}

/** "2.5.4.3" and the like. */
export function objectId(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split(".").map(Number);
  const bytes = [first! * 40 + second!];
  for (const arc of rest) {
    const septets = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) septets.unshift((left & 0x7f) | 0x80);
    bytes.push(...septets);
  }
  return element(Tag.ObjectId, Buffer.from(bytes));
}
