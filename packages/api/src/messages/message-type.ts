/**
 * The codec of the cold messages: one table of fields per message, one encoder and one decoder for all of them.
 *
 * Who calls: everything that is not the path of each put and range: administration, raft's small operations, the gateway,
 * the client. Why not a library: docs/decisions/0002-protobuf-codecs.md.
 *
 * A message is a plain object with every field present: scalars at their zero, repeated fields `[]`, embedded messages
 * and members of a union `undefined` when not given. Decoded bytes and strings are copies: a message outlives the buffer
 * it came from. Encoding is canonical: fields ascending, zero values left out.
 *
 *     kind      proto            value      beyond 2^53 - 1
 *     int64     int64            number     refused (InexactInteger): what we count ourselves
 *     uint64    uint64           number     refused
 *     bound     int64            number     saturates both ways: what is only compared (Reader.bound)
 *     id        int64            bigint     all 64 bits: ids that others choose
 *     uid       uint64           bigint     all 64 bits
 */

import { isUtf8 } from "node:buffer";
import { assert } from "@quorate/world";
import { MalformedMessage, Reader, Writer } from "../wire/index.ts";

export type ScalarKind = "bytes" | "string" | "bool" | "int64" | "uint64" | "bound" | "id" | "uid" | "uint32" | "enum";
export type FieldKind = ScalarKind | "message";

/** Names of an enum's numbers. */
export type EnumNames = Readonly<Record<string, number>>;

/** One field as a table states it; `Value` is the type of the property. */
export interface FieldSpec<Value> {
  readonly number: number;
  readonly kind: FieldKind;
  /** As in the .proto file; undefined where it equals the property. */
  readonly protoName: string | undefined;
  readonly isRepeated: boolean;
  /** The union the field belongs to. */
  readonly oneof: string | undefined;
  readonly message: (() => MessageType<object>) | undefined;
  readonly names: EnumNames | undefined;
  /** Written even if it is zero: the two fields of a map's entry. */
  readonly isAlwaysWritten: boolean;
  /** Never there: ties the field to the type of its property. */
  readonly phantom?: (value: Value) => Value;
}

/** One field as the codec uses it. */
export interface Field {
  /** The property; also the field's name in JSON. */
  readonly property: string;
  readonly protoName: string;
  readonly number: number;
  readonly kind: FieldKind;
  readonly tag: number;
  readonly isRepeated: boolean;
  readonly oneof: string | undefined;
  readonly message: (() => MessageType<object>) | undefined;
  readonly names: EnumNames | undefined;
  readonly isAlwaysWritten: boolean;
}

/** What a message is made from: any of its fields, to any depth. What is left out is its zero. */
export type Init<T> = { readonly [K in keyof T]?: InitValue<T[K]> | undefined };
type InitValue<V> = V extends Uint8Array | string | number | bigint | boolean | undefined
  ? V
  : V extends readonly (infer Element)[]
    ? readonly InitValue<Element>[]
    : Init<V>;

type Bag = Record<string, unknown>;

const EMPTY = Buffer.alloc(0);

/** Wire type of a kind when it stands alone. */
function wireTypeOf(kind: FieldKind): number {
  return kind === "bytes" || kind === "string" || kind === "message" ? 2 : 0;
}

export class MessageType<T extends object> {
  /** With its package, as "etcdserverpb.PutRequest". */
  readonly name: string;
  /** Ascending by number. */
  readonly fields: readonly Field[];
  readonly #byTag: ReadonlyMap<number, Field>;

  constructor(name: string, specs: { readonly [K in keyof T]: FieldSpec<T[K]> }) {
    this.name = name;
    const fields: Field[] = [];
    const byTag = new Map<number, Field>();
    for (const [property, spec] of Object.entries(specs) as [string, FieldSpec<unknown>][]) {
      const field: Field = {
        property,
        protoName: spec.protoName ?? property,
        number: spec.number,
        kind: spec.kind,
        tag: spec.number * 8 + wireTypeOf(spec.kind),
        isRepeated: spec.isRepeated,
        oneof: spec.oneof,
        message: spec.message,
        names: spec.names,
        isAlwaysWritten: spec.isAlwaysWritten,
      };
      fields.push(field);
      byTag.set(field.tag, field);
      // Numbers are read packed as well; writing them packed is what proto3 does.
      if (spec.isRepeated && wireTypeOf(spec.kind) === 0) byTag.set(spec.number * 8 + 2, field);
    }
    this.fields = fields.sort((a, b) => a.number - b.number);
    this.#byTag = byTag;
  }

  /** A message with every field at its zero. */
  zero(): T {
    const message: Bag = {};
    for (const field of this.fields) message[field.property] = zeroOf(field);
    return message as T;
  }

  /** Reads `buffer[start, end)`; nothing of it is kept. Throws MalformedMessage, or InexactInteger (see above). */
  decode(buffer: Uint8Array, start = 0, end: number = buffer.length): T {
    const reader = new Reader();
    reader.reset(buffer, start, end);
    const message = this.zero();
    this.#readInto(reader, message as Bag);
    return message;
  }

  /** The canonical encoding, in a buffer of its own. Throws InexactInteger for a number that is not a whole safe one. */
  encode(message: Init<T>): Uint8Array {
    const writer = new Writer();
    this.write(writer, message);
    return writer.copy();
  }

  /** Appends the canonical encoding, without tag or length. */
  write(writer: Writer, message: Init<T>): void {
    const bag = message as Bag;
    let given: string | undefined;
    for (const field of this.fields) {
      const value = bag[field.property];
      if (field.isAlwaysWritten) {
        writeField(writer, field, value ?? (field.kind === "message" ? {} : zeroOf(field)));
      } else if (value === undefined) {
        // Left out.
      } else if (field.oneof !== undefined) {
        assert(field.oneof !== given, "at most one member of a union is given");
        given = field.oneof;
        writeField(writer, field, value);
      } else if (field.isRepeated) {
        writeRepeated(writer, field, value as readonly unknown[]);
      } else if (!isZero(field.kind, value)) {
        writeField(writer, field, value);
      }
    }
  }

  #readInto(reader: Reader, message: Bag): void {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      const field = this.#byTag.get(tag);
      if (field === undefined) {
        reader.skip(tag);
      } else if (field.isRepeated) {
        const list = message[field.property] as unknown[];
        if (tag === field.tag) {
          list.push(readValue(reader, field, undefined));
        } else {
          const outerEnd = reader.enter();
          while (reader.position < reader.end) list.push(readValue(reader, field, undefined));
          reader.leave(outerEnd);
        }
      } else {
        const value = readValue(reader, field, message[field.property]);
        if (field.oneof !== undefined) this.#clearUnion(message, field.oneof);
        message[field.property] = value;
      }
    }
  }

  #clearUnion(message: Bag, oneof: string): void {
    for (const field of this.fields) {
      if (field.oneof === oneof) message[field.property] = undefined;
    }
  }

  /** For codecs of enclosing messages: reads an embedded message, into `earlier` if the field was given before. */
  readEmbedded(reader: Reader, earlier: object | undefined): object {
    const message = earlier ?? this.zero();
    const outerEnd = reader.enter();
    this.#readInto(reader, message as Bag);
    reader.leave(outerEnd);
    return message;
  }
}

function zeroOf(field: Field): unknown {
  if (field.isRepeated) return [];
  if (field.oneof !== undefined) return undefined;
  switch (field.kind) {
    case "bytes":
      return EMPTY;
    case "string":
      return "";
    case "bool":
      return false;
    case "id":
    case "uid":
      return 0n;
    case "message":
      return undefined;
    case "int64":
    case "uint64":
    case "bound":
    case "uint32":
    case "enum":
      return 0;
    default:
      return field.kind satisfies never;
  }
}

function isZero(kind: FieldKind, value: unknown): boolean {
  if (kind === "bytes") return (value as Uint8Array).length === 0;
  return value === 0 || value === 0n || value === false || value === "";
}

function readValue(reader: Reader, field: Field, earlier: unknown): unknown {
  switch (field.kind) {
    case "bytes":
      return Buffer.from(reader.bytes());
    case "string":
      return readString(reader);
    case "bool":
      return reader.bool();
    case "int64":
      return reader.int64();
    case "uint64":
      return reader.uint64();
    case "bound":
      return reader.bound();
    case "id":
      return reader.int64Big();
    case "uid":
      return reader.uint64Big();
    case "uint32":
      return reader.uint32();
    case "enum":
      return reader.int32();
    case "message":
      return messageOf(field).readEmbedded(reader, earlier as object | undefined);
    default:
      return field.kind satisfies never;
  }
}

/** proto3 strings are UTF-8; etcd 3.7 ends its process when one in the log is not, so none may come in. */
function readString(reader: Reader): string {
  const start = reader.position;
  const bytes = reader.bytes();
  if (!isUtf8(bytes)) throw new MalformedMessage("string is not UTF-8", start);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");
}

function writeRepeated(writer: Writer, field: Field, values: readonly unknown[]): void {
  if (values.length === 0) return;
  if (wireTypeOf(field.kind) === 2) {
    for (const value of values) writeField(writer, field, value);
    return;
  }
  const start = writer.begin(field.number * 8 + 2);
  for (const value of values) writeScalar(writer, field.kind, value);
  writer.finish(start);
}

function writeField(writer: Writer, field: Field, value: unknown): void {
  if (field.kind === "message") {
    const start = writer.begin(field.tag);
    messageOf(field).write(writer, value as object);
    writer.finish(start);
  } else if (field.kind === "bytes") {
    const bytes = value as Uint8Array;
    writer.bytesField(field.tag, bytes, 0, bytes.length);
  } else if (field.kind === "string") {
    writer.stringField(field.tag, value as string);
  } else {
    writer.varint(field.tag);
    writeScalar(writer, field.kind, value);
  }
}

function writeScalar(writer: Writer, kind: FieldKind, value: unknown): void {
  if (kind === "bound") writer.bound(value as number);
  else if (kind === "id" || kind === "uid") writer.varintBig(value as bigint);
  else if (kind === "bool") writer.byte(value === true ? 1 : 0);
  else writer.varint(value as number);
}

function messageOf(field: Field): MessageType<object> {
  assert(field.message !== undefined, "a field of kind message names its message");
  return field.message();
}
