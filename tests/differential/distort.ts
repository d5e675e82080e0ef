/**
 * Other encodings of a message than the canonical one: what clients in other languages write, and what attackers do. Go's
 * decoder takes fields in any order, the last of several, and skips those it does not know; both servers must agree on
 * what such bytes mean, and on refusing bytes that end too early.
 */
import type { Seeded } from "./seeded.ts";

/** Field 1000 as a varint of 5, field 1001 as two bytes. */
const UNKNOWN_FIELDS: readonly Buffer[] = [Buffer.from("c03e05", "hex"), Buffer.from("ca3e020102", "hex")];

/** `mayMistype`: also fields of another wire type than theirs, which Go's decoder skips since etcd 3.7 and refused before. */
export function distort(bytes: Uint8Array, seeded: Seeded, mayMistype: boolean): Uint8Array {
  const fields = fieldsOf(bytes);
  switch (seeded.below(5)) {
    case 0:
      shuffle(fields, seeded);
      break;
    case 1:
      if (fields.length > 0) fields.push(seeded.pick(fields));
      break;
    case 2:
      fields.splice(seeded.below(fields.length + 1), 0, seeded.pick(UNKNOWN_FIELDS));
      break;
    case 3: {
      const varint = Buffer.of(8 * (1 + seeded.below(3)), seeded.below(2));
      if (mayMistype) fields.push(varint);
      break;
    }
    default:
      return bytes.subarray(0, seeded.below(bytes.length + 1));
  }
  return Buffer.concat(fields);
}

function shuffle(fields: Buffer[], seeded: Seeded): void {
  for (let i = fields.length - 1; i > 0; i--) {
    const other = seeded.below(i + 1);
    const field = fields[i]!;
    fields[i] = fields[other]!;
    fields[other] = field;
  }
}

/** The fields of a canonical message, each with its tag: varints and what has a length. */
function fieldsOf(bytes: Uint8Array): Buffer[] {
  const whole = Buffer.from(bytes);
  const fields: Buffer[] = [];
  for (let at = 0; at < whole.length; ) {
    const start = at;
    const afterTag = varintEnd(whole, at);
    const hasLength = (whole[at]! & 7) === 2;
    at = varintEnd(whole, afterTag);
    if (hasLength) at += varintAt(whole, afterTag);
    fields.push(whole.subarray(start, at));
  }
  return fields;
}

function varintEnd(bytes: Buffer, start: number): number {
  let at = start;
  while (bytes[at]! >= 0x80) at++;
  return at + 1;
}

function varintAt(bytes: Buffer, start: number): number {
  let value = 0;
  for (let at = start, scale = 1; ; at++, scale *= 0x80) {
    value += (bytes[at]! & 0x7f) * scale;
    if (bytes[at]! < 0x80) return value;
  }
}
