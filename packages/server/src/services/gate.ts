/**
 * Stands before every method while auth is on: finds out whom the call comes from, and refuses it if the method's row in the
 * table of methods (packages/api, `permission`) asks for more. A method without a row cannot be served. Which keys a request
 * touches only its method knows: rows that speak of keys let every user in, and the method or the applier ask
 * AuthStore.authorise about each key (member/key-permissions.ts).
 *
 *   unary, server stream   call ─▶ caller? ─┬─ at once ─▶ refused? ─▶ the method
 *                                           └─ a copy of the request waits for the answer ─▶ as above
 *   stream                 each message ─▶ caller? ─▶ the method; messages wait behind one whose caller is not known yet
 *
 * Where there is no room left for waiting (./waiting-room.ts), or none with the tokens, the call is too many.
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
import { type Stay, WaitingRoom } from "./waiting-room.ts";

/** Messages of one stream that may wait for its token. */
const WAITING_MESSAGES_MAX = 1000;

export class Gate {
  readonly #member: Member;
  readonly #callers: Callers;
  readonly #room = new WaitingRoom();

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
      return { kind: "stream", open: (call) => new GuardedStream(this.#callers, this.#room, method.open(call)) };
    }
    return {
      kind: method.kind,
      handle: (call, buffer, start, end) => {
        if (!this.#member.auth.isEnabled) method.handle(call, buffer, start, end);
        else if (this.#callers.identify(call)) this.#admit(permission, method, call, buffer, start, end);
        else this.#admitLater(permission, method, call, buffer, start, end);
      },
    };
  }

  #admitLater(
    permission: PermissionClass,
    method: Exclude<Method, { readonly kind: "stream" }>,
    call: ServerCall,
    buffer: Uint8Array,
    start: number,
    end: number,
  ): void {
    const stay = this.#room.enter(call);
    if (!stay.add(buffer, start, end)) {
      stay.leave();
      failWith(call, "TooManyRequests");
      return;
    }
    this.#callers.resolve(call, (isIdentified) => {
      const [copy] = stay.leave();
      if (isIdentified) this.#admit(permission, method, call, copy!, 0, copy!.length);
      else failWith(call, "TooManyRequests");
    });
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
      // Decided by what is asked for, at apply.
      case "rootOrSelf":
        return null;
      case "keys":
        // A transaction of nothing, which has no bytes, touches no key.
        return caller === null && end > start ? "UserEmpty" : null;
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
  readonly #room: WaitingRoom;
  readonly #inner: StreamHandler;
  /** null: nothing waits. */
  #waiting: Stay | null = null;
  #isHalfClosed = false;

  constructor(callers: Callers, room: WaitingRoom, inner: StreamHandler) {
    this.#callers = callers;
    this.#room = room;
    this.#inner = inner;
  }

  message(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    if (this.#waiting !== null) {
      this.#wait(this.#waiting, call, buffer, start, end);
    } else if (this.#callers.identify(call)) {
      this.#inner.message(call, buffer, start, end);
    } else {
      const waiting = this.#room.enter(call);
      this.#waiting = waiting;
      this.#wait(waiting, call, buffer, start, end);
      if (call.isOpen) this.#callers.resolve(call, (isIdentified) => this.#goOn(waiting, call, isIdentified));
    }
  }

  halfClosed(call: ServerCall): void {
    if (this.#waiting === null) this.#inner.halfClosed(call);
    else this.#isHalfClosed = true;
  }

  #wait(waiting: Stay, call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    if (!call.isOpen) return;
    if (waiting.messageCount >= WAITING_MESSAGES_MAX || !waiting.add(buffer, start, end)) refuse(call);
  }

  /** What has waited for one token came with the same one. */
  #goOn(waiting: Stay, call: ServerCall, isIdentified: boolean): void {
    const messages = waiting.leave();
    this.#waiting = null;
    if (!isIdentified) refuse(call);
    for (const message of messages) if (call.isOpen) this.#inner.message(call, message, 0, message.length);
    if (this.#isHalfClosed && call.isOpen) this.#inner.halfClosed(call);
  }
}

/** Nothing more is kept of the stream. */
function refuse(call: ServerCall): void {
  if (!call.isOpen) return;
  failWith(call, "TooManyRequests");
  call.owner?.cancelled(call, "cancelled");
}
