/**
 * The words message tables are written in: `key: bytes(1)`, `prevKv: bool(4, "prev_kv")`. The second argument is the
 * .proto name where it differs from the property.
 */

import { type EnumNames, type FieldKind, type FieldSpec, MessageType } from "./message-type.ts";

/** A message's table; the compiler holds it against the interface. */
export function message<T extends object>(
  name: string,
  fields: { readonly [K in keyof T]: FieldSpec<T[K]> },
): MessageType<T> {
  return new MessageType<T>(name, fields);
}

export const bytes = (number: number, protoName?: string): FieldSpec<Uint8Array> => scalar(number, "bytes", protoName);
export const string = (number: number, protoName?: string): FieldSpec<string> => scalar(number, "string", protoName);
export const bool = (number: number, protoName?: string): FieldSpec<boolean> => scalar(number, "bool", protoName);
/** See message-type.ts for how the 64-bit kinds differ. */
export const int64 = (number: number, protoName?: string): FieldSpec<number> => scalar(number, "int64", protoName);
export const uint64 = (number: number, protoName?: string): FieldSpec<number> => scalar(number, "uint64", protoName);
export const bound = (number: number, protoName?: string): FieldSpec<number> => scalar(number, "bound", protoName);
export const id = (number: number, protoName?: string): FieldSpec<bigint> => scalar(number, "id", protoName);
export const uid = (number: number, protoName?: string): FieldSpec<bigint> => scalar(number, "uid", protoName);
export const uint32 = (number: number, protoName?: string): FieldSpec<number> => scalar(number, "uint32", protoName);

/** An open enum: `names` are for JSON and people, other numbers pass. */
export function enumeration(number: number, names: EnumNames, protoName?: string): FieldSpec<number> {
  return { ...scalar<number>(number, "enum", protoName), names };
}

/** An embedded message; a function, because tables refer to each other. */
export function embedded<T extends object>(
  number: number,
  type: () => MessageType<T>,
  protoName?: string,
): FieldSpec<T | undefined> {
  return {
    ...scalar<T | undefined>(number, "message", protoName),
    message: type as unknown as () => MessageType<object>,
  };
}

/** `repeated(string(3))`, `repeated(embedded(2, () => KeyValue))`. */
export function repeated<Value>(spec: FieldSpec<Value>): FieldSpec<readonly NonNullable<Value>[]> {
  return { ...(spec as FieldSpec<unknown>), isRepeated: true } as FieldSpec<readonly NonNullable<Value>[]>;
}

/** The key or the value of a map's entry: encoders write both, whatever they are. */
export function entry<Value>(spec: FieldSpec<Value>): FieldSpec<Value> {
  return { ...spec, isAlwaysWritten: true };
}

/** A member of a union: undefined unless given, and given even if it is zero. */
export function oneof<Value>(union: string, spec: FieldSpec<Value>): FieldSpec<Value | undefined> {
  return { ...(spec as FieldSpec<unknown>), oneof: union } as FieldSpec<Value | undefined>;
}

function scalar<Value>(number: number, kind: FieldKind, protoName: string | undefined): FieldSpec<Value> {
  return {
    number,
    kind,
    protoName,
    isRepeated: false,
    oneof: undefined,
    message: undefined,
    names: undefined,
    isAlwaysWritten: false,
  };
}

/** A message that says all by being sent. */
export type NoFields = Readonly<Record<never, never>>;
