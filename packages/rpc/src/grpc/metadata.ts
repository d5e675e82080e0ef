/**
 * Metadata: the headers of a call that belong to the application. Values travel as they are, except that names ending
 * in "-bin" carry bytes in base64. Inside this package a value is a string with one character per byte on the wire.
 */
import type { HeaderField } from "../hpack/header-field.ts";

/** What a client sends: name (lower case) and value; bytes only for names ending in "-bin". */
export type Metadata = readonly (readonly [name: string, value: string | Uint8Array])[];

export class InvalidMetadata extends Error {
  readonly kind = "InvalidMetadata";
  constructor(problem: string) {
    super(`invalid metadata: ${problem}`);
    this.name = "InvalidMetadata";
  }
}

/** First value of `name` among `fields`, or undefined. */
export function firstValue(fields: readonly HeaderField[], name: string): string | undefined {
  for (let i = 0; i < fields.length; i++) {
    if (fields[i]!.name === name) return fields[i]!.value;
  }
  return undefined;
}

/**
 * The bytes of a "-bin" value: base64 with or without padding, standard alphabet, as every gRPC implementation accepts.
 * Values may be joined with commas; the first is taken. Undefined if it is not base64 (GR-03).
 */
export function decodeBinaryValue(value: string): Uint8Array | undefined {
  const comma = value.indexOf(",");
  const first = comma < 0 ? value : value.slice(0, comma);
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(first)) return undefined;
  const digits = first.replace(/=+$/, "").length;
  if (digits % 4 === 1 || (first.length !== digits && first.length % 4 !== 0)) return undefined;
  return Buffer.from(first, "base64");
}

/** A value as it travels. Throws {@link InvalidMetadata} for what may not travel. */
export function encodeValue(name: string, value: string | Uint8Array): string {
  if (!/^[0-9a-z_.-]+$/.test(name)) throw new InvalidMetadata(`name ${JSON.stringify(name)}`);
  if (name.startsWith("grpc-") || reserved.has(name)) throw new InvalidMetadata(`name ${name} is reserved`);
  if (name.endsWith("-bin")) {
    const bytes = typeof value === "string" ? Buffer.from(value, "utf8") : Buffer.from(value);
    return bytes.toString("base64").replace(/=+$/, "");
  }
  if (typeof value !== "string") throw new InvalidMetadata(`bytes for ${name}, whose name does not end in -bin`);
  if (!/^[ -~]*$/.test(value)) throw new InvalidMetadata(`value of ${name} is not printable ASCII`);
  return value.trim();
}

const reserved: ReadonlySet<string> = new Set([
  "content-type",
  "te",
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "content-length",
  "host",
]);
