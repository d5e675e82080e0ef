/**
 * What the bytes of a message can be blamed for. Bytes come from sockets, so none of this is an assertion: the caller
 * turns {@link MalformedMessage} into a gRPC status (or, for a committed log entry, ends the process).
 */

/** The bytes are not a protobuf message we can read. */
export class MalformedMessage extends Error {
  readonly kind = "MalformedMessage";
  /** Where in the buffer (not in the message) reading stopped. */
  readonly offset: number;
  constructor(reason: string, offset: number) {
    super(`malformed message: ${reason} at byte ${offset}`);
    this.name = "MalformedMessage";
    this.offset = offset;
  }
}

/** A whole number that must be exact lies outside ±(2^53 - 1), the numbers JavaScript counts without gaps. */
export class InexactInteger extends Error {
  readonly kind = "InexactInteger";
  constructor(operation: "read" | "write", value: bigint | number, offset: number) {
    super(`${operation} of integer ${value} at byte ${offset}: beyond 2^53 - 1`);
    this.name = "InexactInteger";
  }
}

/** A message would need more bytes than a {@link Writer} may grow to. */
export class MessageTooLarge extends Error {
  readonly kind = "MessageTooLarge";
  constructor(sizeBytes: number, limitBytes: number) {
    super(`encoded message needs ${sizeBytes} bytes, more than ${limitBytes}`);
    this.name = "MessageTooLarge";
  }
}
