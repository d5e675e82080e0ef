/** Messages as text that a person can read and a failure can print: zero fields left out, bytes as quoted strings. */

export function show(value: unknown): string {
  if (value instanceof Uint8Array) return showBytes(value);
  if (typeof value === "bigint") return `${value}n`;
  if (Array.isArray(value)) return `[${value.map(show).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "undefined";
  const fields = Object.entries(value).filter(([, field]) => !isZero(field));
  return `{${fields.map(([name, field]) => ` ${name}: ${show(field)}`).join(",")} }`;
}

function isZero(value: unknown): boolean {
  if (value instanceof Uint8Array) return value.length === 0;
  return value === undefined || value === 0 || value === 0n || value === false || value === "" || isEmptyList(value);
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

const LONG_BYTES = 80;

function showBytes(bytes: Uint8Array): string {
  if (bytes.length > LONG_BYTES) return `<${bytes.length} bytes of ${showBytes(bytes.subarray(0, 16))}…>`;
  let text = "";
  for (const byte of bytes) {
    const isPlain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    text += isPlain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return `"${text}"`;
}
