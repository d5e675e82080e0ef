/**
 * An independent implementation to hold our codecs against: proto/ compiled by buf, read and written by protobuf-es
 * through its reflection, sharing no line with us.
 *
 * A message crosses over as our kind of plain object: {@link referenceEncode} takes one, {@link referenceDecode} gives one.
 */

import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  create,
  createFileRegistry,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { type Field, type MessageType, messageTypes } from "../messages/index.ts";
import { BOUND_MAX } from "../wire/index.ts";

const MAX_INT64 = 2n ** 63n - 1n;
const MIN_INT64 = -(2n ** 63n);

/** proto/, compiled now: what the repository says, not what it once said. */
export const registry: FileRegistry = compile();

export function descriptorOf(name: string): DescMessage {
  const desc = registry.getMessage(name);
  if (desc === undefined) throw new Error(`proto/ has no message ${name}`);
  return desc;
}

/** The reference's encoding of our object. */
export function referenceEncode(type: MessageType<object>, message: object): Uint8Array {
  const desc = descriptorOf(type.name);
  const made = reflect(desc, create(desc));
  fill(type, made, message as Readonly<Record<string, unknown>>);
  return toBinary(desc, made.message);
}

/** Our kind of object, as the reference reads the bytes. Throws whatever the reference throws. */
export function referenceDecode(type: MessageType<object>, bytes: Uint8Array): object {
  const desc = descriptorOf(type.name);
  return extract(type, reflect(desc, fromBinary(desc, bytes)));
}

/** What the reference writes after reading: the canonical form, unknown fields dropped. */
export function referenceCanonical(name: string, bytes: Uint8Array): Uint8Array {
  const desc = descriptorOf(name);
  return toBinary(desc, fromBinary(desc, bytes), { writeUnknownFields: false });
}

/**
 * Whether some known field comes with a wire type that is not its own. We skip such a field, as Go's decoder does; the
 * reference reads it anyway and loses its place, so on such bytes it is no witness.
 */
export function hasForeignWireType(type: MessageType<object>, bytes: Uint8Array): boolean {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    const field = type.fields.find((candidate) => candidate.number === number);
    if (field === undefined) {
      reader.skip(wireType, number);
      continue;
    }
    const own = field.tag & 7;
    const isPacked = field.isRepeated && wireType === 2;
    if (wireType !== own && !isPacked) return true;
    if (field.kind === "message") {
      if (hasForeignWireType(field.message!(), reader.bytes())) return true;
    } else {
      reader.skip(wireType, number);
    }
  }
  return false;
}

export function typeOf(name: string): MessageType<object> {
  const type = messageTypes.get(name);
  if (type === undefined) throw new Error(`there is no table of ${name}`);
  return type;
}

function compile(): FileRegistry {
  const buf = createRequire(import.meta.url).resolve("@bufbuild/buf/package.json");
  const proto = join(dirname(fileURLToPath(import.meta.url)), "../../../../proto");
  const image = execFileSync(process.execPath, [join(dirname(buf), "bin/buf"), "build", proto, "-o", "-"], {
    maxBuffer: 1 << 24,
  });
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
}

function fill(type: MessageType<object>, made: ReflectMessage, message: Readonly<Record<string, unknown>>): void {
  for (const field of type.fields) {
    const value = message[field.property];
    const desc = made.findNumber(field.number);
    if (desc === undefined) throw new Error(`proto/ has no field ${type.name}.${field.property}`);
    if (value === undefined) continue;
    if (desc.fieldKind === "map") {
      for (const entry of value as readonly { key: string; value: object | undefined }[]) {
        if (desc.message === undefined) throw new Error("maps of messages only");
        const inner = reflect(desc.message, create(desc.message));
        fill(typeOf(desc.message.typeName), inner, (entry.value ?? {}) as Readonly<Record<string, unknown>>);
        made.get(desc).set(entry.key, inner);
      }
    } else if (desc.fieldKind === "list") {
      const list = made.get(desc);
      for (const element of value as readonly unknown[]) list.add(toReference(field, element));
    } else {
      made.set(desc, toReference(field, value));
    }
  }
}

function toReference(field: Field, value: unknown): unknown {
  switch (field.kind) {
    case "message": {
      const type = field.message!();
      const inner = reflect(descriptorOf(type.name), create(descriptorOf(type.name)));
      fill(type, inner, value as Readonly<Record<string, unknown>>);
      return inner;
    }
    case "bound":
      if ((value as number) >= BOUND_MAX) return MAX_INT64;
      if ((value as number) <= -BOUND_MAX) return MIN_INT64;
      return BigInt(value as number);
    case "int64":
    case "uint64":
      return BigInt(value as number);
    default:
      return value;
  }
}

function extract(type: MessageType<object>, read: ReflectMessage): object {
  const out: Record<string, unknown> = {};
  for (const field of type.fields) {
    const desc = read.findNumber(field.number);
    if (desc === undefined) throw new Error(`proto/ has no field ${type.name}.${field.property}`);
    if (desc.fieldKind === "map") {
      const entries: object[] = [];
      for (const [key, value] of read.get(desc)) {
        const inner = value as ReflectMessage;
        entries.push({ key, value: extract(typeOf(inner.desc.typeName), inner) });
      }
      out[field.property] = entries;
    } else if (desc.fieldKind === "list") {
      out[field.property] = [...read.get(desc)].map((element) => fromReference(field, element));
    } else if (field.oneof !== undefined || field.kind === "message") {
      out[field.property] = read.isSet(desc) ? fromReference(field, read.get(desc)) : undefined;
    } else {
      out[field.property] = fromReference(field, read.get(desc));
    }
  }
  return out;
}

function fromReference(field: Field, value: unknown): unknown {
  switch (field.kind) {
    case "message":
      return extract(field.message!(), value as ReflectMessage);
    case "bound": {
      const number = Number(value as bigint);
      return Math.max(-BOUND_MAX, Math.min(BOUND_MAX, number));
    }
    case "int64":
    case "uint64":
      return Number(value as bigint);
    case "bytes":
      return Buffer.from(value as Uint8Array);
    default:
      return value;
  }
}

export { ScalarType };
