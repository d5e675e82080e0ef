/** How services end calls: one writer that every small answer is encoded in, and one table for every error. */
import { type ErrorKind, errors, StatusCode } from "@quorate/api";
import { MalformedMessage, Writer } from "@quorate/api/wire";
import type { ServerCall } from "@quorate/rpc";

/** Reused by whoever encodes an answer within one call stack; reset it first. `respond` and `send` copy what is in it. */
export const answerWriter: Writer = new Writer(64 * 1024);

export function respondWith(call: ServerCall, writer: Writer): void {
  call.respond(writer.buffer, 0, writer.position);
}

export function sendWith(call: ServerCall, writer: Writer): boolean {
  return call.send(writer.buffer, 0, writer.position);
}

export function failWith(call: ServerCall, kind: ErrorKind): void {
  if (!call.isOpen) return;
  const { code, message } = errors[kind];
  call.fail(code, message);
}

/** For what is thrown while a request is decoded or checked. What is neither bad bytes nor in the table is a bug. */
export function failThrown(call: ServerCall, error: unknown): void {
  failWithThrown(call, error, "grpc: error unmarshalling request");
}

/** The same for messages of a stream, of which grpc-go says it in other words. */
export function failStreamThrown(call: ServerCall, error: unknown): void {
  failWithThrown(call, error, "grpc: failed to unmarshal the received message");
}

function failWithThrown(call: ServerCall, error: unknown, malformed: string): void {
  if (error instanceof MalformedMessage) {
    call.fail(StatusCode.Internal, `${malformed}: ${error.message}`);
    return;
  }
  const kind = (error as { kind?: unknown } | null)?.kind;
  if (typeof kind !== "string" || !Object.hasOwn(errors, kind)) throw error;
  failWith(call, kind as ErrorKind);
}
