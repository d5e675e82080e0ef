/**
 * Puts at a steady rate, answered or not: what an open world does, and what shows how long nothing was acknowledged. Goes
 * on while members die: a connection that breaks is opened again, a put that fails is counted and forgotten.
 */
import { LoadConnection, type StreamSink } from "./h2-connection.ts";
import { keyOf, noiseOf, PATHS, putRequest } from "./requests.ts";

const KEYS = 100_000;
const TICK_MS = 5;
const RECONNECT_MS = 20;
/** Beyond it a connection sends nothing more until it is answered: what waits is waiting for a leader. */
const IN_FLIGHT_MOST = 20_000;

export interface Acknowledged {
  readonly begunMs: number;
  readonly atMs: number;
}

export class OpenLoop {
  /** Since {@link forget}, in the order of their answers. */
  acknowledged: Acknowledged[] = [];
  failed = 0;
  readonly #lines: Line[];
  readonly #timer: NodeJS.Timeout;
  readonly #startedMs = performance.now();
  readonly #perSecond: number;
  readonly token: string | undefined;
  #sent = 0;
  #isClosed = false;

  /** Starts at once. `perSecond`: over all ports, each of which gets a connection and every n-th put. */
  constructor(ports: readonly number[], perSecond: number, token?: string) {
    this.token = token;
    this.#perSecond = perSecond;
    this.#lines = ports.map((port) => new Line(port, this));
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  forget(): void {
    this.acknowledged = [];
  }

  stop(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    for (const line of this.#lines) line.close();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  #tick(): void {
    const due = Math.floor(((performance.now() - this.#startedMs) / 1000) * this.#perSecond);
    for (; this.#sent < due; this.#sent++) {
      const line = this.#lines[this.#sent % this.#lines.length]!;
      line.put(putRequest(keyOf(Math.floor(Math.random() * KEYS)), noiseOf(this.#sent, 256)));
    }
    for (const line of this.#lines) line.flush();
  }
}

/** The connection to one port, whichever it is at the time. */
class Line {
  readonly #port: number;
  readonly #loop: OpenLoop;
  #connection: LoadConnection | null = null;
  #begunMs = new Map<number, number>();

  constructor(port: number, loop: OpenLoop) {
    this.#port = port;
    this.#loop = loop;
    this.#open();
  }

  put(message: Buffer): void {
    if (this.#connection === null || this.#begunMs.size >= IN_FLIGHT_MOST) return;
    this.#begunMs.set(this.#connection.call(PATHS.put, message, true), performance.now());
  }

  flush(): void {
    this.#connection?.flush();
  }

  close(): void {
    this.#connection?.close();
    this.#connection = null;
  }

  #open(): void {
    if (this.#loop.isClosed) return;
    // Each connection counts its streams from 1.
    const begunMs = new Map<number, number>();
    const sink: StreamSink = {
      data: () => {},
      ended: (streamId, hadData) => {
        const begun = begunMs.get(streamId)!;
        begunMs.delete(streamId);
        if (hadData) this.#loop.acknowledged.push({ begunMs: begun, atMs: performance.now() });
        else this.#loop.failed++;
      },
      lost: () => {
        this.#loop.failed += begunMs.size;
        this.#connection = null;
        setTimeout(() => this.#open(), RECONNECT_MS);
      },
    };
    LoadConnection.open(this.#port, sink, false, this.#loop.token).then(
      (connection) => {
        if (this.#loop.isClosed) {
          connection.close();
          return;
        }
        this.#begunMs = begunMs;
        this.#connection = connection;
      },
      () => setTimeout(() => this.#open(), RECONNECT_MS),
    );
  }
}
