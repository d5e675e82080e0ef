/**
 * A connection on which node:http asks and reads the head of the answer, and whoever asked may then read the body himself.
 * A stream between members is a body without end, whose small pieces http hands through a parser and a queue of its own;
 * without them a put to three members is a few hundredths shorter (docs/decisions/0007-stream-bodies-past-http.md).
 *
 *   head ── CRLF CRLF ──▶ undecided ──┬─ takeBody ──▶ taken: every further byte is the taker's
 *   (bytes go to http)                ├─ leaveBody ─▶ leaving ── next tick ──▶ left: http's for good
 *                                     └─ neither, while http told of the head: it was none, destroyed
 *
 * One request per connection. http sees every byte up to the end of the first head, and of what follows all or nothing. A
 * connection that breaks is told as http tells it, by the request's "error" and "close", whoever has the body.
 */
import type { OnReadOpts, Socket } from "node:net";
import { Duplex } from "node:stream";
import { ChunkedBody, MalformedBody } from "./chunked-body.ts";

export interface BodyTaker {
  /** A piece of the body, transferred. Returns false when it wants no more and has seen to the end of the request. */
  received(piece: Buffer): boolean;
  /**
   * The body has come to its end ("EOF"), or the other side has said inside it that it sends no more, or it is malformed.
   * At most once; the request is the taker's to destroy.
   */
  ended(reason: string): void;
}

/** Makes the connection, which reads into `onread`, or tells what it has read in "data" events. */
export type Connect = (onread: OnReadOpts) => Socket;

const READ_BYTES = 64 * 1024;
/** What is read is copied out; small reads share a piece of memory of this size. */
const SLAB_BYTES = 16 * 1024;

type State = "head" | "undecided" | "taken" | "leaving" | "left";

export class AnswerSocket extends Duplex {
  readonly #socket: Socket;
  #state: State = "head";
  /** How much of CR LF CR LF the last bytes were. */
  #matched = 0;
  /** Behind the head, until it is decided whose it is. */
  #waiting: Buffer[] = [];
  /** The other side sends nothing more. */
  #isEnded = false;
  #taker: BodyTaker | null = null;
  #slab: Buffer = Buffer.alloc(0);
  #slabUsed = 0;
  readonly #body = new ChunkedBody();
  readonly #deliver = (piece: Buffer): boolean => this.#taker?.received(piece) ?? false;

  constructor(connect: Connect) {
    super();
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    const socket = connect({
      buffer,
      callback: (length) => {
        const kept = this.#room(length);
        buffer.copy(kept, 0, 0, length);
        this.#received(kept);
        return true;
      },
    });
    this.#socket = socket;
    for (const event of ["connect", "secureConnect", "timeout"]) socket.on(event, () => this.emit(event));
    // Of sockets that do not know `onread`.
    socket.on("data", (bytes: Buffer) => this.#received(bytes));
    socket.on("end", () => this.#ended());
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => {
      // Otherwise what was pushed is still to be read, to its end.
      if (!this.#isEnded) this.destroy();
    });
  }

  /**
   * From now on every byte behind the head is the taker's, for an answer whose body comes in chunks. Only while http tells
   * of the answer. Should http have told before the head's end, the connection breaks.
   */
  takeBody(taker: BodyTaker): void {
    if (this.#state !== "undecided") return void this.destroy(new Error(NO_HEAD));
    this.#state = "taken";
    this.#taker = taker;
    for (const bytes of this.#waiting.splice(0)) this.#read(bytes);
  }

  /** http reads on, for itself, but not before it has returned from the head, of which it is just telling. */
  leaveBody(): void {
    if (this.#state !== "undecided") return;
    this.#state = "leaving";
    process.nextTick(() => {
      this.#state = "left";
      for (const bytes of this.#waiting.splice(0)) this.push(bytes);
      if (this.#isEnded) this.push(null);
    });
  }

  get connecting(): boolean {
    return this.#socket.connecting;
  }

  get bytesRead(): number {
    return this.#socket.bytesRead;
  }

  get bytesWritten(): number {
    return this.#socket.bytesWritten;
  }

  setTimeout(ms: number, onTimeout?: () => void): this {
    this.#socket.setTimeout(ms);
    if (onTimeout !== undefined) this.once("timeout", onTimeout);
    return this;
  }

  /**
   * Room for a read. Reads of this connection are neighbours, and are mostly kept and forgotten together; a slab shared with
   * others, as Buffer's pool is, would be held by whichever entry of the log is kept longest.
   */
  #room(length: number): Buffer {
    if (length > SLAB_BYTES / 4) return Buffer.allocUnsafeSlow(length);
    if (this.#slabUsed + length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#slabUsed = 0;
    }
    const start = this.#slabUsed;
    this.#slabUsed += length;
    return this.#slab.subarray(start, this.#slabUsed);
  }

  /** What comes is pushed as it comes: the head is small, and so is a body that is left. */
  override _read(): void {}

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(bytes, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#waiting = [];
    this.#taker = null;
    this.#socket.destroy();
    done(error);
  }

  #received(bytes: Buffer): void {
    if (this.destroyed) return;
    if (this.#state === "taken") this.#read(bytes);
    else if (this.#state === "leaving") this.#waiting.push(bytes);
    else if (this.#state === "left") this.push(bytes);
    else this.#readHead(bytes);
  }

  /** http reads a head, and tells of the answer, while it is given its last byte. */
  #readHead(bytes: Buffer): void {
    const end = this.#headEnd(bytes);
    if (end < 0) return void this.push(bytes);
    this.#state = "undecided";
    if (end < bytes.length) this.#waiting.push(bytes.subarray(end));
    this.push(bytes.subarray(0, end));
    // Of an answer that only announces another one nobody is told.
    if (this.#state === "undecided") this.destroy(new Error(NO_HEAD));
  }

  /** Where the head ends in these bytes; -1: not in them. */
  #headEnd(bytes: Buffer): number {
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i]!;
      if (byte === HEAD_END[this.#matched]) this.#matched++;
      else this.#matched = byte === HEAD_END[0] ? 1 : 0;
      if (this.#matched === HEAD_END.length) return i + 1;
    }
    return -1;
  }

  #read(bytes: Buffer): void {
    try {
      this.#body.push(bytes, this.#deliver);
    } catch (error) {
      if (!(error instanceof MalformedBody)) throw error;
      this.#tellEnd(error.message);
      return;
    }
    if (this.#body.isAtEnd) this.#tellEnd("EOF");
  }

  #ended(): void {
    this.#isEnded = true;
    if (this.#state === "taken") this.#tellEnd("unexpected EOF");
    else if (this.#state === "head" || this.#state === "left") this.push(null);
  }

  #tellEnd(reason: string): void {
    const taker = this.#taker;
    this.#taker = null;
    taker?.ended(reason);
  }
}

const HEAD_END = [13, 10, 13, 10];
const NO_HEAD = "what came is not the head of an answer";
