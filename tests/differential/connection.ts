/**
 * A client of one server that sends and receives bytes as they are, so that the same bytes go to both servers, also bytes
 * that no encoder writes. Streams keep all they have received until somebody looks.
 */
import { connect } from "node:net";
import { type ClientCall, type Metadata, RpcClient, type RpcError } from "@quorate/rpc";

/** How one call ended. */
export interface Ending {
  /** gRPC's number, 0 for OK. */
  readonly code: number;
  readonly message: string;
  /** Of a unary call that went well one; of a stream all of them. */
  readonly messages: readonly Uint8Array[];
}

const DEADLINE_MS = 20_000;
const now = (): number => performance.now();

export class Connection {
  readonly #client: RpcClient;

  /** `endpoint` as host:port. */
  constructor(endpoint: string) {
    const [host, port] = endpoint.split(":");
    this.#client = new RpcClient({
      connect: () => connect(Number(port), host).setNoDelay(true),
      authority: endpoint,
      clock: { monotonicMs: now, wallMs: () => Date.now() },
      timers: {
        after(delayMs, fire) {
          const handle = setTimeout(fire, delayMs);
          return { cancel: () => clearTimeout(handle) };
        },
        nextTurn: (run) => void setImmediate(run),
      },
    });
  }

  unary(path: string, message: Uint8Array, metadata: Metadata = []): Promise<Ending> {
    return new Promise((resolve) => {
      this.#client.unary(path, message, { metadata, deadlineMs: now() + DEADLINE_MS }, (error, response) => {
        resolve(ending(error, response === null ? [] : [response]));
      });
    });
  }

  /** One request, and everything until the stream ends. */
  async serverStream(path: string, message: Uint8Array, metadata: Metadata = []): Promise<Ending> {
    const stream = this.stream(path, undefined, metadata);
    stream.send(message);
    stream.halfClose();
    return stream.ended;
  }

  /** What arrives is kept in the stream's list, unless somebody takes it. */
  stream(path: string, take?: (message: Uint8Array) => void, metadata: Metadata = []): Stream {
    return new Stream(this.#client, path, metadata, take);
  }

  close(): void {
    this.#client.close();
  }
}

export class Stream {
  /** Everything received so far that nobody took. */
  readonly messages: Uint8Array[] = [];
  readonly ended: Promise<Ending>;
  readonly #call: ClientCall;
  #isOpen = true;
  #wake: () => void = () => {};

  constructor(client: RpcClient, path: string, metadata: Metadata, take?: (message: Uint8Array) => void) {
    const { promise, resolve } = Promise.withResolvers<Ending>();
    this.ended = promise;
    this.#call = client.stream(
      path,
      { metadata },
      {
        message: (_call, buffer, start, end) => {
          const message = Buffer.from(buffer.subarray(start, end));
          if (take === undefined) this.messages.push(message);
          else take(message);
          this.#wake();
        },
        ended: (_call, error) => {
          this.#isOpen = false;
          resolve(ending(error, this.messages));
          this.#wake();
        },
      },
    );
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  send(message: Uint8Array): void {
    this.#call.send(message, 0, message.length);
  }

  halfClose(): void {
    this.#call.halfClose();
  }

  cancel(): void {
    this.#call.cancel();
  }

  /** Waits until `reached`, asked again after each message; false if the stream ends or `patienceMs` pass first. */
  async until(reached: () => boolean, patienceMs: number): Promise<boolean> {
    const deadline = now() + patienceMs;
    while (!reached()) {
      const leftMs = deadline - now();
      if (leftMs <= 0 || !this.#isOpen) return false;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, leftMs);
      this.#wake = resolve;
      await promise;
      clearTimeout(timer);
    }
    return true;
  }
}

function ending(error: RpcError | null, messages: readonly Uint8Array[]): Ending {
  return { code: error?.code ?? 0, message: error?.message ?? "", messages };
}
