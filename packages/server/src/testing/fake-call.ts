/**
 * A client's call without a connection: keeps what the service answers, and takes it as slowly as the test wants. Obeys
 * the contract of ServerCall (rpc/src/server/method.ts), with the same bounds as a connection.
 */
import type { BodySource, CallOwner, ServerCall, ServerPeer } from "@quorate/rpc";
import { assert } from "@quorate/world";

/** `send` answers false from here on, as on a connection with default limits. */
const HIGH_WATER_BYTES = 256 * 1024;

export class FakeCall implements ServerCall {
  readonly path: string;
  /** Whom the client's certificate names is for the test to say. */
  readonly connection: ServerPeer & { peerCommonName: string | null } = {
    socket: null as never,
    streamCount: 1,
    isClosed: false,
    peerCommonName: null,
    state: undefined,
  };
  readonly deadlineMs: number = Number.POSITIVE_INFINITY;
  owner: CallOwner | null = null;
  state: unknown = undefined;
  /** Whole messages, in order. */
  readonly messages: Buffer[] = [];
  /** How the call ended; null while it has not. Code 0: well. */
  status: { readonly code: number; readonly message: string } | null = null;
  /** The server has reset the call in the middle of its answer. */
  isCutOff = false;
  /** Takes everything at once. When false, what is sent stays queued until {@link take}. */
  isReading = true;
  /** Told of each whole message that has come. */
  onMessage: (() => void) | null = null;
  /** Told once, when the server has ended the call and all of its answer has come. */
  onEnd: (() => void) | null = null;
  #queuedBytes = 0;
  #isOwnerWaiting = false;
  #isGone = false;
  #source: { readonly body: BodySource; left: number; readonly pieces: Buffer[] } | null = null;
  readonly #metadata: Readonly<Record<string, string>>;

  constructor(path: string, metadata: Readonly<Record<string, string>> = {}) {
    this.path = path;
    this.#metadata = metadata;
  }

  get peerCommonName(): string | null {
    return this.connection.peerCommonName;
  }

  get isOpen(): boolean {
    return this.status === null && !this.#isGone;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  metadata(name: string): string | undefined {
    return this.#metadata[name];
  }

  metadataBytes(name: string): Uint8Array | undefined {
    const value = this.#metadata[name];
    return value === undefined ? undefined : Buffer.from(value, "latin1");
  }

  respond(buffer: Uint8Array, start: number, end: number): void {
    if (!this.isOpen) return;
    this.messages.push(Buffer.from(buffer.subarray(start, end)));
    this.status = { code: 0, message: "" };
    this.onEnd?.();
  }

  respondFrom(totalBytes: number, body: BodySource): void {
    if (!this.isOpen) {
      body.released?.();
      return;
    }
    this.status = { code: 0, message: "" };
    this.#source = { body, left: totalBytes, pieces: [] };
    if (this.isReading) this.pull(Number.POSITIVE_INFINITY);
  }

  cutOff(): void {
    const source = this.#source;
    this.#isGone = true;
    this.isCutOff = true;
    this.#source = null;
    source?.body.released?.();
  }

  resume(): void {}

  /** The client takes up to `count` pieces of a large answer, `maxBytes` each at most. */
  pull(count: number, maxBytes: number = 16 * 1024): void {
    for (let i = 0; i < count && this.#source !== null; i++) {
      const source = this.#source;
      const piece = source.body.read(Math.min(maxBytes, source.left));
      if (piece === null) return;
      assert(piece.length > 0 && piece.length <= Math.min(maxBytes, source.left), "a piece has 1 to maxBytes bytes");
      source.pieces.push(Buffer.from(piece));
      source.left -= piece.length;
      if (source.left > 0) continue;
      this.messages.push(Buffer.concat(source.pieces));
      this.#source = null;
      source.body.released?.();
      this.onEnd?.();
    }
  }

  send(buffer: Uint8Array, start: number, end: number): boolean {
    if (!this.isOpen) return false;
    return this.#sent(Buffer.from(buffer.subarray(start, end)));
  }

  sendShared(head: Uint8Array, headStart: number, headEnd: number, tail: Uint8Array): boolean {
    if (!this.isOpen) return false;
    return this.#sent(Buffer.concat([head.subarray(headStart, headEnd), tail]));
  }

  end(): void {
    this.fail(0, "");
  }

  fail(code: number, message: string): void {
    if (!this.isOpen) return;
    this.status = { code, message };
    this.onEnd?.();
  }

  holdSlot(): void {}

  releaseSlot(): void {}

  /** The client reads everything queued; the owner hears of it if it was told to wait. */
  take(): void {
    this.#queuedBytes = 0;
    if (!this.#isOwnerWaiting) return;
    this.#isOwnerWaiting = false;
    if (this.isOpen) this.owner?.drained?.(this);
  }

  /** The client is gone. */
  cancel(reason: "cancelled" | "deadline" | "connection" = "cancelled"): void {
    if (this.#isGone) return;
    const wasOpen = this.isOpen;
    this.#isGone = true;
    const source = this.#source;
    this.#source = null;
    source?.body.released?.();
    if (wasOpen) this.owner?.cancelled(this, reason);
  }

  #sent(message: Buffer): boolean {
    this.messages.push(message);
    this.onMessage?.();
    if (this.isReading) return true;
    this.#queuedBytes += message.length;
    if (this.#queuedBytes < HIGH_WATER_BYTES) return true;
    this.#isOwnerWaiting = true;
    return false;
  }
}
