/**
 * The body of an answer sent in chunks (RFC 9112 §7.1), piece by piece as it comes in:
 *
 *   size in hex [; extensions] CRLF | so many bytes | CRLF     repeated
 *   0 CRLF | trailers | CRLF                                   the end
 *
 * Nothing is gathered: a chunk that comes in parts is handed on in parts. Extensions and trailers are passed over.
 */

/** What came is no chunked body, from here on. */
export class MalformedBody extends Error {
  readonly kind = "MalformedBody";
  constructor(problem: string) {
    super(`malformed chunked encoding: ${problem}`);
    this.name = "MalformedBody";
  }
}

/** Of a line between the data, and of all trailers together. Far more than etcd and we write. */
const LINE_BYTES_MAX = 16 * 1024;
/** Sizes below 2^52. */
const SIZE_DIGITS_MAX = 13;

type State = "size" | "extension" | "data" | "after data" | "trailer" | "end";

const CR = 13;
const LF = 10;
const SEMICOLON = 59;

export class ChunkedBody {
  #state: State = "size";
  /** Of the chunk at hand: its size while that is read, then how much of it is missing. */
  #left = 0;
  #digits = 0;
  /** Of the line, or the trailers, at hand. */
  #lineBytes = 0;
  /** So far, the trailer line at hand. */
  #isEmptyLine = true;
  #wasCr = false;

  /** The last chunk and the trailers have come; what follows does not belong to the body. */
  get isAtEnd(): boolean {
    return this.#state === "end";
  }

  /**
   * Hands on what data there is in the bytes, as views of them, in order; stops at the end of the body, or as soon as
   * `deliver` returns false.
   * @throws MalformedBody after having handed on what came before.
   */
  push(bytes: Buffer, deliver: (piece: Buffer) => boolean): void {
    let at = 0;
    while (at < bytes.length && this.#state !== "end") {
      if (this.#state === "data") {
        const end = Math.min(bytes.length, at + this.#left);
        this.#left -= end - at;
        if (this.#left === 0) this.#state = "after data";
        const piece = at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end);
        at = end;
        if (!deliver(piece)) return;
      } else {
        this.#between(bytes[at++]!);
      }
    }
  }

  /** A byte that is not data. */
  #between(byte: number): void {
    if (++this.#lineBytes > LINE_BYTES_MAX) throw new MalformedBody("a line is too long");
    if (this.#wasCr) {
      if (byte !== LF) throw new MalformedBody("CR without LF");
      this.#wasCr = false;
      this.#lineEnded();
    } else if (byte === CR) {
      this.#wasCr = true;
    } else if (byte === LF) {
      throw new MalformedBody("LF without CR");
    } else if (this.#state === "size") {
      this.#sizeByte(byte);
    } else if (this.#state === "after data") {
      throw new MalformedBody("a chunk is longer than it said");
    } else if (this.#state === "trailer") {
      this.#isEmptyLine = false;
    }
  }

  #sizeByte(byte: number): void {
    if (byte === SEMICOLON && this.#digits > 0) {
      this.#state = "extension";
      return;
    }
    const digit = hexDigit(byte);
    if (digit < 0) throw new MalformedBody("a size is no number");
    if (++this.#digits > SIZE_DIGITS_MAX) throw new MalformedBody("a chunk is too large");
    this.#left = this.#left * 16 + digit;
  }

  #lineEnded(): void {
    if (this.#state === "trailer") {
      if (this.#isEmptyLine) this.#state = "end";
      this.#isEmptyLine = true;
      return;
    }
    this.#lineBytes = 0;
    if (this.#state === "after data") {
      this.#state = "size";
      return;
    }
    if (this.#digits === 0) throw new MalformedBody("a chunk without a size");
    this.#digits = 0;
    this.#state = this.#left === 0 ? "trailer" : "data";
  }
}

/** -1: none. */
function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const letter = byte | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}
