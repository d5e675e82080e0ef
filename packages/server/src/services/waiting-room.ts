/**
 * Requests that have come before it is known whom they come from (./gate.ts). Anybody can make up a token that takes a while
 * to be found out, so what all of them keep together has a bound, and a call that ends keeps nothing.
 *
 *   enter(call) ─▶ Stay: add(message) … ─┬─▶ leave(): the messages, in order
 *                                        └─▶ the call ends: dropped, and its owner hears of it
 */
import type { CallOwner, ServerCall } from "@quorate/rpc";

/** Eight of the largest requests. */
const ROOM_BYTES = 16 * 1024 * 1024;
/** What a message costs besides its bytes, roughly. */
const MESSAGE_OVERHEAD_BYTES = 256;

export class WaitingRoom {
  #usedBytes = 0;

  get usedBytes(): number {
    return this.#usedBytes;
  }

  enter(call: ServerCall): Stay {
    return new Stay(this, call);
  }

  /** False: there is no room for so many. */
  take(bytes: number): boolean {
    if (this.#usedBytes + bytes > ROOM_BYTES) return false;
    this.#usedBytes += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}

/** Of one call, whose owner it stands in for meanwhile. */
export class Stay implements CallOwner {
  readonly #room: WaitingRoom;
  readonly #call: ServerCall;
  readonly #owner: CallOwner | null;
  #messages: Buffer[] = [];
  #bytes = 0;

  constructor(room: WaitingRoom, call: ServerCall) {
    this.#room = room;
    this.#call = call;
    this.#owner = call.owner;
    call.owner = this;
  }

  get messageCount(): number {
    return this.#messages.length;
  }

  /** Keeps a copy of the message; false: there is no room for it. */
  add(buffer: Uint8Array, start: number, end: number): boolean {
    const bytes = end - start + MESSAGE_OVERHEAD_BYTES;
    if (!this.#room.take(bytes)) return false;
    this.#bytes += bytes;
    this.#messages.push(Buffer.from(buffer.subarray(start, end)));
    return true;
  }

  /** What has been kept; none if the call was cancelled meanwhile. */
  leave(): Buffer[] {
    if (this.#call.owner === this) this.#call.owner = this.#owner;
    this.#room.giveBack(this.#bytes);
    this.#bytes = 0;
    const messages = this.#messages;
    this.#messages = [];
    return messages;
  }

  cancelled(call: ServerCall, reason: "cancelled" | "deadline" | "connection"): void {
    this.leave();
    this.#owner?.cancelled(call, reason);
  }

  drained(call: ServerCall): void {
    this.#owner?.drained?.(call);
  }
}
