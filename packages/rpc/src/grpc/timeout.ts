/** The grpc-timeout header: one to eight digits and a unit. Parsed by the server, written by the client (GR-03). */

const unitMs: ReadonlyMap<string, number> = new Map([
  ["H", 3_600_000],
  ["M", 60_000],
  ["S", 1000],
  ["m", 1],
  ["u", 0.001],
  ["n", 0.000_001],
]);

/** Milliseconds, or what is wrong with the value, in grpc-go's words. */
export function parseTimeout(value: string): number | string {
  if (value.length < 2) return `transport: timeout string is too short: ${quoted(value)}`;
  if (value.length > 9) return `transport: timeout string is too long: ${quoted(value)}`;
  const scale = unitMs.get(value[value.length - 1]!);
  if (scale === undefined) return `transport: timeout unit is not recognized: ${quoted(value)}`;
  let amount = 0;
  for (let i = 0; i < value.length - 1; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) {
      return `strconv.ParseUint: parsing ${quoted(value.slice(0, -1))}: invalid syntax`;
    }
    amount = amount * 10 + digit;
  }
  return amount * scale;
}

/** The header for `timeoutMs`, never shorter than asked, in the finest unit that has room. */
export function formatTimeout(timeoutMs: number): string {
  if (!(timeoutMs > 0)) return "0n";
  if (timeoutMs < 100_000)
    return `${Math.ceil(timeoutMs * 1000)}u`.length <= 9
      ? `${Math.ceil(timeoutMs * 1000)}u`
      : `${Math.ceil(timeoutMs)}m`;
  if (timeoutMs <= 99_999_999) return `${Math.ceil(timeoutMs)}m`;
  const seconds = Math.ceil(timeoutMs / 1000);
  if (seconds <= 99_999_999) return `${seconds}S`;
  return `${Math.min(Math.ceil(timeoutMs / 3_600_000), 99_999_999)}H`;
}

/** As Go's %q would print what can stand in a header. */
export function quoted(text: string): string {
  let out = '"';
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x22 || c === 0x5c) out += `\\${text[i]!}`;
    else if (c >= 0x20 && c < 0x7f) out += text[i]!;
    else out += `\\x${c.toString(16).padStart(2, "0")}`;
  }
  return `${out}"`;
}
