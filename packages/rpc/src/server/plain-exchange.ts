/**
 * A request on an HTTP/2 connection that is not gRPC: a GET of a health check, say, from a client whose TLS handshake
 * settled on HTTP/2. Its body is not wanted; the answer is one small body, at the pace of the peer's window.
 */
import { literalBlock } from "../hpack/encoder.ts";
import { Stream } from "../http2/stream.ts";
import type { ServerConnection } from "./server-connection.ts";

export interface PlainRequest {
  /** Any but POST. */
  readonly method: string;
  /** With the query, as received. */
  readonly path: string;
  readonly authority: string;
  /** "" if there is none. */
  readonly origin: string;
  readonly scheme: string;
}

export interface PlainAnswer {
  readonly status: number;
  /** Lower-case names; content-length is added. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Answers once, now or later. An answer to an exchange that is gone does nothing. */
export type PlainHandler = (request: PlainRequest, answer: (answer: PlainAnswer) => void) => void;

export class PlainExchange extends Stream {
  readonly #connection: ServerConnection;
  readonly #request: PlainRequest;
  readonly #handler: PlainHandler;
  #isAnswered = false;

  constructor(
    connection: ServerConnection,
    id: number,
    sendWindow: number,
    request: PlainRequest,
    handler: PlainHandler,
  ) {
    super(id, sendWindow, connection.limits.streamWindowBytes, connection.nowMs);
    this.#connection = connection;
    this.#request = request;
    this.#handler = handler;
  }

  receive(): void {}

  remoteEnded(): void {
    this.#handler(this.#request, (answer) => this.#answer(answer));
  }

  aborted(): void {}

  queueDrained(): void {}

  #answer({ status, headers, body }: PlainAnswer): void {
    if (this.isGone || this.#isAnswered) return;
    this.#isAnswered = true;
    const connection = this.#connection;
    const bytes = Buffer.from(body);
    const block = literalBlock([
      [":status", String(status)],
      ...Object.entries(headers),
      ["content-length", String(bytes.length)],
    ]);
    const isEmpty = bytes.length === 0 || this.#request.method === "HEAD";
    connection.writeHeaders(this.id, block, isEmpty);
    if (isEmpty) {
      connection.localEnded(this);
      return;
    }
    const { scheduler } = connection;
    const queue = scheduler.queueOf(this, connection.nowMs);
    queue.appendShared(bytes);
    queue.endsStream = true;
    scheduler.queuedBytes += bytes.length;
    if (this.sendWindow > 0) scheduler.wake(this);
    connection.touched();
  }
}
