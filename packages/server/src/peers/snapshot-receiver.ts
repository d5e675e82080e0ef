/**
 * Snapshots from the leader, the body of POST /raft/snapshot (format: snapshot-sender.ts):
 *
 *   message ──▶ checks ──▶ file tmpN, piece by piece ──▶ checksum ──▶ <index>.snap.db ──▶ owner
 *
 * Invariants:
 *  - of the file's bytes two pieces of SNAPSHOT_PIECE_BYTES are held, one that is written and one that gathers meanwhile;
 *  - what has the final name is whole; a transfer that ends in any other way leaves nothing;
 *  - one transfer per index and INCOMING_SNAPSHOTS in all; one that stalls is cut.
 *
 * The file is not synced: the owner makes a database of it, which is, and what a crash leaves here is removed at the next
 * start. Most of it never reaches the disk.
 */
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { crc32 } from "node:zlib";
import { idText } from "@quorate/membership";
import { MalformedMessage, type Message, MessageType, messageSizeBytes, messageTypeName, NO_NODE } from "@quorate/raft";
import type { Timer } from "@quorate/world";
import { type HttpResponse, text } from "../http/endpoints.ts";
import { UNKNOWN_SNAPSHOT_SENDER } from "../metrics/peer-metrics.ts";
import { INCOMING_SNAPSHOTS, SNAPSHOT_ENVELOPE_BYTES, SNAPSHOT_PIECE_BYTES, SNAPSHOT_PIECE_CHUNKS } from "./limits.ts";
import { MessageDecoder } from "./message-frames.ts";
import type { PeerSurroundings } from "./peer-surroundings.ts";
import { FrameTooLarge } from "./received-bytes.ts";
import { CHECKSUM_TRAILER } from "./snapshot-sender.ts";

/** The message may be believed (null), or what is answered instead. */
export type SnapshotCheck = (message: Message) => HttpResponse | null;
export type SnapshotTaker = (message: Message, path: string, done: (error: Error | null) => void) => void;

export interface SnapshotReceiverOptions {
  /** Where the files go; exists. */
  readonly directory: string;
  readonly check: SnapshotCheck;
  readonly take: SnapshotTaker;
}

export class SnapshotReceiver {
  readonly #around: PeerSurroundings;
  readonly #options: SnapshotReceiverOptions;
  /** Indexes of the snapshots that are arriving or being taken. */
  readonly #indexes = new Set<number>();
  #count = 0;
  #files = 0;

  constructor(around: PeerSurroundings, options: SnapshotReceiverOptions) {
    this.#around = around;
    this.#options = options;
  }

  /** Resolves with what to answer; the body may not have been read to its end then. */
  async receive(request: IncomingMessage): Promise<HttpResponse> {
    const { metrics } = this.#around;
    if (this.#count >= INCOMING_SNAPSHOTS) {
      metrics.snapshotsFrom(UNKNOWN_SNAPSHOT_SENDER).failures.add();
      return text(503, "too many snapshots are being received\n");
    }
    this.#count++;
    const body = new Body(request, this.#around);
    try {
      return await this.#receive(body, request.socket.remoteAddress);
    } finally {
      body.done();
      this.#count--;
    }
  }

  async #receive(body: Body, address: string | undefined): Promise<HttpResponse> {
    const { clock, metrics } = this.#around;
    const startedMs = clock.monotonicMs();
    const decoder = new MessageDecoder(SNAPSHOT_ENVELOPE_BYTES);
    let message: Message;
    try {
      message = await envelopeOf(body, decoder);
    } catch (error) {
      if (!isBadInput(error)) throw error;
      this.#warn("failed to decode Raft message", null, error.message);
      metrics.receiveFailures(address).add();
      metrics.snapshotsFrom(idText(NO_NODE)).failures.add();
      return text(400, `failed to decode raft message (${error.message})\n`);
    }
    metrics.receivedBytes(message.from).add(messageSizeBytes(message));
    const series = metrics.snapshotsFrom(idText(message.from));
    series.inFlight.value++;
    const answer = await this.#receiveFile(message, body, decoder);
    series.inFlight.value--;
    if (answer.status === 204) {
      series.successes.add();
      series.seconds.observe((clock.monotonicMs() - startedMs) / 1000);
    } else {
      series.failures.add();
    }
    return answer;
  }

  async #receiveFile(message: Message, body: Body, decoder: MessageDecoder): Promise<HttpResponse> {
    const { log, metrics } = this.#around;
    const { snapshot } = message;
    if (message.type !== MessageType.Snap || snapshot === null || snapshot.metadata.index === 0) {
      this.#warn("unexpected Raft message type", message, messageTypeName(message.type));
      return text(400, "wrong raft message type\n");
    }
    const refusal = this.#options.check(message);
    if (refusal !== null) return refusal;
    const { index } = snapshot.metadata;
    if (this.#indexes.has(index)) {
      this.#warn("failed to save incoming database snapshot", message, "it is being received already");
      return text(500, "failed to save KV snapshot (it is being received already)\n");
    }
    this.#indexes.add(index);
    try {
      const fields = { "remote-snapshot-sender-id": idText(message.from), "incoming-snapshot-index": index };
      log.info("receiving database snapshot", fields);
      let saved: { path: string; sizeBytes: number };
      try {
        saved = await this.#save(body, decoder.takeRest(), index);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        this.#warn("failed to save incoming database snapshot", message, error.message);
        return text(500, `failed to save KV snapshot (${error.message})\n`);
      }
      metrics.receivedBytes(message.from).add(saved.sizeBytes);
      const sizeFields = { ...fields, "incoming-snapshot-size-bytes": saved.sizeBytes };
      log.info("received and saved database snapshot", sizeFields);
      const problem = await new Promise<Error | null>((resolve) => this.#options.take(message, saved.path, resolve));
      if (problem === null) return { status: 204, headers: {}, body: "" };
      this.#warn("failed to process Raft message", message, problem.message);
      return text(500, `failed to process raft message (${problem.message})\n`);
    } finally {
      this.#indexes.delete(index);
    }
  }

  #warn(line: string, message: Message | null, error: string): void {
    this.#around.log.warn(line, {
      "local-member-id": idText(this.#around.local.memberId),
      "remote-snapshot-sender-id": idText(message?.from ?? NO_NODE),
      ...(message === null ? {} : { "incoming-snapshot-index": message.snapshot?.metadata.index ?? 0 }),
      error,
    });
  }

  async #save(
    body: Body,
    first: readonly Buffer[],
    index: number,
  ): Promise<{ readonly path: string; readonly sizeBytes: number }> {
    const { directory } = this.#options;
    const temporary = `${directory}/tmp${process.pid}-${this.#files++}`;
    try {
      const file = await open(temporary, "wx", 0o600);
      const pieces = new PieceWriter(file);
      try {
        for (const chunk of first) await pieces.add(chunk);
        for (let chunk = await body.next(); chunk !== null; chunk = await body.next()) await pieces.add(chunk);
        await pieces.end();
        body.verify();
      } finally {
        await pieces.settled();
        await file.close();
      }
      const path = `${directory}/${index.toString(16).padStart(16, "0")}.snap.db`;
      await rename(temporary, path);
      return { path, sizeBytes: pieces.sizeBytes };
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}

/** Writes what it is given in order, a piece at a time, while the next gathers. What goes wrong comes with a later call. */
class PieceWriter {
  readonly #file: FileHandle;
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  #writing: Promise<void> = Promise.resolve();
  /** Of all that was given. */
  sizeBytes = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Takes over the chunk; waits while both pieces are full. */
  async add(chunk: Buffer): Promise<void> {
    this.sizeBytes += chunk.length;
    this.#gathered.push(chunk);
    this.#gatheredBytes += chunk.length;
    // A chunk costs memory beside its bytes, however few they are.
    const isFull = this.#gatheredBytes >= SNAPSHOT_PIECE_BYTES || this.#gathered.length >= SNAPSHOT_PIECE_CHUNKS;
    if (isFull) await this.#writeOn();
  }

  /** Waits until everything is written. */
  async end(): Promise<void> {
    await this.#writeOn();
    await this.#writing;
  }

  /** Waits until nothing is being written, whatever became of it. */
  async settled(): Promise<void> {
    await this.#writing.catch(() => {});
  }

  async #writeOn(): Promise<void> {
    await this.#writing;
    const piece = this.#gathered;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#writing = writeAll(this.#file, piece);
    // Heard of by whoever waits for it next.
    this.#writing.catch(() => {});
  }
}

/** The bytes of a request as they come, with their checksum; waits the read timeout for the next, and no longer. */
class Body {
  readonly #request: IncomingMessage;
  readonly #around: PeerSurroundings;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #watch: () => void;
  #timer: Timer;
  /** null while we are the ones who make the other side wait. */
  #waitsSinceMs: number | null = null;
  #checksum = 0;

  constructor(request: IncomingMessage, around: PeerSurroundings) {
    this.#request = request;
    this.#around = around;
    this.#chunks = request.iterator({ destroyOnReturn: false });
    const { readMs } = around.timeouts;
    this.#watch = () => {
      this.#timer = around.timers.after(readMs / 5, this.#watch);
      const waitsSinceMs = this.#waitsSinceMs;
      if (waitsSinceMs !== null && around.clock.monotonicMs() - waitsSinceMs > readMs) {
        request.destroy(new Error("i/o timeout"));
      }
    };
    this.#timer = around.timers.after(readMs / 5, this.#watch);
  }

  /** null: the end. Throws BrokenBody when the connection breaks or stalls before. */
  async next(): Promise<Buffer | null> {
    this.#waitsSinceMs = this.#around.clock.monotonicMs();
    let next: IteratorResult<Buffer>;
    try {
      next = await this.#chunks.next();
    } catch (error) {
      throw new BrokenBody((error as Error).message, { cause: error });
    }
    this.#waitsSinceMs = null;
    if (next.done === true) return null;
    this.#checksum = crc32(next.value, this.#checksum);
    return next.value;
  }

  /** At the end. Throws Error if the sender's checksum says that something was damaged (SN-07). */
  verify(): void {
    const expected = this.#request.trailers[CHECKSUM_TRAILER.toLowerCase()];
    if (expected === undefined) return;
    const actual = this.#checksum.toString(16).padStart(8, "0");
    if (expected !== actual) throw new Error(`checksum is ${actual}, sender's is ${expected}`);
  }

  done(): void {
    this.#timer.cancel();
  }
}

async function envelopeOf(body: Body, decoder: MessageDecoder): Promise<Message> {
  for (;;) {
    const chunk = await body.next();
    if (chunk === null) throw new BrokenBody(decoder.isEmpty ? "EOF" : "unexpected EOF");
    decoder.push(chunk);
    const message = decoder.next();
    if (message !== null) return message;
  }
}

/** The connection broke, or the body ended inside the message, for which the texts are Go's. */
class BrokenBody extends Error {
  readonly kind = "BrokenBody";
}

function isBadInput(error: unknown): error is Error {
  return error instanceof BrokenBody || error instanceof FrameTooLarge || error instanceof MalformedMessage;
}

async function writeAll(file: FileHandle, piece: readonly Buffer[]): Promise<void> {
  let rest = piece;
  while (rest.length > 0) {
    let { bytesWritten } = await file.writev(rest);
    // The system may take less than it was given.
    let whole = 0;
    while (whole < rest.length && bytesWritten >= rest[whole]!.length) bytesWritten -= rest[whole++]!.length;
    rest = rest.slice(whole);
    if (bytesWritten > 0) rest = [rest[0]!.subarray(bytesWritten), ...rest.slice(1)];
  }
}
