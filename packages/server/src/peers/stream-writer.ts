/**
 * One of the two streams to a member, seen from us who write: the member has dialled us, and our messages are the body of
 * an answer that never ends.
 *
 *   detached ── attach ──▶ attached: offer … flush, offer … flush, heartbeat … ── error, silence, detach ──▶ detached
 *
 * The messages of a turn are encoded into one buffer and written once. While the socket is full they wait, at most
 * STREAM_QUEUE_MESSAGES and STREAM_QUEUE_BYTES of them; what does not fit is refused, and raft learns that the member is
 * unreachable. So a member that does not read costs the queue and STREAM_BACKLOG_BYTES, however long it stays away.
 *
 * Shape: `offer` and `flush` run per message and per turn; neither makes a closure or a promise.
 */
import type { ServerResponse } from "node:http";
import { idText } from "@quorate/membership";
import { type Message, messageSizeBytes, type NodeId } from "@quorate/raft";
import type { PeerSeries } from "../metrics/peer-metrics.ts";
import { STREAM_BACKLOG_BYTES, STREAM_QUEUE_BYTES, STREAM_QUEUE_MESSAGES, STREAM_WRITE_BYTES } from "./limits.ts";
import type { FrameEncoder } from "./message-frames.ts";
import type { PeerStatus } from "./peer-status.ts";
import type { PeerSurroundings } from "./peer-surroundings.ts";

export type StreamKind = "stream MsgApp v2" | "stream Message";

export class StreamWriter {
  readonly #kind: StreamKind;
  readonly #peer: NodeId;
  readonly #around: PeerSurroundings;
  readonly #status: PeerStatus;
  readonly #series: PeerSeries;
  readonly #makeEncoder: () => FrameEncoder;
  #response: ServerResponse | null = null;
  #encoder: FrameEncoder;

  /** Waiting messages and their encoded sizes, from `#head` on. */
  readonly #messages: Message[] = [];
  readonly #sizes: number[] = [];
  #head = 0;
  #queuedBytes = 0;

  /** Bytes of each write the socket has not taken yet, in order; their sum; when it last took one. */
  readonly #pending: number[] = [];
  #pendingBytes = 0;
  #tookMs = 0;
  #onWritten: (error?: Error | null) => void = () => {};

  constructor(
    kind: StreamKind,
    peer: NodeId,
    around: PeerSurroundings,
    status: PeerStatus,
    makeEncoder: () => FrameEncoder,
  ) {
    this.#kind = kind;
    this.#peer = peer;
    this.#around = around;
    this.#status = status;
    this.#series = around.metrics.of(peer);
    this.#makeEncoder = makeEncoder;
    this.#encoder = makeEncoder();
  }

  get isAttached(): boolean {
    return this.#response !== null;
  }

  /** The answer's head has been sent. Replaces, and closes, the connection there was. */
  attach(response: ServerResponse): void {
    if (this.#response !== null) {
      this.#around.log.warn("closed TCP streaming connection with remote peer", this.#fields());
      this.#detach(this.#response);
    }
    this.#response = response;
    this.#encoder = this.#makeEncoder();
    this.#tookMs = this.#around.clock.monotonicMs();
    this.#onWritten = (error) => {
      if (this.#response === response && (error === null || error === undefined)) this.#written();
    };
    response.on("error", (error) => this.#lost(response, error.message));
    response.on("close", () => this.#lost(response, "connection closed"));
    this.#status.activate();
    this.#around.log.info("established TCP streaming connection with remote peer", this.#fields());
  }

  /** False: the queue is full, the message is not taken. Only while attached. */
  offer(message: Message): boolean {
    const size = this.#encoder.mostBytes(message, messageSizeBytes(message));
    const count = this.#messages.length - this.#head;
    // A message alone may have any size: raft makes one of a single large entry.
    if (count >= STREAM_QUEUE_MESSAGES || (count > 0 && this.#queuedBytes + size > STREAM_QUEUE_BYTES)) return false;
    this.#messages.push(message);
    this.#sizes.push(size);
    this.#queuedBytes += size;
    return true;
  }

  flush(): void {
    const response = this.#response;
    if (response === null) return;
    while (this.#head < this.#messages.length && this.#pendingBytes < STREAM_BACKLOG_BYTES) {
      this.#write(response, this.#encodeNext());
    }
  }

  /** Called every so often, so that the reader hears of us in time. */
  heartbeat(): void {
    const response = this.#response;
    if (response === null || this.#pending.length > 0) return;
    const { linkHeartbeat } = this.#encoder;
    const into = Buffer.allocUnsafe(CHUNK_HEAD_BYTES + linkHeartbeat.length + CHUNK_END_BYTES);
    linkHeartbeat.copy(into, CHUNK_HEAD_BYTES);
    this.#write(response, chunkOf(into, CHUNK_HEAD_BYTES + linkHeartbeat.length));
  }

  /** Called every so often. A large write may take longer than a small one. */
  cutIfStalled(): void {
    const response = this.#response;
    if (response === null || this.#pending.length === 0) return;
    const { clock, timeouts } = this.#around;
    const limitMs = timeouts.writeMs * Math.max(1, Math.ceil(this.#pendingBytes / STREAM_BACKLOG_BYTES));
    if (clock.monotonicMs() - this.#tookMs > limitMs) this.#lost(response, "i/o timeout");
  }

  /** Closes the connection, if there is one, and loses what was queued. */
  close(): void {
    if (this.#response === null) return;
    this.#around.log.warn("closed TCP streaming connection with remote peer", this.#fields());
    this.#detach(this.#response);
  }

  #encodeNext(): Buffer {
    const messages = this.#messages;
    let size = 0;
    let end = this.#head;
    do {
      size += this.#sizes[end++]!;
    } while (end < messages.length && size + this.#sizes[end]! <= STREAM_WRITE_BYTES);
    const into = Buffer.allocUnsafe(CHUNK_HEAD_BYTES + size + CHUNK_END_BYTES);
    let at = CHUNK_HEAD_BYTES;
    for (let i = this.#head; i < end; i++) at = this.#encoder.write(messages[i]!, into, at);
    this.#queuedBytes -= size;
    this.#head = end;
    if (end === messages.length) {
      messages.length = 0;
      this.#sizes.length = 0;
      this.#head = 0;
    } else if (end > STREAM_QUEUE_MESSAGES) {
      messages.splice(0, end);
      this.#sizes.splice(0, end);
      this.#head = 0;
    }
    return chunkOf(into, at);
  }

  /** Straight to the socket: http would write the parts of a chunk apart, after a detour, which is felt per message. */
  #write(response: ServerResponse, chunk: Buffer): void {
    const { socket } = response;
    // Its end is about to be told.
    if (socket === null) return;
    if (this.#pending.length === 0) this.#tookMs = this.#around.clock.monotonicMs();
    this.#pending.push(chunk.length);
    this.#pendingBytes += chunk.length;
    socket.write(chunk, this.#onWritten);
  }

  #written(): void {
    const chunkBytes = this.#pending.shift()!;
    this.#pendingBytes -= chunkBytes;
    this.#series.sentBytes.add(chunkBytes - CHUNK_HEAD_BYTES - CHUNK_END_BYTES);
    this.#tookMs = this.#around.clock.monotonicMs();
    if (this.#head < this.#messages.length) this.flush();
  }

  #lost(response: ServerResponse, reason: string): void {
    if (this.#response !== response) return;
    this.#series.sendFailures.add();
    this.#status.deactivate(`write ${this.#kind}`, reason);
    this.#around.log.warn("lost TCP streaming connection with remote peer", { ...this.#fields(), error: reason });
    this.#detach(response);
  }

  /** What was queued, and what the socket had not delivered, is lost; raft asks again once it knows. */
  #detach(response: ServerResponse): void {
    this.#response = null;
    this.#messages.length = 0;
    this.#sizes.length = 0;
    this.#head = 0;
    this.#queuedBytes = 0;
    this.#pending.length = 0;
    this.#pendingBytes = 0;
    response.destroy();
    this.#around.news.unreachable(this.#peer);
  }

  #fields(): Record<string, string> {
    return {
      "stream-writer-type": this.#kind,
      "local-member-id": idText(this.#around.local.memberId),
      "remote-peer-id": idText(this.#peer),
    };
  }
}

/** HTTP's frame around a piece of a body without a length: its size in hex, zeros in front, and a line's end on either side. */
const CHUNK_HEAD_BYTES = 10;
const CHUNK_END_BYTES = 2;

/** `into` holds the piece in [CHUNK_HEAD_BYTES, end), with room after it for the end of the chunk. */
function chunkOf(into: Buffer, end: number): Buffer {
  into.write(`${(end - CHUNK_HEAD_BYTES).toString(16).padStart(8, "0")}\r\n`, 0, "latin1");
  into.write("\r\n", end, "latin1");
  return into.subarray(0, end + CHUNK_END_BYTES);
}
