/** Random messages for property tests, made from our tables, with the values that break codecs well represented. */

import fc from "fast-check";
import type { Field, MessageType } from "../messages/index.ts";

const MAX_SAFE = Number.MAX_SAFE_INTEGER;

/** Shared by all property tests of this package: fixed, so that a failure is the same everywhere. */
export const parameters: { seed: number; numRuns: number } = { seed: 20_240_131, numRuns: 300 };

/** Keys and values: empty, short, and around the lengths where a varint grows. */
export const someBytes: fc.Arbitrary<Buffer> = fc
  .oneof(
    { weight: 6, arbitrary: fc.uint8Array({ maxLength: 12 }) },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 120, maxLength: 140 }) },
  )
  .map((bytes) => Buffer.from(bytes));

export const someString: fc.Arbitrary<string> = fc.string({ unit: "grapheme", maxLength: 12 });

/** A number of ours: zero, around each varint length, up to 2^53 - 1. */
export const someNumber: fc.Arbitrary<number> = fc.oneof(
  fc.constantFrom(0, 1, 127, 128, 16383, 16384, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 49, MAX_SAFE - 1),
  fc.maxSafeNat(),
);

export const someSigned: fc.Arbitrary<number> = fc.oneof(
  someNumber,
  someNumber.map((value) => (value === 0 ? 0 : -value)),
);

/** A bound; its ends stand for the ends of int64. */
export const someBound: fc.Arbitrary<number> = fc.oneof(someSigned, fc.constantFrom(MAX_SAFE, -MAX_SAFE));

export const someId: fc.Arbitrary<bigint> = fc.oneof(
  fc.constantFrom(0n, 1n, -1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
);

export const someUid: fc.Arbitrary<bigint> = someId.map((value) => BigInt.asUintN(64, value));

/** Every message of the type, nested up to `depth`. */
export function someMessage(type: MessageType<object>, depth = 3): fc.Arbitrary<Record<string, unknown>> {
  const shape: Record<string, fc.Arbitrary<unknown>> = {};
  const unions = new Map<string, Field[]>();
  for (const field of type.fields) {
    if (field.oneof === undefined) shape[field.property] = someField(field, depth);
    else unions.set(field.oneof, [...(unions.get(field.oneof) ?? []), field]);
  }
  const plain = fc.record(shape);
  let out: fc.Arbitrary<Record<string, unknown>> = plain;
  for (const members of unions.values()) {
    const choice = fc.option(
      fc.oneof(
        ...members
          .filter((member) => depth > 0 || member.kind !== "message")
          .map((member) => someValue(member, depth).map((value) => ({ [member.property]: value }))),
        fc.constant({}),
      ),
      { nil: {} },
    );
    const unset = Object.fromEntries(members.map((member) => [member.property, undefined]));
    out = fc.tuple(out, choice).map(([rest, chosen]) => ({ ...rest, ...unset, ...chosen }));
  }
  return out;
}

function someField(field: Field, depth: number): fc.Arbitrary<unknown> {
  if (field.kind === "message" && depth === 0) return fc.constant(field.isRepeated ? [] : undefined);
  if (field.isRepeated) {
    return field.message?.().name.endsWith("Entry") === true
      ? fc.uniqueArray(someValue(field, depth), { maxLength: 3, selector: (entry) => (entry as { key: string }).key })
      : fc.array(someValue(field, depth), { maxLength: 3 });
  }
  return field.kind === "message" ? fc.option(someValue(field, depth), { nil: undefined }) : someValue(field, depth);
}

function someValue(field: Field, depth: number): fc.Arbitrary<unknown> {
  switch (field.kind) {
    case "bytes":
      return someBytes;
    case "string":
      return someString;
    case "bool":
      return fc.boolean();
    case "int64":
      return someSigned;
    case "uint64":
      return someNumber;
    case "bound":
      return someBound;
    case "id":
      return someId;
    case "uid":
      return someUid;
    case "uint32":
      return fc.nat({ max: 2 ** 32 - 1 });
    case "enum":
      return fc.oneof(fc.nat({ max: 4 }), fc.integer());
    case "message":
      return someMessage(field.message!(), depth - 1);
    default:
      return field.kind satisfies never;
  }
}

/** The bytes with a few of them changed, inserted or cut away. */
export function mutated(bytes: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  return fc
    .tuple(
      bytes,
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 }), fc.nat({ max: 2 })), { minLength: 1, maxLength: 3 }),
    )
    .map(([original, edits]) => {
      const out = [...original];
      for (const [where, byte, how] of edits) {
        const at = out.length === 0 ? 0 : where % out.length;
        if (how === 0) out.splice(at, 1, byte);
        else if (how === 1) out.splice(at, 0, byte);
        else out.splice(at, 1);
      }
      return Uint8Array.from(out);
    });
}
