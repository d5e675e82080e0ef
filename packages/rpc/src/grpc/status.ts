/**
 * gRPC status: codes, the percent-encoding of messages, and the error a client sees. Used on both sides.
 */
import { ErrorCode } from "../http2/frame.ts";

export const StatusCode = {
  Ok: 0,
  Cancelled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;
export type StatusCode = (typeof StatusCode)[keyof typeof StatusCode];

/** A call that did not end with OK, as its caller sees it. */
export class RpcError extends Error {
  readonly kind = "RpcError";
  readonly code: number;
  /** Trailers (or, for an answer of trailers only, headers) by lower-case name; see {@link Metadata}. */
  readonly trailers: ReadonlyMap<string, string>;
  constructor(code: number, message: string, trailers: ReadonlyMap<string, string> = noTrailers) {
    super(message);
    this.name = "RpcError";
    this.code = code;
    this.trailers = trailers;
  }
}

const noTrailers: ReadonlyMap<string, string> = new Map();

/**
 * grpc-message on the wire: UTF-8, everything outside printable ASCII and "%" as %XX. Unpaired surrogates become
 * U+FFFD, as in grpc-go.
 */
export function encodeStatusMessage(message: string): string {
  if (!/[^ -$&-~]/.test(message)) return message;
  const bytes = Buffer.from(message, "utf8");
  let encoded = "";
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    if (byte >= 0x20 && byte <= 0x7e && byte !== 0x25) encoded += String.fromCharCode(byte);
    else encoded += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** The reverse; what is not a valid escape is taken as it stands. `wire` has one character per byte. */
export function decodeStatusMessage(wire: string): string {
  const bytes = Buffer.allocUnsafe(wire.length);
  let length = 0;
  for (let i = 0; i < wire.length; i++) {
    const c = wire.charCodeAt(i);
    if (c === 0x25 && i + 2 < wire.length) {
      const high = hexDigit(wire.charCodeAt(i + 1));
      const low = hexDigit(wire.charCodeAt(i + 2));
      if (high >= 0 && low >= 0) {
        bytes[length++] = (high << 4) | low;
        i += 2;
        continue;
      }
    }
    bytes[length++] = c;
  }
  return bytes.toString("utf8", 0, length);
}

function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const lower = c | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}

/** The status of a call whose stream the server reset (the gRPC specification's table). */
export function statusOfReset(code: number): StatusCode {
  switch (code) {
    case ErrorCode.RefusedStream:
      return StatusCode.Unavailable;
    case ErrorCode.Cancel:
      return StatusCode.Cancelled;
    case ErrorCode.EnhanceYourCalm:
    case ErrorCode.FlowControlError:
      return StatusCode.ResourceExhausted;
    case ErrorCode.InadequateSecurity:
      return StatusCode.PermissionDenied;
    default:
      return StatusCode.Internal;
  }
}

/** The status of an answer that is not gRPC at all. */
export function statusOfHttp(httpStatus: string): StatusCode {
  switch (httpStatus) {
    case "400":
      return StatusCode.Internal;
    case "401":
      return StatusCode.Unauthenticated;
    case "403":
      return StatusCode.PermissionDenied;
    case "404":
      return StatusCode.Unimplemented;
    case "429":
    case "502":
    case "503":
    case "504":
      return StatusCode.Unavailable;
    default:
      return StatusCode.Unknown;
  }
}
