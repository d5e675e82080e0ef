/**
 * RFC 7541 Appendix A: the 61 header fields both sides know from the start. Index 0 is not used, so that positions in
 * the array are the positions on the wire. Used by the decoder and the encoder.
 */
import { HeaderField } from "./header-field.ts";

const pairs: readonly (readonly [string, string])[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language", ""],
  ["accept-ranges", ""],
  ["accept", ""],
  ["access-control-allow-origin", ""],
  ["age", ""],
  ["allow", ""],
  ["authorization", ""],
  ["cache-control", ""],
  ["content-disposition", ""],
  ["content-encoding", ""],
  ["content-language", ""],
  ["content-length", ""],
  ["content-location", ""],
  ["content-range", ""],
  ["content-type", ""],
  ["cookie", ""],
  ["date", ""],
  ["etag", ""],
  ["expect", ""],
  ["expires", ""],
  ["from", ""],
  ["host", ""],
  ["if-match", ""],
  ["if-modified-since", ""],
  ["if-none-match", ""],
  ["if-range", ""],
  ["if-unmodified-since", ""],
  ["last-modified", ""],
  ["link", ""],
  ["location", ""],
  ["max-forwards", ""],
  ["proxy-authenticate", ""],
  ["proxy-authorization", ""],
  ["range", ""],
  ["referer", ""],
  ["refresh", ""],
  ["retry-after", ""],
  ["server", ""],
  ["set-cookie", ""],
  ["strict-transport-security", ""],
  ["transfer-encoding", ""],
  ["user-agent", ""],
  ["vary", ""],
  ["via", ""],
  ["www-authenticate", ""],
];

export const staticTableSize = 61;

/** Shared by every decoder: nobody may leave a memo on these fields. */
export const staticFields: readonly HeaderField[] = [
  new HeaderField("", "", null),
  ...pairs.map(([name, value]) => new HeaderField(name, value, null)),
];

/** First index whose name matches: what a literal's name refers to. */
export const staticNameIndex: ReadonlyMap<string, number> = new Map(
  pairs.map(([name], position) => [name, position + 1] as const).reverse(),
);

/** Index of an exact field, keyed `name\0value`. */
export const staticFieldIndex: ReadonlyMap<string, number> = new Map(
  pairs.map(([name, value], position) => [`${name}\0${value}`, position + 1] as const),
);
