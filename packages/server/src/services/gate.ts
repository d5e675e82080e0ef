/**
 * Stands before every method while auth is on: finds out whom the call comes from, and refuses it if the method's row in the
 * table of methods (packages/api, `permission`) asks for more. A method without a row cannot be served. Which keys a request
 * touches only its method knows: rows that speak of keys let the caller in, and the method or the applier ask
 * AuthStore.authorise about each key (member/key-permissions.ts).
 *
 *   unary, server stream   call ─▶ caller? ─┬─ at once ─▶ refused? ─▶ the method
 *                                           └─ a copy of the request waits for the answer ─▶ as above
 *   stream                 each message ─▶ caller? ─▶ the method; messages wait behind one whose caller is not known yet
 *
 * A token is looked at for every request, and for every message of a stream: one that has ended ends what it was good for.
 * While auth is off all this is one comparison.
 */
import { AlarmAction, type ErrorKind, methodsByPath, type PermissionClass } from "@quorate/api";
import { AlarmRequest } from "@quorate/api/messages";
import type { Method, ServerCall, StreamHandler } from "@quorate/rpc";
import { assert } from "@quorate/world";
import { failThrown, failWith } from "../answer.ts";
import { callerOf, isStranger } from "../caller.ts";
import type { Member } from "../member/member.ts";
import { Callers } from "./callers.ts";

/** Messages of one stream that may wait for its token. */
const WAITING_MESSAGES_MAX = 1000;
const WAITING_BYTES_MAX = 4 * 1024 * 1024;

export class Gate {
  readonly #member: Member;
  readonly #callers: Callers;

  constructor(member: Member) {
    this.#member = member;
    this.#callers = new Callers(member);
  }

  guard(path: string, method: Method): Method {
    const row = methodsByPath.get(path);
    assert(row !== undefined, "every method that is served says what its caller needs");
    const { permission } = row;
    if (permission === "none" || permission === "byParts") return method;
    if (method.kind === "stream") {
      return { kind: "stream", open: (call) => new GuardedStream(this.#callers, method.open(call)) };
    }
    return {
      kind: method.kind,
      handle: (call, buffer, start, end) => {
        if (!this.#member.auth.isEnabled) method.handle(call, buffer, start, end);
        else if (this.#callers.identify(call)) this.#admit(permission, method, call, buffer, start, end);
        else {
          const copy = Buffer.from(buffer.subarray(start, end));
          this.#callers.resolve(call, () => this.#admit(permission, method, call, copy, 0, copy.length));
        }
      },
    };
  }

  #admit(
    permission: PermissionClass,
    method: Exclude<Method, { readonly kind: "stream" }>,
    call: ServerCall,
    buffer: Uint8Array,
    start: number,
    end: number,
  ): void {
    let refused: ErrorKind | null;
    try {
      refused = this.#refusal(permission, call, buffer, start, end);
    } catch (error) {
      failThrown(call, error);
      return;
    }
    if (refused === null) method.handle(call, buffer, start, end);
    else failWith(call, refused);
  }

  #refusal(
    permission: PermissionClass,
    call: ServerCall,
    buffer: Uint8Array,
    start: number,
    end: number,
  ): ErrorKind | null {
    if (isStranger(call)) return "InvalidAuthToken";
    const caller = callerOf(call);
    switch (permission) {
      case "none":
      case "byParts":
      case "validIfAny":
      case "keys":
      // Decided by what is asked for, at apply.
      case "rootOrSelf":
        return null;
      case "identity":
      case "leaseKeysRead":
      case "leaseKeysWrite":
        return caller === null ? "UserEmpty" : null;
      case "rootUnlessGet": {
        const isGet = AlarmRequest.decode(buffer, start, end).action === AlarmAction.GET;
        if (isGet) return caller === null ? "UserEmpty" : null;
        return this.#member.auth.authoriseAdmin(caller);
      }
      case "root":
        return this.#member.auth.authoriseAdmin(caller);
      default:
        return permission satisfies never;
    }
  }
}

/**
 * Remembers with the call whom each message comes from, before the method sees it. Strangers are let through: what a stream
 * tells them is for the method to say, which asks isStranger.
 */
class GuardedStream implements StreamHandler {
  readonly #callers: Callers;
  readonly #inner: StreamHandler;
  /** null: nothing waits. */
  #waiting: Buffer[] | null = null;
  #waitingBytes = 0;
  #isHalfClosed = false;

  constructor(callers: Callers, inner: StreamHandler) {
    this.#callers = callers;
    this.#inner = inner;
  }

  message(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    if (this.#waiting !== null) {
      this.#wait(call, buffer, start, end);
    } else if (this.#callers.identify(call)) {
      this.#inner.message(call, buffer, start, end);
    } else {
      this.#waiting = [];
      this.#wait(call, buffer, start, end);
      this.#callers.resolve(call, () => this.#goOn(call));
    }
  }

  halfClosed(call: ServerCall): void {
    if (this.#waiting === null) this.#inner.halfClosed(call);
    else this.#isHalfClosed = true;
  }

  #wait(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    const waiting = this.#waiting!;
    this.#waitingBytes += end - start;
    if (waiting.length < WAITING_MESSAGES_MAX && this.#waitingBytes <= WAITING_BYTES_MAX) {
      waiting.push(Buffer.from(buffer.subarray(start, end)));
    } else {
      failWith(call, "TooManyRequests");
      call.owner?.cancelled(call, "cancelled");
    }
  }

  /** What has waited for one token came with the same one. */
  #goOn(call: ServerCall): void {
    const waiting = this.#waiting!;
    this.#waiting = null;
    this.#waitingBytes = 0;
    for (const message of waiting) if (call.isOpen) this.#inner.message(call, message, 0, message.length);
    if (this.#isHalfClosed && call.isOpen) this.#inner.halfClosed(call);
  }
}
