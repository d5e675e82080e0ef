/**
 * Cuts a stream of bytes into frames, in place: a frame that lies whole in the socket's chunk is handed on as
 * (chunk, start, end) and only a frame torn across chunks is copied, into a buffer kept for that purpose. Whatever the
 * nine header bytes can prove wrong is refused before the body is waited for. Used by both sides of a connection.
 *
 * Invariants: frames reach the sink in order, each exactly once; after the sink or a check has said stop, nothing more
 * is read; a chunk arriving while one is being read (a sink that flushes into a synchronous pipe) waits its turn.
 *
 * The sink's loop is the hottest of the server: bench/echo.ts.
 */
import { ErrorCode, FrameFlag, FrameType, frameHeaderBytes, maxFrameBytes } from "./frame.ts";

export interface FrameSink {
  /** One whole frame; the payload is borrowed until return. False stops the reader for good. */
  frame(type: number, flags: number, streamId: number, buffer: Buffer, start: number, end: number): boolean;
  /** The frame header alone is against the rules. The reader has stopped. */
  frameRefused(code: ErrorCode, reason: string): void;
}

export class FrameReader {
  readonly #sink: FrameSink;
  /** The beginning of a frame whose end has not arrived; [0, #tornBytes) is filled. */
  #torn: Buffer = empty;
  #tornBytes = 0;
  #stopped = false;
  #isReading = false;
  #waiting: Buffer[] | null = null;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Bytes of an unfinished frame held. */
  get heldBytes(): number {
    return this.#tornBytes;
  }

  /** Reads all frames that `chunk[start, end)` completes. The chunk is borrowed until return. */
  read(chunk: Buffer, start: number, end: number): void {
    if (this.#isReading) {
      if (this.#waiting === null) this.#waiting = [];
      this.#waiting.push(Buffer.from(chunk.subarray(start, end)));
      return;
    }
    this.#isReading = true;
    try {
      this.#cut(chunk, start, end);
      while (this.#waiting !== null) {
        const waiting = this.#waiting;
        this.#waiting = null;
        for (let i = 0; i < waiting.length; i++) this.#cut(waiting[i]!, 0, waiting[i]!.length);
      }
    } finally {
      this.#isReading = false;
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#torn = empty;
    this.#tornBytes = 0;
    this.#waiting = null;
  }

  #cut(chunk: Buffer, start: number, end: number): void {
    if (this.#stopped) return;
    let at = start;
    if (this.#tornBytes > 0) {
      at = this.#completeTorn(chunk, at, end);
      if (at < 0) return;
    }
    while (end - at >= frameHeaderBytes) {
      const length = (chunk[at]! << 16) | (chunk[at + 1]! << 8) | chunk[at + 2]!;
      const type = chunk[at + 3]!;
      const flags = chunk[at + 4]!;
      const streamId =
        ((chunk[at + 5]! & 0x7f) << 24) | (chunk[at + 6]! << 16) | (chunk[at + 7]! << 8) | chunk[at + 8]!;
      if (length > maxFrameBytes || type > FrameType.Headers || streamId === 0) {
        if (!this.#headerAllowed(type, flags, streamId, length)) return;
      }
      const next = at + frameHeaderBytes + length;
      if (next > end) break;
      if (!this.#sink.frame(type, flags, streamId, chunk, at + frameHeaderBytes, next) || this.#stopped) {
        this.stop();
        return;
      }
      at = next;
    }
    if (at < end) this.#keep(chunk, at, end);
  }

  /** Fills the torn frame from the chunk; returns where the chunk's own frames begin, or -1 if there is no more to do. */
  #completeTorn(chunk: Buffer, start: number, end: number): number {
    let at = start;
    if (this.#tornBytes < frameHeaderBytes) {
      const take = Math.min(frameHeaderBytes - this.#tornBytes, end - at);
      chunk.copy(this.#torn, this.#tornBytes, at, at + take);
      this.#tornBytes += take;
      at += take;
      if (this.#tornBytes < frameHeaderBytes) return -1;
      const torn = this.#torn;
      const length = (torn[0]! << 16) | (torn[1]! << 8) | torn[2]!;
      const streamId = ((torn[5]! & 0x7f) << 24) | (torn[6]! << 16) | (torn[7]! << 8) | torn[8]!;
      if (!this.#headerAllowed(torn[3]!, torn[4]!, streamId, length)) return -1;
      this.#reserve(frameHeaderBytes + length);
    }
    const torn = this.#torn;
    const whole = frameHeaderBytes + ((torn[0]! << 16) | (torn[1]! << 8) | torn[2]!);
    const take = Math.min(whole - this.#tornBytes, end - at);
    chunk.copy(torn, this.#tornBytes, at, at + take);
    this.#tornBytes += take;
    at += take;
    if (this.#tornBytes < whole) return -1;
    const streamId = ((torn[5]! & 0x7f) << 24) | (torn[6]! << 16) | (torn[7]! << 8) | torn[8]!;
    this.#tornBytes = 0;
    if (!this.#sink.frame(torn[3]!, torn[4]!, streamId, torn, frameHeaderBytes, whole) || this.#stopped) {
      this.stop();
      return -1;
    }
    // A connection at rest should not hold a whole frame's buffer.
    if (torn.length > keptTornBytes) this.#torn = empty;
    return at;
  }

  #keep(chunk: Buffer, start: number, end: number): void {
    const held = end - start;
    let needed: number = frameHeaderBytes;
    if (held >= frameHeaderBytes) {
      needed += (chunk[start]! << 16) | (chunk[start + 1]! << 8) | chunk[start + 2]!;
    }
    this.#reserve(needed);
    chunk.copy(this.#torn, 0, start, end);
    this.#tornBytes = held;
  }

  #reserve(bytes: number): void {
    if (this.#torn.length >= bytes) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(bytes, 256));
    this.#torn.copy(grown, 0, 0, this.#tornBytes);
    this.#torn = grown;
  }

  /** RFC 9113 §4.2 and the size and stream rules of §6 that need no payload (H2-17, H2-19). */
  #headerAllowed(type: number, flags: number, streamId: number, length: number): boolean {
    let code: ErrorCode = ErrorCode.FrameSizeError;
    let reason = "";
    if (length > maxFrameBytes) reason = "frame larger than SETTINGS_MAX_FRAME_SIZE";
    else {
      switch (type) {
        case FrameType.Data:
        case FrameType.Headers:
        case FrameType.Continuation:
        case FrameType.Priority:
        case FrameType.RstStream:
          if (streamId === 0) {
            code = ErrorCode.ProtocolError;
            reason = "stream frame on stream 0";
          } else if (type === FrameType.RstStream && length !== 4) reason = "RST_STREAM not 4 bytes";
          else if (type === FrameType.Priority && length !== 5) reason = "PRIORITY not 5 bytes";
          break;
        case FrameType.Settings:
        case FrameType.Ping:
        case FrameType.GoAway:
          if (streamId !== 0) {
            code = ErrorCode.ProtocolError;
            reason = "connection frame on a stream";
          } else if (type === FrameType.Ping && length !== 8) reason = "PING not 8 bytes";
          else if (type === FrameType.GoAway && length < 8) reason = "GOAWAY shorter than 8 bytes";
          else if (type === FrameType.Settings && (flags & FrameFlag.Ack) !== 0 && length !== 0) {
            reason = "SETTINGS acknowledgement with a payload";
          } else if (type === FrameType.Settings && length % 6 !== 0) reason = "SETTINGS not a multiple of 6 bytes";
          break;
        case FrameType.WindowUpdate:
          if (length !== 4) reason = "WINDOW_UPDATE not 4 bytes";
          break;
        case FrameType.PushPromise:
          code = ErrorCode.ProtocolError;
          reason = "PUSH_PROMISE though push is off";
          break;
      }
    }
    if (reason === "") return true;
    this.stop();
    this.#sink.frameRefused(code, reason);
    return false;
  }
}

/** Above this a torn buffer is dropped once its frame is complete. */
const keptTornBytes = 4096;
const empty: Buffer = Buffer.alloc(0);
