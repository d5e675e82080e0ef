/**
 * The header blocks a server sends. They need no encoder state, so the usual ones are whole frames, constant but for
 * the stream id, and the others are made from their text and kept a while: error texts repeat.
 */
import { encodeStatusMessage } from "../grpc/status.ts";
import { literalBlock } from "../hpack/encoder.ts";
import { FrameFlag, FrameType, frameHeaderBytes, writeFrameHeader } from "../http2/frame.ts";

const contentType = ["content-type", "application/grpc"] as const;

/** The headers before the first message. */
export const responseHeaders: Buffer = literalBlock([[":status", "200"], contentType]);
/** The trailers of a call that went well. */
export const okTrailers: Buffer = literalBlock([["grpc-status", "0"]]);

/** The same two as HEADERS frames of stream 0; {@link putFrame} fills in the stream. */
export const responseHeadersFrame: Buffer = frameOf(responseHeaders, FrameFlag.EndHeaders);
export const okTrailersFrame: Buffer = frameOf(okTrailers, FrameFlag.EndHeaders | FrameFlag.EndStream);

function frameOf(block: Buffer, flags: number): Buffer {
  const frame = Buffer.alloc(frameHeaderBytes + block.length);
  block.copy(frame, writeFrameHeader(frame, 0, block.length, FrameType.Headers, flags, 0));
  return frame;
}

/** Copies a constant frame to `at` with its stream id; returns the position after it. */
export function putFrame(frame: Buffer, streamId: number, into: Buffer, at: number): number {
  const length = frame.length;
  for (let i = 0; i < length; i++) into[at + i] = frame[i]!;
  into[at + 5] = streamId >>> 24;
  into[at + 6] = streamId >>> 16;
  into[at + 7] = streamId >>> 8;
  into[at + 8] = streamId;
  return at + length;
}

/** Trailers with an error, for a call whose headers were sent. */
export function failureTrailers(code: number, message: string): Buffer {
  return remembered(code, message, `t${code} ${message}`, []);
}

/** Headers and trailers in one, for a call that fails before it has answered anything. */
export function failureOnly(code: number, message: string, httpStatus = "200"): Buffer {
  return remembered(code, message, `${httpStatus} ${code} ${message}`, [[":status", httpStatus], contentType]);
}

/** UNIMPLEMENTED because of the message encoding: says what would be understood. */
export function unknownEncoding(message: string): Buffer {
  return remembered(12, message, `encoding ${message}`, [
    [":status", "200"],
    contentType,
    ["grpc-accept-encoding", "identity,gzip"],
  ]);
}

/** Status 431: the header list is larger than we announced. */
export const headersTooLarge: Buffer = literalBlock([[":status", "431"]]);

/** A memo of a pure function of its key. */
const kept = new Map<string, Buffer>();
const maxKept = 256;

function remembered(
  code: number,
  message: string,
  key: string,
  before: readonly (readonly [string, string])[],
): Buffer {
  const known = kept.get(key);
  if (known !== undefined) return known;
  const block = literalBlock([
    ...before,
    ["grpc-status", String(code)],
    ["grpc-message", encodeStatusMessage(cutMessage(message))],
  ]);
  if (kept.size >= maxKept) kept.clear();
  if (message.length <= 256) kept.set(key, block);
  return block;
}

/** No client reads a header list of more than 8 KiB gladly; percent-encoding triples the length at worst. */
function cutMessage(message: string): string {
  return message.length <= 2048 ? message : message.slice(0, 2048);
}
