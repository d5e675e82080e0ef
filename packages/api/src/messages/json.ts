/**
 * protobuf's JSON mapping as etcd's gateway speaks it (surface-api §8).
 *
 * Written: .proto names, zero and empty fields left out, 64-bit integers as strings, enums by name, bytes in base64. Read:
 * .proto or lowerCamelCase names, integers as numbers or strings, enums by name or number, base64 of either alphabet with
 * or without padding; null says "not given"; fields and enum names nobody knows are passed over. Refused: a field given
 * twice (under either name), two members of a union, a value of the wrong type.
 */

import { assert } from "@quorate/world";
import { BOUND_MAX, InexactInteger } from "../wire/index.ts";
import { type JsonValue, MalformedJson, parseJson } from "./json-text.ts";
import type { Field, Init, MessageType } from "./message-type.ts";

const INTEGER = /^-?(?:0|[1-9][0-9]*)$/;
const INTEGRAL = /^(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,3}))?$/;
const BASE64 = /^(?:[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)={0,2}$/;

const RANGES: Readonly<Record<"int64" | "uint64" | "uint32" | "int32", readonly [bigint, bigint]>> = {
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
};

/** The message as JSON text, without spaces. */
export function toJson<T extends object>(type: MessageType<T>, message: Init<T>): string {
  return messageToJson(type.fields, message as Bag);
}

/**
 * The message in `text`, whose first JSON value must be an object; text after it is ignored, and text without a value is
 * the empty message. Throws {@link MalformedJson}, or InexactInteger for a counted number beyond 2^53 - 1.
 */
export function fromJson<T extends object>(type: MessageType<T>, text: string): T {
  if (text.trim() === "") return type.zero();
  return messageFromJson(type, parseJson(text).value);
}

type Bag = Readonly<Record<string, unknown>>;

function messageToJson(fields: readonly Field[], message: Bag): string {
  let out = "";
  for (const field of fields) {
    const value = message[field.property];
    if (value === undefined || (field.oneof === undefined && isEmpty(value))) continue;
    out += `${out === "" ? "" : ","}"${field.protoName}":${fieldToJson(field, value)}`;
  }
  return `{${out}}`;
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value) || value instanceof Uint8Array) return value.length === 0;
  return value === 0 || value === 0n || value === false || value === "";
}

function fieldToJson(field: Field, value: unknown): string {
  if (!field.isRepeated) return valueToJson(field, value);
  if (isMap(field)) {
    const entries = (value as readonly Bag[]).map((entry) => {
      const [key, inner] = entryFields(field);
      const content = entry[inner.property] ?? {};
      return `${JSON.stringify(String(entry[key.property] ?? ""))}:${valueToJson(inner, content)}`;
    });
    return `{${entries.join(",")}}`;
  }
  return `[${(value as readonly unknown[]).map((element) => valueToJson(field, element)).join(",")}]`;
}

function valueToJson(field: Field, value: unknown): string {
  switch (field.kind) {
    case "bytes": {
      const bytes = value as Uint8Array;
      return `"${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64")}"`;
    }
    case "string":
      return JSON.stringify(value);
    case "bool":
    case "uint32":
      return String(value);
    case "int64":
    case "uint64":
    case "id":
    case "uid":
      return `"${value}"`;
    case "bound":
      return `"${boundToBig(value as number)}"`;
    case "enum": {
      const name = Object.entries(field.names ?? {}).find(([, number]) => number === value)?.[0];
      return name === undefined ? String(value) : `"${name}"`;
    }
    case "message":
      return messageToJson(messageOf(field).fields, value as Bag);
    default:
      return field.kind satisfies never;
  }
}

function messageFromJson<T extends object>(type: MessageType<T>, value: JsonValue): T {
  if (value.kind !== "object") throw new MalformedJson(`unexpected ${value.kind} for message ${type.name}`, -1);
  const message = type.zero() as Record<string, unknown>;
  const given = new Set<string>();
  const unions = new Set<string>();
  for (const [name, member] of value.members) {
    const field = type.fields.find((candidate) => candidate.protoName === name || candidate.property === name);
    if (field === undefined) continue;
    if (given.has(field.property)) throw new MalformedJson(`duplicate field "${name}"`, -1);
    given.add(field.property);
    if (member.kind === "null") continue;
    if (field.oneof !== undefined) {
      if (unions.has(field.oneof)) throw new MalformedJson(`oneof ${field.oneof} is already set by another field`, -1);
      unions.add(field.oneof);
    }
    message[field.property] = fieldFromJson(field, member);
  }
  return message as T;
}

function fieldFromJson(field: Field, value: JsonValue): unknown {
  if (!field.isRepeated) return valueFromJson(field, value) ?? 0;
  if (isMap(field)) {
    if (value.kind !== "object") throw unexpected(field, value);
    const [key, inner] = entryFields(field);
    const given = new Set<string>();
    return value.members.map(([name, member]) => {
      if (given.has(name)) throw new MalformedJson(`duplicate map key "${name}"`, -1);
      given.add(name);
      return { [key.property]: name, [inner.property]: valueFromJson(inner, member) };
    });
  }
  if (value.kind !== "array") throw unexpected(field, value);
  // An enum name nobody knows leaves no element behind.
  return value.elements.map((element) => valueFromJson(field, element)).filter((element) => element !== undefined);
}

/** Undefined for an enum name nobody knows, which is to be passed over. */
function valueFromJson(field: Field, value: JsonValue): unknown {
  switch (field.kind) {
    case "bytes":
      if (value.kind !== "string") throw unexpected(field, value);
      return bytesFromJson(field, value.value);
    case "string":
      if (value.kind !== "string" || !value.value.isWellFormed()) throw unexpected(field, value);
      return value.value;
    case "bool":
      if (value.kind !== "bool") throw unexpected(field, value);
      return value.value;
    case "int64":
      return exactNumber(integerFromJson(field, value, "int64"));
    case "uint64":
      return exactNumber(integerFromJson(field, value, "uint64"));
    case "bound": {
      const number = Number(integerFromJson(field, value, "int64"));
      return Math.max(-BOUND_MAX, Math.min(BOUND_MAX, number));
    }
    case "id":
      return integerFromJson(field, value, "int64");
    case "uid":
      return integerFromJson(field, value, "uint64");
    case "uint32":
      return Number(integerFromJson(field, value, "uint32"));
    case "enum":
      if (value.kind === "string") return numberOfName(field, value.value);
      return Number(integerFromJson(field, value, "int32"));
    case "message":
      return messageFromJson(messageOf(field), value);
    default:
      return field.kind satisfies never;
  }
}

function numberOfName(field: Field, name: string): number | undefined {
  return Object.entries(field.names ?? {}).find(([known]) => known === name)?.[1];
}

function bytesFromJson(field: Field, text: string): Buffer {
  const digits = text.replace(/=+$/, "").length;
  const isPadded = digits !== text.length;
  if (!BASE64.test(text) || digits % 4 === 1 || (isPadded && text.length % 4 !== 0)) {
    throw new MalformedJson(`invalid base64 for field ${field.protoName}`, -1);
  }
  return Buffer.from(text, "base64");
}

function integerFromJson(field: Field, value: JsonValue, range: keyof typeof RANGES): bigint {
  const text = value.kind === "number" ? value.text : value.kind === "string" ? value.value : undefined;
  const number = text === undefined ? undefined : integerOf(text);
  const [least, most] = RANGES[range];
  if (number === undefined || number < least || number > most) throw unexpected(field, value);
  return number;
}

/** The integer a JSON number is, be it written 100, 1e2 or 100.0; undefined if it is none. */
function integerOf(text: string): bigint | undefined {
  if (INTEGER.test(text)) return text.length > 40 ? undefined : BigInt(text);
  const parts = INTEGRAL.exec(text);
  if (parts === null || text.length > 400) return undefined;
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = parts;
  const digits = whole + fraction;
  const point = whole.length + Number(exponent);
  const rest = point < 0 ? digits : digits.slice(point);
  if (!/^0*$/.test(rest)) return undefined;
  const integral = point <= 0 ? "0" : digits.slice(0, point).padEnd(point, "0");
  // More digits than any 64-bit integer has, unless they lead with zeroes.
  const significant = integral.replace(/^0+/, "");
  if (significant.length > 20) return undefined;
  return BigInt(`${sign === "-" && significant !== "" ? "-" : ""}${significant === "" ? "0" : significant}`);
}

function exactNumber(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new InexactInteger("read", value, 0);
  return number;
}

function boundToBig(value: number): bigint {
  if (value >= BOUND_MAX) return RANGES.int64[1];
  return value <= -BOUND_MAX ? RANGES.int64[0] : BigInt(value);
}

function isMap(field: Field): boolean {
  return field.kind === "message" && messageOf(field).fields[0]?.isAlwaysWritten === true;
}

function entryFields(field: Field): readonly [Field, Field] {
  const [key, inner] = messageOf(field).fields;
  assert(key !== undefined && inner !== undefined, "a map's entry has a key and a value");
  return [key, inner];
}

function messageOf(field: Field): MessageType<object> {
  assert(field.message !== undefined, "a field of kind message names its message");
  return field.message();
}

function unexpected(field: Field, value: JsonValue): MalformedJson {
  const shown = value.kind === "number" ? value.text.slice(0, 40) : value.kind;
  return new MalformedJson(`invalid value for ${field.kind} field ${field.protoName}: ${shown}`, -1);
}
